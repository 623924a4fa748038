import type { Link } from "../transports/link";
import { decodeControl, encodeControl } from "../wire/control";
import { backoffMs } from "./backoff";
import { openLink } from "./chooseTransport";
import { Conversation } from "./conversation";
import { DebugTrace } from "./debug";
import { TypedEmitter } from "./emitter";
import { VisavisError } from "./errors";
import type { ConnectionState, FaceStateName, MicrophoneState, SessionEvents } from "./events";
import { Face } from "./face";
import { MediaPath } from "./mediaPath";
import { openMicrophone } from "./microphone";
import { TEXT_CHARS_MAX, type ConnectOptions } from "./options";
import { summarise, type SessionStats } from "./stats";
import { requestTicket, type Ticket } from "./ticket";

/** No packet for this long on a connected link: the POP is dead, whatever ICE still believes. */
const SILENCE_MS_MAX = 3_000;
const WATCHDOG_MS = 500;
/** A connection that lived shorter than this counts as a failed attempt: a POP that takes and drops is not hammered. */
const LIVED_MS_MIN = 5_000;

/**
 * A conversation with a character. Made by `connect()`; or make one and `start()` it to let even the first attempt be
 * repeated until it succeeds.
 *
 * It reconnects by itself when the connection is lost. The character then begins anew, but this object, its listeners
 * and the microphone stay.
 */
