import { afterEach, describe, expect, it, vi } from "vitest";
import { NO_LINK_STATS } from "../transports/link";
import { emptyCounters } from "../transports/messages";
import { backoffMs } from "./backoff";
import { STAGES } from "./budget";
import { TypedEmitter } from "./emitter";
import { VisavisError } from "./errors";
import { microphoneError } from "./microphone";
import { readProblem } from "./problem";
import { Ring } from "./ring";
import { summarise } from "./stats";
import { joinUrl, parseTicket, requestTicket } from "./ticket";

const TICKET = {
  session_id: "s-1",
  character: { id: "mira", name: "Mira", puppet: "mira" },
  pops: [{ name: "local", url: "http://127.0.0.1:8080", token: "t", epoch: 1 }],
  ice_servers: [],
  expires_at: 0,
};

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("backoffMs", () => {
  it("grows, is bounded, is spread and obeys Retry-After", () => {
    expect(backoffMs(1, 0)).toBe(200);
    expect(backoffMs(1, 0.999)).toBeLessThan(400);
    expect(backoffMs(4, 0.5)).toBeGreaterThan(backoffMs(3, 0.5));
    expect(backoffMs(50, 0.999)).toBeLessThanOrEqual(12_000);
    expect(backoffMs(1, 0, 5_000)).toBe(5_000);
  });
});

describe("Ring", () => {
  it("keeps the newest in order", () => {
    const ring = new Ring<number>(3);
    for (let value = 0; value < 5; value += 1) ring.push(value);
    expect(ring.toArray()).toEqual([2, 3, 4]);
    expect(ring).toHaveLength(3);
    ring.clear();
    expect(ring.toArray()).toEqual([]);
  });
});

describe("TypedEmitter", () => {
  class Bell extends TypedEmitter<{ ring: number }> {
    ring(times: number): void {
      this.emit("ring", times);
    }
    get heard(): boolean {
      return this.listening("ring");
    }
  }

  it("tells listeners until they stop, and survives one that throws", () => {
    const reported: unknown[] = [];
    vi.stubGlobal("reportError", (error: unknown) => reported.push(error));
    const bell = new Bell();
    const heard: number[] = [];
    bell.on("ring", () => {
      throw new Error("deaf");
    });
    const off = bell.on("ring", (times) => heard.push(times));
    bell.once("ring", (times) => heard.push(-times));
    bell.ring(1);
    off();
    bell.ring(2);
    expect(heard).toEqual([1, -1]);
    expect(reported).toHaveLength(2);
    expect(bell.heard).toBe(true);
  });
});

describe("parseTicket", () => {
  it("reads a ticket", () => {
    expect(parseTicket(TICKET)).toMatchObject({
      sessionId: "s-1",
      character: { name: "Mira" },
      pops: [{ name: "local", webtransport: null }],
    });
  });

  it("reads where WebTransport is taken, and goes without it where that makes no sense", () => {
    const webtransport = (value: unknown): unknown =>
      parseTicket({ ...TICKET, pops: [{ ...TICKET.pops[0], webtransport: value }] }).pops[0]!.webtransport;
    expect(webtransport({ url: "https://pop:4433", certificate_hashes: ["aGk=", 3] })).toEqual({
      url: "https://pop:4433",
      certificateHashes: ["aGk="],
    });
    expect(webtransport({ url: "https://pop:4433" })).toEqual({ url: "https://pop:4433", certificateHashes: [] });
    for (const value of [null, 3, "https://pop", {}, { url: 1 }, { url: "http://pop" }])
      expect(webtransport(value)).toBeNull();
  });

  it("refuses what is none, in words", () => {
    for (const body of [
      null,
      3,
      {},
      { ...TICKET, pops: [] },
      { ...TICKET, pops: [{ url: 1 }] },
      { ...TICKET, session_id: 4 },
    ]) {
      expect(() => parseTicket(body)).toThrow(VisavisError);
    }
  });

  it("fills in what is left out", () => {
    expect(parseTicket({ ...TICKET, character: undefined, ice_servers: undefined })).toMatchObject({
      character: { id: "", name: "", puppet: null },
      iceServers: [],
    });
  });
});

