import { afterEach, describe, expect, it, vi } from "vitest";
import { onNetworkChange } from "./networkChanges";

class Connection extends EventTarget {
  type: string | undefined;

  constructor(type?: string) {
    super();
    this.type = type;
  }

  become(type?: string): void {
    this.type = type;
    this.dispatchEvent(new Event("change"));
  }
}

function watch(connection: Connection | undefined): { page: EventTarget; heard: () => number; stop: () => void } {
  const page = new EventTarget();
  let times = 0;
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("navigator", { connection });
  const stop = onNetworkChange(() => (times += 1));
  return { page, stop, heard: () => times };
}

afterEach(() => {
  vi.unstubAllGlobals();
});

describe("onNetworkChange", () => {
  it("hears of another network and of one that is back, until it is stopped", () => {
    const connection = new Connection("wifi");
    const { page, stop, heard } = watch(connection);
    connection.become("cellular");
    expect(heard()).toBe(1);
    page.dispatchEvent(new Event("online"));
    expect(heard()).toBe(2);
    stop();
    connection.become("wifi");
    page.dispatchEvent(new Event("online"));
    expect(heard()).toBe(2);
  });

  it("does not take a changed speed or the loss of the network for another one", () => {
    const connection = new Connection("wifi");
    const { heard } = watch(connection);
    connection.become("wifi");
    connection.become("none");
    expect(heard()).toBe(0);
  });

  it("makes do with a browser that does not say on which network it is", () => {
    const connection = new Connection();
    const { heard } = watch(connection);
    connection.become();
    expect(heard()).toBe(0);
    expect(watch(undefined).heard()).toBe(0);
  });
});
