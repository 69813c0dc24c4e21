// Build src/ into the package's static files: raceway.js (a script tag, global `raceway`) and raceway.mjs (import).
// Another target folder may be given as the argument.
//
// The first line of each file says which source it was built from and what it holds, so that a test can tell,
// without node, that the two belong together and that nobody edited the build.
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = process.argv[2] ?? join(here, "../src/raceway/static/raceway");
const { version } = JSON.parse(readFileSync(join(here, "package.json"), "utf8"));

const sources = createHash("sha256");
for (const name of readdirSync(join(here, "src")).sort()) {
  sources.update(`${name}\0${readFileSync(join(here, "src", name), "utf8")}\0`);
}
const source = sources.digest("hex");

mkdirSync(target, { recursive: true });
for (const [name, format] of [["raceway.js", "iife"], ["raceway.mjs", "esm"]]) {
  const result = await build({
    absWorkingDir: here,
    entryPoints: ["src/raceway.ts"],
    bundle: true,
    minify: true,
    target: "es2020",
    format,
    globalName: format === "iife" ? "raceway" : undefined,
    write: false,
  });
  const body = result.outputFiles[0].text;
  const digest = createHash("sha256").update(body).digest("hex");
  writeFileSync(
    join(target, name),
    `/*! raceway ${version}, BSD-3-Clause, built from client/src sha256:${source} body sha256:${digest} */\n${body}`,
  );
}
