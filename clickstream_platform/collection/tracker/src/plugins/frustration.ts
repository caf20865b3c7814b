/** Rage clicks: many on one spot. Dead clicks: on something that ought to act, and nothing happens. */

import type { Plugin } from '../../clickstream';

/** A selection that changed so shortly before a click was cleared by it. */
const SELECTION_MS = 200;
/** Fields are clicked to place the caret and to select words, which is no frustration. */
const FIELDS = 'input:not([type=button],[type=submit],[type=reset]),textarea,select,option,label,[contenteditable]';

/** What may follow a click without a change of the document. */
const EFFECTS =
  'scroll visibilitychange pagehide popstate submit input change focusin blur toggle copy beforeprint play pause volumechange fullscreenchange'.split(' ');

const plugin: Plugin<'frustration'> = (
  { track, describe, clicked },
  { rage_clicks = 3, rage_ms = 1_000, rage_px = 30, dead_ms = 7_000, ignore },
) => {
  type Click = { at: number; x: number; y: number; selection: string };
  let clicks: Click[] = [];
  /** Clicks that nothing has followed yet. */
  const pending = new Set<ReturnType<typeof setTimeout>>();
  let selected_at = -Infinity;

  const selection = () => getSelection()?.toString() ?? '';

  /** Something happened: no click before it is dead. */
  const alive = () => {
    pending.forEach(clearTimeout);
    pending.clear();
    observer.disconnect();
  };
  const observer = new MutationObserver(alive);

  const rage = (click: Click, target: Element) => {
    clicks = [...clicks, click].filter(
      ({ at, x, y }) =>
        click.at - at <= rage_ms && Math.hypot(click.x - x, click.y - y) <= rage_px,
    );
    // Three quick clicks on a text select its paragraph.
    const selects = click.selection && click.selection != clicks[0]!.selection;
    if (clicks.length < rage_clicks || selects) return;
    track('rage_click', { ...describe(target), clicks: clicks.length });
    clicks = [];
  };

  const dead = (event: MouseEvent, element: Element) => {
    if (
      event.ctrlKey || event.metaKey || event.shiftKey ||
      element.matches('[download],[target]:not([target=_self])') ||
      // Another program may answer: a mail, a telephone, a messenger.
      !/^(https?|javascript)?:?$/.test((element as HTMLAnchorElement).protocol ?? '') ||
      performance.now() - selected_at < SELECTION_MS
    )
      return;
    const timer = setTimeout(() => {
      pending.delete(timer);
      pending.size || observer.disconnect();
      track('dead_click', { ...describe(element), waited_ms: dead_ms });
    }, dead_ms);
    pending.add(timer);
    for (const node of event.composedPath())
      // Changes within a shadow root are not told to those who watch the document.
      if (node == document || node instanceof ShadowRoot)
        observer.observe(node as Node, {
          attributes: true,
          characterData: true,
          childList: true,
          subtree: true,
        });
  };

  addEventListener(
    'click',
    (event) => {
      const target = event.composedPath()[0] as Element;
      if (!target.matches || target.closest(FIELDS) || (ignore && target.closest(ignore))) return;
      // Keys and scripts click without a place.
      if (event.detail)
        rage(
          { at: event.timeStamp, x: event.clientX, y: event.clientY, selection: selection() },
          target,
        );
      const element = clicked(event);
      if (element) dead(event, element);
    },
    true,
  );
  for (const name of EFFECTS) addEventListener(name, alive, true);
  document.addEventListener('selectionchange', () => {
    selected_at = performance.now();
    // Only a selection of something is an effect: a click moves an empty one by itself.
    if (selection()) alive();
  });
};

window.clickstream('plugin', 'frustration', plugin);
