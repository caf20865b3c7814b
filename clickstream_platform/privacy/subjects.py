"""Who a subject request is about: from the identifiers given to every pseudonym of the person.

Identity is followed along logins alone (deterministic edges), never along similarity. A visitor
that other people sign in on too, such as a household's tablet, is shared: events with the
person's own user are theirs, events without a user are nobody's in particular.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import NamedTuple

import polars as pl

from clickstream_platform.lake import Engine, Lake, connect, view
from clickstream_platform.privacy.identifiers import (
    SURROGATE_DIGITS,
    Namespace,
    canonical,
    surrogate,
)
from clickstream_platform.privacy.vault import Vault, VaultUnavailableError
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

_SOUND = ("identity_map", "events")
"""Tables whose links between visitor and user are proven."""

_KEYED = {"events", "identity_map"}
"""Tables that hold surrogates beside pseudonyms: an eighth of the bytes to look through."""


class Replacement(NamedTuple):
    """A visitor under another name, which nothing joins to the old one."""

    old: str
    """Pseudonym that led to the person."""
    new: str
    """Pseudonym of the alias."""
    raw: str
    """What the visitor is called outside; blank if the vault does not know it."""
    alias: str
    """What landed records call it from now on, so that a rebuild finds the same pseudonym."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One person, in every form that the platform may know them by."""

    identifiers: tuple[tuple[Namespace, str], ...]
    """Own identifiers: as given, and as the vault knows those they led to."""
    users: tuple[str, ...] = ()
    """Pseudonyms of the person's accounts."""
    visitors: tuple[str, ...] = ()
    """Pseudonyms of visitors that nobody else signed in on."""
    shared: tuple[str, ...] = ()
    """Pseudonyms of visitors that others signed in on as well."""
    shared_identifiers: tuple[str, ...] = ()
    """What those visitors are called outside."""
    replacements: tuple["Replacement", ...] = ()
    """What each visitor, own or shared, becomes where its rows stay without the person."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Pseudonyms that are the person's alone."""
        return self.users + self.visitors

    @property
    def marked(self) -> list[tuple[str, str]]:
        """What the register knows a person by: identifiers and pseudonyms, with their kind."""
        return [*self.identifiers, *(("token", token) for token in self.tokens)]

    def to_json(self) -> dict[str, object]:
        """Write it for the register, which seals it."""
        return dict(vars(self))

    @staticmethod
    def from_json(held: Mapping[str, object]) -> "Subject":
        """Read what `to_json` wrote."""
        read = json.loads(json.dumps(held))
        return Subject(
            identifiers=tuple((space, raw) for space, raw in read["identifiers"]),
            users=tuple(read["users"]),
            visitors=tuple(read["visitors"]),
            shared=tuple(read["shared"]),
            shared_identifiers=tuple(read["shared_identifiers"]),
            replacements=tuple(Replacement(*each) for each in read["replacements"]),
        )


def find_subject(
    settings: Settings, identifiers: Sequence[tuple[Namespace, str]], *, now: datetime
) -> Subject:
    """Follow identifiers to everything that is the same person's.

    Args:
        settings: Where everything lies.
        identifiers: What the person is known by.
        now: Time of the look into the vault, for its access log.
    """
    vault = Vault(settings.state / "vault")
    found = {(space, token) for space, raw in identifiers if (token := vault.find(space, raw))}
    users = {token for space, token in found if space == "user"}
    visitors = {token for space, token in found if space == "visitor"}
    links = Links(Lake(settings.lake_folder), connect(settings.lake))
    users, visitors, shared = closure(links, users, visitors)
    own = sorted(users | visitors)
    revealed = vault.reveal(pl.Series(own, dtype=pl.String), purpose="subject request", now=now)
    known = {(space, canonical(raw)) for space, raw in identifiers}
    more: set[tuple[Namespace, str]] = {
        ("user" if token in users else "visitor", raw)
        for token, raw in zip(own, revealed, strict=True)
        if raw
    }
    tablets = sorted(shared)
    names = vault.reveal(pl.Series(tablets, dtype=pl.String), purpose="subject request", now=now)
    common = {raw for raw in names if raw}
    given = [
        (space, raw)
        for space, raw in identifiers
        if space == "user" or canonical(raw) not in common
    ]
    called = dict(zip([*own, *tablets], [*revealed, *names], strict=True))
    return Subject(
        identifiers=(*given, *sorted(more - known)),
        users=tuple(sorted(users)),
        visitors=tuple(sorted(visitors)),
        shared=tuple(tablets),
        shared_identifiers=tuple(sorted(common)),
        replacements=tuple(
            Replacement(old, new, called[old] or "", alias)
            for old in [*sorted(visitors), *tablets]
            for alias, new in [new_visitor(vault, old, settings.lake.buckets)]
        ),
    )


