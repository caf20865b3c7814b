/** The global function `clickstream`, and what it starts. */

import type { Consent, Options, Plugin } from '../clickstream';
import { clean } from './addresses';
import { allowed, choose, chosen, configure, consent, forget, options } from './consent';
import * as engagement from './engagement';
import { clicked, describe, identify, track } from './events';
import * as forms from './forms';
import * as pages from './pages';
import { listen } from './listen';
import { drop, flush, page, resume } from './queue';
import { MEMORY } from './storage';

const script = document.currentScript as HTMLScriptElement | null;

let started: boolean | undefined;

/** Begin, once that is allowed. */
const start = () => {
  if (!allowed()) return;
  if ((document as any).prerendering) return listen('prerenderingchange' as any, start);
  if (!started) {
    started = true;
    engagement.watch();
    listen('click', (event) => {
      const element = clicked(event);
      element && track('click', describe(element));
    });
    forms.watch();
    pages.watch();
    listen('online', () => flush());
    resume();
    for (const name in options.plugins) {
      const element = document.createElement('script');
      element.src = options.scripts + '/t-' + name + '.js';
      document.head.append(element);
    }
  }
  page.view || pages.view();
};

/** What pages may call, and plugins as methods. */
const commands = {
  init(given: Options) {
    if (options) return;
    const folder = script?.src.replace(/\/[^/]*$/, '');
    configure({ endpoint: folder, scripts: folder, ...given });
    allowed() > 1 || forget();
    // Another tab may have been told of a choice.
    listen('storage', ({ key }) => {
      if (key && key != MEMORY) return;
      configure();
      allowed() > 1 || drop();
      start();
    });
    start();
  },
  consent(choice: Partial<Consent>) {
    const before = allowed();
    const known = chosen && JSON.stringify(consent);
    choose(choice);
    const after = allowed();
    if (before > 1 && after < 2) {
      // The withdrawal itself is the last that is sent: the collector has to learn of it.
      drop();
      track('consent_update', {}, {}, 2);
      flush();
      forget();
    } else if (after > 1 && known != JSON.stringify(consent)) track('consent_update');
    if (!after) page.view = 0;
    start();
  },
  track,
  page: pages.view,
  current: page,
  clean,
  describe,
  clicked,
  identify,
  flush,
  plugin(name: string, plugin: Plugin<any>) {
    plugin(commands, { ...(options.plugins as any)[name] });
  },
};

const run = ([command, ...given]: any) => {
  try {
    (commands as any)[command](...given);
  } catch (error) {
    // A mistake in a call must not stop the page.
    console.error(error);
  }
};

const waiting = window.clickstream as any;
// Where there is a function without a queue, this script has run before.
if (!waiting || waiting.q) {
  window.clickstream = (...given: unknown[]) => run(given);
  const given = script?.dataset.options;
  if (given) run(['init', JSON.parse(given)]);
  waiting?.q.forEach(run);
}
