import { JOINT_INDEX, RIG_PROFILE } from "../../avatar/rig";
import { RendererError } from "../renderer";
import {
  BLENDS,
  INPUTS,
  PUPPET_BONES_MAX,
  PUPPET_COORDINATE_MAX,
  PUPPET_FACTORS_MAX,
  PUPPET_FORMAT,
  PUPPET_KEYS_MAX,
  PUPPET_LAYERS_MAX,
  PUPPET_POINTS_MAX,
  PUPPET_STOPS_MAX,
  type PuppetData,
} from "./format";

type Table = Record<string, unknown>;

const COLOR = /^#[0-9a-f]{6}([0-9a-f]{2})?$/;

function fail(where: string, what: string): never {
  throw new RendererError(`The puppet cannot be drawn: ${where} ${what}.`);
}

function table(value: unknown, where: string): Table {
  if (typeof value !== "object" || value === null || Array.isArray(value)) fail(where, "must be an object");
  return value as Table;
}

function list(value: unknown, where: string, max: number): readonly unknown[] {
  if (!Array.isArray(value)) fail(where, "must be a list");
  if (value.length > max) fail(where, `has ${value.length} entries, more than ${max}`);
  return value;
}

function text(value: unknown, where: string): string {
  if (typeof value !== "string" || value === "" || value.length > 200) fail(where, "must be a short text");
  return value;
}

function number(value: unknown, where: string, min = -PUPPET_COORDINATE_MAX, max = PUPPET_COORDINATE_MAX): number {
  if (typeof value !== "number" || !Number.isFinite(value)) fail(where, "must be a finite number");
  if (value < min || value > max) fail(where, `is ${value}, not between ${min} and ${max}`);
  return value;
}

function numbers(value: unknown, where: string, length: number): readonly number[] {
  const entries = list(value, where, PUPPET_POINTS_MAX * 2);
  if (entries.length !== length) fail(where, `has ${entries.length} numbers instead of ${length}`);
  entries.forEach((entry, index) => number(entry, `${where}[${index}]`));
  return entries as readonly number[];
}

function paint(value: unknown, where: string): void {
  if (typeof value === "string") {
    if (!COLOR.test(value)) fail(where, `has the colour ${JSON.stringify(value)}; write #rrggbb or #rrggbbaa`);
    return;
  }
  const gradient = table(value, where);
  if ("linear" in gradient) numbers(gradient["linear"], `${where}.linear`, 4);
  else if ("radial" in gradient) {
    const [, , radius] = numbers(gradient["radial"], `${where}.radial`, 3);
    if (radius! <= 0) fail(`${where}.radial`, "needs a radius above 0");
    if (gradient["squash"] !== undefined) number(gradient["squash"], `${where}.squash`, 0.01, 100);
  } else fail(where, "must be a colour, or have linear or radial");
  const stops = list(gradient["stops"], `${where}.stops`, PUPPET_STOPS_MAX);
  if (stops.length < 2) fail(`${where}.stops`, "needs at least two colours");
  stops.forEach((entry, index) => {
    const [offset, color] = list(entry, `${where}.stops[${index}]`, 2);
    number(offset, `${where}.stops[${index}]`, 0, 1);
    if (typeof color !== "string") fail(`${where}.stops[${index}]`, "must be [offset, colour]");
    paint(color, `${where}.stops[${index}]`);
  });
}

function when(value: unknown, where: string): void {
  const factors = list(value, where, PUPPET_FACTORS_MAX);
  if (factors.length === 0) fail(where, "names no input");
  for (const factor of factors) {
    if (typeof factor !== "string" || !INPUTS.has(factor)) {
      fail(where, `names ${JSON.stringify(factor)}, which is neither a blendshape nor a joint's axis`);
    }
  }
}

function bones(value: unknown): ReadonlySet<string> {
  const names = new Set<string>();
  for (const entry of list(value, "bones", PUPPET_BONES_MAX)) {
    const bone = table(entry, `bones[${names.size}]`);
    const name = text(bone["name"], `bones[${names.size}].name`);
    const where = `bone ${name}`;
    if (names.has(name)) fail(where, "is there twice");
    if (bone["parent"] !== null && !names.has(text(bone["parent"], `${where}.parent`))) {
      fail(where, `hangs on ${JSON.stringify(bone["parent"])}, which is not a bone before it`);
    }
    numbers(bone["pivot"], `${where}.pivot`, 3);
    if (bone["joint"] !== undefined && !(text(bone["joint"], `${where}.joint`) in JOINT_INDEX)) {
      fail(where, `is turned by ${JSON.stringify(bone["joint"])}, which is not a joint`);
    }
    if (bone["gain"] !== undefined) number(bone["gain"], `${where}.gain`, -4, 4);
    if (bone["hang"] !== undefined) number(bone["hang"], `${where}.hang`, 0, 1);
    if (bone["sway"] !== undefined) {
      const sway = table(bone["sway"], `${where}.sway`);
      number(sway["amplitude"], `${where}.sway.amplitude`, 0, 1);
      number(sway["period"], `${where}.sway.period`, 0.05, 60);
      number(sway["damping"], `${where}.sway.damping`, 0.01, 20);
      number(sway["gust"], `${where}.sway.gust`, 0.1, 600);
      number(sway["phase"], `${where}.sway.phase`);
    }
    names.add(name);
  }
  if (names.size === 0) fail("bones", "is empty");
  return names;
}

interface Counts {
  points: number;
  keys: number;
}

