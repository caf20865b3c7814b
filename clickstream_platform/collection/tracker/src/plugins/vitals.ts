/** Core Web Vitals, measured by Google's library, each as it stands when the page is hidden. */

import { type Metric, onCLS, onFCP, onINP, onLCP, onTTFB } from 'web-vitals';
import type { Plugin } from '../../clickstream';

const plugin: Plugin<'vitals'> = ({ track, flush }) => {
  /** Metrics that changed since they were last sent. */
  const changed = new Map<string, Metric>();

  const send = () => {
    for (const { name, value, rating, id, navigationType } of changed.values())
      track('web_vital', {
        metric_name: name,
        // Milliseconds, but a bare score for layout shifts.
        metric_value: Math.round(value * 1e4) / 1e4,
        metric_rating: rating,
        // A metric that grows after its page was put aside is sent again: the latest counts.
        metric_id: id,
        navigation_type: navigationType,
      });
    changed.clear();
  };

  // Every change is heard, and the last is sent: left to itself, the library loses an interaction
  // that the browser had no time to process before the page was left.
  for (const observe of [onCLS, onFCP, onINP, onLCP, onTTFB])
    observe((metric) => changed.set(metric.name, metric), { reportAllChanges: true });
  document.addEventListener('visibilitychange', () => document.hidden && send());
  // Some browsers leave a page without hiding it first.
  addEventListener('pagehide', () => {
    send();
    flush(true);
  });
};

window.clickstream('plugin', 'vitals', plugin);
