"""The truth: it agrees with a naive reading of the clean lines, and finds every fault."""

import json
from collections import defaultdict
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

from clickstream_platform.simulator import Truth, simulate, truth, write_truth
from clickstream_platform_tests.simulator.shops import (
    MINUTE,
    WEEK,
    clocks,
    instant,
    records,
    written,
)

CLEAN = WEEK.without_faults()
CLICK_IDS = ("gclid", "msclkid", "fbclid", "ttclid")


def campaign(url: str) -> tuple[str | None, ...] | None:
    """What an address says about its campaign, or None."""
    query = parse_qs(urlsplit(url).query)
    names = ("utm_source", "utm_medium", "utm_campaign")
    values = [query.get(name, [None])[0] for name in names]
    click = next((name for name in CLICK_IDS if name in query), None)
    return (*values, click) if any(values) or click else None


def naive_sessions(
    lines: list[tuple[str, datetime, str]],
) -> list[tuple[str, datetime, datetime, int]]:
    """Sessions of persons from (person, instant, address), by a loop over their events."""
    by_person: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for person, at, url in lines:
        by_person[person].append((at, url))
    found = []
    for person, events in by_person.items():
        runs: list[list[datetime]] = []
        current = None
        for at, url in sorted(events):
            named = campaign(url)
            is_cut = named is not None and named != current
            if not runs or at - runs[-1][-1] > 30 * MINUTE or is_cut:
                runs.append([])
                current = named
            runs[-1].append(at)
        found += [(person, run[0], run[-1], len(run)) for run in runs]
    return sorted(found)


def true_sessions(known: Truth) -> list[tuple[str, datetime, datetime, int]]:
    """Sessions as the truth has them."""
    return sorted(known.sessions.select("person", "started_at", "ended_at", "events").rows())


def persons_by_tracker_session(known: Truth) -> dict[str, str]:
    """Who made each session of the tracker; a shared device has several persons."""
    return dict(known.sessions.select("tracker_session_id", "person").rows())


@pytest.mark.parametrize("seed", range(3))
def test_sessions_agree_with_a_loop_over_the_clean_lines(seed: int, tmp_path: Path) -> None:
    simulation = replace(CLEAN, seed=seed, days=10)
    known = truth(simulation)
    who = persons_by_tracker_session(known)
    lines = [
        (who[line["session_id"]], instant(line["created_at"]), line["page_url"])
        for line in records(simulation, tmp_path)
    ]
    assert naive_sessions(lines) == true_sessions(known)
    assert (known.sessions["part"] == 1).any()
    assert simulate(simulation, tmp_path).sessions == len(known.sessions)


def test_sessions_survive_wrong_clocks_and_late_arrival(tmp_path: Path) -> None:
    # With the usual correction of the clock, the same sessions appear, begun a latency later.
    simulation = replace(CLEAN, skewed_share=0.5, late_rate=0.3)
    known = truth(simulation)
    who = persons_by_tracker_session(known)
    lines = []
    for line in records(simulation, tmp_path):
        created, sent, received = clocks(line)
        lines.append((who[line["session_id"]], received - (sent - created), line["page_url"]))
    found = naive_sessions(lines)
    expected = true_sessions(known)
    assert [(s[0], s[3]) for s in found] == [(s[0], s[3]) for s in expected]
    errors = [got[1] - true[1] for got, true in zip(found, expected, strict=True)]
    assert max(errors) <= timedelta(milliseconds=320)


def test_faults_do_not_change_the_truth() -> None:
    clean, faulty = truth(CLEAN), truth(WEEK)
    for name in ("sessions", "conversions", "consents"):
        assert getattr(clean, name).equals(getattr(faulty, name))


def test_truth_does_not_depend_on_the_chunks() -> None:
    whole, pieces = truth(WEEK), truth(WEEK, chunk=500)
    for field in fields(Truth):
        assert getattr(whole, field.name).equals(getattr(pieces, field.name))


def test_conversions_are_those_of_the_lines(tmp_path: Path) -> None:
    known = truth(CLEAN).conversions
    expected = sorted(
        (line["event_id"], line["event_name"], line["visitor_id"], line.get("order_id"))
        for line in records(CLEAN, tmp_path)
        if line["event_name"] in {"purchase", "sign_up", "generate_lead"}
    )
    columns = ("event_id", "event_name", "visitor_id", "order_id")
    assert sorted(known.select(columns).rows()) == expected
    revenue = {
        line["order_id"]: line["revenue"]
        for line in records(CLEAN, tmp_path)
        if line["event_name"] == "purchase"
    }
    sold = known.drop_nulls("order_id")
    assert dict(sold.select("order_id", pl.col("revenue").cast(pl.Float64)).rows()) == revenue


