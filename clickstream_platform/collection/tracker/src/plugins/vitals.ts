/** Core Web Vitals, measured by Google's library, each as it stands when the page is hidden. */

import { type Metric, onCLS, onFCP, onINP, onLCP, onTTFB } from 'web-vitals';
import type { Plugin } from '../../clickstream';

const plugin: Plugin<'vitals'> = ({ track }) => {
  const send = ({ name, value, delta, rating, id, navigationType }: Metric) =>
    track('web_vital', {
      metric_name: name,
      // Milliseconds, but a bare score for layout shifts.
      metric_value: value,
      metric_delta: delta,
      metric_rating: rating,
      // The same metric of the same page may be reported again, larger: the latest one counts.
      metric_id: id,
      navigation_type: navigationType,
    });
  for (const observe of [onCLS, onFCP, onINP, onLCP, onTTFB]) observe(send);
};

window.clickstream('plugin', 'vitals', plugin);
