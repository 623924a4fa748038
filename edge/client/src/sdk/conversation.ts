import { TimestampUnwrapper } from "../stream/timestamps";
import type { Caption, CaptionWord, ConversationEvents, FaceStateName } from "./events";
import { FACE_STATES } from "./events";

/** Tells an event to the session. */
export type Emit = <Name extends keyof ConversationEvents>(name: Name, event: ConversationEvents[Name]) => void;

/** A control message, as src/wire/control decodes it. */
export interface Message {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Clause {
  readonly caption: Caption;
  /** Words that have become audible. */
  heard: number;
}

const CLAUSES_MAX = 64;
/** A typed line may come back as a transcript; it is not shown twice. */
const ECHOES_MAX = 4;

/**
 * Makes events for people out of control messages and of what is audible. Pure: no clock, no network.
 *
 * Captions are spoken text and have word times relative to their utterance; the utterance's place on the media
 * timeline comes on its own and may move. Words are announced when they are heard.
 */
export class Conversation {
  readonly #emit: Emit;
  readonly #starts = new Map<number, number>();
  #clauses: Clause[] = [];
  #state: FaceStateName = "idle";
  #userEntries = 0;
  #characterEntries = 0;
  #captions = 0;
  #spoken: string[] = [];
  #typed: string[] = [];
  #stages = new Map<number, Record<string, number>>();

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  get state(): FaceStateName {
    return this.#state;
  }

  /** The state may come twice, in packets and as a message; it is told once. */
  setState(state: FaceStateName): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#emit("state", { state });
  }

  /** The viewer typed a line. */
  typed(text: string): void {
    this.#typed.push(text);
    if (this.#typed.length > ECHOES_MAX) this.#typed.shift();
    this.#emit("transcript", { id: this.#userId(true), role: "user", text, final: true, interrupted: false });
  }

  /** @param unwrapper of the current connection's media time. */
  receive({ type, data }: Message, unwrapper: TimestampUnwrapper): void {
    switch (type) {
      case "user-transcription":
        this.#userTranscription(data);
        return;
      case "bot-transcription":
        this.#botTranscription(data);
        return;
      case "bot-stopped-speaking":
        this.voiceEnded(false);
        return;
      case "error":
        this.#emit("fault", { code: "error", message: text(data["message"]) || "The server reported an error." });
        return;
      case "server-message":
        this.#server(text(data["t"]), record(data["d"]), unwrapper);
        return;
      default:
    }
  }

  /** The media time that is heard now; announces the words that have become audible. */
  audible(ticks: number): void {
    for (const clause of this.#clauses) {
      const start = this.#starts.get(clause.caption.utteranceId);
      if (start === undefined) continue;
      const { words, id } = clause.caption;
      while (clause.heard < words.length && start + words[clause.heard]!.startTicks <= ticks) {
        this.#emit("word", { captionId: id, index: clause.heard });
        clause.heard += 1;
      }
    }
  }

  /** The voice is over. After an interruption the transcript keeps what was heard. */
  voiceEnded(interrupted: boolean): void {
    if (this.#spoken.length === 0 && this.#clauses.length === 0) return;
    if (this.#spoken.length > 0) {
      const words = this.#clauses.flatMap(({ caption, heard }) => caption.words.slice(0, heard));
      const known = this.#clauses.some(({ caption }) => caption.words.length > 0);
      const heardText = words.map((word) => word.text).join(" ");
      const told = interrupted && known ? heardText : this.#spoken.join(" ");
      if (told !== "") this.#character(told, true, interrupted);
      this.#characterEntries += 1;
    }
    this.#spoken = [];
    this.#clauses = [];
    this.#emit("caption-end", { interrupted });
  }

  /** A stage only the viewer can measure. */
  measured(name: string, ms: number): void {
    const newest = [...this.#stages.keys()].at(-1);
    if (newest !== undefined) this.#stage(newest, { [name]: ms });
  }

  /** A new connection: media times start anew, half-said things are over. */
  reset(): void {
    this.voiceEnded(true);
    this.#starts.clear();
    this.#stages.clear();
    this.setState("idle");
  }

  #userId(final: boolean): string {
    const id = `user-${this.#userEntries}`;
    if (final) this.#userEntries += 1;
    return id;
  }

  #userTranscription(data: Readonly<Record<string, unknown>>): void {
    const said = text(data["text"]).trim();
    const final = data["final"] === true;
    const echo = this.#typed.indexOf(said);
    if (final && echo >= 0) {
      this.#typed.splice(echo, 1);
      return;
    }
    if (said === "") return;
    this.#emit("transcript", { id: this.#userId(final), role: "user", text: said, final, interrupted: false });
  }

  #botTranscription(data: Readonly<Record<string, unknown>>): void {
    const said = text(data["text"]).trim();
    if (said === "") return;
    this.#spoken.push(said);
    this.#character(this.#spoken.join(" "), false, false);
  }

