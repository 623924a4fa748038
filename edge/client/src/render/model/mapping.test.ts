import { describe, expect, it } from "vitest";
import poses from "../../../puppets/poses.json";
import { BLENDSHAPES, type Blendshape } from "../../avatar/rig";
import { frameOf } from "../puppet/frameOf";
import { FALLBACKS } from "./fallbacks";
import { driveValues, mapModel, type Mapping, type Offer } from "./mapping";
import { knownShape, ownShapes } from "./names";
import { reportOf } from "./report";
import { vowelsOf, VOWELS } from "./vowels";

const PLAIN: Offer = { shapes: [], expressions: [], jawBone: false, eyes: false };
const VISEMES: Readonly<Record<string, Readonly<Record<string, number>>>> = poses.visemes;

function values(mapping: Mapping, pose: Readonly<Record<string, number>>): Record<string, number> {
  const all = driveValues(mapping, frameOf(pose).weights);
  return Object.fromEntries(mapping.drives.map(({ name }, at) => [name, all[at]!]));
}

const without = (...gone: readonly Blendshape[]): readonly string[] =>
  BLENDSHAPES.filter((name) => !gone.includes(name));

describe("names of shapes", () => {
  it.each([
    ["jawOpen", "jawOpen"], ["JawOpen", "jawOpen"], ["jaw_open", "jawOpen"], ["JAW_OPEN", "jawOpen"],
    ["blendShape1.jawOpen", "jawOpen"], ["Head|mouthSmile_L", "mouthSmileLeft"], ["mouthSmile_L", "mouthSmileLeft"],
    ["MouthSmileLeft", "mouthSmileLeft"], ["mouth_smile_r", "mouthSmileRight"], ["eyeBlinkR", "eyeBlinkRight"],
    ["eyeBlink-left", "eyeBlinkLeft"], ["mouthLeft", "mouthLeft"], ["mouth_L", "mouthLeft"], ["jawRight", "jawRight"],
    ["mouthFunnel", "mouthFunnel"], ["mouthRollLower", "mouthRollLower"], ["TongueOut", "tongueOut"],
  ])("%s is %s", (name, channel) => {
    expect(knownShape(name)?.channel).toBe(channel);
  }); // prettier-ignore

  it.each(["Fcl_MTH_A", "Fcl_EYE_Close_L", "A", "Basis", "mouthO", "browAngry_L", "", "...", "left", "_L"])(
    "%j is none of ours",
    (name) => {
      expect(knownShape(name)).toBeNull();
    },
  );

  it("knows every channel by its own name", () => {
    for (const name of BLENDSHAPES) expect(knownShape(name)?.channel).toBe(name);
  });

  it("takes a shape for both sides as half of each, and halves of one channel as the whole", () => {
    const own = ownShapes(["mouthSmile", "browInnerUp_L", "browInnerUp_R"]);
    expect(own.get("mouthSmileLeft")).toEqual([["mouthSmile", 0.5]]);
    expect(own.get("mouthSmileRight")).toEqual([["mouthSmile", 0.5]]);
    expect(own.get("browInnerUp")?.map(([name]) => name)).toEqual(["browInnerUp_L", "browInnerUp_R"]);
  });

  it("prefers a side's own shape to one for both", () => {
    expect(ownShapes(["eyeBlink", "eyeBlinkLeft"]).get("eyeBlinkLeft")).toEqual([["eyeBlinkLeft", 1]]);
  });
});

describe("a model with all 52 shapes", () => {
  const mapping = mapModel({ ...PLAIN, shapes: BLENDSHAPES });

  it("gets every weight as it is", () => {
    expect(mapping.mapped).toHaveLength(52);
    expect(mapping.fallbacks).toEqual([]);
    expect(mapping.missing).toEqual([]);
    for (const name of BLENDSHAPES) {
      const expected = name === "mouthClose" ? 0 : 0.4; // see below
      expect(values(mapping, { [name]: 0.4 })[name]).toBeCloseTo(expected, 5);
    }
  });

  it("never closes the mouth further than it is open", () => {
    expect(values(mapping, { jawOpen: 0.1, mouthClose: 0.9 })["mouthClose"]).toBeCloseTo(0.1, 5);
    expect(values(mapping, { jawOpen: 0.5, mouthClose: 0.3 })["mouthClose"]).toBeCloseTo(0.3, 5);
  });
});

