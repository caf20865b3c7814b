/** Page views, also of single-page applications, and what happens on a page: depth and time. */

import type { Properties } from '../clickstream';
import { clean } from './addresses';
import { allowed, options } from './consent';
import { engaged } from './engagement';
import { track } from './events';
import { abandon } from './forms';
import { listen } from './listen';
import { entitle, flush, page } from './queue';

/** Shares of the page that a scroll event each tells of. */
const MILESTONES = [0.25, 0.5, 0.75, 0.9, 1];
const enum Engaged {
  /** Less than this waits for the next report. */
  LEAST_MS = 100,
}

const enum Viewport {
  /** Mask that leaves multiples of 32: nobody needs to be known by the size of a window. */
  COARSE = -32,
}

let address: string | undefined;

// Depth counts against the height that the page had when its visitor began to scroll: a page
// that grows while it is read would otherwise never be read to its end.
let depth: { scroll_px: number; page_height_px: number; [field: string]: number } | undefined;
let reported: number | undefined;
let passed = 0;

const scrolled = ({ target }: Event) => {
  const root = (target == document ? document.scrollingElement : target) as Element | null;
  // A page that is put to its top by an application was not scrolled by its visitor.
  if (
    !root?.scrollTop ||
    (options.scroll_root ? !root.matches(options.scroll_root) : target != document)
  )
    return;
  const { scroll_px: before = 0, page_height_px = root.scrollHeight } = depth || {};
  const scroll_px = Math.max(before, Math.round(root.scrollTop + root.clientHeight));
  // The last pixel may be a fraction of one, and a page that grew is deeper than its height was.
  const scroll_share = Math.min(1, (scroll_px + 1) / page_height_px);
  depth = {
    scroll_share,
    scroll_px,
    page_height_px,
    page_growth_px: root.scrollHeight - page_height_px,
  };
  while (scroll_share >= MILESTONES[passed]!)
    track('scroll', { ...depth, scroll_share: MILESTONES[passed++] });
};

/** Report engaged time and the greatest depth so far, if there is more to say. */
export const report = () => {
  entitle();
  if (engaged() > Engaged.LEAST_MS || depth?.scroll_px != reported) {
    reported = depth?.scroll_px;
    track('page_ping', depth, { engaged_time_ms: engaged(true) });
  }
};

/** Begin a page view: at the start, at a new address, or when told to. */
export const view = (properties?: Properties) => {
  if (!allowed()) return;
  page.view++;
  if (page.shown) {
    abandon();
    report();
  }
  const referrer = page.url || document.referrer;
  address = clean((page.url = location.href), true);
  depth = reported = undefined;
  passed = 0;
  page.shown = track(
    'page_view',
    {
      viewport_height_px: innerHeight & Viewport.COARSE,
      viewport_width_px: innerWidth & Viewport.COARSE,
      ...properties,
    },
    { referrer_url: referrer && clean(referrer) },
  );
};

const moved = () => {
  if (address != clean(location.href, true)) view();
};

export const watch = () => {
  if (options.spa != false) {
    for (const name of ['pushState', 'replaceState'] as const) {
      const original = history[name];
      history[name] = (...given) => {
        original.apply(history, given);
        moved();
      };
    }
    listen('popstate', moved);
  }
  listen('scroll', scrolled);
  setInterval(report, options.ping_ms);
  const hide = () => {
    report();
    flush(true);
  };
  listen('visibilitychange', () => document.hidden && hide());
  listen('pagehide', () => {
    abandon();
    hide();
  });
};
