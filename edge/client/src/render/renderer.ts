import type { AnimationFrame } from "../avatar/frame";

/** Draws a face. One canvas, one character; knows nothing of networks or clocks. */
export interface Renderer {
  /** "puppet", later also "vrm", "video" … */
  readonly kind: string;
  /** Canvas size in CSS pixels and device pixel ratio; call whenever they change. */
  resize(widthCss: number, heightCss: number, devicePixelRatio: number): void;
  /**
   * Draw one frame. The same frame, time and size give the same picture.
   * @param timeMs monotonic milliseconds; drives only secondary motion (hair, cloth).
   */
  draw(frame: AnimationFrame, timeMs: number): void;
  /** Free everything. */
  close(): void;
}

/** Makes a renderer for a character's data; throws RendererError with a clear sentence when the data is unusable. */
export interface RendererFactory {
  create(canvas: HTMLCanvasElement | OffscreenCanvas, data: unknown): Renderer;
}

export class RendererError extends Error {
  override name = "RendererError";
}
