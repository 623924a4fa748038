/** The newest `capacity` values, oldest first. */
export class Ring<Value> {
  readonly #values: Value[] = [];
  #start = 0;

  constructor(readonly capacity: number) {}

  push(value: Value): void {
    if (this.#values.length < this.capacity) {
      this.#values.push(value);
      return;
    }
    this.#values[this.#start] = value;
    this.#start = (this.#start + 1) % this.capacity;
  }

  get length(): number {
    return this.#values.length;
  }

  toArray(): Value[] {
    return [...this.#values.slice(this.#start), ...this.#values.slice(0, this.#start)];
  }

  clear(): void {
    this.#values.length = 0;
    this.#start = 0;
  }
}
