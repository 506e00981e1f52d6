/** The declarations: what is right compiles, and each line that is wrong is seen. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import ts from "typescript";

import * as shipped from "../../django_live_notify/static/django_live_notify/live-notify.js";

const OPTIONS = {
  strict: true,
  noEmit: true,
  target: ts.ScriptTarget.ESNext,
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  lib: ["lib.esnext.d.ts", "lib.dom.d.ts", "lib.dom.iterable.d.ts"],
  types: [],
};

/** What tsc says about a file and whatever it imports: [line, message]. */
function complaints(name) {
  const path = fileURLToPath(new URL(`types/${name}`, import.meta.url));
  const program = ts.createProgram([path], OPTIONS);
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const text = ts.flattenDiagnosticMessageText(messageText, "\n");
    if (file?.fileName !== path) return [file?.fileName, text];
    return [file.getLineAndCharacterOfPosition(start).line + 1, text];
  });
}

test("whatever the client offers compiles", () => {
  assert.deepEqual(complaints("usage.ts"), []);
});

test("each misuse is seen, and nothing else", () => {
  const lines = readFileSync(new URL("types/misuse.ts", import.meta.url), "utf8").split("\n");
  const first = lines.findIndex((line) => line.startsWith("client."));
  const wrong = lines.flatMap((line, index) => (index >= first && line ? [index + 1] : []));
  const seen = [...new Set(complaints("misuse.ts").map(([line]) => line))].sort((a, b) => a - b);
  assert.deepEqual(seen, wrong);
});

test("what is declared is there, and what is there is declared", () => {
  const path = fileURLToPath(new URL("../../django_live_notify/static/django_live_notify/live-notify.d.ts", import.meta.url));
  const program = ts.createProgram([path], OPTIONS);
  const checker = program.getTypeChecker();
  const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(path)));
  const values = symbols.filter(({ flags }) => flags & ts.SymbolFlags.Value).map(({ name }) => name);
  // What tells the position of a page from that of the browser is for the tests of this package.
  assert.deepEqual(values.sort(), Object.keys(shipped).filter((name) => name !== "Memory").sort());
  const { members } = symbols.find(({ name }) => name === "LiveNotify");
  const declared = [...members.keys()].filter((name) => !name.startsWith("__") && !name.endsWith("EventListener"));
  const client = new shipped.LiveNotify({ endpoint: "https://site.example/live-notify/" });
  const own = [...Object.keys(client), ...Object.getOwnPropertyNames(shipped.LiveNotify.prototype)];
  assert.deepEqual(declared.sort(), own.filter((name) => !["constructor", "handleEvent"].includes(name)).sort());
});
