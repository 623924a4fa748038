/** What the audio thread's processors are called, and what is said over their ports. */

/** Plays pieces of sound; its port is given the worker's port, which pieces come through. */
export const PLAYER = "visavis-player";
/** Hands on the microphone's sound in packets. */
export const CAPTURE = "visavis-capture";

/** From the worker to the player. */
export interface PieceMessage {
  readonly startFrame: number;
  readonly sound: Float32Array<ArrayBuffer>;
}

/** From the capture to the worker: one packet's worth of sound. */
export interface CaptureMessage {
  /** Number of its first sample, counted by the sound card without gaps. */
  readonly frame: number;
  readonly sound: Float32Array<ArrayBuffer>;
}

/** From the page to either: where pieces come from, or sound goes to. */
export interface PortMessage {
  readonly port: MessagePort;
}
