import { MediaMarks } from "../../sound/mediaMarks";
import { DECODER_CONFIG, ENCODER_CONFIG } from "../../sound/opusCodec";
import { SoundOutput } from "../../sound/soundOutput";
import { VisavisError } from "../../sdk/errors";
import { joinUrl } from "../../sdk/ticket";
import { wrapTimestamp } from "../../stream/timestamps";
import { encodeControl } from "../../wire/control";
import type { Link, LinkEvents, LinkOptions, LinkStats, PlayoutReport, SoundSource } from "../link";
import { emptyCounters, type PipeCounters } from "../messages";
import { newWorker } from "../newWorker";
import { refusal } from "./closeReasons";
import { Degradation } from "./degradation";
import type { SessionReport, SoundFigures, WorkerNote } from "./messages";
import workerUrl from "./sessionWorker?worker&url";

/** Two round trips and a lost packet on a slow phone; where UDP is blocked nothing comes at all. */
const READY_TIMEOUT_MS = 1_200;
/** Where there is no other way, it is worth waiting. */
const READY_TIMEOUT_ALONE_MS = 8_000;
const HELLO_TIMEOUT_MS = 4_000;

/** This way does not work here. Nothing was said to the POP: the token is still good for another one. */
export class PathUnavailable extends Error {
  override readonly name = "PathUnavailable";

  /** For where there is no other way. */
  asVisavisError(): VisavisError {
    return new VisavisError(
      "connection-lost",
      "The connection to the media server could not be made. A firewall may block UDP; it is tried again by itself.",
      { cause: this },
    );
  }
}

/** Whether this browser has all that is needed. @param sends sound will go up, too. */
export async function webTransportSupported(sends: boolean): Promise<boolean> {
  if (typeof WebTransport === "undefined" || typeof Worker === "undefined") return false;
  if (typeof AudioWorkletNode === "undefined" || typeof AudioDecoder === "undefined") return false;
  if (sends && typeof AudioEncoder === "undefined") return false;
  try {
    const checks = [AudioDecoder.isConfigSupported(DECODER_CONFIG).then(({ supported }) => supported)];
    if (sends) checks.push(AudioEncoder.isConfigSupported(ENCODER_CONFIG).then(({ supported }) => supported));
    return (await Promise.all(checks)).every((supported) => supported === true);
  } catch {
    return false;
  }
}

/** One WebTransport session with one POP: datagrams both ways, our own playout, control on a stream. */
export class WebTransportLink implements Link {
  readonly protocol = "webtransport";
  readonly motion = "datagrams";
  readonly canSend: boolean;
  readonly #worker: Worker;
  #output: SoundOutput | null = null;
  readonly #events: LinkEvents;
  readonly #marks = new MediaMarks();
  readonly #degradation = new Degradation();
  #counters: PipeCounters = emptyCounters();
  #figures: SoundFigures | null = null;
  #established = false;
  #closed = false;
  /** Waits for the next step of connecting. */
  #step: { readonly type: "ready" | "admitted"; readonly done: (error: Error | null) => void } | null = null;

  /**
   * Open a session. Resolves when sound and control can flow.
   *
   * @throws PathUnavailable before the token was used; VisavisError after it.
   */
  static async open(options: LinkOptions, events: LinkEvents): Promise<WebTransportLink> {
    const link = new WebTransportLink(options, events);
    try {
      await link.#connect(options);
      return link;
    } catch (error) {
      link.close(!options.resuming);
      throw error;
    }
  }

