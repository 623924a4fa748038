import { OpusDecoder, OpusEncoder } from "../../sound/opusCodec";
import type { CardReport } from "../../sound/soundPlayout";
import type { CaptureMessage, PieceMessage } from "../../sound/worklets";
import { MediaPipe } from "./mediaPipe";
import type { SessionReport, WorkerNote } from "./messages";
import { PopSession } from "./popSession";

/** The part of a dedicated worker's global scope that is used; lib.webworker cannot be loaded beside lib.dom. */
interface WorkerScope {
  postMessage(message: SessionReport, transfer?: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<WorkerNote>) => void): void;
  close(): void;
}

/** Feedback is looked after this often: less than half of how often it is due. */
const TICK_MS = 20;
const FIGURES_MS = 1_000;

const scope = self as unknown as WorkerScope;
let player: MessagePort | null = null;
let session: PopSession | null = null;

function now(): number {
  return performance.timeOrigin + performance.now();
}

const decoder = new OpusDecoder(
  (sound) => {
    pipe.decoded(sound);
  },
  () => {
    pipe.decoderFailed();
  },
);
const pipe = new MediaPipe(decoder, {
  onUnit(unit) {
    scope.postMessage(unit, unit.values === null ? [] : [unit.values.buffer]);
  },
  onPiece({ startFrame, sound, ticks, durationTicks }) {
    scope.postMessage({ type: "mark", startFrame, frames: sound.length, ticks, durationTicks });
    const message: PieceMessage = { startFrame, sound };
    player?.postMessage(message, [sound.buffer]);
  },
  onDatagram(datagram) {
    session?.sendDatagram(datagram, now());
  },
});
const encoder = new OpusEncoder((sound) => {
  pipe.sendSound(sound, now());
});

function open(url: string, certificateHashes: readonly Uint8Array<ArrayBuffer>[]): void {
  session = new PopSession(url, certificateHashes, {
    onReady() {
      scope.postMessage({ type: "ready" });
    },
    onAdmitted() {
      scope.postMessage({ type: "admitted" });
    },
    onDatagram(datagram) {
      pipe.receive(datagram, now());
    },
    onControl(data) {
      scope.postMessage({ type: "control", data });
    },
    onClosed(reason) {
      scope.postMessage({ type: "closed", reason });
    },
  });
}

scope.addEventListener("message", ({ data: note }) => {
  switch (note.type) {
    case "open":
      open(note.url, note.certificateHashes);
      break;
    case "hello":
      session?.hello(note.token, note.proof);
      break;
    case "player":
      player = note.port;
      player.onmessage = ({ data }: MessageEvent<CardReport>) => {
        pipe.hearCard(data, now());
      };
      break;
    case "capture":
      note.port.onmessage = ({ data }: MessageEvent<CaptureMessage>) => {
        encoder.encode(data);
      };
      break;
    case "control":
      session?.sendText(note.data);
      break;
    case "playout":
      pipe.notePlayout(note.rtpTimestamp, note.absoluteMs);
      break;
    case "close":
      encoder.close();
      decoder.reset();
      void session?.close().then(() => {
        scope.close();
      });
      break;
  }
});
setInterval(() => {
  pipe.tick(now());
}, TICK_MS);
setInterval(() => {
  const figures = pipe.figures(session?.roundTripMs ?? null);
  scope.postMessage({ type: "counters", counters: pipe.counters, sound: figures });
}, FIGURES_MS);
