/** Keys sorted at every depth, as the hash of a puppet wants them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, entry]) => [name, sorted(entry)]));
}

/**
 * The version a puppet's data ought to carry: the hash of everything else in it (docs/puppet.md).
 * Takes tens of milliseconds, so tools check it and a call's page does not.
 */
export async function versionOf(data: object): Promise<string> {
  const body = Object.fromEntries(Object.entries(data).filter(([name]) => name !== "version"));
  const ascii = JSON.stringify(sorted(body)).replace(
    /[\u007f-\uffff]/g,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(ascii));
  return `sha256:${Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
