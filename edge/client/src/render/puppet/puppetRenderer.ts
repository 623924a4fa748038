import type { AnimationFrame } from "../../avatar/frame";
import { RendererError, type Renderer, type RendererFactory } from "../renderer";
import type { PuppetData } from "./format";
import { Painter, type Context2d } from "./painter";
import { Pose } from "./pose";
import { Shape } from "./shape";
import { runsOf, StillPicture, type Run } from "./still";
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
  private readonly runs: readonly Run[];
  private readonly center: readonly [number, number];
  private readonly painter: Painter;
  private place: [scale: number, x: number, y: number] = [1, 0, 0];
  private stills = new Map<Run, StillPicture>();
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
    this.runs = runsOf(this.data, this.pose);
    this.center = [this.data.size[0] / 2, this.data.size[1] * 0.45];
    this.painter = new Painter(context, this.shapes);
    this.frameScene();
  }

  resize(widthCss: number, heightCss: number, devicePixelRatio: number): void {
    const ratio = Math.min(Math.max(devicePixelRatio, 0.5), DEVICE_PIXEL_RATIO_MAX);
    const width = Math.min(Math.max(Math.round(widthCss * ratio), 1), SIDE_PIXELS_MAX);
    const height = Math.min(Math.max(Math.round(heightCss * ratio), 1), SIDE_PIXELS_MAX);
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.forgetPictures();
    this.frameScene();
  }

  draw(frame: AnimationFrame, timeMs: number): void {
    if (this.closed) return;
    this.backdrop ??= this.drawBackdrop();
    const { context, pose, shapes, center } = this;
    const { focal } = this.data;
    pose.update(frame, timeMs);
    for (const run of this.runs) {
      if (run.still) continue;
      for (let i = run.from; i < run.to; i += 1) {
        if (shapes[i]!.layer.backdrop !== true) shapes[i]!.update(pose, center[0], center[1], focal);
      }
    }
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.globalCompositeOperation = "source-over";
    context.drawImage(this.backdrop, 0, 0);
    for (const run of this.runs) {
      if (run.still) this.still(run).draw(context, pose, center, focal);
      else this.painter.paint(false, timeMs * 0.001, run.from, run.to);
    }
  }

  close(): void {
    this.closed = true;
    this.forgetPictures();
  }

  /** What was drawn for another size; a canvas of one pixel gives its memory back at once. */
  private forgetPictures(): void {
    if (this.backdrop !== null) {
      this.backdrop.width = 1;
      this.backdrop.height = 1;
    }
    this.backdrop = null;
    for (const still of this.stills.values()) still.close();
    this.stills.clear();
  }

  private still(run: Run): StillPicture {
    const known = this.stills.get(run);
    if (known !== undefined) return known;
    const { picture, context } = this.newPicture(true);
    const still = new StillPicture(picture, context, this.shapes, run, this.pose, this.place);
    this.stills.set(run, still);
    return still;
  }

  /** The character stands on the lower edge and keeps her head in the picture, whatever the canvas' shape. */
  private frameScene(): void {
    const [width, height] = this.data.size;
    const scale = Math.min(this.canvas.height / height, this.canvas.width / this.data.safeWidth);
    this.place = [scale, (this.canvas.width - width * scale) / 2, this.canvas.height - height * scale];
    this.painter.place(...this.place);
    this.pose.setScale(scale);
  }

  /** A canvas off the page, of the same size. */
  private newPicture(alpha: boolean): { picture: HTMLCanvasElement | OffscreenCanvas; context: Context2d } {
    const { width, height } = this.canvas;
    let picture: HTMLCanvasElement | OffscreenCanvas;
    if (typeof OffscreenCanvas === "undefined") {
      picture = document.createElement("canvas");
      picture.width = width;
      picture.height = height;
    } else picture = new OffscreenCanvas(width, height);
    const context = picture.getContext("2d", { alpha });
    if (context === null) throw new RendererError("The browser gave no second canvas to draw on.");
    return { picture, context };
  }

  private drawBackdrop(): HTMLCanvasElement | OffscreenCanvas {
    const { width, height } = this.canvas;
    const { picture, context } = this.newPicture(false);
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
