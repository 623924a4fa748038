/** A model on the stage and its report in the panel. Loaded with what draws models, never before. */
import {
  kindName,
  ModelError,
  nameOf,
  openModel,
  type ModelRenderer,
  type ModelReport,
  type ModelSource,
} from "../render/model";
import { byId, make } from "./dom";
import { modelNotice, type Notice } from "./notices";
import type { StageView } from "./stage";

/** A graphics card that gives up this often will do so again. */
const LOSSES_MAX = 3;

/** Opens models, one at a time: the newest wins, and what was shown before stays until it is there. */
export class ModelView {
  readonly #stage: StageView;
  readonly #notify: (notice: Notice) => void;
  readonly #name = byId("model-name");
  readonly #report = byId("model-report");
  readonly #choose = byId("model-choose");
  readonly #sample = byId("model-sample");
  readonly #back = byId("model-back");
  #shown: { readonly renderer: ModelRenderer; readonly canvas: HTMLCanvasElement } | null = null;
  #opening: AbortController | null = null;
  #losses = 0;

  constructor(stage: StageView, notify: (notice: Notice) => void) {
    this.#stage = stage;
    this.#notify = notify;
    this.#back.addEventListener("click", () => {
      this.#opening?.abort();
      this.#leave();
      this.#say(make("p", "", "The drawn face is back."));
      this.#choose.focus();
    });
  }

  /** Show a model, or say why not. */
  async open(source: ModelSource): Promise<void> {
    this.#opening?.abort();
    const opening = new AbortController();
    this.#opening = opening;
    this.#say(make("p", "", `Loading “${nameOf(source)}”…`));
    const canvas = document.createElement("canvas");
    try {
      const renderer = await openModel(source, canvas, this.#eventsOf(canvas), opening.signal);
      this.#leave();
      this.#losses = 0;
      this.#shown = { renderer, canvas };
      this.#stage.receive(this.#shown);
      this.#name.textContent = `${renderer.report.name} · ${kindName(renderer.report.kind)}`;
      this.#sample.hidden = true;
      this.#back.hidden = false;
      this.#say(...describe(renderer.report));
    } catch (error) {
      if (opening.signal.aborted) return;
      this.#fail(error instanceof ModelError ? error.message : `“${nameOf(source)}” could not be shown.`);
      if (!(error instanceof ModelError)) console.warn(error);
    } finally {
      if (this.#opening === opening) this.#opening = null;
    }
  }

  #eventsOf(canvas: HTMLCanvasElement) {
    const mine = (): boolean => this.#shown?.canvas === canvas;
    return {
      lost: (): void => {
        if (!mine()) return;
        this.#losses += 1;
        this.#stage.receive(null);
        this.#fail("The graphics card stopped drawing the model. The drawn character goes on.");
        if (this.#losses >= LOSSES_MAX) this.#leave();
      },
      restored: (): void => {
        if (!mine()) return;
        this.#stage.receive(this.#shown);
        this.#say(...describe(this.#shown!.renderer.report));
      },
      failed: (error: ModelError): void => {
        if (!mine()) return;
        console.warn(error);
        this.#leave();
        this.#fail(`${error.message} The drawn character goes on.`);
      },
    };
  }

  /** The puppet draws again; the model's memory is freed. */
  #leave(): void {
    if (this.#shown === null) return;
    this.#stage.receive(null);
    this.#shown.renderer.close();
    this.#shown = null;
    this.#name.textContent = "drawn";
    this.#sample.hidden = false;
    this.#back.hidden = true;
  }

  #fail(text: string): void {
    this.#say(make("p", "bad", text));
    this.#notify(modelNotice(text));
  }

  #say(...parts: readonly Node[]): void {
    this.#report.replaceChildren(...parts);
  }
}

function describe({ notes, fallbacks, missing }: ModelReport): readonly Node[] {
  const parts: Node[] = notes.map((note) => make("p", "", note));
  const groups = new Map<string, string[]>();
  for (const { channel, by } of fallbacks) groups.set(`By ${by}`, [...(groups.get(`By ${by}`) ?? []), channel]);
  if (missing.length > 0) groups.set("Missing", [...missing]);
  if (groups.size === 0) return parts;
  const rows = [...groups].flatMap(([what, channels]) => [make("dt", "", what), make("dd", "", channels.join(", "))]);
  const table = make("div", "table", [make("dl", "", rows)]);
  table.tabIndex = 0;
  table.setAttribute("role", "region");
  table.setAttribute("aria-label", "Shapes that the model has not");
  const details = make("details", "", [make("summary", "", "What stands in, and what is missing"), table]);
  details.addEventListener("toggle", () => {
    details.scrollIntoView({ block: "nearest" });
  });
  return [...parts, details];
}
