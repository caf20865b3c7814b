"""Rules of segments: small trees of conditions, read from TOML, with a text in plain words."""

import re
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias, TypeGuard

import polars as pl
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StringConstraints,
    field_validator,
    model_validator,
)

from clickstream_platform.definitions import checked, read_toml
from clickstream_platform.errors import DefinitionError
from clickstream_platform.lake import polars_schema
from clickstream_platform.tables.catalog import TABLES

SHIPPED = Path(__file__).parent / "definitions"
"""Folder of the segments that come with the platform."""

PERSONAL = frozenset(
    f"{whose}_{form}" for whose in ("person", "user", "visitor") for form in ("id", "key")
) | {"identifiers", "ip_address"}
"""Columns that no rule may name: a segment is what people do, never a list of people."""

ONE_DEED = frozenset(
    {"event_id", "event_key", "order_id", "session_id", "session_key", "tracker_session_id"}
)
"""Columns that name one thing somebody did, and so that person; no rule may name them either."""

UNCOUNTED = {"sessions": "is_bot", "events": "is_synthetic"}
"""What is true of rows that never count, by table."""

DEEPEST = 20
"""Most conditions within each other: no question needs more, and engines slow down far above."""

HEAD = ("description", "owner", "purpose", "expires")
"""Keys of a definition beside its rule; its name is that of the file."""

LONGEST_DAYS = 36_525
"""A century: no row is older, and no moment less it lies before the calendar."""

Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A number that is written as one and that others can be compared with."""

Words: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

Days: TypeAlias = Annotated[Number, Field(gt=0, le=LONGEST_DAYS)]


class Section(BaseModel):
    """A part of a definition; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(Section):
    """A range of numbers; both ends belong to it."""

    min: Number | None = None
    max: Number | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min is None and self.max is None:
            message = "needs min, max or both"
            raise ValueError(message)
        if self.min is not None and self.max is not None and self.min > self.max:
            message = "min is larger than max"
            raise ValueError(message)
        return self


class Count(Bounds):
    """How many rows."""

    @model_validator(mode="after")
    def _counts_rows(self) -> Self:
        if any(end is not None and (end < 0 or end % 1) for end in (self.min, self.max)):
            message = "counts are whole numbers from 0 on"
            raise ValueError(message)
        return self


class Score(Bounds):
    """How engaged."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.max is not None and self.max < 0:
            message = "no score is below 0"
            raise ValueError(message)
        return self


class StartsWith(Section):
    """How a text begins."""

    starts_with: str = Field(min_length=1)


class IsSet(Section):
    """Whether there is a value; a blank text is none."""

    is_set: StrictBool


Scalar: TypeAlias = str | bool | int | float
"""One value of a column."""

LARGEST = sys.float_info.max
"""Numbers are compared as floating point; infinity and what is no number equal nothing."""


def _read_test(value: object) -> "Test":
    """Read what a column is compared with, keeping texts, truths and numbers apart."""
    if _is_scalar(value):
        return value
    if isinstance(value, list) and value and all(map(_is_scalar, value)):
        return tuple(value)
    for kind in (Bounds, StartsWith, IsSet):
        if isinstance(value, dict) and value.keys() <= kind.model_fields.keys():
            return kind.model_validate(value)
    message = (
        "must be a text, a number, true or false, a list of them, { min, max }, { starts_with } "
        "or { is_set }"
    )
    raise ValueError(message)


def _is_scalar(value: object) -> TypeGuard[Scalar]:
    if isinstance(value, (int, float)):
        return abs(value) <= LARGEST
    return isinstance(value, str)


Test: TypeAlias = Scalar | tuple[Scalar, ...] | Bounds | StartsWith | IsSet
"""What a column is compared with: one value, several of which one must do, a range, how it begins,
or whether it is there."""

PROPERTY = re.compile(r"properties\.([\w .:/-]+)")
"""A key of an event's properties, as a rule names it."""


def property_of(column: str) -> str | None:
    """Which key of an event's properties a rule names, if it names one."""
    found = PROPERTY.fullmatch(column)
    return found[1] if found else None


