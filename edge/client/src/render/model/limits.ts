/** What a model may cost. Larger ones are refused with a sentence; nothing is cut down silently. */

/** Of the file; a large VRM has 30 MB. */
export const MODEL_SIZE_BYTES_MAX = 64 * 1024 * 1024;
/** Of all arrays once unpacked: a small file may promise any number of vertices. */
export const UNPACKED_SIZE_BYTES_MAX = 512 * 1024 * 1024;
/** Of the description inside the file. */
export const JSON_SIZE_BYTES_MAX = 16 * 1024 * 1024;
/** Pixels a side of a texture; what the file says of itself. */
export const TEXTURE_SIDE_PIXELS_MAX = 8_192;
/** Nodes, meshes, materials or images. */
export const PARTS_MAX = 4_096;
/** Without a first byte, or without a further one. */
export const QUIET_MS_MAX = 10_000;
/** For the whole file. */
export const DOWNLOAD_MS_MAX = 120_000;
/** For unpacking: textures are decoded by the browser, which may never answer. */
export const UNPACK_MS_MAX = 20_000;
