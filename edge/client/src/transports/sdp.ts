/** Opus as Visavis wants it: mono, silence thinned by the encoder, in-band FEC, 20 ms packets (RFC 7587 section 6.1). */
const OPUS_PARAMETERS: Readonly<Record<string, string>> = {
  minptime: "10",
  useinbandfec: "1",
  usedtx: "1",
  stereo: "0",
  "sprop-stereo": "0",
};

/**
 * Set the Opus format parameters of every audio m-line. Applied to the offer that is sent (what we like to get) and to
 * the answer that is applied (what our encoder does); other parameters and lines stay as they are.
 */
export function tuneOpus(sdp: string): string {
  const payloadTypes = [...sdp.matchAll(/^a=rtpmap:(\d+) opus\/48000/gim)].map((match) => match[1]!);
  let tuned = sdp;
  for (const payloadType of payloadTypes) tuned = tunePayloadType(tuned, payloadType);
  return tuned;
}

function tunePayloadType(sdp: string, payloadType: string): string {
  const line = new RegExp(`^a=fmtp:${payloadType} ([^\\r\\n]*)`, "im");
  const parameters = new Map<string, string>();
  for (const part of (line.exec(sdp)?.[1] ?? "").split(";")) {
    const [name, value] = part.trim().split("=");
    if (name) parameters.set(name.toLowerCase(), value ?? "");
  }
  for (const [name, value] of Object.entries(OPUS_PARAMETERS)) parameters.set(name, value);
  const text = [...parameters].map(([name, value]) => (value === "" ? name : `${name}=${value}`)).join(";");
  if (line.test(sdp)) return sdp.replace(line, `a=fmtp:${payloadType} ${text}`);
  const rtpmap = new RegExp(`^(a=rtpmap:${payloadType} [^\\r\\n]*)(\\r?\\n)`, "im");
  return sdp.replace(rtpmap, `$1$2a=fmtp:${payloadType} ${text}$2`);
}

/** A candidate as RTCPeerConnection gives it, less what trickling does not need. */
export interface TrickleCandidate {
  readonly candidate: string;
  readonly sdpMid: string | null;
}

/**
 * The body of a trickle PATCH (RFC 8840 section 9, RFC 9725 section 4.3).
 *
 * @param offer the local description the candidates belong to.
 * @param finished add end-of-candidates.
 */
export function trickleFragment(offer: string, candidates: readonly TrickleCandidate[], finished: boolean): string {
  const attribute = (name: string): string => new RegExp(`^a=${name}:([^\\r\\n]*)`, "m").exec(offer)?.[1] ?? "";
  const media = /^m=[^\r\n]*/m.exec(offer)?.[0] ?? "m=audio 9 UDP/TLS/RTP/SAVPF 0";
  const mid = attribute("mid") || "0";
  const lines = [
    `a=ice-ufrag:${attribute("ice-ufrag")}`,
    `a=ice-pwd:${attribute("ice-pwd")}`,
    media,
    `a=mid:${mid}`,
    ...candidates
      .filter((one) => one.candidate !== "" && (one.sdpMid ?? mid) === mid)
      .map((one) => (one.candidate.startsWith("a=") ? one.candidate : `a=${one.candidate}`)),
  ];
  if (finished) lines.push("a=end-of-candidates");
  return lines.join("\r\n") + "\r\n";
}
