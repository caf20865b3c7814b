"""Abuses by what is in a request: size, count, packing, depth, ambiguity and keys (3 to 7)."""

import asyncio
import gc
import gzip
import json
import resource
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clickstream_platform.collection.limits import (
    MAX_BODY_BYTES,
    MAX_DEPTH,
    MAX_INFLATED_BYTES,
    excess,
    inflated,
)
from clickstream_platform.collection.refusals import RefusedError
from clickstream_platform.collection.strict_json import strict_json
from clickstream_platform.events.records import open_duckdb
from clickstream_platform.services.collector import Collector, MemoryLog, write_keys
from clickstream_platform.services.collector.app import Message
from clickstream_platform.settings import CollectorSettings
from clickstream_platform.tables.events import Events
from clickstream_platform_tests.services.wire import (
    Door,
    batch,
    event,
    loaded,
    post,
    quarantine,
)

SHOP = "https://shop.example"
EMAIL = "ann@example.com"


# -- 3: oversized bodies and many events ----------------------------------------------------------


def test_03_a_request_is_freed_when_it_is_answered(door: Door) -> None:
    """What only the collector of cycles frees would pile up: it seldom looks (`YOUNG_OBJECTS`)."""
    sound = json.dumps(batch(door.key().key, event(1), event(2, page_url=f"/?m={EMAIL}"))).encode()
    deep = b'{"events":[' + b"[" * 50_000
    bodies = [sound, b"", deep, b'{"a":1,"a":2}', sound.replace(b"name", b"nam")]
    app = Collector(CollectorSettings(), MemoryLog(), write_keys(door.settings))
    statuses = []

    async def exchange(body: bytes) -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/events", "query_string": b""}

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            statuses.append(message.get("status"))

        await app(scope | {"headers": []}, receive, send)

    async def unreachable() -> int:
        for _ in range(2):  # what the first round remembers is none of a request
            gc.collect()
            for body in bodies:
                await exchange(body)
        return gc.collect()

    gc.disable()
    try:
        assert asyncio.run(unreachable()) == 0
    finally:
        gc.enable()
    assert [status for status in statuses if status] == [200, 400, 400, 400, 400] * 2


def test_03_large_body_is_refused_before_it_is_read(door: Door) -> None:
    """By its declared length; and, undeclared, as soon as what came is too much."""
    key = door.key().key
    pulled = [0]

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(1000):
            pulled[0] += 1
            yield b"x" * 100_000

    async def both() -> list[httpx.Response]:
        app = door.app()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://c.example") as client:
            declared = await client.post(
                "/v1/events", content=b"x" * (MAX_BODY_BYTES + 1), headers={"x-write-key": key}
            )
            return [declared, await client.post("/v1/events", content=stream())]

    declared, chunked = asyncio.run(both())
    for answer in (declared, chunked):
        assert answer.status_code == 413
        assert answer.json()["error"] == "body_too_large"
    assert pulled[0] <= MAX_BODY_BYTES // 100_000 + 2


def test_03_too_many_events_are_refused(door: Door) -> None:
    key = door.key().key
    sound, many = door.send(
        post("/v1/events", batch(key, *map(event, range(500)))),
        post("/v1/events", batch(key, *map(event, range(501)))),
    )
    assert sound.json()["accepted"] == 500
    assert (many.status_code, many.json()["error"]) == (413, "too_many_events")
    assert door.reasons == ["too_many_events"]


def test_03_large_event_is_refused_alone(door: Door) -> None:
    key = door.key().key
    # 65,536 bytes is what the record may take with everything that the door adds.
    large = event(1, properties={"text": "x" * 65_400})
    (answer,) = door.send(post("/v1/events", batch(key, event(0), large, event(2))))
    assert answer.json()["accepted"] == 2
    assert answer.json()["rejected"][0]["reason"] == "event_too_large"
    assert loaded(door).height == 2
    (waiting,) = quarantine(door)
    assert "text" not in waiting["payload"]


# -- 4: bombs -------------------------------------------------------------------------------------


