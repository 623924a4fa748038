import { CAPTURE, type CaptureMessage, type PortMessage } from "./worklets";
import { scope } from "./workletScope";

/** 20 ms at 48 kHz. */
const PACKET = 960;

/** Collects the microphone's sound into packets, mixed to one channel, and hands them to the worker. */
class Capture extends scope.AudioWorkletProcessor {
  #worker: MessagePort | null = null;
  #sound = new Float32Array(PACKET);
  #filled = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<PortMessage>) => {
      this.#worker = data.port;
    };
  }

  process(inputs: Float32Array[][]): boolean {
    const channels = inputs[0] ?? [];
    const quantum = channels[0]?.length ?? 128;
    for (let index = 0; index < quantum; index += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[index]!;
      this.#sound[this.#filled] = channels.length > 1 ? sum / channels.length : sum;
      this.#filled += 1;
      if (this.#filled < PACKET) continue;
      const message: CaptureMessage = { frame: scope.currentFrame + index + 1 - PACKET, sound: this.#sound };
      this.#worker?.postMessage(message, [this.#sound.buffer]);
      this.#sound = new Float32Array(PACKET);
      this.#filled = 0;
    }
    return true;
  }
}

scope.registerProcessor(CAPTURE, Capture);
