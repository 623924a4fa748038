/** From our 52 channels to whatever shapes and expressions a model has. Pure. */
import { BLENDSHAPE_INDEX, BLENDSHAPES, type Blendshape } from "../../avatar/rig";
import { FALLBACKS, MOODS, VOWEL_CHANNELS, type Preset, type Stand } from "./fallbacks";
import { ownShapes } from "./names";
import { VOWELS, vowelsOf, type Vowel } from "./vowels";

/** What a model offers. */
export interface Offer {
  /** Names of its morph targets. */
  readonly shapes: readonly string[];
  /** Names of its expressions, VRM 1.0 spelling; empty for a plain GLB. */
  readonly expressions: readonly string[];
  /** It has a bone that opens the mouth. */
  readonly jawBone: boolean;
  /** Gaze is done elsewhere: by eye bones or by the VRM's own look-at. */
  readonly eyes: boolean;
}

/** One morph target or expression, and the sum that moves it. */
export interface Drive {
  readonly kind: "shape" | "expression";
  readonly name: string;
  readonly from: readonly (readonly [Blendshape | Vowel, number])[];
}

/** How one channel is shown by others. `by` is for people. */
export interface Fallback {
  readonly channel: Blendshape;
  readonly by: string;
}

/** What is driven, and what became of each of the 52 channels: each is in exactly one of the three lists. */
export interface Mapping {
  readonly drives: readonly Drive[];
  readonly mapped: readonly Blendshape[];
  readonly fallbacks: readonly Fallback[];
  readonly missing: readonly Blendshape[];
  /** Share of the jaw's weight that the jaw bone takes, with what lessens it; empty without one. */
  readonly jaw: readonly Stand[];
}

const LOOKS: readonly (readonly [Preset, readonly Stand[]])[] = [
  ["lookUp", [["eyeLookUpLeft", 0.5], ["eyeLookUpRight", 0.5]]],
  ["lookDown", [["eyeLookDownLeft", 0.5], ["eyeLookDownRight", 0.5]]],
  ["lookLeft", [["eyeLookOutLeft", 0.5], ["eyeLookInRight", 0.5]]],
  ["lookRight", [["eyeLookInLeft", 0.5], ["eyeLookOutRight", 0.5]]],
]; // prettier-ignore

/** Choose for every channel. */
export function mapModel(offer: Offer): Mapping {
  return new Chooser(offer).choose();
}

/** The value of a drive for these weights, within 0 and 1. */
function driveValue(drive: Drive, weights: Float32Array, vowels: Readonly<Record<Vowel, number>>): number {
  let sum = 0;
  for (const [source, gain] of drive.from) {
    sum += gain * (source in vowels ? vowels[source as Vowel] : weights[BLENDSHAPE_INDEX[source as Blendshape]]!);
  }
  return Math.min(1, Math.max(0, sum));
}

/** All values, in the order of `mapping.drives`. */
export function driveValues(mapping: Mapping, weights: Float32Array): number[] {
  const vowels = vowelsOf(weights);
  const sound = Float32Array.from(weights);
  // A mouth that closes further than it is open turns inside out.
  const [jaw, close] = [BLENDSHAPE_INDEX.jawOpen, BLENDSHAPE_INDEX.mouthClose];
  sound[close] = Math.min(sound[close]!, sound[jaw]!);
  return mapping.drives.map((drive) => driveValue(drive, sound, vowels));
}

class Chooser {
  readonly #offer: Offer;
  readonly #own: ReadonlyMap<Blendshape, readonly (readonly [string, number])[]>;
  readonly #ownExpressions: ReadonlyMap<Blendshape, readonly (readonly [string, number])[]>;
  readonly #sums = new Map<string, { kind: Drive["kind"]; name: string; from: Map<Blendshape | Vowel, number> }>();
  readonly #fallbacks = new Map<Blendshape, string>();
  readonly #jaw: Stand[] = [];

  constructor(offer: Offer) {
    this.#offer = offer;
    this.#own = ownShapes(offer.shapes);
    this.#ownExpressions = ownShapes(offer.expressions);
  }

