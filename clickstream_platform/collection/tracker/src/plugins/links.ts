/** Where links lead: to other sites, to downloads, to a mail or telephone program. */

import type { Plugin } from '../../clickstream';

/** File extensions that Google Analytics counts as downloads, and newer formats of their kinds. */
const DOWNLOADS =
  '7z|avi|csv|dmg|docx?|epub|exe|flac|gz|iso|key|m4a|midi?|mkv|mov|mp[34]|mpe?g|msi|ods|odt|ogg|pdf|pkg|pps|pptx?|rar|rtf|tar|txt|wav|webm|wm[av]|xlsx?|zip';

const plugin: Plugin<'links'> = ({ track, describe }, { own_hosts = [], downloads = DOWNLOADS }) => {
  const file = new RegExp(`\\.(${downloads})$`, 'i');

  const follow = (event: MouseEvent) => {
    // The right button opens a menu, and follows nothing.
    if (event.button > 1) return;
    const link = (event.composedPath() as Element[]).find(
      (node) => node.matches?.('a[href],area[href]'),
    ) as HTMLAnchorElement | undefined;
    if (!link) return;
    const about = describe(link);
    const { protocol, hostname, pathname } = new URL(String(about.link_url), document.baseURI);
    if (!/^http/.test(protocol)) {
      // What a page makes itself, such as an export, has no address.
      if (/^(blob|data):$/.test(protocol) && link.hasAttribute('download'))
        track('file_download', about);
      // The address itself is of a person, and stays here.
      if (/^(mailto|tel|sms):$/.test(protocol))
        track('contact_click', { ...about, contact_type: protocol.slice(0, -1) });
      return;
    }
    const [, extension] = file.exec(pathname) ?? [];
    if (extension || link.hasAttribute('download'))
      track('file_download', {
        ...about,
        link_domain: hostname,
        file_name: pathname.replace(/.*\//, ''),
        file_extension: extension?.toLowerCase(),
      });
    else if (hostname != location.hostname && !own_hosts.includes(hostname))
      track('outbound_click', { ...about, link_domain: hostname });
  };
  addEventListener('click', follow, true);
  // The middle button opens a new tab.
  addEventListener('auxclick', follow, true);
};

window.clickstream('plugin', 'links', plugin);
