import type { AnimationFrame } from "../../avatar/frame";
import { BLENDSHAPE_INDEX, BLENDSHAPES, JOINT_INDEX, JOINTS, type Joint } from "../../avatar/rig";
import { AXIS_FULL_RAD, INPUTS, type BoneData, type PuppetData, type Sway } from "./format";

const GUSTS = 3;
/** Eye turn that an eyeLook weight of 1 stands for: 30 degrees, ARKit's reach. */
const LOOK_FULL_RAD = 0.5236;
/** Joints of the trunk; what follows them alone hardly moves. */
const TRUNK: readonly (Joint | undefined)[] = ["spine", "leftShoulder", "rightShoulder", undefined];
/**
 * Steps to which x, y and z of the trunk's quaternions are rounded, for a picture of one pixel per design unit. A step
 * moves no point of a bust by more than 0.45 pixels: pitch and yaw act through depth and perspective only.
 */
const TRUNK_STEPS = [1 / 512, 1 / 256, 1 / 2048] as const;
/** Rounds the corner where shut lips begin to part. */
const PART_SOFTNESS = 0.03;

const JAW_OPEN = BLENDSHAPE_INDEX.jawOpen;
const MOUTH_CLOSE = BLENDSHAPE_INDEX.mouthClose;
const LIPS_OPEN = INPUTS.get("lips.open")!;
const LIPS_SHUT = INPUTS.get("lips.shut")!;

/** For each eye: inputs of its joint's turn, and the weights that show the same turn. */
const LOOKS: readonly (readonly [joint: number, weight: number])[] = (["Left", "Right"] as const).flatMap((side) => {
  const eye = side === "Left" ? "leftEye" : "rightEye";
  const [outward, inward] = side === "Left" ? ["yaw+", "yaw-"] : ["yaw-", "yaw+"];
  return [
    [INPUTS.get(`${eye}.pitch+`)!, BLENDSHAPE_INDEX[`eyeLookDown${side}`]],
    [INPUTS.get(`${eye}.pitch-`)!, BLENDSHAPE_INDEX[`eyeLookUp${side}`]],
    [INPUTS.get(`${eye}.${outward}`)!, BLENDSHAPE_INDEX[`eyeLookOut${side}`]],
    [INPUTS.get(`${eye}.${inward}`)!, BLENDSHAPE_INDEX[`eyeLookIn${side}`]],
  ] as [number, number][];
});

/**
 * How far the lips part when the jaw opens and `mouthClose` makes up for some of it: 0 as soon as it makes up for all,
 * exactly `jaw` where nothing closes.
 */
export function lipsApart(jaw: number, close: number): number {
  const apart = jaw - close;
  if (apart <= 0) return 0;
  const soft = Math.min(close, PART_SOFTNESS);
  return apart < soft ? (apart * apart) / (2 * soft) : apart - soft / 2;
}

/** A number in [0, 1) that looks random and is always the same for the same gust. */
function chance(gust: number, phase: number): number {
  const wave = Math.sin(gust * 127.1 + phase * 311.7) * 43758.5453;
  return wave - Math.floor(wave);
}

/** Angle of a lock of hair at a time: each gust kicks a damped spring, and the last few kicks are summed. */
export function swayAngle(sway: Sway, timeS: number): number {
  const time = timeS + sway.phase;
  const last = Math.floor(time / sway.gust);
  const omega = (2 * Math.PI) / sway.period;
  let angle = 0.25 * Math.sin(time * omega * 0.31 + sway.phase);
  for (let gust = last; gust > last - GUSTS; gust -= 1) {
    const since = time - (gust + 0.4 * chance(gust, sway.phase)) * sway.gust;
    if (since <= 0) continue;
    const strength = 0.4 + 0.6 * chance(gust + 0.5, sway.phase);
    angle += strength * Math.exp(-since * sway.damping) * Math.sin(since * omega);
  }
  return sway.amplitude * angle;
}

/** Pitch, yaw and roll of a unit quaternion (x, y, z, w), applied in the order roll, pitch, yaw. */
function pitchOf(x: number, y: number, z: number, w: number): number {
  return Math.asin(Math.max(-1, Math.min(1, 2 * (w * x - y * z))));
}
function yawOf(x: number, y: number, z: number, w: number): number {
  return Math.atan2(2 * (w * y + x * z), 1 - 2 * (x * x + y * y));
}
function rollOf(x: number, y: number, z: number, w: number): number {
  return Math.atan2(2 * (w * z + x * y), 1 - 2 * (x * x + z * z));
}

