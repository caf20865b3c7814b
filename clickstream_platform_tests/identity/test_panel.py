"""A real browsing panel: 5 people on 10 devices, found by login, and hardly without."""

from pathlib import Path

import polars as pl
import pytest

from clickstream_platform.identity import match_records, refresh_identity, score_matches
from clickstream_platform.identity.clusters import cluster_matches, pairs_of
from clickstream_platform.identity.comparisons import Comparison
from clickstream_platform.identity.features import consented_events, visitor_features
from clickstream_platform.identity.matching import MatchRules, TooFewRecordsError
from clickstream_platform.identity.people import with_person
from clickstream_platform.identity.visitors import match_visitors
from clickstream_platform.lake import Lake, connect, view
from clickstream_platform.settings import Settings, load_settings
from clickstream_platform_tests.events.door import load_file

RULES = MatchRules(
    threshold=0.95,
    blocking=(("everybody",),),
    sure=(("main_host", "main_hour"),),
    recall_of_sure=0.1,
    training=(("device_type",), ("main_hour",)),
    comparisons=(
        Comparison(column="hosts", kind="overlap", at=(12, 8, 6, 5, 4)),
        Comparison(column="main_host", kind="exact"),
        Comparison(column="main_hour", kind="exact"),
    ),
)
"""The panel has no network, language or browser: sites and hours are all there is."""


@pytest.fixture(scope="module")
def panel(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The panel as the shipped adapter reads it: a device is a visitor, a panelist a login."""
    settings = load_settings(tmp_path_factory.mktemp("panel"))
    load_file(settings, shared / "data/webtrackr_testdt/testdt_tracking.parquet", "panel")
    refresh_identity(Lake(settings.lake_folder), settings)
    return settings


def test_logins_find_the_five_people(panel: Settings) -> None:
    people = Lake(panel.lake_folder).scan("identity_map").collect()
    assert people["visitor_id"].n_unique() == 10
    assert people["person_id"].n_unique() == 5
    assert set(people.group_by("person_id").len()["len"]) == {2}, "a desktop and a mobile each"
    assert not people["is_shared"].any()


def test_without_logins_few_are_found_and_none_wrongly(panel: Settings) -> None:
    # As if cookies lasted a month: 43 visitors of 5 people, 174 pairs of 903 are the same.
    lake = Lake(panel.lake_folder)
    backend = connect(panel.lake)
    events = view(backend, lake, "events")
    month = events.occurred_at.month().cast("string")
    monthly = events.mutate(visitor_id=events.visitor_id + "-" + month)
    records = visitor_features(monthly)
    who = monthly.select("visitor_id", "user_id", "properties").distinct().to_polars()
    truth = dict(who.select("visitor_id", "user_id").rows())
    device = who.select(
        record_id="visitor_id", device=pl.col("properties").str.json_path_match("$.device")
    ).unique("record_id")
    records = records.join(device, on="record_id").with_columns(
        everybody=pl.lit("x"), device_type="device"
    )
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    loose = match_records(records, RULES, least=0.51).pairs
    sure = loose.filter(pl.col("match_probability") >= RULES.threshold)
    score = score_matches(pairs_of(cluster_matches(sure, {})), truth)
    guess = score_matches(pairs_of(cluster_matches(loose, {})), truth)
    for name, it in (("0.95", score), ("0.51", guess)):
        print(f"panel at {name}: precision {it.precision:.3f}, recall {it.recall:.3f}")  # noqa: T201 - the report
    assert (records.height, score.true_pairs) == (43, 174)
    assert score.precision >= 0.95
    assert 0.05 <= score.recall <= 0.3, "sites and hours alone do not tell who somebody is"
    assert guess.precision < 0.6, "which is why the threshold is where it is"


def test_nobody_agreed_so_nobody_is_matched(panel: Settings) -> None:
    lake = Lake(panel.lake_folder)
    backend = connect(panel.lake)
    events, people, held = (
        view(backend, lake, name) for name in ("events", "identity_map", "person_consents")
    )
    agreed = consented_events(with_person(events, people), held, purpose="consent_personalization")
    assert agreed.count().to_pyarrow().as_py() == 0
    with pytest.raises(TooFewRecordsError, match=r"0 records are too few"):
        match_visitors(lake, panel)
