import { BLENDSHAPE_INDEX, JOINT_INDEX } from "../../avatar/rig";

/** What a `puppet.json` holds; docs/puppet.md explains each field. Lengths are design units, angles radians. */
export const PUPPET_FORMAT = "visavis-puppet/1";

/** Bounds of a puppet. A larger one is refused: it would not draw in a frame on a phone. */
export const PUPPET_LAYERS_MAX = 400;
export const PUPPET_POINTS_MAX = 24_000;
export const PUPPET_KEYS_MAX = 6_000;
export const PUPPET_BONES_MAX = 64;
export const PUPPET_STOPS_MAX = 16;
/** No coordinate, depth or offset lies further out than this. */
export const PUPPET_COORDINATE_MAX = 8_192;
/** A driver is a product of at most this many inputs. */
export const PUPPET_FACTORS_MAX = 4;

/** [offset in 0..1, "#rrggbb" or "#rrggbbaa"] */
export type Stop = readonly [number, string];

export type Paint =
  | string
  | { readonly linear: readonly [number, number, number, number]; readonly stops: readonly Stop[] }
  | { readonly radial: readonly [number, number, number]; readonly squash?: number; readonly stops: readonly Stop[] };

/** Offsets for the points `at`, times the product of the inputs `when`. */
export interface Key {
  readonly when: readonly string[];
  readonly at: readonly number[];
  readonly by: readonly number[];
}

export interface Fade {
  readonly when: readonly string[];
  readonly by: number;
}

/** A damped swing in gusts: a closed form of the time, so that a picture never depends on the ones before it. */
export interface Sway {
  readonly amplitude: number;
  readonly period: number;
  readonly damping: number;
  readonly gust: number;
  readonly phase: number;
}

export interface BoneData {
  readonly name: string;
  readonly parent: string | null;
  readonly pivot: readonly [number, number, number];
  /** The rig joint that turns it. */
  readonly joint?: string;
  /** Multiplies the joint's angle. */
  readonly gain?: number;
  /** How far it hangs with gravity while its parent rolls: 0 stiff, 1 a plumb line. */
  readonly hang?: number;
  readonly sway?: Sway;
}

export const BLENDS = ["source-over", "multiply", "screen", "overlay", "soft-light", "lighter"] as const;
export type Blend = (typeof BLENDS)[number];

export interface LayerData {
  readonly id: string;
  /** Cubic segments of each contour: a contour of n segments has 3n + 1 points. */
  readonly contours: readonly number[];
  readonly closed: boolean;
  readonly points: readonly number[];
  /** One depth for all points, or one for each; towards the viewer is positive. */
  readonly depth: number | readonly number[];
  readonly bone: string;
  /** Points follow a second bone by these fractions. */
  readonly toward?: { readonly bone: string; readonly mix: readonly number[] };
  readonly keys?: readonly Key[];
  readonly alpha?: number;
  readonly fades?: readonly Fade[];
  readonly fill?: Paint;
  readonly stroke?: { readonly paint: Paint; readonly width: number };
  /** Drawn only inside all these layers' shapes. */
  readonly clip?: readonly string[];
  readonly blend?: Blend;
  /** The backdrop covers the whole canvas and stands still. */
  readonly backdrop?: boolean;
  /** Seconds of one glimmer of a star. */
  readonly twinkle?: { readonly period: number; readonly phase: number; readonly depth: number };
  /** A shape that only clips others. */
  readonly hidden?: boolean;
}

export interface PuppetData {
  readonly format: typeof PUPPET_FORMAT;
  readonly rig: string;
  readonly id: string;
  readonly name: string;
  /** "sha256:" and the hash of everything else in the file. */
  readonly version: string;
  readonly size: readonly [number, number];
  /** How much of the width must stay visible on a narrow canvas. */
  readonly safeWidth: number;
  /** Distance of the camera: smaller means stronger perspective. */
  readonly focal: number;
  readonly bones: readonly BoneData[];
  readonly layers: readonly LayerData[];
}

/** Angle of a joint axis that counts as 1 for an input such as "head.yaw+". */
export const AXIS_FULL_RAD = 0.5;
export const AXES = ["pitch", "yaw", "roll"] as const;

/** What the jaw's opening becomes: lips that part with it, or lips that stay shut while it drops behind them. */
export const DERIVED_INPUTS = ["lips.open", "lips.shut"] as const;

/** Inputs 0..51 are weights; then for each joint pitch+, pitch-, yaw+, yaw-, roll+, roll-; then the derived ones. */
export const INPUTS: ReadonlyMap<string, number> = (() => {
  const inputs = new Map<string, number>(Object.entries(BLENDSHAPE_INDEX));
  const first = inputs.size;
  for (const [joint, index] of Object.entries(JOINT_INDEX)) {
    AXES.forEach((axis, a) => {
      inputs.set(`${joint}.${axis}+`, first + index * 6 + a * 2);
      inputs.set(`${joint}.${axis}-`, first + index * 6 + a * 2 + 1);
    });
  }
  for (const name of DERIVED_INPUTS) inputs.set(name, inputs.size);
  return inputs;
})();