  private constructor(options: LinkOptions, events: LinkEvents) {
    this.#events = events;
    this.canSend = options.direction === "sendrecv";
    this.#worker = newWorker(workerUrl);
    this.#worker.onmessage = ({ data }: MessageEvent<SessionReport>) => {
      if (!this.#closed) this.#receive(data);
    };
    this.#worker.onerror = () => {
      this.#over("internal-error");
    };
  }

  get counters(): PipeCounters {
    return this.#counters;
  }

  get sound(): SoundSource {
    return this.#output!; // nobody has the link before it is open
  }

  playout(): PlayoutReport | null {
    const heard = this.#output?.heard() ?? null;
    const ticks = heard === null ? null : this.#marks.ticksAt(heard.frame);
    if (heard === null || ticks === null) return null;
    return { rtpTimestamp: wrapTimestamp(ticks), atMs: heard.atMs, audioLevel: 0, audible: true };
  }

  notePlayout(rtpTimestamp: number, atMs: number): void {
    const absoluteMs = performance.timeOrigin + atMs;
    this.#note({ type: "playout", rtpTimestamp, absoluteMs, playoutDelayMs: null });
  }

  sendControl(data: string): boolean {
    if (this.#closed || !this.#established) return false;
    this.#note({ type: "control", data });
    return true;
  }

  setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    if (!this.#closed) this.#output?.setMicrophone(track);
    return Promise.resolve();
  }

  linkStats(): Promise<LinkStats> {
    const { units, lost } = this.#counters;
    const { played = 0, concealed = 0, delayMs = null, roundTripMs = null } = this.#figures ?? {};
    return Promise.resolve({
      roundTripMs,
      jitterBufferMs: delayMs,
      packetsReceived: units,
      packetsLost: lost,
      concealed: played + concealed > 0 ? concealed / (played + concealed) : 0,
    });
  }

  close(farewell: boolean): void {
    if (this.#closed) return;
    if (farewell) this.sendControl(encodeControl("disconnect-bot"));
    this.#closed = true;
    this.#output?.close();
    // The worker ends itself when the goodbye is out.
    this.#note({ type: "close" });
  }

  async #connect({ ticket, pop, transport, microphone, signal }: LinkOptions): Promise<void> {
    signal.addEventListener("abort", () => {
      this.#settle(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    });
    const { url, certificateHashes } = pop.webtransport!;
    const timeoutMs = transport === "webtransport" ? READY_TIMEOUT_ALONE_MS : READY_TIMEOUT_MS;
    const ready = this.#wait("ready", timeoutMs, new PathUnavailable("no answer over UDP"));
    const sessionUrl = joinUrl(url, `/v1/sessions/${encodeURIComponent(ticket.sessionId)}/webtransport`);
    this.#note({
      type: "open",
      url: sessionUrl,
      certificateHashes: certificateHashes.map(fromBase64),
    });
    await Promise.all([ready, this.#openOutput(timeoutMs)]);
    this.#wire(this.#output!);
    const proof = (await ticket.key?.prove("CONNECT", sessionUrl, pop.token)) ?? "";
    const silent = `The media server (${pop.name}) does not answer. A firewall may block UDP; it is tried again by itself.`;
    const admitted = this.#wait("admitted", HELLO_TIMEOUT_MS, new VisavisError("connection-timeout", silent));
    this.#note({ type: "hello", token: pop.token, proof });
    await admitted;
    this.#established = true;
    this.#output?.setMicrophone(microphone);
  }

  /** @throws PathUnavailable */
  async #openOutput(timeoutMs: number): Promise<void> {
    const opening = SoundOutput.open();
    let late = false;
    try {
      this.#output = await Promise.race([opening, timeout(timeoutMs)]);
    } catch (cause) {
      late = true;
      throw new PathUnavailable("the browser gives no sound card", { cause });
    } finally {
      opening.then(
        (output) => {
          if (late || this.#closed) output.close();
        },
        () => undefined,
      );
    }
  }

  /** Sound goes between the worker and the audio thread without the page's thread, which draws. */
  #wire(output: SoundOutput): void {
    const player = new MessageChannel();
    this.#worker.postMessage({ type: "player", port: player.port1 } satisfies WorkerNote, [player.port1]);
    output.connectPlayer(player.port2);
    if (!this.canSend) return;
    const capture = new MessageChannel();
    this.#worker.postMessage({ type: "capture", port: capture.port1 } satisfies WorkerNote, [capture.port1]);
    output.connectCapture(capture.port2);
  }

  #receive(report: SessionReport): void {
    switch (report.type) {
      case "unit":
        this.#events.onUnit(report);
        break;
      case "mark":
        this.#marks.add(report);
        break;
      case "control":
        this.#events.onControl(report.data);
        break;
      case "counters":
        this.#counters = report.counters;
        this.#figures = report.sound;
        if (this.#degradation.observe(report.counters, report.sound)) this.#events.onDegraded();
        break;
      case "closed":
        this.#over(report.reason);
        break;
      default:
        if (this.#step?.type === report.type) this.#settle(null);
    }
  }

  #wait(type: "ready" | "admitted", timeoutMs: number, late: Error): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(late);
      }, timeoutMs);
      const done = (error: Error | null): void => {
        clearTimeout(timer);
        if (error === null) resolve();
        else reject(error);
      };
      this.#step = { type, done };
    });
  }

  #settle(error: Error | null): void {
    const step = this.#step;
    this.#step = null;
    step?.done(error);
  }

  #over(reason: string): void {
    if (this.#step?.type === "ready") this.#settle(new PathUnavailable(`no session: ${reason}`));
    else this.#settle(refusal(reason));
    if (!this.#established || this.#closed) return;
    this.#established = false;
    this.#events.onLost(new VisavisError("connection-lost", "The connection was lost. It is made again by itself."));
  }

  #note(note: WorkerNote): void {
    this.#worker.postMessage(note);
  }
}

function timeout(ms: number): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => {
      reject(new Error("timeout"));
    }, ms);
  });
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
