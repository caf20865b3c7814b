import posthog from 'posthog-js';

posthog.init(window.key, {
  api_host: window.collector,
  capture_pageview: true,
  capture_pageleave: true,
  autocapture: true,
  disable_session_recording: true,
  disable_surveys: true,
  // The vendor's further scripts are not ours to serve.
  disable_external_dependency_loading: true,
});
posthog.identify('ann');
posthog.capture('product_view', { sku: 'S1' });