def test_04_gzip_bomb_is_stopped_at_the_cap(door: Door) -> None:
    bomb = gzip.compress(b"\0" * 100_000_000)
    assert len(bomb) < 100_000
    tracemalloc.start()
    (answer,) = door.send(post("/v1/events", bomb, x_write_key=door.key().key))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status_code, answer.json()["error"]) == (413, "inflated_too_large")
    assert peak < 6 * MAX_INFLATED_BYTES
    assert door.reasons == ["inflated_too_large"], "the key stood in a header"


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        pytest.param(gzip.compress(gzip.compress(b"{}")), "gzip", "encoded_twice", id="twice"),
        pytest.param(gzip.compress(b"{}")[:-4], "gzip", "encoding_invalid", id="cut"),
        pytest.param(gzip.compress(b"{}") + b"x", "", "encoding_invalid", id="more behind it"),
        pytest.param(gzip.compress(b"{}") * 2, "", "encoding_invalid", id="two members"),
        pytest.param(b"\x1f\x8bnoise", "", "encoding_invalid", id="noise"),
        pytest.param(b"{}", "br", "encoding_unknown", id="brotli"),
        pytest.param(b"{}", "gzip, gzip", "encoding_unknown", id="list"),
    ],
)
def test_04_odd_encodings_are_refused(body: bytes, encoding: str, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        inflated(body, encoding)


def test_04_gzip_is_seen_by_its_first_bytes() -> None:
    assert inflated(gzip.compress(b"{}")) == inflated(b"{}", "gzip") == inflated(b"{}") == b"{}"


# -- 5: deep JSON ---------------------------------------------------------------------------------


def nested(depth: int) -> dict[str, object]:
    """An object so many objects deep."""
    value: dict[str, object] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_05_depth_33_is_a_bad_row(door: Door) -> None:
    key = door.key().key
    # The event is one object around its properties.
    sound, deep = event(1, properties=nested(MAX_DEPTH - 1)), event(2, properties=nested(MAX_DEPTH))
    (answer,) = door.send(post("/v1/events", batch(key, sound, deep)))
    assert answer.json()["accepted"] == 1
    assert answer.json()["rejected"] == [{"index": 1, "id": "e2", "reason": "event_too_deep"}]
    assert loaded(door)["event_id"].to_list() == ["e1"]
    assert [row["violations"][0]["got"] for row in quarantine(door)] == ["event_too_deep"]


def test_05_depth_counts_objects_and_lists() -> None:
    assert excess(nested(MAX_DEPTH)) is None
    assert excess(nested(MAX_DEPTH + 1)) == "event_too_deep"
    assert excess({"a": [[[nested(MAX_DEPTH - 3)]]]}) == "event_too_deep"


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_05_bottomless_json_is_refused(door: Door, opening: bytes) -> None:
    body = b'{"events":' + opening * 100_000
    (answer,) = door.send(post("/v1/events", body, x_write_key=door.key().key))
    assert (answer.status_code, answer.json()["error"]) == (400, "json_invalid")


# -- 6: ambiguous JSON ----------------------------------------------------------------------------

AMBIGUOUS = {
    "repeated key": (b'{"a":1,"a":2}', "json_key_repeated"),
    "repeated key with a blank": (b'{"a":1,"a" :2}', "json_key_repeated"),
    "repeated key, escaped": (b'{"a":1,"\\u0061":2}', "json_key_repeated"),
    "repeated key, deep": (b'{"a":[{"b":{"c":1,"c":1}}]}', "json_key_repeated"),
    "not a number": (b'{"a":NaN}', "json_invalid"),
    "infinity": (b'{"a":-Infinity}', "json_invalid"),
    "overflowing float": (b'{"a":1e999}', "json_number_out_of_range"),
    "whole number beyond 64 bits": (b'{"a":9223372036854775808}', "json_number_out_of_range"),
    "lone surrogate": (b'{"a":"\\ud800"}', "json_invalid"),
    "surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "json_invalid"),
    "byte order mark": (b'\xef\xbb\xbf{"a":1}', "json_invalid"),
    "NUL": (b'{"a":"\\u0000"}', "json_text_with_nul"),
    "NUL in a key": (b'{"a\\u0000":1}', "json_text_with_nul"),
    "more behind it": (b'{"a":1}{"a":2}', "json_invalid"),
    "broken UTF-8": (b'{"a":"\xff"}', "json_invalid"),
    "comment": (b'{"a":1/*b*/}', "json_invalid"),
}
UNAMBIGUOUS = {
    "largest whole number": b'{"a":9223372036854775807,"b":-9223372036854775807}',
    "quote and colon in a text": b'{"a":"x\\":y","b":"\\":\\":"}',
    "blank before a colon": b'{"a" : {"b"\t:\n1}}',
    "escaped backslash before a colon": b'{"a\\\\":1,"b":"\\\\"}',
    "text about NUL": b'{"a":"\\\\u0000"}',
    "surrogate pair": b'{"a":"\\ud83d\\ude00"}',
    "same key in two objects": b'[{"a":1},{"a":2}]',
    "long digits in a text": b'{"a":"12345678901234567890123"}',
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_06_ambiguous_json_is_refused(case: str) -> None:
    body, reason = AMBIGUOUS[case]
    with pytest.raises(RefusedError, match=reason):
        strict_json(body)


@pytest.mark.parametrize("case", UNAMBIGUOUS)
def test_06_unambiguous_json_is_read(case: str) -> None:
    assert strict_json(UNAMBIGUOUS[case]) == json.loads(UNAMBIGUOUS[case])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(value=VALUES, layout=st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}]))
