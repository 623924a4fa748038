import { LevelGate, audioLevel } from "./level";
import type { SoundDecoder } from "./soundPlayout";
import type { EncodedSound } from "./uplink";
import type { CaptureMessage } from "./worklets";

/** The browser's Opus, through WebCodecs. IO: it works elsewhere and answers later, in order. */
const RATE_HZ = 48_000;
export const DECODER_CONFIG: AudioDecoderConfig = { codec: "opus", sampleRate: RATE_HZ, numberOfChannels: 1 };

interface OpusEncoderConfig extends AudioEncoderConfig {
  readonly opus: { readonly frameDuration: number; readonly application: "voip"; readonly signal: "voice" };
}

/**
 * No discontinuous transmission: a browser then leaves packets out without saying which, and the level gate knows better
 * when nobody speaks (it hears what the POP's ear hears).
 */
const ENCODER: OpusEncoderConfig = {
  codec: "opus",
  sampleRate: RATE_HZ,
  numberOfChannels: 1,
  bitrate: 24_000,
  opus: { frameDuration: 20_000, application: "voip", signal: "voice" },
};
export const ENCODER_CONFIG: AudioEncoderConfig = ENCODER;

/** Decodes packets to samples. A broken packet breaks the browser's decoder; a new one takes its place. */
export class OpusDecoder implements SoundDecoder {
  readonly #onSound: (sound: Float32Array) => void;
  readonly #onFailed: () => void;
  #decoder: AudioDecoder | null = null;
  /** WebCodecs wants a time per packet, but answers with times of its own: only the order counts. */
  #count = 0;

  constructor(onSound: (sound: Float32Array) => void, onFailed: () => void) {
    this.#onSound = onSound;
    this.#onFailed = onFailed;
  }

  decode(packet: Uint8Array): void {
    this.#decoder ??= this.#open();
    const timestamp = this.#count * 20_000;
    this.#count += 1;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: packet }));
  }

  reset(): void {
    if (this.#decoder !== null && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
  }

  #open(): AudioDecoder {
    const decoder: AudioDecoder = new AudioDecoder({
      output: (data) => {
        const sound = new Float32Array(data.numberOfFrames);
        data.copyTo(sound, { planeIndex: 0, format: "f32-planar" });
        data.close();
        if (decoder === this.#decoder) this.#onSound(sound);
      },
      error: () => {
        if (decoder !== this.#decoder) return;
        this.#decoder = null;
        this.#onFailed();
      },
    });
    decoder.configure(DECODER_CONFIG);
    return decoder;
  }
}

/** Encodes the microphone, and says of every packet how loud it is and whether somebody may be speaking. */
export class OpusEncoder {
  readonly #onSound: (sound: EncodedSound) => void;
  readonly #gate = new LevelGate();
  readonly #under: Omit<EncodedSound, "opus">[] = [];
  #encoder: AudioEncoder | null = null;

  constructor(onSound: (sound: EncodedSound) => void) {
    this.#onSound = onSound;
  }

  encode({ frame, sound }: CaptureMessage): void {
    const level = audioLevel(sound);
    this.#under.push({ timestamp: frame, level, voice: this.#gate.receive(level) });
    this.#encoder ??= this.#open();
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: RATE_HZ,
      numberOfFrames: sound.length,
      numberOfChannels: 1,
      timestamp: Math.round((frame * 1e6) / RATE_HZ),
      data: sound,
    });
    this.#encoder.encode(data);
    data.close();
  }

  close(): void {
    if (this.#encoder !== null && this.#encoder.state !== "closed") this.#encoder.close();
  }

  #open(): AudioEncoder {
    const encoder: AudioEncoder = new AudioEncoder({
      output: (chunk) => {
        const opus = new Uint8Array(chunk.byteLength);
        chunk.copyTo(opus);
        const about = this.#under.shift();
        if (about !== undefined && opus.length > 0) this.#onSound({ ...about, opus });
      },
      error: () => {
        if (encoder === this.#encoder) this.#encoder = null;
        this.#under.length = 0;
      },
    });
    encoder.configure(ENCODER_CONFIG);
    return encoder;
  }
}
