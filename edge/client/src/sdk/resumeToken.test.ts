import { describe, expect, it } from "vitest";
import { ResumeToken } from "./resumeToken";

describe("ResumeToken", () => {
  it("is used once, and the newest one", () => {
    const resume = new ResumeToken();
    resume.note({ token: "vvr_a", lifetime_s: 60 }, 0);
    resume.note({ token: "vvr_b", lifetime_s: 60 }, 10);
    expect(resume.take(20)).toBe("vvr_b");
    expect(resume.take(20)).toBeNull();
  });

  it("ends with its lifetime", () => {
    const resume = new ResumeToken();
    resume.note({ token: "vvr_a", lifetime_s: 60 }, 1_000);
    expect(resume.usable(60_999)).toBe(true);
    expect(resume.usable(61_000)).toBe(false);
    expect(resume.take(61_000)).toBeNull();
  });

  it("comes back when it did not reach the POP, unless there is a newer one", () => {
    const resume = new ResumeToken();
    resume.note({ token: "vvr_a", lifetime_s: 60 }, 0);
    resume.putBack(resume.take(0)!);
    expect(resume.usable(0)).toBe(true);
    const used = resume.take(0)!;
    resume.note({ token: "vvr_b", lifetime_s: 60 }, 0);
    resume.putBack(used);
    expect(resume.take(0)).toBe("vvr_b");
  });

  it("ignores what is none", () => {
    const resume = new ResumeToken();
    const long = "vvr_".padEnd(600, "x");
    for (const data of [
      ...[undefined, null, 3, "vvr_a", {}, { token: 3, lifetime_s: 9 }, { token: "other", lifetime_s: 9 }],
      ...[{ token: "vvr_a" }, { token: "vvr_a", lifetime_s: "9" }, { token: "vvr_a", lifetime_s: -1 }],
      ...[
        { token: "vvr_a", lifetime_s: NaN },
        { token: long, lifetime_s: 9 },
      ],
    ]) {
      resume.note(data, 0);
      expect(resume.usable(0)).toBe(false);
    }
  });
});
