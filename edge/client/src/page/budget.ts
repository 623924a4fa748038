import { STAGES } from "../sdk/budget";
import { byId, make } from "./dom";

/** One row of the budget as it is shown. */
export interface BudgetRow {
  readonly name: string;
  readonly title: string;
  readonly targetMs: number;
  /** null until known. */
  readonly ms: number | null;
  readonly over: boolean;
  /** Share of the whole bar, 0…1. */
  readonly share: number;
}

/** A turn's stages against their targets. Pure. */
export interface Budget {
  readonly rows: readonly BudgetRow[];
  /** null until something is known. */
  readonly totalMs: number | null;
  readonly targetMs: number;
  readonly over: boolean;
  /** Every stage is known. */
  readonly complete: boolean;
  /** Where the target stands on the bar, 0…1. */
  readonly targetAt: number;
}

export const TOTAL_TARGET_MS = STAGES.reduce((sum, stage) => sum + stage.targetMs, 0);

export function budgetOf(stages: Readonly<Record<string, number>>): Budget {
  const known = STAGES.map((stage) => stages[stage.name] ?? null);
  const totalMs = known.some((ms) => ms !== null) ? known.reduce<number>((sum, ms) => sum + (ms ?? 0), 0) : null;
  const scaleMs = Math.max(TOTAL_TARGET_MS * 1.15, totalMs ?? 0);
  return {
    rows: STAGES.map((stage, index) => {
      const ms = known[index] ?? null;
      return { ...stage, ms, over: ms !== null && ms > stage.targetMs, share: (ms ?? 0) / scaleMs };
    }),
    totalMs,
    targetMs: TOTAL_TARGET_MS,
    over: totalMs !== null && totalMs > TOTAL_TARGET_MS,
    complete: known.every((ms) => ms !== null),
    targetAt: TOTAL_TARGET_MS / scaleMs,
  };
}

export function formatMs(ms: number): string {
  return ms < 9.95 ? ms.toFixed(1) : Math.round(ms).toString();
}

const COLOURS = ["#5663d8", "#6f7cf0", "#8f86ee", "#b98be0", "#d98fb6", "#e8a06e", "#e0a83a"];

/** The latency budget: one bar for the answer, one line per stage. */
export class BudgetView {
  readonly #total = byId<HTMLOutputElement>("budget-total");
  readonly #target = byId("budget-target");
  readonly #track = byId("budget-track");
  readonly #list = byId("budget-stages");
  readonly #segments = STAGES.map(() => make("span"));
  readonly #mark = make("i");
  readonly #rows: { fill: HTMLElement; ms: HTMLElement; item: HTMLElement }[];

  constructor() {
    this.#rows = STAGES.map((stage, index) => {
      const fill = make("span");
      const meter = make("span", "meter", [fill]);
      meter.setAttribute("aria-hidden", "true");
      const ms = make("span", "ms");
      const item = make("li", "", [make("span", "swatch"), make("span", "title", stage.title), meter, ms]);
      item.style.setProperty("--stage-colour", COLOURS[index]!);
      this.#segments[index]!.style.setProperty("--stage-colour", COLOURS[index]!);
      return { fill, ms, item };
    });
    this.#list.replaceChildren(...this.#rows.map(({ item }) => item));
    this.#track.replaceChildren(...this.#segments, this.#mark);
    this.show({});
  }

  show(stages: Readonly<Record<string, number>>): void {
    const budget = budgetOf(stages);
    this.#total.textContent = budget.totalMs === null ? "–" : `${formatMs(budget.totalMs)} ms`;
    this.#target.textContent = `of ${TOTAL_TARGET_MS}`;
    this.#total.parentElement!.dataset["over"] = String(budget.over);
    this.#mark.style.left = `${budget.targetAt * 100}%`;
    budget.rows.forEach((row, index) => {
      const { fill, ms, item } = this.#rows[index]!;
      const segment = this.#segments[index]!;
      segment.hidden = row.ms === null;
      segment.style.width = `${row.share * 100}%`;
      fill.style.width = `${Math.min(100, ((row.ms ?? 0) / row.targetMs) * 100)}%`;
      item.classList.toggle("over", row.over);
      const figure = make("b", "", row.ms === null ? "–" : formatMs(row.ms));
      ms.replaceChildren(figure, make("small", "", ` / ${row.targetMs}`));
      ms.setAttribute("title", row.over ? "over its target" : "");
      if (row.over) ms.append(make("span", "visually-hidden", " over its target"));
    });
  }
}
