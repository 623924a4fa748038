import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Quaternion } from "three";
import { describe, expect, it, vi } from "vitest";
import { BLENDSHAPES } from "../../avatar/rig";
import { frameOf } from "../puppet/frameOf";
import { nameOf, readModel } from "./bytes";
import * as errors from "./errors";
import { faceBox, frameFace } from "./framing";
import { checkGlb } from "./glb";
import { driveValues } from "./mapping";
import { gazeOf } from "./skeleton";
import { unpackModel } from "./unpack";

const read = (name: string): ArrayBuffer => {
  const path = fileURLToPath(new URL(`../../../public/models/${name}`, import.meta.url));
  return Uint8Array.from(readFileSync(path)).buffer;
};
const PIP = read("pip.glb");
const signal = new AbortController().signal;

/** A GLB of a description and binary data. */
function glb(description: unknown, binary = new Uint8Array(0), version = 2): ArrayBuffer {
  const text = new TextEncoder().encode(typeof description === "string" ? description : JSON.stringify(description));
  const room = Math.ceil(text.length / 4) * 4;
  const bytes = new Uint8Array(12 + 8 + room + 8 + binary.length).fill(0x20, 20);
  const view = new DataView(bytes.buffer);
  [0x46546c67, version, bytes.length, room, 0x4e4f534a].forEach((word, at) => {
    view.setUint32(at * 4, word, true);
  });
  bytes.set(text, 20);
  view.setUint32(20 + room, binary.length, true);
  view.setUint32(24 + room, 0x004e4942, true);
  bytes.set(binary, 28 + room);
  return bytes.buffer;
}

/** A description with one morphing mesh and these changes. */
const described = (changes: object): object => ({
  asset: { version: "2.0" },
  accessors: [{ componentType: 5126, type: "VEC3", count: 3 }],
  meshes: [
    { primitives: [{ attributes: { POSITION: 0 }, targets: [{ POSITION: 0 }] }], extras: { targetNames: ["jawOpen"] } },
  ],
  ...changes,
});

/** The same model in the words of VRM 0. */
function asVrm0(bytes: ArrayBuffer): ArrayBuffer {
  const size = new DataView(bytes).getUint32(12, true);
  const json = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 20, size))) as {
    nodes: { mesh?: number }[];
    extensions: Record<string, unknown>;
    extensionsUsed: string[];
  };
  const vrm = json.extensions["VRMC_vrm"] as {
    humanoid: { humanBones: Record<string, { node: number }> };
    expressions: { preset: Record<string, { morphTargetBinds: { node: number; index: number }[] }> };
  };
  const names: Readonly<Record<string, string>> = {
    aa: "a", ih: "i", ou: "u", ee: "e", oh: "o", blinkLeft: "blink_l", blinkRight: "blink_r", happy: "joy",
  }; // prettier-ignore
  json.extensions = {
    VRM: {
      specVersion: "0.0",
      meta: { title: "Pip" },
      humanoid: { humanBones: Object.entries(vrm.humanoid.humanBones).map(([bone, { node }]) => ({ bone, node })) },
      blendShapeMaster: {
        blendShapeGroups: Object.entries(vrm.expressions.preset).map(([name, { morphTargetBinds }]) => ({
          name,
          presetName: names[name],
          binds: morphTargetBinds.map(({ node, index }) => ({ mesh: json.nodes[node]!.mesh, index, weight: 100 })),
        })),
      },
    },
  };
  json.extensionsUsed = ["KHR_mesh_quantization", "VRM"];
  return glb(json, new Uint8Array(bytes.slice(28 + size)));
}

