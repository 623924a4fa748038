// Pipecat's own JavaScript client talks to a POP, in Node, on another WebRTC stack. Prints its events, a JSON object a line:
// {"event": name, "data": …}, and at last {"tracks": kinds of the bot's tracks, "rtp": packets of its voice}.
// It asks one question aloud, then, into the answer, another one in writing.
// Usage: node pipecat.mjs QUESTION SECONDS; standard input: {"ticket": the origin's, "microphone": [hex Opus of 20 ms …]}.
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters, RtpHeader, RtpPacket } from "werift";
import { LogLevel, logger, PipecatClient, RTVIEvent } from "@pipecat-ai/client-js";

globalThis.window ??= globalThis;
globalThis.RTCPeerConnection = RTCPeerConnection;
const microphone = new MediaStreamTrack({ kind: "audio" });
globalThis.navigator.mediaDevices = { getUserMedia: async () => ({ getAudioTracks: () => [microphone] }) };
// The example lives elsewhere; its Pipecat is the one that is installed here.
registerHooks({
  resolve: (name, context, next) =>
    next(name, name.startsWith("@pipecat-ai/") ? { ...context, parentURL: import.meta.url } : context),
});
const { VisavisTransport } = await import("../../examples/pipecat_client/transport.mjs");

const [question, seconds] = process.argv.slice(2);
const { ticket, microphone: spoken } = JSON.parse(readFileSync(0, "utf8"));
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
logger.setLevel(LogLevel.WARN);
console.warn = (...said) => say({ event: "warning", data: said.join(" ") });

let packets = 0;
const client = new PipecatClient({
  transport: new VisavisTransport({
    iceAdditionalHostAddresses: ["127.0.0.1"],
    codecs: { audio: [new RTCRtpCodecParameters({ mimeType: "audio/opus", clockRate: 48_000, channels: 2 })] },
  }),
  enableMic: true,
  enableCam: false,
});
for (const event of Object.values(RTVIEvent)) {
  client.on(event, (data) => {
    if (event === RTVIEvent.TrackStarted) data.onReceiveRtp.subscribe(() => (packets += 1));
    else say({ event, data });
  });
}
const ready = await client.connect({ ticket });
say({ event: "connect resolved", data: ready });

// A microphone never falls silent: after what is spoken come packets of silence.
let sent = 0;
const timer = setInterval(() => {
  const payload = Buffer.from(spoken[sent] ?? "f8fffe", "hex");
  microphone.writeRtp(
    new RtpPacket(new RtpHeader({ sequenceNumber: sent & 0xffff, timestamp: sent * 960, payloadType: 96 }), payload),
  );
  sent += 1;
}, 20);
await new Promise((understood) => {
  client.on(RTVIEvent.UserTranscript, ({ final }) => final && understood());
  setTimeout(understood, 12_000);
});
await new Promise((begun) => {
  client.on(RTVIEvent.BotStartedSpeaking, begun);
  setTimeout(begun, 5_000);
});
say({ event: "written" });
await client.sendText(question);
await client.sendClientRequest("make-coffee", {}, 3_000).then(
  (data) => say({ event: "response", data }),
  (error) => say({ event: "refused", data: error.data ?? String(error) }),
);
await new Promise((over) => setTimeout(over, Number(seconds) * 1_000));
clearInterval(timer);
say({ tracks: Object.keys(client.tracks().bot ?? {}), rtp: packets });
await client.disconnect();
say({ event: "state at the end", data: client.state });
process.exit(0);
