"""The compact protocol: a shape that is known is copied at once, and reads like any other."""

import json

from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.collection.arrivals import Arrival, Batch
from clickstream_platform.collection.protocols.compact import COMPACT, TEXTS

NAMES = [*TEXTS, "created_at", "engaged_time_ms", "revenue", "consent", "properties"]
VALUES: st.SearchStrategy[object] = st.sampled_from(
    ["", "page_view", None, True, False, 0, 7, 7.0, 7.5, 2.0**63, {}, []]
) | st.dictionaries(st.sampled_from(["order_id", "revenue"]), st.just("7"), max_size=2)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)
INTEGERS = st.integers(0, 2**53)
SOUND: dict[str, st.SearchStrategy[object]] = {
    **{name: WORDS for name in TEXTS if name != "name"},
    **dict.fromkeys(("created_at", "engaged_time_ms"), INTEGERS),
    "revenue": INTEGERS | st.floats(allow_nan=False, allow_infinity=False),
    "consent": st.dictionaries(WORDS, st.booleans(), min_size=1),
    "properties": st.dictionaries(WORDS.map("x_{}".format), WORDS | INTEGERS, min_size=1),
    "is_synthetic": st.booleans(),
}
"""Sound values of every field that is documented, but for the name, which none may lack."""

EVENTS = st.dictionaries(st.sampled_from([*NAMES, "is_synthetic"]), VALUES, max_size=4)


def decoded(*events: dict[str, object]) -> Batch:
    """What becomes of events."""
    arrival = Arrival(path="/v1/events", query={}, headers={}, body=b"", received_us=1)
    return COMPACT.decode(arrival, {"sent_at": 5, "events": list(events)})


def told(batch: Batch) -> list[list[str]]:
    """Fields of all records, taken or refused, with their values as they are written."""
    records = [*batch.records, *(item.record or {} for item in batch.rejected)]
    return [sorted(map(repr, record.items())) for record in records]


def test_unknown_field_changes_nothing_but_the_way_it_is_read() -> None:
    event: dict[str, object] = {"id": "e1", "name": "purchase", "revenue": 9.5, "created_at": 7.5}
    (known, read) = decoded(event, event | {"x": 1}).records
    assert known == read
    assert known["event_id"] == "e1"
    assert (known["revenue"], known["created_at"]) == (9.5, 7), "milliseconds are whole"


@given(EVENTS, EVENTS)
def test_events_read_alike_whether_their_shape_is_known(
    first: dict[str, object], second: dict[str, object]
) -> None:
    # What no field is known for has every field looked at singly.
    found = decoded(first, second, first)
    singly = decoded(*[event | {"x": 1} for event in (first, second, first)])
    assert found == singly
    assert told(found) == told(singly), "7 is not 7.0"


def test_event_without_id_keeps_the_order_of_which_one_is_made() -> None:
    event: dict[str, object] = {"name": "page_view", "created_at": 7, "page_title": "Red shoes"}
    (known, read) = decoded(event, event | {"x": 1}).records
    assert list(known) == list(read)


@given(st.fixed_dictionaries({"name": WORDS}, optional=SOUND))
def test_every_documented_field_arrives_as_it_was_sent(event: dict[str, object]) -> None:
    body = json.dumps({"sent_at": 5, "events": [event]}).encode()
    arrival = Arrival(path="/v1/events", query={}, headers={}, body=body, received_us=1)
    (record,) = COMPACT.decode(arrival, COMPACT.parse(arrival)).records
    assert {name: record[TEXTS.get(name, name)] for name in event} == event
