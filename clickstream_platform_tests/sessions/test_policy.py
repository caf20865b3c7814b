"""The session policy: its settings, and what it refuses."""

from datetime import timedelta

import pytest

from clickstream_platform.errors import ParameterError
from clickstream_platform.sessions import SessionPolicy
from clickstream_platform.settings import Settings


def test_settings_describe_the_policy(settings: Settings) -> None:
    changed = settings.sessions.model_copy(update={"timeout_minutes": 20, "cut_on_campaign": False})
    policy = SessionPolicy.of(settings.model_copy(update={"sessions": changed}))
    assert policy == SessionPolicy(timeout=timedelta(minutes=20), cut_on_campaign=False)


def test_defaults_are_those_of_the_settings(settings: Settings) -> None:
    assert SessionPolicy.of(settings) == SessionPolicy()


@pytest.mark.parametrize("name", ["timeout", "max_duration", "half_life"])
def test_durations_must_be_longer_than_zero(name: str) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} must be longer than zero, got .*\. Try "):
        SessionPolicy(**{name: timedelta(0)})  # type: ignore[arg-type]


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