describe("a file is checked before it is unpacked", () => {
  it("says what is in it", () => {
    expect(checkGlb(PIP, "pip.glb")).toEqual({
      kind: "glb",
      shapes: expect.arrayContaining([...BLENDSHAPES]) as string[],
    });
    expect(checkGlb(read("pip.vrm"), "pip.vrm").kind).toBe("vrm-1");
    expect(checkGlb(glb(described({ extensions: { VRM: {} } })), "old.vrm").kind).toBe("vrm-0");
  });

  const stiff = described({ meshes: [{ primitives: [{ attributes: { POSITION: 0 } }] }] });
  const huge = described({ accessors: [{ componentType: 5126, type: "VEC3", count: 4e8 }] });
  const outside = described({ bufferViews: [{ buffer: 0, byteLength: 64 }] });
  const short = described({ bufferViews: [{ buffer: 0, byteLength: 8 }], accessors: [{ componentType: 5126, type: "VEC3", count: 3, bufferView: 0 }] }); // prettier-ignore
  const png = new Uint8Array(32);
  new DataView(png.buffer).setUint32(0, 0x89504e47);
  new DataView(png.buffer).setUint32(16, 60_000);
  const picture = described({ bufferViews: [{ buffer: 0, byteLength: 32 }], images: [{ bufferView: 0 }] });
  it.each([
    ["nothing", new ArrayBuffer(0), errors.ModelCorruptError, /empty/],
    ["another format", new TextEncoder().encode("# an OBJ file\nv 0 0 0\n").buffer, errors.ModelTypeError, /not a GLB/],
    ["an old version", glb(described({}), undefined, 1), errors.ModelTypeError, /version 1/],
    ["a cut file", PIP.slice(0, 30_000), errors.ModelCorruptError, /its end is missing \(30000 of \d+ bytes/],
    ["no JSON", glb("{ not JSON"), errors.ModelCorruptError, /cannot be read/],
    ["a list", glb("[]"), errors.ModelCorruptError, /cannot be read/],
    ["nonsense", glb({ meshes: 7 }), errors.ModelCorruptError, /makes no sense/],
    ["no morph targets", glb(stiff), errors.ModelStiffError, /no morph targets/],
    [
      "other files",
      glb(described({ buffers: [{ uri: "body.bin", byteLength: 9 }] })),
      errors.ModelTypeError,
      /other files/,
    ],
    [
      "a compression",
      glb(described({ extensionsRequired: ["KHR_draco_mesh_compression"] })),
      errors.ModelTypeError,
      /Draco/,
    ],
    ["more vertices than memory", glb(huge), errors.ModelTooLargeError, /vertices/],
    ["missing data", glb(outside, new Uint8Array(32)), errors.ModelCorruptError, /missing/],
    ["an array beyond its data", glb(short, new Uint8Array(8)), errors.ModelCorruptError, /longer than its data/],
    ["a monstrous texture", glb(picture, png), errors.ModelTooLargeError, /60000 pixels/],
    ["a thousand parts too many", glb(described({ nodes: Array.from({ length: 5_000 }, () => ({})) })), errors.ModelTooLargeError, /5000 nodes/], // prettier-ignore
  ])("%s", (_, bytes, kind, sentence) => {
    const check = (): unknown => checkGlb(bytes, "x.glb");
    expect(check).toThrow(kind);
    expect(check).toThrow(sentence);
    expect(check).toThrow(/^“x\.glb” .*\.$/);
  });

  it("survives any damage: a ModelError or nothing", async () => {
    let damaged = 0;
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    for (let seed = 1; seed <= 300; seed += 1) {
      const bytes = new Uint8Array(PIP.slice(0));
      // Most of it in the description, where every byte matters.
      for (let hit = 0; hit < 3; hit += 1) {
        const at = Math.imul(seed * 7 + hit, 0x45d9f3b) >>> 0;
        bytes[at % (seed % 3 === 0 ? bytes.length : 30_000)]! ^= 1 << (at % 7);
      }
      try {
        if (seed % 10 === 0) await unpackModel(bytes.buffer, "x.glb");
        else checkGlb(bytes.buffer, "x.glb");
      } catch (error) {
        expect(error).toBeInstanceOf(errors.ModelError);
        damaged += 1;
      }
    }
    vi.restoreAllMocks();
    expect(damaged).toBeGreaterThan(100);
  });
});

describe("reading", () => {
  const url = new URL("https://models.example/shelf/a%20face.glb?x=1");
  const stream = (...pieces: readonly number[]): ReadableStream<Uint8Array> =>
    new ReadableStream({
      start(controller) {
        for (const size of pieces) controller.enqueue(new Uint8Array(size));
        controller.close();
      },
    });
  const answering =
    (body: BodyInit | ReadableStream | null, init: ResponseInit = {}): typeof fetch =>
    () =>
      Promise.resolve(new Response(body, init));

  it("names a model as people do", () => {
    expect(nameOf(url)).toBe("a face.glb");
    expect(nameOf(new URL("https://models.example/"))).toBe("models.example");
    expect(nameOf(new URL("https://models.example/%E0%A4%A"))).toBe("%E0%A4%A");
  });

  it("puts the pieces together", async () => {
    const bytes = await readModel(url, { signal, fetch: answering(stream(10, 20)) });
    expect(bytes.byteLength).toBe(30);
  });

  it("stops at the size it is told, before a byte has come", async () => {
    const fetch = answering(stream(1), { headers: { "Content-Length": "200000000" } });
    const reading = readModel(url, { signal, fetch });
    await expect(reading).rejects.toThrow(errors.ModelTooLargeError);
    await expect(reading).rejects.toThrow("“a face.glb” has 200 MB; a page can take 67 MB.");
  });

  it("stops at the size that comes, whatever it was told", async () => {
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled += 1;
        controller.enqueue(new Uint8Array(1_000));
      },
    });
    const reading = readModel(url, { signal, sizeBytesMax: 10_000, fetch: answering(endless) });
    await expect(reading).rejects.toThrow(errors.ModelTooLargeError);
    expect(pulled).toBeLessThan(20);
  });

  it("refuses a dropped file by its size without reading it", async () => {
    const file = {
      name: "huge.vrm",
      size: 200e6,
      arrayBuffer: () => Promise.reject(new Error("read")),
    } as unknown as File;
    await expect(readModel(file, { signal })).rejects.toThrow("“huge.vrm” has 200 MB");
  });

  it.each([
    [404, /There is no “a face.glb” at models.example \(HTTP 404\)/],
    [403, /models.example refuses “a face.glb” \(HTTP 403\)/],
  ])("says what HTTP %s means", async (status, sentence) => {
    const reading = readModel(url, { signal, fetch: answering(null, { status }) });
    await expect(reading).rejects.toThrow(errors.ModelUnreachableError);
    await expect(reading).rejects.toThrow(sentence);
  });

  it("says when nobody answers, and when the connection breaks", async () => {
    const deaf = (() => Promise.reject(new TypeError("Failed to fetch"))) as typeof fetch;
    await expect(readModel(url, { signal, fetch: deaf })).rejects.toThrow(/does not answer, or does not share/);
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.error(new TypeError("network error"));
      },
    });
    await expect(readModel(url, { signal, fetch: answering(broken) })).rejects.toThrow(
      /connection to models.example broke/,
    );
  });

  const hanging = ((_: unknown, { signal: stop }: RequestInit) =>
    new Promise((_resolve, reject) => {
      stop!.addEventListener("abort", () => {
        reject(stop!.reason as Error);
      });
    })) as unknown as typeof fetch;

  it("gives up when nothing comes", async () => {
    const reading = readModel(url, { signal, quietMsMax: 20, fetch: hanging });
    await expect(reading).rejects.toThrow(errors.ModelTimeoutError);
  });

  it("stops when it is told to, with the reason", async () => {
    const stop = new AbortController();
    const reading = readModel(url, { signal: stop.signal, fetch: hanging });
    stop.abort(new Error("another model"));
    await expect(reading).rejects.toThrow("another model");
  });

  it("takes no address of a file or a script", async () => {
    await expect(readModel(new URL("file:///etc/x.glb"), { signal })).rejects.toThrow(errors.ModelTypeError);
  });
});