/** Everything of a frame that geometry depends on: inputs, their products, and one matrix for each bone. */
export class Pose {
  readonly inputs = new Float32Array(INPUTS.size);
  /** Value of each driver: the product of its inputs. */
  readonly drivers: Float32Array;
  /** 3 rows x 4 columns for each bone. */
  readonly matrices: Float64Array;
  readonly boneIndex: ReadonlyMap<string, number>;
  /** x, y, z of each trunk bone's rotation, rounded. */
  readonly trunk: Float64Array;
  /** As `matrices`, but of the rounded trunk; other bones' are not kept up. */
  readonly trunkMatrices: Float64Array;

  private readonly trunkBones: readonly number[];
  private trunkScale = 1;
  private readonly driverIndex = new Map<string, number>();
  private readonly factors: Int32Array;
  private readonly factorStarts: Int32Array;
  private readonly bones: readonly BoneData[];
  private readonly parents: Int32Array;
  private readonly joints: Int32Array;
  private readonly rolls: Float64Array;
  private readonly local = new Float64Array(9);

  constructor(data: PuppetData) {
    this.bones = data.bones;
    this.boneIndex = new Map(data.bones.map((bone, index) => [bone.name, index]));
    this.parents = Int32Array.from(data.bones, (bone) =>
      bone.parent === null ? -1 : (this.boneIndex.get(bone.parent) ?? -1),
    );
    this.joints = Int32Array.from(data.bones, (bone) =>
      bone.joint === undefined ? -1 : JOINT_INDEX[bone.joint as (typeof JOINTS)[number]],
    );
    this.matrices = new Float64Array(data.bones.length * 12);
    this.rolls = new Float64Array(data.bones.length);
    const trunkBones = new Set<number>();
    data.bones.forEach((bone, index) => {
      const base = bone.parent === null || trunkBones.has(this.parents[index]!);
      const stiff = bone.sway === undefined && bone.hang === undefined;
      if (base && stiff && TRUNK.includes(bone.joint as Joint | undefined)) trunkBones.add(index);
    });
    this.trunkBones = [...trunkBones];
    this.trunk = new Float64Array(this.trunkBones.length * 3);
    this.trunkMatrices = new Float64Array(data.bones.length * 12);
    const factors: number[] = [];
    const starts = [0];
    for (const layer of data.layers) {
      for (const { when } of [...(layer.keys ?? []), ...(layer.fades ?? [])]) {
        const name = when.join("*");
        if (this.driverIndex.has(name)) continue;
        this.driverIndex.set(name, this.driverIndex.size);
        factors.push(...when.map((input) => INPUTS.get(input)!));
        starts.push(factors.length);
      }
    }
    this.factors = Int32Array.from(factors);
    this.factorStarts = Int32Array.from(starts);
    this.drivers = new Float32Array(this.driverIndex.size);
  }

  driver(when: readonly string[]): number {
    return this.driverIndex.get(when.join("*"))!;
  }

  /** Whether nothing but spine and shoulders turns this bone. */
  isTrunk(bone: string): boolean {
    return this.trunkBones.includes(this.boneIndex.get(bone)!);
  }

  /** Pixels per design unit: the trunk is rounded more finely where it is drawn larger. */
  setScale(scale: number): void {
    this.trunkScale = Math.max(1, scale);
  }

  /** Take a frame at a time. */
  update(frame: AnimationFrame, timeMs: number): void {
    const { inputs, drivers, factors, factorStarts } = this;
    for (let i = 0; i < BLENDSHAPES.length; i += 1) {
      const weight = frame.weights[i]!;
      inputs[i] = weight > 0 ? (weight < 1 ? weight : 1) : 0;
    }
    for (let joint = 0; joint < JOINTS.length; joint += 1) {
      const x = frame.joints[joint * 4]!;
      const y = frame.joints[joint * 4 + 1]!;
      const z = frame.joints[joint * 4 + 2]!;
      const w = frame.joints[joint * 4 + 3]!;
      const at = BLENDSHAPES.length + joint * 6;
      this.axis(at, pitchOf(x, y, z, w));
      this.axis(at + 2, yawOf(x, y, z, w));
      this.axis(at + 4, rollOf(x, y, z, w));
    }
    // Joints and eyeLook weights tell the same turn: a weight counts only as far as it exceeds its joint.
    for (const [joint, weight] of LOOKS) {
      const beyond = inputs[weight]! - inputs[joint]! * (AXIS_FULL_RAD / LOOK_FULL_RAD);
      inputs[weight] = beyond > 0 ? beyond : 0;
    }
    const jaw = inputs[JAW_OPEN]!;
    const apart = lipsApart(jaw, inputs[MOUTH_CLOSE]!);
    inputs[LIPS_OPEN] = apart;
    inputs[LIPS_SHUT] = jaw - apart;
    for (let d = 0; d < drivers.length; d += 1) {
      let product = 1;
      for (let f = factorStarts[d]!; f < factorStarts[d + 1]!; f += 1) product *= inputs[factors[f]!]!;
      drivers[d] = product;
    }
    for (let bone = 0; bone < this.bones.length; bone += 1) this.turn(bone, frame, timeMs * 0.001);
    this.roundTrunk(frame);
  }

