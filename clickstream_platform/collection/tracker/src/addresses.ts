/** Addresses and texts without what does not belong into events. */

import { consent, options } from './consent';

const CLICK_IDS =
  /^([a-z]{1,2}cl(ic)?k?id|[gw]braid|li_fat_id|(rdt_|mc_|sc)cid|dicbo|tblci|awc|cjevent|srsltid|epik|igshid)$/i;

/** A text in which no e-mail address is left. */
export const scrub = (text: string): string =>
  // Local parts have at most 64 characters (RFC 5321), and hosts no `@`: the search is linear.
  text.replace(
    /[^\s/?&=#"'<>:;,()]{1,64}(@|%(25)*40)[^\s/?&=#"'<>:;,()@]+\.[a-z]{2,}/gi,
    '[email]',
  );

/**
 * An address with its path, campaign parameters and allowed query keys: nothing else of its query,
 * no user name, and of anything but a web page no more than the scheme.
 *
 * A bare address lacks campaigns as well; it tells one page of a site from another.
 */
export const clean = (address: string, bare?: boolean): string | undefined => {
  try {
    const url = new URL(address, document.baseURI);
    if (!/^http/.test(url.protocol)) return url.protocol;
    const kept = new URLSearchParams();
    url.searchParams.forEach((value, key) => {
      if (options.query_keys?.includes(key) || (!bare && /^utm_/.test(key))) kept.append(key, value);
      // That there was a click id tells the channel; which one it was is for advertising alone.
      else if (!bare && CLICK_IDS.test(key)) kept.append(key, consent.marketing ? value : '1');
    });
    const query = '' + kept;
    return scrub(
      url.origin +
        url.pathname +
        (query && '?' + query) +
        // A fragment is kept only where an application routes by it, up to what looks like a query.
        (/^#!?\/[^?&=]*/.exec(url.hash) || ''),
    );
  } catch {}
};
