/** Arithmetic in GF(256) modulo x^8 + x^4 + x^3 + x^2 + 1. Mirrors core/stream/galois.py; SPEC.md section 9. */
const POLYNOMIAL = 0x11d;

function multiplyTables(): Uint8Array[] {
  const rows = [new Uint8Array(256), Uint8Array.from({ length: 256 }, (_, x) => x)];
  for (let c = 2; c < 256; c++) {
    const half = rows[c >> 1]!;
    rows.push(half.map((value, x) => (value << 1) ^ (value & 0x80 ? POLYNOMIAL : 0) ^ (c & 1 ? x : 0)));
  }
  return rows;
}

/** MULTIPLY[a]![b]: the product a · b. */
export const MULTIPLY: readonly Uint8Array[] = multiplyTables();

/** INVERSE[c] · c = 1; INVERSE[0] is 0 and means nothing. */
export const INVERSE = Uint8Array.from(MULTIPLY, (row) => Math.max(row.indexOf(1), 0));

/**
 * What unit `unit` is multiplied by in the repair symbol of packet `sequenceNumber`, 1 to 255: the Cauchy matrix
 * 1 / (x_n + y_u) with x_n = n mod 128 and y_u = 128 + u mod 128.
 */
export function coefficient(sequenceNumber: number, unit: number): number {
  return INVERSE[0x80 | ((sequenceNumber ^ unit) & 0x7f)]!;
}

/** target += factor · source, from the target's start. `target` must be at least as long. */
export function addScaled(target: Uint8Array, source: Uint8Array, factor: number): void {
  const table = MULTIPLY[factor]!;
  for (let place = 0; place < source.length; place++) target[place]! ^= table[source[place]!]!;
}
