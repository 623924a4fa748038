import { VisavisError } from "../sdk/errors";
import { JitterTarget } from "../stream/jitterTarget";
import type { TicketPop } from "../sdk/ticket";
import type { Link, LinkEvents, LinkOptions, LinkStats, MotionPath, PlayoutReport, SoundSource } from "./link";
import { emptyCounters, type PageNote, type PipeCounters, type PipeSide, type WorkerReport } from "./messages";
import { encodeControl } from "../wire/control";
import { newWorker } from "./newWorker";
import { tuneOpus } from "./sdp";
import { readReport, type JitterBufferTotals } from "./rtcStats";
import workerUrl from "./encodedWorker?worker&url";
import { deleteConnection, postOffer, Trickle } from "./whip";

const CONNECT_TIMEOUT_MS = 10_000;
/** ICE may say "disconnected" for a moment on a moving phone; after this it is over. */
const DISCONNECTED_MS_MAX = 2_500;

interface LegacyStreams {
  createEncodedStreams?: () => {
    readable: ReadableStream<RTCEncodedAudioFrame>;
    writable: WritableStream<RTCEncodedAudioFrame>;
  };
}

/** Which way this browser offers. @throws VisavisError "browser-unsupported" without WebRTC. */
export function motionPath(): MotionPath {
  if (typeof RTCPeerConnection === "undefined") {
    throw new VisavisError(
      "browser-unsupported",
      "This browser has no WebRTC, so there is no way to talk. Use a current Chrome, Edge, Firefox or Safari.",
    );
  }
  if (typeof Worker === "undefined") return "none";
  if (typeof RTCRtpScriptTransform !== "undefined") return "script-transform";
  return "createEncodedStreams" in RTCRtpReceiver.prototype ? "encoded-streams" : "data-channel";
}

/** One WebRTC connection to one POP: sound down (and up), control both ways, motion inside the sound. */
export class WebRtcLink implements Link {
  readonly protocol = "webrtc";
  readonly motion: MotionPath;
  readonly sound: SoundSource = { stream: new MediaStream(), node: null };
  counters: PipeCounters = emptyCounters();
  readonly #peer: RTCPeerConnection;
  readonly #transceiver: RTCRtpTransceiver;
  readonly #channel: RTCDataChannel;
  /** Copies of the packets, where the browser does not show us the packets. */
  readonly #units: RTCDataChannel | null;
  readonly #worker: Worker | null;
  readonly #events: LinkEvents;
  readonly #trickle = new Trickle();
  readonly #jitterTarget = new JitterTarget();
  readonly #token: string;
  readonly #resuming: boolean;
  #totals: JitterBufferTotals = { delayS: 0, emitted: 0 };
  #location: string | null = null;
  #disconnectedTimer: ReturnType<typeof setTimeout> | null = null;
  #closed = false;
  #established = false;

  /** Open a connection. Resolves when sound and control can flow. @throws VisavisError */
  static async open(options: LinkOptions, events: LinkEvents): Promise<WebRtcLink> {
    const link = new WebRtcLink(options, events);
    try {
      await link.#connect(options);
      return link;
    } catch (error) {
      link.close(!options.resuming);
      throw error;
    }
  }

