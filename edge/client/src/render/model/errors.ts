import { RendererError } from "../renderer";

/** A model cannot be shown; `message` is a sentence for the person who asked for it. */
export class ModelError extends RendererError {
  override name = "ModelError";
}

/** Bigger than a page should load, by its own word or by what came. */
export class ModelTooLargeError extends ModelError {
  override name = "ModelTooLargeError";
}

/** Nothing came for too long. */
export class ModelTimeoutError extends ModelError {
  override name = "ModelTimeoutError";
}

/** The address does not answer, answers no, or may not be asked by this page. */
export class ModelUnreachableError extends ModelError {
  override name = "ModelUnreachableError";
}

/** Something else than a GLB, or a GLB that needs what is not there. */
export class ModelTypeError extends ModelError {
  override name = "ModelTypeError";
}

/** A GLB that is damaged. */
export class ModelCorruptError extends ModelError {
  override name = "ModelCorruptError";
}

/** A sound GLB whose face cannot move. */
export class ModelStiffError extends ModelError {
  override name = "ModelStiffError";
}

/** This browser, or its graphics card, cannot draw models now. */
export class ModelGraphicsError extends ModelError {
  override name = "ModelGraphicsError";
}
