import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { UnitReport } from "../transports/messages";
import { Connector } from "./connector";
import type { ConnectorEvents } from "./connectorParts";
import { VisavisError } from "./errors";
import { FakeLink } from "./fakeLink";

const TICKET = {
  sessionId: "s",
  character: { id: "mira", name: "Mira", puppet: null },
  pops: [{ name: "local", url: "http://pop", token: "ticket", webtransport: null }],
  iceServers: [],
  key: null,
};
const LOST = new VisavisError("connection-lost", "gone");
const REFUSED = new VisavisError("pop-refused", "no");
const UNREACHABLE = new VisavisError("pop-unreachable", "no answer");

let links: FakeLink[] = [];
let told: string[] = [];
let tickets = 0;
let openAtOnce = true;
let ticketFails: VisavisError | null = null;
let connector: Connector;
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const token = (name: string): void => {
  connector.noteResume({ token: `vvr_${name}`, lifetime_s: 60 });
};
const tokens = (): string[] => links.map(({ options }) => options.pop.token);
const count = (word: string): number => told.filter((one) => one === word).length;

function make(): Connector {
  const events: ConnectorEvents = {
    onTicket: () => told.push("ticket"),
    onFresh: () => told.push("fresh"),
    onLink: (_, resumed) => told.push(resumed ? "moved" : "link"),
    onNoLink: () => told.push("no link"),
    onUnit: () => undefined,
    onControl: () => undefined,
    onState: (state) => told.push(state),
  };
  return new Connector(
    {
      requestTicket: () => {
        tickets += 1;
        return ticketFails === null ? Promise.resolve(TICKET) : Promise.reject(ticketFails);
      },
      renewTicket: () => Promise.reject(new VisavisError("session-ended", "no")),
      answers: () => Promise.resolve(true),
      openLink: (options, linkEvents) => {
        const fake = new FakeLink(options, linkEvents);
        links.push(fake);
        if (openAtOnce) fake.resolve();
        return fake.opened;
      },
      wishes: () => ({ transport: "auto", microphone: null, direction: "sendrecv" }),
      pops: ({ pops }) => pops,
      random: () => 0.5,
    },
    events,
  );
}

/** A connected session that has a resume token and lived long enough; the next link waits to be opened. */
async function connected(): Promise<void> {
  await connector.start(Infinity);
  links[0]!.speak();
  token("1");
  await pass(6_000);
  told = [];
  openAtOnce = false;
}

beforeEach(() => {
  vi.useFakeTimers();
  links = [];
  told = [];
  tickets = 0;
  openAtOnce = true;
  ticketFails = null;
  connector = make();
});

afterEach(() => {
  connector.close(null);
  vi.useRealTimers();
});

describe("Connector, from nothing", () => {
  it("asks for a ticket, opens a link and stays quiet while units come", async () => {
    await connected();
    await pass(60_000);
    expect(told).toEqual([]);
    expect(tokens()).toEqual(["ticket"]);
    expect(connector.link).toBe(links[0]!.link);
  });

  it("repeats what can be repeated, and not what cannot", async () => {
    ticketFails = new VisavisError("origin-unreachable", "down");
    const started = connector.start(Infinity);
    await pass(3_000);
    expect(tickets).toBeGreaterThan(2);
    ticketFails = null;
    connector.retryNow();
    await started;
    expect(connector.state).toBe("connected");

    connector = make();
    ticketFails = new VisavisError("origin-refused", "no");
    await expect(connector.start(Infinity)).rejects.toMatchObject({ code: "origin-refused" });
    expect(connector.state).toBe("closed");
  });

  it("says goodbye when it is closed, also to a link that is being opened", async () => {
    await connected();
    connector.close(null);
    expect(links[0]!.closed).toBe("farewell");
    connector = make();
    const started = connector.start(Infinity);
    const refused = expect(started).rejects.toMatchObject({ code: "closed" });
    await pass(0);
    connector.close(null);
    await refused;
    expect(links[1]!.closed).toBe("farewell");
  });

  it("takes no link that came up at the moment of closing", async () => {
    openAtOnce = false;
    const started = connector.start(Infinity);
    const refused = expect(started).rejects.toMatchObject({ code: "closed" });
    await pass(0);
    links[0]!.resolve();
    connector.close(null);
    await refused;
    expect(told).not.toContain("link");
    expect(links[0]!.closed).toBe("farewell");
  });
});

