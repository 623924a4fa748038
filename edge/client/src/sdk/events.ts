import type { MotionSample } from "../stream/timeline";
import type { VisavisError } from "./errors";

/** What the face is doing. Mirrors core/session/state.py; the index is the value on the wire. */
export const FACE_STATES = ["idle", "listening", "thinking", "speaking"] as const;
export type FaceStateName = (typeof FACE_STATES)[number];

/**
 * Where the connection stands. "switching" is told when moving to another network takes more than a second: the
 * conversation goes on afterwards. "reconnecting" happens by itself and begins another conversation unless the old one
 * can still be resumed; "closed" is final.
 */
export type ConnectionState = "connecting" | "connected" | "switching" | "reconnecting" | "closed";

/** Where the microphone stands. "off" = not asked for; "muted" = there, but silent; "lost" = unplugged or revoked. */
export type MicrophoneState = "off" | "on" | "muted" | "lost";

/** One word of a caption with its place in its utterance, 48 kHz ticks. */
export interface CaptionWord {
  readonly text: string;
  readonly startTicks: number;
  readonly endTicks: number;
}

/** A clause the character says, with the time of every word. It comes before it is heard. */
export interface Caption {
  readonly id: string;
  readonly utteranceId: number;
  readonly text: string;
  readonly words: readonly CaptionWord[];
}

/** Something said, by either side. The same `id` again replaces the entry: recognition grows while people speak. */
export interface TranscriptEntry {
  readonly id: string;
  readonly role: "user" | "character";
  readonly text: string;
  readonly final: boolean;
  /** The character was interrupted: `text` is what was heard of it. */
  readonly interrupted: boolean;
}

/** Everything that what is said can tell a page. */
export interface ConversationEvents {
  /** The face changed what it is doing. */
  state: { readonly state: FaceStateName };
  transcript: TranscriptEntry;
  caption: Caption;
  /** A word of a caption has become audible; `index` counts the caption's words. */
  word: { readonly captionId: string; readonly index: number };
  /** The character's voice ended or was cut: captions may go. */
  "caption-end": { readonly interrupted: boolean };
  /** Milliseconds each known stage of a turn took; names are those of STAGES. Comes again as more becomes known. */
  stages: { readonly turnId: number; readonly stages: Readonly<Record<string, number>> };
  mood: { readonly label: string; readonly valence: number; readonly arousal: number };
  /** Something failed that the session survives; `message` is for people. */
  fault: { readonly code: string; readonly message: string };
}

/** Everything a session tells. */
export interface SessionEvents extends ConversationEvents {
  connection: {
    readonly state: ConnectionState;
    /** Why it is not connected; null while all is well. */
    readonly error: VisavisError | null;
    /** Milliseconds until the next attempt; null when one is under way or none will come. */
    readonly retryInMs: number | null;
    /** Attempts since the last success. */
    readonly attempt: number;
    /** The conversation of before goes on: nothing begins anew. */
    readonly resumed: boolean;
  };
  /** Which character answers; known with the first ticket. */
  character: { readonly id: string; readonly name: string; readonly puppet: string | null };
  microphone: { readonly state: MicrophoneState };
  /** The browser blocks sound until the user touches the page: call `session.resumeSound()` from a click. */
  "sound-blocked": { readonly blocked: boolean };
  /** A face was drawn (or would have been: without a renderer, draw it yourself). Valid during the call. */
  frame: MotionSample;
}
