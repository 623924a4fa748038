import type { AnimationFrame } from "../avatar/frame";
import { JOINTS } from "../avatar/rig";
import { BitReader } from "./bits";
import { RemoteProtocolError } from "./errors";
import {
  checksum,
  dequantize,
  GROUPS,
  JOINT_BASE,
  MIRRORED_JOINT,
  restState,
  SAME_JOINT,
  SCORE,
  STEP_SHIFTS,
  WEIGHT_MAX,
} from "./quantization";
import { COMPONENT_MAX } from "./quaternion";

/** Frames as deltas against a named baseline. Mirrors core/wire/frame_codec.py, the decoder; SPEC.md section 4. */
export const FRAME_HISTORY = 64;
const COMPONENT_BIAS = COMPONENT_MAX + 1;
const REST: Int16Array = restState();

/** A frame that cannot be decoded because the receiver lacks (or has another) baseline: ask for a keyframe. */
export interface BaselineMissing {
  /** The sequence number the frame refers to; null: the rest pose. */
  readonly baseline: number | null;
  /** The baseline was there, but the result has another checksum than the sender's. */
  readonly diverged: boolean;
}

type Turn = readonly [number, number, number];

/** Decodes one track's frames; keeps the last FRAME_HISTORY as baselines. */
export class FrameDecoder {
  readonly #history = new Map<number, Int16Array>();

  /** @throws RemoteProtocolError code `bad-frame`: `data` is no frame. */
  decode(data: Uint8Array, sequenceNumber: number): AnimationFrame | BaselineMissing {
    if (data.length < 2) throw new RemoteProtocolError("bad-frame", `frame of ${data.length} bytes`);
    const reader = new BitReader(data.subarray(2));
    if (reader.read(2) > 2) throw new RemoteProtocolError("bad-frame", "reserved layer");
    const distance = reader.read(7);
    if (distance > FRAME_HISTORY) throw new RemoteProtocolError("bad-frame", `baseline ${distance} frames back`);
    const name = distance === 0 ? null : (sequenceNumber - distance) & 0xffff;
    const baseline = name === null ? REST : this.#history.get(name);
    const state = (baseline ?? REST).slice();
    if (reader.read(1) === 1) state[SCORE] = reader.read(8);
    readWeights(reader, state);
    readJoints(reader, state);
    reader.finish();
    if (baseline === undefined) return { baseline: name, diverged: false };
    if (checksum(state) !== ((data[0]! << 8) | data[1]!)) {
      if (name !== null) this.#history.delete(name);
      return { baseline: name, diverged: true };
    }
    this.#remember(sequenceNumber & 0xffff, state);
    return dequantize(state);
  }

  #remember(sequenceNumber: number, state: Int16Array): void {
    this.#history.delete(sequenceNumber);
    this.#history.set(sequenceNumber, state);
    if (this.#history.size > FRAME_HISTORY) {
      for (const oldest of this.#history.keys()) {
        this.#history.delete(oldest);
        break;
      }
    }
  }
}

/** Zigzag back: 0, 1, 2, 3, 4 … are 0, 1, -1, 2, -2 … */
function signed(zigzag: number): number {
  return (zigzag & 1) === 1 ? (zigzag + 1) / 2 : -zigzag / 2;
}

function readWeights(reader: BitReader, state: Int16Array): void {
  const groups = reader.read(GROUPS.length);
  const shifts = STEP_SHIFTS[reader.read(2)]!;
  const move = (index: number, zigzag: number): void => {
    const value = state[index]! + signed(zigzag) * (1 << shifts[index]!);
    state[index] = Math.min(Math.max(value, 0), WEIGHT_MAX[index]!);
  };
  GROUPS.forEach((units, group) => {
    if ((groups & (1 << (GROUPS.length - 1 - group))) === 0) return;
    const mask = reader.read(units.length);
    const parameter = reader.read(3);
    units.forEach(({ first, second }, index) => {
      if ((mask & (1 << (units.length - 1 - index))) === 0) return;
      if (second < 0) {
        move(first, reader.readRice(parameter) + 1);
      } else if (reader.read(1) === 1) {
        const zigzag = reader.readRice(parameter) + 1;
        move(first, zigzag);
        move(second, zigzag);
      } else {
        move(first, reader.readRice(parameter));
        move(second, reader.readRice(parameter));
      }
    });
  });
}

function readJoints(reader: BitReader, state: Int16Array): void {
  const mask = reader.read(JOINTS.length);
  if (mask === 0) return;
  const shift = reader.read(2);
  const parameter = reader.read(3);
  const before: (Turn | null)[] = JOINTS.map(() => null);
  for (let joint = 0; joint < JOINTS.length; joint++) {
    if ((mask & (1 << (JOINTS.length - 1 - joint))) === 0) continue;
    const here = JOINT_BASE + 4 * joint;
    let change = predicted(joint, before);
    if (change === null || reader.read(1) === 0) {
      if (reader.read(1) === 1) {
        state[here] = reader.read(2);
        for (let offset = 1; offset < 4; offset++) state[here + offset] = clamped(reader.read(12) - COMPONENT_BIAS);
        continue;
      }
      const read = (): number => signed(reader.readRice(parameter));
      change = [read(), read(), read()];
    }
    before[joint] = change;
    change.forEach((delta, index) => {
      state[here + 1 + index] = clamped(state[here + 1 + index]! + delta * (1 << shift));
    });
  }
}

/** The right eye likely turns as the left, the right shoulder as the left's mirror image. */
function predicted(joint: number, before: readonly (Turn | null)[]): Turn | null {
  if (joint !== SAME_JOINT && joint !== MIRRORED_JOINT) return null;
  const left = before[joint - 1] ?? null;
  if (left === null || joint === SAME_JOINT) return left;
  return [left[0], -left[1], -left[2]];
}

function clamped(component: number): number {
  return Math.min(Math.max(component, -COMPONENT_MAX), COMPONENT_MAX);
}
