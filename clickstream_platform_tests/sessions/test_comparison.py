"""Policies compared: presets, and what the same events come to under each."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError
from clickstream_platform.sessions import (
    SessionPolicy,
    compare_policies,
    preset_policies,
)
from clickstream_platform.settings import Settings, load_presets, load_settings
from clickstream_platform_tests.sessions.history import TABLES, History, visit


def write_settings(folder: Path, text: str) -> Settings:
    (folder / "clickstream.toml").write_text(text)
    return load_settings(folder)


def test_preset_is_what_the_settings_start_from(tmp_path: Path) -> None:
    settings = write_settings(
        tmp_path,
        'time_zone = "Europe/Berlin"\n[sessions]\npreset = "matomo"\ncut_on_campaign = false',
    )
    assert SessionPolicy.of(settings) == SessionPolicy(
        cut_at_midnight=True,
        time_zone="Europe/Berlin",
        cut_on_campaign=False,
        max_duration=timedelta(days=365),
    )


def test_presets_are_those_of_the_products(settings: Settings) -> None:
    policies = preset_policies(settings)
    assert [*policies] == ["yours", "ga4", "matomo", "snowplow", "posthog"]
    assert policies["yours"] == SessionPolicy()
    assert {it.timeout for it in policies.values()} == {timedelta(minutes=30)}
    cuts = {name: (it.cut_on_campaign, it.cut_at_midnight) for name, it in policies.items()}
    assert cuts["matomo"] == (True, True)
    assert cuts["ga4"] == cuts["snowplow"] == cuts["posthog"] == (False, False)
    assert policies["matomo"].max_events == 10_000
    assert policies["posthog"].max_duration == timedelta(days=1)
    assert policies["snowplow"].heartbeat == timedelta(seconds=10)


def test_every_preset_says_only_what_settings_know(tmp_path: Path) -> None:
    for name in load_presets():
        write_settings(tmp_path, f'[sessions]\npreset = "{name}"')


def test_unknown_preset_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"sessions.*'adobe' is unknown; there are ga4, "):
        write_settings(tmp_path, '[sessions]\npreset = "adobe"')


@pytest.fixture
def history(settings: Settings) -> History:
    """Ann reads over midnight and comes by a campaign in between; a bot does the same."""
    history = History(settings)
    midnight = 12 * 60
    for visitor in ("ann", "robot"):
        bot = {"is_bot": visitor == "robot"}
        history.add(
            visit(f"{visitor}1", visitor, midnight - 20, **bot),
            visit(f"{visitor}2", visitor, midnight - 10, campaign_medium="email", **bot),
            visit(
                f"{visitor}3",
                visitor,
                midnight + 10,
                event_name="purchase",
                revenue=Decimal(5),
                **bot,
            ),
        )
    history.add(visit("b1", "bob", 0, event_name="page_ping"))
    return history


def test_same_events_under_each_policy(history: History) -> None:
    history.refresh()
    versions = [history.lake.version(name) for name in TABLES]
    found = compare_policies(history.lake, history.settings, preset_policies(history.settings))
    totals = {row["policy"]: row for row in found.totals.to_dicts()}
    # Direct and e-mail; all in one; direct, e-mail until midnight and what follows.
    assert {name: row["sessions"] for name, row in totals.items()} == {
        "yours": 2, "ga4": 1, "matomo": 3, "snowplow": 1, "posthog": 1,
    }  # fmt: skip
    assert {row["revenue"] for row in totals.values()} == {Decimal(5)}
    assert {row["sessionless_events"] for row in totals.values()} == {1}
    assert totals["yours"]["bounce_rate"] == 0.5
    assert totals["ga4"]["mean_duration_s"] == 30 * 60
    assert totals["ga4"]["engaged_time_s"] is None
    assert [history.lake.version(name) for name in TABLES] == versions


def test_shift_is_the_share_of_a_channel_beyond_that_of_the_first_policy(history: History) -> None:
    history.refresh()
    policies = preset_policies(history.settings)
    found = compare_policies(history.lake, history.settings, policies)
    rows = found.channels.select("policy", "channel", "sessions", "sessions_share", "share_shift")
    assert [row for row in rows.rows() if row[0] in {"yours", "ga4"}] == [
        ("ga4", "Direct", 1, 1.0, 0.5),
        ("ga4", "Email", 0, 0.0, -0.5),
        ("yours", "Direct", 1, 0.5, 0.0),
        ("yours", "Email", 1, 0.5, 0.0),
    ]
    matomo = found.cuts.filter(found.cuts["policy"] == "matomo")
    assert dict(matomo.select("cut_reason", "sessions").rows()) == {
        "timeout": 1, "campaign": 1, "midnight": 1,
    }  # fmt: skip


def test_stretches_of_dates_change_nothing(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    history.refresh()
    policies = preset_policies(history.settings)
    whole = compare_policies(history.lake, history.settings, policies)
    monkeypatch.setattr("clickstream_platform.sessions.rebuild.CHUNK_ROWS", 1)
    parts = compare_policies(history.lake, history.settings, policies)
    assert all(a.equals(b) for a, b in zip(whole, parts, strict=True))


def test_nothing_to_compare_is_no_error(settings: Settings) -> None:
    history = History(settings)
    found = compare_policies(history.lake, settings, {"yours": SessionPolicy()})
    assert found.totals["sessionless_events"].to_list() == [0]
    assert found.channels.is_empty()
