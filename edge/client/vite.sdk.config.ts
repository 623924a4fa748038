import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The SDK as one ES module and its worker, served by every POP as /sdk/visavis.js. */
export default defineConfig({
  base: "./",
  publicDir: false,
  build: {
    outDir: here("../static/sdk"),
    emptyOutDir: true,
    target: "es2022",
    sourcemap: true,
    lib: { entry: here("src/sdk/index.ts"), formats: ["es"], fileName: () => "visavis.js" },
  },
  worker: { format: "es" },
});
