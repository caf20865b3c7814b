// Builds every script into built/ (or the folder given), and says how large each is.
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, 'built');
const vitals = JSON.parse(readFileSync(join(here, 'node_modules/web-vitals/package.json'), 'utf8'));
const scripts = {
  't': ['main.ts'],
  't-errors': ['plugins/errors.ts'],
  't-frustration': ['plugins/frustration.ts'],
  't-links': ['plugins/links.ts'],
  't-viewability': ['plugins/viewability.ts'],
  't-vitals': [
    'plugins/vitals.ts',
    `/*! clickstream_platform, Apache-2.0; web-vitals ${vitals.version}, Copyright 2020-2025 Google LLC, Apache-2.0 */`,
  ],
};

mkdirSync(out, { recursive: true });
for (const [name, [entry, banner]] of Object.entries(scripts)) {
  await build({
    absWorkingDir: here,
    entryPoints: [join('src', entry)],
    outfile: join(out, `${name}.js`),
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2021',
    tsconfigRaw: {}, // No "use strict": modules are strict anyway, and none here leans on it.
    legalComments: 'none',
    banner: { js: banner ?? '' },
    logLevel: 'warning',
  });
  const bytes = readFileSync(join(out, `${name}.js`));
  console.log(`${name}.js ${bytes.length} bytes, ${gzipSync(bytes, { level: 9 }).length} gzipped`);
}
