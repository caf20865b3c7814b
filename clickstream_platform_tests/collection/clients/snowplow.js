import { newTracker, setUserId, trackPageView, trackSelfDescribingEvent, trackStructEvent } from '@snowplow/browser-tracker';

newTracker('sp', window.collector, { appId: 'shop', contexts: { webPage: true } });
setUserId('ann');
trackPageView();
trackStructEvent({ category: 'shop', action: 'add', label: 'S1', value: 2 });
trackSelfDescribingEvent({
  event: { schema: 'iglu:com.example/product_view/jsonschema/1-0-0', data: { sku: 'S1' } },
});
