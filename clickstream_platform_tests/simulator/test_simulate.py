"""Writing a simulation: equal bytes, conservation, order, and the edges of faults and files."""

import gzip
import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from clickstream_platform.simulator import (
    Simulation,
    SimulationSummary,
    draws,
    load_shop,
    simulate,
    visits,
)
from clickstream_platform.simulator.behaviour import EVENT
from clickstream_platform.simulator.lines import in_order
from clickstream_platform.simulator.world import world_of
from clickstream_platform_tests.simulator.shops import (
    MONDAY,
    WEEK,
    clocks,
    instant,
    records,
    written,
)

CLEAN = WEEK.without_faults()
NAMES = {
    "page_view",
    "view_item",
    "search",
    "add_to_cart",
    "begin_checkout",
    "purchase",
    "sign_up",
    "login",
    "page_ping",
    "generate_lead",
}
REQUIRED = {
    "event_id",
    "event_name",
    "created_at",
    "sent_at",
    "received_at",
    "visitor_id",
    "session_id",
    "app_id",
    "platform",
    "collection_source",
    "ip_address",
    "user_agent",
    "country",
    "language",
    "page_url",
    "page_title",
}


def test_equal_simulations_write_equal_bytes(tmp_path: Path) -> None:
    first, second = (simulate(WEEK, tmp_path / name) for name in ("a", "b"))
    names = [f"shop-2026-03-{day:02}.ndjson.gz" for day in range(2, 9)]
    assert [file.name for file in first.files] == names
    packed = [file.read_bytes() for file in first.files]
    assert packed == [file.read_bytes() for file in second.files]
    # Nor does the time of writing stand in the header of gzip.
    assert {file[4:8] for file in packed} == {bytes(4)}


@pytest.mark.parametrize("chunk", [97, 1_000, 10**9])
def test_bytes_do_not_depend_on_the_chunks(tmp_path: Path, chunk: int) -> None:
    wild = replace(WEEK, conflict_rate=0.05, late_rate=0.05, malformed_rate=0.05)
    assert written(wild, tmp_path / "b", chunk=chunk) == written(wild, tmp_path / "a")


