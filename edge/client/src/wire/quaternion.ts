/** Unit quaternions as smallest-three. Mirrors core/wire/quaternion.py; SPEC.md section 4.3. */
export const COMPONENT_MAX = 2047;
const STEP = Math.sqrt(0.5) / COMPONENT_MAX;

/** Writes (x, y, z, w) of length 1 with w >= 0 to `out` at `at`. */
export function dequantizeQuaternion(
  largest: number,
  a: number,
  b: number,
  c: number,
  out: Float32Array,
  at: number,
): void {
  let fa = a * STEP;
  let fb = b * STEP;
  let fc = c * STEP;
  const square = fa * fa + fb * fb + fc * fc;
  let rest = 0;
  if (square < 1) {
    rest = Math.sqrt(1 - square);
  } else {
    const length = Math.sqrt(square);
    fa /= length;
    fb /= length;
    fc /= length;
  }
  const w = largest === 3 ? rest : fc;
  const sign = w < 0 ? -1 : 1;
  out[at] = sign * (largest === 0 ? rest : fa);
  out[at + 1] = sign * (largest === 1 ? rest : largest === 0 ? fa : fb);
  out[at + 2] = sign * (largest === 2 ? rest : largest === 3 ? fc : fb);
  out[at + 3] = sign * w;
}
