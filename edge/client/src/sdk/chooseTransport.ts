import type { Link, LinkEvents, LinkOptions } from "../transports/link";
import { WebRtcLink } from "../transports/webrtc";
import { PathUnavailable, WebTransportLink, webTransportSupported } from "../transports/webtransport/webTransportLink";
import { VisavisError } from "./errors";

/** For the page's life, over reloads: on this network WebTransport did not work. */
const MEMORY_KEY = "visavis-webtransport-trouble";

/**
 * Open a link to a POP. Resolves when sound and control can flow.
 *
 * WebTransport first, where browser and ticket have it: our own playout waits no longer than it must, and redundancy
 * protects the sound as well. Where no session comes up within a moment (UDP is blocked, a proxy), or where it did badly
 * before, it is WebRTC. The token is spent by whoever says it first, and WebTransport says it when its session is up; so
 * both are never tried at once with it.
 *
 * @throws VisavisError
 */
export async function openLink(options: LinkOptions, events: LinkEvents): Promise<Link> {
  const { transport, pop, direction, signal } = options;
  const possible = pop.webtransport !== null && (await webTransportSupported(direction === "sendrecv"));
  if (transport === "webtransport" && !possible) {
    throw new VisavisError("browser-unsupported", "WebTransport was asked for, but browser or media server have none.");
  }
  if (!possible || transport === "webrtc" || (transport === "auto" && remembersTrouble())) {
    return WebRtcLink.open(options, events);
  }
  try {
    return await WebTransportLink.open(options, {
      ...events,
      onDegraded() {
        rememberTrouble();
        events.onDegraded();
      },
    });
  } catch (error) {
    signal.throwIfAborted();
    const silent = error instanceof VisavisError && error.code === "connection-timeout";
    if (silent || error instanceof PathUnavailable) rememberTrouble();
    if (!(error instanceof PathUnavailable)) throw error;
    if (transport === "webtransport") throw error.asVisavisError();
    console.warn(`visavis: no WebTransport (${error.message}), WebRTC instead`);
    return WebRtcLink.open(options, events);
  }
}

/** Another network: WebTransport may work there. */
export function forgetTrouble(): void {
  try {
    sessionStorage.removeItem(MEMORY_KEY);
  } catch {
    // The page may not store anything: then nothing was remembered.
  }
}

function rememberTrouble(): void {
  try {
    sessionStorage.setItem(MEMORY_KEY, "1");
  } catch {
    // The page may not store anything: WebTransport is tried again each time.
  }
}

function remembersTrouble(): boolean {
  try {
    return sessionStorage.getItem(MEMORY_KEY) !== null;
  } catch {
    return false;
  }
}
