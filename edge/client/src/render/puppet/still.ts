import type { PuppetData } from "./format";
import { Painter, type Context2d } from "./painter";
import type { Pose } from "./pose";
import type { Shape } from "./shape";

/** A shorter run of layers is not worth a picture of its own. */
const RUN_MIN = 4;
/** Room for outlines around the points, in pixels. */
const EDGE_PIXELS = 6;

/** Layers `from` … `to` - 1; `still`: they follow the trunk alone. */
export interface Run {
  readonly from: number;
  readonly to: number;
  readonly still: boolean;
}

/** Parts layers into runs: those that nothing but spine and shoulders moves, and the rest. */
export function runsOf(data: PuppetData, pose: Pose): Run[] {
  const byId = new Map(data.layers.map((layer) => [layer.id, layer]));
  const calm = data.layers.map(
    (layer) =>
      layer.backdrop !== true &&
      layer.twinkle === undefined &&
      (layer.keys ?? []).length === 0 &&
      (layer.fades ?? []).length === 0 &&
      pose.isTrunk(layer.bone) &&
      (layer.toward === undefined || pose.isTrunk(layer.toward.bone)),
  );
  const still = data.layers.map(
    (layer, i) => calm[i]! && (layer.clip ?? []).every((id) => calm[data.layers.indexOf(byId.get(id)!)]!),
  );
  const runs: Run[] = [];
  for (let from = 0, to = 1; from < still.length; from = to, to += 1) {
    while (to < still.length && still[to] === still[from]) to += 1;
    const worth = still[from]! && to - from >= RUN_MIN;
    const last = runs.at(-1);
    if (!worth && last?.still === false) runs[runs.length - 1] = { ...last, to };
    else runs.push({ from, to, still: worth });
  }
  return runs;
}

/**
 * A picture of layers that only breathing moves, kept until it would change.
 *
 * It is drawn at the trunk's rounded pose, kept or not: so the same frame gives the same pixels, whatever came before.
 */
export class StillPicture {
  private readonly painter: Painter;
  private readonly known: Float64Array;
  private drawn = false;
  private readonly box: [x: number, y: number, width: number, height: number] = [0, 0, 0, 0];

  constructor(
    private readonly canvas: HTMLCanvasElement | OffscreenCanvas,
    private readonly context: Context2d,
    private readonly shapes: readonly Shape[],
    private readonly run: Run,
    pose: Pose,
    private readonly place: readonly [scale: number, x: number, y: number],
  ) {
    this.painter = new Painter(context, shapes);
    this.painter.place(...place);
    this.known = new Float64Array(pose.trunk.length);
  }

  /** Put the picture on a canvas of the same size, drawn again only if the trunk has moved. */
  draw(onto: Context2d, pose: Pose, center: readonly [number, number], focal: number): void {
    if (!this.drawn || pose.trunk.some((value, index) => value !== this.known[index])) {
      this.known.set(pose.trunk);
      this.drawn = true;
      this.redraw(pose, center, focal);
    }
    const [x, y, width, height] = this.box;
    if (width > 0 && height > 0) onto.drawImage(this.canvas, x, y, width, height, x, y, width, height);
  }

  close(): void {
    this.canvas.width = 1;
    this.canvas.height = 1;
  }

  private redraw(pose: Pose, center: readonly [number, number], focal: number): void {
    const [x, y, width, height] = this.box;
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.clearRect(x, y, width, height);
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let i = this.run.from; i < this.run.to; i += 1) {
      const { points } = this.shapes[i]!;
      this.shapes[i]!.update(pose, center[0], center[1], focal, pose.trunkMatrices);
      for (let at = 0; at < points.length; at += 2) {
        left = Math.min(left, points[at]!);
        right = Math.max(right, points[at]!);
        top = Math.min(top, points[at + 1]!);
        bottom = Math.max(bottom, points[at + 1]!);
      }
    }
    const [scale, offsetX, offsetY] = this.place;
    const edge = EDGE_PIXELS + EDGE_PIXELS * scale;
    const x0 = Math.max(0, Math.floor(left * scale + offsetX - edge));
    const y0 = Math.max(0, Math.floor(top * scale + offsetY - edge));
    this.box[0] = x0;
    this.box[1] = y0;
    this.box[2] = Math.min(this.canvas.width, Math.ceil(right * scale + offsetX + edge)) - x0;
    this.box[3] = Math.min(this.canvas.height, Math.ceil(bottom * scale + offsetY + edge)) - y0;
    this.painter.paint(false, 0, this.run.from, this.run.to);
  }
}
