// Builds the page into the folder given, `dist` without one: node build.mjs [FOLDER]
import { copyFile, cp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { build } from "esbuild";

const folder = process.argv[2] ?? "dist";
// The one build of the runtime that needs neither WebGPU nor WebGL; `onnxruntime-web/wasm` is its JavaScript.
const wasm = "ort-wasm-simd-threaded.wasm";

await rm(folder, { recursive: true, force: true });
await cp("static", folder, { recursive: true });
await build({
  entryPoints: ["src/main.ts", "src/sw.ts"],
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "eof",
});
await copyFile(createRequire(import.meta.url).resolve(`onnxruntime-web/${wasm}`), `${folder}/${wasm}`);