describe("Connector, moving", () => {
  it("opens a second link when the first goes silent, moves there and closes the first without a farewell", async () => {
    await connected();
    links[0]!.silence();
    await pass(650);
    expect(links).toHaveLength(1);
    await pass(350);
    expect(tokens()).toEqual(["ticket", "vvr_1"]);
    expect(links[1]!.options.resuming).toBe(true);
    expect(links[0]!.closed).toBe("no");
    links[1]!.speak();
    links[1]!.resolve();
    await pass(5_000);
    expect(told).toEqual(["moved"]);
    expect(links[0]!.closed).toBe("silently");
    expect(connector.link).toBe(links[1]!.link);
    expect(tickets).toBe(1);
  });

  it("moves at once when the network changes, even though the first link still lives", async () => {
    await connected();
    connector.networkChanged();
    await pass(0);
    links[1]!.resolve();
    await pass(0);
    expect(told).toEqual(["moved"]);
  });

  it("moves when the link says that it may be dying, or that another protocol would do better", async () => {
    await connected();
    links[0]!.events.onUnsteady();
    links[0]!.events.onDegraded();
    expect(links).toHaveLength(2);
    links[1]!.resolve();
    await pass(0);
    expect(told).toEqual(["moved"]);
  });

  it("abandons the race when the silent link recovers, but not for a burst out of a queue", async () => {
    await connected();
    links[0]!.silence();
    await pass(1_000);
    for (let burst = 0; burst < 20; burst += 1) links[0]!.events.onUnit({} as UnitReport);
    await pass(250);
    expect(links[1]!.closed).toBe("no");
    links[0]!.speak();
    await pass(500);
    expect(links[1]!.closed).toBe("silently");
    expect(connector.link).toBe(links[0]!.link);
    expect(count("no link")).toBe(0);
  });

  it("does not abandon a race whose link has brought something: the POP has moved there", async () => {
    await connected();
    links[0]!.silence();
    await pass(1_000);
    links[1]!.speak();
    links[0]!.speak();
    await pass(6_000);
    expect(links[1]!.closed).toBe("no");
    links[1]!.resolve();
    await pass(0);
    expect(connector.link).toBe(links[1]!.link);
  });

  it("stays on the first link when the second is refused, and does not storm", async () => {
    await connected();
    for (let second = 0; second < 20; second += 1) {
      token(`again-${second}`);
      connector.networkChanged();
      connector.networkChanged();
      await pass(0);
      links.at(-1)?.reject(REFUSED);
      await pass(1_000);
    }
    expect(connector.link).toBe(links[0]!.link);
    expect(links.length).toBeLessThan(10);
    expect(told).toEqual([]);
  });

  it("tells only a switch that takes long, and that it is over", async () => {
    await connected();
    links[0]!.silence();
    await pass(1_500);
    expect(told).toEqual([]);
    await pass(1_000);
    expect(told).toEqual(["switching"]);
    expect(connector.sendControl("x")).toBe(false);
    links[1]!.resolve();
    links[1]!.speak();
    await pass(1_000);
    expect(told).toEqual(["switching", "moved", "connected"]);
    expect(connector.sendControl("x")).toBe(true);
  });

  it("waits for the race when the first link is lost meanwhile", async () => {
    await connected();
    links[0]!.silence();
    await pass(1_000);
    links[0]!.events.onLost(LOST);
    await pass(1_000);
    links[1]!.resolve();
    links[1]!.speak();
    await pass(1_000);
    expect(told.filter((word) => word !== "switching")).toEqual(["moved", "connected"]);
    expect(tickets).toBe(1);
  });

  it("begins a race anew when the network changes under it", async () => {
    await connected();
    links[0]!.silence();
    await pass(2_000);
    connector.networkChanged();
    await pass(500);
    expect(tokens()).toEqual(["ticket", "vvr_1", "vvr_1"]);
    expect(links[1]!.closed).toBe("silently");
  });

  it("gives a race up that gets no answer", async () => {
    await connected();
    links[0]!.silence();
    await pass(900 + 4_000);
    expect(links[1]!.closed).toBe("silently");
  });

  it("does not move without a token", async () => {
    await connector.start(Infinity);
    links[0]!.speak();
    await pass(6_000);
    connector.networkChanged();
    links[0]!.events.onUnsteady();
    await pass(1_000);
    expect(links).toHaveLength(1);
  });

  it("cannot tell silence where motion cannot be read", async () => {
    await connector.start(Infinity);
    Object.assign(links[0]!.link, { motion: "none" });
    token("1");
    await pass(60_000);
    expect(links).toHaveLength(1);
  });
});

