import type { Caption } from "../sdk";
import { byId, make } from "./dom";

const LINGER_MS = 1_600;

/** What is being said, under the face; every word lights up when it is heard. */
export class CaptionsView {
  readonly #place = byId("captions");
  readonly #live = byId("captions-live");
  readonly #waiting: Caption[] = [];
  readonly #words = new Map<string, HTMLElement[]>();
  #shown: string | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** A clause is on its way; it is shown when the one before it has been heard. */
  add(caption: Caption): void {
    this.#live.textContent = caption.text;
    if (this.#shown === null || this.#leaving) this.#show(caption);
    else this.#waiting.push(caption);
  }

  /** A word became audible. */
  word(captionId: string, index: number): void {
    if (captionId !== this.#shown) {
      const place = this.#waiting.findIndex(({ id }) => id === captionId);
      if (place < 0) return;
      this.#show(this.#waiting[place]!);
      this.#waiting.splice(0, place + 1);
    }
    const words = this.#words.get(captionId) ?? [];
    words.forEach((word, at) => {
      word.className = at < index ? "heard" : at === index ? "heard now" : "";
    });
  }

  /** What the person is saying right now, as far as it is understood. */
  user(text: string): void {
    this.#reset();
    this.#place.replaceChildren(make("p", "you", text));
    this.#fade(LINGER_MS * 2);
  }

  /** The voice is over: let the last clause stand for a moment. */
  end(interrupted: boolean): void {
    this.#waiting.length = 0;
    if (!interrupted) for (const words of this.#words.values()) for (const word of words) word.className = "heard";
    this.#fade(interrupted ? 250 : LINGER_MS);
  }

  clear(): void {
    this.#reset();
    this.#place.replaceChildren();
  }

  get #leaving(): boolean {
    return this.#timer !== null;
  }

  #show(caption: Caption): void {
    this.#reset();
    this.#shown = caption.id;
    const texts = caption.words.length > 0 ? displayWords(caption) : caption.text.split(/\s+/);
    const words = texts.map((text) => make("span", "", text));
    this.#words.set(caption.id, words);
    const line = make("p");
    words.forEach((word, index) => {
      line.append(...(index > 0 ? [" ", word] : [word]));
    });
    this.#place.replaceChildren(line);
  }

  #fade(afterMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#place.firstElementChild?.classList.add("leaving");
      this.#shown = null;
      this.#timer = null;
    }, afterMs);
  }

  #reset(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#shown = null;
    this.#words.clear();
  }
}

/**
 * The caption's own text cut into as many pieces as there are timed words, so that punctuation and spelling stay as
 * written; the timed words where the two do not match.
 */
export function displayWords(caption: Pick<Caption, "text" | "words">): string[] {
  const written = caption.text.trim().split(/\s+/);
  return written.length === caption.words.length ? written : caption.words.map((word) => word.text);
}
