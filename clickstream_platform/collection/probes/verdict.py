"""Verdicts: what of a step's expectations did not hold, in words that say what came instead."""

from collections.abc import Iterator, Mapping, Sequence

from clickstream_platform.collection.probes.scenario import (
    BadEvents,
    Expected,
    GoodEvents,
    Where,
    field_of,
)

Record = Mapping[str, object]

WITHHELD = frozenset({"visitor_id", "user_id", "ip_address"})
"""Fields whose values are matched but never told."""


def failures(expected: Expected, good: Sequence[Record], bad: Sequence[Record]) -> list[str]:
    """List what does not hold, one sentence each; empty where all does.

    Args:
        expected: What a step must bring.
        good: Records that would become events, in order of arrival, as micro tells them.
        bad: Records that would wait in quarantine.
    """
    found = [*_counts(expected.good, good), *_bad_ones(expected.bad, bad)]
    if expected.in_order and not found:
        found += _disorder(expected.good, good)
    if expected.only:
        others = [_name(it) for it in good if not any(_fits(one, it) for one in expected.good)]
        if others:
            found.append(f"expected no other events; found {', '.join(others)}")
    if found and (expected.good or expected.only):
        found.append(f"came, in order: {', '.join(map(_name, good)) or 'no good event'}")
    return found


def _counts(expected: Sequence[GoodEvents], good: Sequence[Record]) -> Iterator[str]:
    for one in expected:
        number = sum(_fits(one, record) for record in good)
        if not one.count.accepts(number):
            closest = "" if number else _closest(one.where, _named(one, good))
            yield f"expected {one}; found {number}{closest}"


def _bad_ones(expected: Sequence[BadEvents], bad: Sequence[Record]) -> Iterator[str]:
    for one in expected:
        fitting = [it for it in bad if one.code in _codes(it) and _misfits(one.where, it) == []]
        if not one.count.accepts(len(fitting)):
            yield f"expected {one}; found {len(fitting)}"
    codes = {one.code for one in expected}
    for record in bad:
        if not codes & set(_codes(record)):
            broken = [f"{rule.get('code')} ({rule.get('field')})" for rule in _rules(record)]
            yield f"expected no bad event; {_name(record)} breaks {', '.join(broken)}"


def _disorder(expected: Sequence[GoodEvents], good: Sequence[Record]) -> Iterator[str]:
    """Say which expectation is not met after those before it."""
    rest = iter(good)
    before = ""
    for one in expected:
        # What need not come has no place to come in, unless it came.
        has_come = any(_fits(one, record) for record in good)
        for _ in range(max(one.count.at_least, 1) if has_come else 0):
            if not any(_fits(one, record) for record in rest):
                yield f"expected {one} after {before or 'the beginning'}; it came before"
                return
        before = one.event


def _fits(one: GoodEvents, record: Record) -> bool:
    return record.get("event_name") == one.event and _misfits(one.where, record) == []


def _named(one: GoodEvents, good: Sequence[Record]) -> list[Record]:
    return [record for record in good if record.get("event_name") == one.event]


def _misfits(where: Where, record: Record) -> list[str]:
    """Paths whose values are not as they must be."""
    return [path for path, it in where.items() if not it.accepts(field_of(record, path))]


def _closest(where: Where, records: Sequence[Record]) -> str:
    """What is wrong with the event of this name that misses least."""
    if not records:
        return ""
    record = min(records, key=lambda it: len(_misfits(where, it)))
    wrong = ", ".join(
        f"{path} is {'withheld' if path in WITHHELD else repr(field_of(record, path))}"
        for path in _misfits(where, record)
    )
    return f"; in the closest of {len(records)}, {wrong}"


def _name(record: Record) -> str:
    return str(record.get("event_name") or "(no name)")


def _rules(record: Record) -> list[Record]:
    rules = record.get("violations")
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _codes(record: Record) -> list[object]:
    """Codes of the rules that a record breaks; of a refusal at the door its reason as well."""
    return [value for rule in _rules(record) for value in (rule.get("code"), rule.get("got"))]
