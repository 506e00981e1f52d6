/** What a visitor loads: each file as it is shipped and as a site might minify it, gzipped. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { transformSync } from "esbuild";

const STATIC = new URL("../../django_live_notify/static/django_live_notify/", import.meta.url);

// Bytes, gzipped.
const LIMITS = [
  ["live-notify.js", { shipped: 8_192, minified: 5_120 }],
  ["live-notify-fallback.js", { shipped: 4_096, minified: 2_048 }],
];

for (const [name, limits] of LIMITS) {
  test(`${name} is small`, (context) => {
    const source = readFileSync(new URL(name, STATIC), "utf8");
    const { code } = transformSync(source, { minify: true, format: "esm", target: "esnext" });
    const sizes = { shipped: gzipped(source), minified: gzipped(code) };
    for (const [form, size] of Object.entries(sizes)) {
      context.diagnostic(`${name} ${form}: ${size} of ${limits[form]} bytes`);
    }
    for (const [form, size] of Object.entries(sizes)) {
      assert.ok(size <= limits[form], `${name} ${form} has ${size} bytes, ${size - limits[form]} too many.`);
    }
  });
}

function gzipped(text) {
  return gzipSync(text, { level: 9 }).length;
}