  private roundTrunk(frame: AnimationFrame): void {
    this.trunkBones.forEach((index, at) => {
      const joint = this.joints[index]!;
      const bone = this.bones[index]!;
      const [x, y, z] = [0, 1, 2].map((axis) => {
        const step = TRUNK_STEPS[axis]! / this.trunkScale;
        const value = joint < 0 ? 0 : frame.joints[joint * 4 + axis]! * (bone.gain ?? 1) * (axis === 1 ? 1 : -1);
        const rounded = Math.round(value / step) * step;
        this.trunk[at * 3 + axis] = rounded;
        return rounded;
      }) as [number, number, number];
      this.rotation(x, y, z, Math.sqrt(Math.max(0, 1 - x * x - y * y - z * z)));
      this.compose(index, this.parents[index]!, bone.pivot, this.trunkMatrices);
    });
  }

  private axis(at: number, angle: number): void {
    const value = Math.max(-1, Math.min(1, angle / AXIS_FULL_RAD));
    this.inputs[at] = value > 0 ? value : 0;
    this.inputs[at + 1] = value < 0 ? -value : 0;
  }

  /** The picture's y points down, the rig's up: conjugating a rotation with that flip negates its x and z axes. */
  private turn(index: number, frame: AnimationFrame, timeS: number): void {
    const bone = this.bones[index]!;
    const parent = this.parents[index]!;
    const joint = this.joints[index]!;
    let x = 0;
    let y = 0;
    let z = 0;
    let w = 1;
    if (joint >= 0) {
      const gain = bone.gain ?? 1;
      x = -frame.joints[joint * 4]! * gain;
      y = frame.joints[joint * 4 + 1]! * gain;
      z = -frame.joints[joint * 4 + 2]! * gain;
      w = frame.joints[joint * 4 + 3]!;
    }
    let roll = 2 * Math.atan2(z, w);
    let extra = 0;
    if (bone.sway !== undefined) extra += swayAngle(bone.sway, timeS);
    if (bone.hang !== undefined && parent >= 0) extra -= bone.hang * this.rolls[parent]!;
    if (extra !== 0) {
      z += extra * 0.5;
      roll += extra;
    }
    this.rolls[index] = roll + (parent >= 0 ? this.rolls[parent]! : 0);
    const norm = 1 / (Math.hypot(x, y, z, w) || 1);
    this.rotation(x * norm, y * norm, z * norm, w * norm);
    this.compose(index, parent, bone.pivot, this.matrices);
  }

  private rotation(x: number, y: number, z: number, w: number): void {
    const m = this.local;
    m[0] = 1 - 2 * (y * y + z * z);
    m[1] = 2 * (x * y - z * w);
    m[2] = 2 * (x * z + y * w);
    m[3] = 2 * (x * y + z * w);
    m[4] = 1 - 2 * (x * x + z * z);
    m[5] = 2 * (y * z - x * w);
    m[6] = 2 * (x * z - y * w);
    m[7] = 2 * (y * z + x * w);
    m[8] = 1 - 2 * (x * x + y * y);
  }

  private compose(
    index: number,
    parent: number,
    pivot: readonly [number, number, number],
    matrices: Float64Array,
  ): void {
    const { local } = this;
    const [px, py, pz] = pivot;
    const at = index * 12;
    for (let row = 0; row < 3; row += 1) {
      const a = local[row * 3]!;
      const b = local[row * 3 + 1]!;
      const c = local[row * 3 + 2]!;
      matrices[at + row * 4] = a;
      matrices[at + row * 4 + 1] = b;
      matrices[at + row * 4 + 2] = c;
      matrices[at + row * 4 + 3] = pivot[row]! - a * px - b * py - c * pz;
    }
    if (parent < 0) return;
    const up = parent * 12;
    for (let column = 0; column < 4; column += 1) {
      const a = matrices[at + column]!;
      const b = matrices[at + 4 + column]!;
      const c = matrices[at + 8 + column]!;
      for (let row = 0; row < 3; row += 1) {
        matrices[at + row * 4 + column] =
          matrices[up + row * 4]! * a +
          matrices[up + row * 4 + 1]! * b +
          matrices[up + row * 4 + 2]! * c +
          (column === 3 ? matrices[up + row * 4 + 3]! : 0);
      }
    }
  }
}
