"""Who matches which segment at one moment: rules compiled to one query over the lake's tables."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import and_, or_

import ibis
import ibis.expr.types as ir
from ibis import _

from clickstream_platform.lake import json_value, literal, polars_schema
from clickstream_platform.segments.engagement import (
    CONSENTS,
    EPOCH,
    MICROSECOND,
    microseconds,
    score_at,
)
from clickstream_platform.segments.rules import (
    Bounds,
    IsSet,
    Rule,
    Scalar,
    Segment,
    StartsWith,
    Test,
    property_of,
)

DIGITS = 6
"""Decimals of scores and totals that decide: sums of floats differ in their last digits."""

IN_SESSION_EVENTS = frozenset({"event_name"})
"""Columns of an event for which `events` itself need not be read."""


def segment_matches(
    tables: Mapping[str, ir.Table],
    segments: Sequence[Segment],
    *,
    now: datetime,
    half_life: timedelta,
    conversions: Collection[str],
) -> ir.Table:
    """Tell of each person which segments they match at a moment.

    Nothing that happened after ``now`` counts, nor do sessions of bots.
    Events are those in sessions, and those that a server reported of who had none open. Where a
    rule asks how many or how much, of the events of one name with one order, as of a browser and
    a server, the earliest that fits counts, as in `conversions`.
    Windows of days include both of their ends. A person without consent to a segment's purpose
    does not match it; consent that is not known counts as none. What a person chose last counts,
    also against what was collected before.

    Args:
        tables: By name, as stored: ``engagement_scores`` (everybody who can match),
            ``sessions``, ``session_events``, ``sessionless_events``, and ``events``, which is read
            only for rules about more than the name of an event; and ``current_consents`` of
            persons who made a choice, which replace those of the scores.
        segments: Segments to evaluate; names are the columns of the result.
        now: The moment.
        half_life: Half-life of the engagement score.
        conversions: Names of the events that count once per order.

    Returns:
        ``person_key``, ``person_id`` and a boolean, never null, for each segment. Grain:
        person_key; persons who match none are left out.
    """
    people = _with_current_consents(tables["engagement_scores"], tables["current_consents"])
    leaves = _distinct(rule for segment in segments for rule in segment.rule.activities())
    now = now.astimezone(UTC)
    people = people.mutate(
        current_score=score_at(people.score, people.anchored_at, now=now, half_life=half_life)
    )
    for table in ("sessions", "events"):
        rules = {name: rule for name, rule in leaves.items() if rule.counted == table}
        if rules:
            each = [*rules.values()]
            rows = (
                _sessions(tables, each, now)
                if table == "sessions"
                else _events(tables, each, now, conversions)
            )
            figures = _figures(rows, rules, now, conversions)
            people = people.left_join(figures, "person_key").drop("person_key_right")
    names = {_key(rule): name for name, rule in leaves.items()}
    matched = people.select(
        "person_key",
        "person_id",
        **{
            segment.name: _holds(segment.rule, people, names)
            & people[f"consent_{segment.purpose}"].fill_null(False)  # noqa: FBT003 - ibis has no keyword
            for segment in segments
        },
    )
    return matched.filter(reduce(or_, (matched[segment.name] for segment in segments)))


def _with_current_consents(scores: ir.Table, current: ir.Table) -> ir.Table:
    """Scores with the consents that hold now, where the person made a choice."""
    chosen = current.select(
        chooser="person_key", **{f"current_{name}": current[name] for name in CONSENTS}
    )
    joined = scores.left_join(chosen, scores.person_key == chosen.chooser)
    return joined.mutate(
        **{
            name: ibis.ifelse(joined.chooser.notnull(), joined[f"current_{name}"], joined[name])
            for name in CONSENTS
        }
    ).drop("chooser", *(f"current_{name}" for name in CONSENTS))


def _key(rule: Rule) -> str:
    """Equal for conditions that count the same rows, however often they must be there."""
    tests = sorted(rule.tests.items(), key=lambda item: item[0])
    counts = (rule.counted, rule.asks_how_many, [*rule.total])
    return repr((counts, tests, rule.within_days, rule.before_days))


def _distinct(rules: Iterable[Rule]) -> dict[str, Rule]:
    """One rule of each that count the same, by the name of the column for its figure."""
    by_key = {_key(rule): rule for rule in rules}
    return {f"figure_{number}": rule for number, rule in enumerate(by_key.values())}


def _sessions(tables: Mapping[str, ir.Table], rules: Sequence[Rule], now: datetime) -> ir.Table:
    """Sessions of persons."""
    return _in_time(tables["sessions"].filter(~_.is_bot), rules, now)


def _events(
    tables: Mapping[str, ir.Table],
    rules: Sequence[Rule],
    now: datetime,
    conversions: Collection[str],
) -> ir.Table:
    """Events of persons, in a session or reported by a server, with what the rules need."""
    columns = ("event_key", "person_key", "event_name", "occurred_us", "event_date")
    of_persons = tables["sessions"].filter(~_.is_bot)
    inside = tables["session_events"].semi_join(of_persons, "session_key").select(columns)
    reported = tables["sessionless_events"].filter(_.reason == "no_open_session").select(columns)
    rows = _in_time(inside.union(reported), rules, now)
    named = {name for rule in rules for name in (*rule.tests, *rule.total)} - IN_SESSION_EVENTS
    needed = {"properties" if property_of(name) else name for name in named}
    if any(_counts_orders(rule, conversions) for rule in rules):
        needed |= {"order_id"}
    if not needed:
        return rows
    details = _in_time(tables["events"], rules, now).select("event_key", *sorted(needed))
    return rows.select("event_key", "person_key", "event_name", "occurred_us").left_join(
        details, "event_key"
    )


def _in_time(rows: ir.Table, rules: Sequence[Rule], now: datetime) -> ir.Table:
    """Rows that any of the rules can count, by date: whole partitions are left unread."""
    column = next(name for name in rows.columns if name in {"session_date", "event_date"})
    longest = [rule.within_days for rule in rules]
    kept = rows.filter(rows[column] <= ibis.literal(now.date()))
    if any(days is None for days in longest):
        return kept
    oldest = (now - timedelta(days=max(days for days in longest if days))).date()
    return kept.filter(kept[column] >= ibis.literal(oldest))


def _counts_orders(rule: Rule, conversions: Collection[str]) -> bool:
    """Whether it would count an order as often as it was reported."""
    if rule.counted != "events" or not rule.asks_how_many:
        return False
    test = rule.tests.get("event_name")
    if isinstance(test, StartsWith):
        return any(name.startswith(test.starts_with) for name in conversions)
    names = test if isinstance(test, tuple) else (test,)
    return not isinstance(test, (str, tuple)) or any(name in names for name in conversions)


def _figures(
    rows: ir.Table, rules: Mapping[str, Rule], now: datetime, conversions: Collection[str]
) -> ir.Table:
    """Count, or add up, what each rule is about. Grain: person_key."""
    at_us = rows.occurred_us if "occurred_us" in rows.columns else microseconds(rows.started_at)
    rows = rows.mutate(at_us=at_us)
    tests = {name: _is_counted(rows, rule, now) for name, rule in rules.items()}
    rows = rows.mutate(**{f"is_{name}": test for name, test in tests.items()})
    repeatable = [f"is_{name}" for name, rule in rules.items() if _counts_orders(rule, conversions)]
    if repeatable:
        rows = _once_per_order(rows, repeatable, conversions)
    figures = {}
    for name, rule in rules.items():
        counts = rows[f"is_{name}"]
        if rule.total:
            column = rows[next(iter(rule.total))]  # money adds up exactly before it is a float
            total = column.sum(where=counts).cast("float64")
            figures[name] = total.round(DIGITS) if column.type().is_floating() else total
        else:
            figures[name] = counts.cast("int64").sum().cast("float64")
    return rows.group_by("person_key").agg(**figures)


def _once_per_order(rows: ir.Table, tests: Sequence[str], conversions: Collection[str]) -> ir.Table:
    """Let, of the events of one name with one order, only the earliest that passes a test pass."""
    is_order = _.event_name.isin([literal(name) for name in conversions]) & (_.order_id != "")
    orders = rows.filter(is_order)  # few among all events, and so sorted by themselves
    numbers = {
        f"number_{test}": ibis.row_number().over(
            ibis.window(
                group_by=["person_key", "event_name", "order_id", test],
                order_by=["at_us", "event_key"],
            )
        )
        for test in tests
    }
    numbered = orders.mutate(**numbers).select(*numbers, order_event_key="event_key")
    joined = rows.left_join(numbered, rows.event_key == numbered.order_event_key)
    return joined.mutate(
        **{test: joined[test] & (joined[f"number_{test}"].fill_null(0) == 0) for test in tests}
    )


def _is_counted(rows: ir.Table, rule: Rule, now: datetime) -> ir.BooleanValue:
    """Whether a row is one that the rule is about."""
    now_us = (now - EPOCH) // MICROSECOND
    newest = now_us - _us(rule.before_days or 0)
    tests = [rows.at_us <= ibis.literal(newest, "int64")]
    if rule.within_days:
        tests.append(rows.at_us >= ibis.literal(now_us - _us(rule.within_days), "int64"))
    for name, test in rule.tests.items():
        if key := property_of(name):
            tests.append(_is_as(json_value(rows["properties"], key), _as_json(test)))
        else:
            is_number = polars_schema(str(rule.counted))[name].is_numeric()
            tests.append(_is_as(rows[name].cast("float64") if is_number else rows[name], test))
    return reduce(and_, tests)


def _us(days: float) -> int:
    return timedelta(days=days) // MICROSECOND


def _as_json(test: Test) -> Test:
    """What a value of the properties is compared with: numbers and truths as JSON writes them."""
    if isinstance(test, (Bounds, StartsWith, IsSet)):
        return test
    values = test if isinstance(test, tuple) else (test,)
    return tuple(value if isinstance(value, str) else json.dumps(value) for value in values)


def _is_as(column: ir.Value, test: Test) -> ir.BooleanValue:
    """Whether a column has the value asked for; an empty one has not."""
    if isinstance(test, IsSet):
        there = column.nullif("").notnull() if column.type().is_string() else column.notnull()
        return there if test.is_set else ~there
    if isinstance(test, Bounds):
        found = _within(column, test)
    elif isinstance(test, StartsWith):
        found = column.startswith(literal(test.starts_with))
    else:
        values = test if isinstance(test, tuple) else (test,)
        found = column.isin([_written(value) for value in values])
    return found.fill_null(False)  # noqa: FBT003 - ibis has no keyword


def _written(value: Scalar) -> Scalar | ir.StringValue:
    """A value as queries hold it: numbers are floating point, as the columns are."""
    if isinstance(value, str):
        return literal(value)
    return value if isinstance(value, bool) else float(value)


def _within(figure: ir.NumericValue, bounds: Bounds) -> ir.BooleanValue:
    tests = []
    if bounds.min is not None:
        tests.append(figure >= ibis.literal(bounds.min, "float64"))
    if bounds.max is not None:
        tests.append(figure <= ibis.literal(bounds.max, "float64"))
    return reduce(and_, tests)


def _holds(rule: Rule, people: ir.Table, names: Mapping[str, str]) -> ir.BooleanValue:
    """Whether a rule holds of a person."""
    if rule.score:
        return _within(people.current_score.round(DIGITS), rule.score)
    if rule.negated is not None:
        return ~_holds(rule.negated, people, names)
    if rule.parts:
        return reduce(
            and_ if rule.all else or_, (_holds(part, people, names) for part in rule.parts)
        )
    figure = people[names[_key(rule)]].fill_null(0.0)
    bounds = next(iter(rule.total.values()), None) or rule.count or Bounds(min=1)
    return ~_within(figure, bounds) if rule.is_absence else _within(figure, bounds)
