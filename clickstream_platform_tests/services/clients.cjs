// The real clients of Snowplow, Segment and PostHog for Node, each with the same three facts.
// Called with the port and the key as arguments; their packages lie in NODE_PATH.
const [port, key] = process.argv.slice(2);
const page = "https://shop.example/p/1?utm_source=news&email=ann@example.com";

async function snowplow() {
  const { newTracker, buildPageView, buildSelfDescribingEvent, buildStructEvent } =
    require("@snowplow/node-tracker");
  const tracker = newTracker(
    { namespace: "test", appId: "shop", encodeBase64: true },
    { endpoint: "127.0.0.1", protocol: "http", port: Number(port), bufferSize: 1, eventMethod: "post" }
  );
  tracker.setUserId("u-snowplow");
  tracker.track(buildPageView({ pageUrl: page, pageTitle: "Shoes" }));
  tracker.track(buildStructEvent({ category: "shop", action: "Add To Cart", label: "S1", value: 2 }));
  tracker.track(
    buildSelfDescribingEvent({
      event: { schema: "iglu:example.shop/product_view/jsonschema/1-0-0", data: { sku: "S1", price: 9.5 } },
    })
  );
  tracker.flush();
}

async function segment() {
  const { Analytics } = require("@segment/analytics-node");
  const analytics = new Analytics({ writeKey: key, host: `http://127.0.0.1:${port}`, flushAt: 3 });
  const userId = "u-segment";
  analytics.identify({ userId, traits: { plan: "pro" } });
  analytics.page({ userId, name: "Shoes", properties: { url: page } });
  analytics.track({
    userId, event: "Order Completed", properties: { order_id: "o1", revenue: 19.9, currency: "EUR" },
  });
  await analytics.closeAndFlush();
}

async function posthog() {
  const { PostHog } = require("posthog-node");
  const client = new PostHog(key, { host: `http://127.0.0.1:${port}`, flushAt: 3 });
  const distinctId = "u-posthog";
  client.identify({ distinctId, properties: { plan: "pro" } });
  client.capture({ distinctId, event: "$pageview", properties: { $current_url: page } });
  client.capture({ distinctId, event: "product_view", properties: { sku: "S1" } });
  await client.shutdown();
}

Promise.all([snowplow(), segment(), posthog()]).then(() => setTimeout(() => {}, 1500));
