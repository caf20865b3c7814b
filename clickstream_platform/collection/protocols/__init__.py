"""Protocols: one module for each way in which clients send events."""

from clickstream_platform.collection.arrivals import Answer, Protocol
from clickstream_platform.collection.protocols import (
    compact,
    csp,
    measurement,
    otlp,
    pixels,
    posthog,
    segment,
    snowplow,
)

ROUTES: dict[str, Protocol] = {
    **dict.fromkeys(compact.PATHS, compact.COMPACT),
    **dict.fromkeys(csp.PATHS, csp.CSP),
    **dict.fromkeys(pixels.PATHS, pixels.PIXEL),
    **dict.fromkeys(snowplow.POST_PATHS, snowplow.SNOWPLOW),
    **dict.fromkeys(snowplow.PIXEL_PATHS, snowplow.SNOWPLOW_PIXEL),
    **dict.fromkeys(segment.PATHS, segment.SEGMENT),
    **dict.fromkeys(posthog.PATHS, posthog.POSTHOG),
    **dict.fromkeys(posthog.ANALYTICS_PATHS, posthog.POSTHOG_ANALYTICS),
    **dict.fromkeys(measurement.PATHS, measurement.MEASUREMENT),
    **dict.fromkeys(measurement.DEBUG_PATHS, measurement.MEASUREMENT_DEBUG),
    **dict.fromkeys(otlp.PATHS, otlp.OTLP),
}
"""Protocol by path, without the slash at its end."""


def protocol_at(path: str) -> Protocol | None:
    """The protocol that answers under a path, with or without a slash at its end."""
    return ROUTES.get(path) or ROUTES.get(path.rstrip("/"))


def stub_at(path: str) -> Answer | None:
    """The fixed answer to what clients ask for before they send anything."""
    return posthog.stub_at(path.rstrip("/"))


__all__ = ["ROUTES", "protocol_at", "stub_at"]
