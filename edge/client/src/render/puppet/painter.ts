import type { LayerData, Paint } from "./format";
import type { Shape } from "./shape";

export type Context2d = CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D;
type Style = string | CanvasGradient;

function styleOf(context: Context2d, paint: Paint): Style {
  if (typeof paint === "string") return paint;
  let gradient: CanvasGradient;
  if ("linear" in paint) gradient = context.createLinearGradient(...paint.linear);
  else {
    const [x, y, radius] = paint.radial;
    const squash = paint.squash ?? 1;
    gradient = context.createRadialGradient(x, y / squash, 0, x, y / squash, radius);
  }
  for (const [offset, color] of paint.stops) gradient.addColorStop(offset, color);
  return gradient;
}

function squashOf(paint: Paint | undefined): number {
  return typeof paint === "object" && "radial" in paint ? (paint.squash ?? 1) : 1;
}

/** Puts shapes on a 2D context: paths, gradients, clips and alpha, nothing else. Gradients are made once. */
export class Painter {
  private readonly fills: (Style | null)[];
  private readonly strokes: (Style | null)[];
  private readonly clips: (readonly Shape[])[];
  private scale = 1;
  private offsetX = 0;
  private offsetY = 0;
  private clipped: readonly Shape[] = [];

  constructor(
    private readonly context: Context2d,
    private readonly shapes: readonly Shape[],
  ) {
    const byId = new Map(shapes.map((shape) => [shape.layer.id, shape]));
    const known = new Map<string, readonly Shape[]>();
    const none: readonly Shape[] = [];
    this.fills = shapes.map(({ layer }) => (layer.fill === undefined ? null : styleOf(context, layer.fill)));
    this.strokes = shapes.map(({ layer }) =>
      layer.stroke === undefined ? null : styleOf(context, layer.stroke.paint),
    );
    this.clips = shapes.map(({ layer }) => {
      if (layer.clip === undefined || layer.clip.length === 0) return none;
      const name = layer.clip.join("\n");
      const clip = known.get(name) ?? layer.clip.map((id) => byId.get(id)!);
      known.set(name, clip);
      return clip;
    });
    this.clipped = none;
  }

  /** From design units to pixels. */
  place(scale: number, offsetX: number, offsetY: number): void {
    this.scale = scale;
    this.offsetX = offsetX;
    this.offsetY = offsetY;
  }

  /** Draw the shapes `from` … `to` - 1 for which `backdrop` is as given, in order. */
  paint(backdrop: boolean, timeS: number, from = 0, to = this.shapes.length): void {
    const { context, shapes } = this;
    context.save();
    this.clipped = [];
    this.base();
    for (let i = from; i < to; i += 1) {
      const shape = shapes[i]!;
      const layer = shape.layer;
      if (layer.hidden === true || shape.alpha <= 0 || (layer.backdrop === true) !== backdrop) continue;
      this.clipTo(this.clips[i]!);
      context.globalAlpha = shape.alpha * glimmer(layer, timeS);
      context.globalCompositeOperation = layer.blend ?? "source-over";
      this.trace(shape);
      const fill = this.fills[i];
      if (fill !== null && fill !== undefined) {
        if (typeof fill !== "string") this.paintBase(shape, squashOf(layer.fill));
        context.fillStyle = fill;
        context.fill();
        if (typeof fill !== "string") this.base();
      }
      const stroke = this.strokes[i];
      if (stroke !== null && stroke !== undefined) {
        context.strokeStyle = stroke;
        context.lineWidth = layer.stroke!.width;
        context.lineCap = "round";
        context.lineJoin = "round";
        context.stroke();
      }
    }
    if (this.clipped.length > 0) context.restore();
    context.restore();
  }

  private base(): void {
    this.context.setTransform(this.scale, 0, 0, this.scale, this.offsetX, this.offsetY);
  }

  private paintBase(shape: Shape, squash: number): void {
    const m = shape.paintMap;
    this.context.transform(m[0]!, m[1]!, m[2]! * squash, m[3]! * squash, m[4]!, m[5]!);
  }

  private clipTo(clip: readonly Shape[]): void {
    if (clip === this.clipped || (clip.length === 0 && this.clipped.length === 0)) return;
    if (this.clipped.length > 0) this.context.restore();
    this.clipped = clip;
    if (clip.length === 0) return;
    this.context.save();
    for (let i = 0; i < clip.length; i += 1) {
      this.trace(clip[i]!);
      this.context.clip();
    }
  }

  private trace(shape: Shape): void {
    const { context } = this;
    const { points, contours } = shape;
    const closed = shape.layer.closed;
    context.beginPath();
    let at = 0;
    for (let c = 0; c < contours.length; c += 1) {
      context.moveTo(points[at]!, points[at + 1]!);
      at += 2;
      for (let s = 0; s < contours[c]!; s += 1) {
        context.bezierCurveTo(
          points[at]!,
          points[at + 1]!,
          points[at + 2]!,
          points[at + 3]!,
          points[at + 4]!,
          points[at + 5]!,
        );
        at += 6;
      }
      if (closed) context.closePath();
    }
  }
}

function glimmer(layer: LayerData, timeS: number): number {
  const twinkle = layer.twinkle;
  if (twinkle === undefined) return 1;
  return 1 - twinkle.depth * (0.5 + 0.5 * Math.sin((timeS / twinkle.period + twinkle.phase) * 2 * Math.PI));
}
