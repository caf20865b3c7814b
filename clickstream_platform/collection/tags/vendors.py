"""Vendors: whose a tag is, and what browsers must be allowed to load for it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator

from clickstream_platform.collection.tags.container import Item
from clickstream_platform.definitions import own_or_shipped, read_definition

SHIPPED = Path(__file__).with_name("vendors.toml")
"""Vendors; a file named `tag_vendors.toml` among the user's own definitions replaces them."""

OWN = "tag_vendors.toml"

CODE_TYPES = frozenset({"html", "img"})
"""Tag types that load whatever their author wrote."""

_LOADED = re.compile(r"(?i)(?:https?:)?//([a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?(?=[/'\"?#\s)]|$)")
_PERMITTED = re.compile(r'"string":\s*"(https?://[^"\s]+)"')


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

    def covers(self, host: str) -> bool:
        """Whether a host is one of its own."""
        return any(is_covered(host, source) for sources in self.csp.values() for source in sources)


Vendors = Mapping[str, Vendor]


def load_vendors(definitions: Path | None = None) -> dict[str, Vendor]:
    """Read the vendors: the user's own file, else the shipped one.

    A file that cannot be used as written is a `DefinitionError`.
    """
    file = own_or_shipped(SHIPPED, definitions, name=OWN)
    remedy = "Compare with the shipped vendors.toml."
    return read_definition(RootModel[dict[str, Vendor]], file, remedy=remedy).root


def vendor_of(tag: Item, vendors: Vendors) -> str | None:
    """Name of the vendor that a tag's type belongs to; None for custom ones."""
    return next((name for name, vendor in vendors.items() if tag.type in vendor.types), None)


def hosts_of(item: Item) -> frozenset[str]:
    """Hosts that the code of a tag or custom template names."""
    if item.kind == "customTemplate":
        data = item.fields.get("templateData")
        urls = _PERMITTED.findall(data) if isinstance(data, str) else []
        hosts = (urlsplit(url.replace("*", "")).hostname for url in urls)
        return frozenset(host.strip(".") for host in hosts if host and "." in host.strip("."))
    if item.type not in CODE_TYPES:
        return frozenset()
    texts = (item.parameters.get(key, "") for key in ("html", "url"))
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
    if allowed.startswith("*."):
        return host.endswith(allowed[1:])
    return host == allowed
