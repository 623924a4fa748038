import type { Renderer } from "../render/renderer";
import { StateFaceAnimator, type StateFace } from "../stream/stateFace";
import { MotionTimeline, type MotionSample } from "../stream/timeline";

/** What gives a face its time and takes note of what was drawn: a connected session. */
export interface FaceDriver {
  /** Unwrapped media ticks audible at `nowMs`; null where nobody knows. */
  audibleTicks(nowMs: number): number | null;
  /** For browsers that cannot read motion: what to show instead; null when motion is there. */
  stateFace(): StateFace | null;
  onDrawn(sample: MotionSample, nowMs: number): void;
}

/**
 * A face that lives: it draws every display frame, from the network's motion when there is some and from the local
 * idle layer when there is none. It exists before a session, and outlives it.
 */
export class Face {
  readonly timeline = new MotionTimeline();
  readonly #stateFace = new StateFaceAnimator();
  #renderer: Renderer | null;
  #driver: FaceDriver | null = null;
  #request: number | null = null;

  /** @param renderer null to draw the poses of the session's "frame" events yourself. */
  constructor(renderer: Renderer | null = null) {
    this.#renderer = renderer;
    if (typeof matchMedia !== "undefined") {
      const reduced = matchMedia("(prefers-reduced-motion: reduce)");
      const apply = (): void => {
        this.timeline.liveliness = reduced.matches ? 0.3 : 1;
      };
      reduced.addEventListener("change", apply);
      apply();
    }
    this.#schedule();
  }

  /** Draw with another renderer, or with none. The old one is not closed. */
  setRenderer(renderer: Renderer | null): void {
    this.#renderer = renderer;
  }

  /** A session takes over the clock; null gives it back. */
  setDriver(driver: FaceDriver | null): void {
    this.#driver = driver;
    this.timeline.reset(performance.now());
  }

  /** Stop drawing for good and close the renderer. */
  close(): void {
    if (this.#request !== null) cancelAnimationFrame(this.#request);
    this.#request = null;
    this.#renderer?.close();
    this.#renderer = null;
  }

  #schedule(): void {
    this.#request = requestAnimationFrame(() => {
      this.#schedule();
      this.#draw(performance.now());
    });
  }

  #draw(nowMs: number): void {
    const driver = this.#driver;
    const sample = this.timeline.sample(nowMs, driver?.audibleTicks(nowMs) ?? null);
    const stateFace = driver?.stateFace();
    if (stateFace) this.#stateFace.apply(sample.pose, nowMs, stateFace);
    this.#renderer?.draw(sample.pose, nowMs);
    driver?.onDrawn(sample, nowMs);
  }
}
