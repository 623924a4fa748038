/** The part of the Network Information API that says on which network the device is; not in every browser. */
interface NetworkInformation extends EventTarget {
  readonly type?: string;
}

/**
 * Listen for the device changing its network or finding one again. Changes of the estimated speed are none: browsers
 * report those all the time.
 *
 * @returns ends the listening.
 */
export function onNetworkChange(listener: () => void): () => void {
  const closed = new AbortController();
  const { signal } = closed;
  addEventListener("online", listener, { signal });
  const { connection } = navigator as { connection?: NetworkInformation };
  let type = connection?.type;
  connection?.addEventListener(
    "change",
    () => {
      if (connection.type === type) return;
      type = connection.type;
      if (type !== "none") listener();
    },
    { signal },
  );
  return () => {
    closed.abort();
  };
}
