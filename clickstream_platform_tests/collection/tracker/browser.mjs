// Drives the tracker in a real browser, against a real server that keeps every request.
//
// node browser.mjs FOLDER_OF_TRACKER CHROMIUM [SCENARIO] prints one JSON object: for each scenario
// null or what went wrong, and what was measured.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, executablePath, only] = process.argv.slice(2);
const require = createRequire(join(folder, 'package.json'));
const { chromium } = require('playwright-core');

const AT_ONCE = 5;
const PATIENCE_MS = 40_000;
const SCENARIO_MS = 120_000;

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// -- The server: pages under /<key>/…, the scripts, and the collector. Pages are seen at
// http://localhost, and the collector at http://127.0.0.1: another origin, as in real life. --------

const sites = new Map();

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, 'http://localhost');
  const cors = { 'Access-Control-Allow-Origin': request.headers.origin ?? '*' };
  if (pathname == '/v1/events') {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', async () => {
      const body = Buffer.concat(chunks).toString();
      if (request.method != 'POST') {
        for (const site of sites.values()) site.preflights++;
        return response.writeHead(204, cors).end();
      }
      const payload = JSON.parse(body);
      const site = sites.get(payload.key);
      const status = site.status;
      const beacon = request.headers['sec-fetch-mode'] == 'no-cors';
      site.requests.push({ status, beacon, body, payload, headers: request.headers });
      await site.held;
      response.writeHead(status, cors).end();
    });
  } else if (/^\/t[a-z-]*\.js$/.test(pathname)) {
    response.writeHead(200, { 'Content-Type': 'text/javascript' });
    response.end(readFileSync(join(folder, 'built', pathname)));
  } else {
    const site = sites.get(pathname.split('/')[1]);
    response.writeHead(site ? 200 : 404, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(site?.html ?? '');
  }
});
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const { port } = server.address();
const collector = `http://127.0.0.1:${port}`;

// -- A site: its pages, its visitors' browser, and what the collector got from them. ----------------

const QUICK = { batch_ms: 50, consent: { analytics: true } };
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'],
  ignoreDefaultArgs: ['--disable-back-forward-cache'] });
const measured = {};

class Site {
  requests = [];
  scripts = [];
  preflights = 0;
  // Requests to the collector that pages wait for.
  pending = new Set();
  status = 200;
  // What answers wait for.
  held = undefined;

  constructor(key) {
    this.key = key;
    this.collector = collector;
    this.measured = measured;
    sites.set(key, this);
  }

  // What every page of the site is.
  page_is(body, options = {}, { head = '', snippet } = {}) {
    const init = JSON.stringify({ key: this.key, ...QUICK, ...options });
    snippet ??= `<script>
        window.clickstream = window.clickstream ||
          Object.assign(function () { clickstream.q.push(arguments) }, { q: [] });
        clickstream('init', ${init});
      </script>
      <script async src="${collector}/t.js"></script>`;
    this.html = `<!doctype html><html><head><meta charset="utf-8"><title>Shop</title>
      <link rel="icon" href="data:,">${head}${snippet}</head><body>${body}</body></html>`;
  }

  address(path = '') {
    return `http://localhost:${port}/${this.key}/${path}`;
  }

  async context(options) {
    this.visitor ??= await browser.newContext({ viewport: { width: 800, height: 600 }, ...options });
    return this.visitor;
  }

  async open(path = '', { clock = false, prepare, ...options } = {}) {
    const page = await (await this.context()).newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    this.errors ??= [];
    page.on('request', (request) => {
      const { pathname } = new URL(request.url());
      if (request.resourceType() == 'script') this.scripts.push(pathname);
      if (request.resourceType() == 'fetch') this.pending.add(request);
    });
    for (const name of ['requestfinished', 'requestfailed'])
      page.on(name, (request) => this.pending.delete(request));
    page.on('pageerror', (error) => this.errors.push(String(error)));
    if (clock) await page.clock.install({ time: new Date('2026-03-01T12:00:00Z') });
    if (prepare) await page.addInitScript(prepare);
    await page.goto(this.address(path), options);
    await page.waitForFunction(() => window.clickstream && !window.clickstream.q);
    return page;
  }

  get events() {
    const accepted = this.requests.filter(({ status }) => status < 300);
    return accepted.flatMap(({ payload }) => payload.events);
  }

  named(name) {
    return this.events.filter((event) => event.name == name);
  }

  // Wait until something is so.
  async until(condition, what = condition) {
    const end = Date.now() + PATIENCE_MS;
    while (!(await condition())) {
      if (Date.now() > end) {
        const names = this.events.map((event) => event.name);
        throw new Error(`not yet: ${what}; got ${JSON.stringify(names)}; ${this.errors}`);
      }
      await sleep(20);
    }
  }

  // Wait until the collector has so many events of a name, and return them.
  async got(name, count = 1) {
    await this.until(() => this.named(name).length >= count, `${count} ${name}`);
    return this.named(name);
  }

  // Let whatever waits in the page be sent, and whatever is under way arrive.
  async quiet(page) {
    await page.evaluate(() => clickstream('flush'));
    await sleep(300);
    await this.until(() => !this.pending.size, 'answers');
    await sleep(50);
  }

  // All that the collector was ever told, as text.
  get said() {
    return this.requests.map(({ body }) => body).join('\n');
  }

  async storage(page) {
    const stored = await page.evaluate(() => ({ ...localStorage, ...sessionStorage }));
    return { ...stored, ...Object.fromEntries((await this.visitor.cookies()).map((c) => [c.name, c])) };
  }

  // Headless Chromium has no background tabs: say what a browser says when one is put there.
  hide(page, hidden) {
    return page.evaluate((hidden) => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      const state = hidden ? 'hidden' : 'visible';
      Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
      document.dispatchEvent(new Event('visibilitychange', { bubbles: true }));
    }, hidden);
  }
}

// -- Running the scenarios, a few at a time. --------------------------------------------------------

const scenarios = [];
const scenario = (name, run) => scenarios.push({ name, run });
const { default: describe } = await import(pathToFileURL(join(import.meta.dirname, 'scenarios.mjs')));
describe(scenario);

const outcomes = {};
const waiting = scenarios.filter(({ name }) => !only || name.includes(only));
let number = 0;
const work = async () => {
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const site = new Site(`site-${++number}`);
    const started = Date.now();
    try {
      await Promise.race([
        next.run(site),
        sleep(SCENARIO_MS).then(() => {
          throw new Error('took too long');
        }),
      ]);
      outcomes[next.name] = site.errors?.length ? `errors on the page: ${site.errors}` : null;
    } catch (error) {
      outcomes[next.name] = error.stack;
    }
    await site.visitor?.close();
    process.stderr.write(`${Date.now() - started} ms ${next.name}\n`);
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, work));
await browser.close();
server.closeAllConnections();
server.close();
console.log(JSON.stringify({ outcomes, measured }));
process.exit(0);
