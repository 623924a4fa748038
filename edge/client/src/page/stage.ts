import type { Renderer, RendererFactory } from "../sdk";
import { Face, RendererError } from "../sdk";
import { byId } from "./dom";
import { ResolutionControl } from "./resolution";

/** More pixels than this cost battery and are not seen. */
const PIXEL_RATIO_MAX = 2;

/** Another renderer, on a canvas of its own. */
export interface Guest {
  readonly renderer: Renderer;
  readonly canvas: HTMLCanvasElement;
}

/** The character on its stage. It lives from the moment its data is there. */
export class StageView {
  /** What the face was last asked to draw: a canvas that changes its size is empty until it is drawn on again. */
  #drawn: Parameters<Renderer["draw"]> | null = null;
  readonly face = new Face({
    kind: "stage",
    resize: () => undefined,
    draw: (...drawn) => {
      this.#drawn = drawn;
      this.#showing.renderer?.draw(...drawn);
    },
    close: () => undefined,
  });
  readonly #stage = byId("stage");
  readonly #canvas = byId<HTMLCanvasElement>("canvas");
  readonly #wait = byId("stage-wait");
  readonly #factory: RendererFactory;
  #renderer: Renderer | null = null;
  #guest: Guest | null = null;
  #loaded: string | null = null;
  readonly #resolution = new ResolutionControl();

  constructor(factory: RendererFactory) {
    this.#factory = factory;
    new ResizeObserver(() => {
      this.#fit();
    }).observe(this.#stage);
    this.#watchSpeed();
  }

  /**
   * Show a character. @param puppet its id, or the address of its data.
   */
  async load(puppet: string): Promise<void> {
    const path = puppet.endsWith(".json") ? puppet : `characters/${encodeURIComponent(puppet)}/puppet.json`;
    const url = new URL(path, document.baseURI).href;
    if (url === this.#loaded) return;
    this.#loaded = url;
    try {
      const response = await fetch(url);
      if (!response.ok) throw new RendererError(`The character's picture is missing (HTTP ${response.status}).`);
      const renderer = this.#factory.create(this.#canvas, await response.json());
      this.#renderer?.close();
      this.#renderer = renderer;
      this.#fit();
      this.#wait.hidden = true;
    } catch (error) {
      this.#loaded = null;
      this.#wait.textContent =
        error instanceof RendererError
          ? error.message
          : "The character's picture could not be loaded. The voice still works.";
      this.#wait.hidden = false;
    }
  }

  /**
   * Let another renderer draw the face, or with null the puppet again. The face goes on as it is; nobody is closed.
   */
  receive(guest: Guest | null): void {
    if (guest !== this.#guest) this.#guest?.canvas.remove();
    this.#guest = guest;
    if (guest !== null) {
      guest.canvas.className = "guest";
      guest.canvas.setAttribute("role", "img");
      guest.canvas.setAttribute("aria-label", this.#canvas.getAttribute("aria-label") ?? "");
      this.#canvas.after(guest.canvas);
    }
    this.#stage.dataset["renderer"] = this.#showing.renderer?.kind ?? "";
    this.#canvas.hidden = guest !== null;
    this.#fit();
  }

  describe(name: string, activity: string): void {
    for (const canvas of [this.#canvas, this.#guest?.canvas])
      canvas?.setAttribute("aria-label", `${name}, ${activity}`);
  }

  get #showing(): { readonly renderer: Renderer | null; readonly canvas: HTMLCanvasElement } {
    return this.#guest ?? { renderer: this.#renderer, canvas: this.#canvas };
  }

  #watchSpeed(): void {
    let previousMs = performance.now();
    const watch = (nowMs: number): void => {
      requestAnimationFrame(watch);
      const intervalMs = nowMs - previousMs;
      previousMs = nowMs;
      if (this.#showing.renderer !== null && this.#resolution.observe(intervalMs)) this.#fit();
    };
    requestAnimationFrame(watch);
  }

  #fit(): void {
    const { clientWidth: width, clientHeight: height } = this.#stage;
    if (width === 0 || height === 0) return;
    const { canvas, renderer } = this.#showing;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    renderer?.resize(width, height, Math.min(PIXEL_RATIO_MAX, devicePixelRatio) * this.#resolution.scale);
    if (this.#drawn !== null) renderer?.draw(...this.#drawn);
  }
}
