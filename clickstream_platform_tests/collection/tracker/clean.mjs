// node clean.mjs FOLDER_OF_TRACKER: reads a JSON list of addresses, prints them as the tracker
// would send them.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [folder] = process.argv.slice(2);
const { buildSync } = createRequire(join(folder, 'package.json'))('esbuild');
const { outputFiles } = buildSync({
  stdin: {
    contents: "export { clean } from './addresses'; export { configure } from './consent';",
    resolveDir: join(folder, 'src'),
  },
  bundle: true,
  format: 'esm',
  write: false,
});
// The little of a browser that cleaning looks at.
globalThis.document = { baseURI: 'https://example.com/' };
globalThis.localStorage = {};
globalThis.navigator ??= {};
const { clean, configure } = await import(
  'data:text/javascript,' + encodeURIComponent(outputFiles[0].text)
);
// With every query key allowed, only what values look like protects them.
const addresses = JSON.parse(readFileSync(0, 'utf8'));
const keys = addresses.flatMap((address) => [...new URL(address).searchParams.keys()]);
const under = (options) => {
  configure({ key: 'x', ...options });
  return addresses.map((address) => clean(address));
};
console.log(JSON.stringify({ usual: under({}), all_keys: under({ query_keys: keys }) }));
