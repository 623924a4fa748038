/** Tokens start with this, so that nobody takes one for a ticket. */
const PREFIX = "vvr_";
const CHARS_MAX = 512;
/** The POP keeps a session that lost its link for so long. Mirrors RESUME_GRACE_S of core/limits.py. */
export const RESUME_GRACE_MS = 10_000;

/** The newest token that opens another link to the same session. Each can be used once. */
export class ResumeToken {
  #token: string | null = null;
  #untilMs = 0;

  /** The POP sent one. @param data {token, lifetime_s}; anything is accepted, what is none is ignored. */
  note(data: unknown, nowMs: number): void {
    const { token, lifetime_s: lifetimeS } = (data ?? {}) as { token?: unknown; lifetime_s?: unknown };
    if (typeof token !== "string" || !token.startsWith(PREFIX) || token.length > CHARS_MAX) return;
    if (typeof lifetimeS !== "number" || !(lifetimeS > 0)) return;
    this.#token = token;
    this.#untilMs = nowMs + lifetimeS * 1_000;
  }

  /** Whether there is one that the POP still knows. */
  usable(nowMs: number): boolean {
    return this.#token !== null && nowMs < this.#untilMs;
  }

  /** Take it out to use it; null when there is none. */
  take(nowMs: number): string | null {
    const token = this.usable(nowMs) ? this.#token : null;
    this.#token = null;
    return token;
  }

  /** It did not reach the POP: it may be used again, unless a newer one came. */
  putBack(token: string): void {
    this.#token ??= token;
  }

  forget(): void {
    this.#token = null;
  }
}
