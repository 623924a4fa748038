import {
  type Mesh,
  NeutralToneMapping,
  NoToneMapping,
  PerspectiveCamera,
  Scene,
  SRGBColorSpace,
  type Texture,
  WebGLRenderer,
} from "three";
import type { AnimationFrame } from "../../avatar/frame";
import type { Renderer } from "../renderer";
import { ModelGraphicsError } from "./errors";
import { faceBox, frameFace } from "./framing";
import { addLight, isMetallic, surroundings } from "./light";
import { driveValues } from "./mapping";
import type { ModelReport } from "./report";
import { disposeModel, type Model } from "./unpack";

/** Beyond this a face does not get visibly sharper, only a phone warmer. */
const DEVICE_PIXEL_RATIO_MAX = 2;
const FOV_DEGREES = 20;
/** Hair that was not drawn for longer would jump. */
const STEP_S_MAX = 0.1;

/** What a model tells of the graphics card. */
export interface ModelEvents {
  /** It stopped; the model cannot be drawn until `restored`, if ever. */
  readonly lost: () => void;
  readonly restored: () => void;
  /** Drawing failed for good. */
  readonly failed: (error: ModelGraphicsError) => void;
}

/** Draws a GLB or VRM with WebGL. The same frame, time and size give the same picture, but for a VRM's springs. */
export class ModelRenderer implements Renderer {
  readonly kind: string;
  readonly report: ModelReport;
  readonly #model: Model;
  readonly #canvas: HTMLCanvasElement;
  readonly #webgl: WebGLRenderer;
  readonly #scene = new Scene();
  readonly #camera = new PerspectiveCamera(FOV_DEGREES);
  readonly #face: ReturnType<typeof faceBox>;
  readonly #surroundings: Texture | null;
  readonly #events: ModelEvents;
  readonly #shapes: readonly (readonly { readonly influences: number[]; readonly index: number }[])[];
  #drawnMs: number | null = null;
  #usable = true;
  #closed = false;

  /** @throws ModelGraphicsError when there is no WebGL, or no more of it */
  constructor(canvas: HTMLCanvasElement, model: Model, events: ModelEvents) {
    this.#canvas = canvas;
    this.#model = model;
    this.#events = events;
    this.kind = model.kind === "glb" ? "glb" : "vrm";
    this.report = model.report;
    this.#webgl = openWebGl(canvas);
    this.#webgl.outputColorSpace = SRGBColorSpace;
    this.#webgl.toneMapping = model.vrm === null ? NeutralToneMapping : NoToneMapping;
    this.#webgl.setClearColor(0, 0);
    addLight(this.#scene, model.vrm !== null);
    this.#surroundings = isMetallic(model.root) ? surroundings(this.#webgl) : null;
    this.#scene.environment = this.#surroundings;
    this.#scene.add(model.root);
    // What an expression of a VRM moves has names of its own; all its shapes are its face's.
    const used = model.vrm === null ? model.mapping.drives.map((drive) => drive.name) : allShapes(model);
    this.#face = faceBox(model.root, new Set(used));
    this.#shapes = model.mapping.drives.map((drive) => (drive.kind === "shape" ? placesOf(model, drive.name) : []));
    canvas.addEventListener("webglcontextlost", this.#onLost);
    canvas.addEventListener("webglcontextrestored", this.#onRestored);
  }

  resize(widthCss: number, heightCss: number, devicePixelRatio: number): void {
    if (this.#closed) return;
    this.#webgl.setPixelRatio(Math.min(Math.max(devicePixelRatio, 0.25), DEVICE_PIXEL_RATIO_MAX));
    this.#webgl.setSize(Math.max(1, widthCss), Math.max(1, heightCss), false);
    const aspect = Math.max(1, widthCss) / Math.max(1, heightCss);
    const { x, y, z, distance, depth } = frameFace(this.#face, aspect, FOV_DEGREES);
    this.#camera.aspect = aspect;
    this.#camera.near = Math.max(distance * 0.05, 1e-4);
    this.#camera.far = distance * 6 + depth * 20;
    this.#camera.position.set(x, y, z);
    this.#camera.updateProjectionMatrix();
  }

  draw(frame: AnimationFrame, timeMs: number): void {
    if (this.#closed || !this.#usable) return;
    try {
      this.#pose(frame, timeMs);
      this.#webgl.render(this.#scene, this.#camera);
    } catch (cause) {
      // A model must not stop the page's loop, let alone the conversation.
      this.#usable = false;
      this.#events.failed(new ModelGraphicsError(`“${this.report.name}” could not be drawn.`, { cause }));
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#canvas.removeEventListener("webglcontextlost", this.#onLost);
    this.#canvas.removeEventListener("webglcontextrestored", this.#onRestored);
    disposeModel(this.#model.root);
    this.#surroundings?.dispose();
    this.#webgl.dispose();
    // Browsers keep few contexts, and keep them until somebody collects the garbage.
    this.#webgl.forceContextLoss();
  }

  #pose(frame: AnimationFrame, timeMs: number): void {
    const { mapping, skeleton, vrm } = this.#model;
    skeleton.apply(frame, mapping);
    const values = driveValues(mapping, frame.weights);
    mapping.drives.forEach((drive, at) => {
      if (drive.kind === "expression") vrm?.expressionManager?.setValue(drive.name, values[at]!);
    });
    const stepS = this.#drawnMs === null ? 0 : Math.min(STEP_S_MAX, Math.max(0, (timeMs - this.#drawnMs) / 1e3));
    this.#drawnMs = timeMs;
    vrm?.update(stepS);
    // After the expressions, which set the shapes that they know to nothing first.
    this.#shapes.forEach((places, at) => {
      for (const { influences, index } of places) influences[index] = values[at]!;
    });
  }

  readonly #onLost = (event: Event): void => {
    event.preventDefault(); // so that it may come back
    this.#usable = false;
    this.#events.lost();
  };

  readonly #onRestored = (): void => {
    this.#usable = true;
    this.#events.restored();
  };
}

function openWebGl(canvas: HTMLCanvasElement): WebGLRenderer {
  try {
    return new WebGLRenderer({ canvas, alpha: true, antialias: true, powerPreference: "default" });
  } catch (cause) {
    throw new ModelGraphicsError(
      "This browser cannot draw models: WebGL 2 is missing or turned off. The drawn character needs none.",
      { cause },
    );
  }
}

function meshesOf(model: Model): readonly Mesh[] {
  const meshes: Mesh[] = [];
  model.root.traverse((node) => {
    if ("isMesh" in node) meshes.push(node as Mesh);
  });
  return meshes;
}

function allShapes(model: Model): readonly string[] {
  return meshesOf(model).flatMap((mesh) => Object.keys(mesh.morphTargetDictionary ?? {}));
}

function placesOf(model: Model, name: string): readonly { readonly influences: number[]; readonly index: number }[] {
  return meshesOf(model).flatMap((mesh) => {
    const index = mesh.morphTargetDictionary?.[name];
    const influences = mesh.morphTargetInfluences;
    return index === undefined || influences === undefined ? [] : [{ influences, index }];
  });
}
