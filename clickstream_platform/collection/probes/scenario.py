"""Scenarios: what a page or program should track, step by step, as a YAML file says it."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from clickstream_platform.definitions import fault_of
from clickstream_platform.errors import DefinitionError

_WORDS = {
    "equals": "is",
    "one_of": "is one of",
    "matches": "matches",
    "at_least": "is at least",
    "at_most": "is at most",
    "exists": "exists:",
}

Scalar = bool | int | float | str | None


class Part(BaseModel):
    """A part of a scenario; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Matcher(Part):
    """What the value of a field must be; each rule that is given holds."""

    equals: Scalar = Field(None, description="Exactly this value.")
    one_of: tuple[Scalar, ...] = Field((), description="One of these values.")
    matches: str | None = Field(None, description="Text in which this pattern is found.")
    at_least: float | None = Field(None, description="Number of at least this.")
    at_most: float | None = Field(None, description="Number of at most this.")
    exists: bool | None = Field(None, description="Whether there is a value at all.")

    @field_validator("matches")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            message = f"is no pattern: {error}"
            raise ValueError(message) from None
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            message = "needs one of equals, one_of, matches, at_least, at_most and exists"
            raise ValueError(message)
        return self

    def accepts(self, value: object) -> bool:
        """Whether a value is as it must be; None where there is none."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if isinstance(value, int | float) else 0.0
        rules = {
            "equals": _same(value, self.equals),
            "one_of": any(_same(value, allowed) for allowed in self.one_of),
            "matches": isinstance(value, str) and re.search(self.matches or "", value) is not None,
            "at_least": is_number and self.at_least is not None and number >= self.at_least,
            "at_most": is_number and self.at_most is not None and number <= self.at_most,
            "exists": (value is not None) == self.exists,
        }
        return all(rules[name] for name in self.model_fields_set)

    def __str__(self) -> str:
        said = [n for n in _WORDS if n in self.model_fields_set]
        return " and ".join(f"{_WORDS[name]} {getattr(self, name)!r}" for name in said)


class Count(Part):
    """How many events there must be."""

    at_least: int = Field(0, ge=0, description="Fewest.")
    at_most: int | None = Field(None, ge=0, description="Most; any number unless given.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.at_most is not None and self.at_most < self.at_least:
            message = "at_most is less than at_least"
            raise ValueError(message)
        return self

    def __str__(self) -> str:
        if self.at_least == self.at_most:
            return str(self.at_least)
        most = "" if self.at_most is None else f" and at most {self.at_most}"
        return f"at least {self.at_least}{most}"

    def accepts(self, number: int) -> bool:
        """Whether so many events are as many as there must be."""
        return self.at_least <= number and (self.at_most is None or number <= self.at_most)


def _as_matcher(value: object) -> object:
    return value if isinstance(value, dict | Matcher) else {"equals": value}


def _as_count(value: object) -> object:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return {"at_least": value, "at_most": value} if is_number else value


Where = dict[str, Annotated[Matcher, BeforeValidator(_as_matcher)]]
Counted = Annotated[Count, BeforeValidator(_as_count)]
ONE = Count(at_least=1, at_most=1)


class GoodEvents(Part):
    """Events that must have come."""

    event: str = Field(min_length=1, description="Name in the taxonomy.")
    count: Counted = Field(ONE, description="How many; one unless given.")
    where: Where = Field(default_factory=dict, description="Fields by their path, with dots.")

    def __str__(self) -> str:
        return f"{self.count} {self.event}{_said(self.where)}"


class BadEvents(Part):
    """Records that must wait in quarantine."""

    code: str = Field(min_length=1, description="Rule that they break, such as identity_missing.")
    count: Counted = Field(ONE, description="How many; one unless given.")
    where: Where = Field(default_factory=dict, description="Fields by their path, with dots.")

    def __str__(self) -> str:
        return f"{self.count} bad by {self.code}{_said(self.where)}"


class Expected(Part):
    """What a step must bring."""

    good: tuple[GoodEvents, ...] = Field((), description="Events that must have come.")
    bad: tuple[BadEvents, ...] = Field((), description="Refused ones; none unless given.")
    in_order: bool = Field(default=False, description="The good ones came in this order.")
    only: bool = Field(default=False, description="No other good ones came.")


HeaderName = Annotated[str, Field(pattern=r"^[!#-'*+.^-z|~0-9A-Z-]+$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\t -~]*$")]
Word = Annotated[str, Field(pattern=r"^[^\x00]*$")]


class Sent(Part):
    """A request that a step sends to the collector."""

    path: str = Field(pattern=r"^/[^\x00-\x1f\x7f]*$", description="Path, such as /v1/events.")
    method: Literal["GET", "POST"] = Field("POST", description="Method.")
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict, description="Headers.")
    body: object = Field(None, description="JSON, or text that is sent as it is.")

    @field_validator("body")
    @classmethod
    def _is_json(cls, body: object) -> object:
        try:
            json.dumps(body, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            message = "holds what JSON has no words for, such as a date without quotes"
            raise ValueError(message) from None
        return body


class Step(Part):
    """One thing that is done, and what it must bring."""

    name: str = Field(min_length=1, description="What is done, for people.")
    run: tuple[Word, ...] = Field((), description="Command; MICRO_URL is in its environment.")
    send: tuple[Sent, ...] = Field((), description="Requests.")
    expect: Expected = Field(description="What it must bring.")
    timeout_s: float | None = Field(None, gt=0, description="How long it may take.")


class Scenario(Part):
    """A scenario."""

    name: str = Field(min_length=1, description="What it is about, for people.")
    timeout_s: float = Field(10, gt=0, description="How long a step may take, commands included.")
    settle_s: float = Field(0.3, ge=0, description="How long to wait for what should not come.")
    steps: tuple[Step, ...] = Field(min_length=1, description="Steps, in order.")


class _TwiceError(yaml.MarkedYAMLError):  # type: ignore[misc]  # yaml has no types
    """A mapping has one key twice."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
    """Reads plain values, and refuses a key that is there twice: one of the two would be lost."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        known = set[str]()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in known:
                raise _TwiceError(problem_mark=key.start_mark)
            known.add(key.value)
        return node


def read_scenario(text: str, file: object) -> Scenario:
    """Read a scenario.

    Args:
        text: Content of the file.
        file: What errors call it.

    Raises:
        DefinitionError: It cannot be used as written.
    """
    try:
        content = yaml.load(text, _Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        is_twice = isinstance(error, _TwiceError)
        reason = f"has a key twice{line}" if is_twice else f"is no YAML{line}"
        remedy = "Mend it there; see docs/guide/tags.md."
        raise DefinitionError(file, "syntax", reason, remedy=remedy) from None
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        place, reason = fault_of(error, Scenario)
        key = ".".join(map(str, place)) or "(root)"
        remedy = "See docs/guide/tags.md for what a scenario says."
        raise DefinitionError(file, key, reason, remedy=remedy) from None


def field_of(record: Mapping[str, object], path: str) -> object:
    """Value of a field, such as ``properties.items.0.price``; None where there is none."""
    value: object = record
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, Sequence) and not isinstance(value, str) and part.isdigit():
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return None
    return value


def _same(value: object, other: object) -> bool:
    """Equality in which true is not 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _said(where: Where) -> str:
    return " where " + ", ".join(f"{path} {it}" for path, it in where.items()) if where else ""
