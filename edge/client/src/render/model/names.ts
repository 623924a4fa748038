import { BLENDSHAPES, type Blendshape } from "../../avatar/rig";

/** A morph target's name and the channel it stands for; `side` null: one shape for both sides. */
export interface KnownShape {
  readonly channel: string;
  readonly side: "Left" | "Right" | null;
}

const squeeze = (name: string): string => name.toLowerCase().replace(/[^a-z0-9]/g, "");

const CHANNELS = new Map<string, Blendshape>(BLENDSHAPES.map((name) => [squeeze(name), name]));
/** What is left of a two-sided channel without its side: "eyeBlink". */
const STEMS = new Map<string, string>(
  BLENDSHAPES.filter((name) => /(Left|Right)$/.test(name) && !/^(jaw|mouth)(Left|Right)$/.test(name)).map((name) => {
    const stem = name.replace(/(Left|Right)$/, "");
    return [squeeze(stem), stem];
  }),
);

/**
 * Which of the 52 channels a name means, whoever wrote it: jawOpen, JawOpen, jaw_open, mouthSmile_L, MouthSmileLeft,
 * head.eyeBlinkLeft, mouthSmile (both sides), browInnerUp_L (half of one channel). null: none of them, as Fcl_MTH_A.
 */
export function knownShape(name: string): KnownShape | null {
  const own = name.slice(Math.max(name.lastIndexOf("."), name.lastIndexOf(":"), name.lastIndexOf("|")) + 1);
  const whole = CHANNELS.get(squeeze(own));
  if (whole !== undefined) {
    const side = /(Left|Right)$/.exec(whole);
    const sided = side !== null && STEMS.has(squeeze(whole.slice(0, side.index)));
    return { channel: whole, side: sided ? (side[1] as "Left" | "Right") : null };
  }
  const sided =
    /^(.*?)(?:[_\-\s]+([LR])|[_\-\s]*(left|right)|(?<=[a-z])([LR]))$/.exec(own) ?? /^(.+?)[_\-\s]+([lr])$/.exec(own);
  if (sided !== null) {
    const stem = squeeze(sided[1]!);
    const letter = (sided[2] ?? sided[3] ?? sided[4])!.charAt(0).toUpperCase();
    const side = letter === "L" ? "Left" : "Right";
    const exact = CHANNELS.get(stem + side.toLowerCase());
    if (exact !== undefined) return { channel: exact, side: STEMS.has(stem) ? side : null };
    const half = CHANNELS.get(stem);
    if (half !== undefined) return { channel: half, side };
    return null;
  }
  const both = STEMS.get(squeeze(own));
  return both === undefined ? null : { channel: both, side: null };
}

/** The shapes that a channel moves by itself: its own, its halves, or one for both sides. Gains make a full weight. */
export function ownShapes(names: readonly string[]): ReadonlyMap<Blendshape, readonly (readonly [string, number])[]> {
  const found = new Map<Blendshape, (readonly [string, number])[]>();
  const add = (channel: Blendshape, name: string, gain: number): void => {
    found.set(channel, [...(found.get(channel) ?? []), [name, gain]]);
  };
  const known = names.map((name) => [name, knownShape(name)] as const);
  for (const [name, shape] of known) {
    if (shape !== null && (BLENDSHAPES as readonly string[]).includes(shape.channel))
      add(shape.channel as Blendshape, name, 1);
  }
  for (const [name, shape] of known) {
    if (shape === null || (BLENDSHAPES as readonly string[]).includes(shape.channel)) continue;
    for (const side of ["Left", "Right"] as const) {
      const channel = `${shape.channel}${side}` as Blendshape;
      // Half from either side: a smile of both is a whole one.
      if (!found.has(channel)) add(channel, name, 0.5);
    }
  }
  return found;
}
