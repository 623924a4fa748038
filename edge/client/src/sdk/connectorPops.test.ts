import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { UnitReport } from "../transports/messages";
import { Connector } from "./connector";
import { VisavisError } from "./errors";
import { FakeLink } from "./fakeLink";
import { ProofKey } from "./proofKey";
import type { Ticket, TicketPop } from "./ticket";

const LOST = new VisavisError("connection-lost", "gone");
const REFUSED = new VisavisError("pop-refused", "no");
const pop = (name: string, token: string): TicketPop => ({ name, url: `http://${name}`, token, webtransport: null });

let links: FakeLink[] = [];
let told: string[] = [];
let tickets = 0;
let popAnswers = true;
let renewed: (readonly string[])[] = [];
let renewFails: VisavisError | null = null;
let opens: (token: string) => boolean = () => true;
let connector: Connector;
const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
const tokens = (): string[] => links.map(({ options }) => options.pop.token);

beforeEach(async () => {
  const ticket: Ticket = {
    sessionId: "s",
    character: { id: "mira", name: "Mira", puppet: null },
    pops: [pop("first", "a")],
    iceServers: [],
    key: await ProofKey.generate(),
  };
  vi.useFakeTimers();
  links = [];
  told = [];
  tickets = 0;
  popAnswers = true;
  renewed = [];
  renewFails = null;
  opens = () => true;
  connector = new Connector(
    {
      requestTicket: () => {
        tickets += 1;
        return Promise.resolve(ticket);
      },
      renewTicket: (given, avoid) => {
        renewed.push(avoid);
        if (renewFails !== null) return Promise.reject(renewFails);
        const number = renewed.length;
        return Promise.resolve({ ...given, pops: [pop("second", `b${number}`), pop("third", `c${number}`)] });
      },
      answers: () => Promise.resolve(popAnswers),
      openLink: (options, events) => {
        const fake = new FakeLink(options, events);
        links.push(fake);
        if (opens(options.pop.token)) fake.resolve();
        return fake.opened;
      },
      wishes: () => ({ transport: "auto", microphone: null, direction: "sendrecv" }),
      pops: ({ pops }) => pops,
      random: () => 0.5,
    },
    {
      onTicket: () => told.push("ticket"),
      onFresh: (kept) => told.push(kept ? "another track" : "fresh"),
      onLink: (_, resumed) => told.push(resumed ? "moved" : "link"),
      onNoLink: () => undefined,
      onUnit: () => undefined,
      onControl: () => told.push("control"),
      onState: () => undefined,
    },
  );
  await connector.start(Infinity);
  links[0]!.speak();
  connector.noteResume({ token: "vvr_1", lifetime_s: 60 });
  await pass(6_000);
  told = [];
  opens = (token) => token.startsWith("b");
});

afterEach(() => {
  connector.close(null);
  vi.useRealTimers();
});

describe("Connector, among POPs", () => {
  it("leaves a POP that does not answer for another one, in the same conversation, before a second is over", async () => {
    popAnswers = false;
    links[0]!.silence();
    await pass(350);
    expect(links).toHaveLength(1);
    await pass(200);
    expect(told).toEqual(["ticket", "another track", "link"]);
    expect(tokens()).toEqual(["a", "vvr_1", "b1"]);
    expect(links[2]!.options.resuming).toBe(true);
    expect(renewed).toEqual([["first"]]);
    expect(tickets).toBe(1);
    expect(links[0]!.closed).toBe("silently");
    expect(connector.state).toBe("connected");
  });

  it("takes the next one where the first of them refuses", async () => {
    popAnswers = false;
    opens = (token) => token.startsWith("c");
    links[0]!.silence();
    await pass(600);
    links[2]!.reject(REFUSED);
    await pass(0);
    expect(tokens()).toEqual(["a", "vvr_1", "b1", "c1"]);
    expect(connector.link).toBe(links[3]!.link);
  });

  it("begins the new track with its first unit, and hears the old one no more", async () => {
    popAnswers = false;
    opens = () => false;
    links[0]!.silence();
    await pass(600);
    links[2]!.events.onUnit({} as UnitReport);
    links[0]!.events.onControl("late");
    expect(told).toEqual(["another track"]);
    links[2]!.resolve();
    await pass(0);
    expect(told).toEqual(["another track", "ticket", "link"]);
  });

  it("stays where a POP answers: its link is only slow", async () => {
    links[0]!.silence();
    await pass(600);
    links[0]!.speak();
    await pass(2_000);
    expect(renewed).toEqual([]);
    expect(links).toHaveLength(1);
  });

  it("goes on waiting for the POP while the origin is out of reach as well", async () => {
    popAnswers = false;
    renewFails = new VisavisError("origin-unreachable", "offline");
    links[0]!.silence();
    await pass(1_200);
    expect(tokens()).toEqual(["a", "vvr_1"]);
    links[1]!.resolve();
    await pass(0);
    expect(told).toEqual(["moved"]);
  });

  it("asks the origin when the POP refuses its own token", async () => {
    links[0]!.events.onLost(LOST);
    await pass(0);
    links[1]!.reject(REFUSED);
    await pass(0);
    expect(told).toEqual(["ticket", "another track", "link"]);
  });

  it("goes on elsewhere when the POP sends it away", async () => {
    connector.startOver(LOST);
    await pass(0);
    expect(told).toEqual(["ticket", "another track", "link"]);
    expect(tickets).toBe(1);
  });

  it("begins anew only where there is no such session any more", async () => {
    renewFails = new VisavisError("session-ended", "gone");
    opens = () => true;
    connector.startOver(LOST);
    await pass(0);
    expect(renewed).toHaveLength(1);
    expect(told).toEqual(["fresh", "ticket", "fresh", "link"]);
    expect(tickets).toBe(2);
  });
});
