import { BLENDSHAPE_INDEX, type Blendshape } from "../../avatar/rig";

/** The five mouths of VRM. */
export const VOWELS = ["aa", "ih", "ou", "ee", "oh"] as const;
export type Vowel = (typeof VOWELS)[number];

/** A jaw this far open is as wide as speech opens it; the expression is then whole. */
const SPOKEN_JAW = 0.55;
const ROUND_MAX = 0.55;
const WIDE_MAX = 0.3;
/** From here to its double a round mouth goes from "oo" to "oh", and a wide one from "ee" to "eh". */
const ROUND_JAW = 0.12;
const WIDE_JAW = 0.2;
/** A smile at rest is no vowel. */
const REST_SMILE = 0.16;

const clamp = (value: number): number => Math.min(1, Math.max(0, value));

/**
 * What a mouth of 52 weights looks like as five vowels; each within 0 and 1, their sum at most 1.
 *
 * Three measures decide: how far the lips are apart, how round they are, how wide they are drawn.
 */
export function vowelsOf(weights: Float32Array): Readonly<Record<Vowel, number>> {
  const at = (name: Blendshape): number => weights[BLENDSHAPE_INDEX[name]]!;
  const lips =
    (at("mouthLowerDownLeft") + at("mouthLowerDownRight") + at("mouthUpperUpLeft") + at("mouthUpperUpRight")) / 4;
  // What closes the lips makes up for the jaw behind them.
  const jaw = Math.max(0, at("jawOpen") - at("mouthClose"));
  const open = clamp((jaw + 0.5 * Math.min(lips, 2 * jaw + 0.05)) / SPOKEN_JAW);
  const round = clamp((0.55 * at("mouthFunnel") + 0.75 * at("mouthPucker")) / ROUND_MAX) * clamp(jaw * 20);
  const stretch = (at("mouthStretchLeft") + at("mouthStretchRight")) / 2;
  const smile = Math.max(0, (at("mouthSmileLeft") + at("mouthSmileRight")) / 2 - REST_SMILE);
  const small = 1 - clamp(open * 2);
  // Wide lips that stay together are a smile.
  const wide = clamp((stretch + smile) / WIDE_MAX) * (1 - round) * (1 - small);
  const low = clamp((jaw - ROUND_JAW) / ROUND_JAW);
  const [ou, oh] = [round * (1 - low), round * low];
  const tall = clamp((jaw - WIDE_JAW) / WIDE_JAW);
  const plain = open * (1 - round) * (1 - wide);
  const aa = plain * (1 - 0.6 * small) + wide * tall * 0.6;
  const ih = plain * 0.6 * small + wide * tall * 0.4;
  const ee = wide * (1 - tall);
  const sum = Math.max(1, aa + ih + ou + ee + oh);
  return { aa: aa / sum, ih: ih / sum, ou: ou / sum, ee: ee / sum, oh: oh / sum };
}
