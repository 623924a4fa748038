import type { Link, LinkEvents, LinkOptions } from "../transports/link";
import { WebRtcLink } from "../transports/webrtc";

/** Open a link to a POP. Resolves when sound and control can flow. @throws VisavisError */
export function openLink(options: LinkOptions, events: LinkEvents): Promise<Link> {
  return WebRtcLink.open(options, events);
}
