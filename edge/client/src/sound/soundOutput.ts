import captureUrl from "./captureWorklet?worker&url";
import playerUrl from "./playerWorklet?worker&url";
import { CAPTURE, PLAYER, type PortMessage } from "./worklets";

/** Media timestamps are samples: the sound card is made to count the same. */
const RATE_HZ = 48_000;
/** A browser whose two clocks are further apart than this says nonsense. */
const STAMP_AGE_MS_MAX = 500;

/** Which sample is heard at a local time. */
export interface HeardFrame {
  readonly frame: number;
  /** performance.now() */
  readonly atMs: number;
}

/** The sound card, as one audio context at 48 kHz: our player in, our capture out. IO. */
export class SoundOutput {
  readonly #context: AudioContext;
  readonly #player: AudioWorkletNode;
  #capture: AudioWorkletNode | null = null;
  #source: MediaStreamAudioSourceNode | null = null;
  #stream: MediaStream | null = null;

  /** Load the processors. @throws whatever the browser has against them: policy, network, no device. */
  static async open(): Promise<SoundOutput> {
    const context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
    try {
      await Promise.all([playerUrl, captureUrl].map((url) => context.audioWorklet.addModule(absolute(url))));
      return new SoundOutput(context);
    } catch (error) {
      void context.close();
      throw error;
    }
  }

  private constructor(context: AudioContext) {
    this.#context = context;
    this.#player = new AudioWorkletNode(context, PLAYER, { numberOfInputs: 0, outputChannelCount: [1] });
  }

  /** The voice as it is played; not connected to the loudspeaker yet. */
  get node(): AudioNode {
    return this.#player;
  }

  /** The same as a stream, for meters. */
  get stream(): MediaStream {
    if (this.#stream === null) {
      const destination = this.#context.createMediaStreamDestination();
      this.#player.connect(destination);
      this.#stream = destination.stream;
    }
    return this.#stream;
  }

  /** Pieces of sound come through this port. */
  connectPlayer(port: MessagePort): void {
    const message: PortMessage = { port };
    this.#player.port.postMessage(message, [port]);
  }

  /** The microphone's sound leaves through this port. */
  connectCapture(port: MessagePort): void {
    this.#capture = new AudioWorkletNode(this.#context, CAPTURE, { numberOfOutputs: 1, outputChannelCount: [1] });
    // It gives no sound; being connected is what keeps it running in all browsers.
    this.#capture.connect(this.#context.destination);
    const message: PortMessage = { port };
    this.#capture.port.postMessage(message, [port]);
  }

  /** Listen to this microphone, or to none. */
  setMicrophone(track: MediaStreamTrack | null): void {
    this.#source?.disconnect();
    this.#source = null;
    if (track === null || this.#capture === null) return;
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#capture);
  }

  /** What comes out of the loudspeaker, at the time the browser last knew; null while it stands still. */
  heard(): HeardFrame | null {
    const context = this.#context;
    if (context.state !== "running") return null;
    const nowMs = performance.now();
    const { contextTime = 0, performanceTime = 0 } = context.getOutputTimestamp();
    if (contextTime > 0 && contextTime <= context.currentTime && Math.abs(nowMs - performanceTime) < STAMP_AGE_MS_MAX) {
      return { frame: contextTime * RATE_HZ, atMs: performanceTime };
    }
    const latencyS = (context as Partial<AudioContext>).outputLatency ?? context.baseLatency;
    return { frame: (context.currentTime - latencyS) * RATE_HZ, atMs: nowMs };
  }

  close(): void {
    this.setMicrophone(null);
    this.#player.disconnect();
    void this.#context.close().catch(() => undefined);
  }
}

function absolute(url: string): string {
  return new URL(url, import.meta.url).href;
}
