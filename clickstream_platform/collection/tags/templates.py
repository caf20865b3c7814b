"""Templates: what a custom template may load and change, by the permissions that it names."""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from clickstream_platform.collection.tags.container import Item

DIRECTIVES = {
    "inject_script": "script-src",
    "send_pixel": "img-src",
    "inject_hidden_iframe": "frame-src",
}
"""Directives by the permissions of web templates that load something."""

_PERMISSIONS = re.compile(r"(?s)___(?:WEB|SERVER)_PERMISSIONS___\s*(\[.*?\])\s*(?=___[A-Z_]+___|$)")
_HOST = re.compile(r"(?i)^https?://((?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)+)(?::\d+)?(?=[/?#*]|$)")


class Permission(NamedTuple):
    """One thing that a template may do."""

    name: str
    """Such as ``inject_script``."""
    hosts: frozenset[str]
    """Hosts that it names, ``*.`` before those that stand for their subdomains."""
    is_write: bool
    """Whether it may change what it names, such as consent."""


def permissions_of(template: Item) -> tuple[Permission, ...]:
    """Permissions of a custom template; none where they cannot be read."""
    data = template.fields.get("templateData")
    return _read(data) if isinstance(data, str) else ()


@lru_cache(maxsize=256)
def _read(data: str) -> tuple[Permission, ...]:
    """Permissions that the text of a template states; many tags are made from one."""
    section = _PERMISSIONS.search(data)
    try:
        listed = json.loads(section.group(1)) if section else []
    except (ValueError, RecursionError):
        return ()
    return tuple(found for each in listed if (found := _permission(each)) is not None)


def _permission(entry: object) -> Permission | None:
    instance = entry.get("instance") if isinstance(entry, dict) else None
    key = instance.get("key") if isinstance(instance, dict) else None
    name = key.get("publicId") if isinstance(key, dict) else None
    if not isinstance(instance, dict) or not isinstance(name, str):
        return None
    values = list(_leaves(instance.get("param")))
    hosts = frozenset(
        found.group(1).lower()
        for _, value in values
        if isinstance(value, str) and (found := _HOST.match(value))
    )
    return Permission(name, hosts, any(key == "write" and value is True for key, value in values))


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Texts and truths of a permission, with the key of the map that holds them."""
    if isinstance(value, list):
        for part in value:
            yield from _leaves(part, key)
    elif isinstance(value, dict):
        names, parts = value.get("mapKey"), value.get("mapValue")
        if isinstance(names, list) and isinstance(parts, list):
            for name, part in zip(names, parts, strict=False):
                yield from _leaves(part, str(name.get("string")) if isinstance(name, dict) else "")
            return
        for name, part in value.items():
            if name in {"string", "boolean"}:
                yield key, part
            else:
                yield from _leaves(part, key)
