import type { TranscriptEntry } from "../sdk";
import { byId, make } from "./dom";
import { forget, recall, remember } from "./memory";

const ENTRIES_MAX = 200;
const REMEMBERED_MAX = 40;

/** Everything said, by both; kept over a reload of the page. */
export class TranscriptView {
  readonly #list = byId<HTMLOListElement>("transcript");
  readonly #empty = byId("transcript-empty");
  readonly #items = new Map<string, HTMLLIElement>();
  #entries: TranscriptEntry[] = [];
  #generation = 0;
  characterName = "Mira";

  /** Show what was said before a reload. */
  restore(): void {
    const saved = recall("transcript", "tab");
    if (saved === null) return;
    try {
      for (const entry of JSON.parse(saved) as TranscriptEntry[]) this.add(entry);
      this.newConversation();
    } catch {
      forget("transcript", "tab");
    }
  }

  /** Ids start anew with every connection; what is shown stays. */
  newConversation(): void {
    this.#generation += 1;
  }

  add(entry: TranscriptEntry): void {
    const key = `${this.#generation}/${entry.id}`;
    const following = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    let item = this.#items.get(key);
    if (!item) {
      item = make("li");
      this.#items.set(key, item);
      this.#list.append(item);
      this.#entries.push(entry);
    } else {
      this.#entries[this.#entries.length - 1 - [...this.#items.keys()].reverse().indexOf(key)] = entry;
    }
    item.className = `${entry.role}${entry.final ? "" : " partial"}`;
    const who = entry.role === "user" ? "You" : this.characterName;
    const said = make("span", "said", entry.interrupted ? `${entry.text} –` : entry.text);
    const parts = [make("span", "who", who), said];
    if (entry.interrupted) parts.push(make("span", "visually-hidden", " (interrupted)"));
    item.replaceChildren(...parts);
    this.#trim();
    this.#empty.hidden = true;
    if (following) this.#list.scrollTop = this.#list.scrollHeight;
    const kept = this.#entries.filter((one) => one.final).slice(-REMEMBERED_MAX);
    remember("transcript", JSON.stringify(kept.map((one, index) => ({ ...one, id: `before-${index}` }))), "tab");
  }

  #trim(): void {
    while (this.#items.size > ENTRIES_MAX) {
      const [key, item] = this.#items.entries().next().value!;
      item.remove();
      this.#items.delete(key);
      this.#entries.shift();
    }
  }
}