describe("requestTicket", () => {
  const ask = (response: Response | Error): Promise<unknown> => {
    vi.stubGlobal("fetch", () => (response instanceof Error ? Promise.reject(response) : Promise.resolve(response)));
    return requestTicket("http://origin/", { character: "mira" }, new AbortController().signal);
  };
  const problem = (status: number, headers: Record<string, string> = {}): Response =>
    new Response(JSON.stringify({ code: "x", detail: "No such character" }), { status, headers });

  it("says what went wrong with a code", async () => {
    await expect(ask(new TypeError("network"))).rejects.toMatchObject({ code: "origin-unreachable", retryable: true });
    await expect(ask(problem(404))).rejects.toMatchObject({ code: "origin-refused", retryable: false });
    await expect(ask(problem(500))).rejects.toMatchObject({ code: "origin-unreachable" });
    await expect(ask(problem(503, { "Retry-After": "3" }))).rejects.toMatchObject({
      code: "origin-busy",
      retryAfterMs: 3_000,
    });
    await expect(ask(new Response("<html>"))).rejects.toMatchObject({ code: "origin-refused" });
  });

  it("gives a ticket", async () => {
    await expect(ask(Response.json(TICKET, { status: 201 }))).resolves.toMatchObject({ sessionId: "s-1" });
  });

  it("asks for a conversation, or to be the character", async () => {
    const bodies: unknown[] = [];
    vi.stubGlobal("fetch", (_url: string, init: RequestInit) => {
      bodies.push(JSON.parse(init.body as string));
      return Promise.resolve(Response.json(TICKET, { status: 201 }));
    });
    const { signal } = new AbortController();
    await requestTicket("http://origin", {}, signal);
    await requestTicket("http://origin", { character: "mira", mode: "mirror" }, signal);
    expect(bodies).toEqual([{}, { character: "mira", mode: "mirror" }]);
  });

  it("is not an error of ours when it was called off", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new Error("aborted")));
    const signal = AbortSignal.abort(new VisavisError("closed", "Closed."));
    await expect(requestTicket("http://origin", {}, signal)).rejects.toMatchObject({ code: "closed" });
  });
});

describe("readProblem", () => {
  it("reads a problem document and makes a sentence", async () => {
    const response = new Response(JSON.stringify({ title: "Nope", code: "nope" }), { status: 403 });
    expect(await readProblem(response)).toEqual({ status: 403, code: "nope", sentence: "Nope.", retryAfterMs: 0 });
  });

  it("says the status without one", async () => {
    expect((await readProblem(new Response("gone", { status: 410 }))).sentence).toBe("HTTP status 410.");
  });
});

describe("microphoneError", () => {
  it("has a code and a way out for every refusal", () => {
    const codes = ["NotAllowedError", "NotFoundError", "NotReadableError", "Odd"].map((name) => {
      const error = microphoneError(Object.assign(new Error(), { name }));
      expect(error.message).toContain("type instead");
      expect(error.retryable).toBe(false);
      return error.code;
    });
    expect(codes).toEqual(["microphone-denied", "microphone-missing", "microphone-busy", "microphone-failed"]);
    expect(microphoneError(undefined).code).toBe("microphone-failed");
  });
});

describe("summarise", () => {
  const own = { outputLatencyMs: null, playoutDelayMs: 70, framesDrawn: 0 };

  it("puts the link's figures and ours together", async () => {
    const link = {
      protocol: "webrtc",
      motion: "script-transform",
      counters: { ...emptyCounters(), units: 4, packetBytes: 400, frameBytes: 80 },
      linkStats: () => Promise.resolve({ ...NO_LINK_STATS, roundTripMs: 30 }),
    } as const;
    expect(await summarise(link, own)).toMatchObject({
      protocol: "webrtc",
      motionPath: "script-transform",
      roundTripMs: 30,
      playoutDelayMs: 70,
      meanPacketBytes: 100,
      meanFrameBytes: 20,
    });
  });

  it("knows what to say without a link", async () => {
    expect(await summarise(null, own)).toMatchObject({ protocol: null, jitterBufferMs: null, meanPacketBytes: null });
  });
});

describe("joinUrl", () => {
  it("knows trailing slashes", () => {
    expect(joinUrl("http://a/", "/v1")).toBe("http://a/v1");
    expect(joinUrl("http://a/base//", "/v1")).toBe("http://a/base/v1");
  });
});

describe("STAGES", () => {
  it("mirrors core/session/budget.py", async () => {
    const { readFile } = await import("node:fs/promises");
    const source = await readFile(new URL("../../../../core/session/budget.py", import.meta.url), "utf8");
    const stages = [...source.matchAll(/Stage\("(\w+)", "([^"]+)", ([\d.]+)\)/g)].map(([, name, title, target]) => ({
      name,
      title,
      targetMs: Number(target),
    }));
    expect(STAGES).toEqual(stages);
    expect(stages.length).toBeGreaterThan(0);
  });
});
