/** A checked file becomes a scene. */
import { VRMLoaderPlugin, VRMUtils, type VRM } from "@pixiv/three-vrm";
import { type Mesh, type Object3D, TextureLoader } from "three";
import { GLTFLoader, type GLTFParser } from "three/examples/jsm/loaders/GLTFLoader.js";
import { ModelCorruptError, ModelStiffError, ModelTimeoutError } from "./errors";
import { checkGlb, type ModelKind } from "./glb";
import { UNPACK_MS_MAX } from "./limits";
import { mapModel, type Mapping } from "./mapping";
import { reportOf, type ModelReport } from "./report";
import { Skeleton } from "./skeleton";

/** A model, ready to be drawn. */
export interface Model {
  readonly kind: ModelKind;
  readonly root: Object3D;
  readonly vrm: VRM | null;
  readonly mapping: Mapping;
  readonly skeleton: Skeleton;
  readonly report: ModelReport;
}

/**
 * Unpack a model and choose what moves it.
 *
 * @throws ModelError of the kind that fits
 */
export async function unpackModel(bytes: ArrayBuffer, name: string): Promise<Model> {
  const { kind, shapes } = checkGlb(bytes, name);
  const loader = new GLTFLoader();
  loader.register((parser) => {
    withoutFetch(parser);
    return { name: "visavis-textures" };
  });
  if (kind !== "glb") loader.register((parser) => new VRMLoaderPlugin(parser));
  const gltf = await within(loader.parseAsync(bytes, ""), name).catch((cause: unknown) => {
    if (cause instanceof ModelTimeoutError) throw cause;
    throw new ModelCorruptError(`“${name}” is damaged: it could not be unpacked. Export or download it again.`, {
      cause,
    });
  });
  const vrm = (gltf.userData["vrm"] as VRM | undefined) ?? null;
  const root: Object3D = vrm?.scene ?? gltf.scene;
  try {
    return assemble({ kind: vrm === null ? "glb" : kind, root, vrm, shapes, name });
  } catch (error) {
    disposeModel(root);
    throw error;
  }
}

interface Parts {
  readonly kind: ModelKind;
  readonly root: Object3D;
  readonly vrm: VRM | null;
  readonly shapes: readonly string[];
  readonly name: string;
}

function assemble({ kind, root, vrm, shapes, name }: Parts): Model {
  if (vrm !== null) VRMUtils.rotateVRM0(vrm);
  // Morph targets and bones move vertices out of the boxes that the file states.
  root.traverse((node) => {
    node.frustumCulled = false;
  });
  const skeleton = new Skeleton(root, vrm);
  const expressions = vrm?.expressionManager?.expressions.map((expression) => expression.expressionName) ?? [];
  const mapping = mapModel({
    shapes: namedShapes(root),
    expressions,
    jawBone: skeleton.hasJaw,
    eyes: skeleton.turning.eyes === "bones" || skeleton.turning.eyes === "look-at",
  });
  if (mapping.drives.length === 0 && mapping.jaw.length === 0) {
    throw new ModelStiffError(
      `“${name}” has ${shapes.length} shapes, but none with an ARKit or VRM name (as jawOpen, or aa), so its face cannot move.`,
    );
  }
  return { kind, root, vrm, mapping, skeleton, report: reportOf(name, kind, shapes, mapping, skeleton.turning) };
}

/** Images are read by img elements from blob: URLs, so that the page's policy need not let scripts fetch those. */
function withoutFetch(parser: GLTFParser): void {
  (parser as unknown as { textureLoader: TextureLoader }).textureLoader = new TextureLoader(parser.options.manager);
}

function namedShapes(root: Object3D): readonly string[] {
  const names = new Set<string>();
  root.traverse((node) => {
    for (const name of Object.keys((node as Partial<Mesh>).morphTargetDictionary ?? {})) names.add(name);
  });
  return [...names];
}

async function within<T>(promise: Promise<T>, name: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new ModelTimeoutError(`“${name}” could not be unpacked in time. Its textures may be too large.`));
    }, UNPACK_MS_MAX);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Free geometries, materials, textures and skeletons. */
export function disposeModel(root: Object3D): void {
  VRMUtils.deepDispose(root);
}
