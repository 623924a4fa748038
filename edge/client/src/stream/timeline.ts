import type { AnimationFrame } from "../avatar/frame";
import { ArrivalClock } from "./arrivalClock";
import { addIdle } from "./idle";
import { limitMotion } from "./plausibility";
import { Playhead } from "./playhead";
import { copyPose, mixPoses, restPose, smoothstep, type Pose } from "./pose";
import { TICKS_PER_MS } from "./timestamps";

const FRAMES_MAX = 256;
/** Motion may run this far beyond the newest frame: two frames; more would be invention (facts: no gain at three). */
const EXTRAPOLATION_MS_MAX = 40;
const EXTRAPOLATION_DAMPING_MS = 24;
/** Frames are kept this long after they were drawn, late ones too: an audio clock may be set back. */
const HISTORY_MS = 1_000;
const IDLE_IN_MS = 450;
const IDLE_OUT_MS = 260;
const CROSSFADE_MS = 110;
/** Sound rings on this long after the last speech packet's time. */
const SPEECH_TAIL_MS = 100;
/** Where nobody can say what is audible, speech is drawn this much later than silence: a usual jitter buffer. */
const ASSUMED_BUFFER_MS = 45;
/** A media time this far from what the clocks say is absurd; that many in a row are a new clock. */
const ABSURD_MS = 5_000;
const ABSURD_IN_A_ROW = 5;

/** One decoded frame on the media timeline. */
export interface MotionFrame {
  /** Unwrapped 48 kHz media time. */
  readonly ticks: number;
  readonly frame: AnimationFrame;
  readonly sequenceNumber: number;
  /** Voice is in its packet. */
  readonly speech: boolean;
  /** Local monotonic time at which it came. */
  readonly arrivalMs: number;
}

/** What a sample was made of. */
export type MotionSource = "audible" | "arrival" | "extrapolated" | "idle";

export interface MotionSample {
  /** The pose to draw; valid until the next call. */
  readonly pose: Pose;
  readonly source: MotionSource;
  /** Media time drawn; null when the face lives by itself. */
  readonly ticks: number | null;
  /** Sequence number of the sent frame at or before `ticks`. */
  readonly sequenceNumber: number | null;
  /** 0 = all from the network … 1 = all from the local idle layer. */
  readonly idle: number;
}

/**
 * Decides which face is drawn at which instant. Pure: frames and clocks come in, poses go out.
 *
 * While there is voice the frame of the media time **audible now** is drawn. In silence nobody hears a difference and
 * waiting would only make the face slow, so frames are drawn on arrival. The change between the two moves the playhead
 * with bounded velocity. A short gap is extrapolated, a longer one becomes the local idle layer until frames return.
 * Whatever happens, the drawn pose moves no quicker than a face can. Mirrors core/stream/playout.py; both are held to
 * tests/vectors/playout.json.
 */
export class MotionTimeline {
  /** 0…1, how lively the idle layer is; less for people who asked for reduced motion. */
  liveliness = 1;
  /**
   * Frames of no use, by reason: a newer one was drawn already (it is drawn only if the clock is set back), it was there
   * already, too many, an absurd time.
   */
  readonly dropped = { late: 0, duplicate: 0, overflow: 0, absurd: 0 };

  readonly #frames: MotionFrame[] = [];
  readonly #arrivals = new ArrivalClock();
  readonly #playhead = new Playhead();
  readonly #pose = restPose();
  readonly #network = restPose();
  readonly #idlePose = restPose();
  readonly #fadeFrom = restPose();
  /** What was drawn last; `#pose` is in the caller's hands between two samples. */
  readonly #drawn = restPose();
  #fadeStartMs = -Infinity;
  #speechEndTicks = -Infinity;
  #cutTicks = -Infinity;
  #pastTicks = -Infinity;
  #absurd = 0;
  #idle = 1;
  #starved = true;
  #sampledMs: number | null = null;

