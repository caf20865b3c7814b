"""Whatever stands in a field costs one record at most: no stage stops for what was sent."""

import json
import os
import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.events.adapters import FIELDS

pytestmark = pytest.mark.slow

ODD = [
    1000000, 1e15, 99999999999999, "9999999999.9999", "99999999999999.9999", "1e400", 1e308,
    "1e-400", "NaN", "inf", "0x10", "9" * 42, "-0", "1.000,50", "\uff19\uff19", "", '" \'', "null",
    "\u0000", "a\u0000b", "\ud83d\udca5", "\ud800", [], {}, [1], {"a": 1}, True, False, 0, -1,
    2**63, 2**64, -(2**63) - 1, "1e18", "9223372036854775807", "2026-02-30T00:00:00Z",
    "9999-12-31T23:59:59Z", "9998-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "-5000-01-01",
    "99999-01-01", "2026-11-20T25:00:00Z", "2026-11-20T10:00:00+99:99", "http://", "://",
    "https://[::1", "https://%", "https://a/%zz?utm_source=%E9&utm_medium=%", "ftp://a:b@c:d/e?f#g",
    "https://\u00e9.example/?utm_source=\u00fc%FC", "x" * 70_000, "%00", "CPXxRfAPXxRfA", "DBAA~B",
]  # fmt: skip
"""Values at which a reader, an engine or a type of a column may end."""

NAMES = {"tracker_session_id": "session_id"}
"""Canonical fields that records name otherwise."""

SENT = sorted({NAMES.get(name, name) for name in FIELDS} | {"consent", "tcf_string", "gpp_string"})

load_commands()


def records(count: int, rng: random.Random) -> list[dict[str, object]]:
    """Events of a small shop in which up to three fields hold something odd."""
    made: list[dict[str, object]] = []
    for number in range(count):
        name = rng.choice(["page_view", "page_ping", "login", "add_to_cart", "purchase", "refund"])
        record: dict[str, object] = {
            "event_id": f"e{number}",
            "event_name": name,
            "occurred_at": f"2026-03-{rng.randint(1, 9):02d}T{rng.randint(0, 23):02d}:00:00Z",
            "received_at": "2026-03-10T00:00:00Z",
            "visitor_id": f"v{rng.randint(0, 40)}",
            "consent": {"analytics": True, "marketing": True},
            "country": "DE",
        }
        if name in {"purchase", "refund"}:
            amount = rng.choice([2.5, "1000000", "9999999999.9999", "99999999999999.9999"])
            record |= {"order_id": f"o{rng.randint(0, 99)}", "revenue": amount, "currency": "EUR"}
        if rng.random() < 0.3:
            record["user_id"] = f"u{rng.randint(0, 20)}"
        odd = rng.sample(SENT, rng.choice([0, 0, 1, 1, 2, 3]))
        made.append(record | {field: rng.choice(ODD) for field in odd})
    return made


def test_no_stage_stops_for_a_value(tmp_path: Path) -> None:
    (folder := tmp_path / "landing" / "web").mkdir(parents=True)
    sent = records(4_000, random.Random(1))
    (file := folder / "a.ndjson").write_text("".join(json.dumps(each) + "\n" for each in sent))
    os.utime(file, (1_700_000_000,) * 2)
    for words in (["materialize"], ["report"], ["materialize", "--full"]):
        done = CliRunner().invoke(app, [*words, "--data", str(tmp_path)])
        assert done.exit_code == 0, done.output
    told = json.loads(CliRunner().invoke(app, ["status", "--json", "--data", str(tmp_path)]).stdout)
    (row,) = told["ledger"]
    assert told["unbalanced_batches"] == []
    assert row["received"] == len(sent)
    assert min(row["loaded"], row["quarantined"], row["duplicate"]) > 20