  #character(said: string, final: boolean, interrupted: boolean): void {
    this.#emit("transcript", {
      id: `character-${this.#characterEntries}`,
      role: "character",
      text: said,
      final,
      interrupted,
    });
  }

  #server(kind: string, data: Readonly<Record<string, unknown>>, unwrapper: TimestampUnwrapper): void {
    switch (kind) {
      case "state": {
        const state = FACE_STATES.find((name) => name === data["state"]);
        if (state) this.setState(state);
        return;
      }
      case "caption":
        this.#caption(data, unwrapper);
        return;
      case "utterance":
        this.#place(number(data["utterance_id"]), data["rtp_timestamp"], unwrapper);
        return;
      case "stages":
        this.#stage(number(data["turn_id"]), record(data["stages"]));
        return;
      case "mood":
        this.#emit("mood", {
          label: text(data["label"]),
          valence: number(data["valence"]),
          arousal: number(data["arousal"]),
        });
        return;
      case "fault":
        this.#emit("fault", { code: text(data["code"]), message: text(data["message"]) });
        return;
      default:
    }
  }

  #caption(data: Readonly<Record<string, unknown>>, unwrapper: TimestampUnwrapper): void {
    const utteranceId = number(data["utterance_id"]);
    const words = (Array.isArray(data["words"]) ? data["words"] : []).map(captionWord).filter((word) => word !== null);
    const caption: Caption = { id: `caption-${this.#captions}`, utteranceId, text: text(data["text"]), words };
    this.#captions += 1;
    this.#place(utteranceId, data["rtp_timestamp"], unwrapper);
    this.#clauses.push({ caption, heard: 0 });
    if (this.#clauses.length > CLAUSES_MAX) this.#clauses.shift();
    this.#emit("caption", caption);
  }

  #place(utteranceId: number, timestamp: unknown, unwrapper: TimestampUnwrapper): void {
    if (typeof timestamp !== "number") return;
    this.#starts.set(utteranceId, unwrapper.peek(timestamp));
    for (const id of this.#starts.keys()) if (id < utteranceId - 16) this.#starts.delete(id);
  }

  #stage(turnId: number, more: Readonly<Record<string, unknown>>): void {
    const known = this.#stages.get(turnId) ?? {};
    for (const [name, ms] of Object.entries(more)) if (typeof ms === "number" && Number.isFinite(ms)) known[name] = ms;
    this.#stages.set(turnId, known);
    for (const id of this.#stages.keys()) if (this.#stages.size > 4) this.#stages.delete(id);
    this.#emit("stages", { turnId, stages: { ...known } });
  }
}

function captionWord(value: unknown): CaptionWord | null {
  if (!Array.isArray(value)) return null;
  const [word, startTicks, endTicks] = value as unknown[];
  if (typeof word !== "string" || typeof startTicks !== "number" || typeof endTicks !== "number") return null;
  return { text: word, startTicks, endTicks };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function number(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
