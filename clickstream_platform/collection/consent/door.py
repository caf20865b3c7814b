"""Consent at the door: an event that says no to measurement leaves no identifier on the disk."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import msgspec

from clickstream_platform.collection.arrivals import Arrival, Record
from clickstream_platform.collection.consent.purposes import Policy, consents_of
from clickstream_platform.collection.consent.signals import GPC_HEADER, NAMES, OWN, signals_of

_encode = msgspec.json.Encoder().encode

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SIGNALS = frozenset(name for names in NAMES.values() for name in names)
"""Names under which signals are sent."""

STRINGS = SIGNALS - {"gpc"}

RELEVANT = SIGNALS | {f"consent_{name}" for name in OWN}
"""What a choice is read from, beside ``consent`` itself."""

REMEMBERED = 8_192
"""Choices whose verdict is remembered: most people say one of a few things."""

MINUTE_US = 60_000_000
"""Strings expire after months: a verdict holds for the minute in which it was found."""

COUNTED = (
    *("event_id", "event_name", "occurred_at", "created_at", "sent_at", "received_at"),
    *("app_id", "platform", "collection_source", "country", "is_synthetic"),
    *("bot_score", "bot_signals"),
)
"""Fields that are kept of an event which is only counted."""

CHOICE = "consent_update"
"""Event by which somebody chooses: it says whose choice it is, or nobody could keep to it."""

OF_A_CHOICE = ("visitor_id", "user_id")

_NOTHING: dict[str, object] = {}


class ConsentDoor:
    """Takes from events of browsers what may not be stored, before they are stored.

    An event that says no to measurement, in its own record or by any signal, keeps what
    `cookieless_counts` needs and nothing else; a choice also keeps whose it is and the signals
    that it is made of. Who says nothing is judged later, at use. Servers report what happened
    with them, not on a device, and are left alone.

    Args:
        policy: The purposes.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._verdicts: dict[bytes, bool] = {}

    def __call__(self, record: Record, arrival: Arrival) -> None:
        """Take from a record what it does not allow."""
        if arrival.is_server or not _speaks(record) or not self._refuses(record, arrival):
            return
        kept = {name: record[name] for name in COUNTED if name in record}
        for name, host_only in (("page_url", False), ("referrer_url", True)):
            if (place := _without_query(record.get(name), host_only=host_only)) is not None:
                kept[name] = place
        kept["consent"] = {"analytics": False}
        if record.get("event_name") == CHOICE:
            kept |= {name: record[name] for name in OF_A_CHOICE if name in record}
            kept |= {name: record[name] for name in SIGNALS if name in record}
            said, properties = record.get("consent"), record.get("properties")
            if isinstance(said, Mapping):
                kept["consent"] = dict(said)
            if isinstance(properties, Mapping):
                kept["properties"] = {k: v for k, v in properties.items() if k in SIGNALS}
        record.clear()
        record.update(kept)

    def _refuses(self, record: Record, arrival: Arrival) -> bool:
        """Whether a record says no to measurement, by what was said alike a moment ago."""
        said = (
            arrival.received_us // MINUTE_US,
            arrival.headers.get(GPC_HEADER),
            record.get("country"),
            record.get("consent"),
            _relevant(record),
            _relevant(record.get("properties")),
        )
        key = _encode(said)
        if (verdict := self._verdicts.get(key)) is None:
            if len(self._verdicts) >= REMEMBERED:
                self._verdicts.clear()
            verdict = self._verdicts[key] = self._judged(record, arrival)
        return verdict

    def _judged(self, record: Record, arrival: Arrival) -> bool:
        signals = signals_of(record, arrival.headers)
        country = record.get("country")
        regime = self._policy.regime_of(country if isinstance(country, str) else None)
        now = EPOCH + timedelta(microseconds=arrival.received_us)
        consents = consents_of(signals, regime, policy=self._policy, now=now)
        return consents["consent_analytics"] is False


def _speaks(record: Record) -> bool:
    """Whether an event may say anything about measurement: most say yes, or nothing."""
    said, properties = record.get("consent"), record.get("properties")
    if not isinstance(said, dict):
        if said is not None or "consent_analytics" in record:
            return True
        said = _NOTHING
    # Trackers say of each event that Global Privacy Control is off, which says nothing.
    elif said.get("analytics") is not True or said.get("gpc", False) is not False:
        return True
    if not isinstance(properties, dict):
        properties = _NOTHING
    # Keys are asked for the few signals, not the signals for each of the keys.
    if record.keys().isdisjoint(SIGNALS) and properties.keys().isdisjoint(SIGNALS):
        return not said.keys().isdisjoint(STRINGS)
    return any(
        place.get("gpc", False) is not False or not STRINGS.isdisjoint(place)
        for place in (record, properties, said)
    )


def _relevant(place: object) -> dict[str, object] | None:
    return (
        {name: place[name] for name in sorted(RELEVANT & place.keys())}
        if isinstance(place, dict)
        else None
    )


def _without_query(url: object, *, host_only: bool) -> str | None:
    """An address without what may name somebody; None where it is none."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    return f"{parts.scheme}://{parts.hostname}{'/' if host_only else parts.path}"