def test_chunk_holds_no_more_persons_than_fit_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visits.MOST_AT_ONCE * visits.PERSON_SPAN < 2**63
    monkeypatch.setattr(visits, "MOST_AT_ONCE", 100)
    people = visits.Crowd(persons=250, bots=0, events=1)
    chunks = list(visits.chunks_of_visits(world_of(CLEAN), people, 10**9))
    assert [int(chunk["number"].max()) // 100 for chunk in chunks] == [0, 1, 2]


def test_order_of_one_millisecond_does_not_depend_on_who_was_drawn_first() -> None:
    lines = np.zeros(50, EVENT)
    lines["hash"] = draws.children(draws.root(1, "event"), np.arange(50))
    lines["received_ms"] = 1_000 + np.arange(50) // 25
    shuffled = lines[np.random.default_rng(1).permutation(50)]
    assert in_order(shuffled, 500)["hash"].tolist() == in_order(lines, 500)["hash"].tolist()


def test_another_seed_is_another_shop(tmp_path: Path) -> None:
    ids = [
        {record["event_id"] for record in records(replace(CLEAN, seed=seed), tmp_path / str(seed))}
        for seed in (1, 2)
    ]
    assert not ids[0] & ids[1]


def test_lines_are_events_and_repetitions_and_broken_ones(tmp_path: Path) -> None:
    wild = replace(WEEK, duplicate_rate=0.05, conflict_rate=0.05, malformed_rate=0.05)
    summary = simulate(wild, tmp_path)
    texts = [gzip.decompress(file.read_bytes()) for file in summary.files]
    lines = [line for text in texts for line in text.splitlines()]
    assert len(lines) == summary.lines
    assert summary.lines == (
        summary.events + summary.duplicates + summary.conflicts + summary.malformed
    )

    sound, broken = [], 0
    for line in lines:
        try:
            record = json.loads(line)
            instant(record["received_at"])
            assert isinstance(record["event_name"], str)
            sound.append(record)
        except (ValueError, KeyError, AssertionError):
            broken += 1
    assert broken == summary.malformed
    assert len({record["event_id"] for record in sound}) == summary.events
    assert len(lines) - len(set(lines)) == summary.duplicates
    said = {(r["event_id"], r["page_url"].partition("?")[0], r["page_title"]) for r in sound}
    assert len(said) - summary.events == summary.conflicts
    rates = (summary.duplicates, summary.conflicts, summary.malformed)
    assert [count / summary.events for count in rates] == pytest.approx([0.05] * 3, abs=0.012)


def test_lines_are_in_order_of_arrival_and_in_the_file_of_their_day(tmp_path: Path) -> None:
    busy = replace(WEEK, malformed_rate=0, late_rate=0.2, conflict_rate=0.1)
    for name, text in written(busy, tmp_path).items():
        arrivals = [json.loads(line)["received_at"] for line in text.splitlines()]
        assert arrivals == sorted(arrivals)
        assert {arrival[:10] for arrival in arrivals} == {name.removeprefix("shop-")[:10]}


def test_nothing_goes_wrong_without_faults(tmp_path: Path) -> None:
    summary = simulate(CLEAN, tmp_path / "a")
    lines = records(CLEAN, tmp_path / "a")
    wrong = ("duplicates", "conflicts", "malformed", "late", "skewed", "personal_data")
    assert [getattr(summary, name) for name in wrong] == [0] * len(wrong)
    assert len({line["event_id"] for line in lines}) == summary.lines == summary.events
    assert {line["event_name"] for line in lines} == NAMES
    for line in lines:
        assert set(line) >= REQUIRED
        created, sent, received = clocks(line)
        assert CLEAN.starts_at <= created <= sent < received < CLEAN.ends_at
        assert received - created < timedelta(seconds=4)
        assert "example.com" not in line["page_url"].removeprefix("https://shop.example.com/")


def test_visits_end_before_the_window_does(tmp_path: Path) -> None:
    crowded = replace(CLEAN, days=1, persons=5_000)
    assert (summary := simulate(crowded, tmp_path)).lines == summary.events


def test_faults_do_not_change_what_happened(tmp_path: Path) -> None:
    clean = {line["event_id"]: line for line in records(CLEAN, tmp_path / "a")}
    faulty = {
        line["event_id"]: line for line in records(replace(WEEK, malformed_rate=0), tmp_path / "b")
    }
    assert clean.keys() == faulty.keys()
    stable = ("event_name", "visitor_id", "session_id", "user_id", "revenue")
    assert all(
        clean[event].get(name) == faulty[event].get(name) for event in clean for name in stable
    )


def test_one_fault_is_switched_on_alone(tmp_path: Path) -> None:
    skewed = simulate(replace(CLEAN, skewed_share=0.5), tmp_path)
    assert skewed.skewed > 0
    assert skewed.lines == skewed.events == simulate(CLEAN, tmp_path).events
    assert skewed.late == skewed.personal_data == 0


def test_wrong_clocks_are_off_as_a_whole(tmp_path: Path) -> None:
    # The correction received - (sent - created) finds the true instant up to network latency.
    true = {r["event_id"]: instant(r["created_at"]) for r in records(CLEAN, tmp_path / "a")}
    skewed = replace(CLEAN, bot_share=0, skewed_share=1, late_rate=0.2)
    for line in records(skewed, tmp_path / "b"):
        created, sent, received = clocks(line)
        assert abs(created - true[line["event_id"]]) >= timedelta(seconds=5)
        error = received - (sent - created) - true[line["event_id"]]
        assert timedelta(0) < error <= timedelta(milliseconds=320)


def test_late_events_arrive_within_the_window(tmp_path: Path) -> None:
    summary = simulate(replace(CLEAN, late_rate=1), tmp_path)
    # The last ones of the week have nowhere to be late to.
    assert 0.5 < summary.late / summary.events < 1
    assert len(summary.files) <= WEEK.days


def test_personal_data_is_at_its_rate_and_in_sound_addresses(tmp_path: Path) -> None:
    open_hearted = replace(CLEAN, personal_data_rate=0.1)
    summary = simulate(open_hearted, tmp_path)
    assert summary.personal_data / summary.events == pytest.approx(0.1, abs=0.015)
    urls = [line["page_url"] for line in records(open_hearted, tmp_path)]
    forms = load_shop().faults.personal_queries
    assert sum(url.endswith(forms) for url in urls) == summary.personal_data
    assert all(url.count("?") <= 1 for url in urls)


def test_conversions_add_up(tmp_path: Path) -> None:
    summary = simulate(CLEAN, tmp_path)
    sold = [line for line in records(CLEAN, tmp_path) if line["event_name"] == "purchase"]
    revenue: dict[str, Decimal] = dict.fromkeys(summary.revenue, Decimal(0))
    for line in sold:
        revenue[line["currency"]] += Decimal(str(line["revenue"]))
    assert summary.purchases == len(sold) == len({line["order_id"] for line in sold})
    assert summary.revenue == revenue


def test_landings_carry_what_their_campaign_says(tmp_path: Path) -> None:
    queries = {line["page_url"].partition("?")[2] for line in records(CLEAN, tmp_path)}
    keys = {part.partition("=")[0] for query in queries for part in query.split("&") if part}
    utm = {f"utm_{name}" for name in ("source", "medium", "campaign", "term", "content")}
    assert keys == utm | {"gclid", "msclkid", "fbclid", "ttclid", "q"}
    assert not any(part.endswith("=") for query in queries for part in query.split("&"))


def test_hourly_plain_files_hold_the_same_lines(tmp_path: Path) -> None:
    daily = written(WEEK, tmp_path / "a")
    hourly = written(replace(WEEK, files="hour", is_compressed=False), tmp_path / "b")
    assert b"".join(hourly.values()) == b"".join(daily.values())
    assert all(name[:16] == "shop-2026-03-02T" for name in list(hourly)[:12])
    for name, text in hourly.items():
        hour = name.removeprefix("shop-").removesuffix(".ndjson")
        assert f'"received_at":"{hour}:'.encode() in text.splitlines()[0]


def test_events_wished_for_are_about_as_many(tmp_path: Path) -> None:
    summary = simulate(Simulation(start=MONDAY, days=30, events=30_000), tmp_path)
    assert summary.events == pytest.approx(30_000, rel=0.05)
    assert summary.bot_events / summary.events == pytest.approx(0.05, abs=0.02)


def test_bots_are_no_more_than_was_asked_for(tmp_path: Path) -> None:
    # One event of people is wished for, and one person makes some; the rest are those of bots.
    few = Simulation(start=MONDAY, days=2, events=1_000, bot_share=0.999)
    assert simulate(few, tmp_path).events == pytest.approx(1_000, rel=0.4)


def test_nobody_is_a_bot_where_the_share_is_0(tmp_path: Path) -> None:
    summary = simulate(replace(CLEAN, bot_share=0), tmp_path)
    assert summary.bots == summary.bot_events == 0


def test_a_single_person_may_never_come(tmp_path: Path) -> None:
    counts = [
        simulate(Simulation(start=MONDAY, days=1, persons=1, bot_share=0, seed=seed), tmp_path)
        for seed in range(5)
    ]
    assert all(isinstance(count, SimulationSummary) for count in counts)
    assert all(count.persons <= 1 and bool(count.files) == bool(count.lines) for count in counts)


def test_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    seen: list[float] = []

    def stop_half_way(share: float) -> None:
        seen.append(share)
        for file in tmp_path.glob("shop-*"):
            gzip.decompress(file.read_bytes())
        if share > 0.5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        simulate(WEEK, tmp_path, progress=stop_half_way)
    assert seen == sorted(seen)
    assert [file.name for file in tmp_path.glob(".*")] == []


def test_progress_ends_at_1(tmp_path: Path) -> None:
    seen: list[float] = []
    simulate(WEEK, tmp_path, progress=seen.append)
    assert len(seen) == WEEK.days
    assert seen[-1] == 1
