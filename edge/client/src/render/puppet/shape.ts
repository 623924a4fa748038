import type { LayerData } from "./format";
import type { Pose } from "./pose";

/** The points of one layer: at rest, and where a pose has moved them. */
export class Shape {
  readonly contours: Int32Array;
  /** Where the points are now: x, y, x, y, … in design units. */
  readonly points: Float32Array;
  /** How a gradient moves with the shape: a, b, c, d, e, f of an affine map. */
  readonly paintMap = new Float64Array([1, 0, 0, 1, 0, 0]);
  /** Opacity, at least 0; a value out of range in the file is what its fades start from. */
  alpha: number;

  private readonly rest: Float32Array;
  private readonly depth: Float32Array;
  private readonly keyDrivers: Int32Array;
  private readonly keyStarts: Int32Array;
  private readonly keyAt: Int32Array;
  private readonly keyBy: Float32Array;
  private readonly fadeDrivers: Int32Array;
  private readonly fadeBy: Float32Array;
  private readonly bone: number;
  private readonly second: number;
  private readonly mix: Float32Array | null;
  private readonly anchorX: number;
  private readonly anchorY: number;

  constructor(
    readonly layer: LayerData,
    pose: Pose,
  ) {
    const count = layer.points.length / 2;
    this.alpha = layer.alpha ?? 1;
    this.contours = Int32Array.from(layer.contours);
    this.rest = Float32Array.from(layer.points);
    this.points = Float32Array.from(layer.points);
    this.depth =
      typeof layer.depth === "number" ? new Float32Array(count).fill(layer.depth) : Float32Array.from(layer.depth);
    const keys = layer.keys ?? [];
    this.keyDrivers = Int32Array.from(keys, (key) => pose.driver(key.when));
    this.keyStarts = new Int32Array(keys.length + 1);
    keys.forEach((key, index) => (this.keyStarts[index + 1] = this.keyStarts[index]! + key.at.length));
    this.keyAt = Int32Array.from(keys.flatMap((key) => key.at));
    this.keyBy = Float32Array.from(keys.flatMap((key) => key.by));
    const fades = layer.fades ?? [];
    this.fadeDrivers = Int32Array.from(fades, (fade) => pose.driver(fade.when));
    this.fadeBy = Float32Array.from(fades, (fade) => fade.by);
    this.bone = pose.boneIndex.get(layer.bone)!;
    this.second = layer.toward === undefined ? -1 : pose.boneIndex.get(layer.toward.bone)!;
    this.mix = layer.toward === undefined ? null : Float32Array.from(layer.toward.mix);
    let x = 0;
    let y = 0;
    for (let i = 0; i < count; i += 1) {
      x += this.rest[i * 2]!;
      y += this.rest[i * 2 + 1]!;
    }
    this.anchorX = x / count;
    this.anchorY = y / count;
  }

  /** Add the keyforms, follow the bones, look through the camera. */
  update(pose: Pose, centerX: number, centerY: number, focal: number, matrices = pose.matrices): void {
    this.fade(pose);
    if (this.alpha <= 0 && this.layer.hidden !== true) return;
    this.addKeys(pose);
    this.follow(matrices, centerX, centerY, focal);
  }

  private fade(pose: Pose): void {
    let alpha = this.layer.alpha ?? 1;
    for (let i = 0; i < this.fadeDrivers.length; i += 1) alpha += this.fadeBy[i]! * pose.drivers[this.fadeDrivers[i]!]!;
    this.alpha = alpha > 0 ? (alpha < 1 ? alpha : 1) : 0;
  }

  private addKeys(pose: Pose): void {
    const { points, keyAt, keyBy, keyStarts } = this;
    points.set(this.rest);
    for (let key = 0; key < this.keyDrivers.length; key += 1) {
      const value = pose.drivers[this.keyDrivers[key]!]!;
      if (value === 0) continue;
      for (let i = keyStarts[key]!; i < keyStarts[key + 1]!; i += 1) {
        const at = keyAt[i]! * 2;
        points[at] = points[at]! + value * keyBy[i * 2]!;
        points[at + 1] = points[at + 1]! + value * keyBy[i * 2 + 1]!;
      }
    }
  }

  private follow(m: Float64Array, centerX: number, centerY: number, focal: number): void {
    const { points, depth, mix } = this;
    const b = this.bone * 12;
    const s = this.second * 12;
    let sumX = 0;
    let sumY = 0;
    const count = depth.length;
    for (let i = 0; i < count; i += 1) {
      const x = points[i * 2]!;
      const y = points[i * 2 + 1]!;
      const z = depth[i]!;
      let tx = m[b]! * x + m[b + 1]! * y + m[b + 2]! * z + m[b + 3]!;
      let ty = m[b + 4]! * x + m[b + 5]! * y + m[b + 6]! * z + m[b + 7]!;
      let tz = m[b + 8]! * x + m[b + 9]! * y + m[b + 10]! * z + m[b + 11]!;
      const share = mix === null ? 0 : mix[i]!;
      if (share !== 0) {
        tx += share * (m[s]! * x + m[s + 1]! * y + m[s + 2]! * z + m[s + 3]! - tx);
        ty += share * (m[s + 4]! * x + m[s + 5]! * y + m[s + 6]! * z + m[s + 7]! - ty);
        tz += share * (m[s + 8]! * x + m[s + 9]! * y + m[s + 10]! * z + m[s + 11]! - tz);
      }
      // Relative to the depth at rest, so that the rest pose is exactly what was drawn.
      const near = (focal - z) / (focal - tz);
      const px = centerX + (tx - centerX) * near;
      const py = centerY + (ty - centerY) * near;
      points[i * 2] = px;
      points[i * 2 + 1] = py;
      sumX += px;
      sumY += py;
    }
    const map = this.paintMap;
    map[0] = m[b]!;
    map[1] = m[b + 4]!;
    map[2] = m[b + 1]!;
    map[3] = m[b + 5]!;
    map[4] = sumX / count - m[b]! * this.anchorX - m[b + 1]! * this.anchorY;
    map[5] = sumY / count - m[b + 4]! * this.anchorX - m[b + 5]! * this.anchorY;
  }
}
