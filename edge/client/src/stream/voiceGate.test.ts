import { describe, expect, it } from "vitest";
import { DUCKED_GAIN, VoiceGate, type GateUnit } from "./voiceGate";

const unit = (ticks: number, flags: Partial<GateUnit> = {}): GateUnit => ({
  ticks,
  speech: true,
  duck: false,
  cut: false,
  ...flags,
});

describe("VoiceGate", () => {
  it("is open at first and while nothing happens", () => {
    const gate = new VoiceGate();
    expect(gate.target(null, 1_000).gain).toBe(1);
    gate.receive(unit(960), 0);
    expect(gate.target(0, 1_000).gain).toBe(1);
  });

  it("ducks at the moment the unit comes, not when it is heard, and opens again", () => {
    const gate = new VoiceGate();
    gate.receive(unit(9_600, { duck: true }), 0);
    expect(gate.target(4_800, 1_000).gain).toBe(DUCKED_GAIN);
    gate.receive(unit(10_560), 0);
    expect(gate.target(5_760, 1_000).gain).toBe(1);
  });

  it("mutes what is buffered until the cut itself is audible", () => {
    const gate = new VoiceGate();
    gate.receive(unit(9_600), 0);
    expect(gate.receive(unit(10_560, { cut: true, speech: false }), 0)).toBe(true);
    expect(gate.receive(unit(11_520, { cut: true, speech: false }), 0)).toBe(false);
    expect(gate.target(9_000, 1_000).gain).toBe(0);
    expect(gate.target(11_519, 1_000).gain).toBe(0);
    expect(gate.target(11_520, 1_000).gain).toBe(1);
  });

  it("does not mute speech that already belongs to the next answer", () => {
    const gate = new VoiceGate();
    expect(gate.receive(unit(960, { cut: true, speech: true }), 0)).toBe(false);
    expect(gate.target(0, 1_000).gain).toBe(1);
  });

  it("ignores a unit that comes late", () => {
    const gate = new VoiceGate();
    gate.receive(unit(9_600), 0);
    gate.receive(unit(960, { duck: true }), 0);
    expect(gate.target(0, 1_000).gain).toBe(1);
  });

  it("opens again by itself where nobody knows what is audible", () => {
    const gate = new VoiceGate();
    gate.receive(unit(9_600, { cut: true, speech: false }), 0);
    expect(gate.target(null, 1_000).gain).toBe(0);
    for (let ticks = 10_560; ticks <= 20_000; ticks += 960) gate.receive(unit(ticks, { speech: false }), 0);
    expect(gate.target(null, 1_000).gain).toBe(1);
  });

  it("is open after a reset", () => {
    const gate = new VoiceGate();
    gate.receive(unit(9_600, { cut: true, speech: false, duck: true }), 0);
    gate.reset();
    expect(gate.target(0, 1_000).gain).toBe(1);
  });

  it("silences at once when asked, and long enough even where the clock has run ahead", () => {
    const gate = new VoiceGate();
    gate.receive(unit(9_600), 1_000);
    gate.silence(1_000);
    expect(gate.target(20_000, 1_050).gain).toBe(0);
    expect(gate.target(9_000, 1_200).gain).toBe(0);
    expect(gate.target(20_000, 1_200).gain).toBe(1);
  });
});
