/** Events on their way: collected into batches, sent, and sent again until the collector has them. */

import { scrub } from './addresses';
import { allowed, options } from './consent';
import { QUEUE, load, store } from './storage';

export interface Event {
  id: string;
  name: string;
  created_at: number;
  [field: string]: unknown;
}

const enum Limit {
  /** Events that wait at most, in memory and in the browser's storage; the oldest give way. */
  WAITING = 200,
  /** Events of one request. */
  BATCH = 25,
  /** Characters of a request that may outlive its page: browsers refuse 64 KiB and more. */
  KEEPALIVE = 60_000,
  /** Wait after a failure, doubled after each further one ... */
  RETRY_MS = 2_000,
  /** ... so often, which is about four minutes. */
  DOUBLINGS = 7,
}

let queue: Event[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
let failures = 0;

/** Events in the browser's storage, of any tab, but not these. */
const others = (events: Event[]): Event[] =>
  load(QUEUE)?.filter?.((event: Event) => !events.some(({ id }) => id == event.id)) || [];

/** Keep what waits for a later page; true if that is possible. */
const save = (): unknown =>
  allowed() > 1 && store(QUEUE, others(queue).concat(queue).slice(-Limit.WAITING));

/** A batch is delivered, or goes back to where it came from; then what waits has its turn. */
const settle = (batch: Event[], origin?: Event[] | false) => {
  if (origin) {
    failures++;
    // Not `queue`: what was under way at a withdrawal goes back to where nobody looks any more.
    origin.unshift(...batch);
    // Requests that were under way together may come back in any order.
    origin.sort((one, other) => one.created_at - other.created_at);
    save();
  } else {
    failures = 0;
    store(QUEUE, others(batch)[0] && others(batch));
  }
  schedule();
};

const schedule = () => {
  if (queue[0])
    timer ||= setTimeout(
      flush,
      failures
        ? Limit.RETRY_MS * 2 ** (Math.min(failures, Limit.DOUBLINGS) - Math.random())
        : options.batch_ms,
    );
};

/** The page that events belong to: its address, the number of its view, and the event of that. */
export const page: { url?: string; view: number; shown?: Event } = { view: 0 };

/** Take the title of the page as it is now: applications set it after the address. */
export const entitle = () => {
  if (page.shown) page.shown.page_title = scrub('' + document.title);
};

/** Send what waits: by request, or as a beacon where the page may be at its end. */
export const flush = (hidden = document.hidden): void => {
  timer = clearTimeout(timer) as undefined;
  entitle();
  if (hidden && (failures || !navigator.onLine) && save()) return schedule();
  if (!queue[0]) return;
  const origin = queue;
  const batch = queue.splice(0, Limit.BATCH);
  const address = options.endpoint + '/v1/events';
  const body = JSON.stringify({ key: options.key, sent_at: Date.now(), events: batch });
  if (hidden && navigator.sendBeacon?.(address, body)) {
    settle(batch);
    return flush(hidden);
  }
  fetch(address, {
    method: 'POST',
    body,
    // Once refused for its bytes, it goes without; what failed is kept in the browser's storage.
    keepalive: !(failures || body[Limit.KEEPALIVE]),
  })
    // What the collector refuses for good is not sent again.
    .then(
      ({ status }) => settle(batch, (status > 499 || status == 429) && origin),
      () => settle(batch, origin),
    );
};

export const add = (event: Event) => {
  queue.push(event);
  queue.splice(0, queue.length - Limit.WAITING);
  if (document.hidden) queueMicrotask(flush);
  else if (queue.length < Limit.BATCH || failures) schedule();
  else flush();
};

/** Drop what waits in memory. */
export const drop = () => {
  queue = [];
};

/** Send what earlier pages could not. */
export const resume = () => {
  queue.unshift(...others(queue));
  schedule();
};
