"""Parameters of a simulation and of its shop: what is refused, and with which words."""

import math
import re
from dataclasses import fields, replace
from datetime import date
from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError, ParameterError
from clickstream_platform.simulator import Simulation, load_shop, simulate, truth
from clickstream_platform.simulator.shop import SHIPPED
from clickstream_platform_tests.simulator.shops import MONDAY, WEEK

SHARES = [f.name for f in fields(Simulation) if f.name.endswith(("_rate", "_share"))]


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, "0.1", None])
def test_shares_lie_between_0_and_1(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} must lie between 0 and 1, got .*\. Try "):
        replace(WEEK, **{name: value})  # type: ignore[arg-type]  # one of the shares


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("days", 0, "must lie between 1 and 400"),
        ("days", 401, "must lie between 1 and 400"),
        ("persons", 0, "must lie between 1 and 1,000,000,000"),
        ("days", 2.5, "must lie between 1 and 400"),
        ("days", None, "must lie between 1 and 400"),
        ("persons", "10", "must lie between 1 and 1,000,000,000"),
        ("seed", -1, "must lie between 0 and"),
        ("seed", 2.5, "must lie between 0 and"),
        ("start", "2026-03-02", "must be a date between 1970-01-01 and 2199-12-31"),
        ("prefix", "a" * 101, "must be a plain file name"),
        ("bot_share", 1, "must leave room for people"),
        ("files", "week", "must be 'day' or 'hour'"),
        ("prefix", ".hidden", "must be a plain file name"),
        ("prefix", "a/b", "must be a plain file name"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, value: object, rule: str) -> None:
    with pytest.raises(ParameterError, match=rf"^{name} {rule}.*, got {value!r}\. Try {name}="):
        replace(WEEK, **{name: value})  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("start", [date(1969, 12, 31), date(2200, 1, 1)])
def test_first_day_has_a_year_of_four_digits_around_it(start: date) -> None:
    with pytest.raises(ParameterError, match=r"^start must be a date between 1970-01-01 and 2199"):
        replace(WEEK, start=start)


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
        pytest.param(
            "mu = 3.51", "mu = nan", "gap_s.mu: Input should be a finite number", id="no number"
        ),
        pytest.param("mu = 3.51", "mu = 100", "gap_s.mu", id="gaps of ages"),
        pytest.param("price_mu = 3.5", "price_mu = 100", "items.price_mu", id="dear"),
        pytest.param(
            "weekday = [1.177", "weekday = [-1.177", "timing.weekday.0", id="a day below none"
        ),
        pytest.param(
            "= [0.5, 0.25, 0.15, 0.1]",
            "= [0, 0]",
            "identity.first_login_after_sessions: must not all be 0",
            id="no weight",
        ),
        pytest.param(
            "[86214.0, 0.001]", "[864000.0, 0.001]", "faults.clock_off_s.2.0", id="ten days off"
        ),
        pytest.param(
            "[[5.0, 0.0397]",
            "[[5.0, 0.001]",
            "faults.clock_off_s: seconds must not fall, and shares must not rise",
            id="clocks off more often by more",
        ),
        pytest.param('campaign = "brand"', 'campaign = "a&b"', "traffic.4.campaign", id="a query"),
    ],
)
def test_shop_that_cannot_be_used_is_refused(tmp_path: Path, old: str, new: str, key: str) -> None:
    file = tmp_path / "shop.toml"
    file.write_text(SHIPPED.read_text().replace(old, new, 1))
    with pytest.raises(DefinitionError, match=rf"shop\.toml: {key}.* Compare it with shop\.toml"):
        load_shop(file)


def shop_of(tmp_path: Path, pattern: str, by: str) -> Path:
    """The shipped shop with every match replaced."""
    file = tmp_path / "shop.toml"
    text, found = re.subn(pattern, by, SHIPPED.read_text(), flags=re.DOTALL)
    assert found
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("table", "share"),
    [("country", "share"), ("device", "share"), ("traffic", "later_share")],
)
def test_one_of_a_list_can_be_chosen(tmp_path: Path, table: str, share: str) -> None:
    file = shop_of(tmp_path, rf"(\[\[{table}\]\][^\[]*?\n{share} = )[\d.]+", r"\g<1>0")
    with pytest.raises(DefinitionError, match=rf"shop\.toml: {table}: must not all be 0\. "):
        load_shop(file)


def test_list_is_no_longer_than_positions_are_stored(tmp_path: Path) -> None:
    device = '[[device]]\nshare = 1\nuser_agent = "Mozilla/5.0"\n'
    file = shop_of(tmp_path, r"\Z", "\n" + 121 * device)
    with pytest.raises(DefinitionError, match=r"shop\.toml: device: .*at most 127 items"):
        load_shop(file)


def test_shop_that_was_edited_is_read_again(tmp_path: Path) -> None:
    file = shop_of(tmp_path, "catalogue = 2000", "catalogue = 20")
    assert load_shop(file).items.catalogue == 20
    shop_of(tmp_path, "catalogue = 2000", "catalogue = 30")
    assert load_shop(file).items.catalogue == 30


def test_window_reaches_a_day_on_which_people_come(tmp_path: Path) -> None:
    file = shop_of(tmp_path, r"weekday = \[[^\]]*\]", "weekday = [0, 1, 1, 1, 1, 1, 1]")
    assert simulate(replace(WEEK, days=2, shop=file), tmp_path / "out").events > 0
    with pytest.raises(ParameterError, match=r"^days must reach a weekday on which people come"):
        simulate(replace(WEEK, days=1, shop=file), tmp_path / "out")


def test_shop_without_campaigns_cuts_no_visit(tmp_path: Path) -> None:
    way = '[[traffic]]\nchannel = "{}"\nfirst_share = 1\nlater_share = 1\n'
    found = way.format("Direct") + way.format("Referral") + 'referrer = "https://a.example/"\n'
    file = shop_of(tmp_path, r"\[\[traffic\]\].*", found)
    sessions = truth(replace(WEEK, shop=file)).sessions
    assert set(sessions["part"]) == {0}
    assert set(sessions["channel"]) == {"Direct", "Referral"}


def test_missing_shop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"none\.toml: file: .*No such file"):
        load_shop(tmp_path / "none.toml")
