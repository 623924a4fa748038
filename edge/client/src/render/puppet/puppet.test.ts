import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { BLENDSHAPES, JOINTS } from "../../avatar/rig";
import { RendererError } from "../renderer";
import { frameOf } from "./frameOf";
import { PUPPET_FORMAT, PUPPET_POINTS_MAX, type LayerData, type PuppetData, type Sway } from "./format";
import { lipsApart, Pose, swayAngle } from "./pose";
import { PuppetRenderer } from "./puppetRenderer";
import { Shape } from "./shape";
import { runsOf, StillPicture } from "./still";
import { validatePuppet } from "./validate";
import { versionOf } from "./version";

const miraText = readFileSync(new URL("../../../public/characters/mira/puppet.json", import.meta.url), "utf8");
const mira = validatePuppet(JSON.parse(miraText));

const BONES = [
  { name: "root", parent: null, pivot: [0, 0, 0] },
  { name: "head", parent: "root", pivot: [50, 100, 0], joint: "head" },
] as const;

function tiny(layer: Partial<LayerData> = {}): PuppetData {
  return {
    format: PUPPET_FORMAT,
    rig: "visavis-52-7",
    id: "tiny",
    name: "Tiny",
    version: "sha256:0",
    size: [100, 200],
    safeWidth: 80,
    focal: 1000,
    bones: BONES,
    layers: [
      {
        id: "line",
        contours: [1],
        closed: false,
        points: [10, 10, 20, 20, 30, 30, 40, 40],
        depth: 0,
        bone: "head",
        fill: "#ff0000",
        ...layer,
      },
    ],
  };
}

function pointsOf(data: PuppetData, pose: Record<string, number>, timeMs = 0): number[] {
  const state = new Pose(data);
  const shapes = data.layers.map((layer) => new Shape(layer, state));
  state.update(frameOf(pose), timeMs);
  return shapes.flatMap((shape) => {
    shape.update(state, data.size[0] / 2, data.size[1] / 2, data.focal);
    return [...shape.points, shape.alpha];
  });
}

/** Writes down what is drawn, in order, with numbers rounded to a hundredth. */
function recordingCanvas(log: string[]): HTMLCanvasElement {
  const note =
    (name: string) =>
    (...values: unknown[]): unknown => {
      const round = (value: unknown): string => (typeof value === "number" ? value.toFixed(2) : typeof value);
      log.push(`${name}(${values.map(round).join(",")})`);
      return { addColorStop: () => undefined };
    };
  const context = new Proxy<Record<string, unknown>>(
    {},
    {
      get: (_target, name) => note(String(name)),
      set: (_target, name, value) => {
        log.push(`${String(name)}=${typeof value === "object" ? "paint" : String(value)}`);
        return true;
      },
    },
  );
  return { width: 1, height: 1, getContext: () => context } as unknown as HTMLCanvasElement;
}

class FakeOffscreen {
  constructor(
    public width: number,
    public height: number,
  ) {}
  getContext(): unknown {
    return recordingCanvas([]).getContext("2d");
  }
}
Object.assign(globalThis, { OffscreenCanvas: FakeOffscreen });

