/** Forms: that they were begun, submitted or left; never what was put into them. */

import { describe, track } from './events';

/** The form that was begun and not yet submitted. */
let begun: Element | null | undefined;

export const abandon = () => {
  begun && track('form_abandon', describe(begun));
  begun = undefined;
};

export const begin = ({ target }: Event) => {
  const { form } = target as HTMLInputElement;
  if (form && form != begun) track('form_start', describe((begun = form)));
};

export const submit = ({ target }: Event) => {
  track('form_submit', describe(target as Element));
  begun = undefined;
};