def test_faults_point_at_their_lines(tmp_path: Path) -> None:
    wild = replace(WEEK, conflict_rate=0.03, malformed_rate=0.03, personal_data_rate=0.05)
    files = {name: text.splitlines() for name, text in written(wild, tmp_path).items()}
    faults = truth(wild).faults
    assert faults.group_by("file", "line", "fault").len()["len"].max() == 1
    for file, number, event_id, fault in faults.rows():
        line = files[file][number]
        if fault != "truncated":
            assert event_id.encode() in line
        check_fault(fault, line, files[file][number - 1])


def check_fault(fault: str, line: bytes, before: bytes) -> None:
    """Check that a line has the fault that it is said to have."""
    if fault == "bad_utf8":
        with pytest.raises(UnicodeDecodeError, match="invalid start byte"):
            line.decode()
        return
    if fault == "truncated":
        with pytest.raises(json.JSONDecodeError, match="char"):
            json.loads(line)
        return
    record: dict[str, Any] = json.loads(line)
    holds = {
        "duplicate": line == before,
        "conflict": "event_id" in record,
        "name_of_wrong_type": not isinstance(record.get("event_name", ""), str),
        "name_missing": "event_name" not in record,
        "time_unreadable": record["created_at"] == "yesterday",
        "late": record["sent_at"][:13] > record["created_at"][:13],
        "skewed": abs(_lag(record)).total_seconds() >= 4,
        "personal_data": "=" in urlsplit(record["page_url"]).query,
    }
    assert holds[fault]


def _lag(record: dict[str, Any]) -> timedelta:
    """How far the device's clock is from the collector's."""
    if record["created_at"] == "yesterday":
        return timedelta.max
    return instant(record["received_at"]) - instant(record["sent_at"])


def test_counts_agree_with_the_summary(tmp_path: Path) -> None:
    summary, known = simulate(WEEK, tmp_path), truth(WEEK)
    people = known.persons.filter(pl.col("bot_kind").is_null())
    assert people["person"].n_unique() == summary.persons
    assert known.persons["person"].n_unique() == summary.persons + summary.bots
    assert len(known.conversions) == summary.conversions
    faults = dict(known.faults["fault"].value_counts().rows())
    assert faults.get("duplicate", 0) == summary.duplicates
    assert faults.get("conflict", 0) == summary.conflicts


def test_persons_link_what_the_lines_show(tmp_path: Path) -> None:
    known = truth(replace(CLEAN, persons=2_000)).persons
    links = {
        (line["visitor_id"], line["user_id"])
        for line in records(replace(CLEAN, persons=2_000), tmp_path)
        if "user_id" in line
    }
    signed_in = known.filter("has_signed_in").select("visitor_id", "user_id")
    assert set(signed_in.rows()) == links
    assert all(user.startswith("u-") and user[2:].isdigit() for _, user in links)
    # Some devices have two persons, and some persons two browsers.
    people = known.filter(pl.col("bot_kind").is_null())
    assert not people.filter(pl.col("person").n_unique().over("visitor_id") == 2).is_empty()
    assert not people.filter(pl.col("visitor_id").n_unique().over("person") == 2).is_empty()


def test_consents_are_those_of_the_lines(tmp_path: Path) -> None:
    known = truth(CLEAN)
    who = persons_by_tracker_session(known)
    choices: dict[str, list[tuple[datetime, dict[str, bool]]]] = defaultdict(list)
    for person, _, since, *choice in known.consents.rows():
        names = ("analytics", "marketing", "personalization")
        choices[person].append((since, dict(zip(names, choice, strict=True))))
    for line in records(CLEAN, tmp_path):
        if "consent" in line:
            past = [
                c
                for since, c in choices[who[line["session_id"]]]
                if since <= instant(line["created_at"])
            ]
            assert line["consent"] == past[-1]


def test_consent_is_unknown_on_the_first_page_alone(tmp_path: Path) -> None:
    known = truth(CLEAN)
    first = known.sessions.filter(~pl.col("is_bot")).group_by("person").first()
    landings = dict(first.select("tracker_session_id", "started_at").rows())
    people = set(known.persons.filter(pl.col("bot_kind").is_null())["visitor_id"])
    for line in records(CLEAN, tmp_path):
        is_landing = landings.get(line["session_id"]) == instant(line["created_at"])
        if line["visitor_id"] in people and line["event_name"] != "page_ping":
            assert ("consent" in line) == (not is_landing)


def test_bots_have_neither_account_nor_consent(tmp_path: Path) -> None:
    bots = set(truth(CLEAN).persons.filter(pl.col("bot_kind").is_not_null())["visitor_id"])
    lines = [line for line in records(CLEAN, tmp_path) if line["visitor_id"] in bots]
    assert lines
    assert not any({"consent", "user_id"} & set(line) for line in lines)


def test_truth_is_written_as_tables(tmp_path: Path) -> None:
    files = write_truth(WEEK, tmp_path / "truth")
    assert [file.name for file in files] == [f"{field.name}.parquet" for field in fields(Truth)]
    known = truth(WEEK)
    assert all(pl.read_parquet(file).equals(getattr(known, file.stem)) for file in files)
