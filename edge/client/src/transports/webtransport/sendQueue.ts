/**
 * What waits in front of the network while it takes nothing: a few datagrams, the newest ones. A browser queues
 * datagrams without a bound that a page could count on, and a late one is worth nothing.
 */
export class SendQueue<Item> {
  /** Items that gave way to newer ones. */
  dropped = 0;
  readonly #waiting: { readonly item: Item; readonly atMs: number }[] = [];
  readonly #itemsMax: number;
  readonly #ageMsMax: number;

  /** @param itemsMax at most that many wait. @param ageMsMax what waited longer is not sent any more. */
  constructor(itemsMax: number, ageMsMax: number) {
    this.#itemsMax = itemsMax;
    this.#ageMsMax = ageMsMax;
  }

  push(item: Item, nowMs: number): void {
    this.#waiting.push({ item, atMs: nowMs });
    if (this.#waiting.length > this.#itemsMax) {
      this.#waiting.shift();
      this.dropped += 1;
    }
  }

  /** The oldest item that is still worth sending; null when there is none. */
  pop(nowMs: number): Item | null {
    for (;;) {
      const next = this.#waiting.shift();
      if (next === undefined) return null;
      if (nowMs - next.atMs <= this.#ageMsMax) return next.item;
      this.dropped += 1;
    }
  }
}
