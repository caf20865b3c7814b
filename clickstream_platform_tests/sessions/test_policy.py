"""The session policy: its settings, and what it refuses."""

import random
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from clickstream_platform.errors import ParameterError
from clickstream_platform.sessions import SessionPolicy
from clickstream_platform.sessions.policy import zone_offsets
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import instant

MID_2037_US = 2_130_000_000_000_000


def test_settings_describe_the_policy(settings: Settings) -> None:
    changed = settings.sessions.model_copy(update={"timeout_minutes": 20, "cut_on_campaign": False})
    policy = SessionPolicy.of(settings.model_copy(update={"sessions": changed}))
    assert policy == SessionPolicy(timeout=timedelta(minutes=20), cut_on_campaign=False)


def test_defaults_are_those_of_the_settings(settings: Settings) -> None:
    assert SessionPolicy.of(settings) == SessionPolicy()


@pytest.mark.parametrize("name", ["timeout", "max_duration", "half_life", "heartbeat"])
def test_durations_must_be_longer_than_zero(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} must be longer than zero, got .*\. Try "):
        SessionPolicy(**{name: timedelta(0)})  # type: ignore[arg-type]


def test_session_has_room_for_an_event() -> None:
    with pytest.raises(ParameterError, match=r"^max_events must be at least 1, got 0\. Try "):
        SessionPolicy(max_events=0)


def test_zone_that_cuts_nowhere_is_no_part_of_the_policy(settings: Settings) -> None:
    berlin = settings.model_copy(update={"time_zone": "Europe/Berlin"})
    assert SessionPolicy.of(berlin) == SessionPolicy.of(settings)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "UTC"]
)
def test_offsets_are_those_of_the_zone(zone: str) -> None:
    rng = random.Random(zone)
    offsets = zone_offsets(zone)
    edges = [it.from_us + step for it in offsets for step in (-1, 0, 1)]
    anywhen = [rng.randrange(MID_2037_US) for _ in range(500)]
    for us in (it for it in (*edges, *anywhen) if it >= 0):
        known = [it.offset_us for it in offsets if it.from_us <= us][-1]
        local = instant(us).astimezone(ZoneInfo(zone))
        assert timedelta(microseconds=known) == local.utcoffset()


@pytest.mark.parametrize(
    ("events", "cuts"),
    [
        pytest.param(10_000, 0, id="as many as there may be"),
        pytest.param(10_001, 1, id="one more"),
        pytest.param(20_001, 2, id="one more than twice"),
    ],
)
def test_run_of_many_events_needs_so_many_cuts(events: int, cuts: int) -> None:
    assert SessionPolicy().most_cuts(0, events) == cuts
    assert SessionPolicy(max_events=None).most_cuts(0, events) == 0


@pytest.mark.parametrize(
    ("hours", "extra_us", "cuts"),
    [
        pytest.param(-1, 0, 0, id="no run"),
        pytest.param(24, 0, 0, id="exactly the longest session"),
        pytest.param(24, 1, 1, id="just beyond it"),
        pytest.param(48, 1, 1, id="one cut, and a session of exactly the longest"),
        pytest.param(48, 2, 2, id="just beyond that"),
    ],
)
def test_run_needs_so_many_cuts_at_most(hours: int, extra_us: int, cuts: int) -> None:
    assert SessionPolicy().most_cuts(hours * 3_600_000_000 + extra_us) == cuts
