"""Parameters of a simulation and of its shop: what is refused, and with which words."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError, ParameterError
from clickstream_platform.simulator import Simulation, load_shop
from clickstream_platform.simulator.shop import SHIPPED
from clickstream_platform_tests.simulator.shops import MONDAY, WEEK

SHARES = [f.name for f in fields(Simulation) if f.name.endswith(("_rate", "_share"))]


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_shares_lie_between_0_and_1(name: str, value: float) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} must lie between 0 and 1, got .*\. Try "):
        replace(WEEK, **{name: value})  # type: ignore[arg-type]  # one of the shares


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("days", 0, "must lie between 1 and 400"),
        ("days", 401, "must lie between 1 and 400"),
        ("persons", 0, "must lie between 1 and 1,000,000,000"),
        ("seed", -1, "must lie between 0 and"),
        ("bot_share", 1, "must leave room for people"),
        ("files", "week", "must be 'day' or 'hour'"),
        ("prefix", ".hidden", "must be a plain file name"),
        ("prefix", "a/b", "must be a plain file name"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, value: object, rule: str) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} {rule}.*, got {value!r}\. Try {name}="):
        replace(WEEK, **{name: value})  # type: ignore[arg-type]  # on purpose


def test_events_and_persons_exclude_each_other() -> None:
    with pytest.raises(ParameterError, match=r"^persons cannot be given together with events, got"):
        Simulation(start=MONDAY, persons=10, events=10)


def test_extra_lines_cannot_exceed_the_events() -> None:
    with pytest.raises(ParameterError, match=r"^malformed_rate must not exceed 1 with the other"):
        replace(WEEK, duplicate_rate=0.6, malformed_rate=0.5)


def test_without_faults_keeps_everything_else() -> None:
    clean = WEEK.without_faults()
    changed = {f.name for f in fields(WEEK) if getattr(clean, f.name) != getattr(WEEK, f.name)}
    assert changed == set(SHARES) - {"bot_share"}


def test_window_is_whole_days_in_utc() -> None:
    assert (WEEK.ends_at - WEEK.starts_at).days == 7
    assert WEEK.starts_at.date() == MONDAY


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        pytest.param('app_id = "shop"', "", "app_id", id="a key is missing"),
        pytest.param('app_id = "shop"', "app = 1", "app", id="a key is misspelt"),
        pytest.param("cutoff = 0.134", "cutoff = -1", "events_per_session.cutoff", id="negative"),
        pytest.param("longest = 1790", "longest = 1800", "gap_s.longest", id="gap cuts sessions"),
        pytest.param('app_id = "shop"', "app_id =", "file", id="not TOML"),
    ],
)
def test_shop_that_cannot_be_used_is_refused(tmp_path: Path, old: str, new: str, key: str) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(SHIPPED.read_text().replace(old, new, 1))
    with pytest.raises(DefinitionError, match=rf"shop\.toml: {key}: .* Compare it with shop\.toml"):
        load_shop(file)


def test_missing_shop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"none\.toml: file: .*No such file"):
        load_shop(tmp_path / "none.toml")
