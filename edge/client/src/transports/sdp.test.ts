import { describe, expect, it } from "vitest";
import { trickleFragment, tuneOpus } from "./sdp";

const OFFER = [
  "v=0",
  "o=- 1 2 IN IP4 127.0.0.1",
  "a=group:BUNDLE 0 1",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111 63",
  "a=ice-ufrag:abcd",
  "a=ice-pwd:0123456789abcdef",
  "a=mid:0",
  "a=rtpmap:111 opus/48000/2",
  "a=rtcp-fb:111 transport-cc",
  "a=fmtp:111 minptime=10;useinbandfec=1",
  "a=rtpmap:63 red/48000/2",
  "a=fmtp:63 111/111",
  "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
  "a=mid:1",
  "",
].join("\r\n");

describe("tuneOpus", () => {
  it("sets the parameters and leaves other codecs alone", () => {
    const tuned = tuneOpus(OFFER);
    expect(tuned).toContain("a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1;stereo=0;sprop-stereo=0\r\n");
    expect(tuned).toContain("a=fmtp:63 111/111\r\n");
    expect(tuned.replace(/a=fmtp:111[^\r]*/, "")).toBe(OFFER.replace(/a=fmtp:111[^\r]*/, ""));
  });

  it("overrides what the peer wanted and keeps what it does not know", () => {
    const tuned = tuneOpus("a=rtpmap:96 opus/48000/2\r\na=fmtp:96 stereo=1; maxplaybackrate=16000\r\n");
    expect(tuned).toContain("a=fmtp:96 stereo=0;maxplaybackrate=16000;minptime=10;useinbandfec=1;usedtx=1");
  });

  it("adds a line where there is none", () => {
    const tuned = tuneOpus("a=rtpmap:96 opus/48000/2\r\na=mid:0\r\n");
    expect(tuned).toMatch(/^a=rtpmap:96 opus\/48000\/2\r\na=fmtp:96 .*usedtx=1.*\r\na=mid:0\r\n$/);
  });

  it("is idempotent", () => {
    expect(tuneOpus(tuneOpus(OFFER))).toBe(tuneOpus(OFFER));
  });

  it("leaves a description without Opus as it is", () => {
    expect(tuneOpus("v=0\r\nm=audio 9 X 0\r\n")).toBe("v=0\r\nm=audio 9 X 0\r\n");
  });
});

describe("trickleFragment", () => {
  it("names the ICE credentials, the bundled m-line and its candidates", () => {
    const fragment = trickleFragment(
      OFFER,
      [
        { candidate: "candidate:1 1 udp 2113937151 10.0.0.2 50000 typ host", sdpMid: "0" },
        { candidate: "candidate:2 1 udp 2113937151 10.0.0.2 50001 typ host", sdpMid: "1" },
        { candidate: "", sdpMid: "0" },
      ],
      true,
    );
    expect(fragment.split("\r\n")).toEqual([
      "a=ice-ufrag:abcd",
      "a=ice-pwd:0123456789abcdef",
      "m=audio 9 UDP/TLS/RTP/SAVPF 111 63",
      "a=mid:0",
      "a=candidate:1 1 udp 2113937151 10.0.0.2 50000 typ host",
      "a=end-of-candidates",
      "",
    ]);
  });

  it("does not claim the end before it is there", () => {
    expect(trickleFragment(OFFER, [], false)).not.toContain("end-of-candidates");
  });
});