function keys(layer: Table, where: string, points: number, counts: Counts): void {
  const entries = layer["keys"] === undefined ? [] : list(layer["keys"], `${where}.keys`, PUPPET_KEYS_MAX);
  counts.keys += entries.length;
  entries.forEach((entry, index) => {
    const key = table(entry, `${where}.keys[${index}]`);
    when(key["when"], `${where}.keys[${index}].when`);
    const at = list(key["at"], `${where}.keys[${index}].at`, points);
    for (const point of at) {
      if (!Number.isInteger(point) || (point as number) < 0 || (point as number) >= points) {
        fail(`${where}.keys[${index}].at`, `names point ${String(point)} of ${points}`);
      }
    }
    numbers(key["by"], `${where}.keys[${index}].by`, at.length * 2);
  });
  const fades = layer["fades"] === undefined ? [] : list(layer["fades"], `${where}.fades`, PUPPET_KEYS_MAX);
  fades.forEach((entry, index) => {
    const fade = table(entry, `${where}.fades[${index}]`);
    when(fade["when"], `${where}.fades[${index}].when`);
    number(fade["by"], `${where}.fades[${index}].by`, -4, 4);
  });
}

function layerShape(layer: Table, where: string, boneNames: ReadonlySet<string>, counts: Counts): void {
  let points = 0;
  for (const segments of list(layer["contours"], `${where}.contours`, PUPPET_POINTS_MAX)) {
    const count = number(segments, `${where}.contours`, 1, PUPPET_POINTS_MAX);
    if (!Number.isInteger(count)) fail(`${where}.contours`, "must be whole numbers");
    points += 3 * count + 1;
  }
  if (points === 0) fail(`${where}.contours`, "is empty");
  counts.points += points;
  numbers(layer["points"], `${where}.points`, points * 2);
  if (typeof layer["closed"] !== "boolean") fail(`${where}.closed`, "must be true or false");
  if (Array.isArray(layer["depth"])) numbers(layer["depth"], `${where}.depth`, points);
  else number(layer["depth"], `${where}.depth`);
  const follow = (name: unknown): void => {
    if (!boneNames.has(text(name, `${where}.bone`)))
      fail(where, `follows ${JSON.stringify(name)}, which is not a bone`);
  };
  follow(layer["bone"]);
  if (layer["toward"] !== undefined) {
    const toward = table(layer["toward"], `${where}.toward`);
    follow(toward["bone"]);
    numbers(toward["mix"], `${where}.toward.mix`, points);
  }
  keys(layer, where, points, counts);
}

function layerPaint(layer: Table, where: string): void {
  if (layer["fill"] !== undefined) paint(layer["fill"], `${where}.fill`);
  if (layer["stroke"] !== undefined) {
    const stroke = table(layer["stroke"], `${where}.stroke`);
    paint(stroke["paint"], `${where}.stroke.paint`);
    number(stroke["width"], `${where}.stroke.width`, 0, 200);
  }
  if (layer["alpha"] !== undefined) number(layer["alpha"], `${where}.alpha`, -4, 4);
  if (layer["blend"] !== undefined && !BLENDS.some((blend) => blend === layer["blend"])) {
    fail(`${where}.blend`, `is ${JSON.stringify(layer["blend"])}, not one of ${BLENDS.join(", ")}`);
  }
  if (layer["twinkle"] !== undefined) {
    const twinkle = table(layer["twinkle"], `${where}.twinkle`);
    number(twinkle["period"], `${where}.twinkle.period`, 0.1, 600);
    number(twinkle["phase"], `${where}.twinkle.phase`);
    number(twinkle["depth"], `${where}.twinkle.depth`, 0, 1);
  }
}

/**
 * Check everything a renderer relies on, so that drawing never fails.
 * @throws RendererError with one sentence that names the place and what is wrong there.
 */
export function validatePuppet(data: unknown): PuppetData {
  const puppet = table(data, "the file");
  if (puppet["format"] !== PUPPET_FORMAT) {
    fail("format", `is ${JSON.stringify(puppet["format"])}, not "${PUPPET_FORMAT}"`);
  }
  if (puppet["rig"] !== RIG_PROFILE) fail("rig", `is ${JSON.stringify(puppet["rig"])}, not "${RIG_PROFILE}"`);
  for (const name of ["id", "name", "version"]) text(puppet[name], name);
  numbers(puppet["size"], "size", 2).forEach((side) => number(side, "size", 1));
  number(puppet["safeWidth"], "safeWidth", 1);
  number(puppet["focal"], "focal", 100);
  const boneNames = bones(puppet["bones"]);
  const ids = new Set<string>();
  const clips: [string, string][] = [];
  const counts: Counts = { points: 0, keys: 0 };
  const layers = list(puppet["layers"], "layers", PUPPET_LAYERS_MAX);
  if (layers.length === 0) fail("layers", "is empty");
  for (const entry of layers) {
    const layer = table(entry, `layers[${ids.size}]`);
    const id = text(layer["id"], `layers[${ids.size}].id`);
    const where = `layer ${id}`;
    if (ids.has(id)) fail(where, "is there twice");
    ids.add(id);
    layerShape(layer, where, boneNames, counts);
    layerPaint(layer, where);
    if (layer["clip"] !== undefined) {
      for (const clip of list(layer["clip"], `${where}.clip`, 4)) clips.push([where, text(clip, `${where}.clip`)]);
    }
    if (counts.points > PUPPET_POINTS_MAX) fail("layers", `have more than ${PUPPET_POINTS_MAX} points`);
    if (counts.keys > PUPPET_KEYS_MAX) fail("layers", `have more than ${PUPPET_KEYS_MAX} keyforms`);
  }
  for (const [where, clip] of clips) {
    if (!ids.has(clip)) fail(where, `is clipped by ${JSON.stringify(clip)}, which is not a layer`);
  }
  return data as PuppetData;
}
