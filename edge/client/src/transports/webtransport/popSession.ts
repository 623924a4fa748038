import type { Bytes } from "../../wire/opusPadding";
import { checkWelcome, ControlKind, ControlReader, encodeHello, encodeMessage } from "./controlStream";
import { UNIT_DATAGRAM_SIZE_BYTES_MAX } from "./datagrams";
import { SendQueue } from "./sendQueue";

/** Datagrams that wait for us, and for the network: newest wins, so that nothing is ever late. */
const INCOMING_DATAGRAMS_MAX = 32;
const DATAGRAM_AGE_MS_MAX = 150;
const OUTGOING_DATAGRAMS_MAX = 8;
/** Close codes: 0 is orderly. */
const CLOSE_CODE_FAULT = 1;

/** What a session tells; nothing after `onClosed`. */
export interface PopSessionEvents {
  /** QUIC and HTTP/3 are up; nothing was said yet. */
  onReady(): void;
  /** The hello was admitted. */
  onAdmitted(): void;
  /** A datagram of any kind, or the content of a keyframe stream. */
  onDatagram(datagram: Uint8Array): void;
  onControl(data: string): void;
  /** @param reason the POP's error code; "" when the path is gone, or when we closed it. */
  onClosed(reason: string): void;
}

/** Not every TypeScript and not every browser knows it. */
interface Statistics {
  getStats?: () => Promise<{ readonly smoothedRtt?: number }>;
}

/** One WebTransport session with a POP: hello, control messages, datagrams both ways, keyframe streams. IO. */
export class PopSession {
  /** null while the browser does not say. */
  roundTripMs: number | null = null;
  readonly #transport: WebTransport;
  readonly #events: PopSessionEvents;
  readonly #waiting = new SendQueue<Bytes>(OUTGOING_DATAGRAMS_MAX, DATAGRAM_AGE_MS_MAX);
  readonly #reader = new ControlReader();
  #control: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #datagrams: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #writing = false;
  #admitted = false;
  #closed = false;

  /** @param certificateHashes SHA-256 of certificates to accept; empty: one of a certificate authority. */
  constructor(url: string, certificateHashes: readonly Uint8Array<ArrayBuffer>[], events: PopSessionEvents) {
    this.#events = events;
    const options: WebTransportOptions = {
      allowPooling: false,
      requireUnreliable: true,
      congestionControl: "low-latency",
      ...(certificateHashes.length > 0
        ? { serverCertificateHashes: certificateHashes.map((value) => ({ algorithm: "sha-256", value })) }
        : {}),
    };
    this.#transport = new WebTransport(url, options);
    this.#transport.closed.then(
      ({ reason }) => {
        this.#over(reason ?? "");
      },
      () => {
        this.#over("");
      },
    );
    this.#transport.ready.then(
      () => {
        this.#bound();
        this.#events.onReady();
      },
      () => {
        this.#over("");
      },
    );
  }

  /** The first message: it spends the token. */
  hello(token: string, proof: string): void {
    void this.#converse(encodeHello(token, proof)).catch(() => {
      this.#fail("connection-lost");
    });
  }

  sendText(data: string): void {
    if (!this.#admitted || this.#closed) return;
    this.#sendControl(ControlKind.TEXT, new TextEncoder().encode(data));
  }

  /** Send a datagram now, or soon, or never. */
  sendDatagram(datagram: Bytes, nowMs: number): void {
    if (!this.#admitted || this.#closed) return;
    this.#waiting.push(datagram, nowMs);
    if (!this.#writing) void this.#flush();
  }

  /** What was written before arrives. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Closing the session drops what its streams still hold: give the last word (a goodbye) its time.
    await Promise.race([this.#control?.close().catch(() => undefined), wait(200)]);
    this.#transport.close();
    await Promise.race([this.#transport.closed.catch(() => undefined), wait(200)]);
  }

  #bound(): void {
    const datagrams = this.#transport.datagrams;
    datagrams.incomingHighWaterMark = INCOMING_DATAGRAMS_MAX;
    datagrams.incomingMaxAge = DATAGRAM_AGE_MS_MAX;
    datagrams.outgoingHighWaterMark = 1;
    datagrams.outgoingMaxAge = DATAGRAM_AGE_MS_MAX;
  }

  async #converse(hello: Uint8Array): Promise<void> {
    const stream = await this.#transport.createBidirectionalStream();
    this.#control = (stream.writable as WritableStream<Uint8Array>).getWriter();
    await this.#control.write(hello);
    const reader = (stream.readable as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      for (const { kind, content } of this.#reader.receive(value)) this.#receiveControl(kind, content);
    }
  }

  #receiveControl(kind: number, content: Uint8Array): void {
    if (kind === ControlKind.TEXT && this.#admitted) this.#events.onControl(new TextDecoder().decode(content));
    if (kind !== ControlKind.HELLO || this.#admitted) return;
    checkWelcome(content);
    this.#admitted = true;
    this.#datagrams = (this.#transport.datagrams.writable as WritableStream<Uint8Array>).getWriter();
    this.#events.onAdmitted();
    void this.#readDatagrams().catch(() => undefined);
    void this.#readKeyframes().catch(() => undefined);
    void this.#measure();
  }

  #sendControl(kind: number, content: Uint8Array): void {
    this.#control?.write(encodeMessage(kind, content)).catch(() => undefined);
  }

  async #readDatagrams(): Promise<void> {
    const reader = (this.#transport.datagrams.readable as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.#closed) return;
      this.#events.onDatagram(value);
    }
  }

  async #readKeyframes(): Promise<void> {
    const streams = (
      this.#transport.incomingUnidirectionalStreams as ReadableStream<ReadableStream<Uint8Array>>
    ).getReader();
    for (;;) {
      const { value, done } = await streams.read();
      if (done || this.#closed) return;
      void this.#readKeyframe(value).catch(() => undefined);
    }
  }

  async #readKeyframe(stream: ReadableStream<Uint8Array>): Promise<void> {
    const reader = stream.getReader();
    const content = new Uint8Array(UNIT_DATAGRAM_SIZE_BYTES_MAX);
    let size = 0;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      if (size + value.length > content.length) {
        await reader.cancel();
        return;
      }
      content.set(value, size);
      size += value.length;
    }
    if (!this.#closed) this.#events.onDatagram(content.subarray(0, size));
  }

  /** One datagram at a time: while the network takes none, the queue in front of it forgets the old ones. */
  async #flush(): Promise<void> {
    const writer = this.#datagrams;
    if (writer === null) return;
    this.#writing = true;
    try {
      for (;;) {
        const datagram = this.#waiting.pop(performance.timeOrigin + performance.now());
        if (datagram === null) break;
        await writer.ready;
        await writer.write(datagram);
      }
    } catch {
      // The session is closing: `closed` says why.
    }
    this.#writing = false;
  }

  async #measure(): Promise<void> {
    const { getStats } = this.#transport as Statistics;
    while (!this.#closed && getStats !== undefined) {
      const { smoothedRtt = 0 } = await getStats.call(this.#transport).catch(() => ({ smoothedRtt: 0 }));
      if (smoothedRtt > 0) this.roundTripMs = smoothedRtt;
      await wait(1_000);
    }
  }

  #fail(reason: string): void {
    try {
      this.#transport.close({ closeCode: CLOSE_CODE_FAULT, reason });
    } catch {
      // It was not up yet, or is closed already.
    }
    this.#over(this.#admitted ? "" : reason);
  }

  #over(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#events.onClosed(reason);
  }
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
