import { byId, make } from "./dom";
import { ACTION_LABELS, type Notice, type NoticeAction } from "./notices";

/** The one message card. A newer message replaces an older one. */
export class NoticeView {
  readonly #card = byId("notice");
  readonly #title = byId("notice-title");
  readonly #text = byId("notice-text");
  readonly #actions = byId("notice-actions");
  readonly #onAction: (action: NoticeAction) => void;
  #shown: Notice | null = null;

  constructor(onAction: (action: NoticeAction) => void) {
    this.#onAction = onAction;
  }

  get shown(): Notice | null {
    return this.#shown;
  }

  show(notice: Notice): void {
    const same = this.#shown?.title === notice.title && this.#shown.actions.join() === notice.actions.join();
    this.#shown = notice;
    this.#text.textContent = notice.text;
    this.#card.hidden = false;
    if (same) return;
    this.#title.textContent = notice.title;
    this.#actions.replaceChildren(
      ...notice.actions.map((action, index) => {
        const button = make("button", index === 0 ? "button primary" : "button", ACTION_LABELS[action]);
        button.type = "button";
        button.addEventListener("click", () => {
          this.#onAction(action);
        });
        return button;
      }),
    );
  }

  hide(): void {
    this.#shown = null;
    this.#card.hidden = true;
  }
}
