const ASPECT = 9 / 16;

/** The canvas: always 9:16, large enough to cover the stage, in the middle of it. */
export function coverBox(width: number, height: number): { width: number; height: number } {
  return width / height > ASPECT ? { width, height: width / ASPECT } : { width: height * ASPECT, height };
}