  /** Add a decoded frame; order does not matter, duplicates are ignored. @returns false if it was of no use. */
  push(frame: MotionFrame): boolean {
    if (Math.abs(this.#arrivals.latenessMs(frame.ticks, frame.arrivalMs)) > ABSURD_MS) {
      this.#absurd += 1;
      if (this.#absurd < ABSURD_IN_A_ROW) return this.#drop("absurd");
      this.reset(frame.arrivalMs);
    }
    this.#absurd = 0;
    this.#arrivals.observe(frame.ticks, frame.arrivalMs);
    const late = frame.ticks < this.#pastTicks;
    let place = this.#frames.length;
    while (place > 0 && this.#frames[place - 1]!.ticks > frame.ticks) place -= 1;
    if (place > 0 && this.#frames[place - 1]!.ticks === frame.ticks) return this.#drop("duplicate");
    if (place === 0 && this.#frames.length === FRAMES_MAX) return this.#drop("overflow");
    this.#frames.splice(place, 0, frame);
    if (this.#frames.length > FRAMES_MAX) {
      this.#frames.shift();
      this.dropped.overflow += 1;
    }
    if (frame.speech && frame.ticks >= this.#cutTicks)
      this.#speechEndTicks = Math.max(this.#speechEndTicks, frame.ticks + 20 * TICKS_PER_MS);
    return late ? this.#drop("late") : true;
  }

  /** The voice before `ticks` was cut: its motion is not worth waiting for; go to the newest and fade. */
  cut(ticks: number, nowMs: number): void {
    this.#cutTicks = Math.max(this.#cutTicks, ticks);
    if (this.#speechEndTicks > ticks) return;
    this.#speechEndTicks = -Infinity;
    const target = this.#arrivals.ticksAt(nowMs);
    if (target === null) return;
    this.#startFade(nowMs);
    this.#playhead.jump(nowMs, Math.max(target, ticks));
  }

  /** Media time of the newest frame, null without any. */
  get newestTicks(): number | null {
    return this.#frames.at(-1)?.ticks ?? null;
  }

  /** True while voice is in the frames that are, or soon will be, audible. */
  speaking(audibleTicks: number | null): boolean {
    if (this.#speechEndTicks === -Infinity) return false;
    const heard = audibleTicks ?? this.#playhead.ticks ?? -Infinity;
    return heard < this.#speechEndTicks + SPEECH_TAIL_MS * TICKS_PER_MS;
  }

  /**
   * The face at `nowMs`.
   *
   * @param nowMs local monotonic time; must not decrease.
   * @param audibleTicks media time audible at `nowMs`; null where nobody can say.
   */
  sample(nowMs: number, audibleTicks: number | null): MotionSample {
    const elapsedMs = this.#sampledMs === null ? null : Math.max(0, nowMs - this.#sampledMs);
    this.#sampledMs = nowMs;
    const speaking = this.speaking(audibleTicks);
    let source: MotionSource = "idle";
    let sequenceNumber: number | null = null;
    const target = this.#target(nowMs, speaking, audibleTicks);
    this.#starved = true;
    if (target !== null && this.#frames.length > 0) {
      if (this.#playhead.advance(nowMs, target)) this.#startFade(nowMs);
      const at = this.#interpolate(this.#playhead.ticks!);
      sequenceNumber = at.sequenceNumber;
      this.#starved = at.overMs > EXTRAPOLATION_MS_MAX;
      source = at.overMs > 0 ? "extrapolated" : speaking && audibleTicks !== null ? "audible" : "arrival";
    }
    this.#blendIdle(nowMs, elapsedMs ?? 0);
    if (this.#idle >= 1) source = "idle";
    const fade = (nowMs - this.#fadeStartMs) / CROSSFADE_MS;
    if (fade < 1) mixPoses(this.#pose, this.#fadeFrom, this.#pose, smoothstep(fade));
    if (elapsedMs !== null) limitMotion(this.#pose, this.#drawn, elapsedMs);
    copyPose(this.#drawn, this.#pose);
    const ticks = source === "idle" ? null : this.#playhead.ticks;
    return {
      pose: this.#pose,
      source,
      ticks,
      sequenceNumber: ticks === null ? null : sequenceNumber,
      idle: this.#idle,
    };
  }

  /** Forget all frames (a new connection counts its media time anew). The drawn pose stays and fades over. */
  reset(nowMs: number): void {
    this.#frames.length = 0;
    this.#arrivals.reset();
    this.#playhead.reset();
    this.#speechEndTicks = -Infinity;
    this.#cutTicks = -Infinity;
    this.#pastTicks = -Infinity;
    this.#startFade(nowMs);
  }

  #drop(reason: keyof MotionTimeline["dropped"]): false {
    this.dropped[reason] += 1;
    return false;
  }

  #target(nowMs: number, speaking: boolean, audibleTicks: number | null): number | null {
    const arrival = this.#arrivals.ticksAt(nowMs);
    if (arrival === null) return null;
    if (!speaking) return arrival;
    return audibleTicks ?? arrival - ASSUMED_BUFFER_MS * TICKS_PER_MS;
  }

  #startFade(nowMs: number): void {
    copyPose(this.#fadeFrom, this.#drawn);
    this.#fadeStartMs = nowMs;
  }

  /**
   * Write the network's pose at `ticks` into `#network` and let go of frames that lie far behind.
   *
   * @returns the frame at or before `ticks`, and how far that is beyond the newest, or before the oldest if that is
   *   further than a guess may reach.
   */
  #interpolate(ticks: number): { sequenceNumber: number; overMs: number } {
    const frames = this.#frames;
    let next = frames.length;
    while (next > 0 && frames[next - 1]!.ticks > ticks) next -= 1;
    while (next > 2 && frames[0]!.ticks < ticks - HISTORY_MS * TICKS_PER_MS) {
      frames.shift();
      next -= 1;
    }
    const after = frames[next];
    const before = frames[next - 1];
    if (!before) {
      this.#pastTicks = -Infinity;
      copyPose(this.#network, after!.frame);
      const earlyMs = (after!.ticks - ticks) / TICKS_PER_MS;
      return { sequenceNumber: after!.sequenceNumber, overMs: earlyMs > EXTRAPOLATION_MS_MAX ? earlyMs : 0 };
    }
    this.#pastTicks = before.ticks;
    if (after) {
      mixPoses(this.#network, before.frame, after.frame, (ticks - before.ticks) / (after.ticks - before.ticks));
      return { sequenceNumber: before.sequenceNumber, overMs: 0 };
    }
    const overMs = (ticks - before.ticks) / TICKS_PER_MS;
    const previous = frames[next - 2];
    if (!previous || overMs <= 0) {
      copyPose(this.#network, before.frame);
    } else {
      const runMs = Math.min(overMs, EXTRAPOLATION_MS_MAX);
      const damped = EXTRAPOLATION_DAMPING_MS * (1 - Math.exp(-runMs / EXTRAPOLATION_DAMPING_MS));
      const intervalMs = (before.ticks - previous.ticks) / TICKS_PER_MS;
      mixPoses(this.#network, previous.frame, before.frame, 1 + damped / intervalMs);
    }
    return { sequenceNumber: before.sequenceNumber, overMs: Math.max(0, overMs) };
  }

  #blendIdle(nowMs: number, elapsedMs: number): void {
    const step = this.#starved ? elapsedMs / IDLE_IN_MS : -elapsedMs / IDLE_OUT_MS;
    this.#idle = Math.min(1, Math.max(0, this.#idle + step));
    if (this.#idle === 0) {
      copyPose(this.#pose, this.#network);
      return;
    }
    this.#idlePose.weights.fill(0);
    for (let index = 0; index < this.#idlePose.joints.length; index += 1) {
      this.#idlePose.joints[index] = index % 4 === 3 ? 1 : 0;
    }
    this.#idlePose.syncScore = 0;
    addIdle(this.#idlePose, nowMs, this.liveliness);
    mixPoses(this.#pose, this.#network, this.#idlePose, smoothstep(this.#idle));
  }
}
