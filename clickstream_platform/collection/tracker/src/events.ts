/** Making an event: its identifiers, its page, and nothing that names a person. */

import type { Properties } from '../clickstream';
import { clean, scrub } from './addresses';
import { allowed, consent, gpc, chosen } from './consent';
import { add, page, type Event } from './queue';
import { MEMORY, random_id, read, store } from './storage';

const enum Session {
  /** A session ends after more than 30 minutes without an event. */
  TIMEOUT_MS = 1_800_000,
}

let user_id: string | undefined;

export const identify = (id: string | null) => {
  user_id = id ? '' + id : undefined;
};

/** Identifiers, renewed and kept; none where the browser keeps nothing. */
const identifiers = (now: number) => {
  const memory = read();
  if (!(now - memory.t! <= Session.TIMEOUT_MS)) memory.s = random_id();
  memory.v ||= random_id();
  memory.t = now;
  memory.c = chosen && consent;
  return store(MEMORY, memory) && { visitor_id: memory.v, session_id: memory.s };
};

/** Make an event and let it wait for its batch, if that is allowed. */
export const track = (
  name: string,
  properties?: Properties,
  fields?: Properties,
  level: number = allowed(),
): Event | undefined => {
  if (!level) return;
  const now = Date.now();
  const identified = level > 1;
  const event = JSON.parse(
    JSON.stringify(
      {
        id: random_id(),
        name,
        created_at: now,
        ...(identified && identifiers(now)),
        page_url: clean(page.shown ? page.url! : location.href),
        ...fields,
        consent: { ...consent, gpc },
        properties,
      },
      (_, value) => (typeof value == 'string' ? scrub(value) : value),
    ),
  );
  // A user identifier is taken as it is given: masked, many people would be one.
  if (identified) event.user_id = user_id;
  add(event);
  return event;
};

/** The interactive element that was clicked, through shadow roots, too. */
export const clicked = (event: UIEvent): Element | undefined =>
  (event.composedPath() as Element[]).find((node) => 
    // A field of a form may have the name of a method.
    node.matches?.call?.(
      node,
      'a,button,summary,[type=submit],[type=button],[role=button],[role=link],[role=tab],[data-track]',
    ),
  );

/** Which element an event is about; never what it says or holds. */
export const describe = (element: Element): Properties => {
  const given = (name: string) => element.getAttribute(name) || undefined;
  const link = given('href') || given('action');
  return {
    element_type: element.localName,
    element_id: given('id'),
    element_name: given('data-track') || given('name'),
    link_url: link && clean(link),
  };
};
