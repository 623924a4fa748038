import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { VisavisError } from "../sdk/errors";
import { deleteConnection, postOffer, Trickle } from "./whip";

const POP = { name: "local", url: "http://pop.example/", token: "secret", webtransport: null };
const OFFER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=mid:0\r\n";
const HOST = { candidate: "candidate:1 1 udp 1 10.0.0.2 5 typ host", sdpMid: "0" };

let requests: { url: string; init: RequestInit }[] = [];
let answer: () => Response | Error = () => new Response(null, { status: 204 });

beforeEach(() => {
  requests = [];
  answer = () => new Response(null, { status: 204 });
  vi.useFakeTimers();
  vi.stubGlobal("fetch", (url: string, init: RequestInit) => {
    requests.push({ url, init });
    const response = answer();
    return response instanceof Error ? Promise.reject(response) : Promise.resolve(response);
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("postOffer", () => {
  const post = (signal = new AbortController().signal): ReturnType<typeof postOffer> =>
    postOffer(POP, "a b", OFFER, signal);

  it("sends the offer with the token and reads answer and location", async () => {
    answer = () => new Response("v=0 answer", { status: 201, headers: { Location: "/v1/sessions/x/webrtc/1" } });
    expect(await post()).toEqual({ answer: "v=0 answer", location: "http://pop.example/v1/sessions/x/webrtc/1" });
    expect(requests[0]!.url).toBe("http://pop.example/v1/sessions/a%20b/webrtc");
    expect(requests[0]!.init.headers).toMatchObject({
      Authorization: "Bearer secret",
      "Content-Type": "application/sdp",
    });
  });

  it("lives without a location", async () => {
    answer = () => new Response("v=0", { status: 201 });
    expect((await post()).location).toBeNull();
  });

  it.each([
    [401, "pop-refused"],
    [409, "pop-refused"],
    [500, "pop-unreachable"],
    [503, "pop-busy"],
    [429, "pop-busy"],
  ])("says HTTP %d as %s, and tries it again with a new ticket", async (status, code) => {
    answer = () => new Response(JSON.stringify({ detail: "No." }), { status, headers: { "Retry-After": "2" } });
    await expect(post()).rejects.toMatchObject({ code, retryable: true });
  });

  it("says an unreachable POP by its name", async () => {
    answer = () => new TypeError("failed");
    await expect(post()).rejects.toThrow(/local/);
  });

  it("gives up with the caller's reason", async () => {
    answer = () => new Error("aborted");
    const reason = new VisavisError("closed", "Closed.");
    await expect(post(AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe("Trickle", () => {
  it("waits for the POP's address, then sends several candidates at once", async () => {
    const trickle = new Trickle();
    trickle.add(HOST);
    trickle.add({ ...HOST, candidate: "candidate:2 1 udp 1 10.0.0.3 5 typ host" });
    await vi.advanceTimersByTimeAsync(100);
    expect(requests).toHaveLength(0);
    trickle.open("http://pop.example/link", "secret", OFFER);
    await vi.advanceTimersByTimeAsync(100);
    expect(requests).toHaveLength(1);
    expect(requests[0]!.init).toMatchObject({ method: "PATCH" });
    expect(requests[0]!.init.body).toContain("candidate:1 ");
    expect(requests[0]!.init.body).toContain("candidate:2 ");
    expect(requests[0]!.init.body).not.toContain("end-of-candidates");
  });

  it("says the end once", async () => {
    const trickle = new Trickle();
    trickle.open("http://pop.example/link", "secret", OFFER);
    trickle.add(HOST);
    trickle.add(null);
    trickle.add(null);
    await vi.advanceTimersByTimeAsync(100);
    trickle.add(null);
    await vi.advanceTimersByTimeAsync(100);
    expect(requests).toHaveLength(1);
    expect(requests[0]!.init.body).toContain("a=end-of-candidates");
  });

  it("does not fail when the POP does not take them, and is quiet after close", async () => {
    const warned = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const trickle = new Trickle();
    answer = () => new Response(null, { status: 404 });
    trickle.open("http://pop.example/link", "secret", OFFER);
    trickle.add(HOST);
    await vi.advanceTimersByTimeAsync(100);
    answer = () => new TypeError("failed");
    trickle.add(HOST);
    await vi.advanceTimersByTimeAsync(100);
    expect(warned).toHaveBeenCalledTimes(2);
    trickle.close();
    trickle.add(HOST);
    await vi.advanceTimersByTimeAsync(100);
    expect(requests).toHaveLength(2);
  });
});

describe("deleteConnection", () => {
  it("outlives the page and never fails", async () => {
    answer = () => new TypeError("failed");
    deleteConnection("http://pop.example/link", "secret");
    await vi.advanceTimersByTimeAsync(0);
    expect(requests[0]!.init).toMatchObject({ method: "DELETE", keepalive: true });
  });
});
