import { TICKS_PER_MS } from "./timestamps";

/** Constants mirror core/stream/jitter_buffer.py and core/limits.py, which know the reasons. */
export const PLAYOUT_DELAY_MS_MAX = 133;
const PACKETS_MAX = 256;
const PACKET_MS = 20;
const DELAY_MS_FIRST = 40;
const DELAY_MS_MIN = 20;
const MARGIN_MS = 10;
const LATENESS_MS_WINDOW = 5_000;
const LATENESS_QUANTILE = 0.98;
const REPAIRS_AWAITED_FROM = 5;
const STRETCH_SILENCE = 0.25;
const STRETCH_VOICE = 0.05;
const LATE_IN_A_ROW = 5;
/** A media time further away than this is absurd. */
const AHEAD_MS_MAX = 5_000;
/** So many absurd ones without another are a new clock: the track went on elsewhere. */
const ABSURD_IN_A_ROW = 5;

/** One packet's turn at the sound card. */
export interface Block<Payload> {
  /** When its first sample is audible. */
  readonly atMs: number;
  /** Unwrapped 48 kHz media time of that sample. */
  readonly ticks: number;
  /** Media time that it covers. */
  readonly durationTicks: number;
  /** How long it plays: its duration, stretched or shortened. */
  readonly lengthMs: number;
  /** null where it must be concealed. */
  readonly payload: Payload | null;
}

/** A packet for the buffer. */
export interface SoundPacket<Payload> {
  readonly payload: Payload;
  readonly ticks: number;
  readonly durationTicks: number;
  /** Nobody's voice is in it. */
  readonly silent: boolean;
  readonly arrivalMs: number;
  /** It came back by forward error correction; such a packet never sets the clock. */
  readonly repaired?: boolean;
}

export type SoundDrop = "late" | "duplicate" | "overflow" | "absurd";

/**
 * Our own playout of sound, where no browser's NetEQ does it: an adaptive jitter buffer, and the audio clock that motion
 * follows. Pure. Mirrors core/stream/jitter_buffer.py; both are held to tests/vectors/playout.json.
 */
export class JitterBuffer<Payload> {
  readonly dropped: Record<SoundDrop, number> = { late: 0, duplicate: 0, overflow: 0, absurd: 0 };
  concealed = 0;

  readonly #delayMsMax: number;
  readonly #waiting = new Map<number, SoundPacket<Payload>>();
  readonly #lateness: { readonly atMs: number; readonly lateMs: number; readonly repaired: boolean }[] = [];
  #nextTicks = 0;
  #nextAtMs: number | null = null;
  #last: Block<Payload> | null = null;
  #lateInARow = 0;
  #absurdInARow = 0;

  /** @param delayMsMax the most that packets wait; repairs that come later are useless. */
  constructor(delayMsMax = PLAYOUT_DELAY_MS_MAX) {
    this.#delayMsMax = delayMsMax;
  }

