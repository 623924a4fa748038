/** Sound at 48 kHz that repeats itself: how often, and longer or shorter by whole periods. Pure. */

/** 500 Hz to 100 Hz. Deeper voices are found at half their period's multiple or double: it fits as well. */
export const PERIOD_MIN = 96;
export const PERIOD_MAX = 480;
const COARSE_STEP = 4;

/**
 * The lag at which two stretches of `sound`, one at `start` and one that lag later, are most alike.
 *
 * @param start index at which the first stretch begins.
 * @param size samples compared.
 * @param lagMax at most this; at most PERIOD_MAX, and `start + size + lagMax` must lie within the sound.
 * @returns the lag, PERIOD_MIN or more, and how alike: 1 = the same up to loudness, 0 = not at all.
 */
export function findPeriod(
  sound: Float32Array,
  start: number,
  size: number,
  lagMax: number,
): { lag: number; likeness: number } {
  let best = { lag: PERIOD_MIN, likeness: -1 };
  const tryLag = (lag: number, step: number): void => {
    const likeness = correlation(sound, start, start + lag, size, step);
    if (likeness > best.likeness) best = { lag, likeness };
  };
  for (let lag = PERIOD_MIN; lag <= lagMax; lag += COARSE_STEP) tryLag(lag, 2);
  const coarse = best.lag;
  best = { lag: coarse, likeness: -1 };
  for (let lag = coarse - COARSE_STEP + 1; lag < coarse + COARSE_STEP; lag += 1) {
    if (lag >= PERIOD_MIN && lag <= lagMax) tryLag(lag, 1);
  }
  return best;
}

function correlation(sound: Float32Array, first: number, second: number, size: number, step: number): number {
  let product = 0;
  let powerFirst = 1e-9;
  let powerSecond = 1e-9;
  for (let index = 0; index < size; index += step) {
    const a = sound[first + index]!;
    const b = sound[second + index]!;
    product += a * b;
    powerFirst += a * a;
    powerSecond += b * b;
  }
  return product / Math.sqrt(powerFirst * powerSecond);
}

/**
 * The same voice, one period longer or shorter. Its pitch stays.
 *
 * @param sound at least two periods long.
 * @param period as findPeriod says for the beginning of the sound.
 */
export function changeByPeriod(sound: Float32Array, period: number, longer: boolean): Float32Array {
  const result = new Float32Array(sound.length + (longer ? period : -period));
  if (longer) {
    // x[0 … 2p), then back by one period: the second period fades into the first one again.
    result.set(sound.subarray(0, period));
    for (let index = 0; index < period; index += 1) {
      const share = index / period;
      result[period + index] = sound[period + index]! * (1 - share) + sound[index]! * share;
    }
    result.set(sound.subarray(period), 2 * period);
  } else {
    for (let index = 0; index < period; index += 1) {
      const share = index / period;
      result[index] = sound[index]! * (1 - share) + sound[period + index]! * share;
    }
    result.set(sound.subarray(2 * period), period);
  }
  return result;
}

/** The same sound in another number of samples, by linear interpolation; pitch changes with it. */
export function resample(sound: Float32Array, size: number): Float32Array {
  if (size === sound.length || sound.length === 0) return sound.length === size ? sound : new Float32Array(size);
  const result = new Float32Array(size);
  const step = sound.length / size;
  for (let index = 0; index < size; index += 1) {
    const place = index * step;
    const left = Math.floor(place);
    const share = place - left;
    result[index] = sound[left]! * (1 - share) + sound[Math.min(left + 1, sound.length - 1)]! * share;
  }
  return result;
}
