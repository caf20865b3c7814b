// node policy.mjs TRACKER CHROMIUM: reads {"collector", "proxy", "port", "tls", "policies": {name:
// headers}, "reports"}, opens a page under each policy, and waits until the collector has taken so many
// reports. Prints what the pages could do. All is over TLS, as the Reporting API demands; the proxy that
// ends it stands before the collector, as in real life.

import { readFileSync } from 'node:fs';
import { request as pass } from 'node:http';
import { createServer } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [tracker, executablePath] = process.argv.slice(2);
const require = createRequire(join(tracker, 'package.json'));
const { chromium } = require('playwright-core');
const { collector, proxy, port, tls, policies, reports } = JSON.parse(readFileSync(0, 'utf8'));
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

const html = `<!doctype html><link rel="icon" href="data:,">
  <script nonce="abc">window.allowed = true</script>
  <script>window.refused = true</script>
  <img src="https://127.0.0.1:${port}/pixel.gif?email=ann@example.com">
  <script async src="https://127.0.0.1:${proxy}/t.js"></script>`;

const before = createServer(tls, (request, response) => {
  const { url, method, headers } = request;
  const onwards = pass(collector + url, { method, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  request.pipe(onwards);
});
await new Promise((ready) => before.listen(proxy, ready));

const server = createServer(tls, ({ url }, response) => {
  const headers = policies[url.slice(1).split('?')[0]];
  response.writeHead(headers ? 200 : 404, { 'Content-Type': 'text/html', ...headers });
  response.end(headers ? html : '');
});
await new Promise((ready) => server.listen(port, ready));

const browser = await chromium.launch({ executablePath,
  args: ['--no-sandbox', '--ignore-certificate-errors', '--short-reporting-delay'] });
const seen = {};
for (const name of Object.keys(policies)) {
  const page = await browser.newPage();
  await page.goto(`https://localhost:${port}/${name}?email=ann@example.com`);
  await page.waitForLoadState('load');
  seen[name] = await page.evaluate(() => ({
    allowed: !!window.allowed, refused: !!window.refused, tracker: typeof window.clickstream,
  }));
}
const end = Date.now() + 60_000;
let taken = 0;
while (taken < reports && Date.now() < end) {
  await sleep(200);
  taken = (await (await fetch(`${collector}/health`)).json()).records;
}
await browser.close();
before.close();
server.close();
console.log(JSON.stringify({ seen, taken }));
