"""Erasure of a person reaches decisions about them, the history of merges, and conflicts."""

import polars as pl

from clickstream_platform.identity import decide, refresh_identity
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import erase_subject, register_request
from clickstream_platform.privacy.identifiers import surrogate
from clickstream_platform.settings import Settings
from clickstream_platform_tests.privacy.household import (
    ANN,
    ANN_PHONE,
    BOB,
    BOB_LAPTOP,
    TABLET,
    TODAY,
    household,
    land,
    materialize,
    token,
    zipped,
)

TABLES = ("identity_decisions", "identity_merges", "identity_conflicts", "identity_map")


def split(settings: Settings, visitor: str) -> None:
    pseudonym = token(settings, "visitor", visitor)
    key = surrogate(pseudonym)
    assert key is not None
    lake = Lake(settings.lake_folder)
    decide(lake, "split", reason="x", actor="care", now=TODAY, identifier=(pseudonym, key))


def test_erasure_reaches_decisions_and_history(settings: Settings) -> None:
    settings = settings.model_copy(
        update={"privacy": settings.privacy.model_copy(update={"max_erased_share": 1.0})}
    )
    land(settings, "household.ndjson.gz", zipped(household()))
    materialize(settings)
    lake = Lake(settings.lake_folder)
    split(settings, TABLET)
    split(settings, BOB_LAPTOP)
    refresh_identity(lake, settings)
    gone = {token(settings, "user", ANN), token(settings, "visitor", ANN_PHONE)}
    bob, laptop = token(settings, "user", BOB), token(settings, "visitor", BOB_LAPTOP)
    request = register_request(
        settings, request_type="erase", identifiers=[("user", ANN)], now=TODAY
    )
    certificate = erase_subject(settings, request, now=TODAY)
    assert certificate.residue.total == 0
    for name in TABLES:
        frame = lake.scan(name).collect()
        texts = set(frame.select(pl.col(pl.String)).unpivot()["value"])
        assert not texts & gone, name
    kept = lake.scan("identity_decisions").collect()["identifier_id"].to_list()
    assert laptop in kept, "Bob's decision stays"
    refresh_identity(lake, settings)
    before = {name: lake.scan(name).sort(pl.all()).collect().rows() for name in TABLES}
    refresh_identity(lake, settings, full=True)
    assert before == {name: lake.scan(name).sort(pl.all()).collect().rows() for name in TABLES}
    merges = lake.scan("identity_merges").filter(pl.col("other_id") == bob).collect()
    assert set(merges["undone_by"]) <= {"decision", None}

    # The laptop was taken from Bob: what nobody signed in for on it is not erased with him.
    unsigned = pl.col("user_id").is_null() & (pl.col("visitor_id") == laptop)
    ids = set(lake.scan("events").filter(unsigned).collect()["event_id"])
    assert ids
    request = register_request(
        settings, request_type="erase", identifiers=[("user", BOB)], now=TODAY
    )
    erase_subject(settings, request, now=TODAY)
    left = lake.scan("events").collect()
    assert ids <= set(left["event_id"]), "somebody else's, under another name"
    assert not {bob, laptop} & {*left["user_id"], *left["visitor_id"]}