describe("Connector, reconnecting", () => {
  it("resumes a conversation whose link is lost, without a ticket", async () => {
    await connected();
    openAtOnce = true;
    links[0]!.events.onLost(LOST);
    await pass(0);
    expect(told).toEqual(["moved"]);
    expect(links[0]!.closed).toBe("silently");
    expect(tickets).toBe(1);
  });

  it("begins anew with another ticket when that is refused", async () => {
    await connected();
    links[0]!.events.onLost(LOST);
    await pass(0);
    openAtOnce = true;
    links[1]!.reject(REFUSED);
    await pass(0);
    expect(tokens()).toEqual(["ticket", "vvr_1", "ticket"]);
    expect(told).toEqual(["no link", "reconnecting", "reconnecting", "fresh", "ticket", "fresh", "link", "connected"]);
  });

  it("takes a dead POP for dead after three seconds when nobody answers there", async () => {
    await connected();
    links[0]!.silence();
    for (let waited = 0; waited < 3_300; waited += 100) {
      await pass(100);
      if (links.length > 1 && links.at(-1)!.options.resuming) links.at(-1)!.reject(UNREACHABLE);
    }
    expect(links.at(-1)!.options.resuming).toBe(false);
    expect(tickets).toBe(2);
  });

  it("resumes after a while without any network, as long as the POP keeps the session", async () => {
    await connected();
    links[0]!.silence();
    ticketFails = new VisavisError("origin-unreachable", "offline");
    for (let waited = 0; waited < 5_000; waited += 100) {
      await pass(100);
      if (links.at(-1)!.options.resuming) links.at(-1)!.reject(UNREACHABLE);
    }
    openAtOnce = true;
    connector.networkChanged();
    await pass(3_000);
    expect(told.filter((word) => ["moved", "fresh", "link"].includes(word))).toEqual(["moved"]);
    expect(connector.state).toBe("connected");
  });

  it("asks no more for a conversation that the POP has given up", async () => {
    await connected();
    links[0]!.silence();
    ticketFails = new VisavisError("origin-unreachable", "offline");
    for (let waited = 0; waited < 30_000; waited += 100) {
      await pass(100);
      if (links.at(-1)!.options.resuming) links.at(-1)!.reject(UNREACHABLE);
    }
    const before = links.length;
    ticketFails = null;
    openAtOnce = true;
    await pass(12_000);
    expect(links.slice(before).map(({ options }) => options.resuming)).toEqual([false]);
    expect(count("fresh")).toBeGreaterThan(0);
  });

  it("says that it is switching when a lost link takes long to replace", async () => {
    await connected();
    links[0]!.events.onLost(LOST);
    await pass(1_500);
    expect(told).toEqual(["switching"]);
    links[1]!.resolve();
    await pass(0);
    expect(told).toEqual(["switching", "moved", "connected"]);
  });

  it("does not resume where the server sends it away, and says goodbye there", async () => {
    await connected();
    openAtOnce = true;
    connector.startOver(LOST);
    await pass(0);
    expect(links[0]!.closed).toBe("farewell");
    expect(tokens()).toEqual(["ticket", "ticket"]);
  });

  it("waits longer and longer for a POP that takes and drops", async () => {
    await connector.start(Infinity);
    for (let times = 0; times < 40; times += 1) {
      links.at(-1)!.events.onLost(LOST);
      await pass(500);
    }
    expect(links.length).toBeLessThan(10);
  });
});
