/** Elements that were really seen: half of them, for a second without a break, once a page view. */

import type { Plugin } from '../../clickstream';

/** Shares at which the browser tells, each so much smaller than the last: fine enough for long pages. */
const STEP = 0.9;
const STEPS = 60;

const plugin: Plugin<'viewability'> = (
  { track, describe, current },
  { selector = '[data-track-view]', visible_share = 0.5, visible_ms = 1_000 },
) => {
  /** Elements in view, each with the timer of its second. */
  const timers = new Map<Element, ReturnType<typeof setTimeout> | undefined>();
  /** Number of the page view in which an element was seen. */
  const seen = new WeakMap<Element, number>();

  const begin = (element: Element) => {
    clearTimeout(timers.get(element));
    timers.set(
      element,
      document.hidden || seen.get(element) == current.view
        ? undefined
        : setTimeout(() => {
            seen.set(element, current.view);
            track('element_view', {
              ...describe(element),
              element_name: element.getAttribute('data-track-view') || describe(element).element_name,
              visible_share,
              visible_ms,
            });
          }, visible_ms),
    );
  };
  const end = (element: Element) => {
    clearTimeout(timers.get(element));
    timers.delete(element);
  };

  const observer = new IntersectionObserver(
    (entries) => {
      for (const { target, intersectionRatio, intersectionRect, rootBounds } of entries) {
        const enough =
          intersectionRatio >= visible_share ||
          // What is larger than the screen counts once it fills that share of the screen.
          intersectionRect.height >= visible_share * (rootBounds?.height ?? innerHeight);
        // What takes no room has a ratio of 1.
        if (!enough || !(intersectionRect.width * intersectionRect.height)) end(target);
        else if (!timers.has(target)) begin(target);
      }
    },
    { threshold: [0, visible_share, ...Array.from({ length: STEPS }, (_, i) => STEP ** i)] },
  );

  /** A page that is not shown shows none of its elements; the second begins again. */
  const restart = () => timers.forEach((_, element) => begin(element));
  document.addEventListener('visibilitychange', restart);

  let view = current.view;
  const find = () => {
    // Observing an element twice changes nothing.
    document.querySelectorAll(selector).forEach((element) => observer.observe(element));
    timers.forEach((_, element) => element.isConnected || end(element));
    if (view != current.view) {
      view = current.view;
      restart();
    }
  };
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      find();
    }, 200);
  };
  new MutationObserver(soon).observe(document, { childList: true, subtree: true });
  // A page that comes back from the browser's cache is seen anew, as it is.
  addEventListener('pageshow', soon);
  find();
};

window.clickstream('plugin', 'viewability', plugin);
