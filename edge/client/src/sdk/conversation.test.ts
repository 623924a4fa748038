import { beforeEach, describe, expect, it } from "vitest";
import { TimestampUnwrapper } from "../stream/timestamps";
import { Conversation } from "./conversation";

let told: [string, unknown][] = [];
let conversation = new Conversation(() => undefined);
const unwrapper = new TimestampUnwrapper();

const receive = (type: string, data: Record<string, unknown> = {}): void => {
  conversation.receive({ type, data }, unwrapper);
};
const server = (t: string, d: Record<string, unknown>): void => {
  receive("server-message", { t, d });
};
const of = (name: string): unknown[] => told.filter(([one]) => one === name).map(([, event]) => event);

beforeEach(() => {
  told = [];
  unwrapper.reset();
  unwrapper.unwrap(10_000);
  conversation = new Conversation((name, event) => told.push([name, event]));
});

describe("Conversation", () => {
  it("tells a state once, wherever it comes from", () => {
    server("state", { state: "listening" });
    conversation.setState("listening");
    server("state", { state: "dancing" });
    expect(of("state")).toEqual([{ state: "listening" }]);
    expect(conversation.state).toBe("listening");
  });

  it("lets recognition grow under one id and starts a new one after the final text", () => {
    receive("user-transcription", { text: "why is", final: false });
    receive("user-transcription", { text: "why is mars red", final: true });
    receive("user-transcription", { text: "thanks", final: true });
    const ids = of("transcript").map((entry) => (entry as { id: string }).id);
    expect(ids[0]).toBe(ids[1]);
    expect(ids[2]).not.toBe(ids[1]);
  });

  it("shows a typed line at once and not again when it comes back", () => {
    conversation.typed("hello");
    receive("user-transcription", { text: "hello", final: true });
    expect(of("transcript")).toHaveLength(1);
    receive("user-transcription", { text: "hello", final: true });
    expect(of("transcript")).toHaveLength(2);
  });

  it("announces each word when it is audible, also when the utterance is placed late or moves", () => {
    const words = [
      ["Good", 0, 9_600],
      ["evening", 9_600, 24_000],
    ];
    server("caption", { utterance_id: 1, text: "Good evening", words, rtp_timestamp: null });
    conversation.audible(1_000_000);
    expect(of("word")).toEqual([]);
    server("utterance", { utterance_id: 1, rtp_timestamp: 20_000 });
    conversation.audible(19_999);
    expect(of("word")).toEqual([]);
    conversation.audible(20_000);
    server("utterance", { utterance_id: 1, rtp_timestamp: 21_000 });
    conversation.audible(30_000);
    expect(of("word").map((word) => (word as { index: number }).index)).toEqual([0]);
    conversation.audible(30_600);
    expect(of("word").map((word) => (word as { index: number }).index)).toEqual([0, 1]);
  });

  it("builds the answer clause by clause and ends it", () => {
    receive("bot-transcription", { text: "Mars is rusty." });
    receive("bot-transcription", { text: "Really." });
    receive("bot-stopped-speaking");
    expect(of("transcript")).toEqual([
      { id: "character-0", role: "character", text: "Mars is rusty.", final: false, interrupted: false },
      { id: "character-0", role: "character", text: "Mars is rusty. Really.", final: false, interrupted: false },
      { id: "character-0", role: "character", text: "Mars is rusty. Really.", final: true, interrupted: false },
    ]);
    expect(of("caption-end")).toEqual([{ interrupted: false }]);
  });

  it("keeps only what was heard of an interrupted answer", () => {
    receive("bot-transcription", { text: "One two three" });
    const words = ["One", "two", "three"].map((word, index) => [word, index * 9_600, (index + 1) * 9_600]);
    server("caption", { utterance_id: 3, text: "One two three", words, rtp_timestamp: 20_000 });
    conversation.audible(20_000 + 10_000);
    conversation.voiceEnded(true);
    expect(of("transcript").at(-1)).toMatchObject({ text: "One two", final: true, interrupted: true });
    conversation.voiceEnded(true);
    expect(of("caption-end")).toHaveLength(1);
  });

  it("adds up a turn's stages and what only the viewer can measure", () => {
    server("stages", { turn_id: 1, stages: { detect: 200, think: "soon", speak: Infinity } });
    server("stages", { turn_id: 1, stages: { think: 90 } });
    conversation.measured("playout", 66);
    expect(of("stages").at(-1)).toEqual({ turnId: 1, stages: { detect: 200, think: 90, playout: 66 } });
  });

  it("measures nothing before any turn", () => {
    conversation.measured("playout", 66);
    expect(of("stages")).toEqual([]);
  });

  it("passes on mood and faults", () => {
    server("mood", { label: "amused", valence: 0.8, arousal: 0.5 });
    server("fault", { code: "stt-failed", message: "My ears dropped out." });
    receive("error", { message: "That text is too long.", fatal: false });
    expect(of("mood")).toEqual([{ label: "amused", valence: 0.8, arousal: 0.5 }]);
    expect(of("fault")).toEqual([
      { code: "stt-failed", message: "My ears dropped out." },
      { code: "error", message: "That text is too long." },
    ]);
  });

  it("survives messages of any shape", () => {
    for (const data of [{}, { t: 1 }, { t: "caption" }, { t: "caption", d: { words: [1, ["a"], ["b", 0, 1]] } }]) {
      receive("server-message", data);
    }
    for (const type of ["user-transcription", "bot-transcription", "error", "metrics", "bot-ready"]) receive(type);
    expect(of("caption").at(-1)).toMatchObject({ text: "", words: [{ text: "b", startTicks: 0, endTicks: 1 }] });
  });

  it("starts over with a new connection", () => {
    server("state", { state: "speaking" });
    receive("bot-transcription", { text: "Half a sen" });
    conversation.reset();
    expect(of("transcript").at(-1)).toMatchObject({ final: true, interrupted: true });
    expect(conversation.state).toBe("idle");
  });
});
