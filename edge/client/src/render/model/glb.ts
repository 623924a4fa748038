/** What a GLB says of itself, read and checked before anything large is made of it. Pure. */
import { ModelCorruptError, ModelStiffError, ModelTooLargeError, ModelTypeError } from "./errors";
import { JSON_SIZE_BYTES_MAX, PARTS_MAX, TEXTURE_SIDE_PIXELS_MAX, UNPACKED_SIZE_BYTES_MAX } from "./limits";
import { megabytes } from "./bytes";

const MAGIC = 0x46546c67;
const JSON_CHUNK = 0x4e4f534a;
const BINARY_CHUNK = 0x004e4942;
const HEADER_BYTES = 12;
const CHUNK_HEADER_BYTES = 8;

/** Compressions whose decoders are not part of the page: each would need WebAssembly, which its policy forbids. */
const COMPRESSIONS: Readonly<Record<string, string>> = {
  KHR_draco_mesh_compression: "Draco",
  EXT_meshopt_compression: "Meshopt",
  KHR_texture_basisu: "Basis Universal (KTX2)",
};
const COMPONENTS: Readonly<Record<string, number>> = {
  SCALAR: 1,
  VEC2: 2,
  VEC3: 3,
  VEC4: 4,
  MAT2: 4,
  MAT3: 9,
  MAT4: 16,
};
const COMPONENT_BYTES: Readonly<Record<number, number>> = { 5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4 };

/** VRM of either generation, or a plain GLB. */
export type ModelKind = "glb" | "vrm-0" | "vrm-1";

/** What the loader needs to know before it unpacks. */
export interface GlbSummary {
  readonly kind: ModelKind;
  /** Names of all morph targets; unnamed ones are numbered. */
  readonly shapes: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

/**
 * Check a file.
 *
 * @param name of the file, for sentences
 * @throws ModelTypeError, ModelCorruptError, ModelTooLargeError, ModelStiffError
 */
export function checkGlb(bytes: ArrayBuffer, name: string): GlbSummary {
  const { json, binary } = chunks(bytes, name);
  try {
    refuseUnknown(json, name);
    checkParts(json, name);
    checkBuffers(json, binary, name);
    const kind = kindOf(json);
    const shapes = shapesOf(json);
    if (shapes.length === 0) {
      throw new ModelStiffError(
        `“${name}” has no morph targets, so its face cannot move. Export it with its shape keys (ARKit or VRM).`,
      );
    }
    return { kind, shapes };
  } catch (error) {
    // A description of another form than glTF's fails anywhere.
    if (error instanceof TypeError || error instanceof RangeError)
      throw corrupt(name, "its description makes no sense");
    throw error;
  }
}

function corrupt(name: string, why: string): ModelCorruptError {
  return new ModelCorruptError(`“${name}” is damaged: ${why}. Export or download it again.`);
}

function chunks(bytes: ArrayBuffer, name: string): { json: Json; binary: DataView | null } {
  const view = new DataView(bytes);
  if (bytes.byteLength === 0) throw corrupt(name, "it is empty");
  if (bytes.byteLength < HEADER_BYTES || view.getUint32(0, true) !== MAGIC) {
    throw new ModelTypeError(
      `“${name}” is not a GLB or VRM file. In other formats (FBX, OBJ, glTF) export it as .glb first.`,
    );
  }
  const version = view.getUint32(4, true);
  if (version !== 2) throw new ModelTypeError(`“${name}” is a GLB of version ${version}; this page reads version 2.`);
  const length = view.getUint32(8, true);
  if (length > bytes.byteLength) {
    throw corrupt(name, `its end is missing (${bytes.byteLength} of ${length} bytes are there)`);
  }
  let at = HEADER_BYTES;
  let json: Json | null = null;
  let binary: DataView | null = null;
  while (at + CHUNK_HEADER_BYTES <= length) {
    const size = view.getUint32(at, true);
    const type = view.getUint32(at + 4, true);
    at += CHUNK_HEADER_BYTES;
    if (size > length - at) throw corrupt(name, "a part of it is longer than the file");
    if (type === JSON_CHUNK && json === null) json = parse(new Uint8Array(bytes, at, size), name);
    else if (type === BINARY_CHUNK && json !== null) binary ??= new DataView(bytes, at, size);
    at += size;
  }
  if (json === null) throw corrupt(name, "its description is missing");
  return { json, binary };
}

function parse(text: Uint8Array, name: string): Json {
  if (text.byteLength > JSON_SIZE_BYTES_MAX) throw tooMuch(name, `a description of ${megabytes(text.byteLength)}`);
  try {
    const found: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(text));
    if (typeof found === "object" && found !== null && !Array.isArray(found)) return found as Json;
  } catch {
    // Said below.
  }
  throw corrupt(name, "its description cannot be read");
}

function tooMuch(name: string, what: string): ModelTooLargeError {
  return new ModelTooLargeError(`“${name}” is too much for a page: it has ${what}.`);
}

