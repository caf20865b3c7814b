"""Diff: what changed between two versions of a container, and whether an owner signed it."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import polars as pl

from clickstream_platform.collection.tags.container import Container, Item
from clickstream_platform.definitions import read_toml
from clickstream_platform.errors import DefinitionError
from clickstream_platform.privacy import scrub_texts

_VOLATILE = frozenset(
    {
        "accountId",
        "containerId",
        "workspaceId",
        "fingerprint",
        "path",
        "tagManagerUrl",
        "parameter",
        "monitoringMetadata",
    }
)
Trait = tuple[str, ...]

_TRAITS: tuple[Callable[[Item], Trait], ...] = (
    lambda item: (item.kind, item.name, item.item_id),
    lambda item: (item.kind, item.name),
    lambda item: (item.kind, item.item_id),
)
"""What items are matched by: first by all of it, then by less."""

_TRIGGERS = ("firingTriggerId", "blockingTriggerId")
_SHOWN = 80
"""Letters of a value that are shown."""

_BEFORE = 20
"""Letters that are shown before the first one that differs."""


class Change(NamedTuple):
    """One field that changed, or a whole item that came or went."""

    change: str
    """``added``, ``removed`` or ``changed``."""
    kind: str
    name: str
    field: str
    """Field that changed, parameters as ``parameter.path``; empty for a whole item."""
    before: str | None
    after: str | None
    digest: str
    """Stands for exactly this change, so that an owner can sign it."""


def diff(old: Container, new: Container) -> list[Change]:
    """List the changes from one version to another, by kind and name.

    Items are matched by name and id, then by name, and those that are left by id, so that a
    renamed tag is a changed one. Fields that Tag Manager keeps for itself are passed over;
    triggers are told by name. Personal values are masked.
    """
    changes: list[Change] = []
    pairs, gone, come = _paired(old, new)
    changes += [_change("removed", it, "", _whole(it, old), None) for it in gone]
    changes += [_change("added", it, "", None, _whole(it, new)) for it in come]
    for before, after in pairs:
        was, now = _fields(before, old), _fields(after, new)
        changes += [
            _change("changed", after, field, was.get(field), now.get(field))
            for field in was.keys() | now.keys()
            if was.get(field) != now.get(field)
        ]
    return sorted(_masked(changes), key=lambda it: (it.kind, it.name, it.field, it.change))


def load_signatures(file: Path) -> dict[str, str]:
    """Read who signed which changes: a TOML file with a table ``[signed]`` of digests to owners.

    Raises:
        DefinitionError: The file cannot be used as written.
    """
    signed = read_toml(file).get("signed")
    if not isinstance(signed, dict):
        remedy = 'Write [signed], and a line such as 1a2b3c4d5e6f = "web team".'
        raise DefinitionError(file, "signed", "is no table", remedy=remedy)
    for digest, owner in signed.items():
        if not isinstance(owner, str) or not owner.strip():
            remedy = "Name who signs it."
            raise DefinitionError(file, f"signed.{digest}", "names nobody", remedy=remedy)
    return signed


def _paired(
    old: Container, new: Container
) -> tuple[list[tuple[Item, Item]], list[Item], list[Item]]:
    """Items of both versions that belong together, those that are gone, and those that came."""
    pairs: list[tuple[Item, Item]] = []
    gone, come = list(old.items), list(new.items)
    for trait in _TRAITS:
        befores, afters = _numbered(gone, trait), _numbered(come, trait)
        pairs += [(befores[key], afters[key]) for key in befores if key in afters]
        gone = [item for key, item in befores.items() if key not in afters]
        come = [item for key, item in afters.items() if key not in befores]
    return pairs, gone, come


def _numbered(items: list[Item], trait: Callable[[Item], Trait]) -> dict[tuple[Trait, int], Item]:
    """Items by what they are matched by and their number among those that share it."""
    times = Counter[Trait]()
    found: dict[tuple[Trait, int], Item] = {}
    for item in items:
        key = trait(item)
        found[key, times[key]] = item
        times[key] += 1
    return found


def _fields(item: Item, container: Container) -> dict[str, str]:
    return dict(_flat(item, container))


def _flat(item: Item, container: Container) -> Iterator[tuple[str, str]]:
    for field, value in item.fields.items():
        if field in _TRIGGERS:
            names = (container.trigger_names.get(it, it) for it in item.ids(field))
            yield field, ", ".join(sorted(names))
        elif field == "parentFolderId":
            yield field, container.folder_names.get(str(value), str(value))
        elif field not in _VOLATILE:
            yield field, value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    for path, value in item.parameters.items():
        yield f"parameter.{path}", value


def _whole(item: Item, container: Container) -> str:
    return json.dumps(_fields(item, container), sort_keys=True)


def _change(change: str, item: Item, field: str, before: str | None, after: str | None) -> Change:
    content = json.dumps([change, item.kind, item.name, field, before, after])
    digest = hashlib.blake2b(content.encode(), digest_size=6).hexdigest()
    if not field:
        before = after = None
    return Change(change, item.kind, item.name, field, before, after, digest)


def _masked(changes: list[Change]) -> list[Change]:
    masked: Mapping[str, list[str | None]] = {
        side: scrub_texts(
            pl.Series([getattr(it, side) for it in changes], dtype=pl.String)
        ).to_list()
        for side in ("before", "after")
    }
    return [
        it._replace(before=_short(before, after), after=_short(after, before))
        for it, before, after in zip(changes, masked["before"], masked["after"], strict=True)
    ]


def _short(value: str | None, other: str | None) -> str | None:
    """A value as it is shown: a long one from shortly before where it differs from the other."""
    if value is None or len(value) <= _SHOWN:
        return value
    pairs = enumerate(zip(value, other or "", strict=False))
    alike = next((place for place, (one, two) in pairs if one != two), 0)
    start = max(0, min(alike - _BEFORE, len(value) - _SHOWN))
    shown = value[start : start + _SHOWN]
    end = "…" if start + _SHOWN < len(value) else ""
    return f"{'…' if start else ''}{shown}{end} ({len(value):,} letters)"
