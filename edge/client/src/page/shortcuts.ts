/** What single keys do while no text is being written. */
export interface ShortcutActions {
  readonly m: () => void;
  readonly p: () => void;
  readonly t: () => void;
  readonly "/": () => void;
  readonly "?": () => void;
  readonly Escape: () => void;
}

/** Listen for shortcuts. Escape works everywhere; letters only outside text boxes, and never with a modifier. */
export function listenForShortcuts(actions: ShortcutActions): void {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const writing = event.target instanceof HTMLElement && event.target.matches("input, textarea, [contenteditable]");
    if (writing && event.key !== "Escape") return;
    if (document.querySelector("dialog[open]") !== null) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const action = (actions as unknown as Readonly<Record<string, (() => void) | undefined>>)[key];
    if (!action) return;
    if (key === "/" || key === "?") event.preventDefault();
    action();
  });
}
