/** What became of a model, in numbers for programs and in sentences for people. Pure. */
import { BLENDSHAPES } from "../../avatar/rig";
import type { ModelKind } from "./glb";
import type { Fallback, Mapping } from "./mapping";
import { knownShape } from "./names";

/** What turns a head or an eye: the model's own bones, or less. */
export interface Turning {
  /** Bones that follow the head: their names. */
  readonly head: readonly string[];
  /** "bones": the eyes' own; "shapes": eyeLook shapes; "look-at": the VRM's; "none". */
  readonly eyes: "bones" | "shapes" | "look-at" | "none";
  readonly jaw: string | null;
}

/** See docs/models.md. */
export interface ModelReport {
  readonly name: string;
  readonly kind: ModelKind;
  /** Channels with a shape or an expression of their own. */
  readonly mapped: readonly string[];
  readonly fallbacks: readonly Fallback[];
  readonly missing: readonly string[];
  /** Shapes of the model that nothing moves. */
  readonly unused: readonly string[];
  readonly turning: Turning;
  /** Whole sentences, the most important first. */
  readonly notes: readonly string[];
}

const KINDS: Readonly<Record<ModelKind, string>> = { glb: "GLB", "vrm-0": "VRM 0", "vrm-1": "VRM 1.0" };

/** "GLB", "VRM 0" or "VRM 1.0". */
export function kindName(kind: ModelKind): string {
  return KINDS[kind];
}

/** Say it. */
export function reportOf(
  name: string,
  kind: ModelKind,
  shapes: readonly string[],
  mapping: Mapping,
  turning: Turning,
): ModelReport {
  const { mapped, fallbacks, missing } = mapping;
  const driven = new Set(mapping.drives.filter((drive) => drive.kind === "shape").map((drive) => drive.name));
  const unused = kind === "glb" ? shapes.filter((shape) => !driven.has(shape) && knownShape(shape) === null) : [];
  return { name, kind, mapped, fallbacks, missing, unused, turning, notes: notesOf(mapping, turning, unused) };
}

function notesOf(mapping: Mapping, turning: Turning, unused: readonly string[]): string[] {
  const { mapped, fallbacks, missing } = mapping;
  const notes: string[] = [];
  const all = BLENDSHAPES.length;
  if (mapped.length === all) notes.push(`All ${all} shapes are there.`);
  else if (mapped.length === 0 && mapping.drives.some((drive) => drive.kind === "expression")) {
    // A VRM that keeps to its own expressions lacks nothing that it promised.
    notes.push(`Its expressions stand in for ${fallbacks.length} of ${all} shapes; ${missing.length} are missing.`);
  } else {
    const parts = [`${mapped.length} of ${all} shapes are there`];
    if (fallbacks.length > 0) parts.push(`${fallbacks.length} ${are(fallbacks.length)} shown by others`);
    if (missing.length > 0) parts.push(`${missing.length} ${are(missing.length)} missing`);
    notes.push(`${parts.join("; ")}.`);
  }
  if (missing.includes("jawOpen")) notes.push("Nothing opens the mouth: the model cannot be seen to speak.");
  if (missing.includes("eyeBlinkLeft") && missing.includes("eyeBlinkRight")) notes.push("The eyes cannot blink.");
  if (turning.head.length === 0) notes.push("No head bone was found: the whole model turns a little instead.");
  if (turning.eyes === "none") notes.push("The eyes look straight ahead: neither eye bones nor eye shapes were found.");
  if (unused.length > 0)
    notes.push(`${unused.length} other ${unused.length === 1 ? "shape is" : "shapes are"} not used.`);
  return notes;
}

const are = (count: number): string => (count === 1 ? "is" : "are");
