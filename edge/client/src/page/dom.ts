/** The element with this id. @throws Error when the page and the code disagree. */
// The caller knows the page: the parameter saves an assertion at every call.
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters
export function byId<Kind extends Element = HTMLElement>(id: string): Kind {
  const element = document.getElementById(id);
  if (element === null) throw new Error(`index.html has no element #${id}`);
  return element as unknown as Kind;
}

/** Make an element: its tag, a class, text or children. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = "",
  content: string | readonly Node[] = "",
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (typeof content === "string") element.textContent = content;
  else element.append(...content);
  return element;
}

/** Show another symbol of index.html in an icon. */
export function setIcon(use: Element, name: string): void {
  use.setAttribute("href", `#icon-${name}`);
}
