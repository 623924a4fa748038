import { afterEach, describe, expect, it, vi } from "vitest";
import { nearestFirst, probe, rttClass } from "./probe";

const POPS = ["far", "near", "also", "dead"].map((name) => ({
  name,
  url: `http://${name}`,
  token: "",
  webtransport: null,
}));
const DELAYS_MS: Readonly<Record<string, number>> = { far: 90, near: 5, also: 7 };
const never = new AbortController().signal;
let asked: string[] = [];

function stub(): void {
  asked = [];
  vi.stubGlobal("fetch", async (url: string) => {
    asked.push(url);
    const delayMs = DELAYS_MS[new URL(url).hostname];
    if (delayMs === undefined) throw new TypeError("refused");
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    return new Response("ok");
  });
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("probe", () => {
  it("sorts by classes of round trips, and keeps the order given inside a class", async () => {
    stub();
    expect((await nearestFirst(POPS, never)).map(({ name }) => name)).toEqual(["near", "also", "far", "dead"]);
    expect(asked.filter((url) => url === "http://near/v1/probe")).toHaveLength(2);
  });

  it("does not ask the only one", async () => {
    stub();
    expect(await nearestFirst(POPS.slice(0, 1), never)).toEqual(POPS.slice(0, 1));
    expect(asked).toEqual([]);
  });

  it("never fails", async () => {
    stub();
    expect(await probe("http://dead", never)).toBe(Infinity);
    vi.stubGlobal("fetch", () => Promise.resolve(new Response("", { status: 500 })));
    expect(await probe("http://near", never)).toBe(Infinity);
    expect(await probe("http://near", AbortSignal.abort())).toBe(Infinity);
  });

  it("knows the classes", () => {
    expect([0, 20, 20.1, 320, 321, Infinity, NaN, -1].map(rttClass)).toEqual([0, 0, 1, 4, 5, 6, 6, 6]);
  });
});
