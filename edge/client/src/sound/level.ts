/** RFC 6464 section 3: quieter than this is 127. */
const LEVEL_MAX = 127;

/** The audio level of a packet: −dBov of its RMS, 0 (loudest) to 127 (digital silence). Source: RFC 6464 section 3. */
export function audioLevel(sound: Float32Array): number {
  let sum = 0;
  for (const sample of sound) sum += sample * sample;
  const power = sum / Math.max(1, sound.length);
  if (power <= 0) return LEVEL_MAX;
  return Math.min(LEVEL_MAX, Math.max(0, Math.round(-10 * Math.log10(power))));
}

/** Above the room's noise by this much somebody may speak. The POP's ear decodes from 4 dB on (edge/ear.py). */
const ABOVE_FLOOR_DB = 3;
/** Quieter than this is nobody, whatever the room's noise. */
const LEAST_DB = -78;
/** The room's noise is followed downwards at once, upwards by 3 dB a second; by 1 where somebody may be speaking. */
const FLOOR_RISE_DB = 0.06;
const FLOOR_RISE_OPEN_DB = 0.02;
const FLOOR_FALL = 0.3;
const FLOOR_DB_FIRST = -70;
/** Packets that still go out after the last loud one (400 ms): pauses inside speech, and its quiet end. */
const HANGOVER_PACKETS = 20;

/**
 * Whether somebody may be speaking, by loudness against the room's noise. Wider open than the POP's own gate, which
 * decides: what stays here is what it would not have decoded. Pure.
 */
export class LevelGate {
  #floorDb = FLOOR_DB_FIRST;
  #packets = 0;

  /** @param level of the next packet, as audioLevel says. @returns whether it should go out. */
  receive(level: number): boolean {
    const levelDb = -level;
    if (levelDb < this.#floorDb) this.#floorDb += FLOOR_FALL * (Math.max(levelDb, -90) - this.#floorDb);
    else this.#floorDb = Math.min(levelDb, this.#floorDb + (this.#packets > 0 ? FLOOR_RISE_OPEN_DB : FLOOR_RISE_DB));
    if (levelDb > Math.max(this.#floorDb + ABOVE_FLOOR_DB, LEAST_DB)) this.#packets = HANGOVER_PACKETS;
    else if (this.#packets > 0) this.#packets -= 1;
    return this.#packets > 0;
  }
}