  /** Packets that wait for their turn. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** How long the quickest packet lately ought to wait. */
  get targetMs(): number {
    const ordered = this.#lateness.map(({ lateMs }) => lateMs).sort((a, b) => a - b);
    if (ordered.length === 0) return DELAY_MS_FIRST;
    const place = Math.min(ordered.length - 1, Math.floor(ordered.length * LATENESS_QUANTILE));
    const repairs = this.#lateness.filter(({ repaired }) => repaired).map(({ lateMs }) => lateMs);
    const awaited = repairs.length >= REPAIRS_AWAITED_FROM ? Math.max(...repairs) : -Infinity;
    const spread = Math.max(ordered[place]!, awaited) - ordered[0]!;
    return Math.min(this.#delayMsMax, Math.max(DELAY_MS_MIN, spread + MARGIN_MS));
  }

  /** How long the quickest packet lately waits; 0 before the first. */
  get delayMs(): number {
    if (this.#nextAtMs === null) return 0;
    let quickest = Infinity;
    for (const { lateMs } of this.#lateness) quickest = Math.min(quickest, lateMs);
    return this.#nextAtMs - this.#nextTicks / TICKS_PER_MS - quickest;
  }

  /** A packet has come; call `advance(arrivalMs)` first. @returns why it will not be played, or null. */
  push(packet: SoundPacket<Payload>): SoundDrop | null {
    const { ticks, arrivalMs, repaired = false } = packet;
    const lateMs = arrivalMs - ticks / TICKS_PER_MS;
    if (this.#nextAtMs === null) {
      if (repaired) return this.#drop("late");
      this.#anchor(ticks, arrivalMs + DELAY_MS_FIRST);
    } else if (Math.abs(ticks - this.#nextTicks) > AHEAD_MS_MAX * TICKS_PER_MS) {
      if (!repaired) this.#absurdInARow += 1;
      if (repaired || this.#absurdInARow < ABSURD_IN_A_ROW) return this.#drop("absurd");
      this.#restart(ticks, arrivalMs);
    }
    this.#absurdInARow = 0;
    this.#observe(arrivalMs, lateMs, repaired);
    if (ticks < this.#nextTicks) {
      if (!repaired) this.#lateInARow += 1;
      if (this.#lateInARow < LATE_IN_A_ROW) return this.#drop("late");
      this.#restart(ticks, arrivalMs);
      this.#observe(arrivalMs, lateMs, repaired);
    } else if (!repaired) this.#lateInARow = 0;
    if (this.#waiting.has(ticks)) return this.#drop("duplicate");
    if (this.#waiting.size >= PACKETS_MAX) return this.#drop("overflow");
    this.#waiting.set(ticks, packet);
    return null;
  }

  /** Play everything so much later; sooner where negative: what would have to have been played by then is left out. */
  shift(laterMs: number): void {
    if (this.#nextAtMs === null) return;
    const skipped = laterMs < 0 ? Math.ceil(-laterMs / PACKET_MS) : 0;
    this.#nextTicks += skipped * PACKET_MS * TICKS_PER_MS;
    this.#nextAtMs += skipped * PACKET_MS + laterMs;
  }

  /** The blocks whose turn has come by `nowMs`, in order, each with the time at which it really began. */
  advance(nowMs: number): Block<Payload>[] {
    const blocks: Block<Payload>[] = [];
    while (this.#nextAtMs !== null && this.#nextAtMs <= nowMs) {
      if (this.#waiting.size === 0 && nowMs - this.#nextAtMs > AHEAD_MS_MAX) {
        const whole = Math.floor((nowMs - this.#nextAtMs) / PACKET_MS);
        this.#nextTicks += whole * PACKET_MS * TICKS_PER_MS;
        this.#nextAtMs += whole * PACKET_MS;
      }
      blocks.push(this.#play(this.#nextAtMs));
    }
    return blocks;
  }

  /** Media ticks audible at `nowMs` (after `advance(nowMs)`); null before the first packet's turn. */
  position(nowMs: number): number | null {
    const last = this.#last;
    if (last === null) return null;
    return last.ticks + Math.min(1, Math.max(0, (nowMs - last.atMs) / last.lengthMs)) * last.durationTicks;
  }

  #anchor(ticks: number, atMs: number): void {
    this.#nextTicks = ticks;
    this.#nextAtMs = atMs;
    this.#lateInARow = 0;
  }

  /** Nothing that is known fits this packet: begin with it. */
  #restart(ticks: number, arrivalMs: number): void {
    this.#waiting.clear();
    this.#lateness.length = 0;
    this.#anchor(ticks, arrivalMs + DELAY_MS_FIRST);
  }

  #observe(atMs: number, lateMs: number, repaired: boolean): void {
    this.#lateness.push({ atMs, lateMs, repaired });
    while (this.#lateness[0]!.atMs < atMs - LATENESS_MS_WINDOW || this.#lateness.length > PACKETS_MAX) {
      this.#lateness.shift();
    }
  }

  #play(atMs: number): Block<Payload> {
    const ticks = this.#nextTicks;
    const found = this.#waiting.get(ticks);
    this.#waiting.delete(ticks);
    let durationTicks = PACKET_MS * TICKS_PER_MS;
    let stretch = 0;
    if (found) {
      durationTicks = found.durationTicks;
      stretch = found.silent ? STRETCH_SILENCE : STRETCH_VOICE;
    } else {
      for (const later of this.#waiting.keys()) durationTicks = Math.min(durationTicks, later - ticks);
      this.concealed += 1;
    }
    let lengthMs = durationTicks / TICKS_PER_MS;
    const most = Math.min(lengthMs, PACKET_MS) * stretch;
    lengthMs += Math.max(-most, Math.min(most, this.targetMs - this.delayMs));
    const block = { atMs, ticks, durationTicks, lengthMs, payload: found ? found.payload : null };
    this.#nextTicks += durationTicks;
    this.#nextAtMs = atMs + lengthMs;
    for (const overlapped of this.#waiting.keys()) {
      if (overlapped >= this.#nextTicks) continue;
      this.#waiting.delete(overlapped);
      this.dropped.late += 1;
    }
    this.#last = block;
    return block;
  }

  #drop(reason: SoundDrop): SoundDrop {
    this.dropped[reason] += 1;
    return reason;
  }
}
