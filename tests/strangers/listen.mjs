// A WebRTC client that knows nothing of Visavis: audio recvonly, a data channel, WHIP with a plain ticket. It asks a
// question and prints what it gets, a JSON object a line:
//   {"rtp": [sequence number, timestamp, hex payload]}, {"control": text}, {"answer": SDP}
// Usage: node listen.mjs POP_URL SESSION_ID QUESTION SECONDS [UDP_PORT]; the token comes on standard input. With a port every
// RTP packet is passed on there, decrypted and otherwise as it came, as a media server would take it in.
import { RTCPeerConnection, RTCRtpCodecParameters } from "werift";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";

const [popUrl, sessionId, question, seconds, udpPort] = process.argv.slice(2);
const token = readFileSync(0, "utf8").trim();
const onward = createSocket("udp4");
const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const peer = new RTCPeerConnection({
  iceServers: [],
  iceAdditionalHostAddresses: ["127.0.0.1"],
  codecs: { audio: [new RTCRtpCodecParameters({ mimeType: "audio/opus", clockRate: 48_000, channels: 2 })] },
});
const channel = peer.createDataChannel("control");
const transceiver = peer.addTransceiver("audio", { direction: "recvonly" });
transceiver.onTrack.subscribe((track) => {
  track.onReceiveRtp.subscribe((packet) => {
    if (udpPort) onward.send(packet.serialize(), Number(udpPort), "127.0.0.1");
    say({ rtp: [packet.header.sequenceNumber, packet.header.timestamp, packet.payload.toString("hex")] });
  });
});
channel.onmessage = ({ data }) => say({ control: data.toString() });

await peer.setLocalDescription(await peer.createOffer());
const response = await fetch(`${popUrl}/v1/sessions/${sessionId}/webrtc`, {
  method: "POST",
  headers: { "Content-Type": "application/sdp", Authorization: `Bearer ${token}` },
  body: peer.localDescription.sdp,
});
const answer = await response.text();
if (response.status !== 201) {
  console.error(`the POP answered ${response.status}: ${answer}`);
  process.exit(1);
}
await peer.setRemoteDescription({ type: "answer", sdp: answer });
say({ answer });
if (channel.readyState !== "open") await new Promise((opened) => (channel.onopen = opened));
channel.send(JSON.stringify({ label: "rtvi-ai", type: "send-text", id: "1", data: { content: question } }));
await new Promise((over) => setTimeout(over, Number(seconds) * 1_000));
await fetch(new URL(response.headers.get("Location"), popUrl), {
  method: "DELETE",
  headers: { Authorization: `Bearer ${token}` },
});
await peer.close();
process.exit(0);
