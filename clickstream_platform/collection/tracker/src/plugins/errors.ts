/** Errors of the page's scripts: what kind, where, and a message without what it quotes. */

import type { Plugin } from '../../clickstream';

const MESSAGE_CHARACTERS = 200;

const plugin: Plugin<'errors'> = ({ track, clean }, { limit = 10 }) => {
  const known = new Set<string>();

  const send = (error: unknown, at: Partial<ErrorEvent>) => {
    const error_message = (error instanceof Error ? error.message : (at.message ?? ''))
      // What an error quotes, and long numbers, may be of a person.
      .replace(/(["'`\u201c\u2018]).*?(["'`\u201d\u2019])/g, '$1…$2')
      .replace(/\d{4,}/g, '#')
      .slice(0, MESSAGE_CHARACTERS);
    const properties = {
      error_type: error instanceof Error ? error.name : typeof error,
      error_message,
      source_url: at.filename && clean(at.filename),
      source_line: at.lineno,
      source_column: at.colno,
    };
    const key = JSON.stringify(properties);
    if (known.has(key) || known.size >= limit) return;
    known.add(key);
    track('exception', properties);
  };

  addEventListener('error', (event) => {
    // Images and scripts that do not load have no message.
    if (event.message) send(event.error, event);
  });
  addEventListener('unhandledrejection', ({ reason }) => send(reason, {}));
};

window.clickstream('plugin', 'errors', plugin);
