import type { Renderer } from "../render/renderer";
import type { TransportChoice } from "../transports/link";
import type { Face } from "./face";

/** Longest text that may be sent. Mirrors core/limits.py. */
export const TEXT_CHARS_MAX = 2_000;

/** How to reach a character. */
export interface ConnectOptions {
  /** Where sessions are asked for, e.g. "https://origin.example". */
  readonly originUrl: string;
  /** Use this POP instead of those the ticket names. */
  readonly popUrl?: string;
  /** Id of the character; the origin's default without it. */
  readonly character?: string;
  /**
   * "conversation" (the default): the character answers. "mirror": you are the character; what your microphone hears
   * is its voice and moves its face, and none of it leaves the POP for the origin.
   */
  readonly mode?: "conversation" | "mirror";
  /**
   * true asks for the microphone, a stream is used as it is (and not stopped at the end), false (the default) listens
   * only. "later" begins without one and lets `setMicrophone(true)` add it without a new conversation.
   */
  readonly microphone?: boolean | "later" | MediaStream;
  /**
   * How to reach the POP: "auto" (the default) takes WebTransport where browser, POP and network have it and WebRTC
   * everywhere else; "webrtc" and "webtransport" ask for that one alone.
   */
  readonly transport?: TransportChoice;
  /** Draws the face. A `Face` lives before and after the session; a renderer gets a face for the session's time. */
  readonly renderer?: Renderer | Face;
}
