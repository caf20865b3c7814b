"""Lint: what is wrong with a container, rule by rule.

A finding names the item and the place, never a value: a parameter may hold somebody's address.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, RootModel

from clickstream_platform.collection.tags.checks import CHECKS, IN_BROWSERS, Case
from clickstream_platform.collection.tags.container import Container
from clickstream_platform.collection.tags.vendors import Vendors
from clickstream_platform.definitions import own_or_shipped, read_definition
from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).with_name("rules.toml")
"""Rules; a file named `tag_rules.toml` among the user's own definitions replaces them."""

OWN = "tag_rules.toml"
SEVERITIES = ("error", "warning", "info")


class Rule(BaseModel):
    """How much a rule matters, and what to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: Literal["error", "warning", "info", "off"] = Field(description="How bad it is.")
    says: str = Field(description="What is wrong, to be read behind the item's name.")
    remedy: str = Field(description="What to do.")


class Finding(NamedTuple):
    """One item that breaks one rule."""

    severity: str
    rule: str
    kind: str
    name: str
    where: str
    """Parameter, trigger, variable or item that it is about; empty if it is the item itself."""
    says: str
    remedy: str


def load_rules(definitions: Path | None = None) -> dict[str, Rule]:
    """Read the rules: the user's own file, else the shipped one.

    Raises:
        DefinitionError: The file cannot be used as written, or lacks or invents a rule.
    """
    file = own_or_shipped(SHIPPED, definitions, name=OWN)
    remedy = "Compare with the shipped rules.toml."
    rules = read_definition(RootModel[dict[str, Rule]], file, remedy=remedy).root
    for name in sorted(rules.keys() ^ CHECKS.keys()):
        if name in CHECKS:
            remedy = "Add it; severity 'off' silences it."
            raise DefinitionError(file, name, "is missing", remedy=remedy)
        raise DefinitionError(file, name, "is no rule", remedy=f"One of {', '.join(CHECKS)}.")
    return rules


def lint(
    container: Container, *, rules: Mapping[str, Rule], vendors: Vendors, now: datetime
) -> list[Finding]:
    """List what is wrong with a container, worst first.

    Args:
        container: The container.
        rules: Every rule, by name.
        vendors: Vendors that are known.
        now: Time to compare schedules with.
    """
    case = Case(container, vendors, now)
    found = {
        Finding(rule.severity, name, item.kind, item.name, where, rule.says, rule.remedy)
        for name, rule in rules.items()
        if rule.severity != "off" and not (container.is_server and name in IN_BROWSERS)
        for item, where in CHECKS[name](case)
    }
    return sorted(found, key=lambda it: (SEVERITIES.index(it.severity), it.rule, it))
