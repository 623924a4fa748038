import { NO_LINK_STATS, type Link, type LinkProtocol, type LinkStats, type MotionPath } from "../transports/link";
import { emptyCounters, type PipeCounters } from "../transports/messages";

/** How a session does. Times in milliseconds, counts since the connection was made. */
export interface SessionStats extends LinkStats {
  /** null while not connected. */
  readonly protocol: LinkProtocol | null;
  readonly motionPath: MotionPath | null;
  /** Mean bytes of an Opus packet with its padding, and of the frame in it. */
  readonly meanPacketBytes: number | null;
  readonly meanFrameBytes: number | null;
  readonly counters: PipeCounters;
  /** Loudspeaker latency that motion is delayed by; null when the browser does not say. */
  readonly outputLatencyMs: number | null;
  /** From a unit's arrival until it is audible; null while unknown. */
  readonly playoutDelayMs: number | null;
  readonly framesDrawn: number;
}

/** What the page's side of a session knows. */
export type OwnStats = Pick<SessionStats, "outputLatencyMs" | "playoutDelayMs" | "framesDrawn">;

/** Put a link's figures and our own together. @param link null while there is none. */
export async function summarise(
  link: Pick<Link, "protocol" | "motion" | "counters" | "linkStats"> | null,
  own: OwnStats,
): Promise<SessionStats> {
  const counters = link?.counters ?? emptyCounters();
  const packets = counters.units + counters.plain;
  return {
    ...own,
    ...(link === null ? NO_LINK_STATS : await link.linkStats()),
    protocol: link?.protocol ?? null,
    motionPath: link?.motion ?? null,
    meanPacketBytes: packets > 0 ? counters.packetBytes / packets : null,
    meanFrameBytes: counters.units > 0 ? counters.frameBytes / counters.units : null,
    counters: { ...counters },
  };
}
