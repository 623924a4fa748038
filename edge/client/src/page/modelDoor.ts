import { byId } from "./dom";
import type { ModelView } from "./modelView";
import { modelNotice, type Notice } from "./notices";
import type { StageView } from "./stage";

/** Where models come in: dropped, picked, or named by `?model=`. What draws them is loaded only when one comes. */
export class ModelDoor {
  readonly #stage: StageView;
  readonly #notify: (notice: Notice) => void;
  readonly #hint = byId("drop-hint");
  #view: ModelView | null = null;

  constructor(stage: StageView, notify: (notice: Notice) => void) {
    this.#stage = stage;
    this.#notify = notify;
    const picked = byId<HTMLInputElement>("model-file");
    byId("model-choose").addEventListener("click", () => {
      picked.click();
    });
    picked.addEventListener("change", () => {
      const file = picked.files?.[0];
      if (file) void this.#open(file);
      picked.value = ""; // so that the same file may be picked again
    });
    byId("model-sample").addEventListener("click", () => {
      this.openAddress("models/pip.glb");
    });
    addEventListener("dragover", (event) => {
      if (event.dataTransfer?.types.includes("Files") !== true) return;
      event.preventDefault();
      this.#hint.hidden = false;
    });
    addEventListener("dragleave", ({ relatedTarget }) => {
      if (relatedTarget === null) this.#hint.hidden = true;
    });
    addEventListener("drop", (event) => {
      this.#hint.hidden = true;
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      void this.#open(file);
    });
  }

  /** @param address as in `?model=`; relative ones are the page's own. */
  openAddress(address: string | null): void {
    if (address === null) return;
    if (URL.canParse(address, document.baseURI)) void this.#open(new URL(address, document.baseURI));
    else this.#notify(modelNotice(`“${address}” is no address of a model.`));
  }

  async #open(source: File | URL): Promise<void> {
    try {
      this.#view ??= new (await import("./modelView")).ModelView(this.#stage, this.#notify);
    } catch {
      this.#notify(modelNotice("The part of this page that draws models could not be loaded. Try again in a moment."));
      return;
    }
    await this.#view.open(source);
  }
}
