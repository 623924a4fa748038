import type { SoundSource } from "../transports/link";

const STEP_MS = 5;
/** Time constant of the change from one link's sound to another's: no click, and no word lost. */
const SWITCH_S = 0.003;
const SWITCH_FREE_MS = 100;
/** A context that may run does so within this; one that waits for a gesture never answers. */
const RESUME_MS_MAX = 300;

/**
 * Plays the character's voice and turns it down at once when asked.
 *
 * An audio element has the shortest way to the loudspeaker for a stream. Where its volume cannot be set (iOS), and where
 * the link plays the sound itself, the sound goes through a gain node instead: at the very end, so that what waits in
 * front of it goes silent with it.
 */
export class Speaker {
  #element: HTMLAudioElement;
  /** What runs where nobody hears it, until `switchOver`. */
  #next: {
    readonly element: HTMLAudioElement | null;
    readonly node: GainNode | null;
    readonly source: AudioNode | null;
  } | null = null;
  readonly #onGain: (gain: number) => void;
  /** For streams, where the element's volume cannot be set. */
  readonly #context: AudioContext | null = null;
  /** What is turned down instead of the element, and what it plays. */
  #node: GainNode | null = null;
  #source: AudioNode | null = null;
  #gain = 1;
  #target = 1;
  #timer: ReturnType<typeof setInterval> | null = null;

  /** @param onGain told of every change, for measurements. */
  constructor(onGain: (gain: number) => void = () => undefined) {
    this.#onGain = onGain;
    this.#element = new Audio();
    this.#element.autoplay = true;
    this.#element.setAttribute("playsinline", "");
    if (!volumeCanBeSet(this.#element) && typeof AudioContext !== "undefined") {
      this.#context = new AudioContext({ latencyHint: "interactive" });
      this.#element.muted = true;
    }
  }

  get gain(): number {
    return this.#gain;
  }

  /** Play this from now on, and nothing else. */
  attach(sound: SoundSource): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    if (this.#node !== null) this.#source?.disconnect(this.#node);
    this.#node?.disconnect();
    this.#node = null;
    this.#element.srcObject = sound.node === null ? sound.stream : null;
    this.#source = sound.node ?? this.#context?.createMediaStreamSource(sound.stream) ?? null;
    if (this.#source !== null) {
      const { context } = this.#source;
      this.#node = new GainNode(context, { gain: this.#target });
      this.#source.connect(this.#node).connect(context.destination);
    } else this.#element.volume = this.#target;
  }

  /** Let this run where nobody hears it. */
  prepare(sound: SoundSource): void {
    this.discard();
    const source = sound.node ?? this.#context?.createMediaStreamSource(sound.stream) ?? null;
    let node: GainNode | null = null;
    let element: HTMLAudioElement | null = null;
    if (source !== null) {
      node = new GainNode(source.context, { gain: 0 });
      source.connect(node).connect(source.context.destination);
      void (source.context as AudioContext).resume();
    }
    if (sound.node === null) {
      element = new Audio();
      element.autoplay = true;
      element.volume = 0;
      element.muted = this.#context !== null;
      element.srcObject = sound.stream;
      void element.play().catch(() => undefined);
    }
    this.#next = { element, node, source };
  }

  /** It will not be heard. */
  discard(): void {
    const next = this.#next;
    this.#next = null;
    if (next === null) return;
    unplug(next.source, next.node);
    next.element?.pause();
    if (next.element) next.element.srcObject = null;
  }

  /** Hear what was prepared from now on, and what was heard no longer. */
  switchOver(): void {
    const next = this.#next;
    if (next === null) return;
    this.#next = null;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
    this.#gain = this.#target;
    const former = { element: this.#element, node: this.#node, source: this.#source };
    if (next.node !== null) next.node.gain.setTargetAtTime(this.#target, next.node.context.currentTime, SWITCH_S);
    else if (next.element !== null) next.element.volume = this.#target;
    if (former.node !== null) former.node.gain.setTargetAtTime(0, former.node.context.currentTime, SWITCH_S);
    else former.element.volume = 0;
    this.#node = next.node;
    this.#source = next.source;
    if (next.element !== null) this.#element = next.element;
    setTimeout(() => {
      unplug(former.source, former.node);
      if (former.element === this.#element) return;
      former.element.pause();
      former.element.srcObject = null;
    }, SWITCH_FREE_MS);
  }

  /** Start playing. @returns false when the browser wants a gesture first. */
  async play(): Promise<boolean> {
    try {
      const context = this.#node?.context as AudioContext | undefined;
      if (this.#element.srcObject !== null) await this.#element.play();
      if (context && context.state !== "running") await Promise.race([context.resume(), wait(RESUME_MS_MAX)]);
      return context === undefined || context.state === "running";
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError") return false;
      return !this.#element.paused;
    }
  }

  /** Move to a loudness (0…1) over `rampMs`. */
  setGain(target: number, rampMs: number): void {
    if (target === this.#target) return;
    this.#target = target;
    if (this.#node !== null) {
      const { gain, context } = this.#node;
      gain.cancelScheduledValues(context.currentTime);
      gain.setTargetAtTime(target, context.currentTime, rampMs / 3_000);
      this.#gain = target;
      this.#onGain(target);
      return;
    }
    if (this.#timer !== null) clearInterval(this.#timer);
    const from = this.#gain;
    const startedMs = performance.now();
    // By the clock and not by steps: a page that is busy drawing runs its timers late, and a cut must not wait for them.
    const move = (): void => {
      const share = Math.min(1, (performance.now() - startedMs + STEP_MS) / Math.max(STEP_MS, rampMs));
      this.#gain = share === 1 ? target : from + (target - from) * share;
      this.#element.volume = Math.min(1, Math.max(0, this.#gain));
      this.#onGain(this.#gain);
      if (share === 1 && this.#timer !== null) {
        clearInterval(this.#timer);
        this.#timer = null;
      }
    };
    this.#timer = setInterval(move, STEP_MS);
    move();
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#element.pause();
    this.#element.srcObject = null;
    this.#node?.disconnect();
    void this.#context?.close();
  }
}

/** A link that has closed its sound meanwhile has unplugged it itself. */
function unplug(source: AudioNode | null, node: GainNode | null): void {
  if (node === null) return;
  try {
    source?.disconnect(node);
  } catch {
    // It was not connected any more.
  }
  node.disconnect();
}

function volumeCanBeSet(element: HTMLAudioElement): boolean {
  element.volume = 0.5;
  const settable = element.volume === 0.5;
  element.volume = 1;
  return settable;
}

/**
 * How long a sample takes from the browser to the loudspeaker, in milliseconds; null where nobody knows (no gesture
 * yet, or a browser that does not say). Bluetooth headphones are the reason to ask: they add 100 to 250 ms.
 */
export async function probeOutputLatencyMs(): Promise<number | null> {
  if (typeof AudioContext === "undefined") return null;
  const context = new AudioContext({ latencyHint: "interactive" });
  try {
    if (context.state !== "running") {
      await Promise.race([context.resume(), wait(300)]);
    }
    if (context.state !== "running") return null;
    await wait(400);
    const latencyS = (context as Partial<AudioContext>).outputLatency ?? 0;
    return latencyS > 0 ? latencyS * 1_000 : null;
  } catch {
    return null;
  } finally {
    void context.close().catch(() => undefined);
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
