import type { CloseNote, CountersReport, PlayoutNote, UnitReport } from "../messages";

/** What the page and the worker that has the session tell each other. Times are absolute, in ms. */

/** Page → worker: make a session. */
export interface OpenNote {
  readonly type: "open";
  readonly url: string;
  /** SHA-256 of certificates to accept; empty: one of a certificate authority. */
  readonly certificateHashes: readonly Uint8Array<ArrayBuffer>[];
}

/** Page → worker: say hello; the token is spent. */
export interface HelloNote {
  readonly type: "hello";
  readonly token: string;
  /** Of the key that the token is bound to; "" where it is bound to none. */
  readonly proof: string;
}

/** Page → worker: where sound goes to (a player's port), or comes from (a capture's). */
export interface SoundNote {
  readonly type: "player" | "capture";
  readonly port: MessagePort;
}

export interface ControlNote {
  readonly type: "control";
  readonly data: string;
}

export type WorkerNote = OpenNote | HelloNote | SoundNote | ControlNote | PlayoutNote | CloseNote;

/** Worker → page: the session is there, nothing said yet; or the hello was admitted. */
export interface ProgressReport {
  readonly type: "ready" | "admitted";
}

/** Worker → page: the session is over, whoever ended it. */
export interface ClosedReport {
  readonly type: "closed";
  /** The POP's error code; "" when the path is gone. */
  readonly reason: string;
}

export interface ControlReport {
  readonly type: "control";
  readonly data: string;
}

/** Worker → page: media time at the sound card, of a piece of sound that will be played. */
export interface MarkReport {
  readonly type: "mark";
  readonly startFrame: number;
  readonly frames: number;
  /** Unwrapped. */
  readonly ticks: number;
  readonly durationTicks: number;
}

/** How sound and path do, counted since the session began. */
export interface SoundFigures {
  /** Packets whose sound was played, or concealed, or late. */
  readonly played: number;
  readonly concealed: number;
  readonly late: number;
  /** Samples that the sound card wanted and that were not there in time: this machine is too slow. */
  readonly missedFrames: number;
  /** From a packet's arrival until it must be decoded. */
  readonly delayMs: number | null;
  readonly roundTripMs: number | null;
}

/** Worker → page, once a second. */
export interface FiguresReport extends CountersReport {
  readonly sound: SoundFigures;
}

export type SessionReport = ProgressReport | ClosedReport | ControlReport | MarkReport | UnitReport | FiguresReport;
