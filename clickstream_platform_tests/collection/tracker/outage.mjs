// node outage.mjs FOLDER_OF_TRACKER CHROMIUM KEY: a page whose visitor goes on while the collector is
// killed and started again. Prints one JSON value a line, and reads one where it waits for its word:
// {"ask": "start"} is answered by the port of a collector that runs, {"ask": "kill"} by anything once it
// is dead. The last line is what was tracked, and what was acknowledged.
//
// The page speaks to one address for ever, as it would to a load balancer: a relay of plain TCP to
// whichever collector runs, which resets connections while none does.

import { createServer as createPages } from 'node:http';
import { createRequire } from 'node:module';
import { connect, createServer as createRelay } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [folder, executablePath, key] = process.argv.slice(2);
const require = createRequire(join(folder, 'package.json'));
const { chromium } = require('playwright-core');

const ROUNDS = 4;
const BEFORE = 20;
const DURING = 12;
const PATIENCE_MS = 60_000;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');
const ask = async (what) => {
  say({ ask: what });
  return JSON.parse((await answers.next()).value);
};

let target;
const relay = createRelay((near) => {
  if (!target) return near.resetAndDestroy();
  const far = connect(target, '127.0.0.1');
  for (const [one, other] of [[near, far], [far, near]]) {
    one.on('error', () => other.resetAndDestroy());
    one.on('close', () => other.destroy());
    one.pipe(other);
  }
});
await new Promise((ready) => relay.listen(0, '127.0.0.1', ready));
const collector = `http://127.0.0.1:${relay.address().port}`;

const pages = createPages((_, response) => {
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  response.end(`<!doctype html><html><head><title>Shop</title><link rel="icon" href="data:,"></head>
    <body><script>${script}</script><script>
      clickstream('init', { key: '${key}', endpoint: '${collector}', batch_ms: 40,
        consent: { analytics: true } });
    </script></body></html>`);
});
target = await ask('start');
// The script is served by the collector; a page that is loaded while it is away has it in its cache.
const script = await (await fetch(`${collector}/t.js`)).text();
const origin = await ask('origin');
await new Promise((ready) => pages.listen(origin, '127.0.0.1', ready));

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const page = await (await browser.newContext()).newPage();
const tracked = [];
const acknowledged = new Set();
const errors = [];
page.on('pageerror', (error) => errors.push(String(error)));
page.on('response', async (response) => {
  if (response.status() != 200 || response.request().method() != 'POST') return;
  for (const { id } of JSON.parse(response.request().postData()).events) acknowledged.add(id);
});
const visit = async () => {
  await page.goto(`http://localhost:${origin}/`);
  await page.waitForFunction(() => window.clickstream);
};
const track = async (count) => {
  for (let n = 0; n < count; n++) {
    const product = `S${tracked.length}`;
    tracked.push(product);
    await page.evaluate((id) => clickstream('track', 'add_to_cart', { product_id: id }), product);
    await sleep(15);
  }
};
const waiting = () => page.evaluate(() => JSON.parse(localStorage.clickstream_queue || '[]').length);

await visit();
for (let round = 0; round < ROUNDS; round++) {
  const busy = track(BEFORE);
  await sleep(Math.random() * 400);
  target = undefined;
  await ask('kill');
  await busy;
  await track(DURING);
  await sleep(500);
  if (!(await waiting())) errors.push(`round ${round}: nothing waits although nobody listens`);
  // In every other round the visitor goes on to another page while nobody listens.
  if (round % 2) await visit();
  target = await ask('start');
  // The collector is back: the next page sends what the ones before it could not.
  if (round % 2 == 0) await visit();
  await track(1);
  const end = Date.now() + PATIENCE_MS;
  while ((await waiting()) && Date.now() < end) await sleep(100);
  if (await waiting()) errors.push(`round ${round}: events still wait`);
}
await sleep(1_000);
await browser.close();
say({ tracked, acknowledged: [...acknowledged], errors });
process.exit(0);
