import { SampleRing } from "./sampleRing";
import type { CardReport } from "./soundPlayout";
import { PLAYER, type PieceMessage, type PortMessage } from "./worklets";
import { scope } from "./workletScope";

/** The worker hears of the card's clock every so many render quanta (10.7 ms). */
const REPORT_QUANTA = 4;

/** The end of the playout in the audio thread: gives out what was placed at each sample, and says where it is. */
class Player extends scope.AudioWorkletProcessor {
  readonly #ring = new SampleRing();
  #worker: MessagePort | null = null;
  #quanta = 0;
  #slackFrames: number | null = null;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<PortMessage>) => {
      this.#worker = data.port;
      data.port.onmessage = ({ data: piece }: MessageEvent<PieceMessage>) => {
        const slack = this.#ring.write(piece.startFrame, piece.sound, scope.currentFrame);
        this.#slackFrames = Math.min(this.#slackFrames ?? slack, slack);
      };
    };
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const channel = outputs[0]?.[0];
    if (channel) this.#ring.read(scope.currentFrame, channel);
    this.#quanta += 1;
    if (this.#quanta % REPORT_QUANTA === 0) {
      this.#worker?.postMessage({
        frame: scope.currentFrame,
        slackFrames: this.#slackFrames,
        missedFrames: this.#ring.missed,
      } satisfies CardReport);
      this.#slackFrames = null;
    }
    return true;
  }
}

scope.registerProcessor(PLAYER, Player);