export class Session extends TypedEmitter<SessionEvents> {
  /** What was drawn, received and heard lately: for measurements, not for pages. */
  readonly debug = new DebugTrace();
  readonly #options: ConnectOptions;
  readonly #conversation = new Conversation((name, event) => {
    this.emit(name, event as never);
  });
  readonly #media: MediaPath;
  readonly #face: Face;
  readonly #ownsFace: boolean;
  readonly #abort = new AbortController();
  #ticket: Ticket | null = null;
  #link: Link | null = null;
  #connection: ConnectionState = "connecting";
  #microphone: MicrophoneState = "off";
  #microphoneStream: MediaStream | null = null;
  #ownsMicrophone = false;
  #attempt = 0;
  #attemptsMax = Infinity;
  #connectedMs = 0;
  #wake: (() => void) | null = null;
  #watchdog: ReturnType<typeof setInterval> | null = null;

  constructor(options: ConnectOptions) {
    super();
    this.#options = options;
    this.#ownsFace = !(options.renderer instanceof Face);
    this.#face = options.renderer instanceof Face ? options.renderer : new Face(options.renderer ?? null);
    this.#media = new MediaPath(this.#conversation, this.#face, this.debug, {
      onFrame: (sample) => {
        if (this.listening("frame")) this.emit("frame", sample);
      },
      onVoiceHeard: (ms) => void this.#measurePlayout(ms),
    });
  }

  get connection(): ConnectionState {
    return this.#connection;
  }

  get state(): FaceStateName {
    return this.#conversation.state;
  }

  get microphone(): MicrophoneState {
    return this.#microphone;
  }

  /** The microphone's sound, e.g. for a level meter; null without one. */
  get microphoneStream(): MediaStream | null {
    return this.#microphoneStream;
  }

  /** The character's voice as it arrives (before ducking); null while not connected. */
  get voiceStream(): MediaStream | null {
    return this.#link?.sound.stream ?? null;
  }

  /** The session's id at origin and POP; null before the first ticket. */
  get id(): string | null {
    return this.#ticket?.sessionId ?? null;
  }

  /**
   * Ask for the microphone if wanted and connect; repeats attempts until connected or closed.
   *
   * @throws VisavisError when the microphone cannot be had, or when trying again makes no sense.
   */
  async start(): Promise<void> {
    const wanted = this.#options.microphone ?? false;
    if (wanted === true) await this.#acquireMicrophone();
    else if (wanted instanceof MediaStream) this.#useMicrophone(wanted, false);
    this.#face.setDriver(this.#media);
    addEventListener("online", this.#hurry);
    document.addEventListener("visibilitychange", this.#hurry);
    await this.#connectLoop("connecting");
  }

  /** One attempt, no repetition. @throws VisavisError */
  async startOnce(): Promise<void> {
    this.#attemptsMax = 1;
    await this.start();
    this.#attemptsMax = Infinity;
  }

  /** Say a line by keyboard. @throws VisavisError "text-empty", "text-too-long" or "connection-lost". */
  sendText(text: string): void {
    const content = text.trim();
    if (content === "") throw new VisavisError("text-empty", "There is nothing to send yet: type something first.");
    if (content.length > TEXT_CHARS_MAX) {
      throw new VisavisError(
        "text-too-long",
        `That is ${content.length} characters long; at most ${TEXT_CHARS_MAX} can be sent at once.`,
      );
    }
    if (this.#link?.sendControl(encodeControl("send-text", { content })) !== true) {
      throw new VisavisError("connection-lost", "Not connected just now, so this was not sent. Try again in a moment.");
    }
    this.#conversation.typed(content);
  }

  /** Make the character stop talking. Its voice goes silent here at once, without waiting for anybody. */
  interrupt(): void {
    this.#link?.sendControl(encodeControl("client-message", { t: "interrupt" }));
    if (this.state === "speaking") this.#media.silence();
  }

  /**
   * Turn the microphone on or off. Off mutes it; the first on of a "later" session asks for it.
   *
   * @throws VisavisError when it cannot be had, or "microphone-failed" when the session only listens.
   */
  async setMicrophone(on: boolean): Promise<void> {
    if (on && this.#microphoneStream === null) {
      if (this.#link !== null && !this.#link.canSend) {
        throw new VisavisError(
          "microphone-failed",
          'This conversation was started to listen only. Connect with microphone: "later" to add one on the way.',
        );
      }
      await this.#acquireMicrophone();
      await this.#link?.setMicrophone(this.#microphoneTrack());
      return;
    }
    const track = this.#microphoneTrack();
    if (track === null) return;
    track.enabled = on;
    this.#setMicrophoneState(on ? "on" : "muted");
  }

  /** Call from a click after "sound-blocked". */
  async resumeSound(): Promise<void> {
    this.emit("sound-blocked", { blocked: !(await this.#media.speaker.play()) });
    void this.#media.clock.measureOutputLatency();
  }

  /** Figures on connection, motion and sound. */
  stats(): Promise<SessionStats> {
    return summarise(this.#link, {
      outputLatencyMs: this.#media.clock.outputLatencyMs,
      playoutDelayMs: this.#media.clock.playoutDelayMs,
      framesDrawn: this.#media.framesDrawn,
    });
  }

  /** End the conversation and free everything. Idempotent. */
  close(): void {
    this.#end(null);
  }

  // --- connecting ----------------------------------------------------------------------------------------------

  async #connectLoop(state: "connecting" | "reconnecting"): Promise<void> {
    let error: VisavisError | null = null;
    for (;;) {
      this.#throwIfClosed();
      this.#setConnection(state, error, null);
      try {
        await this.#connectOnce();
        this.#connectedMs = performance.now();
        this.#setConnection("connected", null, null);
        return;
      } catch (cause) {
        this.#throwIfClosed();
        error = asVisavisError(cause);
        if (!error.retryable || this.#attempt + 1 >= this.#attemptsMax) {
          this.#end(error);
          throw error;
        }
        this.#attempt += 1;
        const delayMs = backoffMs(this.#attempt, Math.random(), error.retryAfterMs);
        this.#setConnection(state, error, delayMs);
        await this.#sleep(delayMs);
      }
    }
  }

  #throwIfClosed(): void {
    if (this.#abort.signal.aborted) throw new VisavisError("closed", "The conversation was closed.");
  }

  async #connectOnce(): Promise<void> {
    const { signal } = this.#abort;
    const ticket = await requestTicket(this.#options.originUrl, this.#options.character, signal);
    this.#ticket = ticket;
    this.emit("character", ticket.character);
    const pops = this.#options.popUrl
      ? [{ ...ticket.pops[0]!, url: this.#options.popUrl, webtransport: null }]
      : ticket.pops;
    let lastError: unknown = null;
    for (const pop of pops) {
      try {
        this.#adopt(await this.#open(ticket, pop, signal));
        return;
      } catch (error) {
        signal.throwIfAborted();
        lastError = error;
      }
    }
    throw lastError;
  }

  #open(ticket: Ticket, pop: Ticket["pops"][number], signal: AbortSignal): Promise<Link> {
    const microphone = this.#microphoneTrack();
    const later = this.#options.microphone === "later";
    this.#media.reset();
    return openLink(
      {
        ticket,
        pop,
        transport: this.#options.transport ?? "auto",
        microphone,
        direction: microphone !== null || later ? "sendrecv" : "recvonly",
        resuming: false,
        signal,
      },
      {
        onUnit: (unit) => {
          this.#media.receive(unit);
        },
        onControl: (data) => {
          this.#receiveControl(data);
        },
        onUnsteady: () => undefined,
        onLost: (error) => {
          void this.#reconnect(error);
        },
      },
    );
  }

  #adopt(link: Link): void {
    this.#link = link;
    this.#media.setLink(link);
    link.sendControl(encodeControl("client-ready", { version: "1.0.0", about: { library: "visavis" } }, newId()));
    void this.#media.speaker.play().then((playing) => {
      if (!playing) this.emit("sound-blocked", { blocked: true });
      else void this.#media.clock.measureOutputLatency();
    });
    if (link.motion === "none") {
      this.emit("fault", {
        code: "motion-unavailable",
        message:
          "This browser cannot read the face's motion from the sound. You hear the voice; the face follows it only roughly.",
      });
    }
    this.#watchdog = setInterval(() => {
      if (link.motion !== "none" && performance.now() - this.#media.lastUnitMs > SILENCE_MS_MAX) {
        void this.#reconnect(
          new VisavisError(
            "connection-lost",
            "Nothing comes from the media server any more. It is connected again by itself.",
          ),
        );
      }
    }, WATCHDOG_MS);
  }

  async #reconnect(error: VisavisError): Promise<void> {
    if (this.#connection !== "connected") return;
    this.#dropLink();
    this.#media.reset();
    if (performance.now() - this.#connectedMs >= LIVED_MS_MIN) {
      this.#attempt = 0;
      this.#setConnection("reconnecting", error, null);
    } else {
      this.#attempt += 1;
      const delayMs = backoffMs(this.#attempt, Math.random());
      this.#setConnection("reconnecting", error, delayMs);
      await this.#sleep(delayMs);
    }
    await this.#connectLoop("reconnecting").catch(() => undefined);
  }

  /** The network is back, or the page was turned to: do not wait for the rest of the delay. */
  readonly #hurry = (): void => {
    this.#wake?.();
  };

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wake = null;
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#wake = done;
    });
  }

  /** Try again at once instead of waiting for the rest of the delay. */
  retryNow(): void {
    this.#hurry();
  }

  #dropLink(): void {
    if (this.#watchdog !== null) clearInterval(this.#watchdog);
    this.#watchdog = null;
    this.#link?.close(true);
    this.#link = null;
    this.#media.setLink(null);
  }

  /** The budget's last stage can only be seen here: from the first voice packet's arrival until it is heard. */
  async #measurePlayout(afterArrivalMs: number): Promise<void> {
    const { roundTripMs } = await this.stats();
    this.#conversation.measured("playout", afterArrivalMs + (roundTripMs ?? 0) / 2);
  }

  #end(error: VisavisError | null): void {
    if (this.#connection === "closed") return;
    this.#abort.abort();
    this.#dropLink();
    this.#wake?.();
    removeEventListener("online", this.#hurry);
    document.removeEventListener("visibilitychange", this.#hurry);
    this.#media.close();
    if (this.#ownsMicrophone) for (const track of this.#microphoneStream?.getTracks() ?? []) track.stop();
    this.#microphoneStream = null;
    this.#face.setDriver(null);
    if (this.#ownsFace) this.#face.close();
    this.#conversation.reset();
    this.#setMicrophoneState("off");
    this.#setConnection("closed", error, null);
    this.removeAllListeners();
  }

  #setConnection(state: ConnectionState, error: VisavisError | null, retryInMs: number | null): void {
    this.#connection = state;
    this.emit("connection", { state, error, retryInMs, attempt: this.#attempt });
  }

  #receiveControl(data: string): void {
    try {
      const message = decodeControl(data);
      if (message.type === "server-message" && message.data["t"] === "goaway") {
        void this.#reconnect(
          new VisavisError("connection-lost", "The server ended this connection. It is made again by itself."),
        );
        return;
      }
      this.#conversation.receive(message, this.#media.clock.unwrapper);
    } catch (error) {
      console.warn("visavis: a control message could not be understood", error);
    }
  }

  // --- microphone ----------------------------------------------------------------------------------------------

  async #acquireMicrophone(): Promise<void> {
    this.#useMicrophone(await openMicrophone(), true);
  }

  #useMicrophone(stream: MediaStream, owned: boolean): void {
    this.#microphoneStream = stream;
    this.#ownsMicrophone = owned;
    const track = this.#microphoneTrack();
    if (track === null) throw new VisavisError("microphone-missing", "The given stream has no audio track.");
    track.addEventListener("ended", () => {
      this.#microphoneStream = null;
      this.#setMicrophoneState("lost");
      void this.#link?.setMicrophone(null);
    });
    this.#setMicrophoneState(track.enabled ? "on" : "muted");
  }

  #microphoneTrack(): MediaStreamTrack | null {
    return this.#microphoneStream?.getAudioTracks()[0] ?? null;
  }

  #setMicrophoneState(state: MicrophoneState): void {
    if (state === this.#microphone) return;
    this.#microphone = state;
    this.emit("microphone", { state });
  }
}

function asVisavisError(cause: unknown): VisavisError {
  if (cause instanceof VisavisError) return cause;
  return new VisavisError("connection-lost", "The connection could not be made. It is tried again by itself.", {
    cause,
  });
}

function newId(): string {
  return Math.random().toString(36).slice(2, 10);
}
