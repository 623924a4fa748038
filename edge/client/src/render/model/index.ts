/** Models: GLB and VRM, on three.js. Import this module only dynamically: it is large, and most pages need none of it. */
import { nameOf, readModel, type ModelSource } from "./bytes";
import { ModelRenderer, type ModelEvents } from "./modelRenderer";
import { disposeModel, unpackModel } from "./unpack";

export { ModelError } from "./errors";
export { kindName, type ModelReport } from "./report";
export type { ModelEvents, ModelRenderer, ModelSource };
export { nameOf };

/**
 * Read, check and unpack a model, and draw it on a canvas of its own.
 *
 * @throws ModelError with a sentence; the signal's reason when it was stopped
 */
export async function openModel(
  source: ModelSource,
  canvas: HTMLCanvasElement,
  events: ModelEvents,
  signal: AbortSignal,
): Promise<ModelRenderer> {
  const bytes = await readModel(source, { signal });
  const model = await unpackModel(bytes, nameOf(source));
  try {
    signal.throwIfAborted();
    return new ModelRenderer(canvas, model, events);
  } catch (error) {
    disposeModel(model.root);
    throw error;
  }
}
