import { BLENDSHAPE_INDEX, BLENDSHAPES } from "../avatar/rig";
import type { StateFace } from "../stream/stateFace";
import { TICKS_PER_MS, wrapTimestamp } from "../stream/timestamps";
import type { MotionSample } from "../stream/timeline";
import { VoiceGate } from "../stream/voiceGate";
import type { Link } from "../transports/link";
import type { UnitReport } from "../transports/messages";
import { AudibleClock } from "./audibleClock";
import type { Conversation } from "./conversation";
import type { DebugTrace } from "./debug";
import { FACE_STATES } from "./events";
import type { Face, FaceDriver } from "./face";
import { Speaker } from "./speaker";

/** How often the worker is told what is audible; in between it counts on. */
const PLAYOUT_NOTE_MS = 50;
/** Two links that are no further apart play the same: nobody hears the change. */
const APART_MS_MAX = 10;
/** Both POPs send for 300 ms at most, from before the other one counts; so long it is waited until they are that near. */
const SWITCH_MS_MAX = 120;
const SWITCH_STEP_MS = 5;

/** What the media path tells its session. */
export interface MediaEvents {
  readonly onFrame: (sample: MotionSample) => void;
  /** The first voice of an answer is heard, so long after it arrived. */
  readonly onVoiceHeard: (afterArrivalMs: number) => void;
}

/**
 * From a received access unit to what is heard and seen: the voice's loudness, the face's motion, the words as they
 * become audible. It is the face's driver and stays over reconnections; a link is given to it and taken away.
 */
export class MediaPath implements FaceDriver {
  readonly clock = new AudibleClock();
  readonly speaker: Speaker;
  framesDrawn = 0;
  readonly #gate = new VoiceGate();
  readonly #conversation: Conversation;
  readonly #face: Face;
  readonly #debug: DebugTrace;
  readonly #events: MediaEvents;
  #link: Link | null = null;
  /** The session may move to its POP. */
  #next: Link | null = null;
  #lastNoteMs = 0;
  /** The stretch of voice that is arriving: its first packet, and whether that has been heard. */
  #voice: { readonly ticks: number; readonly arrivalMs: number; heard: boolean } | null = null;

  constructor(conversation: Conversation, face: Face, debug: DebugTrace, events: MediaEvents) {
    this.#conversation = conversation;
    this.#face = face;
    this.#debug = debug;
    this.#events = events;
    this.speaker = new Speaker((gain) => {
      debug.gains.push({ atMs: performance.now(), gain });
    });
  }

  /** Sound and motion come from this link from now on; null: from none. */
  setLink(link: Link | null): void {
    this.#link = link;
    this.#next = null;
    this.clock.playoutDelayMs = null;
    if (link !== null) this.speaker.attach(link.sound);
  }

  /** What the speaker has prepared comes from this link: the session may move there. */
  await(link: Link): void {
    this.#next = link;
  }

  /** The session does not move there. */
  discard(): void {
    this.#next = null;
    this.speaker.discard();
  }

