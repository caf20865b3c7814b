/** Types of the tracker: of the one global function it adds to a page, and of its plugins. */

/** What a visitor has agreed to. */
export interface Consent {
  /** Measurement of this site for its own use. Nothing is written or sent without it. */
  analytics: boolean;
  /** Advertising. Without it, click ids such as `gclid` leave the browser as `gclid=1`. */
  marketing: boolean;
  /** Content chosen by what is known about the visitor. */
  personalization: boolean;
}

export interface Options {
  /** Write key of the source. */
  key: string;
  /** Where the collector is; events go to `<endpoint>/v1/events`. Default: the folder of the script. */
  endpoint?: string;
  /** What holds until the visitor has chosen. Default: nothing is agreed to. */
  consent?: Partial<Consent>;
  /**
   * Events without identifiers and without anything stored: `never` (default), `on_reject` once
   * analytics is refused, or `always`, before a choice too and whatever it is; a refusal then stops them.
   */
  cookieless?: 'never' | 'on_reject' | 'always';
  /** What Global Privacy Control denies: `all` (default), or `marketing` and personalization only. */
  gpc?: 'all' | 'marketing';
  /** Query keys that may stay in addresses, beside `utm_…` and click ids. They tell pages apart. */
  query_keys?: string[];
  /** Whether to see new addresses of a single-page application as page views. Default: true. */
  spa?: boolean;
  /** Selector of the element that scrolls, where it is not the page. */
  scroll_root?: string;
  /** Longest time without a sign of the visitor that counts as engaged, ms. Default: 30,000. */
  idle_ms?: number;
  /** Time between two reports of engaged time and depth, while there is something to report, ms. Default: 15,000. */
  ping_ms?: number;
  /** Longest wait before events are sent, ms. Default: 1,000. */
  batch_ms?: number;
  /** Plugins to load once measurement is allowed, each with its options or `true`. */
  plugins?: Partial<PluginOptions>;
  /** Folder that plugins are loaded from. Default: that of the script. */
  scripts?: string;
}

/** Options of each plugin. */
export interface PluginOptions {
  viewability: true | {
    /** Elements to watch. Default: `[data-track-view]`. */
    selector?: string;
    /** Share of the element, or of the screen where it is larger, that must be visible. Default: 0.5. */
    visible_share?: number;
    /** How long without a break, ms. Default: 1,000. */
    visible_ms?: number;
  };
  frustration: true | {
    /** Clicks that make a rage click. Default: 3. */
    rage_clicks?: number;
    /** Time from the first to the last of them, ms. Default: 1,000. */
    rage_ms?: number;
    /** Distance of each from the last, CSS pixels. Default: 30. */
    rage_px?: number;
    /** Time without any effect that makes a dead click, ms. Default: 7,000. */
    dead_ms?: number;
    /** Elements whose clicks are neither, such as steppers. */
    ignore?: string;
  };
  vitals: true;
  links: true | {
    /** Further hosts that are one's own: links to them are not outbound. */
    own_hosts?: string[];
    /** Pattern of file extensions that are downloads. */
    downloads?: string;
  };
  errors: true | {
    /** Errors sent from one page, at most. Default: 10. */
    limit?: number;
  };
}

export type Properties = Record<string, unknown>;

/** The global function. Calls before the script has loaded wait for it. */
export interface Clickstream {
  (command: 'init', options: Options): void;
  /** Say what the visitor has chosen; what is left out stays as it was. */
  (command: 'consent', choice: Partial<Consent>): void;
  /** Send an event: a name of the taxonomy, and properties. */
  (command: 'track', name: string, properties?: Properties): void;
  /** Begin a page by hand, where `spa` is off or the address does not change. */
  (command: 'page', properties?: Properties): void;
  /** Name the account that is signed in, for this page; `null` when it signs out. */
  (command: 'identify', user_id: string | null): void;
  /** Send what waits. */
  (command: 'flush'): void;
  /** What plugins call when they have loaded. */
  <Name extends keyof PluginOptions>(command: 'plugin', name: Name, plugin: Plugin<Name>): void;
}

export type Plugin<Name extends keyof PluginOptions> = (
  tracker: Tracker,
  options: Exclude<PluginOptions[Name], true>,
) => void;

/** What a plugin may use. */
export interface Tracker {
  track(name: string, properties?: Properties): void;
  /** An address without what does not belong into it. */
  clean(address: string): string | undefined;
  /** Which element an event is about: `element_type`, `element_id`, `element_name`, `link_url`. */
  describe(element: Element): Properties;
  /** The interactive element that was clicked, if any. */
  clicked(event: Event): Element | undefined;
  /** Send what waits; as a beacon where the page is at its end. */
  flush(leaving?: boolean): void;
  /** The address of the page as it is, and the number of its view, from 1. */
  readonly current: { url?: string; view: number };
}

declare global {
  interface Window {
    clickstream: Clickstream;
  }
  interface Navigator {
    readonly globalPrivacyControl?: boolean;
  }
}
