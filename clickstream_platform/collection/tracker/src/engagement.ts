/** Engaged time: the page is visible, and its visitor gave a sign within the idle time. */

import { options } from './consent';
import { listen } from './listen';

/** Signs of a visitor. A page that opens or comes back into view is one, too. */
const SIGNS = ['pointermove', 'pointerdown', 'keydown', 'scroll'] as const;

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
};

export const watch = () => {
  const seen = () => {
    sign();
    visible = !document.hidden;
  };
  seen();
  for (const name of SIGNS) listen(name, sign);
  listen('visibilitychange', seen);
};
