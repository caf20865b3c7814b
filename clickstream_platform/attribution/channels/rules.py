"""The rules that decide a channel, as data read from definitions."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import polars as pl
from pydantic import Field, field_validator

from clickstream_platform.attribution.channels.words import BRAND, SITE, fold, part_of
from clickstream_platform.definitions import Definition, own_or_shipped, read_definition

SHIPPED = Path(__file__).parents[1]
"""Folder of the definitions that come with the platform."""

DIRECT = "Direct"
"""Channel of sessions without source and campaign, by the shipped rules."""

_HAS_NO_TWIN = re.compile(r"\(\?(?!:)|\\[1-9kKgGXRZ]|[*+?}]\+")

FieldName: TypeAlias = Literal[
    "source", "medium", "campaign", "click_id_type", "referrer_host", "source_category"
]
Kind = TypeVar("Kind", bound=Definition)
Condition: TypeAlias = bool | str | tuple[str, ...]


class Rule(Definition):
    """A channel, and what must all be true of a link for it."""

    channel: str = Field(min_length=1)
    when: dict[FieldName, Condition] = Field(min_length=1)

    @field_validator("when")
    @classmethod
    def _is_portable(cls, when: dict[FieldName, Condition]) -> dict[FieldName, Condition]:
        for condition in when.values():
            if isinstance(condition, str):
                _check_pattern(condition)
        return {
            name: tuple(map(fold, condition)) if isinstance(condition, tuple) else condition
            for name, condition in when.items()
        }


class ClickId(Definition):
    """What a click id says of a link without a campaign."""

    source: str = Field(min_length=1)
    medium: str = Field(min_length=1)
    yields_to_referrer: bool = False


class _ChannelFile(Definition):
    otherwise: str = Field(min_length=1)
    rule: tuple[Rule, ...] = Field(min_length=1)


class _SourceFile(Definition):
    not_sources: tuple[str, ...] = ()
    category: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    brand: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class _ClickIdFile(Definition):
    click_id: dict[str, ClickId]


@dataclass(frozen=True, kw_only=True)
class ChannelRules:
    """Everything that decides a channel."""

    rules: tuple[Rule, ...]
    """Rules in order."""
    otherwise: str
    """Channel of a link for which no rule holds."""
    click_ids: Mapping[str, ClickId]
    """Query parameters that are click ids, by lower-case name; the first one found counts."""
    categories: Mapping[str, str]
    """Category of a source or host, by lower-case name."""
    brands: Mapping[str, str]
    """Category of sites with one address per country."""
    not_sources: tuple[str, ...]
    """Hosts that lead somewhere without being where a visit comes from, in order of the alphabet.

    Not a set: its order is another one in every process, and with it the fingerprint of the rules.
    """

    @property
    def channels(self) -> tuple[str, ...]:
        """Every channel there can be, in the order of the rules."""
        return tuple(dict.fromkeys([*(rule.channel for rule in self.rules), self.otherwise]))

    def category(self, source: str | None) -> str | None:
        """Category of a source or host: its own, else its site's, else its brand's."""
        name = fold(source)
        site, brand = part_of(SITE, name), part_of(BRAND, name)
        return self.categories.get(name) or self.categories.get(site) or self.brands.get(brand)


def load_channel_rules(definitions: Path | None = None) -> ChannelRules:
    """Read the channel rules: the shipped ones, under those of the user's own folder.

    A `channels.toml` there replaces the shipped rules, whose order is one whole; entries of
    `click_ids.toml` and `sources.toml` there are added to the shipped ones and win over them.

    Args:
        definitions: The user's folder of definitions, or None for the shipped ones alone.

    A file that cannot be used is a `DefinitionError`.
    """
    own = definitions if definitions is not None else SHIPPED
    group = _read(_ChannelFile, own_or_shipped(SHIPPED / "channels.toml", definitions))
    categories = dict(_seed_categories())
    brands: dict[str, str] = {}
    not_sources: set[str] = set()
    click_ids: dict[str, ClickId] = {}
    for folder in dict.fromkeys([SHIPPED, own]):
        if (file := folder / "sources.toml").exists():
            sources = _read(_SourceFile, file)
            categories |= _by_name(sources.category)
            brands |= _by_name(sources.brand)
            not_sources |= set(map(fold, sources.not_sources))
        if (file := folder / "click_ids.toml").exists():
            click_ids |= _read(_ClickIdFile, file, table="click_id").click_id
    return ChannelRules(
        rules=group.rule,
        otherwise=group.otherwise,
        click_ids={name.lower(): click_id for name, click_id in click_ids.items()},
        categories=categories,
        brands=brands,
        not_sources=tuple(sorted(not_sources)),
    )


def _read(kind: type[Kind], file: Path, *, table: str | None = None) -> Kind:
    remedy = f"See {SHIPPED / file.name} for the form."
    return read_definition(kind, file, remedy=remedy, table=table)


@lru_cache(maxsize=1)
def _seed_categories() -> Mapping[str, str]:
    with (SHIPPED / "source_categories.csv").open(newline="") as file:
        return {fold(row["source"]): row["category"] for row in csv.DictReader(file)}


def _by_name(categories: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {fold(name): category for category, names in categories.items() for name in names}


def _check_pattern(pattern: str) -> None:
    """Refuse what RE2, Java and Python do not all read in the same way."""
    try:
        re.compile(pattern)
        pl.select(pl.lit("").str.contains(pattern))
    except (re.error, pl.exceptions.ComputeError):
        message = f"is not a regular expression: {pattern}"
        raise ValueError(message) from None
    if _HAS_NO_TWIN.search(pattern):
        message = f"uses look-around, back references or flags, which engines differ in: {pattern}"
        raise ValueError(message)
