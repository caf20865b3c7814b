/** Forms: that they were begun, submitted or left; never what was put into them. */

import { describe, track } from './events';
import { listen } from './listen';

/** The form that was begun and not yet submitted. */
let begun: Element | null | undefined;

export const abandon = () => {
  begun && track('form_abandon', describe(begun));
  begun = undefined;
};

export const watch = () => {
  listen('input', (event) => {
    const form = (event.target as HTMLInputElement).form;
    if (form && form != begun) track('form_start', describe((begun = form)));
  });
  listen('submit', ({ target }) => {
    track('form_submit', describe(target as Element));
    begun = undefined;
  });
};