describe("validation", () => {
  const bad: [string, unknown, RegExp][] = [
    ["nothing", null, /the file must be an object/],
    ["another format", { ...tiny(), format: "lottie" }, /format is "lottie"/],
    ["another rig", { ...tiny(), rig: "vrm" }, /rig is "vrm"/],
    ["no layers", { ...tiny(), layers: [] }, /layers is empty/],
    ["a layer twice", { ...tiny(), layers: [tiny().layers[0], tiny().layers[0]] }, /layer line is there twice/],
    ["a missing clip layer", tiny({ clip: ["mouth"] }), /layer line is clipped by "mouth", which is not a layer/],
    [
      "a wrong blendshape",
      tiny({ keys: [{ when: ["jawOpenn"], at: [0], by: [0, 1] }] }),
      /layer line\.keys\[0\]\.when names "jawOpenn", which is neither a blendshape nor a joint's axis/,
    ],
    ["NaN", tiny({ points: [NaN, 0, 0, 0, 0, 0, 0, 0] }), /points\[0\] must be a finite number/],
    ["a far point", tiny({ points: [1e9, 0, 0, 0, 0, 0, 0, 0] }), /points\[0\] is 1000000000, not between/],
    ["too few points", tiny({ points: [0, 0] }), /points has 2 numbers instead of 8/],
    ["too many points", tiny({ contours: [PUPPET_POINTS_MAX] }), /points has 8 numbers instead of|more than/],
    ["a key beyond the points", tiny({ keys: [{ when: ["jawOpen"], at: [4], by: [0, 1] }] }), /names point 4 of 4/],
    [
      "a key with half an offset",
      tiny({ keys: [{ when: ["jawOpen"], at: [0], by: [0] }] }),
      /has 1 numbers instead of 2/,
    ],
    ["an unknown bone", tiny({ bone: "tail" }), /layer line follows "tail", which is not a bone/],
    ["a colour by name", tiny({ fill: "red" }), /has the colour "red"; write #rrggbb/],
    ["one stop", tiny({ fill: { linear: [0, 0, 1, 1], stops: [[0, "#000000"]] } }), /needs at least two colours/],
    ["no radius", tiny({ fill: { radial: [0, 0, 0], stops: [[0, "#000000"]] } }), /needs a radius above 0/],
    ["a CSS blend", tiny({ blend: "plus-darker" as never }), /blend is "plus-darker", not one of/],
    ["a child before its parent", { ...tiny(), bones: [BONES[1], BONES[0]] }, /hangs on "root", which is not a bone/],
    ["too many layers", { ...tiny(), layers: new Array(401).fill(tiny().layers[0]) }, /has 401 entries, more than 400/],
  ];
  it.each(bad)("refuses %s with a sentence", (_name, data, message) => {
    expect(() => validatePuppet(data)).toThrow(RendererError);
    expect(() => validatePuppet(data)).toThrow(message);
  });
});

describe("keyforms", () => {
  const keyed = tiny({
    keys: [
      { when: ["jawOpen"], at: [1], by: [0, 10] },
      { when: ["jawOpen", "mouthFunnel"], at: [1], by: [4, 0] },
    ],
    fades: [{ when: ["jawOpen"], by: -0.5 }],
  });
  it("leaves the rest pose exactly as drawn", () => {
    expect(pointsOf(keyed, {})).toEqual([10, 10, 20, 20, 30, 30, 40, 40, 1]);
  });
  it("adds a key by its weight and fades with it", () => {
    const points = pointsOf(keyed, { jawOpen: 0.5 });
    expect(points.slice(2, 4)).toEqual([20, 25]);
    expect(points[8]).toBe(0.75);
  });
  it("adds a combination by the product of its weights", () => {
    expect(pointsOf(keyed, { jawOpen: 0.5, mouthFunnel: 0.5 }).slice(2, 4)).toEqual([21, 25]);
  });
  it("holds weights within 0 and 1", () => {
    expect(pointsOf(keyed, { jawOpen: 3 })).toEqual(pointsOf(keyed, { jawOpen: 1 }));
    expect(pointsOf(keyed, { jawOpen: Number.NaN })).toEqual(pointsOf(keyed, {}));
  });
});

describe("joints", () => {
  it("turn left is the picture's right, more so nearer the viewer", () => {
    const near = pointsOf(tiny({ depth: 60 }), { "head.yaw": 0.3 });
    const far = pointsOf(tiny({ depth: -60 }), { "head.yaw": 0.3 });
    expect(near[0]).toBeGreaterThan(20);
    expect(far[0]).toBeLessThan(10);
  });
  it("a nod moves what is in front down", () => {
    expect(pointsOf(tiny({ depth: 60 }), { "head.pitch": 0.3 })[7]!).toBeGreaterThan(50);
  });
  it("a tilt to the character's left lowers what is on the picture's left above the neck", () => {
    const points = pointsOf(tiny(), { "head.roll": 0.3 });
    expect(points[0]!).toBeLessThan(10);
  });
  it("a second bone pulls its share", () => {
    const half = tiny({ bone: "root", depth: 60, toward: { bone: "head", mix: [0, 0.5, 1, 1] } });
    const points = pointsOf(half, { "head.yaw": 0.3 });
    expect(points[0]).toBe(10);
    expect(points[2]! - 20).toBeGreaterThan(0);
    expect(points[4]! - 30).toBeGreaterThan(points[2]! - 20);
  });
});

describe("sway", () => {
  const sway: Sway = { amplitude: 0.05, period: 1.5, damping: 1, gust: 4, phase: 0.3 };
  it("depends on nothing but the time, moves, and stays small", () => {
    const angles = Array.from({ length: 400 }, (_, step) => swayAngle(sway, step * 0.05));
    expect(angles).toEqual(Array.from({ length: 400 }, (_, step) => swayAngle(sway, step * 0.05)));
    expect(Math.max(...angles) - Math.min(...angles)).toBeGreaterThan(0.02);
    expect(Math.max(...angles.map(Math.abs))).toBeLessThan(0.2);
  });
  it("never jumps between frames", () => {
    for (let ms = 0; ms < 30_000; ms += 16) {
      expect(Math.abs(swayAngle(sway, (ms + 16) / 1000) - swayAngle(sway, ms / 1000))).toBeLessThan(0.01);
    }
  });
});

describe("Mira", () => {
  it("carries the hash of her own data", async () => {
    const data = JSON.parse(miraText) as PuppetData;
    expect(await versionOf(data)).toBe(data.version);
    expect(await versionOf({ ...data, name: "Míra" })).not.toBe(data.version);
  });

  const rest = pointsOf(mira, {});
  const furthest = (pose: Record<string, number>): number =>
    pointsOf(mira, pose).reduce((most, value, index) => Math.max(most, Math.abs(value - rest[index]!)), 0);

  it.each(BLENDSHAPES.map((name) => [name]))("%s moves something by at least 2 units", (name) => {
    expect(furthest({ [name]: 1 })).toBeGreaterThan(2);
  });
  it.each(JOINTS.flatMap((joint) => ["pitch", "yaw", "roll"].map((axis) => [`${joint}.${axis}`])))(
    "%s moves something",
    (axis) => {
      expect(furthest({ [axis]: 0.2 })).toBeGreaterThan(0.5);
    },
  );
  it("sways with the time alone", () => {
    expect(pointsOf(mira, {}, 4000)).toEqual(pointsOf(mira, {}, 4000));
    expect(pointsOf(mira, {}, 4000)).not.toEqual(rest);
  });
});

describe("lips and jaw", () => {
  it("part with the jaw where nothing closes them, and stay shut where mouthClose makes up for it", () => {
    expect(lipsApart(0.4, 0)).toBe(0.4);
    expect(lipsApart(0.2, 0.2)).toBe(0);
    expect(lipsApart(0.1, 0.5)).toBe(0);
    for (let jaw = 0; jaw < 1; jaw += 0.01) {
      for (let close = 0; close < 1; close += 0.01) {
        const apart = lipsApart(jaw, close);
        expect(apart).toBeGreaterThanOrEqual(0);
        expect(apart).toBeLessThanOrEqual(jaw);
        expect(lipsApart(jaw + 0.01, close) - apart).toBeLessThanOrEqual(0.01 + 1e-9);
        expect(lipsApart(jaw + 0.01, close)).toBeGreaterThanOrEqual(apart);
      }
    }
  });

  /** Area of Mira's mouth opening: points in order around it. */
  function opening(pose: Record<string, number>): number {
    const state = new Pose(mira);
    const layer = mira.layers.find((entry) => entry.id === "mouth.inside")!;
    const shape = new Shape(layer, state);
    state.update(frameOf(pose), 0);
    shape.update(state, 270, 432, mira.focal);
    const { points } = shape;
    let area = 0;
    for (let i = 0; i < points.length; i += 2) {
      const next = (i + 2) % points.length;
      area += (points[i]! * points[next + 1]! - points[next]! * points[i + 1]!) / 2;
    }
    return Math.abs(area);
  }
  it.each([0.02, 0.08, 0.2])("shuts Mira's lips over a jaw open by %s", (jaw) => {
    expect(opening({ jawOpen: jaw, mouthClose: jaw })).toBeLessThan(opening({}) + 4);
    expect(opening({ jawOpen: jaw })).toBeGreaterThan(opening({}) + 1000 * jaw);
  });
});

describe("gaze", () => {
  function iris(pose: Record<string, number>): [number, number] {
    const state = new Pose(mira);
    const shape = new Shape(
      mira.layers.find((entry) => entry.id === "iris.Left")!,
      state,
    );
    state.update(frameOf(pose), 0);
    shape.update(state, 270, 432, mira.focal);
    return [shape.points[0]!, shape.points[1]!];
  }
  const cases: [string, number, Record<string, number>, Record<string, number>][] = [
    ["to her left", 0, { eyeLookOutLeft: 0.6 }, { "leftEye.yaw": 0.6 * 0.5236 }],
    ["to her right", 0, { eyeLookInLeft: 0.6 }, { "leftEye.yaw": -0.6 * 0.5236 }],
    ["up", 1, { eyeLookUpLeft: 0.6 }, { "leftEye.pitch": -0.6 * 0.5236 }],
    ["down", 1, { eyeLookDownLeft: 0.6 }, { "leftEye.pitch": 0.6 * 0.5236 }],
  ];
  it.each(cases)("%s is the same by weight, by joint and by both", (_name, axis, weight, joint) => {
    const rest = iris({})[axis]!;
    const byWeight = iris(weight)[axis]! - rest;
    expect(Math.abs(byWeight)).toBeGreaterThan(6);
    expect(Math.abs(iris(joint)[axis]! - rest - byWeight)).toBeLessThan(1.2);
    expect(Math.abs(iris({ ...weight, ...joint })[axis]! - rest - byWeight)).toBeLessThan(1.2);
  });
});

describe("still pictures", () => {
  const still = runsOf(mira, new Pose(mira)).filter((run) => run.still);

  it("hold Mira's clothes, and nothing that a head moves", () => {
    const ids = still.flatMap((run) => mira.layers.slice(run.from, run.to).map((layer) => layer.id));
    expect(ids).toContain("jacket.Left");
    expect(ids).toContain("pin");
    expect(ids.filter((id) => /^(neck|face|hair|mouth|eye)/.test(id))).toEqual([]);
  });
  it("cover all layers once, in order", () => {
    const runs = runsOf(mira, new Pose(mira));
    expect(runs[0]!.from).toBe(0);
    expect(runs.at(-1)!.to).toBe(mira.layers.length);
    runs.slice(1).forEach((run, i) => {
      expect(run.from).toBe(runs[i]!.to);
    });
  });
  it("are drawn again only when the trunk has moved a step, and never show it half a pixel off", () => {
    const pose = new Pose(mira);
    const shapes = mira.layers.map((layer) => new Shape(layer, pose));
    const canvas = recordingCanvas([]);
    Object.assign(canvas, { width: 540, height: 960 });
    const log: string[] = [];
    const context = recordingCanvas(log).getContext("2d")!;
    const picture = new StillPicture(canvas, context, shapes, still[0]!, pose, [1, 0, 0]);
    const onto = recordingCanvas([]).getContext("2d")!;
    let redrawn = 0;
    const exact = shapes.map((_shape, i) => new Shape(mira.layers[i]!, pose));
    for (let frame = 0; frame < 200; frame += 1) {
      const breath = Math.sin(frame / 40);
      const angles = { "spine.pitch": -0.01 * breath, "leftShoulder.roll": 0.014 * breath, "head.yaw": frame / 900 };
      pose.update(frameOf(angles), frame * 20);
      log.length = 0;
      picture.draw(onto, pose, [270, 432], mira.focal);
      if (log.length > 0) redrawn += 1;
      for (let i = still[0]!.from; i < still[0]!.to; i += 1) {
        exact[i]!.update(pose, 270, 432, mira.focal);
        const { points } = shapes[i]!;
        for (let at = 0; at < points.length; at += 7) {
          if (Math.abs(points[at]! - exact[i]!.points[at]!) > 0.5) throw new Error(`${mira.layers[i]!.id} is off`);
        }
      }
    }
    expect(redrawn).toBeGreaterThan(5);
    expect(redrawn).toBeLessThan(70);
  });
});

describe("PuppetRenderer", () => {
  it("draws the same for the same frame, time and size, whatever came before", () => {
    const log: string[] = [];
    const renderer = new PuppetRenderer(recordingCanvas(log), mira);
    renderer.resize(270, 480, 2);
    const frame = frameOf({ jawOpen: 0.4, "head.yaw": 0.2 });
    renderer.draw(frame, 700);
    log.length = 0;
    renderer.draw(frame, 700);
    const first = log.join("\n");
    renderer.draw(frameOf({ eyeBlinkLeft: 1 }), 9000);
    log.length = 0;
    renderer.draw(frame, 700);
    expect(log.join("\n")).toBe(first);
    expect(first).toContain("bezierCurveTo");
  });
  it("saves as often as it restores", () => {
    const log: string[] = [];
    const renderer = new PuppetRenderer(recordingCanvas(log), mira);
    log.length = 0;
    renderer.draw(frameOf({}), 0);
    expect(log.filter((line) => line.startsWith("save")).length).toBe(
      log.filter((line) => line.startsWith("restore")).length,
    );
  });
  it("says so when the canvas has another context", () => {
    const taken = { width: 1, height: 1, getContext: () => null } as unknown as HTMLCanvasElement;
    expect(() => new PuppetRenderer(taken, mira)).toThrow("The canvas cannot be drawn on");
  });
  it("draws nothing once closed", () => {
    const log: string[] = [];
    const renderer = new PuppetRenderer(recordingCanvas(log), mira);
    renderer.close();
    log.length = 0;
    renderer.draw(frameOf({}), 0);
    expect(log).toEqual([]);
  });
});
