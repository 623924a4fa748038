import type { VisavisError } from "../sdk/errors";
import type { Ticket, TicketPop } from "../sdk/ticket";
import type { PipeCounters, UnitReport } from "./messages";

/** How a link reaches its POP. */
export type LinkProtocol = "webrtc" | "webtransport";

/** Which protocol a page wants: "auto" takes the best one that works here. */
export type TransportChoice = "auto" | LinkProtocol;

/**
 * How motion gets out of the packets: WebRTC in its two ways, as copies of them on a data channel where the browser shows
 * nobody its packets, WebTransport, or not at all in this browser.
 */
export type MotionPath = "script-transform" | "encoded-streams" | "data-channel" | "datagrams" | "none";

/** What a link tells its session. Nothing is told after `close()`. */
export interface LinkEvents {
  onUnit(unit: UnitReport): void;
  onControl(data: string): void;
  /** The link may be dying (ICE "disconnected"), and may recover by itself. */
  onUnsteady(): void;
  /**
   * The link lives, but its sound is bad for reasons that another protocol would not have. It has been noted: with
   * "auto" the next link will be of another protocol. Comes at most once.
   */
  onDegraded(): void;
  /** The link is gone without having been closed by us; comes at most once, and only after `openLink` resolved. */
  onLost(error: VisavisError): void;
}

/** How a link is opened. */
export interface LinkOptions {
  readonly ticket: Ticket;
  /** Where to; its token may be a resume token instead of the ticket's. */
  readonly pop: TicketPop;
  readonly transport: TransportChoice;
  /** The microphone's track; null for a viewer who has none (yet). */
  readonly microphone: MediaStreamTrack | null;
  /** Whether sound will ever go up. */
  readonly direction: "sendrecv" | "recvonly";
  /** The session lives already: an attempt that fails must not say goodbye, which would end it. */
  readonly resuming: boolean;
  /** The session may move to this POP: what it sends as a preview is reported, too. */
  readonly preview?: boolean;
  /** Told of the sound as soon as there is a place for it: a browser keeps what comes while nobody plays it. */
  readonly onSound?: ((sound: SoundSource) => void) | undefined;
  readonly signal: AbortSignal;
}

/** What the loudspeaker was given last. */
export interface PlayoutReport {
  readonly rtpTimestamp: number;
  /** performance.now() at which it was handed over, or heard. */
  readonly atMs: number;
  /** It is exactly what is heard at `atMs`; otherwise the packet that was handed over, the loudspeaker's latency before. */
  readonly audible: boolean;
  /** 0…1 */
  readonly audioLevel: number;
}

/** The character's voice as a link gives it to the speaker. */
export interface SoundSource {
  readonly stream: MediaStream;
  /** Where the link plays the sound itself: what the speaker connects to the loudspeaker instead of the stream. */
  readonly node: AudioNode | null;
}

/** How a link does, counted since it was opened. */
export interface LinkStats {
  readonly roundTripMs: number | null;
  /** Mean time a packet waited before it was played, since the last call. */
  readonly jitterBufferMs: number | null;
  readonly packetsReceived: number;
  readonly packetsLost: number;
  /** Share of played samples that were invented to bridge losses, 0…1. */
  readonly concealed: number;
}

/** While there is no link. */
export const NO_LINK_STATS: LinkStats = {
  roundTripMs: null,
  jitterBufferMs: null,
  packetsReceived: 0,
  packetsLost: 0,
  concealed: 0,
};

/** One connection to one POP: sound down (and up), control both ways, motion inside the sound. */
export interface Link {
  readonly protocol: LinkProtocol;
  readonly motion: MotionPath;
  readonly counters: PipeCounters;
  readonly sound: SoundSource;
  /** What was played last; null before anything was. */
  playout(): PlayoutReport | null;
  /**
   * Take note of what is audible, for the feedback.
   *
   * @param rtpTimestamp 32 bits.
   * @param atMs performance.now() at which it is audible.
   * @param playoutDelayMs from a unit's arrival until it is audible; null while unknown.
   */
  notePlayout(rtpTimestamp: number, atMs: number, playoutDelayMs: number | null): void;
  /** Send a control message; false when it cannot be sent (any more). */
  sendControl(data: string): boolean;
  /** Put a microphone track on the wire, or take it off, without a new connection. */
  setMicrophone(track: MediaStreamTrack | null): Promise<void>;
  /** Play everything so much later, or sooner where negative, where that can be chosen: nobody hears this link yet. */
  shift?(laterMs: number): void;
  /** Whether a microphone can be added to this connection. */
  readonly canSend: boolean;
  linkStats(): Promise<LinkStats>;
  /**
   * Close. Idempotent.
   *
   * @param farewell tell the POP that the viewer leaves, which ends the session; without it the session lives on, on
   *   another link or until its grace is over.
   */
  close(farewell: boolean): void;
}
