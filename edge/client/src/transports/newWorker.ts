/**
 * A worker, also where this module was loaded from another origin: such a worker must be started by a local one.
 *
 * @param url of its module, as the bundler says.
 */
export function newWorker(url: string): Worker {
  const address = new URL(url, import.meta.url).href;
  if (new URL(address).origin === location.origin) return new Worker(address, { type: "module" });
  const starter = URL.createObjectURL(new Blob([`import ${JSON.stringify(address)};`], { type: "text/javascript" }));
  return new Worker(starter, { type: "module" });
}