def new_visitor(vault: Vault, token: str, buckets: int) -> tuple[str, str]:
    """Give a visitor another name: a random alias, and the pseudonym that the vault gives it.

    The pseudonym is one that lies in the bucket of the old one, so that rows stay where they are.
    """
    bucket = (surrogate(token) or 0) % buckets
    while True:
        names = [f"unlinked-{secrets.token_hex(8)}" for _ in range(4 * buckets)]
        drawn = vault.tokens("visitor", pl.Series(names, dtype=pl.String)).to_list()
        fitting = [
            (name, new)
            for name, new in zip(names, drawn, strict=True)
            if (surrogate(new) or 0) % buckets == bucket
        ]
        others = set(drawn) - {fitting[0][1]} if fitting else set(drawn)
        with suppress(VaultUnavailableError):  # they stand for nobody, and may as well stay
            vault.forget(pl.Series(sorted(others), dtype=pl.String))
        if fitting:
            return fitting[0]


class Links:
    """Who was seen signed in where, asked of the tables for a few pseudonyms at a time."""

    def __init__(self, lake: Lake, backend: Engine) -> None:
        self.backend = backend
        self.tables = [name for name in (*_SOUND, "raw_events") if lake.exists(name)]
        for name in self.tables:
            view(backend, lake, name)
        view(backend, lake, "identity_merges")

    def denied(self, visitors: Iterable[str]) -> set[str]:
        """Those of some visitors that somebody has decided are not the user they signed in as."""
        wanted = sorted(set(visitors))
        rows = self.backend.raw_sql(
            "SELECT DISTINCT identifier_id FROM identity_merges WHERE decision_id IS NOT NULL "  # noqa: S608 - pseudonyms
            f"AND {among('identifier_id', wanted, keyed=True)}"
        ).fetchall()
        return {str(visitor) for (visitor,) in rows}

    def of(self, column: str, tokens: Iterable[str]) -> dict[str, set[tuple[str, str]]]:
        """Pairs of visitor and user that hold one of the pseudonyms, by table."""
        wanted = sorted(set(tokens))
        found: dict[str, set[tuple[str, str]]] = {}
        for name in self.tables if wanted else ():
            rows = self.backend.raw_sql(
                f"SELECT DISTINCT visitor_id, user_id FROM {name} WHERE visitor_id IS NOT NULL "  # noqa: S608 - tables of the catalog, pseudonyms
                f"AND user_id IS NOT NULL AND {among(column, wanted, keyed=name in _KEYED)}"
            ).fetchall()
            found[name] = {(str(visitor), str(user)) for visitor, user in rows}
        return found


def closure(
    links: Links, users: Iterable[str], visitors: Iterable[str]
) -> tuple[set[str], set[str], set[str]]:
    """Follow logins both ways until nothing is new.

    A user leads to every visitor it was seen on. A visitor leads to its user only if it has one:
    from a shared visitor nobody knows whom the request is about. A visitor that was taken from its
    user by a decision counts as shared with somebody unknown.

    Returns:
        Users, visitors that are theirs alone, visitors shared with others.
    """
    own, seen = set(users), set(visitors)
    given = set(seen)
    while True:
        before = len(own), len(seen)
        seen |= {v for pairs in links.of("user_id", own).values() for v, _ in pairs}
        signed_in, denied = _users_of(links, seen), links.denied(seen)
        own |= {
            next(iter(found))
            for visitor, found in signed_in.items()
            if len(found) == 1 and visitor not in denied
        }
        if (len(own), len(seen)) == before:
            taken = denied - given
            shared = {v for v, found in signed_in.items() if found - own and v not in denied}
            shared |= taken & set(signed_in)
            return own, seen - shared, shared


