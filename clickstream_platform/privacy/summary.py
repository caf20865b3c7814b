"""The page of an export that a person reads: what is held, why, since when, who else got it."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape

from clickstream_platform.tables.catalog import TABLES

PURPOSES = {
    "raw_events": (
        "What your browser or app sent, as it arrived",
        "to measure use, and to mend mistakes",
    ),
    "events": ("What you did on our pages and in our apps", "to measure use"),
    "quarantined_events": ("Records of you that did not pass our rules", "to mend them"),
    "duplicate_events": ("Records of you that arrived twice", "to count once"),
    "identity_decisions": ("What was decided about your devices by hand", "to mend mistakes"),
    "identity_merges": ("When we saw your devices signed in", "to see one person as one"),
    "identity_conflicts": ("Devices that were too many for one person", "to merge nobody wrongly"),
    "identity_map": ("On which devices you signed in", "to see one person as one"),
    "consents": ("What you agreed to and what you refused", "to keep to it, and to prove it"),
    "person_consents": ("What you agree to now", "to keep to it"),
    "bot_behaviour": ("How fast and how regularly you looked at pages", "to tell programs apart"),
    "sessions": ("Your visits", "to measure use"),
    "session_events": ("Which act belongs to which visit", "to measure use"),
    "sessionless_events": ("What you did outside of visits", "to measure use"),
    "runaway_sessions": ("Visits too long for a person", "to tell people from programs"),
    "touchpoints": ("Campaigns and pages that led you to us", "to know which marketing works"),
    "conversions": ("What you ordered or signed up for", "to know which marketing works"),
    "attribution_credits": ("Share of marketing in your orders", "to know which marketing works"),
    "engagement_scores": ("How active you were, as a number", "to choose what to offer"),
    "segment_members": ("Groups that you were counted in", "to choose what to offer"),
    "crm_syncs": ("What was sent to other systems about you", "to account for it"),
}
"""What each table holds of a person and why, in words for that person."""

KINDS = {"user": "account", "visitor": "browser or app"}
"""What types of identifiers are called, where their name says it to nobody."""

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #dfe4ea;
  --paper: #ffffff; --wash: #f4f6f9; --mark: #2f5fd0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #9aa6b5; --line: #2e3744;
  --paper: #141a22; --wash: #1c2430; --mark: #8fb0ff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 56rem; margin: 2.5rem auto; padding: 2.5rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 14px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p, li { max-width: 42rem; } .soft { color: var(--soft); }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.6rem 0 0;
  padding: 0; list-style: none; }
.figures li { flex: 1 1 9rem; padding: .9rem 1rem; background: var(--wash); border-radius: 10px; }
.figures b { display: block; font-size: 1.5rem; color: var(--mark);
  font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .5rem .8rem .5rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font-size: .9em; background: var(--wash); padding: .1em .35em; border-radius: 5px;
  overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class HeldTable:
    """What one table holds of the person."""

    name: str
    rows: int
    first: date | None
    last: date | None


@dataclass(frozen=True)
class Shared:
    """A system that got data of the person."""

    destination: str
    times: int
    last: date


def summary_html(
    *,
    identifiers: Sequence[tuple[str, str]],
    tables: Sequence[HeldTable],
    shared: Sequence[Shared],
    landed: tuple[int, int],
    made_at: datetime,
) -> str:
    """Print the page; it loads nothing, runs nothing, and shows every value as text."""
    days = [day for table in tables for day in (table.first, table.last) if day]
    figures = [
        (f"{sum(table.rows for table in tables):,}", "records"),
        (f"{len(tables):,}", "kinds of record"),
        (min(days).isoformat() if days else "never", "oldest record"),
        (max(days).isoformat() if days else "never", "newest record"),
    ]
    tiles = "".join(f"<li><b>{escape(n)}</b>{escape(what)}</li>" for n, what in figures)
    known = ", ".join(
        f"{escape(KINDS.get(kind, kind))} <code>{escape(raw)}</code>" for kind, raw in identifiers
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Your data</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>Your data</h1>
<p class="soft">Made on {made_at.date().isoformat()}. We know you by {known or "nothing"}.</p>
<ul class="figures">{tiles}</ul>
<h2>What we hold, and why</h2>
{_held(tables)}
<p class="soft">The files as they arrived hold {landed[1]:,} of your records, in {landed[0]:,}
{"file" if landed[0] == 1 else "files"}.</p>
<h2>Who else got it</h2>
{_recipients(shared)}
<h2>What is not in here</h2>
<p>On a device that others sign in on as well, what happened while nobody was signed in could be
anybody's. It is handed to nobody. Addresses of other people are masked before anything is
stored.</p>
<h2>In this package</h2>
<ul>
<li><code>data.json</code>: everything, for machines.</li>
<li><code>tables/</code>: the same as tables. A value that starts like a formula has an apostrophe
before it, so that no spreadsheet runs it.</li>
</ul>
<h2>Your rights</h2>
<p>You may have mistakes corrected, object, ask for erasure, take your data elsewhere, and complain
to a supervisory authority.</p>
</main>
</body>
</html>
"""


def _held(tables: Sequence[HeldTable]) -> str:
    if not tables:
        return "<p>Nothing.</p>"
    rows = "".join(
        f"<tr><td>{escape(what)}<br><code>{escape(table.name)}</code></td>"
        f"<td>{escape(why)}</td><td>{_period(table)}</td>"
        f'<td class="number">{table.rows:,}</td></tr>'
        for table in tables
        for what, why in [purpose(table.name)]
    )
    return (
        '<div class="wide"><table><tr><th>What</th><th>Why</th><th>Period</th>'
        f'<th class="number">Records</th></tr>{rows}</table></div>'
    )


def purpose(table: str) -> tuple[str, str]:
    """What a table holds of a person, and why; from its contract where nobody wrote it plainer."""
    about = inspect.getdoc(TABLES[table].contract) or table
    return PURPOSES.get(table, (about.splitlines()[0], "to measure use"))


def _period(table: HeldTable) -> str:
    if table.first is None or table.last is None:
        return ""
    if table.first == table.last:
        return table.first.isoformat()
    return f"{table.first.isoformat()} to {table.last.isoformat()}"


def _recipients(shared: Sequence[Shared]) -> str:
    if not shared:
        return "<p>Nobody: nothing of you was sent to another system.</p>"
    items = "".join(
        f"<li><b>{escape(each.destination)}</b>: {each.times:,} "
        f"{'time' if each.times == 1 else 'times'}, last on {each.last.isoformat()}</li>"
        for each in shared
    )
    return f"<ul>{items}</ul>"