@hypothesis_settings(deadline=None)
def test_06_whatever_standard_json_writes_is_read(value: object, layout: dict[str, Any]) -> None:
    body = json.dumps(value, **layout)
    assert strict_json(body.encode()) == value


@given(st.dictionaries(st.text('ab":\\ ', max_size=3), st.text('ab":\\ ', max_size=3), min_size=1))
@hypothesis_settings(deadline=None)
def test_06_every_repeated_key_is_found(value: dict[str, str]) -> None:
    body = json.dumps(value)
    first = next(iter(value))
    repeated = body[:-1] + "," + json.dumps(first) + ":1}"
    with pytest.raises(RefusedError, match="json_key_repeated"):
        strict_json(repeated.encode())


def test_06_every_hop_reads_the_same(door: Door) -> None:
    """What the collector wrote is the same value to Python, msgspec, Polars and DuckDB."""
    odd = {"quote": 'x":y', "nul": "\\u0000", "emoji": "😀", "line": "a\nb\u2028c", "n": 2**53 + 1}
    door.send(post("/v1/events", batch(door.key().key, event(properties=odd))))
    (line,) = door.sealed[0].read_bytes().splitlines()
    assert json.loads(line)["properties"] == odd
    assert msgspec.json.decode(line)["properties"] == odd
    assert pl.read_ndjson(line)["properties"].struct.unnest().to_dicts() == [odd]
    stored = loaded(door)["properties"].item()
    assert json.loads(stored) == odd
    with open_duckdb() as connection:
        found = connection.execute("SELECT json_extract_string($1, '$.n')", [stored]).fetchone()
    assert found == (str(odd["n"]),)


# -- 7: random keys -------------------------------------------------------------------------------


def test_07_twenty_thousand_keys_make_no_column(door: Door) -> None:
    key = door.key().key
    requests = [
        post(
            "/v1/events",
            batch(
                key,
                *[
                    event(n, properties={f"k{n}_{m}": m for m in range(100)})
                    for n in range(s, s + 50)
                ],
            ),
        )
        for s in range(0, 200, 50)
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    door.send(*requests)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 200
    events = loaded(door)
    assert events.columns == list(Events.to_schema().columns)
    assert events.height == 200


def test_07_one_event_with_too_many_keys_is_refused(door: Door) -> None:
    key = door.key().key
    wide = event(properties={f"k{n}": n for n in range(1_001)})
    (answer,) = door.send(post("/v1/events", batch(key, wide)))
    assert answer.status_code == 400
    assert answer.json()["rejected"][0]["reason"] == "event_has_too_many_keys"
