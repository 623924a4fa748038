import { NO_LINK_STATS, type Link, type LinkEvents, type LinkOptions } from "../transports/link";
import { emptyCounters, type UnitReport } from "../transports/messages";

/** For tests: a link whose network is the test. */
export class FakeLink {
  readonly link: Link;
  readonly opened: Promise<Link>;
  closed: "no" | "farewell" | "silently" = "no";
  resolve!: () => void;
  reject!: (error: Error) => void;
  #units: ReturnType<typeof setInterval> | null = null;

  constructor(
    readonly options: LinkOptions,
    readonly events: LinkEvents,
  ) {
    this.link = {
      protocol: "webrtc",
      motion: "script-transform",
      counters: emptyCounters(),
      sound: null as never,
      canSend: true,
      playout: () => null,
      notePlayout: () => undefined,
      sendControl: () => this.closed === "no",
      setMicrophone: () => Promise.resolve(),
      linkStats: () => Promise.resolve(NO_LINK_STATS),
      close: (farewell) => {
        if (this.closed === "no") this.closed = farewell ? "farewell" : "silently";
        this.silence();
      },
    };
    this.opened = new Promise((resolve, reject) => {
      this.resolve = () => {
        resolve(this.link);
      };
      this.reject = reject;
    });
    options.signal.addEventListener("abort", () => {
      this.link.close(!options.resuming);
      this.reject(options.signal.reason as Error);
    });
  }

  /** Bring a unit now, and every 80 ms from now on. */
  speak(): void {
    this.events.onUnit({} as UnitReport);
    this.#units ??= setInterval(() => {
      this.events.onUnit({} as UnitReport);
    }, 80);
  }

  silence(): void {
    if (this.#units !== null) clearInterval(this.#units);
    this.#units = null;
  }
}
