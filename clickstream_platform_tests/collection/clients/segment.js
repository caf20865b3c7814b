import { AnalyticsBrowser } from '@segment/analytics-next';

const apiHost = `${window.collector.replace(/^\w+:\/\//, '')}/v1`;
const analytics = AnalyticsBrowser.load({
  writeKey: window.key,
  // As the vendor's server would answer, so that nothing but the collector is asked.
  cdnSettings: { integrations: { 'Segment.io': { apiKey: window.key, apiHost, protocol: 'http' } } },
});
analytics.page();
analytics.identify('ann', { plan: 'pro' });
analytics.track('Product Added', { product_id: 'S1', quantity: 2 });
