import type { AnimationFrame } from "../avatar/frame";
import { ArrivalClock } from "./arrivalClock";
import { addIdle } from "./idle";
import { Playhead } from "./playhead";
import { copyPose, mixPoses, restPose, smoothstep, type Pose } from "./pose";
import { TICKS_PER_MS } from "./timestamps";

const FRAMES_MAX = 256;
/** Motion may run this far beyond the newest frame: two frames; more would be invention (facts: no gain at three). */
const EXTRAPOLATION_MS_MAX = 40;
const EXTRAPOLATION_DAMPING_MS = 24;
/** Without any frame for this long the face lives by itself. */
const STALL_MS = 260;
const IDLE_IN_MS = 450;
const IDLE_OUT_MS = 260;
const CROSSFADE_MS = 110;
/** Sound rings on this long after the last speech packet's time. */
const SPEECH_TAIL_MS = 100;
/** Where nobody can say what is audible, speech is drawn this much later than silence: a usual jitter buffer. */
const ASSUMED_BUFFER_MS = 45;

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
 */
export class MotionTimeline {
  /** 0…1, how lively the idle layer is; less for people who asked for reduced motion. */
  liveliness = 1;

  readonly #frames: MotionFrame[] = [];
  readonly #arrivals = new ArrivalClock();
  readonly #playhead = new Playhead();
  readonly #pose = restPose();
  readonly #network = restPose();
  readonly #idlePose = restPose();
  readonly #fadeFrom = restPose();
  #fadeStartMs = -Infinity;
  #speechEndTicks = -Infinity;
  #cutTicks = -Infinity;
  #lastArrivalMs = -Infinity;
  #idle = 1;
  #sampledMs = 0;

  /** Add a decoded frame; order does not matter, duplicates are ignored. @returns false if it was of no use. */
  push(frame: MotionFrame): boolean {
    let place = this.#frames.length;
    while (place > 0 && this.#frames[place - 1]!.ticks > frame.ticks) place -= 1;
    if (place > 0 && this.#frames[place - 1]!.ticks === frame.ticks) return false;
    if (place === 0 && this.#frames.length === FRAMES_MAX) return false;
    this.#frames.splice(place, 0, frame);
    if (this.#frames.length > FRAMES_MAX) this.#frames.shift();
    this.#arrivals.observe(frame.ticks, frame.arrivalMs);
    this.#lastArrivalMs = Math.max(this.#lastArrivalMs, frame.arrivalMs);
    if (frame.speech && frame.ticks >= this.#cutTicks)
      this.#speechEndTicks = Math.max(this.#speechEndTicks, frame.ticks + 20 * TICKS_PER_MS);
    return true;
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
    const elapsedMs = Math.max(0, nowMs - this.#sampledMs);
    this.#sampledMs = nowMs;
    const speaking = this.speaking(audibleTicks);
    let source: MotionSource = "idle";
    let sequenceNumber: number | null = null;
    const target = this.#target(nowMs, speaking, audibleTicks);
    if (target !== null) {
      if (this.#playhead.advance(nowMs, target)) this.#startFade(nowMs);
      const at = this.#interpolate(this.#playhead.ticks!);
      sequenceNumber = at.sequenceNumber;
      source = at.extrapolated ? "extrapolated" : speaking && audibleTicks !== null ? "audible" : "arrival";
    }
    this.#blendIdle(nowMs, elapsedMs);
    if (this.#idle >= 1) source = "idle";
    const fade = (nowMs - this.#fadeStartMs) / CROSSFADE_MS;
    if (fade < 1) mixPoses(this.#pose, this.#fadeFrom, this.#pose, smoothstep(fade));
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
    this.#lastArrivalMs = -Infinity;
    this.#startFade(nowMs);
  }

  #target(nowMs: number, speaking: boolean, audibleTicks: number | null): number | null {
    const arrival = this.#arrivals.ticksAt(nowMs);
    if (arrival === null) return null;
    if (!speaking) return arrival;
    return audibleTicks ?? arrival - ASSUMED_BUFFER_MS * TICKS_PER_MS;
  }

  #startFade(nowMs: number): void {
    copyPose(this.#fadeFrom, this.#pose);
    this.#fadeStartMs = nowMs;
  }

  /** Write the network's pose at `ticks` into `#network` and let go of frames that lie behind. */
  #interpolate(ticks: number): { sequenceNumber: number; extrapolated: boolean } {
    const frames = this.#frames;
    let next = frames.length;
    while (next > 0 && frames[next - 1]!.ticks > ticks) next -= 1;
    if (next > 2) {
      frames.splice(0, next - 2);
      next = 2;
    }
    const after = frames[next];
    const before = frames[next - 1];
    if (!before) {
      copyPose(this.#network, after!.frame);
      return { sequenceNumber: after!.sequenceNumber, extrapolated: false };
    }
    if (after) {
      mixPoses(this.#network, before.frame, after.frame, (ticks - before.ticks) / (after.ticks - before.ticks));
      return { sequenceNumber: before.sequenceNumber, extrapolated: false };
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
    return { sequenceNumber: before.sequenceNumber, extrapolated: overMs > 0 };
  }

  #blendIdle(nowMs: number, elapsedMs: number): void {
    const stalled = nowMs - this.#lastArrivalMs > STALL_MS;
    const step = stalled ? elapsedMs / IDLE_IN_MS : -elapsedMs / IDLE_OUT_MS;
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
