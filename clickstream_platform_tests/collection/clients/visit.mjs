// node visit.mjs TRACKER CHROMIUM: reads {"collector", "port", "keys"}, and visits a page with each
// client as its users would. Pages are under http://localhost:<port>/<client>; the collector is
// another origin. Prints what went wrong on the pages.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [tracker, executablePath] = process.argv.slice(2);
const require = createRequire(join(tracker, 'package.json'));
const { chromium } = require('playwright-core');
const { build } = require('esbuild');
const { collector, port, keys } = JSON.parse(readFileSync(0, 'utf8'));

const CLIENTS = ['own', 'segment', 'snowplow', 'posthog'];
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const scripts = { own: '' };
for (const client of CLIENTS.slice(1)) {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, `${client}.js`)],
    bundle: true,
    minify: true,
    format: 'iife',
    write: false,
    logLevel: 'error',
    define: { 'process.env.NODE_ENV': '"production"' },
  });
  scripts[client] = outputFiles[0].text;
}

const own = `<script>
    window.clickstream = Object.assign(function () { clickstream.q.push(arguments) }, { q: [] });
    clickstream('init', { key: '${keys.own}', plugins: { links: true } });
    clickstream('consent', { analytics: true });
    clickstream('identify', 'ann');
    clickstream('track', 'add_to_cart', { product_id: 'S1' });
  </script><script async src="${collector}/t.js"></script>`;

const server = createServer((request, response) => {
  const name = new URL(request.url, 'http://localhost').pathname.slice(1);
  if (name.endsWith('.js')) return response.end(scripts[name.slice(0, -3)]);
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  response.end(`<!doctype html><html><head><title>Shop</title><link rel="icon" href="data:,">
    </head><body><button id="buy">Buy</button>
    <script>window.collector = '${collector}'; window.key = '${keys[name]}';</script>
    ${name == 'own' ? own : `<script src="/${name}.js"></script>`}</body></html>`);
});
await new Promise((ready) => server.listen(port, '127.0.0.1', ready));

// A browser that says it is driven is no visitor, to PostHog and to the bot rules here. The beacon
// of a page that closes has the browser's own name, whatever a context was told.
const userAgent =
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36';
const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', `--user-agent=${userAgent}`],
});
const strangers = new Set();

await Promise.all(
  CLIENTS.map(async (client) => {
    const context = await browser.newContext({ locale: 'en-US' });
    await context.addInitScript(() => Object.defineProperty(navigator, 'webdriver', { get: () => false }));
    const page = await context.newPage();
    page.on('request', (request) => {
      const { host } = new URL(request.url());
      if (request.url().startsWith('http') && !/^(localhost|127\.0\.0\.1)/.test(host)) strangers.add(`${client}: ${host}`);
    });
    page.on('pageerror', (error) => process.stderr.write(`${client}: ${error}\n`));
    await page.goto(`http://localhost:${port}/${client}?utm_source=news&email=ann@example.com`);
    await sleep(2_000);
    await page.click('#buy');
    await sleep(4_000);
    await page.goto('about:blank');
    await sleep(500);
    await context.close();
  }),
);
await browser.close();
server.closeAllConnections();
server.close();
console.log(JSON.stringify({ strangers: [...strangers] }));
process.exit(0);
