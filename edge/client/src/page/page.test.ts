import { describe, expect, it } from "vitest";
import { VisavisError, type VisavisErrorCode } from "../sdk/errors";
import { budgetOf, formatMs, TOTAL_TARGET_MS } from "./budget";
import { displayWords } from "./captions";
import { levelOf } from "./levelMeter";
import { errorNotice, retryNotice } from "./notices";
import { sameHost } from "./settings";

describe("budgetOf", () => {
  it("knows nothing at first", () => {
    const budget = budgetOf({});
    expect(budget.totalMs).toBeNull();
    expect(budget.over).toBe(false);
    expect(budget.complete).toBe(false);
    expect(TOTAL_TARGET_MS).toBe(600);
  });

  it("adds up, compares with the targets and keeps the bar inside its track", () => {
    const budget = budgetOf({
      detect: 900,
      transcribe: 10,
      think: 10,
      speak: 10,
      fabric: 1,
      edge: 2,
      playout: 60,
      other: 5,
    });
    expect(budget.totalMs).toBe(993);
    expect(budget.over).toBe(true);
    expect(budget.complete).toBe(true);
    expect(budget.rows[0]).toMatchObject({ over: true, ms: 900 });
    expect(budget.rows[1]).toMatchObject({ over: false });
    expect(budget.rows.reduce((sum, row) => sum + row.share, 0)).toBeCloseTo(1, 9);
    expect(budget.targetAt).toBeCloseTo(600 / 993, 9);
  });

  it("writes small figures with a decimal", () => {
    expect(formatMs(1.44)).toBe("1.4");
    expect(formatMs(9.96)).toBe("10");
    expect(formatMs(231.4)).toBe("231");
  });
});

describe("displayWords", () => {
  const timed = (...texts: string[]): { text: string; startTicks: number; endTicks: number }[] =>
    texts.map((text) => ({ text, startTicks: 0, endTicks: 0 }));

  it("keeps the written form where it matches word for word", () => {
    expect(displayWords({ text: "It’s rusty: really.", words: timed("its", "rusty", "really") })).toEqual([
      "It’s",
      "rusty:",
      "really.",
    ]);
  });

  it("shows the timed words where it does not", () => {
    expect(displayWords({ text: "In 1969.", words: timed("in", "nineteen", "sixty-nine") })).toEqual([
      "in",
      "nineteen",
      "sixty-nine",
    ]);
  });
});

describe("levelOf", () => {
  it("goes from silence to loud", () => {
    expect(levelOf(new Float32Array(64))).toBe(0);
    expect(levelOf(new Float32Array(64).fill(0.5))).toBe(1);
    const quiet = levelOf(new Float32Array(64).fill(0.01));
    expect(quiet).toBeGreaterThan(0.3);
    expect(quiet).toBeLessThan(0.6);
  });
});

describe("notices", () => {
  const CODES: VisavisErrorCode[] = [
    "browser-unsupported",
    "origin-unreachable",
    "pop-busy",
    "microphone-denied",
    "text-too-long",
    "closed",
  ];

  it("has a title and the sentence for every code", () => {
    for (const code of CODES) {
      const notice = errorNotice(new VisavisError(code, "What to do."), false);
      expect(notice.title).not.toBe("");
      expect(notice.text).toBe("What to do.");
    }
  });

  it("offers typing when there is no microphone, and goes on when already connected", () => {
    const denied = new VisavisError("microphone-denied", "…");
    expect(errorNotice(denied, false).actions).toEqual(["talk", "type"]);
    expect(errorNotice(denied, true).actions).toEqual(["talk", "dismiss"]);
  });

  it("counts down to the next attempt", () => {
    const lost = new VisavisError("connection-lost", "Gone.");
    expect(retryNotice(lost, 3)).toMatchObject({ text: "Gone. Next try in 3 s.", actions: ["retry"] });
    expect(retryNotice(lost, null)).toMatchObject({ text: "Gone. Trying now…", actions: [] });
  });
});

describe("sameHost", () => {
  it("follows the page between the names of this machine and leaves others alone", () => {
    expect(sameHost("http://127.0.0.1:8081", "localhost")).toBe("http://localhost:8081");
    expect(sameHost("http://127.0.0.1:8081", "example.org")).toBe("http://127.0.0.1:8081");
    expect(sameHost("https://origin.example/", "localhost")).toBe("https://origin.example");
  });
});
