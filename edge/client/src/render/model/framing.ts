/** Finds the face of a model, and where a camera sees it well. */
import { Box3, type BufferAttribute, type InterleavedBufferAttribute, type Mesh, type Object3D, Vector3 } from "three";

/** Of the picture's height, from brow to chin. */
const FACE_SHARE = 0.3;
/** The picture is at least this many faces wide: the head, and some air beside it. */
const FACES_WIDE = 1.62;
/** Where the middle of the face stands, from the top. */
const FACE_AT = 0.47;
/** Vertices that a shape moves less than this share of its furthest do not count as its own. */
const MOVED_SHARE = 0.2;
/** Enough vertices to know where a face is. */
const SAMPLES_MAX = 4_000;

/** Where the camera stands: `height` is what the picture shows at the face's distance. */
export interface Framing {
  readonly x: number;
  readonly y: number;
  readonly z: number;
  readonly distance: number;
  readonly depth: number;
}

/**
 * The box of everything that the used shapes move, from brow to chin; of the whole model where none of them says.
 *
 * @param used names of morph targets
 */
export function faceBox(root: Object3D, used: ReadonlySet<string>): Box3 {
  root.updateWorldMatrix(true, true);
  const box = new Box3();
  const point = new Vector3();
  root.traverse((node) => {
    if (!("isMesh" in node)) return;
    const mesh = node as Mesh;
    const targets = mesh.geometry.morphAttributes["position"] ?? [];
    const names = Object.entries(mesh.morphTargetDictionary ?? {});
    const moved = new Set<number>();
    for (const [name, index] of names) {
      const target = targets[index];
      if (target !== undefined && used.has(name)) movedBy(target, mesh.geometry.morphTargetsRelative, moved);
    }
    const step = Math.max(1, Math.ceil(moved.size / SAMPLES_MAX));
    let at = 0;
    for (const vertex of moved) {
      if (at++ % step === 0) box.expandByPoint(mesh.getVertexPosition(vertex, point).applyMatrix4(mesh.matrixWorld));
    }
  });
  return box.isEmpty() ? new Box3().setFromObject(root) : box;
}

function movedBy(target: BufferAttribute | InterleavedBufferAttribute, relative: boolean, into: Set<number>): void {
  if (!relative) return;
  const length = (i: number): number => Math.hypot(target.getX(i), target.getY(i), target.getZ(i));
  let furthest = 0;
  for (let i = 0; i < target.count; i += 1) furthest = Math.max(furthest, length(i));
  if (furthest === 0) return;
  for (let i = 0; i < target.count; i += 1) if (length(i) > furthest * MOVED_SHARE) into.add(i);
}

/** How a camera with this opening sees the face in a picture of this shape. Pure. */
export function frameFace(box: Box3, aspect: number, fovDegrees: number): Framing {
  const size = box.getSize(new Vector3());
  const center = box.getCenter(new Vector3());
  const height = Math.max(size.y / FACE_SHARE, (size.x * FACES_WIDE) / Math.max(aspect, 0.05), 1e-4);
  const distance = height / 2 / Math.tan((fovDegrees * Math.PI) / 360);
  return { x: center.x, y: center.y - height * (0.5 - FACE_AT), z: box.max.z + distance, distance, depth: size.z };
}
