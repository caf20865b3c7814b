/** What the visitor agreed to, and what may be done about it. */

import type { Consent, Options } from '../clickstream';
import { MEMORY, QUEUE, read, store } from './storage';

/** Options with what holds where they are silent. */
export let options: Options & Required<Pick<Options, 'batch_ms' | 'idle_ms' | 'ping_ms'>>;
export let consent: Consent;

/** Whether the visitor has chosen, here or on a page before. */
export let chosen: boolean;

export const gpc = !!navigator.globalPrivacyControl;

/** Take a choice made on this page. A word such as `denied` agrees to nothing. */
export const choose = (choice: Partial<Consent>) => {
  chosen = true;
  for (const purpose in choice)
    consent[purpose as keyof Consent] =
      choice[purpose as keyof Consent] === true && !(gpc && purpose != 'analytics');
};

/** Take the options once, and the choice remembered from another page or tab. */
export const configure = (given: Options = options) => {
  options = { batch_ms: 1e3, idle_ms: 3e4, ping_ms: 15e3, ...given };
  const remembered = read().c;
  consent = { analytics: false, marketing: false, personalization: false };
  choose({ ...options.consent, ...remembered });
  chosen = !!remembered;
};

/** What may be done: nothing (0), events without identifiers (1), or all (2). */
export const allowed = (): number =>
  gpc && options.gpc != 'marketing'
    ? 0
    : options.cookieless == 'always'
      ? +(consent.analytics || !chosen)
      : consent.analytics
        ? 2
        : +(chosen && options.cookieless == 'on_reject');

/** Leave nothing behind but, where measurement is on by default, that it was refused. */
export const forget = () => {
  store(QUEUE);
  store(MEMORY, options.consent?.analytics && !consent.analytics && { c: consent });
};
