"""Vendors: whose a tag is, and what browsers must be allowed to load for it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from clickstream_platform.collection.tags.code import live_code
from clickstream_platform.collection.tags.container import Item
from clickstream_platform.collection.tags.templates import permissions_of
from clickstream_platform.definitions import own_or_shipped, read_definition

SHIPPED = Path(__file__).with_name("vendors.toml")
"""Vendors; a file named `tag_vendors.toml` among the user's own definitions replaces them."""

OWN = "tag_vendors.toml"

CODE_TYPES = frozenset({"html", "img"})
"""Tag types that load whatever their author wrote."""

_LOADED = re.compile(r"(?i)(?:https?:)?//([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?(?=[/'\"?#\s)]|$)")
_WILD = "*."

Purpose = Literal["analytics", "advertising", "consent", "function"]


class Vendor(BaseModel):
    """Who a tag talks to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    purpose: Purpose = Field(description="What its tags are for.")
    types: tuple[str, ...] = Field(description="Tag types of Google Tag Manager.")
    setup_types: tuple[str, ...] = Field((), description="Those of which one account needs one.")
    checks_consent: bool = Field(default=False, description="Its tags ask Consent Mode themselves.")
    is_retired: bool = Field(default=False, description="Nothing listens any more.")
    ids: tuple[str, ...] = Field((), description="Parameters that name the account.")
    markers: tuple[str, ...] = Field((), description="Patterns of an account in custom HTML.")
    accounts: str | None = Field(None, description="Pattern of its accounts among Google tags.")
    shared: tuple[str, ...] = Field((), description="Hosts that serve other products too.")
    csp: dict[str, tuple[str, ...]] = Field(description="Sources by directive.")

    @field_validator("markers")
    @classmethod
    def _compile(cls, markers: tuple[str, ...]) -> tuple[str, ...]:
        for marker in markers:
            try:
                groups = re.compile(marker).groups
            except re.error as error:
                raise ValueError(str(error)) from None
            if groups != 1:
                message = f"needs one group around the id: {marker}"
                raise ValueError(message)
        return markers

    @field_validator("accounts")
    @classmethod
    def _is_a_pattern(cls, accounts: str | None) -> str | None:
        try:
            re.compile(accounts or "")
        except re.error as error:
            raise ValueError(str(error)) from None
        return accounts

    def covers(self, host: str) -> bool:
        """Whether a host is one of its own; subdomains (``*.``) are if one of them is."""
        sources = {source for sources in self.csp.values() for source in sources}
        if host.startswith(_WILD) and any(_is_under(source, host) for source in sources):
            return True
        return any(is_covered(host, source) for source in sources)

    def owns(self, host: str) -> bool:
        """Whether a host is one of its own and of no other product."""
        return self.covers(host) and host not in self.shared


Vendors = Mapping[str, Vendor]


def load_vendors(definitions: Path | None = None) -> dict[str, Vendor]:
    """Read the vendors: the user's own file, else the shipped one.

    A file that cannot be used as written is a `DefinitionError`.
    """
    file = own_or_shipped(SHIPPED, definitions, name=OWN)
    remedy = "Compare with the shipped vendors.toml."
    return read_definition(RootModel[dict[str, Vendor]], file, remedy=remedy).root


def vendor_of(tag: Item, vendors: Vendors) -> str | None:
    """Name of the vendor that a tag's type belongs to; None for custom ones.

    A tag of an AMP container is whose the tag of a web container is.
    """
    kind = tag.type.removesuffix("_amp")
    known = vendors.items()
    return next((name for name, it in known if tag.type in it.types or kind in it.types), None)


def owner_of(host: str, vendors: Vendors) -> str | None:
    """Name of the first vendor whose host it is."""
    return next((name for name, vendor in vendors.items() if vendor.owns(host)), None)


def code_of(tag: Item) -> str:
    """What a tag's custom HTML runs and loads."""
    return live_code(tag.parameters.get("html", ""))


def hosts_of(item: Item) -> frozenset[str]:
    """Hosts that the code of a tag or the permissions of a custom template name."""
    if item.kind == "customTemplate":
        return frozenset(host for it in permissions_of(item) for host in it.hosts)
    if item.type not in CODE_TYPES:
        return frozenset()
    texts = (code_of(item), item.parameters.get("url", ""))
    return frozenset(host.lower() for text in texts for host in _LOADED.findall(text))


def strangers(item: Item, vendors: Vendors) -> frozenset[str]:
    """Hosts that it names and that belong to no known vendor."""
    return frozenset(
        host
        for host in hosts_of(item)
        if not any(vendor.covers(host) for vendor in vendors.values())
    )


def is_covered(host: str, source: str) -> bool:
    """Whether a source of a policy allows a host."""
    allowed = urlsplit(source).hostname or ""
    if allowed.startswith(_WILD):
        return host.endswith(allowed[1:])
    return host == allowed


def _is_under(source: str, wild: str) -> bool:
    """Whether a source is a subdomain that a wildcard stands for."""
    return (urlsplit(source).hostname or "").removeprefix(_WILD).endswith(wild[1:])
