"""Rules that tell programs from people, as data; and what the rules that match come to."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import polars as pl
import re2
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clickstream_platform.collection.bots.agents import search_for
from clickstream_platform.definitions import fault_of, read_toml
from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).with_name("bots.toml")

CAP = 100
"""Highest score, in points; a rule of this weight is certain."""


class BotRule(BaseModel):
    """One sign that an event is none of a person's."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    id: str = Field(pattern="^[a-z][a-z0-9_]{0,39}$")
    layer: Literal["agent", "range", "header", "behaviour"]
    kind: Literal["automation", "crawler", "ai_crawler", "datacenter"] = Field(alias="class")
    mode: Literal["shadow", "enforce"]
    weight: int = Field(ge=1, le=CAP, description="Points that it adds.")
    description: str = Field(min_length=1)
    user_agent: str | None = Field(None, description="Pattern of user agents, for rules of yours.")
    at_least: int | None = Field(None, ge=1, description="Number from which a behaviour is odd.")

    @model_validator(mode="after")
    def _counts_behaviour(self) -> Self:
        if (self.at_least is None) == (self.layer == "behaviour"):
            message = f"rule {self.id}: at_least is for rules of layer behaviour, which need it"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _pattern_can_be_read(self) -> Self:
        if self.user_agent is not None:
            if self.layer != "agent":
                message = f"rule {self.id}: user_agent is for rules of layer agent"
                raise ValueError(message)
            try:
                pl.select(pl.lit("").str.contains(self.user_agent))
                search_for(self.user_agent)
            except (pl.exceptions.ComputeError, re2.error):
                message = f"rule {self.id}: user_agent is no pattern of both Rust's regex and RE2"
                raise ValueError(message) from None
        return self


class BotVerdict(NamedTuple):
    """What the rules that match an event come to."""

    signals: str | None
    """Ids of the rules that match, in the order of the alphabet, by comma."""
    score: int
    is_bot: bool
    reason: str | None
    """Of a bot: the heaviest enforced rule, the first of equals."""


class BotRules(BaseModel):
    """The whole table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: int = Field(ge=1, le=CAP, description="Score from which an event is a bot's.")
    rule: tuple[BotRule, ...] = Field(min_length=1)

    @cached_property
    def by_id(self) -> Mapping[str, BotRule]:
        """Every rule, in the order of the file."""
        return {rule.id: rule for rule in self.rule}

    @cached_property
    def own_patterns(self) -> Mapping[str, str]:
        """User agent patterns of rules that are the user's own, by rule."""
        return {rule.id: rule.user_agent for rule in self.rule if rule.user_agent is not None}

    def verdict(self, signals: Iterable[str]) -> BotVerdict:
        """Add up what some rules say.

        The score is the sum of the weights of the enforced ones, `CAP` at most. Ids that are no
        rules any more are kept as signals, and count nothing.
        """
        matched = set(signals)
        enforced = [r for r in self.rule if r.id in matched and r.mode == "enforce"]
        score = min(CAP, sum(rule.weight for rule in enforced))
        is_bot = score >= self.threshold
        reason = max(enforced, key=lambda rule: rule.weight).id if is_bot else None
        return BotVerdict(",".join(sorted(matched)) or None, score, is_bot, reason)


def load_bot_rules(definitions: Path | None = None) -> BotRules:
    """Read the shipped rules, changed and completed by the user's own `bots.toml`.

    A file that cannot be used as written is a `DefinitionError`.
    """
    shipped = read_toml(SHIPPED)
    own = definitions / SHIPPED.name if definitions else None
    if own is None or not own.exists():
        return _checked(SHIPPED, shipped)
    given = read_toml(own)
    rules = {rule["id"]: rule for rule in shipped.pop("rule")}
    known = frozenset(rules)
    for number, rule in enumerate(_rules_of(given, own)):
        name = rule.get("id")
        if not isinstance(name, str):
            raise _error(own, f"rule.{number}.id", "is missing")
        if name not in known and "user_agent" not in rule:
            told = f"{name!r} is no rule of ours and says no user_agent"
            raise _error(own, f"rule.{number}.id", told)
        rules[name] = rules.get(name, {}) | rule
    return _checked(own, shipped | given | {"rule": list(rules.values())})


def _rules_of(given: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    rules = given.get("rule", [])
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise _error(file, "rule", "must be written as [[rule]]")
    return rules


def _checked(file: Path, data: Mapping[str, Any]) -> BotRules:
    try:
        return BotRules.model_validate(data)
    except ValidationError as error:
        place, reason = fault_of(error, BotRules)
        key = ".".join(map(str, _named(place, data))) or "bots"
        raise _error(file, key, reason) from None


def _named(place: tuple[int | str, ...], data: Mapping[str, Any]) -> Iterable[int | str]:
    """A place in the rules with a rule's id for its number, which differs from that in the file."""
    match place:
        case ("rule", int(number), *rest):
            return ("rule", data["rule"][number].get("id", number), *rest)
    return place


def _error(file: Path, key: str, reason: str) -> DefinitionError:
    return DefinitionError(
        file, key, reason, remedy="See docs/methods/bots.md for what the file says."
    )
