import { TICKS_PER_MS } from "./timestamps";

/** Time constant with which the playhead closes its distance to the target. */
const TIME_CONSTANT_MS = 70;
/** Slowest and fastest that drawn motion may run against real time: invisible in a face, quick enough to catch up. */
const RATE_MIN = 0.15;
const RATE_MAX = 2.2;
/** Beyond this distance chasing would be seen as fast-forward; the playhead jumps and the caller cross-fades. */
const JUMP_MS = 320;
/** A step between two samples longer than this (a hidden tab, a debugger) is not motion. */
const STALL_MS = 400;

/** The media time that is drawn: follows a moving target with bounded velocity, never backwards except by a jump. */
export class Playhead {
  #ticks: number | null = null;
  #atMs = 0;

  get ticks(): number | null {
    return this.#ticks;
  }

  /**
   * Move towards `targetTicks`.
   *
   * @returns true when it jumped and the picture needs a cross-fade.
   */
  advance(nowMs: number, targetTicks: number): boolean {
    const elapsedMs = Math.max(0, nowMs - this.#atMs);
    this.#atMs = nowMs;
    if (this.#ticks === null) {
      this.#ticks = targetTicks;
      return true;
    }
    const errorMs = (targetTicks - this.#ticks) / TICKS_PER_MS - elapsedMs;
    if (Math.abs(errorMs) > JUMP_MS || elapsedMs > STALL_MS) {
      this.#ticks = targetTicks;
      return true;
    }
    const correction = errorMs * (1 - Math.exp(-elapsedMs / TIME_CONSTANT_MS));
    const step = Math.min(elapsedMs * RATE_MAX, Math.max(elapsedMs * RATE_MIN, elapsedMs + correction));
    this.#ticks += step * TICKS_PER_MS;
    return false;
  }

  /** Go there at once; the caller cross-fades. */
  jump(nowMs: number, ticks: number): void {
    this.#ticks = ticks;
    this.#atMs = nowMs;
  }

  reset(): void {
    this.#ticks = null;
  }
}