describe("fallbacks", () => {
  it("never stand in with what they stand in for, and stay within reason", () => {
    for (const [channel, choices] of FALLBACKS) {
      for (const [by, gain] of choices.flat()) {
        expect(by).not.toBe(channel);
        expect(Math.abs(gain)).toBeLessThanOrEqual(1);
        expect(BLENDSHAPES).toContain(by);
      }
    }
  });

  it("move the jaw less where nothing closes the lips", () => {
    const mapping = mapModel({ ...PLAIN, shapes: without("mouthClose") });
    expect(mapping.fallbacks).toEqual([{ channel: "mouthClose", by: "less jawOpen" }]);
    expect(values(mapping, { jawOpen: 0.5, mouthClose: 0.5 })["jawOpen"]).toBe(0);
  });

  it("add to what the other shape does anyway, up to a full weight", () => {
    const mapping = mapModel({ ...PLAIN, shapes: without("mouthPucker") });
    expect(values(mapping, { mouthPucker: 0.5, mouthFunnel: 0.2 })["mouthFunnel"]).toBeCloseTo(0.55, 5);
    expect(values(mapping, { mouthPucker: 1, mouthFunnel: 1 })["mouthFunnel"]).toBe(1);
  });

  it("are taken in their order", () => {
    const squint = mapModel({ ...PLAIN, shapes: without("eyeSquintLeft", "cheekSquintLeft") }).fallbacks;
    expect(squint.find(({ channel }) => channel === "eyeSquintLeft")?.by).toBe("eyeBlinkLeft");
    expect(squint.find(({ channel }) => channel === "cheekSquintLeft")).toBeUndefined();
  });

  it("open the mouth by a jaw bone where there is no shape", () => {
    const mapping = mapModel({ ...PLAIN, shapes: ["eyeBlinkLeft", "eyeBlinkRight"], jawBone: true });
    expect(mapping.jaw).toEqual([["jawOpen", 1], ["mouthClose", -1]]); // prettier-ignore
    expect(mapping.missing).not.toContain("jawOpen");
    expect(mapModel({ ...PLAIN, shapes: BLENDSHAPES, jawBone: true }).jaw).toEqual([]);
  });

  it("leave each channel in exactly one list, whatever the model has", () => {
    const offers: Offer[] = [PLAIN, { ...PLAIN, shapes: ["mouthSmile", "Jaw_Open"] }];
    offers.push(
      { ...PLAIN, expressions: ["aa", "blink", "happy", "lookUp"] },
      { ...PLAIN, shapes: BLENDSHAPES, eyes: true },
    );
    for (let gone = 0; gone < BLENDSHAPES.length; gone += 1) {
      offers.push({ ...PLAIN, shapes: BLENDSHAPES.filter((_, index) => (index * 7) % 52 >= gone) });
    }
    for (const offer of offers) {
      const { mapped, fallbacks, missing } = mapModel(offer);
      const all = [...mapped, ...fallbacks.map(({ channel }) => channel), ...missing];
      expect([...all].sort()).toEqual([...BLENDSHAPES].sort());
    }
  });
});

