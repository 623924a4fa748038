/** Small things the page remembers: "tab" until the tab is closed, "local" for good. Private windows may refuse. */
type Place = "tab" | "local";

function storage(place: Place): Storage {
  return place === "tab" ? sessionStorage : localStorage;
}

export function remember(name: string, value: string, place: Place): void {
  try {
    storage(place).setItem(`visavis.${name}`, value);
  } catch {
    // Without storage the page only forgets.
  }
}

export function recall(name: string, place: Place): string | null {
  try {
    return storage(place).getItem(`visavis.${name}`);
  } catch {
    return null;
  }
}

export function forget(name: string, place: Place): void {
  try {
    storage(place).removeItem(`visavis.${name}`);
  } catch {
    // See remember.
  }
}
