import { FEEDBACK_MS } from "../stream/unitReceiver";
import { EncodedPipe } from "./encodedPipe";
import type { PageNote, PipeSide, WorkerReport } from "./messages";

/** The part of a dedicated worker's global scope that is used; lib.webworker cannot be loaded beside lib.dom. */
interface WorkerScope {
  postMessage(message: WorkerReport, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<PageNote>) => void): void;
  addEventListener(type: "rtctransform", listener: (event: TransformEvent) => void): void;
  close(): void;
}

interface TransformEvent {
  readonly transformer: {
    readonly readable: ReadableStream<RTCEncodedAudioFrame>;
    readonly writable: WritableStream<RTCEncodedAudioFrame>;
    readonly options: { readonly side: PipeSide };
  };
}

const COUNTERS_INTERVAL_MS = 1_000;
/** A frame that is handed over later than this has another clock. */
const RECEIVED_AGO_MS_MAX = 5_000;

const scope = self as unknown as WorkerScope;
const pipe = new EncodedPipe((report) => {
  scope.postMessage(report, report.type === "unit" && report.values ? [report.values.buffer] : []);
});

function absoluteNow(): number {
  return performance.timeOrigin + performance.now();
}

/** When the network brought a frame; now where the browser does not say, or says what cannot be. */
function arrivalOf(frame: RTCEncodedAudioFrame): number {
  const nowMs = performance.now();
  const { receiveTime } = frame.getMetadata() as { receiveTime?: number };
  const known = receiveTime !== undefined && receiveTime <= nowMs && receiveTime > nowMs - RECEIVED_AGO_MS_MAX;
  return performance.timeOrigin + (known ? receiveTime : nowMs);
}

function timestampOf(frame: RTCEncodedAudioFrame): number {
  return frame.getMetadata().rtpTimestamp ?? frame.timestamp;
}

/** Pass every frame on; whatever fails in here, the voice must not. */
function run(
  side: PipeSide,
  readable: ReadableStream<RTCEncodedAudioFrame>,
  writable: WritableStream<RTCEncodedAudioFrame>,
): void {
  const transform = new TransformStream<RTCEncodedAudioFrame, RTCEncodedAudioFrame>({
    transform(frame, controller) {
      if (side === "receive") {
        const packet = new Uint8Array(frame.data.slice(0));
        const timestamp = timestampOf(frame);
        const arrivedMs = arrivalOf(frame);
        controller.enqueue(frame);
        pipe.receive(packet, timestamp, arrivedMs, absoluteNow());
        return;
      }
      const bytes = pipe.send(new Uint8Array(frame.data), absoluteNow());
      if (bytes) frame.data = bytes.buffer;
      controller.enqueue(frame);
    },
  });
  readable
    .pipeThrough(transform)
    .pipeTo(writable)
    .catch(() => undefined);
}

scope.addEventListener("rtctransform", ({ transformer }) => {
  run(transformer.options.side, transformer.readable, transformer.writable);
});
scope.addEventListener("message", ({ data }) => {
  if (data.type === "playout") pipe.notePlayout(data);
  else if (data.type === "previews") pipe.acceptPreviews();
  else if (data.type === "streams") run(data.side, data.readable, data.writable);
  else if (data.type === "datagram") pipe.receiveDatagram(new Uint8Array(data.bytes), data.absoluteMs, absoluteNow());
  else scope.close();
});
setInterval(() => {
  pipe.tick(absoluteNow());
}, FEEDBACK_MS);
setInterval(() => {
  scope.postMessage({ type: "counters", counters: pipe.counters }, []);
}, COUNTERS_INTERVAL_MS);