class Rule(Section):
    """One condition on a person: what they did, how engaged they are, or others combined.

    Exactly one of ``table``, ``did``, ``never``, ``score``, ``all``, ``any`` and ``not``.
    """

    table: Literal["sessions", "events"] | None = Field(None, description="Rows to count.")
    did: Words | None = Field(None, description="Short for events of this name.")
    never: Words | None = Field(None, description="Short for no event of this name.")
    where: dict[str, Annotated[Test, PlainValidator(_read_test)]] = Field(
        default_factory=dict, description="Columns and their values."
    )
    count: Count | None = Field(None, description="How many rows; at least one if left out.")
    total: dict[str, Bounds] = Field(
        default_factory=dict, description="A number column and what it must add up to."
    )
    within_days: Days | None = Field(None, description="Only rows at most so old.")
    before_days: Days | None = Field(None, description="Only rows at least so old.")
    score: Score | None = Field(None, description="Engagement score as of the evaluation.")
    all: tuple["Rule", ...] | None = Field(None, min_length=1, description="Every one holds.")
    any: tuple["Rule", ...] | None = Field(None, min_length=1, description="One at least holds.")
    negated: "Rule | None" = Field(None, alias="not", description="Does not hold.")

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        kinds = {
            "table": self.table,
            "did": self.did,
            "never": self.never,
            "score": self.score,
            "all": self.all,
            "any": self.any,
            "not": self.negated,
        }
        given = [name for name, value in kinds.items() if value is not None]
        if len(given) != 1:
            message = f"needs exactly one of {', '.join(kinds)}; has {', '.join(given) or 'none'}"
            raise ValueError(message)
        counts = self.where or self.count or self.total or self.within_days or self.before_days
        if counts and not self.counted:
            message = f"where, count, total and days do not go with {given[0]}"
            raise ValueError(message)
        if self.never and (self.count or self.total):
            message = "never says how many; use table with count"
            raise ValueError(message)
        if self.count and self.total:
            message = "count and total are two conditions; join them by all"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _names_columns(self) -> Self:
        if not self.counted:
            return self
        if len(self.total) > 1:
            message = "total takes one column"
            raise ValueError(message)
        if (self.did or self.never) and "event_name" in self.where:
            message = "did and never name the event already"
            raise ValueError(message)
        if self.within_days and self.before_days and self.within_days <= self.before_days:
            message = "within_days must be larger than before_days"
            raise ValueError(message)
        for column, test in self.where.items():
            _check_column(self.counted, column, test)
        for column, bounds in self.total.items():
            _check_column(self.counted, column, bounds)
        return self

    @model_validator(mode="after")
    def _is_not_too_deep(self) -> Self:
        if self.depth > DEEPEST:
            message = f"is deeper than {DEEPEST} conditions within each other"
            raise ValueError(message)
        return self

    @property
    def depth(self) -> int:
        """Conditions within each other, this one included."""
        return 1 + max((part.depth for part in self.parts), default=0)

    @property
    def counted(self) -> str | None:
        """Table whose rows are counted, or None for the other kinds of conditions."""
        return "events" if self.did or self.never else self.table

    @property
    def tests(self) -> dict[str, Test]:
        """Columns and their values, the event's name among them."""
        name = self.did or self.never
        return self.where | ({"event_name": name} if name else {})

    @property
    def asks_how_many(self) -> bool:
        """Whether more than one row, or none, is something else to it."""
        return bool(self.count or self.total)

    @property
    def is_absence(self) -> bool:
        """Whether it asks that there be no row, rather than one."""
        return self.never is not None

    @property
    def parts(self) -> tuple["Rule", ...]:
        """Conditions that it combines."""
        return self.all or self.any or ((self.negated,) if self.negated else ())

    def activities(self) -> Iterator["Rule"]:
        """Every condition of the tree that counts rows."""
        if self.counted:
            yield self
        for part in self.parts:
            yield from part.activities()


RULE = frozenset(field.alias or name for name, field in Rule.model_fields.items())
"""Keys of a rule."""