def _users_of(links: Links, visitors: Iterable[str]) -> dict[str, set[str]]:
    """Users of each visitor: of sound events, and of raw ones only where there are no others."""
    tables = links.of("visitor_id", visitors)
    proven = list(chain.from_iterable(tables.get(name, ()) for name in _SOUND))
    sound = {visitor for visitor, _ in proven}
    claimed = [pair for pair in tables.get("raw_events", ()) if pair[0] not in sound]
    found: dict[str, set[str]] = {}
    for visitor, user in (*proven, *claimed):
        found.setdefault(visitor, set()).add(user)
    return found


# -- Predicates ------------------------------------------------------------------------------------


def among(column: str, tokens: Sequence[str], *, keyed: bool = False) -> str:
    """SQL: whether a column holds one of some pseudonyms."""
    if keyed and column.endswith("_id"):
        return among(column.removesuffix("_id") + "_key", tokens)
    if column.endswith("_key"):
        values = [str(key) for token in tokens if (key := surrogate(token)) is not None]
    else:
        values = [quoted(token) for token in tokens]
    return f"{column} IN ({', '.join(values)})" if values else "false"


def quoted(text: str) -> str:
    """SQL literal of a text."""
    return "'" + text.replace("'", "''") + "'"


def own_rows(subject: Subject, table: str) -> str:
    """SQL: rows of a table that are the person's and nobody else's; what an export holds."""
    columns = TABLES[table].person_columns
    if {"visitor_id", "user_id"} <= set(columns):
        keyed = table in _KEYED
        users = among("user_id", subject.users, keyed=keyed)
        visitors = among("visitor_id", subject.visitors, keyed=keyed)
        return f"({users} OR ({visitors} AND user_id IS NULL))"
    if "identifier_id" in columns:
        return _linked(columns, subject.tokens)
    return _persons(columns, subject.tokens)


def rows_to_delete(subject: Subject, table: str) -> str:
    """SQL: rows that an erasure deletes.

    In derived tables that includes the anonymous person of a shared visitor: it is derived anew
    from events under their new pseudonym.
    """
    columns = TABLES[table].person_columns
    if {"visitor_id", "user_id"} <= set(columns):
        return own_rows(subject, table)
    if "other_id" in columns:
        return own_rows(subject, table)
    if "identifier_id" in columns:
        return _linked(columns, subject.tokens + subject.shared)
    return _persons(columns, subject.tokens + subject.shared)


def _linked(columns: Sequence[str], tokens: Sequence[str]) -> str:
    """Rows about identifiers: those of which one is the person's."""
    ends = [name for name in ("identifier_id", "other_id") if name in columns]
    return f"({' OR '.join(among(name, tokens, keyed=True) for name in ends)})"


def _persons(columns: Sequence[str], tokens: Sequence[str]) -> str:
    order = ("person_key", "person_id", "visitor_id")
    person = next((name for name in order if name in columns), None)
    return among(person, tokens) if person else "false"


def rows_to_unlink(subject: Subject, table: str, visitor: str) -> str:
    """SQL: rows that stay, but may not lead from this visitor to the person any more."""
    columns = TABLES[table].person_columns
    if "visitor_id" not in columns:
        return "false"
    here = f"visitor_id = {quoted(visitor)}"
    if visitor in subject.visitors:
        return here
    return f"({here} AND user_id IS NULL)" if "user_id" in columns else "false"


def tokens_of(subject: Subject) -> list[str]:
    """Texts that a pseudonym of the person leaves behind: itself, its surrogate in both bases."""
    keys = [(token, surrogate(token)) for token in subject.tokens]
    return sorted(
        {text for token, key in keys for text in (token[3 : 3 + SURROGATE_DIGITS], str(key))}
    )