function list(json: Json, key: string): readonly Json[] {
  const found = json[key];
  if (found === undefined) return [];
  if (!Array.isArray(found) || found.some((entry) => typeof entry !== "object" || entry === null)) {
    throw new TypeError(key);
  }
  return found as readonly Json[];
}

function refuseUnknown(json: Json, name: string): void {
  const required = json["extensionsRequired"];
  for (const extension of Array.isArray(required) ? required : []) {
    const compression = COMPRESSIONS[String(extension)];
    if (compression !== undefined) {
      throw new ModelTypeError(
        `“${name}” is compressed with ${compression}, which this page does not unpack. Export it without.`,
      );
    }
  }
  for (const key of ["buffers", "images"]) {
    if (list(json, key).some((entry) => entry["uri"] !== undefined)) {
      throw new ModelTypeError(`“${name}” needs other files beside it. Export it as one .glb with everything inside.`);
    }
  }
}

function checkParts(json: Json, name: string): void {
  for (const key of ["nodes", "meshes", "materials", "images", "textures", "skins"]) {
    const count = list(json, key).length;
    if (count > PARTS_MAX) throw tooMuch(name, `${count} ${key}`);
  }
}

function natural(value: unknown, otherwise: number | null = null): number {
  if (value === undefined && otherwise !== null) return otherwise;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw new TypeError(String(value));
  return value;
}

/** Every array must lie in the file, and all of them together in memory. */
function checkBuffers(json: Json, binary: DataView | null, name: string): void {
  const views = list(json, "bufferViews").map((view) => {
    const offset = natural(view["byteOffset"], 0);
    const length = natural(view["byteLength"]);
    if (natural(view["buffer"]) !== 0 || binary === null || offset + length > binary.byteLength) {
      throw corrupt(name, "data that it describes is missing");
    }
    return { offset, length, stride: natural(view["byteStride"], 0) };
  });
  const within = (index: unknown, offset: unknown, count: number, size: number): void => {
    const view = views[natural(index)];
    if (view === undefined) throw corrupt(name, "data that it describes is missing");
    const end = natural(offset, 0) + (count === 0 ? 0 : (count - 1) * Math.max(view.stride, size) + size);
    if (end > view.length) throw corrupt(name, "an array is longer than its data");
  };
  let unpacked = 0;
  for (const accessor of list(json, "accessors")) {
    const count = natural(accessor["count"]);
    const components = COMPONENTS[String(accessor["type"])];
    const bytes = COMPONENT_BYTES[Number(accessor["componentType"])];
    if (components === undefined || bytes === undefined) throw corrupt(name, "an array is of no known kind");
    unpacked += count * components * bytes;
    if (unpacked > UNPACKED_SIZE_BYTES_MAX)
      throw tooMuch(name, `more than ${megabytes(UNPACKED_SIZE_BYTES_MAX)} of vertices`);
    if (accessor["bufferView"] !== undefined) {
      within(accessor["bufferView"], accessor["byteOffset"], count, components * bytes);
    }
    const sparse = accessor["sparse"] as Json | undefined;
    if (sparse === undefined) continue;
    const changed = natural(sparse["count"]);
    const [indices, values] = [sparse["indices"] as Json, sparse["values"] as Json];
    within(
      indices["bufferView"],
      indices["byteOffset"],
      changed,
      COMPONENT_BYTES[Number(indices["componentType"])] ?? NaN,
    );
    within(values["bufferView"], values["byteOffset"], changed, components * bytes);
  }
  for (const image of list(json, "images")) {
    const view = views[natural(image["bufferView"])];
    if (view === undefined || binary === null) throw corrupt(name, "a texture is missing");
    const side = pngSide(new DataView(binary.buffer, binary.byteOffset + view.offset, view.length));
    if (side > TEXTURE_SIDE_PIXELS_MAX) throw tooMuch(name, `a texture of ${side} pixels a side`);
  }
}

/** The longer side a PNG claims; 0 for other kinds, of which browsers refuse the monstrous ones themselves. */
function pngSide(image: DataView): number {
  const png = image.byteLength >= 24 && image.getUint32(0) === 0x89504e47;
  return png ? Math.max(image.getUint32(16), image.getUint32(20)) : 0;
}

function kindOf(json: Json): ModelKind {
  const extensions = (json["extensions"] ?? {}) as Json;
  if (extensions["VRMC_vrm"] !== undefined) return "vrm-1";
  return extensions["VRM"] !== undefined ? "vrm-0" : "glb";
}

function shapesOf(json: Json): readonly string[] {
  const names = new Set<string>();
  list(json, "meshes").forEach((mesh, meshIndex) => {
    const said = ((mesh["extras"] ?? {}) as Json)["targetNames"];
    for (const primitive of list(mesh, "primitives")) {
      list(primitive, "targets").forEach((_, index) => {
        const name: unknown = Array.isArray(said) ? said[index] : undefined;
        names.add(typeof name === "string" ? name : `mesh ${meshIndex}, target ${index}`);
      });
    }
  });
  return [...names];
}
