import type { Link, LinkProtocol } from "../transports/link";
import { decodeControl, encodeControl } from "../wire/control";
import { forgetTrouble, openLink } from "./chooseTransport";
import { Connector } from "./connector";
import { Conversation } from "./conversation";
import { DebugTrace } from "./debug";
import { TypedEmitter } from "./emitter";
import { VisavisError } from "./errors";
import type { ConnectionState, FaceStateName, MicrophoneState, SessionEvents } from "./events";
import { Face } from "./face";
import { MediaPath } from "./mediaPath";
import { openMicrophone } from "./microphone";
import { onNetworkChange } from "./networkChanges";
import { nearestFirst, probe } from "./probe";
import { ProofKey } from "./proofKey";
import { TEXT_CHARS_MAX, type ConnectOptions } from "./options";
import { summarise, type SessionStats } from "./stats";
import { renewTicket, requestTicket, type Ticket } from "./ticket";

/**
 * A conversation with a character. Made by `connect()`; or make one and `start()` it to let even the first attempt be
 * repeated until it succeeds.
 *
 * It moves along by itself when the network changes, and reconnects when the connection is lost. Where the conversation
 * cannot be resumed the character begins anew, but this object, its listeners and the microphone stay.
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
  readonly #connector: Connector;
  #ticket: Ticket | null = null;
  #microphone: MicrophoneState = "off";
  #microphoneStream: MediaStream | null = null;
  #ownsMicrophone = false;
  #stopWatching: (() => void) | null = null;
  /** This page's key, one for all its sessions' tickets. */
  #key: Promise<ProofKey | null> | null = null;
  #requestId: string | null = null;
  /** The conversation is another one than when it was last told to be connected. */
  #fresh = true;

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
    this.#connector = this.#makeConnector();
  }

  get connection(): ConnectionState {
    return this.#connector.state;
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
    return this.#connector.link?.sound.stream ?? null;
  }

  /** How the POP is reached; null while not connected. */
  get protocol(): LinkProtocol | null {
    return this.#connector.link?.protocol ?? null;
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
  start(): Promise<void> {
    return this.#start(Infinity);
  }

  /** One attempt, no repetition. @throws VisavisError */
  startOnce(): Promise<void> {
    return this.#start(1);
  }

  async #start(attemptsMax: number): Promise<void> {
    const wanted = this.#options.microphone ?? false;
    if (wanted === true) await this.#acquireMicrophone();
    else if (wanted instanceof MediaStream) this.#useMicrophone(wanted, false);
    this.#face.setDriver(this.#media);
    this.#stopWatching = this.#watch();
    await this.#connector.start(attemptsMax);
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
    if (!this.#connector.sendControl(encodeControl("send-text", { content }))) {
      throw new VisavisError("connection-lost", "Not connected just now, so this was not sent. Try again in a moment.");
    }
    this.#conversation.typed(content);
  }

  /** Make the character stop talking. Its voice goes silent here at once, without waiting for anybody. */
  interrupt(): void {
    this.#connector.sendControl(encodeControl("client-message", { t: "interrupt" }));
    if (this.state === "speaking") this.#media.silence();
  }

  /**
   * Turn the microphone on or off. Off mutes it; the first on of a "later" session asks for it.
   *
   * @throws VisavisError when it cannot be had, or "microphone-failed" when the session only listens.
   */
  async setMicrophone(on: boolean): Promise<void> {
    if (on && this.#microphoneStream === null) {
      if (this.#connector.link?.canSend === false) {
        throw new VisavisError(
          "microphone-failed",
          'This conversation was started to listen only. Connect with microphone: "later" to add one on the way.',
        );
      }
      await this.#acquireMicrophone();
      await this.#connector.link?.setMicrophone(this.#microphoneTrack());
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
    return summarise(this.#connector.link, {
      outputLatencyMs: this.#media.clock.outputLatencyMs,
      playoutDelayMs: this.#media.clock.playoutDelayMs,
      framesDrawn: this.#media.framesDrawn,
    });
  }

  /** End the conversation and free everything. Idempotent. */
  close(): void {
    this.#connector.close(null);
  }

  /** Try again at once instead of waiting for the rest of the delay. */
  retryNow(): void {
    this.#connector.retryNow();
  }

  // --- connecting ----------------------------------------------------------------------------------------------

  #makeConnector(): Connector {
    const { originUrl, popUrl, character, mode, transport = "auto", microphone: wanted } = this.#options;
    return new Connector(
      {
        requestTicket: async (signal) => {
          this.#key ??= ProofKey.generate();
          // Asked again because no answer was heard, it is the same request; answered, the next one is another.
          const wishes = { character, mode, key: await this.#key, requestId: (this.#requestId ??= newRequestId()) };
          const ticket = await requestTicket(originUrl, wishes, signal).catch((error: unknown) => {
            if (!(error instanceof VisavisError && error.code === "origin-unreachable")) this.#requestId = null;
            throw error;
          });
          this.#requestId = null;
          return ticket;
        },
        renewTicket: (ticket, avoid, signal) => renewTicket(originUrl, ticket, avoid, signal),
        answers: async ({ url }, signal) => (await probe(url, signal, 1)) < Infinity,
        openLink,
        wishes: () => {
          const microphone = this.#microphoneTrack();
          const sends = microphone !== null || wanted === "later";
          return { transport, microphone, direction: sends ? "sendrecv" : "recvonly" };
        },
        pops: ({ pops }, signal) =>
          popUrl === undefined ? nearestFirst(pops, signal) : [{ ...pops[0]!, url: popUrl, webtransport: null }],
        random: Math.random,
      },
      {
        onTicket: (ticket) => {
          this.#ticket = ticket;
          this.emit("character", ticket.character);
        },
        onFresh: (kept) => {
          if (!kept) this.#fresh = true;
          this.#media.reset();
        },
        onLink: (link, resumed) => {
          this.#adopt(link, resumed);
        },
        onNoLink: () => {
          this.#media.setLink(null);
        },
        onUnit: (unit) => {
          this.#media.receive(unit);
        },
        onControl: (data) => {
          this.#receiveControl(data);
        },
        onState: (state, error, retryInMs) => {
          if (state === "closed") this.#cleanUp();
          const { attempt } = this.#connector;
          this.emit("connection", { state, error, retryInMs, attempt, resumed: state === "connected" && !this.#fresh });
          if (state === "connected") this.#fresh = false;
          if (state === "closed") this.removeAllListeners();
        },
      },
    );
  }

  /** Do not wait when there is a network again, or when the page is turned to. */
  #watch(): () => void {
    const stop = onNetworkChange(() => {
      forgetTrouble();
      this.#connector.networkChanged();
    });
    const onVisible = (): void => {
      this.#connector.retryNow();
    };
    document.addEventListener("visibilitychange", onVisible);
    return () => {
      stop();
      document.removeEventListener("visibilitychange", onVisible);
    };
  }

  #adopt(link: Link, resumed: boolean): void {
    this.#media.setLink(link);
    // The microphone may have come or gone while the link was being opened.
    if (link.canSend) void link.setMicrophone(this.#microphoneTrack());
    void this.#media.speaker.play().then((playing) => {
      if (!playing) this.emit("sound-blocked", { blocked: true });
      else void this.#media.clock.measureOutputLatency();
    });
    if (resumed) return;
    link.sendControl(encodeControl("client-ready", { version: "1.0.0", about: { library: "visavis" } }, newId()));
    if (link.motion === "none") {
      this.emit("fault", {
        code: "motion-unavailable",
        message:
          "This browser cannot read the face's motion from the sound. You hear the voice; the face follows it only roughly.",
      });
    }
  }

  /** The budget's last stage can only be seen here: from the first voice packet's arrival until it is heard. */
  async #measurePlayout(afterArrivalMs: number): Promise<void> {
    const { roundTripMs } = await this.stats();
    this.#conversation.measured("playout", afterArrivalMs + (roundTripMs ?? 0) / 2);
  }

  #cleanUp(): void {
    this.#stopWatching?.();
    this.#media.close();
    if (this.#ownsMicrophone) for (const track of this.#microphoneStream?.getTracks() ?? []) track.stop();
    this.#microphoneStream = null;
    this.#face.setDriver(null);
    if (this.#ownsFace) this.#face.close();
    this.#conversation.reset();
    this.#setMicrophoneState("off");
  }

  #receiveControl(data: string): void {
    try {
      const message = decodeControl(data);
      const kind = message.type === "server-message" ? message.data["t"] : null;
      if (kind === "resume") {
        this.#connector.noteResume(message.data["d"]);
        return;
      }
      if (kind === "goaway") {
        const ended = endedForGood(message.data["d"]);
        if (ended !== null) {
          this.#connector.close(ended);
          return;
        }
        const text = "The server ended this connection. It is made again by itself.";
        this.#connector.startOver(new VisavisError("connection-lost", text));
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
      void this.#connector.link?.setMicrophone(null);
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

/** Why a POP says goodbye after which nobody shall come back; null: for another reason. */
function endedForGood(data: unknown): VisavisError | null {
  const { reason } = (data ?? {}) as { reason?: unknown };
  if (reason === "kicked") return new VisavisError("kicked", "This conversation was ended by its operator.");
  if (reason !== "key-revoked") return null;
  return new VisavisError("kicked", "The leave for this conversation was withdrawn by its operator.");
}

function newRequestId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function newId(): string {
  return Math.random().toString(36).slice(2, 10);
}