  choose(): Mapping {
    const mapped = BLENDSHAPES.filter((channel) => this.#has(channel));
    for (const channel of mapped) this.#show(channel, channel, 1);
    if (!mapped.includes("jawOpen")) this.#openJaw();
    for (const channel of BLENDSHAPES) if (!this.#done(channel)) this.#standIn(channel);
    this.#presets();
    const missing = BLENDSHAPES.filter((channel) => !this.#done(channel));
    return {
      drives: [...this.#sums.values()].map(({ kind, name, from }) => ({ kind, name, from: [...from] })),
      mapped,
      fallbacks: BLENDSHAPES.flatMap((channel) => {
        const by = this.#fallbacks.get(channel);
        return by === undefined ? [] : [{ channel, by }];
      }),
      missing,
      jaw: this.#jaw,
    };
  }

  #has(channel: Blendshape): boolean {
    return this.#own.has(channel) || this.#ownExpressions.has(channel);
  }

  #done(channel: Blendshape): boolean {
    return this.#has(channel) || this.#fallbacks.has(channel);
  }

  /** Let the shapes of `by` move with `channel`. */
  #show(channel: Blendshape | Vowel, by: Blendshape, gain: number): void {
    const expressions = this.#ownExpressions.get(by);
    const kind = expressions === undefined ? "shape" : "expression";
    for (const [name, share] of expressions ?? this.#own.get(by) ?? []) this.#add(kind, name, channel, gain * share);
  }

  #add(kind: Drive["kind"], name: string, source: Blendshape | Vowel, gain: number): void {
    const key = `${kind} ${name}`;
    const sum = this.#sums.get(key) ?? { kind, name, from: new Map<Blendshape | Vowel, number>() };
    sum.from.set(source, (sum.from.get(source) ?? 0) + gain);
    this.#sums.set(key, sum);
  }

  /** A mouth that opens matters most: by a bone if there is no shape; the lips that meet over it close it again. */
  #openJaw(): void {
    if (!this.#offer.jawBone) return;
    this.#jaw.push(["jawOpen", 1], ["mouthClose", -1]);
    this.#fallbacks.set("jawOpen", "the jaw bone");
    if (!this.#has("mouthClose")) this.#fallbacks.set("mouthClose", "the jaw bone");
  }

  #standIn(channel: Blendshape): void {
    if (this.#offer.eyes && channel.startsWith("eyeLook")) {
      this.#fallbacks.set(channel, "the eyes themselves");
      return;
    }
    for (const stands of FALLBACKS.get(channel) ?? []) {
      if (!stands.every(([by]) => this.#has(by))) continue;
      for (const [by, gain] of stands) this.#show(channel, by, gain);
      this.#fallbacks.set(channel, stands.map(([by, gain]) => (gain < 0 ? `less ${by}` : by)).join(" and "));
      return;
    }
  }

  /** VRM's own expressions, for what has no shape. */
  #presets(): void {
    const offered = new Set(this.#offer.expressions);
    const vowels = VOWELS.filter((vowel) => offered.has(vowel));
    if (vowels.includes("aa") && !this.#done("jawOpen")) {
      for (const vowel of VOWELS) this.#add("expression", vowels.includes(vowel) ? vowel : "aa", vowel, 1);
      for (const channel of VOWEL_CHANNELS) {
        if (!this.#done(channel)) this.#fallbacks.set(channel, `the vowels ${vowels.join(", ")}`);
      }
    }
    for (const side of ["Left", "Right"] as const) {
      const channel = `eyeBlink${side}` as const;
      if (this.#done(channel)) continue;
      if (offered.has(`blink${side}`)) this.#preset(`blink${side}`, [[channel, 1]]);
      else if (offered.has("blink")) this.#preset("blink", [[channel, 0.5]]);
    }
    for (const [preset, stands] of [...LOOKS, ...MOODS]) {
      const open = stands.filter(([channel]) => !this.#done(channel));
      if (offered.has(preset) && open.length > 0) this.#preset(preset, open);
    }
  }

  #preset(preset: Preset, stands: readonly Stand[]): void {
    for (const [channel, gain] of stands) {
      this.#add("expression", preset, channel, gain);
      this.#fallbacks.set(channel, `the expression “${preset}”`);
    }
  }
}
