import { byId, setIcon } from "./dom";
import { remember, recall } from "./memory";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const LABELS: Readonly<Record<Theme, string>> = {
  auto: "Theme: as the system",
  light: "Theme: light",
  dark: "Theme: dark",
};
const ICONS: Readonly<Record<Theme, string>> = { auto: "auto", light: "sun", dark: "moon" };

/** Light, dark, or as the system; remembered. */
export class ThemeSwitch {
  #theme: Theme = THEMES.find((theme) => theme === recall("theme", "local")) ?? "auto";
  readonly #label = byId("theme-label");
  readonly #icon = byId<SVGUseElement>("theme-icon");

  constructor() {
    byId("theme-toggle").addEventListener("click", () => {
      this.next();
    });
    this.#apply();
  }

  next(): void {
    this.#theme = THEMES[(THEMES.indexOf(this.#theme) + 1) % THEMES.length]!;
    remember("theme", this.#theme, "local");
    this.#apply();
  }

  #apply(): void {
    if (this.#theme === "auto") delete document.documentElement.dataset["theme"];
    else document.documentElement.dataset["theme"] = this.#theme;
    this.#label.textContent = LABELS[this.#theme];
    byId("theme-toggle").title = LABELS[this.#theme];
    setIcon(this.#icon, ICONS[this.#theme]);
  }
}
