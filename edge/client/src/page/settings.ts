import type { TransportChoice } from "../sdk";

/** Where the page finds its services: the POP's config.json, or the address bar for developers. */
export interface Settings {
  readonly originUrl: string;
  /** null: the POPs the ticket names. */
  readonly popUrl: string | null;
  /** null: the origin's default. */
  readonly character: string | null;
  /** "mirror": the viewer performs the character. */
  readonly mode: "conversation" | "mirror";
  readonly transport: TransportChoice;
}

const CONFIG_TIMEOUT_MS = 5_000;

export async function loadSettings(): Promise<Settings> {
  const query = new URLSearchParams(location.search);
  let originUrl = query.get("origin");
  if (originUrl === null) {
    const response = await fetch(new URL("config.json", document.baseURI), {
      signal: AbortSignal.timeout(CONFIG_TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`config.json: HTTP ${response.status}`);
    const config = (await response.json()) as { origin_url?: unknown };
    if (typeof config.origin_url !== "string") throw new Error("config.json names no origin_url");
    originUrl = config.origin_url;
  }
  return {
    originUrl: sameHost(originUrl, location.hostname),
    popUrl: query.get("pop"),
    character: query.get("character"),
    mode: query.get("mode") === "mirror" ? "mirror" : "conversation",
    transport: transportChoice(query.get("transport")),
  };
}

/** A page opened as "localhost" must reach an origin that calls itself 127.0.0.1, and the other way round. */
export function sameHost(url: string, host: string): string {
  const loopback = new Set(["localhost", "127.0.0.1"]);
  const parsed = new URL(url);
  if (loopback.has(parsed.hostname) && loopback.has(host)) parsed.hostname = host;
  return parsed.href.replace(/\/$/, "");
}

/** What `?transport=` asks for; anything unknown is "auto". */
export function transportChoice(value: string | null): TransportChoice {
  return value === "webrtc" || value === "webtransport" ? value : "auto";
}
