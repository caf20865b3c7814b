"""Whatever JSON a client sends, a decoder refuses it by name or makes records that can be read."""

import base64
import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from clickstream_platform.collection.arrivals import Arrival, Batch, Protocol
from clickstream_platform.collection.lines import is_whole, minimised_lines
from clickstream_platform.collection.policy import admitted, refused
from clickstream_platform.collection.protocols import ROUTES
from clickstream_platform.collection.refusals import REASONS, RefusedError
from clickstream_platform.collection.write_keys import WriteKey

WORDS = [
    "key",
    "events",
    "id",
    "name",
    "created_at",
    "sent_at",
    "visitor_id",
    "consent",
    "properties",
    "revenue",
    "batch",
    "type",
    "event",
    "messageId",
    "anonymousId",
    "userId",
    "context",
    "page",
    "url",
    "timestamp",
    "traits",
    "data",
    "e",
    "eid",
    "aid",
    "ue_px",
    "ue_pr",
    "cx",
    "co",
    "dtm",
    "stm",
    "p",
    "se_ac",
    "duid",
    "tr_tt",
    "schema",
    "sid",
    "uuid",
    "distinct_id",
    "$set",
    "offset",
    "sentAt",
    "api_key",
    "token",
    "$time",
    "$current_url",
    "client_id",
    "params",
    "timestamp_micros",
    "session_id",
    "items",
    "value",
    "user_properties",
    "resourceLogs",
    "scopeLogs",
    "logRecords",
    "attributes",
    "timeUnixNano",
    "eventName",
    "body",
    "stringValue",
    "intValue",
    "kvlistValue",
    "arrayValue",
    "values",
    "campaign",
    "library",
    "gpc",
    "marketing",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        ["", "1795460652780", "1e5", "-1", "$identify", "track", "pv", "ue", "purchase"]
    )
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
    | st.binary(max_size=9).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
BODIES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6)
    ),
    max_leaves=25,
)
KEY = WriteKey(key_id="wk_1", source="web", kind="browser", digest="", created_at="")


@pytest.mark.parametrize("path", sorted(set(ROUTES)))
@given(
    body=BODIES,
    query=st.dictionaries(st.sampled_from(WORDS), st.text(max_size=9), max_size=5),
    login=st.sampled_from(["", "Basic ", "Bearer "]).flatmap(
        lambda kind: st.text(max_size=8).map(lambda text: kind + text)
    ),
)
@example(body={"event": []}, query={}, login="")
@hypothesis_settings(max_examples=25)
def test_decoders_refuse_by_name_or_make_lines(
    path: str, body: object, query: dict[str, str], login: str
) -> None:
    protocol = ROUTES[path]
    arrival = Arrival(
        path=path,
        query=query,
        headers={"user-agent": "test", "content-type": "text/plain", "authorization": login},
        body=b"" if "GET" in protocol.methods else json.dumps(body).encode(),
        received_us=1_795_460_652_780_000,
    )
    with suppress(RefusedError):  # a reason outside the list cannot be raised
        payload = protocol.parse(arrival)
        protocol.key(arrival, payload)
        check(arrival, protocol, protocol.decode(arrival, payload))


def check(arrival: Arrival, protocol: Protocol, batch: Batch) -> None:
    """A decoded batch becomes lines that every reader reads the same, and an answer."""
    prepared = admitted(batch, arrival, KEY, server_only={"purchase"})
    assert len(prepared) == len(batch.records)
    prepared += [refused(item, arrival, protocol.name) for item in batch.rejected]
    assert all(item.reason in REASONS for item in batch.rejected)
    for line in minimised_lines(prepared).splitlines(keepends=True):
        assert is_whole(line[:-1])
        record = msgspec.json.decode(line)
        assert record == json.loads(line)
        assert "event_id" in record or "refusal" in record
        assert "refusal" in record or "\0" not in str(list(record.values()))
    assert 200 <= protocol.answer(arrival, batch).status < 500
