import { describe, expect, it } from "vitest";
import { decodeFeedback, extractFeedback, type Feedback } from "../wire/feedback";
import { strip } from "../wire/opusPadding";
import { LevelGate, audioLevel } from "./level";
import { Uplink, type EncodedSound } from "./uplink";

const noise = (amplitude: number): Float32Array =>
  Float32Array.from({ length: 960 }, (_, index) => (index % 2 === 0 ? amplitude : -amplitude));

describe("audioLevel", () => {
  it("is -dBov of the loudness, as RFC 6464 says", () => {
    expect(audioLevel(noise(1))).toBe(0);
    expect(audioLevel(noise(0.1))).toBe(20);
    expect(audioLevel(noise(1e-5))).toBe(100);
    expect(audioLevel(new Float32Array(960))).toBe(127);
    expect(audioLevel(new Float32Array(0))).toBe(127);
    expect(audioLevel(noise(3))).toBe(0);
  });
});

describe("LevelGate", () => {
  it("opens for what is louder than the room, and closes 400 ms later", () => {
    const gate = new LevelGate();
    const open = (level: number, packets: number): boolean[] =>
      Array.from({ length: packets }, () => gate.receive(level));
    expect(open(65, 300).at(-1)).toBe(false);
    expect(open(40, 5)).toEqual(Array(5).fill(true));
    const after = open(65, 30);
    expect(after.indexOf(false)).toBeGreaterThanOrEqual(18);
    expect(after.at(-1)).toBe(false);
  });

  it("stays shut for digital silence and for noise that stays", () => {
    const gate = new LevelGate();
    for (let index = 0; index < 100; index += 1) expect(gate.receive(127)).toBe(false);
    let open = true;
    for (let index = 0; index < 4_000; index += 1) open = gate.receive(50);
    expect(open).toBe(false);
  });

  it("stays open through ten seconds of speech with its pauses", () => {
    const gate = new LevelGate();
    for (let index = 0; index < 200; index += 1) gate.receive(60);
    for (let index = 0; index < 500; index += 1) {
      const level = index % 50 < 40 ? 30 : 58;
      const open = gate.receive(level);
      if (index > 0) expect(open).toBe(true);
    }
  });
});

class Bench {
  readonly sent: Uint8Array[] = [];
  lastMs = -Infinity;
  nowMs = 0;
  news = true;
  urgent = false;
  readonly uplink = new Uplink(
    {
      hasNews: () => this.news,
      feedbackDue: (nowMs) => nowMs - this.lastMs >= (this.urgent ? 20 : 100),
      take: (nowMs): Feedback => {
        this.lastMs = nowMs;
        return { acknowledged: 7, playoutTimestamp: null, keyframeRequest: this.urgent };
      },
    },
    (datagram) => this.sent.push(datagram),
  );

  sound(packets: number, voice: boolean, from: number): void {
    for (let index = 0; index < packets; index += 1) {
      const sound: EncodedSound = {
        opus: Uint8Array.of(0x78, from + index, 3, 4, 5),
        timestamp: (from + index) * 960,
        level: voice ? 30 : 70,
        voice,
      };
      this.uplink.receive(sound, this.nowMs);
      this.uplink.tick(this.nowMs);
      this.nowMs += 20;
    }
  }
}

const timestamp = (datagram: Uint8Array): number => new DataView(datagram.buffer).getUint32(4);
const packet = (datagram: Uint8Array): Uint8Array => datagram.subarray(8);

describe("Uplink", () => {
  it("sends every packet of speech, feedback in every fifth", () => {
    const bench = new Bench();
    bench.sound(50, true, 0);
    expect(bench.sent).toHaveLength(50);
    expect(bench.sent.every((datagram) => datagram[0] === 0x31 && datagram[1] === (0x80 | 30))).toBe(true);
    expect(bench.sent.map((datagram) => new DataView(datagram.buffer).getUint16(2))).toEqual([...Array(50).keys()]);
    expect(bench.sent.filter((datagram) => extractFeedback(packet(datagram)) !== null)).toHaveLength(10);
    expect(Array.from(strip(packet(bench.sent[0]!)))).toEqual([0x78, 0, 3, 4, 5]);
    expect([bench.uplink.embedded, bench.uplink.bare]).toEqual([10, 0]);
  });

  it("sends one packet without sound per 100 ms of silence, in the microphone's time", () => {
    const bench = new Bench();
    bench.sound(100, false, 0);
    expect(bench.sent.length).toBeGreaterThanOrEqual(18);
    expect(bench.sent.length).toBeLessThanOrEqual(20);
    for (const datagram of bench.sent) {
      expect(datagram[1]).toBe(70);
      expect(Array.from(strip(packet(datagram)))).toEqual([0x78]);
      expect(extractFeedback(packet(datagram))?.acknowledged).toBe(7);
    }
  });

  it("sends what came just before the first loud packet, in order of time", () => {
    const bench = new Bench();
    bench.sound(40, false, 0);
    const before = bench.sent.length;
    bench.sound(3, true, 40);
    const times = bench.sent.map(timestamp);
    expect(times.slice(before)).toEqual([35, 36, 37, 38, 39, 40, 41, 42].map((index) => index * 960));
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  it("sends feedback by itself where there is no microphone, at once when a keyframe is wanted", () => {
    const bench = new Bench();
    for (; bench.nowMs < 1_000; bench.nowMs += 20) bench.uplink.tick(bench.nowMs);
    expect(bench.sent).toHaveLength(10);
    expect(decodeFeedback(bench.sent[0]!).acknowledged).toBe(7);
    bench.urgent = true;
    bench.uplink.tick(bench.nowMs);
    expect(bench.sent).toHaveLength(11);
    expect(decodeFeedback(bench.sent[10]!).keyframeRequest).toBe(true);
  });

  it("says nothing before there is something to say", () => {
    const bench = new Bench();
    bench.news = false;
    bench.sound(20, false, 0);
    bench.uplink.tick(10_000);
    expect(bench.sent).toHaveLength(0);
  });
});
