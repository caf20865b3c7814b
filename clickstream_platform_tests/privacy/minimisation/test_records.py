"""Records scrubbed by their suspicious members come out as if all of each were looked at."""

import json
import random

import polars as pl
import pytest

from clickstream_platform.privacy import scrub_payloads, scrub_records
from clickstream_platform.privacy.minimisation.scrubber import Scrubber

CLEAN: dict[str, object] = {
    "event_name": "page_view",
    "page_url": "https://shop.example/p/1?utm_source=news",
    "properties": {"list": ["search", "sale"], "position": 3, "price": 9.5},
}
HIDDEN = [
    "ann@example.com",
    "https://shop.example/?email=ann%40example.com",
    "write to ann&#64;example.com",
    "YW5uQGV4YW1wbGUuY29t",
    "call +49 30 1234567",
    "4111 1111 1111 1111",
    "Bearer abcdefghijklmnop",
]


def scrubbed(records: list[dict[str, object]], *, ascii_only: bool = False) -> list[bytes]:
    """What becomes of records, after checking that looking at all of each comes to the same."""
    texts = [json.dumps(r, ensure_ascii=ascii_only, separators=(",", ":")) for r in records]
    found = list(scrub_records([text.encode() for text in texts]))
    whole = [Scrubber().payload(text).text for text in texts]
    assert [text.decode() for text in found] == whole
    assert scrub_payloads(pl.Series(texts)).to_list() == whole
    return found


def test_clean_records_come_back_as_they_are() -> None:
    records = [json.dumps(CLEAN).encode()] * 3
    assert scrub_records(records) is records


@pytest.mark.parametrize("value", HIDDEN)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_only_the_member_that_holds_it_changes(value: str, *, ascii_only: bool) -> None:
    first, second = scrubbed([CLEAN, CLEAN | {"page_title": value}], ascii_only=ascii_only)
    assert json.loads(first) == CLEAN
    changed = json.loads(second)
    assert changed.pop("page_title") != value
    assert changed == CLEAN


def test_key_and_value_that_hold_the_same_address_are_both_masked() -> None:
    # Masking the key first, wherever it stands, would hide the member around it.
    inner = {"ann@example.com": "write to ann&#64;example.com"}
    assert scrubbed([{"ann@example.com": inner}]) == [b'{"[email]":{"[email]":"write to [email]"}}']


def test_list_that_is_not_flat_keeps_what_its_key_announces() -> None:
    # On its own, the number is anything; and another member is suspicious on its own.
    assert scrubbed([{"phone": ["0301234567", {}], "email": "ann@example.com"}]) == [
        b'{"phone":["[phone]",{}],"email":"[email]"}'
    ]


def test_key_that_is_masked_announces_what_it_did_before() -> None:
    assert scrubbed([{"ann@example.com phone": ["0301234567", {}]}]) == [
        b'{"[email] phone":["[phone]",{}]}'
    ]


@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_looking_at_all_of_each_record(seed: int) -> None:
    rng = random.Random(seed)
    values: list[object] = [*HIDDEN, "Red shoes", "größe ✓", 'a "b" \\ c', 4111111111111111, None]
    keys = ["page_title", "email", "phone", "items", "q", "user@example.com", "order_id", "ip"]

    def value(depth: int) -> object:
        kind = rng.randrange(6)
        if kind == 0 and depth < 3:
            return {rng.choice(keys): value(depth + 1) for _ in range(rng.randrange(3))}
        if kind == 1 and depth < 3:
            # An object comes last: what follows one is taken to stand under its last key.
            leaves = [rng.choice(values) for _ in range(rng.randrange(3))]
            return [*leaves, value(depth + 1)]
        return rng.choice(values)

    scrubbed(
        [{key: value(0) for key in rng.sample(keys, 4)} for _ in range(rng.choice([1, 5, 20]))],
        ascii_only=rng.random() < 0.5,
    )