describe("the expressions of a VRM", () => {
  const EXPRESSIONS = ["aa", "ih", "ou", "ee", "oh", "blinkLeft", "blinkRight", "happy"];
  const mapping = mapModel({ ...PLAIN, expressions: EXPRESSIONS, eyes: true });

  it.each([
    ["aa", "aa"], ["ae", "aa"], ["ee", "ee"], ["oh", "oh"], ["aw", "oh"], ["oo w", "ou"], ["jaw 1", "aa"],
  ])("the sound %s looks most like %s", (viseme, vowel) => {
    const found = vowelsOf(frameOf(VISEMES[viseme]!).weights);
    const most = VOWELS.reduce((a, b) => (found[a] >= found[b] ? a : b));
    expect(most).toBe(vowel);
    expect(found[most]).toBeGreaterThan(0.2);
  }); // prettier-ignore

  it("are nothing for a shut mouth, at rest or smiling", () => {
    for (const pose of [{}, { mouthSmileLeft: 1, mouthSmileRight: 1 }, { jawOpen: 0.08, mouthClose: 0.08 }]) {
      for (const vowel of VOWELS) expect(vowelsOf(frameOf(pose).weights)[vowel]).toBeLessThan(0.02);
    }
  });

  it("sum to one at most, whatever the weights", () => {
    for (let seed = 0; seed < 400; seed += 1) {
      const pose = Object.fromEntries(
        BLENDSHAPES.map((name, at) => [name, Math.abs(Math.sin(seed * 12.9898 + at * 78.233))]),
      );
      const found = Object.values(vowelsOf(frameOf(pose).weights));
      expect(Math.min(...found)).toBeGreaterThanOrEqual(0);
      expect(found.reduce((a, b) => a + b)).toBeLessThanOrEqual(1 + 1e-6);
    }
  });

  it("are driven by weights, and the report says by which", () => {
    expect(values(mapping, { eyeBlinkLeft: 1 })["blinkLeft"]).toBe(1);
    expect(values(mapping, { eyeBlinkLeft: 1 })["blinkRight"]).toBe(0);
    expect(mapping.fallbacks).toContainEqual({ channel: "jawOpen", by: "the vowels aa, ih, ou, ee, oh" });
    expect(mapping.fallbacks).toContainEqual({ channel: "mouthSmileLeft", by: "the expression “happy”" });
    expect(mapping.fallbacks).toContainEqual({ channel: "eyeLookUpLeft", by: "the eyes themselves" });
    expect(mapping.missing).toContain("tongueOut");
  });

  it("give way to ARKit names, as expressions or as shapes", () => {
    const perfect = mapModel({ ...PLAIN, expressions: [...EXPRESSIONS, "JawOpen", "EyeBlinkLeft"], eyes: true });
    expect(values(perfect, { jawOpen: 0.5 })).toMatchObject({ JawOpen: 0.5 });
    expect(perfect.drives.some(({ name }) => name === "aa" || name === "blinkLeft")).toBe(false);
    expect(perfect.drives.some(({ name }) => name === "blinkRight")).toBe(true);
  });

  it("make do with aa and blink alone", () => {
    const poor = mapModel({ ...PLAIN, expressions: ["aa", "blink"] });
    expect(values(poor, VISEMES["oh"]!)["aa"]).toBeGreaterThan(0.2);
    expect(values(poor, { eyeBlinkLeft: 1, eyeBlinkRight: 1 })["blink"]).toBe(1);
  });
});

describe("the report", () => {
  const turning = { head: ["Head"], eyes: "bones", jaw: null } as const;

  it("says how much is there in one sentence", () => {
    const full = reportOf("a.glb", "glb", BLENDSHAPES, mapModel({ ...PLAIN, shapes: BLENDSHAPES }), turning);
    expect(full.notes).toEqual(["All 52 shapes are there."]);
    const shapes = [...without("tongueOut", "mouthClose", "cheekPuff"), "Fcl_ALL_Joy"];
    const less = reportOf("a.glb", "glb", shapes, mapModel({ ...PLAIN, shapes }), turning);
    expect(less.notes).toEqual([
      "49 of 52 shapes are there; 2 are shown by others; 1 is missing.",
      "1 other shape is not used.",
    ]);
    expect(less.missing).toEqual(["cheekPuff"]);
    expect(less.unused).toEqual(["Fcl_ALL_Joy"]);
  });

  it("names what people would miss", () => {
    const bare = reportOf("b.glb", "glb", ["mouthSmile"], mapModel({ ...PLAIN, shapes: ["mouthSmile"] }), {
      head: [],
      eyes: "none",
      jaw: null,
    });
    expect(bare.notes.join(" ")).toMatch(
      /cannot be seen to speak.*cannot blink.*whole model turns.*look straight ahead/,
    );
  });
});
