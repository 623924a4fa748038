import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Pages that exist are built; `preview.html` is the puppet's own page. */
const pages = ["index.html", "preview.html"].map(here).filter((page) => existsSync(page));

/** The demo page, built to edge/static/, where the POP serves it from. */
export default defineConfig({
  base: "./",
  build: {
    outDir: here("../static"),
    emptyOutDir: true,
    target: "es2022",
    sourcemap: true,
    // What is bundled asks that its licence goes with it.
    license: { fileName: "licenses.md" },
    reportCompressedSize: true,
    rolldownOptions: { input: pages },
  },
  worker: { format: "es" },
  server: { port: 5173, proxy: { "/config.json": "http://127.0.0.1:8080", "/v1": "http://127.0.0.1:8080" } },
  test: { passWithNoTests: true, include: ["src/**/*.test.ts"], environment: "node" },
});
