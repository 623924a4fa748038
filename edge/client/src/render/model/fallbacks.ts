/** Which shape does the work of one that a model has not. Declared here, chosen in mapping.ts, told in the report. */
import type { Blendshape } from "../../avatar/rig";

/** The share of a channel that another channel's shape takes over; negative takes away from it. */
export type Stand = readonly [Blendshape, number];

const both = (make: (side: "Left" | "Right") => readonly [Blendshape, readonly (readonly Stand[])[]]) =>
  [make("Left"), make("Right")] as const;

/** For each channel the replacements in order of preference; one is taken if the model has all of its shapes. */
export const FALLBACKS: ReadonlyMap<Blendshape, readonly (readonly Stand[])[]> = new Map<
  Blendshape,
  readonly (readonly Stand[])[]
>([
  // Lips that meet over an open jaw: without that shape the jaw has to shut.
  ["mouthClose", [[["jawOpen", -1]]]],
  ["mouthFunnel", [[["mouthPucker", 0.7]]]],
  ["mouthPucker", [[["mouthFunnel", 0.7]]]],
  [
    "mouthRollLower",
    [
      [
        ["mouthPressLeft", 0.5],
        ["mouthPressRight", 0.5],
      ],
    ],
  ],
  [
    "mouthRollUpper",
    [
      [
        ["mouthPressLeft", 0.4],
        ["mouthPressRight", 0.4],
      ],
    ],
  ],
  [
    "mouthShrugUpper",
    [
      [
        ["mouthUpperUpLeft", 0.25],
        ["mouthUpperUpRight", 0.25],
      ],
    ],
  ],
  ["mouthShrugLower", [[["mouthPucker", 0.25]]]],
  [
    "browInnerUp",
    [
      [
        ["browOuterUpLeft", 0.5],
        ["browOuterUpRight", 0.5],
      ],
    ],
  ],
  ["tongueOut", [[["jawOpen", 0.15]]]],
  ...both((side) => [`mouthSmile${side}`, [[[`mouthDimple${side}`, 1]], [[`mouthStretch${side}`, 0.6]]]]),
  ...both((side) => [`mouthStretch${side}`, [[[`mouthSmile${side}`, 0.45]], [[`mouthDimple${side}`, 0.6]]]]),
  ...both((side) => [`mouthDimple${side}`, [[[`mouthSmile${side}`, 0.4]]]]),
  ...both((side) => [
    `mouthPress${side}`,
    [
      [
        ["mouthRollLower", 0.25],
        ["mouthRollUpper", 0.25],
      ],
    ],
  ]),
  ...both((side) => [`mouthLowerDown${side}`, [[["jawOpen", 0.12]]]]),
  ...both((side) => [`mouthUpperUp${side}`, [[[`noseSneer${side}`, 0.4]]]]),
  ...both((side) => [`noseSneer${side}`, [[[`mouthUpperUp${side}`, 0.4]]]]),
  ...both((side) => [`eyeSquint${side}`, [[[`cheekSquint${side}`, 0.7]], [[`eyeBlink${side}`, 0.3]]]]),
  ...both((side) => [`cheekSquint${side}`, [[[`eyeSquint${side}`, 0.6]]]]),
  ...both((side) => [`browOuterUp${side}`, [[["browInnerUp", 0.4]]]]),
]);

/** What a VRM's preset expressions do for channels without a shape, and the sentence's name for them. */
export type Preset =
  | "aa" | "ih" | "ou" | "ee" | "oh" | "blink" | "blinkLeft" | "blinkRight"
  | "lookUp" | "lookDown" | "lookLeft" | "lookRight" | "happy" | "angry" | "sad" | "surprised" | "relaxed"; // prettier-ignore

/** The channels that five vowels stand for together. */
export const VOWEL_CHANNELS: readonly Blendshape[] = [
  "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthStretchLeft", "mouthStretchRight",
  "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
]; // prettier-ignore

/** Moods stand in only partly: an expression moves the whole face, a channel one corner of it. */
export const MOODS: readonly (readonly [Preset, readonly Stand[]])[] = [
  [
    "happy",
    [
      ["mouthSmileLeft", 0.35],
      ["mouthSmileRight", 0.35],
    ],
  ],
  [
    "sad",
    [
      ["mouthFrownLeft", 0.35],
      ["mouthFrownRight", 0.35],
    ],
  ],
  [
    "angry",
    [
      ["browDownLeft", 0.35],
      ["browDownRight", 0.35],
    ],
  ],
  [
    "surprised",
    [
      ["browInnerUp", 0.3],
      ["eyeWideLeft", 0.15],
      ["eyeWideRight", 0.15],
    ],
  ],
];
