import type { Renderer, RendererFactory } from "../sdk";
import { Face, RendererError } from "../sdk";
import { byId } from "./dom";
import { ResolutionControl } from "./resolution";

/** More pixels than this cost battery and are not seen. */
const PIXEL_RATIO_MAX = 2;

/** The character on its stage. It lives from the moment its data is there. */
export class StageView {
  readonly face = new Face();
  readonly #stage = byId("stage");
  readonly #canvas = byId<HTMLCanvasElement>("canvas");
  readonly #wait = byId("stage-wait");
  readonly #factory: RendererFactory;
  #renderer: Renderer | null = null;
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
      this.face.setRenderer(renderer);
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

  describe(name: string, activity: string): void {
    this.#canvas.setAttribute("aria-label", `${name}, ${activity}`);
  }

  #watchSpeed(): void {
    let previousMs = performance.now();
    const watch = (nowMs: number): void => {
      requestAnimationFrame(watch);
      const intervalMs = nowMs - previousMs;
      previousMs = nowMs;
      if (this.#renderer !== null && this.#resolution.observe(intervalMs)) this.#fit();
    };
    requestAnimationFrame(watch);
  }

  #fit(): void {
    const { clientWidth: width, clientHeight: height } = this.#stage;
    if (width === 0 || height === 0) return;
    this.#canvas.style.width = `${width}px`;
    this.#canvas.style.height = `${height}px`;
    this.#renderer?.resize(width, height, Math.min(PIXEL_RATIO_MAX, devicePixelRatio) * this.#resolution.scale);
  }
}
