// What the tracker does in a browser; each scenario has a site and a visitor of its own.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const { deepEqual, equal, ok, notEqual, doesNotMatch, match } = assert;

const names = (site) => site.events.map(({ name }) => name);
const TALL = '<div style="height: 2000px"></div>';

export default (scenario) => {
  scenario('first page view carries its fields, as text and without a preflight', async (site) => {
    site.page_is('<h1>Hello</h1>');
    const before = Date.now();
    await site.open('shoes', { referer: 'https://example.com/search?q=secret' });
    const [view] = await site.got('page_view');
    const [{ payload, headers }] = site.requests;
    deepEqual(Object.keys(payload), ['key', 'sent_at', 'events']);
    ok(payload.sent_at >= view.created_at && view.created_at >= before);
    match(headers['content-type'], /^text\/plain/);
    equal(site.preflights, 0);
    match(view.id, /^[0-9a-z]{20,28}$/);
    match(view.visitor_id, /^[0-9a-z]{20,28}$/);
    match(view.session_id, /^[0-9a-z]{20,28}$/);
    equal(new Set([view.id, view.visitor_id, view.session_id]).size, 3);
    equal(view.page_url, site.address('shoes'));
    equal(view.page_title, 'Shop');
    equal(view.referrer_url, 'https://example.com/search');
    // The window is 800 by 600: 25 and 18.75 times 32.
    deepEqual(view.properties, { viewport_width_px: 800, viewport_height_px: 576 });
    deepEqual(view.consent, {
      analytics: true, marketing: false, personalization: false, gpc: false,
    });
    equal('user_id' in view, false);
  });

  scenario('second page keeps visitor and session', async (site) => {
    site.page_is('');
    const page = await site.open('one');
    await site.got('page_view');
    await page.evaluate(() => { location.href = 'two?email=ann@example.com'; });
    const [one, two] = await site.got('page_view', 2);
    equal(two.visitor_id, one.visitor_id);
    equal(two.session_id, one.session_id);
    equal(two.referrer_url, site.address('one'));
    equal(names(site).includes('consent_update'), false);
  });

  scenario('new addresses of an application are page views, other changes of state are none', async (site) => {
    site.page_is('');
    const page = await site.open('?utm_source=news&view=grid');
    await site.got('page_view');
    await page.evaluate(() => {
      // Campaign parameters that a site removes, and queries that are not allowed.
      history.replaceState({}, '', '?view=list');
      history.pushState({}, '', '#section');
      // An application puts the title only after the address.
      history.pushState({}, '', 'product/1');
      document.title = 'Product 1';
    });
    await site.got('page_view', 2);
    await page.evaluate(() => {
      history.pushState({}, '', '#/cart?email=ann@example.com');
      document.title = 'Cart';
    });
    await site.got('page_view', 3);
    await page.evaluate(() => history.back());
    await site.got('page_view', 4);
    await site.quiet(page);
    const views = site.named('page_view');
    deepEqual(
      views.map(({ page_url, page_title }) => [page_url.replace(site.address(), ''), page_title]),
      [['?utm_source=news', 'Shop'], ['product/1', 'Product 1'], ['product/1#/cart', 'Cart'],
        ['product/1', 'Cart']],
    );
    equal(views[1].referrer_url, site.address('?utm_source=news'));
    equal(views[2].referrer_url, site.address('product/1'));
  });

  scenario('allowed query keys tell pages apart', async (site) => {
    site.page_is('', { query_keys: ['page'] });
    const page = await site.open('list?page=1&sort=up');
    await page.evaluate(() => history.pushState({}, '', '?page=2&sort=down'));
    const views = await site.got('page_view', 2);
    deepEqual(
      views.map(({ page_url }) => page_url),
      [site.address('list?page=1'), site.address('list?page=2')],
    );
  });

  scenario('pages can be begun by hand', async (site) => {
    site.page_is('', { spa: false });
    const page = await site.open();
    await page.evaluate(() => {
      history.pushState({}, '', 'unseen');
      history.pushState({}, '', 'seen');
      clickstream('page', { step: 2 });
    });
    const [, second] = await site.got('page_view', 2);
    await site.quiet(page);
    equal(second.page_url, site.address('seen'));
    equal(second.properties.step, 2);
    equal(site.named('page_view').length, 2);
    // Begun by hand before anything is allowed, a page is seen once it is.
    site.page_is('', { spa: false, consent: {} });
    await page.evaluate(() => clickstream('consent', { analytics: false }));
    await page.goto(site.address('later'));
    await page.waitForFunction(() => window.clickstream && !window.clickstream.q);
    await page.evaluate(() => {
      clickstream('page');
      clickstream('consent', { analytics: true });
    });
    const [, , third] = await site.got('page_view', 3);
    await site.quiet(page);
    deepEqual([third.page_url, third.referrer_url], [site.address('later'), '']);
    equal(site.named('page_view').length, 3);
  });

  scenario('nothing is sent or stored before consent, and all is after it', async (site) => {
    site.page_is(`<button id="buy">Buy</button><form><input id="name"></form>${TALL}`, {
      consent: {}, plugins: { vitals: true },
    });
    const act = async (page) => {
      await page.click('#buy');
      await page.fill('#name', 'Ann');
      await page.mouse.wheel(0, 900);
      await page.evaluate(() => clickstream('track', 'sign_up', { plan: 'free' }));
      await page.evaluate(() => history.pushState({}, '', 'second'));
      await site.quiet(page);
    };
    const page = await site.open('first');
    await act(page);
    // A refusal is no consent either, in whichever words.
    await page.evaluate(() => clickstream('consent', { analytics: 'denied' }));
    await page.evaluate(() => clickstream('consent', { analytics: false, marketing: true }));
    await act(page);
    equal(site.requests.length, 0);
    deepEqual(await site.storage(page), {});
    deepEqual(site.scripts, ['/t.js']);
    await page.evaluate(() => clickstream('consent', { analytics: true }));
    const [view] = await site.got('page_view');
    await act(page);
    deepEqual(names(site).slice(0, 2), ['consent_update', 'page_view']);
    deepEqual(new Set(site.events.slice(0, 2).map(({ page_url }) => page_url)), new Set([site.address('second')]));
    equal(view.consent.analytics, true);
    for (const name of ['click', 'form_start', 'scroll', 'sign_up']) await site.got(name);
    deepEqual(Object.keys(await site.storage(page)), ['clickstream']);
    deepEqual(site.scripts, ['/t.js', '/t-vitals.js']);
    // The next page knows the choice without being told, and being told again is no news.
    await page.goto(site.address('third'));
    await page.waitForFunction(() => window.clickstream && !window.clickstream.q);
    await page.evaluate(() => clickstream('consent', { analytics: true }));
    await site.quiet(page);
    equal(site.named('consent_update').length, 1);
    const third = site.named('page_view').at(-1);
    equal(third.page_url, site.address('third'));
    equal(third.visitor_id, view.visitor_id);
  });

  scenario('withdrawal is the last thing sent, and leaves nothing behind, in no tab', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { consent: {}, batch_ms: 20_000 });
    const flush = (tab) => tab.evaluate(() => clickstream('flush'));
    const page = await site.open();
    await page.evaluate(() => clickstream('consent', { analytics: true }));
    await flush(page);
    const [{ visitor_id }] = await site.got('page_view');
    const other = await site.open('other');
    await flush(other);
    await site.got('page_view', 2);
    // These clicks still wait for their batch when consent is withdrawn: they are not sent.
    await other.click('#buy');
    await page.evaluate(() => {
      document.querySelector('#buy').click();
      clickstream('consent', { analytics: false });
    });
    const update = (await site.got('consent_update', 2)).at(-1);
    equal(update.consent.analytics, false);
    equal(update.visitor_id, visitor_id);
    const count = site.requests.length;
    for (const tab of [page, other]) {
      await tab.click('#buy');
      await tab.evaluate(() => clickstream('track', 'purchase'));
      await tab.evaluate(() => history.pushState({}, '', 'next'));
      await site.quiet(tab);
    }
    equal(site.requests.length, count);
    deepEqual(site.named('click'), []);
    deepEqual(await site.storage(page), {});
    await page.goto(site.address('again'));
    await sleep(300);
    equal(site.requests.length, count);
    // Somebody who agrees again is somebody new.
    await page.evaluate(() => clickstream('consent', { analytics: true }));
    await flush(page);
    const view = (await site.got('page_view', 3)).at(-1);
    notEqual(view.visitor_id, visitor_id);
  });

  scenario('withdrawal that cannot be delivered is tried again, alone', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { consent: {} });
    const page = await site.open('', { clock: true });
    await page.evaluate(() => clickstream('consent', { analytics: true }));
    await page.clock.runFor(100);
    await site.got('page_view');
    const asked = (count) => site.until(() => site.requests.length >= count, `${count} requests`);
    site.status = 503;
    await page.click('#buy');
    await page.clock.runFor(100);
    await asked(2);
    // This one is under way while consent is withdrawn, and fails after that.
    let release;
    site.held = new Promise((done) => { release = done; });
    await page.evaluate(() => {
      clickstream('track', 'sign_up');
      clickstream('flush');
    });
    await asked(3);
    await page.evaluate(() => clickstream('consent', { analytics: false }));
    await asked(4);
    deepEqual(await site.storage(page), {});
    release();
    await site.until(() => !site.pending.size);
    site.status = 200;
    const before = site.events.length;
    await site.until(async () => {
      await page.clock.runFor(5_000);
      return site.named('consent_update').length > 1;
    });
    await sleep(200);
    deepEqual(site.events.slice(before).map(({ name }) => name), ['consent_update']);
  });

  scenario('refusal is remembered where measurement is on by default', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { consent: { analytics: true } });
    const page = await site.open();
    const [view] = await site.got('page_view');
    await page.evaluate(() => clickstream('consent', { analytics: false }));
    const [update] = await site.got('consent_update');
    equal(update.visitor_id, view.visitor_id);
    const { clickstream, ...rest } = await site.storage(page);
    deepEqual(rest, {});
    deepEqual(JSON.parse(clickstream), {
      c: { analytics: false, marketing: false, personalization: false },
    });
    await page.goto(site.address('next'));
    await page.click('#buy');
    await site.quiet(page);
    equal(site.events.at(-1), update);
  });

  scenario('Global Privacy Control stops everything, or all but measurement', async (site) => {
    const prepare = () => Object.defineProperty(navigator, 'globalPrivacyControl', { value: true });
    site.page_is('<button id="buy">Buy</button>', { cookieless: 'on_reject' });
    // Stored by a visit before the visitor turned it on.
    const early = await site.open();
    await site.got('page_view');
    await sleep(200);
    await early.goto('about:blank');
    await site.got('page_ping');
    await sleep(300);
    await early.close();
    const count = site.requests.length;
    const page = await site.open('', { prepare });
    await page.evaluate(() => clickstream('consent', { analytics: true, marketing: true }));
    await page.click('#buy');
    await site.quiet(page);
    equal(site.requests.length, count);
    deepEqual(await site.storage(page), {});

    site.page_is('', { gpc: 'marketing', consent: { analytics: true, marketing: true } });
    await site.open('?gclid=EAIa&utm_source=ads', { prepare });
    const view = (await site.got('page_view', 2)).at(-1);
    deepEqual(view.consent, {
      analytics: true, marketing: false, personalization: false, gpc: true,
    });
    equal(view.page_url, site.address('?gclid=1&utm_source=ads'));
  });

  scenario('cookieless events have no identifiers, and nothing is stored', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { cookieless: 'always', consent: {} });
    const page = await site.open();
    await page.evaluate(() => clickstream('identify', 'ann'));
    await page.click('#buy');
    const [click] = await site.got('click');
    const [view] = await site.got('page_view');
    for (const event of [view, click]) {
      for (const id of ['visitor_id', 'session_id', 'user_id']) equal(id in event, false);
      equal(event.consent.analytics, false);
    }
    site.status = 503;
    await page.click('#buy');
    await site.quiet(page);
    deepEqual(await site.storage(page), {});
    site.status = 200;
    const count = site.requests.length;
    await page.evaluate(() => clickstream('consent', { analytics: false }));
    await page.click('#buy');
    await page.goto('about:blank');
    await sleep(400);
    // What waited may still be sent; what comes after the refusal may not.
    const late = site.requests.slice(count).flatMap(({ payload }) => payload.events);
    ok(late.filter(({ name }) => name == 'click').length <= 1);
    equal(late.some(({ name }) => name == 'page_ping'), false);
  });

  scenario('cookieless after a refusal only, where so chosen', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { cookieless: 'on_reject', consent: {} });
    const page = await site.open();
    await page.click('#buy');
    await site.quiet(page);
    equal(site.requests.length, 0);
    await page.evaluate(() => clickstream('consent', { analytics: false }));
    const [view] = await site.got('page_view');
    equal('visitor_id' in view, false);
    deepEqual(await site.storage(page), {});
    await page.evaluate(() => clickstream('consent', { analytics: true }));
    const [update] = await site.got('consent_update');
    ok(update.visitor_id);
    equal(site.named('page_view').length, 1);
  });

  scenario('values of forms are never sent', async (site) => {
    site.page_is(`
      <form id="signup" name="signup" action="/join?token=t0ken" onsubmit="return false">
        <input name="id" value="s3cret-id"><input name="name" id="who"><input name="action">
        <input name="mail" type="email" id="mail"><input name="pass" type="password" id="pass">
        <input type="hidden" name="csrf" value="s3cret-csrf">
        <select name="size" id="size"><option>s3cret-small<option>s3cret-large</select>
        <textarea name="note" id="note"></textarea>
        <label><input type="checkbox" id="terms" value="s3cret-terms"> I agree</label>
        <button id="go">Join as s3cret-label</button>
      </form>
      <form id="other"><input id="left"></form>`, { plugins: { frustration: true, links: true, errors: true } });
    const page = await site.open();
    await page.fill('#who', 'Ann s3cret');
    await page.fill('#mail', 'ann@example.com');
    await page.fill('#pass', 's3cret-pass');
    await page.selectOption('#size', { index: 1 });
    await page.fill('#note', 's3cret-note');
    await page.check('#terms');
    await page.click('#go');
    const [submitted] = await site.got('form_submit');
    await page.fill('#left', 's3cret-left');
    await page.evaluate(() => history.pushState({}, '', 'elsewhere'));
    const [abandoned] = await site.got('form_abandon');
    // Put aside is not left; a reload is.
    await page.fill('#left', 's3cret-again');
    await site.hide(page, true);
    await site.hide(page, false);
    await site.quiet(page);
    equal(site.named('form_abandon').length, 1);
    await page.reload();
    await site.got('form_abandon', 2);
    const about = {
      element_type: 'form', element_id: 'signup', element_name: 'signup',
      link_url: site.address('').replace(/\/[^/]*\/$/, '/join'),
    };
    deepEqual(submitted.properties, about);
    deepEqual(site.named('form_start').map(({ properties }) => properties.element_id), ['signup', 'other', 'other']);
    equal(site.named('form_submit').length, 1);
    equal(abandoned.properties.element_id, 'other');
    equal(abandoned.page_url, site.address());
    doesNotMatch(site.said, /s3cret|ann@|Ann|t0ken/);
  });

  scenario('addresses and texts lose what names a person', async (site) => {
    site.page_is(`
      <a id="a" href="/next?email=ann@example.com&utm_source=mail&utm_term=ann%40example.com#x">a</a>
      <a id="b" href="mailto:ann@example.com">b</a>
      <a id="c" href="https://ann:pass@example.com/u/ann%2540example.com/x">c</a>
      <a id="d" href="javascript:void('ann@example.com')">d</a>
      <script>for (const a of document.querySelectorAll('a')) a.onclick = () => false</script>`);
    const page = await site.open(
      'u/ann@example.com/home?email=ann@example.com&EMAIL=x&token=t0ken&utm_campaign=spring&gclid=EAIaIQ#access_token=t0ken',
    );
    const [view] = await site.got('page_view');
    equal(view.page_url, site.address('u/[email]/home?utm_campaign=spring&gclid=1'));
    for (const id of 'abcd') await page.click(`#${id}`);
    const clicks = await site.got('click', 4);
    const origin = new URL(site.address()).origin;
    deepEqual(clicks.map(({ properties }) => properties.link_url), [
      `${origin}/next?utm_source=mail&utm_term=[email]`,
      'mailto:',
      'https://example.com/u/[email]/x',
      'javascript:',
    ]);
    await page.evaluate(() => history.pushState({}, '', '#/access_token=t0ken&scope=mail'));
    await page.evaluate(() => {
      document.title = 'Inbox of ann@example.com';
      clickstream('consent', { marketing: true });
      clickstream('identify', 'ann@example.com');
      history.pushState({}, '', '/next?fbclid=IwAR0&dclid=x&email=b');
      clickstream('track', 'search', { term: 'from bob+x@mail.example.com', nested: [{ to: 'bob@example.com' }] });
    });
    const [search] = await site.got('search');
    const [, fragment, next] = await site.got('page_view', 3);
    match(fragment.page_url, /#\/access_token$/);
    equal(next.page_url, `${origin}/next?fbclid=IwAR0&dclid=x`);
    equal(next.page_title, 'Inbox of [email]');
    deepEqual(search.properties, { term: 'from [email]', nested: [{ to: '[email]' }] });
    // An identifier is the site's choice, and goes as it is.
    equal(search.user_id, 'ann@example.com');
    // A click id is for advertising alone, also after a change of mind on the same page.
    await page.evaluate(() => {
      clickstream('consent', { marketing: false });
      // The search for addresses does not take for ever, whatever it is in.
      clickstream('track', 'odd', { text: 'a@'.repeat(30_000) });
    });
    const [odd] = await site.got('odd');
    equal(odd.page_url, `${origin}/next?fbclid=1&dclid=1`);
    equal(site.named('consent_update').at(-1).page_url, odd.page_url);
    doesNotMatch(site.said.replaceAll('"user_id":"ann@example.com"', ''), /ann@|ann%|bob|t0ken|pass/);
  });

  scenario('scroll depth counts against the height at which scrolling began', async (site) => {
    // 600 of 3,000 px are visible. Milestones are due at 750, 1,500, 2,250, 2,700 and 3,000 px.
    site.page_is('<style>body{margin:0}</style><div id="page" style="height:3000px"></div>');
    const page = await site.open();
    await site.got('page_view');
    const to = (y) => page.evaluate((y) => new Promise((done) => {
      addEventListener('scroll', () => requestAnimationFrame(done), { once: true });
      scrollTo(0, y);
    }), y);
    await to(100);
    await to(1000);
    // The page loads more of itself, as endless pages do.
    await page.evaluate(() => { document.querySelector('#page').style.height = '9000px'; });
    await to(1900);
    await to(200);
    await to(5000);
    await site.got('scroll', 5);
    deepEqual(site.named('scroll').map(({ properties }) => properties.scroll_share), [0.25, 0.5, 0.75, 0.9, 1]);
    deepEqual(site.named('scroll').map(({ properties }) => properties.scroll_px), [1600, 1600, 2500, 5600, 5600]);
    deepEqual(site.named('scroll')[3].properties, {
      scroll_share: 0.9, scroll_px: 5600, page_height_px: 3000, page_growth_px: 6000,
    });
    await page.goto('about:blank');
    const ping = (await site.got('page_ping')).at(-1);
    equal(ping.properties.scroll_px, 5600);
    equal(ping.properties.scroll_share, 1);
  });

  scenario('each page view has a scroll depth of its own', async (site) => {
    site.page_is(`<style>body{margin:0}</style><div style="height:2400px"></div>`);
    const page = await site.open();
    await site.got('page_view');
    const to = (y) => page.evaluate((y) => new Promise((done) => {
      addEventListener('scroll', () => requestAnimationFrame(done), { once: true });
      scrollTo(0, y);
    }), y);
    await to(700);
    await page.evaluate(() => history.pushState({}, '', 'next'));
    // An application that goes back to the top has not scrolled.
    await to(0);
    await site.got('page_ping');
    await site.quiet(page);
    deepEqual(site.named('scroll').map(({ properties, page_url }) => [properties.scroll_share, page_url]),
      [[0.25, site.address()], [0.5, site.address()]]);
    const [ping] = site.named('page_ping');
    equal(ping.page_url, site.address());
    equal(ping.properties.scroll_px, 1300);
    await to(100);
    const third = (await site.got('scroll', 3)).at(-1);
    equal(third.page_url, site.address('next'));
    equal(third.properties.scroll_share, 0.25);
  });

  scenario('scroll depth of an element that scrolls in place of the page', async (site) => {
    site.page_is(`<style>body{margin:0}</style>
      <div id="app" style="height:500px;overflow:auto"><div style="height:1000px"></div></div>
      <div id="menu" style="height:50px;overflow:auto"><div style="height:1000px"></div></div>`,
      { scroll_root: '#app' });
    const page = await site.open();
    const to = (id, y) => page.evaluate(([id, y]) => new Promise((done) => {
      addEventListener('scroll', () => requestAnimationFrame(done), { once: true, capture: true });
      document.querySelector(id).scrollTop = y;
    }), [id, y]);
    await to('#menu', 900);
    await site.quiet(page);
    deepEqual(site.named('scroll'), []);
    await to('#app', 300);
    await site.got('scroll', 3);
    await site.quiet(page);
    const { properties } = site.named('scroll')[2];
    deepEqual([properties.scroll_px, properties.page_height_px, site.named('scroll').length], [800, 1000, 3]);
  });

  scenario('engaged time is visible time with signs of the visitor', async (site) => {
    site.page_is('', { ping_ms: 600_000 });
    const page = await site.open('', { clock: true });
    const wait = (seconds) => page.clock.runFor(seconds * 1_000);
    const sign = () => page.evaluate(() => dispatchEvent(new PointerEvent('pointermove')));
    await page.clock.pauseAt(new Date('2026-03-01T12:00:10Z'));
    // From here on the clock stands still unless told.
    await page.evaluate(() => history.pushState({}, '', 'one'));
    await wait(20);
    await sign();
    await wait(50); // 30 s count, then the visitor is taken to be away
    await sign();
    await wait(5);
    await page.evaluate(() => history.pushState({}, '', 'two'));
    await wait(2);
    await site.hide(page, true);
    await wait(3_600);
    await sign(); // no sign counts where nothing is seen
    await wait(10);
    await site.hide(page, false);
    await wait(4);
    await page.goto('about:blank');
    const times = (path) => site.named('page_ping')
      .filter(({ page_url }) => page_url == site.address(path))
      .map(({ engaged_time_ms }) => engaged_time_ms);
    await site.until(() => times('two').length > 1, 'two pings of the second page');
    deepEqual(times('one'), [20_000 + 30_000 + 5_000]);
    deepEqual(times('two'), [2_000, 4_000]);
  });

  scenario('pings report engaged time while the page is open', async (site) => {
    site.page_is('', { ping_ms: 15_000 });
    const page = await site.open('', { clock: true });
    await page.clock.pauseAt(new Date('2026-03-01T12:00:10Z'));
    // Nobody moves: 30 seconds count from the opening of the page, and no ping follows.
    const times = () => site.named('page_ping').map(({ engaged_time_ms }) => engaged_time_ms);
    const total = () => times().reduce((sum, ms) => sum + ms, 0);
    await page.clock.runFor(70_000);
    await site.until(async () => {
      await page.clock.runFor(1_000);
      return total() >= 29_990;
    });
    await page.clock.runFor(70_000);
    await site.quiet(page);
    ok(Math.abs(total() - 30_000) <= 10, String(times()));
    ok(times().length <= 3, String(times()));
  });

  scenario('a session ends after more than thirty minutes', async (site) => {
    site.page_is('', { ping_ms: 1e9 });
    const page = await site.open('', { clock: true });
    await page.clock.pauseAt(new Date('2026-03-01T12:00:10Z'));
    const track = (name) => page.evaluate((name) => clickstream('track', name), name);
    await track('first');
    await page.clock.runFor(1_800_000);
    await track('second');
    await page.clock.runFor(1_800_001);
    await track('third');
    await page.clock.runFor(1_000);
    for (const name of ['first', 'second', 'third']) await site.got(name);
    const [first, second, third] = ['first', 'second', 'third'].map((name) => site.named(name)[0]);
    equal(second.session_id, first.session_id);
    notEqual(third.session_id, second.session_id);
    equal(third.visitor_id, first.visitor_id);
  });

  scenario('events made offline are sent once when the browser is online again', async (site) => {
    site.page_is('<button id="buy">Buy</button>');
    const page = await site.open();
    await site.got('page_view');
    const context = await site.context();
    await context.setOffline(true);
    for (let i = 0; i < 3; i++) await page.evaluate((i) => clickstream('track', 'add_to_cart', { i }), i);
    await page.waitForFunction(() => localStorage.clickstream_queue?.split('add_to_cart').length == 4);
    equal(site.named('add_to_cart').length, 0);
    await context.setOffline(false);
    await site.got('add_to_cart', 3);
    await site.quiet(page);
    deepEqual(site.named('add_to_cart').map(({ properties }) => properties.i), [0, 1, 2]);
    equal(new Set(site.events.map(({ id }) => id)).size, site.events.length);
    await page.waitForFunction(() => !localStorage.clickstream_queue);
  });

  scenario('requests that fail together are sent again in the order of their events', async (site) => {
    site.page_is('');
    const page = await site.open();
    await site.got('page_view');
    const under_way = [];
    await page.route('**/v1/events', (route) => void under_way.push(route));
    for (const i of [0, 1]) {
      await page.evaluate((i) => clickstream('track', 'add_to_cart', { i }), i);
      await site.until(() => under_way.length > i, 'both are under way');
    }
    for (const route of under_way) await route.abort();
    await page.unroute('**/v1/events');
    await site.got('add_to_cart', 2);
    deepEqual(site.named('add_to_cart').map(({ properties }) => properties.i), [0, 1]);
  });

  scenario('events that a page could not send are sent once by the next one', async (site) => {
    site.page_is('<button id="buy">Buy</button>');
    const page = await site.open('first');
    await site.got('page_view');
    site.status = 503;
    await page.click('#buy');
    await page.waitForFunction(() => localStorage.clickstream_queue);
    await page.goto('about:blank');
    await page.close();
    equal(site.named('click').length, 0);
    site.status = 200;
    const next = await site.open('second');
    await site.got('page_view', 2);
    const [click] = await site.got('click');
    const [ping] = await site.got('page_ping');
    await site.quiet(next);
    equal(click.page_url, site.address('first'));
    equal(ping.page_url, site.address('first'));
    equal(new Set(site.events.map(({ id }) => id)).size, site.events.length);
    const { payload } = site.requests.find(({ status, payload }) => status == 200 && payload.events.some(({ id }) => id == click.id));
    ok(payload.sent_at > click.created_at);
    await next.waitForFunction(() => !localStorage.clickstream_queue);
  });

  scenario('what the collector refuses for good is not sent again, and what waits is bounded', async (site) => {
    site.page_is('', { ping_ms: 1e9 });
    const page = await site.open('', { clock: true });
    await page.clock.runFor(100);
    await site.got('page_view');
    const asked = (count) => site.until(() => site.requests.length >= count && !site.pending.size, `${count} requests`);
    site.status = 400;
    await page.evaluate(() => clickstream('track', 'refused'));
    await page.clock.runFor(100);
    await asked(2);
    await page.clock.runFor(60_000);
    await site.quiet(page);
    equal(site.requests.length, 2);
    site.status = 503;
    await page.evaluate(() => clickstream('track', 'before'));
    await page.clock.runFor(100);
    await asked(3);
    await page.waitForFunction(() => localStorage.clickstream_queue);
    await page.evaluate(() => { for (let i = 0; i < 300; i++) clickstream('track', 'many', { i }); });
    await page.clock.runFor(5_000);
    await asked(4);
    await page.waitForFunction(() => JSON.parse(localStorage.clickstream_queue).length == 200);
    site.status = 200;
    await site.until(async () => {
      await page.clock.runFor(10_000);
      return site.named('many').length >= 200;
    });
    await site.quiet(page);
    const many = site.named('many').map(({ properties }) => properties.i).sort((a, b) => a - b);
    deepEqual(many, Array.from({ length: 200 }, (_, i) => i + 100));
    deepEqual(site.named('refused'), []);
    ok(site.requests.every(({ payload }) => payload.events.length <= 25));
  });

  scenario('leaving the page sends what waits as a beacon', async (site) => {
    site.page_is('<button id="buy">Buy</button><a id="out" href="about:blank">out</a>', { batch_ms: 60_000 });
    const page = await site.open();
    await page.click('#buy');
    equal(site.requests.length, 0);
    await sleep(200);
    await page.click('#buy');
    await page.goto('about:blank');
    await site.got('page_ping');
    await sleep(200);
    // On a slow machine, time may pass between the two events that tell of leaving.
    deepEqual(names(site).filter((name, i, all) => name != all[i - 1] || name != 'page_ping'),
      ['page_view', 'click', 'click', 'page_ping']);
    ok(site.requests.every(({ beacon }) => beacon));
    match(site.requests[0].headers['content-type'], /^text\/plain/);
    ok(site.named('page_ping')[0].engaged_time_ms >= 190);
  });

  scenario('a tab that is put aside sends what waits, and goes on when it comes back', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { batch_ms: 60_000 });
    const page = await site.open();
    await page.click('#buy');
    await site.hide(page, true);
    await site.got('click');
    const [{ beacon }] = site.requests;
    equal(beacon, true);
    await page.evaluate(() => clickstream('track', 'in_background'));
    await site.got('in_background');
    await site.hide(page, false);
    await page.evaluate(() => clickstream('track', 'in_foreground'));
    await site.quiet(page);
    await site.got('in_foreground');
    equal(new Set(site.events.map(({ id }) => id)).size, site.events.length);
  });

  scenario('an event too large for a beacon is sent all the same', async (site) => {
    site.page_is('');
    const page = await site.open();
    await site.got('page_view');
    await site.hide(page, true);
    await page.evaluate(() => clickstream('track', 'large', { text: 'x'.repeat(70_000) }));
    const [{ properties }] = await site.got('large');
    equal(properties.text.length, 70_000);
    equal(site.requests.at(-1).beacon, false);
  });

  scenario('few letters of many bytes are sent, and hold nothing up', async (site) => {
    site.page_is('', { ping_ms: 1e9 });
    const page = await site.open('', { clock: true });
    await page.clock.runFor(100);
    await site.got('page_view');
    // Three bytes each: more than browsers let outlive a page, though not by their number.
    await page.evaluate(() => clickstream('track', 'wide', { text: '\u6587'.repeat(30_000) }));
    await page.clock.runFor(100);
    await page.evaluate(() => clickstream('track', 'next'));
    await site.until(async () => {
      await page.clock.runFor(1_000);
      return site.named('next').length;
    });
    equal(site.named('wide')[0].properties.text.length, 30_000);
  });

  scenario('coming back from the back/forward cache is a page view', async (site) => {
    site.page_is('<button id="buy">Buy</button><p data-track-view="words">Words</p>',
      { plugins: { viewability: { visible_ms: 100 } } });
    const page = await site.open('one');
    const [{ visitor_id }] = await site.got('page_view');
    await site.got('element_view');
    await page.evaluate(() => { window.same = true; location.href = 'two'; });
    await site.got('page_view', 2);
    await site.got('element_view', 2);
    await page.goBack({ waitUntil: 'commit' });
    await page.waitForFunction(() => window.same);
    const third = (await site.got('page_view', 3)).at(-1);
    equal(third.page_url, site.address('one'));
    equal(third.visitor_id, visitor_id);
    // What is on it is seen anew, too.
    await site.got('element_view', 3);
    await page.click('#buy');
    await site.got('click');
    await site.quiet(page);
    equal(site.named('page_view').length, 3);
    equal(site.named('click').length, 1);
  });

  scenario('a page that was kept aside while the choice changed knows of it when it comes back', async (site) => {
    site.page_is('<button id="buy">Buy</button>', { consent: {} });
    const page = await site.open('one?gclid=EAIa');
    const choose = (choice) => page.evaluate((choice) => clickstream('consent', choice), choice);
    const go = async (path) => {
      await page.evaluate((path) => { window.same = true; location.href = path; }, path);
      await page.waitForURL('**/' + path);
      await page.waitForFunction(() => window.clickstream && !window.clickstream.q && !window.same);
    };
    const back = async () => {
      await page.goBack({ waitUntil: 'commit' });
      await page.waitForFunction(() => window.same);
      await page.click('#buy');
      await site.quiet(page);
    };
    await choose({ analytics: true, marketing: true });
    await site.got('page_view');
    await go('two');
    await choose({ marketing: false });
    await site.got('consent_update', 2);
    await back();
    const click = (await site.got('click')).at(-1);
    deepEqual([click.consent.marketing, click.page_url], [false, site.address('one?gclid=1')]);
    equal(site.named('page_view').length, 3);
    await go('three');
    await choose({ analytics: false });
    const update = (await site.got('consent_update', 3)).at(-1);
    const count = site.events.length;
    await back();
    deepEqual(site.events.slice(count), []);
    equal(site.events.at(-1), update);
    deepEqual(await site.storage(page), {});
    // Agreed to on another page, it is agreed to here, and one page view tells so.
    await go('four');
    await choose({ analytics: true });
    await site.got('consent_update', 4);
    await back();
    const views = site.named('page_view').slice(-2);
    deepEqual(views.map(({ page_url }) => page_url), ['four', 'one?gclid=1'].map((path) => site.address(path)));
    equal(site.named('page_view').length, 6);
  });

  scenario('a page rendered ahead of its visit waits for it', async (site) => {
    site.page_is('');
    // What Chromium says of such a page; its driver cannot drive one.
    const page = await site.open('', {
      prepare: () => Object.defineProperty(document, 'prerendering', { value: true, configurable: true }),
    });
    await page.evaluate(() => clickstream('track', 'view_item', { product_id: 'shoe' }));
    await sleep(400);
    equal(site.requests.length, 0);
    deepEqual(await site.storage(page), {});
    await page.evaluate(() => {
      delete document.prerendering;
      document.dispatchEvent(new Event('prerenderingchange'));
    });
    await site.got('view_item');
    await site.quiet(page);
    deepEqual(names(site), ['page_view', 'view_item']);
  });

  scenario('clicks tell the element, through shadow roots, and nothing it says', async (site) => {
    site.page_is(`
      <button id="buy" data-track="buy now"><b id="inner">Hello s3cret</b></button>
      <p id="text">nothing</p><div id="host"></div>
      <div id="stopped" role="button" onclick="event.stopPropagation()">x</div>
      <script>
        document.querySelector('#host').attachShadow({ mode: 'open' }).innerHTML =
          '<button id="shadow">s3cret</button>';
      </script>`);
    const page = await site.open();
    await page.click('#inner');
    await page.click('#text');
    await page.click('#shadow');
    await page.click('#stopped');
    const clicks = await site.got('click', 3);
    await site.quiet(page);
    deepEqual(site.named('click').map(({ properties }) => properties), [
      { element_type: 'button', element_id: 'buy', element_name: 'buy now' },
      { element_type: 'button', element_id: 'shadow' },
      { element_type: 'div', element_id: 'stopped' },
    ]);
    equal(clicks[0].page_url, site.address());
    doesNotMatch(site.said, /s3cret/);
  });

  scenario('rage clicks are three on one spot within a second', async (site) => {
    site.page_is('<style>body{margin:0;user-select:none}</style><div id="stuck" style="height:500px">stuck</div><div id="step">+</div>',
      { plugins: { frustration: { ignore: '#step' } } });
    const page = await site.open('', { clock: true });
    await page.clock.pauseAt(new Date('2026-03-01T12:01:00Z'));
    await page.waitForLoadState('networkidle');
    // Times of the clicks are given, so that a slow machine cannot stretch them.
    const click = (at, x, y, id = '#stuck') => page.evaluate(([at, x, y, id]) => {
      const init = { bubbles: true, composed: true, detail: 1, clientX: x, clientY: y };
      const event = new MouseEvent('click', init);
      Object.defineProperty(event, 'timeStamp', { value: at });
      document.querySelector(id).dispatchEvent(event);
    }, [at, x, y, id]);
    const rages = async () => {
      await page.clock.runFor(100);
      await site.quiet(page);
      return site.named('rage_click').length;
    };
    for (const at of [0, 600, 1_001]) await click(at, 50, 50); // a moment too slow
    equal(await rages(), 0);
    for (const x of [50, 50, 81]) await click(5_000, x, 50); // a pixel too far
    equal(await rages(), 0);
    for (const at of [9_000, 9_100, 9_200]) await click(at, 50, 50, '#step'); // told not to look
    equal(await rages(), 0);
    for (const [at, x] of [[20_000, 50], [20_500, 80], [21_000, 65]]) await click(at, x, 50);
    equal(await rages(), 1);
    await click(21_100, 65, 50); // the fourth is of the same rage
    equal(await rages(), 1);
    deepEqual(site.named('rage_click')[0].properties, { element_type: 'div', element_id: 'stuck', clicks: 3 });
  });

  scenario('rage clicks by a real mouse; three that select a text are none', async (site) => {
    site.page_is('<div id="stuck" style="user-select:none">stuck</div><p id="text">Some words</p>',
      { plugins: { frustration: { rage_ms: 10_000 } } });
    const page = await site.open();
    await page.waitForLoadState('networkidle');
    await page.click('#text', { clickCount: 3 });
    await site.quiet(page);
    equal(site.named('rage_click').length, 0);
    // Keys and scripts click, too, but on no spot.
    await page.evaluate(() => { for (let i = 0; i < 3; i++) document.querySelector('#stuck').click(); });
    await site.quiet(page);
    equal(site.named('rage_click').length, 0);
    await page.click('#stuck', { clickCount: 3 });
    const [rage] = await site.got('rage_click');
    equal(rage.properties.element_id, 'stuck');
  });

  scenario('dead clicks are those that nothing follows in seven seconds', async (site) => {
    site.page_is(`
      <button id="dead">Nothing</button>
      <button id="alive" onclick="setTimeout(() => this.nextElementSibling.textContent = 'x', 6900)">Late</button><i></i>
      <button id="late" onclick="setTimeout(() => this.nextElementSibling.textContent = 'x', 7100)">Too late</button><i></i>
      <a id="tab" href="about:blank" target="_blank" onclick="return false">Opens a tab</a>
      <a id="sms" href="sms:+15550100" onclick="return false">Opens a messenger</a>
      <a id="script" href="javascript:void 0">Does nothing</a>
      <button id="menu" popovertarget="items">Menu</button><div id="items" popover>Items</div>
      <div id="host"></div>
      <script>
        const root = document.querySelector('#host').attachShadow({ mode: 'open' });
        root.innerHTML = '<button id="shadow">0</button>';
        root.querySelector('#shadow').onclick = ({ target }) => { target.textContent++; };
      </script>
      <p id="text">Not interactive</p>`, { plugins: { frustration: true }, ping_ms: 1e9 });
    const page = await site.open('', { clock: true });
    await page.clock.pauseAt(new Date('2026-03-01T12:01:00Z'));
    await page.waitForLoadState('networkidle');
    const dead = async (id, ms) => {
      const before = site.named('dead_click').length;
      await page.evaluate((id) => {
        const element = document.querySelector(id) ?? document.querySelector('#host').shadowRoot.querySelector(id);
        element.click();
      }, id);
      await page.clock.runFor(ms);
      await page.clock.runFor(200);
      await site.quiet(page);
      return site.named('dead_click').slice(before).map(({ properties }) => properties.element_id);
    };
    deepEqual(await dead('#dead', 6_700), []);
    await page.clock.runFor(200);
    await site.got('dead_click');
    deepEqual(site.named('dead_click')[0].properties, { element_type: 'button', element_id: 'dead', waited_ms: 7_000 });
    deepEqual(await dead('#alive', 7_500), []);
    deepEqual(await dead('#late', 7_500), ['late']);
    deepEqual(await dead('#tab', 7_500), []);
    deepEqual(await dead('#text', 7_500), []);
    deepEqual(await dead('#sms', 7_500), []);
    deepEqual(await dead('#menu', 7_500), []);
    deepEqual(await dead('#shadow', 7_500), []);
    deepEqual(await dead('#script', 7_500), ['script']);
  });

  scenario('elements are seen when half of them is visible for a second', async (site) => {
    site.page_is(`<style>body{margin:0} div{height:400px}</style>
      <div data-track-view="top" id="top"></div><p data-track-view="nothing" style="margin:0;height:0"></p><div></div>
      <div data-track-view="low" id="low"></div><div style="height:2000px"></div>
      <div data-track-view="huge" style="height:30000px"></div>`,
      { plugins: { viewability: { visible_ms: 1_000 } }, ping_ms: 1e9 });
    const page = await site.open('', { clock: true });
    const seen = () => site.named('element_view').map(({ properties }) => properties.element_name);
    // Intersections are real, and come with frames; only time is given.
    const at = async (y, ms) => {
      await page.evaluate((y) => new Promise((done) => {
        scrollTo(0, y);
        // Observers are told in the order in which they began: the plugin's before this one.
        new IntersectionObserver((_, observer) => {
          observer.disconnect();
          done();
        }).observe(document.querySelector('[data-track-view]'));
      }), y);
      await page.clock.runFor(ms);
      await page.clock.runFor(100);
      await site.quiet(page);
    };
    await page.clock.pauseAt(new Date('2026-03-01T12:01:00Z'));
    await page.waitForLoadState('networkidle');
    await at(0, 1_500);
    deepEqual(seen(), ['top']);
    await at(380, 1_500); // 180 of 400 px
    deepEqual(seen(), ['top']);
    await at(420, 500); // 220 of 400 px, for half a second …
    await at(0, 1_500); // … and away again
    deepEqual(seen(), ['top']);
    await at(420, 500);
    await site.hide(page, true); // not seen where the tab is not
    await page.clock.runFor(5_000);
    await sleep(100);
    deepEqual(seen(), ['top']);
    await site.hide(page, false);
    await at(421, 1_200);
    deepEqual(seen(), ['top', 'low']);
    await at(0, 1_500); // once a page view
    deepEqual(seen(), ['top', 'low']);
    await at(2_700, 1_500); // 100 px of it
    deepEqual(seen(), ['top', 'low']);
    await at(4_000, 1_500); // fills the screen, though 600 of 30,000 px are less than half
    deepEqual(seen(), ['top', 'low', 'huge']);
    await page.evaluate(() => {
      scrollTo(0, 0);
      history.pushState({}, '', 'next');
      // What an application adds later is watched, too.
      document.querySelector('#top').insertAdjacentHTML('beforebegin', '<div data-track-view="new"></div>');
    });
    await at(0, 300);
    await at(0, 1_500);
    deepEqual(seen().slice(3).sort(), ['new', 'top']);
    deepEqual(site.named('element_view')[0].properties, {
      element_type: 'div', element_id: 'top', element_name: 'top', visible_share: 0.5, visible_ms: 1_000,
    });
  });

  scenario('web vitals arrive when the page is left', async (site) => {
    site.page_is(`<h1>Large words</h1><p>Words</p>
      <button id="slow" onclick="const end = performance.now() + 60; while (performance.now() < end);">Slow</button>`,
      { plugins: { vitals: true } });
    const page = await site.open();
    await page.waitForLoadState('networkidle');
    await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length);
    // What was painted moves; the move is measured once it is painted, too.
    await page.evaluate(() => new Promise((done) => {
      new PerformanceObserver(done).observe({ type: 'layout-shift' });
      document.querySelector('p').style.marginTop = '300px';
    }));
    await page.click('#slow');
    await sleep(300);
    await page.goto('about:blank');
    await site.got('web_vital', 5);
    const vitals = Object.fromEntries(site.named('web_vital').map(({ properties }) => [properties.metric_name, properties]));
    deepEqual(Object.keys(vitals).sort(), ['CLS', 'FCP', 'INP', 'LCP', 'TTFB']);
    ok(vitals.INP.metric_value >= 40, JSON.stringify(vitals.INP));
    ok(vitals.LCP.metric_value >= vitals.FCP.metric_value && vitals.FCP.metric_value > 0);
    ok(vitals.CLS.metric_value > 0 && vitals.CLS.metric_value < 1);
    equal(vitals.TTFB.navigation_type, 'navigate');
    ok(['good', 'needs-improvement', 'poor'].includes(vitals.LCP.metric_rating));
  });

  scenario('web vitals arrive also where a page is left without being hidden first', async (site) => {
    site.page_is('<p>Words</p>', { plugins: { vitals: true } });
    const page = await site.open('', {
      prepare: () => addEventListener('visibilitychange', (event) => event.stopImmediatePropagation(), true),
    });
    await page.waitForLoadState('networkidle');
    await page.waitForFunction(() => performance.getEntriesByName('first-contentful-paint').length);
    await sleep(100);
    await page.goto('about:blank');
    await site.until(() => site.named('web_vital').some(({ properties }) => properties.metric_name == 'TTFB'));
  });

  scenario('links tell where they lead, and no address of a person', async (site) => {
    site.page_is(`
      <a id="in" href="/inside">in</a><a id="out" href="https://other.example.org/x?email=ann@example.com">out</a>
      <a id="own" href="https://shop.example.com/y">own</a>
      <a id="pdf" href="/files/Price%20list.PDF?v=3">pdf</a>
      <a id="export" href="data:text/csv,ann" download="ann.csv">export</a>
      <a id="mail" href="mailto:ann@example.com">mail</a><a id="tel" href="tel:+15550100">tel</a>
      <script>for (const a of document.querySelectorAll('a')) a.onclick = a.onauxclick = () => false</script>`,
      { plugins: { links: { own_hosts: ['shop.example.com'] } } });
    const page = await site.open();
    await page.waitForLoadState('networkidle');
    for (const id of ['in', 'own', 'out', 'pdf', 'mail', 'tel', 'export']) await page.click(`#${id}`);
    await page.click('#out', { button: 'middle' });
    await page.click('#out', { button: 'right' });
    await site.got('outbound_click', 2);
    await site.quiet(page);
    const about = (name) => site.named(name).map(({ properties }) => properties);
    const out = { element_type: 'a', element_id: 'out', link_url: 'https://other.example.org/x', link_domain: 'other.example.org' };
    deepEqual(about('outbound_click'), [out, out]);
    const [download, made] = about('file_download');
    deepEqual(made, { element_type: 'a', element_id: 'export', link_url: 'data:' });
    deepEqual([download.file_name, download.file_extension], ['Price%20list.PDF', 'pdf']);
    deepEqual(about('contact_click').map(({ contact_type, link_url }) => [contact_type, link_url]), [['mailto', 'mailto:'], ['tel', 'tel:']]);
    equal(site.named('click').length, 7);
    doesNotMatch(site.said, /ann|15550100/);
  });

  scenario('errors tell what went wrong, once each, and nothing they quote', async (site) => {
    site.page_is('', { plugins: { errors: { limit: 3 } } });
    const page = await site.open();
    await page.waitForLoadState('networkidle');
    await page.evaluate(() => {
      const fail = (message) => setTimeout(() => { throw new TypeError(message); });
      for (let i = 0; i < 3; i++) fail('Cannot read "Ann Example" of customer 123456 at ann@example.com');
      Promise.reject(new RangeError('too late'));
      setTimeout(() => { for (let i = 0; i < 9; i++) fail(`number ${i}`); }, 50);
    });
    await site.got('exception', 3);
    await sleep(200);
    await site.quiet(page);
    site.errors = [];
    const errors = site.named('exception').map(({ properties }) => properties);
    equal(errors.length, 3);
    const of = (type) => errors.find(({ error_type }) => error_type == type);
    equal(of('TypeError').error_message, 'Cannot read "…" of customer # at [email]');
    equal(of('RangeError').error_message, 'too late');
  });

  scenario('mistaken calls do not stop the page, and a script loaded twice counts once', async (site) => {
    site.page_is('<button id="buy">Buy</button>');
    const page = await site.open();
    const complaints = [];
    page.on('console', (message) => message.type() == 'error' && complaints.push(message.text()));
    await page.evaluate(async (src) => {
      const circle = {};
      circle.self = circle;
      clickstream('track', 'circular', circle);
      clickstream('no such command');
      clickstream('track', 'fine', { amount: 1.5, nothing: undefined });
      clickstream('init', { key: 'another' });
      await new Promise((done) => {
        const script = document.createElement('script');
        script.onload = done;
        script.src = src;
        document.head.append(script);
      });
    }, `${site.collector}/t.js`);
    await page.click('#buy');
    await site.got('click');
    await site.quiet(page);
    equal(site.named('click').length, 1);
    equal(site.named('page_view').length, 1);
    deepEqual(site.named('fine')[0].properties, { amount: 1.5 });
    deepEqual(site.named('circular'), []);
    equal(complaints.length, 2);
  });

  scenario('starts without an inline script, and without storage', async (site) => {
    const options = JSON.stringify({ key: site.key, batch_ms: 50, consent: { analytics: true } });
    site.page_is('', {}, { snippet: `<script async src="${site.collector}/t.js" data-options='${options}'></script>` });
    await site.open('', {
      prepare: () => Object.defineProperty(window, 'localStorage', {
        get() { throw new DOMException('denied', 'SecurityError'); },
      }),
    });
    const [view] = await site.got('page_view');
    // Where nothing can be kept, a new visitor for every page would be a lie.
    equal('visitor_id' in view, false);
    equal('session_id' in view, false);
  });

  scenario('strict policies of a page stop plugins at most', async (site) => {
    const options = JSON.stringify({ key: site.key, batch_ms: 50, consent: { analytics: true }, plugins: { links: true } });
    const page_under = (policy) => site.page_is('', {}, {
      snippet: `<meta http-equiv="Content-Security-Policy" content="${policy}">
        <script nonce="n0nce" async src="${site.collector}/t.js" data-options='${options}'></script>`,
    });
    page_under("script-src 'nonce-n0nce'");
    const page = await site.open();
    await site.got('page_view');
    await site.until(() => site.scripts.includes('/t-links.js'), 'the plugin');
    page_under("require-trusted-types-for 'script'");
    await page.goto(site.address('typed'));
    await site.until(() => site.named('page_view').some(({ page_url }) => page_url == site.address('typed')));
  });

  scenario('names of elements, strange stored values and lacking beacons stop nothing', async (site) => {
    site.page_is(`<form name="title"><input name="matches" id="field"></form>
      <button id="buy">Buy</button>`);
    const page = await site.open('', {
      prepare: () => {
        localStorage.clickstream_queue = '{}';
        delete Navigator.prototype.sendBeacon;
      },
    });
    await page.click('#field');
    await page.click('#buy');
    await site.got('click');
    await site.hide(page, true);
    await site.got('page_ping');
  });

  scenario('the page of the guide works as shown', async (site) => {
    const guide = readFileSync(join(import.meta.dirname, '../../../docs/guide/tracker.md'), 'utf8');
    const [, shown] = guide.match(/```html\n(.*?)```/s);
    site.html = shown.replaceAll('https://collect.example.com', site.collector).replace("'shop'", `'${site.key}'`);
    const page = await site.open();
    await page.click('text=No');
    await page.evaluate(() => clickstream('track', 'add_to_cart', { product_id: 'shoe' }));
    await sleep(1_500);
    equal(site.requests.length, 0);
    await page.click('text=Yes');
    await page.evaluate(() => clickstream('track', 'add_to_cart', { product_id: 'shoe' }));
    const [event] = await site.got('add_to_cart');
    deepEqual(event.properties, { product_id: 'shoe' });
    deepEqual(names(site).slice(0, 2), ['consent_update', 'page_view']);
    await page.waitForLoadState('networkidle');
    deepEqual(site.scripts, ['/t.js', '/t-viewability.js', '/t-vitals.js']);
  });

  scenario('a user is named by the site, until signed out', async (site) => {
    site.page_is('');
    const page = await site.open();
    await page.evaluate(() => {
      clickstream('identify', 42);
      clickstream('track', 'login');
      clickstream('identify', null);
      clickstream('track', 'logout');
    });
    await site.got('logout');
    equal(site.named('login')[0].user_id, '42');
    equal('user_id' in site.named('logout')[0], false);
  });

  scenario('main thread is kept free', async (site) => {
    site.page_is(`<style>body{margin:0}</style><button id="buy">Buy</button><input id="q">
      <div data-track-view="x" style="height:4000px"></div>`,
      { batch_ms: 1_000, plugins: { viewability: true, frustration: true, vitals: true, links: true, errors: true } });
    const context = await site.context();
    const measure = async () => {
      const page = await context.newPage();
      const session = await context.newCDPSession(page);
      const slices = [];
      session.on('Tracing.dataCollected', ({ value }) => slices.push(...value));
      await session.send('Tracing.start', {
        transferMode: 'ReportEvents',
        traceConfig: { includedCategories: ['devtools.timeline', 'disabled-by-default-devtools.timeline'] },
      });
      await page.goto(site.address());
      await page.waitForLoadState('networkidle');
      for (let i = 0; i < 20; i++) {
        await page.mouse.move(100 + i * 5, 100);
        await page.mouse.wheel(0, 100);
      }
      await page.mouse.wheel(0, -3000);
      for (let i = 0; i < 5; i++) await page.click('#buy');
      for (let i = 0; i < 5; i++) await page.evaluate((i) => history.pushState({}, '', `p${i}`), i);
      await sleep(300);
      const done = new Promise((end) => session.once('Tracing.tracingComplete', end));
      await session.send('Tracing.end');
      await done;
      await page.close();
      // Time of our scripts on the processor, as the browser's own profiler has it.
      const ours = slices.filter(({ ph, name, args }) =>
        ph == 'X' && ['EvaluateScript', 'FunctionCall', 'v8.compile'].includes(name) &&
        /\/t[a-z-]*\.js$/.test(args?.data?.url ?? args?.fileName ?? '')).map(({ tdur, dur }) => (tdur ?? dur) / 1_000);
      ok(ours.length > 50, `${ours.length} slices`);
      return { total: ours.reduce((sum, ms) => sum + ms, 0), longest: Math.max(...ours) };
    };
    // Other processes push ours out of the processor's caches: the quietest of three counts.
    let best = await measure();
    for (let i = 0; i < 2 && best.total > 40; i++) {
      const next = await measure();
      if (next.total < best.total) best = next;
    }
    site.measured.main_thread_ms = Math.round(best.total * 10) / 10;
    site.measured.longest_slice_ms = Math.round(best.longest * 10) / 10;
    ok(best.total <= 50, `${best.total} ms`);
  });
};
