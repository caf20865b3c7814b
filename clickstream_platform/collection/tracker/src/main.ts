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
import { MEMORY, read, store } from './storage';

const script = document.currentScript as HTMLScriptElement | null;

let started: boolean | undefined;

/** Begin, once that is allowed. */
const start = () => {
  if (!allowed()) return (page.shown = undefined);
  if (!started) {
    engagement.watch();
    listen('click', (event) => {
      const element = clicked(event);
      element && track('click', describe(element));
    });
    listen('input', forms.begin);
    listen('submit', forms.submit);
    pages.watch();
    listen('online', () => flush());
    resume();
  }
  page.shown || pages.view();
  const plugins = started || options.plugins;
  started = true;
  // Last, because a policy of the page may forbid it.
  for (const name in plugins as object) {
    const element = document.createElement('script');
    element.nonce = script?.nonce!;
    element.src = options.scripts + '/t-' + name + '.js';
    document.head.append(element);
  }
};

/** What pages may call, and plugins as methods. */
const commands = {
  init(given: Options) {
    if (options) return;
    const folder = script?.src.replace(/\/[^/]*$/, '');
    configure({ endpoint: folder, scripts: folder, ...given });
    // Another tab may have been told of a choice, or another page while this one was kept aside.
    const told = () => {
      // That nothing is remembered is a withdrawal, but not where nothing can be.
      if (read().c || (allowed() > 1 && store(''))) configure();
      if (allowed() < 2) {
        drop();
        forget();
      }
      start();
    };
    listen('storage', ({ key }) => (key && key != MEMORY) || told());
    listen('pageshow', ({ persisted }) => {
      if (!persisted) return;
      page.shown = undefined;
      told();
    });
    told();
  },
  consent(choice: Partial<Consent>) {
    const before = allowed();
    const known = chosen && JSON.stringify(consent);
    choose(choice);
    if (allowed() > 1) {
      if (known != JSON.stringify(consent)) track('consent_update');
    } else if (before > 1) {
      // The withdrawal itself is the last that is sent: the collector has to learn of it.
      drop();
      track('consent_update', {}, {}, 2);
      flush();
      forget();
    }
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

const run = (call: any) => {
  // A page that is rendered ahead of its visit waits for it.
  if ((document as any).prerendering) return listen('prerenderingchange' as any, () => run(call));
  const [command, ...given] = call;
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
