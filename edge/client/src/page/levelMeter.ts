/** Calls back with the microphone's level, 0…1, once per display frame while it is on. */
export class LevelMeter {
  readonly #onLevel: (level: number) => void;
  #context: AudioContext | null = null;
  #request: number | null = null;

  constructor(onLevel: (level: number) => void) {
    this.#onLevel = onLevel;
  }

  start(stream: MediaStream): void {
    this.stop();
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    analyser.fftSize = 512;
    context.createMediaStreamSource(stream).connect(analyser);
    void context.resume().catch(() => undefined);
    this.#context = context;
    const samples = new Float32Array(analyser.fftSize);
    let smooth = 0;
    const measure = (): void => {
      this.#request = requestAnimationFrame(measure);
      analyser.getFloatTimeDomainData(samples);
      const level = levelOf(samples);
      smooth = level > smooth ? level : smooth * 0.86 + level * 0.14;
      this.#onLevel(smooth);
    };
    measure();
  }

  stop(): void {
    if (this.#request !== null) cancelAnimationFrame(this.#request);
    this.#request = null;
    void this.#context?.close().catch(() => undefined);
    this.#context = null;
    this.#onLevel(0);
  }
}

/** Loudness of a block on the scale people see: −60 dBFS is 0, −12 dBFS is 1. */
export function levelOf(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / Math.max(1, samples.length));
  const dbfs = rms > 0 ? 20 * Math.log10(rms) : -120;
  return Math.min(1, Math.max(0, (dbfs + 60) / 48));
}
