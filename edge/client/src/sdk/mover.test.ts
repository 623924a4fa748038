import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Link, LinkEvents } from "../transports/link";
import type { UnitReport } from "../transports/messages";
import { decodeControl, encodeControl } from "../wire/control";
import type { Source } from "./connectorParts";
import { LinkHealth } from "./linkHealth";
import { Mover, type MoverParts } from "./mover";

const POP = { name: "b", url: "http://b", token: "t" };
const INVITATION = { reason: "handoff", epoch: 7, pop: POP };

function unit(tick: number, preview = true): UnitReport {
  return {
    ...{ type: "unit", rtpTimestamp: tick * 960, sequenceNumber: tick, absoluteMs: tick * 20, repaired: false },
    ...{ state: 3, speech: true, duck: false, cut: false, preview, values: new Float32Array(80), syncScore: 0 },
  };
}

function commit(epoch: number): string {
  return encodeControl("server-message", { t: "commit", d: { epoch } });
}

class Scene {
  readonly said: { t: unknown; d: unknown }[] = [];
  readonly closed: string[] = [];
  readonly switched: number[] = [];
  discarded = 0;
  events!: LinkEvents;
  fails = false;
  went = 0;
  readonly link = this.#link("new");
  readonly former = this.#link("old");
  readonly mover: Mover;

  constructor() {
    const parts: MoverParts = {
      openBeside: (_pop, events) => {
        this.events = events;
        const source: Source = { health: new LinkHealth(0), link: this.link, heard: false, track: 0 };
        return this.fails ? Promise.reject(new Error("no way")) : Promise.resolve(source);
      },
      goTo: () => {
        this.went += 1;
        return this.former;
      },
      prepare: () => undefined,
      await: () => undefined,
      discard: () => {
        this.discarded += 1;
      },
      switchTo: (_link, units) => {
        this.switched.push(...units.map(({ sequenceNumber }) => sequenceNumber));
        return Promise.resolve();
      },
    };
    this.mover = new Mover(parts);
  }

  #link(name: string): Link {
    return {
      playout: () => ({ rtpTimestamp: 0, atMs: 0, audible: true, audioLevel: 0 }),
      sendControl: (text: string) => {
        this.said.push(decodeControl(text).data as { t: unknown; d: unknown });
        return true;
      },
      close: () => this.closed.push(name),
    } as unknown as Link;
  }

  previews(first: number, last: number): void {
    for (let tick = first; tick <= last; tick++) this.events.onUnit(unit(tick));
  }
}

describe("Mover", () => {
  let scene: Scene;
  beforeEach(() => {
    scene = new Scene();
  });

  it("follows, says when it can see, and changes over when it is told", async () => {
    await scene.mover.follow(INVITATION);
    for (let tick = 0; tick < 4; tick++) scene.mover.owned(unit(tick, false));
    scene.previews(0, 5);
    expect(scene.said).toMatchObject([{ t: "preview", d: { epoch: 7 } }]);
    expect(scene.went).toBe(0);
    scene.events.onControl(commit(6));
    expect(scene.went).toBe(0);
    scene.events.onControl(commit(7));
    await vi.waitFor(() => {
      expect(scene.said.at(-1)).toMatchObject({ t: "committed", d: { epoch: 7 } });
    });
    expect(scene.switched).toEqual([4, 5]);
    expect(scene.closed).toEqual(["old"]);
    scene.events.onControl(commit(7));
    expect(scene.went).toBe(1);
  });

  it("takes a unit without the mark for the same word", async () => {
    await scene.mover.follow(INVITATION);
    scene.previews(0, 5);
    scene.events.onUnit(unit(6, false));
    expect(scene.went).toBe(1);
  });

  it.each([null, {}, { epoch: "7", pop: POP }, { epoch: 7, pop: { name: "b" } }])("ignores %j", async (data) => {
    await scene.mover.follow(data);
    expect(scene.events).toBeUndefined();
  });

  it("stays when it is told to, when the other link does not come up, and when that is lost", async () => {
    scene.fails = true;
    await scene.mover.follow(INVITATION);
    scene.fails = false;
    await scene.mover.follow(INVITATION);
    scene.mover.stay({ epoch: 6 });
    expect(scene.closed).toEqual([]);
    scene.mover.stay({ epoch: 7 });
    expect(scene.closed).toEqual(["new"]);
    expect(scene.discarded).toBe(2);
    await scene.mover.follow(INVITATION);
    scene.events.onLost(new Error("gone") as never);
    scene.previews(0, 9);
    scene.events.onControl(commit(7));
    expect(scene.went).toBe(0);
    expect(scene.said).toEqual([]);
  });
});