class Segment(Section):
    """A named rule, with who answers for it, what for, and until when."""

    name: str = Field(pattern="^[a-z][a-z0-9_]{0,62}$")
    description: Words
    owner: Words
    purpose: Literal["analytics", "marketing", "personalization"]
    expires: date = Field(description="Last day on which it has members.")
    rule: Rule

    @field_validator("expires", mode="before")
    @classmethod
    def _is_a_day(cls, value: object) -> object:
        if isinstance(value, (int, float)):  # not so many seconds since 1970
            message = "must be a day, such as 2030-12-31"
            raise ValueError(message)
        return value

    @field_validator("name")
    @classmethod
    def _names_no_person(cls, name: str) -> str:
        if name in PERSONAL:
            message = "is a column that identifies people; give the file another name"
            raise ValueError(message)
        return name

    def is_expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.expires


def _check_column(table: str, column: str, test: Test) -> None:
    schema = polars_schema(table)
    if (property_of(column) or column) in PERSONAL | ONE_DEED:
        message = f"{column} identifies people; rules are about what they do"
        raise ValueError(message)
    if table == "events" and property_of(column):
        if isinstance(test, Bounds):
            message = f"{column} is compared as text; a range needs a column of numbers"
            raise ValueError(message)
        return
    if column not in schema:
        known = sorted(set(schema) - PERSONAL - ONE_DEED)
        close = get_close_matches(column, known, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        message = f"{column} is not a column of {table}{meant}: {', '.join(known)}"
        raise ValueError(message)
    kind = schema[column]
    values = test if isinstance(test, tuple) else (test,)
    if not all(_fits(kind, value) for value in values):
        message = f"{column} holds {_words_of_type(kind)}"
        raise ValueError(message)
    if column == UNCOUNTED[table] and set(values) == {True}:
        message = f"{column} is true of no row that counts"
        raise ValueError(message)
    allowed = _known_values(table, column)
    if allowed and not all(_is_among(allowed, value) for value in values):
        message = f"{column} is one of {', '.join(sorted(allowed))}"
        raise ValueError(message)


def _known_values(table: str, column: str) -> set[str]:
    """Every value that the contract lets a column have; empty where it may be any."""
    checks = TABLES[table].contract.to_schema().columns[column].checks
    return set(chain.from_iterable(check.statistics.get("allowed_values", ()) for check in checks))


def _is_among(allowed: set[str], value: Test) -> bool:
    """Whether one of the values that there can be is as asked."""
    if isinstance(value, StartsWith):
        return any(each.startswith(value.starts_with) for each in allowed)
    return isinstance(value, (IsSet, Bounds)) or str(value) in allowed


def _fits(kind: pl.DataType, value: Test) -> bool:
    if isinstance(value, IsSet):
        return True
    if isinstance(value, StartsWith):
        return kind == pl.String
    if isinstance(value, Bounds):
        return kind.is_numeric()
    if kind.is_numeric():
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == pl.Boolean:
        return isinstance(value, bool)
    return kind == pl.String and isinstance(value, str)


def _words_of_type(kind: pl.DataType) -> str:
    if kind.is_numeric():
        return "numbers"
    if kind == pl.Boolean:
        return "true and false"
    return "text" if kind == pl.String else "times; use within_days and before_days"


def load_segments(definitions: Path | None = None) -> Mapping[str, Segment]:
    """Read every segment: the shipped ones, and those of the user's own `segments/` folder.

    A segment is named after its file; an own file replaces a shipped one of the same name.

    Args:
        definitions: The user's folder of definitions, or None for the shipped ones alone.

    A file that cannot be used is a `DefinitionError`.
    """
    own = [definitions / "segments"] if definitions is not None else []
    files = {
        file.stem: file for folder in (SHIPPED, *own) for file in sorted(folder.glob("*.toml"))
    }
    return {name: _read(file) for name, file in sorted(files.items())}


def _read(file: Path) -> Segment:
    if not file.is_file():
        reason = "is a folder" if file.is_dir() else "is a link that leads nowhere"
        remedy = "Put a file in its place, or take it away."
        raise DefinitionError(file, "file", reason, remedy=remedy)
    content = read_toml(file)
    head = {key: content.pop(key) for key in [*content] if _is_of_head(key)}
    whole = {"name": file.stem} | head | {"rule": content}
    remedy = f"See the segments in {SHIPPED} for the form."
    return checked(Segment, whole, file, remedy=remedy, hidden="rule", whole="rule")


def _is_of_head(key: str) -> bool:
    """Whether a key stands beside the rule, or was meant to."""
    return key in HEAD or (key not in RULE and bool(get_close_matches(key, HEAD, n=1)))


def describe(segment: Segment) -> str:
    """Say in plain words who is in a segment; made from the rule, so it cannot differ from it."""
    return f"Persons with {_words(segment.rule)}."


def _words(rule: Rule) -> str:
    if rule.score:
        return f"an engagement score of {_range(rule.score)}"
    if rule.counted:
        return _activity(rule)
    if rule.negated is not None:
        inner = rule.negated
        if inner.counted and not (inner.count or inner.total or inner.is_absence):
            return _activity(inner, negated=True)
        return f"none of this: {_words(inner)}"
    joint = ", and " if rule.all else ", or "
    texts = [f"({_words(part)})" if len(part.parts) > 1 else _words(part) for part in rule.parts]
    return joint.join(texts)


def _activity(rule: Rule, *, negated: bool = False) -> str:
    names = rule.tests.get("event_name")
    is_named = isinstance(names, (str, tuple))
    label = " or ".join(map(str, names if isinstance(names, tuple) else (names,)))
    one = f"{label} event" if is_named else str(rule.counted).removesuffix("s")
    many = f"{one}s"
    others = {
        name: test for name, test in rule.tests.items() if name != "event_name" or not is_named
    }
    is_none = negated or rule.is_absence or (rule.count is not None and rule.count.max == 0)
    is_many = bool(rule.total) or (rule.count is not None and not is_none and rule.count.max != 1)
    verb = "are" if is_many else "is"
    tail = "".join(
        f" {'and ' if number else ''}{_test(column, test, verb)}"
        for number, (column, test) in enumerate(others.items())
    )
    tail += _window(rule)
    for column, bounds in rule.total.items():
        return f"{many}{tail} whose {_label(column)} adds up to {_range(bounds)}"
    if is_none:
        return f"no {one}{tail}"
    if rule.count:
        return f"{_range(rule.count)} {many if is_many else one}{tail}"
    return f"{'an' if one[0] in 'aeiou' else 'a'} {one}{tail}"


def _test(column: str, test: Test, verb: str) -> str:
    label = _label(column)
    if isinstance(test, IsSet):
        return f"with {'any' if test.is_set else 'no'} {label}"
    if isinstance(test, StartsWith):
        return f"with {label} that starts with {test.starts_with}"
    if isinstance(test, Bounds):
        return f"with {label} of {_range(test)}"
    if isinstance(test, tuple):
        return f"with {label} {' or '.join(map(_value, test))}"
    if isinstance(test, bool):
        return f"that {verb} {'' if test else 'not '}{label.removeprefix('is ')}"
    return f"with {label} {_value(test)}"


def _window(rule: Rule) -> str:
    if rule.within_days and rule.before_days:
        return f" between {rule.before_days:g} and {rule.within_days:g} days ago"
    if rule.within_days:
        return f" in the last {rule.within_days:g} days"
    return f" at least {rule.before_days:g} days ago" if rule.before_days else ""


def _range(bounds: Bounds) -> str:
    if bounds.min is None:
        return f"at most {bounds.max:g}"
    if bounds.max is None:
        return f"at least {bounds.min:g}"
    if bounds.min == bounds.max:
        return f"exactly {bounds.min:g}"
    return f"{bounds.min:g} to {bounds.max:g}"


def _label(column: str) -> str:
    return property_of(column) or column.replace("_", " ")


def _value(value: Scalar) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