  private constructor(options: LinkOptions, events: LinkEvents) {
    this.motion = motionPath();
    this.#events = events;
    this.#token = options.pop.token;
    this.#resuming = options.resuming;
    this.#peer = new RTCPeerConnection({
      iceServers: [...options.ticket.iceServers],
      bundlePolicy: "max-bundle",
      // Only Chromium without RTCRtpScriptTransform knows this member; others ignore it.
      ...(this.motion === "encoded-streams" ? { encodedInsertableStreams: true } : {}),
    });
    this.#channel = this.#peer.createDataChannel("control", { ordered: true });
    this.#channel.binaryType = "arraybuffer";
    this.#units = this.motion === "data-channel" ? this.#openUnits() : null;
    this.#transceiver = this.#peer.addTransceiver(options.microphone ?? "audio", { direction: options.direction });
    this.sound.stream.addTrack(this.#transceiver.receiver.track);
    options.onSound?.(this.sound);
    this.#worker = this.motion === "none" ? null : this.#startWorker(options.direction === "sendrecv");
    if (options.preview === true) this.#note({ type: "previews" });
    this.#listen();
  }

  playout(): PlayoutReport | null {
    const source = this.#transceiver.receiver.getSynchronizationSources()[0];
    if (!source) return null;
    // The specification counts from 1970, some versions of browsers from the page's time origin.
    const atMs = source.timestamp > 1e11 ? source.timestamp - performance.timeOrigin : source.timestamp;
    return { rtpTimestamp: source.rtpTimestamp, atMs, audible: false, audioLevel: source.audioLevel ?? 0 };
  }

  notePlayout(rtpTimestamp: number, atMs: number, playoutDelayMs: number | null): void {
    this.#note({ type: "playout", rtpTimestamp, absoluteMs: performance.timeOrigin + atMs, playoutDelayMs });
  }

  sendControl(data: string): boolean {
    if (this.#channel.readyState !== "open") return false;
    this.#channel.send(data);
    return true;
  }

  async setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    await this.#transceiver.sender.replaceTrack(track);
  }

  get canSend(): boolean {
    return this.#transceiver.direction === "sendrecv";
  }

  async linkStats(): Promise<LinkStats> {
    const report = await this.#peer.getStats();
    const { stats, totals } = readReport(report as Iterable<readonly [string, unknown]>, this.#totals);
    this.#totals = totals;
    return stats;
  }

  close(farewell: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#trickle.close();
    if (this.#disconnectedTimer !== null) clearTimeout(this.#disconnectedTimer);
    if (farewell && this.#location !== null) deleteConnection(this.#location, this.#token);
    else if (farewell) this.sendControl(encodeControl("disconnect-bot"));
    this.#note({ type: "close" });
    this.#worker?.terminate();
    this.#peer.close();
  }

  #startWorker(sends: boolean): Worker {
    const worker = newWorker(workerUrl);
    worker.onmessage = ({ data }: MessageEvent<WorkerReport>) => {
      if (this.#closed) return;
      if (data.type === "unit") this.#events.onUnit(data);
      else if (data.type === "counters") this.#count(data.counters);
      else this.#sendFeedback(data.bytes);
    };
    if (this.#units !== null) return worker;
    this.#attach(worker, this.#transceiver.receiver, "receive");
    if (sends) this.#attach(worker, this.#transceiver.sender, "send");
    return worker;
  }

  /** SPEC.md section 11: that it is opened is what asks the POP for copies. */
  #openUnits(): RTCDataChannel {
    const channel = this.#peer.createDataChannel("units", { ordered: false, maxRetransmits: 0 });
    channel.binaryType = "arraybuffer";
    channel.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (this.#closed || typeof data === "string") return;
      const note = { type: "datagram", bytes: data, absoluteMs: performance.timeOrigin + performance.now() } as const;
      this.#worker?.postMessage(note satisfies PageNote, [data]);
    };
    return channel;
  }

  #sendFeedback(bytes: Uint8Array<ArrayBuffer>): void {
    const channel = this.#units ?? this.#channel;
    if (channel.readyState === "open") channel.send(bytes);
  }

  #count(counters: PipeCounters): void {
    this.counters = counters;
    const receiver: { jitterBufferTarget?: number | null } = this.#transceiver.receiver;
    if (receiver.jitterBufferTarget === undefined) return;
    const targetMs = this.#jitterTarget.update(counters, performance.now());
    if (receiver.jitterBufferTarget !== targetMs) receiver.jitterBufferTarget = targetMs;
  }

  #attach(worker: Worker, end: RTCRtpReceiver | RTCRtpSender, side: PipeSide): void {
    if (this.motion === "script-transform") {
      end.transform = new RTCRtpScriptTransform(worker, { side });
      return;
    }
    const streams = (end as LegacyStreams).createEncodedStreams?.();
    if (!streams) return;
    worker.postMessage({ type: "streams", side, ...streams }, [streams.readable, streams.writable]);
  }

  #note(note: PageNote): void {
    this.#worker?.postMessage(note);
  }

  #listen(): void {
    const peer = this.#peer;
    peer.onicecandidate = ({ candidate }) => {
      this.#trickle.add(candidate);
    };
    peer.onconnectionstatechange = () => {
      if (this.#disconnectedTimer !== null) clearTimeout(this.#disconnectedTimer);
      this.#disconnectedTimer = null;
      if (peer.connectionState === "failed") this.#lost();
      if (peer.connectionState === "disconnected") {
        if (!this.#closed) this.#events.onUnsteady();
        this.#disconnectedTimer = setTimeout(() => {
          this.#lost();
        }, DISCONNECTED_MS_MAX);
      }
    };
    this.#channel.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (!this.#closed && typeof data === "string") this.#events.onControl(data);
    };
    this.#channel.onclose = () => {
      this.#lost();
    };
  }

  async #connect({ ticket, pop, signal }: LinkOptions): Promise<void> {
    signal.addEventListener("abort", () => {
      this.close(!this.#resuming);
    });
    await this.#peer.setLocalDescription();
    const offer = tuneOpus(this.#peer.localDescription?.sdp ?? "");
    const { answer, location } = await postOffer(pop, ticket.sessionId, offer, signal, ticket.key);
    this.#location = location;
    if (signal.aborted) {
      if (location !== null && !this.#resuming) deleteConnection(location, pop.token);
      signal.throwIfAborted();
    }
    try {
      await this.#peer.setRemoteDescription({ type: "answer", sdp: tuneOpus(answer) });
    } catch (cause) {
      throw new VisavisError("pop-refused", "The media server's answer cannot be understood by this browser.", {
        cause,
      });
    }
    if (location !== null) this.#trickle.open(location, pop.token, offer, ticket.key);
    await this.#ready(pop, signal);
    this.#established = true;
  }

  /** Wait until media is up and the control channel is open. */
  #ready(pop: TicketPop, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        settle(
          new VisavisError(
            "connection-timeout",
            `No sound comes through to the media server (${pop.name}). A firewall may block UDP; try another network.`,
          ),
        );
      }, CONNECT_TIMEOUT_MS);
      const settle = (error: Error | null): void => {
        clearTimeout(timer);
        this.#peer.removeEventListener("connectionstatechange", look);
        this.#channel.removeEventListener("open", look);
        if (error === null) resolve();
        else reject(error);
      };
      const look = (): void => {
        if (this.#peer.connectionState === "connected" && this.#channel.readyState === "open") settle(null);
        if (this.#peer.connectionState === "failed") {
          settle(new VisavisError("connection-lost", "The connection to the media server could not be made."));
        }
      };
      this.#peer.addEventListener("connectionstatechange", look);
      this.#channel.addEventListener("open", look);
      signal.addEventListener("abort", () => {
        settle(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
      });
      look();
    });
  }

  #lost(): void {
    if (this.#closed || !this.#established) return;
    this.#established = false;
    this.#events.onLost(new VisavisError("connection-lost", "The connection was lost. It is made again by itself."));
  }
}
