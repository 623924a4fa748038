/** An HTTP error answer: an RFC 9457 problem document, or what can be said without one. */
export interface Problem {
  readonly status: number;
  /** The `code` member; "" without one. */
  readonly code: string;
  /** `detail` or `title`, ending with a full stop. */
  readonly sentence: string;
  /** From Retry-After (RFC 9110 section 10.2.3), 0 without one. */
  readonly retryAfterMs: number;
}

export async function readProblem(response: Response): Promise<Problem> {
  const body = (await response.json().catch(() => null)) as Record<string, unknown> | null;
  const text = (name: string): string => (typeof body?.[name] === "string" ? body[name] : "");
  const sentence = text("detail") || text("title") || `HTTP status ${response.status}`;
  const retryAfter = Number(response.headers.get("Retry-After") ?? 0);
  return {
    status: response.status,
    code: text("code"),
    sentence: /[.!?]$/.test(sentence) ? sentence : `${sentence}.`,
    retryAfterMs: Number.isFinite(retryAfter) ? Math.max(0, retryAfter * 1_000) : 0,
  };
}
