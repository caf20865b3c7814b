/** Engaged time: the page is visible, and its visitor gave a sign within the idle time. */

import { options } from './consent';
import { listen } from './listen';

let visible: boolean;
let counted_at: number;
let sign_at: number;
let unreported = 0;

/** Engaged time since it was last taken, whole ms. */
export const engaged = (take?: boolean): number => {
  const now = performance.now();
  if (visible)
    unreported += Math.max(0, Math.min(now, sign_at + options.idle_ms) - counted_at);
  counted_at = now;
  const whole = Math.round(unreported);
  if (take) unreported = 0;
  return whole;
};

const sign = () => {
  engaged();
  sign_at = counted_at;
  visible = !document.hidden;
};

export const watch = () => {
  // A page that opens or comes back into view is a sign of its visitor, too.
  sign();
  for (const name of [
    'pointermove',
    'pointerdown',
    'keydown',
    'scroll',
    'visibilitychange',
  ] as const)
    listen(name, sign);
};
