import { ModelTimeoutError, ModelTooLargeError, ModelTypeError, ModelUnreachableError } from "./errors";
import { DOWNLOAD_MS_MAX, MODEL_SIZE_BYTES_MAX, QUIET_MS_MAX } from "./limits";

/** Where a model comes from. */
export type ModelSource = File | URL;

/** What reading needs of its surroundings; tests bring their own. */
export interface ReadOptions {
  /** Stops reading; the promise is then rejected with the signal's reason. */
  readonly signal: AbortSignal;
  readonly sizeBytesMax?: number;
  readonly quietMsMax?: number;
  readonly downloadMsMax?: number;
  readonly fetch?: typeof fetch;
}

/** A name for people: of the file, without folders and parameters. */
export function nameOf(source: ModelSource): string {
  if (!(source instanceof URL)) return source.name;
  const last = source.pathname.split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(last) || source.host;
  } catch {
    return last;
  }
}

/** "200 MB"; megabytes as file managers count them. */
export function megabytes(bytes: number): string {
  return `${Math.max(1, Math.round(bytes / 1e6))} MB`;
}

/**
 * Read a whole model.
 *
 * @throws ModelTooLargeError as soon as it is known, before or while it comes
 * @throws ModelTimeoutError, ModelUnreachableError, ModelTypeError
 */
export async function readModel(source: ModelSource, options: ReadOptions): Promise<ArrayBuffer> {
  return source instanceof URL ? await download(source, options) : await readFile(source, options);
}

function tooLarge(name: string, size: number, atLeast: boolean, max: number): ModelTooLargeError {
  const has = atLeast ? `more than ${megabytes(size)}` : megabytes(size);
  return new ModelTooLargeError(
    `“${name}” has ${has}; a page can take ${megabytes(max)}. Smaller textures usually make a model small enough.`,
  );
}

async function readFile(
  file: File,
  { signal, sizeBytesMax = MODEL_SIZE_BYTES_MAX }: ReadOptions,
): Promise<ArrayBuffer> {
  if (file.size > sizeBytesMax) throw tooLarge(file.name, file.size, false, sizeBytesMax);
  try {
    const bytes = await file.arrayBuffer();
    signal.throwIfAborted();
    return bytes;
  } catch (cause) {
    signal.throwIfAborted();
    throw new ModelUnreachableError(`“${file.name}” could not be read. Was it moved, or is it a folder?`, { cause });
  }
}

async function download(url: URL, options: ReadOptions): Promise<ArrayBuffer> {
  const { signal, quietMsMax = QUIET_MS_MAX, downloadMsMax = DOWNLOAD_MS_MAX } = options;
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new ModelTypeError(`A model's address begins with https:, not with ${url.protocol}`);
  }
  // One controller for every way to stop: the caller, silence, and a total that is too long.
  const stop = new AbortController();
  const late = (): void => {
    const slow = `“${nameOf(url)}” comes too slowly from ${url.host}. Try again, or download it and drop the file here.`;
    stop.abort(new ModelTimeoutError(slow));
  };
  const stopped = (): void => {
    stop.abort(signal.reason);
  };
  signal.addEventListener("abort", stopped);
  if (signal.aborted) stopped();
  const total = setTimeout(late, downloadMsMax);
  let quiet = setTimeout(late, quietMsMax);
  const heard = (): void => {
    clearTimeout(quiet);
    quiet = setTimeout(late, quietMsMax);
  };
  try {
    return await receive(url, options, stop.signal, heard);
  } catch (error) {
    stop.signal.throwIfAborted();
    throw error;
  } finally {
    clearTimeout(total);
    clearTimeout(quiet);
    signal.removeEventListener("abort", stopped);
    stop.abort();
  }
}

async function receive(
  url: URL,
  { sizeBytesMax = MODEL_SIZE_BYTES_MAX, fetch: get = fetch }: ReadOptions,
  signal: AbortSignal,
  heard: () => void,
): Promise<ArrayBuffer> {
  const name = nameOf(url);
  const response = await ask(url, get, signal);
  heard();
  const said = Number(response.headers.get("Content-Length"));
  if (said > sizeBytesMax) throw tooLarge(name, said, false, sizeBytesMax);
  if (response.body === null) throw new ModelUnreachableError(`${url.host} sent nothing for “${name}”.`);
  const pieces: Uint8Array[] = [];
  let size = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { value, done } = await reader.read().catch((cause: unknown) => {
      throw new ModelUnreachableError(`The connection to ${url.host} broke while “${name}” came. Try again.`, {
        cause,
      });
    });
    if (done) break;
    heard();
    size += value.byteLength;
    if (size > sizeBytesMax) throw tooLarge(name, sizeBytesMax, true, sizeBytesMax);
    pieces.push(value);
  }
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole.buffer;
}

async function ask(url: URL, get: typeof fetch, signal: AbortSignal): Promise<Response> {
  const name = nameOf(url);
  const refused: string[] = [];
  // A page's own policy refuses before anything is sent, and fetch does not say so.
  const note = (event: SecurityPolicyViolationEvent): void => {
    if (event.blockedURI.startsWith(url.origin)) refused.push(event.blockedURI);
  };
  const page = typeof document === "undefined" ? null : document;
  page?.addEventListener("securitypolicyviolation", note);
  try {
    const response = await get(url, { signal, credentials: "omit", headers: { Accept: "model/gltf-binary" } });
    if (!response.ok) {
      const why = response.status === 404 ? `There is no “${name}” at ${url.host}` : `${url.host} refuses “${name}”`;
      throw new ModelUnreachableError(`${why} (HTTP ${response.status}).`);
    }
    return response;
  } catch (error) {
    if (error instanceof ModelUnreachableError || signal.aborted) throw error;
    await new Promise((resolve) => setTimeout(resolve, 0)); // the violation is told after the failure
    throw new ModelUnreachableError(
      refused.length > 0
        ? `This page may not load models from ${url.host}. Whoever runs it can allow that; a file dropped here always works.`
        : `${url.host} does not answer, or does not share “${name}” with other sites. Download it and drop the file here.`,
      { cause: error },
    );
  } finally {
    page?.removeEventListener("securitypolicyviolation", note);
  }
}
