import type { AnimationFrame } from "../../avatar/frame";
import { RendererError, type Renderer, type RendererFactory } from "../renderer";
import type { PuppetData } from "./format";
import { Painter, type Context2d } from "./painter";
import { Pose } from "./pose";
import { Shape } from "./shape";
import { validatePuppet } from "./validate";

/** Larger canvases are drawn at this many pixels a side and scaled by the browser. */
const SIDE_PIXELS_MAX = 4_096;
/** Beyond this a face does not get visibly sharper, only a phone warmer. */
const DEVICE_PIXEL_RATIO_MAX = 2;

/** Which part of the backdrop a wide canvas shows: 0 is its top, 1 its foot. */
const BACKDROP_ANCHOR = 0.4;

/** Draws a puppet on a 2D canvas. What it draws depends on nothing but the frame, the time and the size. */
export class PuppetRenderer implements Renderer {
  readonly kind = "puppet";
  readonly data: PuppetData;
  readonly pose: Pose;
  readonly shapes: readonly Shape[];

  private readonly context: Context2d;
  private painter: Painter;
  private backdrop: HTMLCanvasElement | OffscreenCanvas | null = null;
  private closed = false;

  /** @throws RendererError when the data is unusable or the canvas has no 2D context. */
  constructor(
    private readonly canvas: HTMLCanvasElement | OffscreenCanvas,
    data: unknown,
  ) {
    this.data = validatePuppet(data);
    const context = canvas.getContext("2d", { alpha: false });
    if (context === null) throw new RendererError("The canvas cannot be drawn on: it already has another context.");
    this.context = context;
    this.pose = new Pose(this.data);
    this.shapes = this.data.layers.map((layer) => new Shape(layer, this.pose));
    this.painter = new Painter(context, this.shapes);
    this.frameScene();
  }

  resize(widthCss: number, heightCss: number, devicePixelRatio: number): void {
    const ratio = Math.min(Math.max(devicePixelRatio, 0.5), DEVICE_PIXEL_RATIO_MAX);
    const width = Math.min(Math.max(Math.round(widthCss * ratio), 1), SIDE_PIXELS_MAX);
    const height = Math.min(Math.max(Math.round(heightCss * ratio), 1), SIDE_PIXELS_MAX);
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.backdrop = null;
    this.frameScene();
  }

  draw(frame: AnimationFrame, timeMs: number): void {
    if (this.closed) return;
    this.backdrop ??= this.drawBackdrop();
    const [width, height] = this.data.size;
    this.pose.update(frame, timeMs);
    for (const shape of this.shapes) {
      if (shape.layer.backdrop !== true) shape.update(this.pose, width / 2, height * 0.45, this.data.focal);
    }
    const { context } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.globalCompositeOperation = "source-over";
    context.drawImage(this.backdrop, 0, 0);
    this.painter.paint(false, timeMs * 0.001);
  }

  close(): void {
    this.closed = true;
    if (this.backdrop !== null) {
      this.backdrop.width = 1;
      this.backdrop.height = 1;
    }
    this.backdrop = null;
  }

  /** The character stands on the lower edge and keeps her head in the picture, whatever the canvas' shape. */
  private frameScene(): void {
    const [width, height] = this.data.size;
    const scale = Math.min(this.canvas.height / height, this.canvas.width / this.data.safeWidth);
    this.painter.place(scale, (this.canvas.width - width * scale) / 2, this.canvas.height - height * scale);
  }

  private drawBackdrop(): HTMLCanvasElement | OffscreenCanvas {
    const { width, height } = this.canvas;
    let picture: HTMLCanvasElement | OffscreenCanvas;
    if (typeof OffscreenCanvas === "undefined") {
      picture = document.createElement("canvas");
      picture.width = width;
      picture.height = height;
    } else picture = new OffscreenCanvas(width, height);
    const context = picture.getContext("2d", { alpha: false });
    if (context === null) throw new RendererError("The browser gave no second canvas for the backdrop.");
    const painter = new Painter(context, this.shapes);
    const [designWidth, designHeight] = this.data.size;
    const scale = Math.max(width / designWidth, height / designHeight);
    painter.place(scale, (width - designWidth * scale) / 2, (height - designHeight * scale) * BACKDROP_ANCHOR);
    painter.paint(true, 0);
    return picture;
  }
}

/** Makes puppets; see `RendererFactory`. */
export const puppetFactory: RendererFactory = {
  create: (canvas, data) => new PuppetRenderer(canvas, data),
};