describe("unpacking", () => {
  it("moves all 52 shapes of Pip, its head and its eyes", async () => {
    const { report, mapping, skeleton, root } = await unpackModel(PIP, "pip.glb");
    expect(report.mapped).toHaveLength(52);
    expect(report.turning).toEqual({ head: ["Neck", "Head"], eyes: "bones", jaw: null });
    const eye = root.getObjectByName("LeftEye")!;
    skeleton.apply(frameOf({ "leftEye.yaw": 0.3, "head.pitch": 0.2 }), mapping);
    expect(eye.rotation.y).toBeCloseTo(0.3, 4);
    expect(root.getObjectByName("Head")!.rotation.x).toBeCloseTo(0.2, 4);
  });

  it("finds the face, and stands so that the whole of it is seen in any picture", async () => {
    const { root, mapping } = await unpackModel(PIP, "pip.glb");
    const box = faceBox(root, new Set(mapping.drives.map(({ name }) => name)));
    expect(box.min.y).toBeGreaterThan(1.35); // metres: from the chin …
    expect(box.max.y).toBeLessThan(1.6); // … to the brows
    for (const aspect of [0.3, 0.56, 1, 3]) {
      const { x, y, z, distance } = frameFace(box, aspect, 20);
      const half = Math.tan((10 * Math.PI) / 180) * distance;
      expect(y + half).toBeGreaterThan(box.max.y);
      expect(y - half).toBeLessThan(box.min.y);
      expect(half * aspect).toBeGreaterThan(box.max.x - x);
      expect(z).toBeGreaterThan(box.max.z);
    }
  });

  it("moves a VRM by its expressions, head and look-at", async () => {
    const { report, mapping, skeleton, vrm, kind } = await unpackModel(read("pip.vrm"), "pip.vrm");
    expect(kind).toBe("vrm-1");
    expect(report.mapped).toEqual([]);
    expect(report.turning.eyes).toBe("look-at");
    expect(report.notes[0]).toBe("Its expressions stand in for 22 of 52 shapes; 30 are missing.");
    const frame = frameOf({ jawOpen: 0.6, "head.yaw": 0.25, "leftEye.yaw": 0.2, "rightEye.yaw": 0.2 });
    skeleton.apply(frame, mapping);
    driveValues(mapping, frame.weights).forEach((value, at) => {
      vrm!.expressionManager!.setValue(mapping.drives[at]!.name, value);
    });
    vrm!.update(0.02);
    expect(vrm!.expressionManager!.getValue("aa")).toBeGreaterThan(0.8);
    expect(vrm!.humanoid.getRawBoneNode("head")!.rotation.y).toBeCloseTo(0.25, 3);
    expect(vrm!.humanoid.getRawBoneNode("leftEye")!.rotation.y).toBeCloseTo(0.2, 2);
  });

  it("turns a VRM 0 round, and its head still nods towards the viewer", async () => {
    const { vrm, kind, skeleton, mapping } = await unpackModel(asVrm0(read("pip.vrm")), "old.vrm");
    expect(kind).toBe("vrm-0");
    expect(mapping.fallbacks).toContainEqual({ channel: "eyeBlinkLeft", by: "the expression “blinkLeft”" });
    const head = vrm!.humanoid.getRawBoneNode("head")!;
    const rest = head.getWorldQuaternion(new Quaternion());
    skeleton.apply(frameOf({ "head.pitch": 0.25, jawOpen: 0.6 }), mapping);
    vrm!.update(0.02);
    vrm!.scene.updateMatrixWorld(true);
    const turned = head.getWorldQuaternion(new Quaternion()).multiply(rest.invert());
    expect(turned.x).toBeCloseTo(Math.sin(0.125), 4);
    expect(Math.abs(turned.y) + Math.abs(turned.z)).toBeLessThan(1e-4);
    expect(vrm!.scene.rotation.y).toBeCloseTo(Math.PI, 4);
  });

  it("refuses shapes that nobody knows", async () => {
    const renamed = new TextDecoder("latin1").decode(PIP);
    const bytes = Uint8Array.from(
      BLENDSHAPES.reduce((text, name) => text.replaceAll(`"${name}"`, `"${"x".repeat(name.length)}"`), renamed),
      (letter) => letter.charCodeAt(0),
    );
    await expect(unpackModel(bytes.buffer, "x.glb")).rejects.toThrow(errors.ModelStiffError);
  });
});

describe("gaze", () => {
  it("is the joint's or the weights', whichever looks further; never both", () => {
    const right = gazeOf(frameOf({ "leftEye.yaw": -0.2, "leftEye.pitch": 0.1 }), "Left");
    expect(right.yaw).toBeCloseTo(-0.2, 4);
    expect(right.pitch).toBeCloseTo(0.1, 4);
    expect(gazeOf(frameOf({ eyeLookOutLeft: 1 }), "Left").yaw).toBeCloseTo(Math.PI / 6, 4);
    expect(gazeOf(frameOf({ eyeLookOutRight: 1 }), "Right").yaw).toBeCloseTo(-Math.PI / 6, 4);
    expect(gazeOf(frameOf({ eyeLookUpLeft: 0.5 }), "Left").pitch).toBeCloseTo(-Math.PI / 12, 4);
    const both = gazeOf(frameOf({ eyeLookOutLeft: 0.5, "leftEye.yaw": Math.PI / 12 }), "Left");
    expect(both.yaw).toBeCloseTo(Math.PI / 12, 4);
  });
});
