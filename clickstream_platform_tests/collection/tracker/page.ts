// What the types let a page do, and what they do not. Compiled by a test, never run.

import type { Options } from '../../../clickstream_platform/collection/tracker/clickstream';

const options: Options = {
  key: 'shop',
  endpoint: 'https://collect.example.com',
  cookieless: 'on_reject',
  plugins: { vitals: true, viewability: { visible_ms: 2_000 } },
};
window.clickstream('init', options);
window.clickstream('consent', { analytics: true });
window.clickstream('track', 'add_to_cart', { product_id: 'shoe', amount: 2 });
window.clickstream('identify', null);

// @ts-expect-error: no such command
window.clickstream('send', 'x');
// @ts-expect-error: a name is missing
window.clickstream('track');
// @ts-expect-error: no such purpose
window.clickstream('consent', { statistics: true });
// @ts-expect-error: a key is missing
window.clickstream('init', { endpoint: 'https://collect.example.com' });
// @ts-expect-error: no such plugin
window.clickstream('init', { key: 'shop', plugins: { replay: true } });