  /**
   * The session is at that link's POP: draw what it brings, and hear it as soon as both play the same media time, in a
   * pause, or when the other one must not be waited for any longer.
   */
  async switchTo(link: Link, units: readonly UnitReport[]): Promise<void> {
    for (const unit of units) this.receive(unit);
    const startedMs = performance.now();
    let shifted = false;
    for (;;) {
      const nowMs = performance.now();
      const aheadMs = this.#aheadMs(link, nowMs);
      if (aheadMs === null || Math.abs(aheadMs) <= APART_MS_MAX || nowMs - startedMs > SWITCH_MS_MAX) break;
      if (!shifted) link.shift?.(aheadMs);
      shifted = true;
      await new Promise((resolve) => setTimeout(resolve, SWITCH_STEP_MS));
    }
    if (this.#next === link) this.#next = null;
    this.#link = link;
    this.clock.playoutDelayMs = null;
    this.speaker.switchOver();
  }

  /** How much further than the link that is heard another one is; null where nobody can say. */
  #aheadMs(link: Link, nowMs: number): number | null {
    const [heard, next] = [this.#link?.playout() ?? null, link.playout()];
    if (heard === null || next === null || this.clock.unwrapper.newest === null) return null;
    const ticks = this.clock.unwrapper.peek(next.rtpTimestamp) - this.clock.unwrapper.peek(heard.rtpTimestamp);
    return ticks / TICKS_PER_MS + (nowMs - next.atMs) - (nowMs - heard.atMs);
  }

  /** A unit came, before any jitter buffer: act on barge-in at once, keep the motion for its time. */
  receive(unit: UnitReport): void {
    const nowMs = performance.now();
    const { speech, duck, cut, sequenceNumber, rtpTimestamp, values, state, repaired } = unit;
    const arrivalMs = unit.absoluteMs - performance.timeOrigin;
    const ticks = this.clock.unwrapper.unwrap(rtpTimestamp);
    if (this.#gate.receive({ ticks, speech, duck, cut }, nowMs)) {
      this.#face.timeline.cut(ticks, nowMs);
      this.#conversation.voiceEnded(true);
    }
    const name = FACE_STATES[state];
    if (name && ticks === this.clock.unwrapper.newest) this.#conversation.setState(name);
    if (values !== null) {
      const weights = values.subarray(0, BLENDSHAPES.length);
      const frame = { weights, joints: values.subarray(BLENDSHAPES.length), syncScore: unit.syncScore };
      this.#face.timeline.push({ ticks, frame, sequenceNumber, speech, arrivalMs });
    }
    if (!speech) this.#voice = null;
    else this.#voice ??= { ticks, arrivalMs, heard: false };
    const jawOpen = values?.[BLENDSHAPE_INDEX.jawOpen] ?? null;
    const traced = { atMs: arrivalMs, rtpTimestamp, sequenceNumber, jawOpen, state, speech, duck, cut, repaired };
    this.#debug.received.push(traced);
    const audible = this.audibleTicks(nowMs);
    if (!repaired) this.clock.noteArrival(ticks, arrivalMs, nowMs);
    this.#follow(audible, nowMs);
  }

  /** Silence what is buffered, without waiting for the POP. */
  silence(): void {
    const nowMs = performance.now();
    this.#gate.silence(nowMs);
    this.#follow(this.audibleTicks(nowMs), nowMs);
  }

  audibleTicks(nowMs: number): number | null {
    return this.clock.audibleTicks(this.#link?.playout() ?? null, nowMs);
  }

  stateFace(): StateFace | null {
    if (this.#link?.motion !== "none") return null;
    return { state: this.#conversation.state, level: this.#link.playout()?.audioLevel ?? 0 };
  }

  onDrawn(sample: MotionSample, nowMs: number): void {
    this.framesDrawn += 1;
    const audible = this.clock.lastTicks;
    this.#follow(audible, nowMs);
    this.#debug.drawn.push({
      atMs: nowMs,
      rtpTimestamp: sample.ticks === null ? null : wrapTimestamp(sample.ticks),
      sequenceNumber: sample.sequenceNumber,
      jawOpen: sample.pose.weights[BLENDSHAPE_INDEX.jawOpen]!,
      source: sample.source,
      idle: sample.idle,
      audibleTimestamp: audible === null ? null : wrapTimestamp(audible),
    });
    this.#events.onFrame(sample);
  }

  /** A new connection counts its media time anew. */
  reset(): void {
    this.clock.reset();
    this.#gate.reset();
    this.#voice = null;
    this.#conversation.reset();
    this.#face.timeline.reset(performance.now());
  }

  close(): void {
    this.#link = null;
    this.speaker.close();
    this.clock.close();
  }

  /** What must happen at the audible time; driven by units as well as by drawing, so also while the page is hidden. */
  #follow(audible: number | null, nowMs: number): void {
    const { gain, rampMs } = this.#gate.target(audible, nowMs);
    this.speaker.setGain(gain, rampMs);
    if (audible === null) return;
    this.#conversation.audible(audible);
    const voice = this.#voice;
    if (voice !== null && !voice.heard && audible >= voice.ticks) {
      voice.heard = true;
      this.#events.onVoiceHeard(nowMs - voice.arrivalMs);
    }
    if (nowMs - this.#lastNoteMs < PLAYOUT_NOTE_MS) return;
    this.#lastNoteMs = nowMs;
    for (const link of [this.#link, this.#next]) {
      link?.notePlayout(wrapTimestamp(audible), nowMs, this.clock.playoutDelayMs);
    }
  }
}
