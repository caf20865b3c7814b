"""Who a subject request is about: from the identifiers given to every pseudonym of the person.

Identity is followed along what events show together (deterministic edges), never along similarity.
A visitor that other people sign in on too, such as a household's tablet, is shared: events with
the person's own user are theirs, events without a user are nobody's in particular. So it is with
further identifiers, such as an e-mail address that two accounts give.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, combinations
from typing import NamedTuple, get_args

import polars as pl

from clickstream_platform.identity import identifier_rules
from clickstream_platform.lake import Engine, Lake, connect, view
from clickstream_platform.privacy.identifiers import (
    PREFIXES,
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
    others: tuple[str, ...] = ()
    """Pseudonyms of further identifiers that are nobody else's."""
    shared: tuple[str, ...] = ()
    """Pseudonyms of visitors that others signed in on as well."""
    shared_identifiers: tuple[str, ...] = ()
    """What those visitors are called outside."""
    replacements: tuple["Replacement", ...] = ()
    """What each visitor, own or shared, becomes where its rows stay without the person."""

    @property
    def tokens(self) -> tuple[str, ...]:
        """Pseudonyms that are the person's alone."""
        return self.users + self.visitors + self.others

    @property
    def values(self) -> list[tuple[str, str]]:
        """Own identifiers as records hold them, each with its type (`visitor`, `user`, `email`)."""
        typed = [(space, *raw.partition(":")) for space, raw in self.identifiers]
        return [
            (kind, value) if space == "other" else (space, f"{kind}{colon}{value}")
            for space, kind, colon, value in typed
        ]

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
            others=tuple(read.get("others", ())),
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
        identifiers: What the person is known by; a pseudonym is taken as it is.
        now: Time of the look into the vault, for its access log.
    """
    vault = Vault(settings.state / "vault")
    rules = identifier_rules(settings.definitions)
    asked = [
        (space, rules.written(*_parted(raw)) if space == "other" else raw)
        for space, raw in identifiers
        if surrogate(raw) is None
    ]
    found = {token for space, raw in asked if (token := vault.find(space, raw))}
    found |= {raw for _, raw in identifiers if surrogate(raw) is not None}
    links = Links(Lake(settings.lake_folder), connect(settings.lake))
    users, carriers, common = closure(links, _of(found, "user"), found - set(_of(found, "user")))
    visitors, tablets = _of(carriers, "visitor"), _of(common, "visitor")
    own = [*sorted(users), *visitors, *_of(carriers, "other")]
    called = _revealed(vault, [*own, *sorted(common)], now)
    known = {(space, canonical(raw)) for space, raw in asked}
    more = {(namespace_of(token), raw) for token in own if (raw := called[token])}
    shared = {(namespace_of(token), raw) for token in common if (raw := called[token])}
    given = [(space, raw) for space, raw in asked if (space, canonical(raw)) not in shared]
    return Subject(
        identifiers=(*given, *sorted(more - known)),
        users=tuple(sorted(users)),
        visitors=tuple(visitors),
        others=tuple(_of(carriers, "other")),
        shared=tuple(tablets),
        shared_identifiers=tuple(sorted(raw for space, raw in shared if space == "visitor")),
        replacements=tuple(
            Replacement(old, new, called[old] or "", alias)
            for old in [*visitors, *tablets]
            for alias, new in [new_visitor(vault, old, settings.lake.buckets)]
        ),
    )


def _parted(raw: str) -> tuple[str, str]:
    kind, _, value = raw.partition(":")
    return kind, value


def namespace_of(token: str) -> Namespace:
    """Namespace of a pseudonym."""
    return next(space for space in get_args(Namespace) if token.startswith(PREFIXES[space]))


def _of(tokens: Iterable[str], space: Namespace) -> list[str]:
    """Those of some pseudonyms that are of a namespace, in order."""
    return sorted(token for token in tokens if token.startswith(PREFIXES[space]))


def _revealed(vault: Vault, tokens: Sequence[str], now: datetime) -> dict[str, str | None]:
    column = pl.Series(tokens, dtype=pl.String)
    return dict(zip(tokens, vault.reveal(column, purpose="subject request", now=now), strict=True))


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
    """What was seen together, asked of the tables for a few pseudonyms at a time."""

    def __init__(self, lake: Lake, backend: Engine) -> None:
        self.backend = backend
        self.tables = [name for name in (*_SOUND, "raw_events") if lake.exists(name)]
        for name in self.tables:
            view(backend, lake, name)
        view(backend, lake, "identity_merges")
        view(backend, lake, "identity_conflicts")
        self.carrying = {
            name
            for name in {"events", "raw_events"} & set(self.tables)
            if backend.raw_sql(
                f"SELECT 1 FROM {name} WHERE identifiers IS NOT NULL LIMIT 1"  # noqa: S608 - tables of the catalog
            ).fetchall()
        }
        """Tables with rows that show further identifiers."""

    def denied(self, carriers: Iterable[str]) -> set[str]:
        """Those of some that somebody has decided are not the user they were seen with."""
        where = f"decision_id IS NOT NULL AND other_type = 'user' AND {self._ends(carriers)[0]}"
        return {one for pair in self._merges(where) for one in pair[:1]}

    def undone(self, carriers: Iterable[str]) -> set[frozenset[str]]:
        """Pairs of which one is among some, that are one person neither by decision nor rules."""
        undone = "undone_by IN ('decision', 'conflict', 'oversize')"
        return set(
            map(frozenset, self._merges(f"{undone} AND ({' OR '.join(self._ends(carriers))})"))
        )

    def closed(self, carriers: Iterable[str]) -> set[str]:
        """Those of some that stand for many, so that nothing follows from who shows them."""
        rows = self.backend.raw_sql(
            "SELECT DISTINCT identifier_id FROM identity_conflicts "  # noqa: S608 - pseudonyms
            f"WHERE reason IN ('shared', 'storm') AND {self._ends(carriers)[0]}"
        ).fetchall()
        return {str(carrier) for (carrier,) in rows}

    def _merges(self, where: str) -> list[tuple[str, str]]:
        query = f"SELECT identifier_id, other_id FROM identity_merges WHERE {where}"  # noqa: S608 - pseudonyms
        return [(str(one), str(other)) for one, other in self.backend.raw_sql(query).fetchall()]

    @staticmethod
    def _ends(carriers: Iterable[str]) -> list[str]:
        return [among(end, carriers, keyed=True) for end in ("identifier_id", "other_id")]

    def of_users(self, users: Iterable[str]) -> set[str]:
        """Visitors and further identifiers that were seen with some users."""
        return {carrier for pairs in self._pairs("user_id", users).values() for carrier, _ in pairs}

    def users_of(self, carriers: Iterable[str]) -> dict[str, set[str]]:
        """Users of each: of sound events, and of raw ones only where there are no others."""
        wanted = set(carriers)
        tables: dict[str, set[tuple[str, str]]] = {}
        for column, tokens in (
            ("visitor_id", _of(wanted, "visitor")),
            ("identifiers", _of(wanted, "other")),
        ):
            for name, pairs in self._pairs(column, tokens).items():
                tables.setdefault(name, set()).update(p for p in pairs if p[0] in wanted)
        proven = list(chain.from_iterable(tables.get(name, ()) for name in _SOUND))
        sound = {carrier for carrier, _ in proven}
        claimed = [pair for pair in tables.get("raw_events", ()) if pair[0] not in sound]
        found: dict[str, set[str]] = {}
        for carrier, user in (*proven, *claimed):
            found.setdefault(carrier, set()).add(user)
        return found

    def beside(self, carriers: Iterable[str]) -> set[frozenset[str]]:
        """Pairs of visitors and further identifiers of which one is among some."""
        wanted = set(carriers)
        tables = (
            *self._rows("visitor_id", _of(wanted, "visitor"), "identifiers").values(),
            *self._rows("identifiers", _of(wanted, "other"), "identifiers").values(),
        )
        found = {
            frozenset(pair)
            for visitor, _, names in chain.from_iterable(tables)
            for pair in combinations([*names, *([visitor] if visitor else ())], 2)
        }
        return {pair for pair in found if pair & wanted}

    def _pairs(self, column: str, tokens: Iterable[str]) -> dict[str, set[tuple[str, str]]]:
        """Pairs of a carrier and a user in rows that hold one of some pseudonyms, by table."""
        return {
            name: {
                (carrier, user)
                for visitor, user, names in rows
                for carrier in (*names, *([visitor] if visitor else ()))
            }
            for name, rows in self._rows(column, tokens, "user_id").items()
        }

    def _rows(
        self, column: str, tokens: Iterable[str], filled: str
    ) -> dict[str, list[tuple[str | None, str, list[str]]]]:
        """Visitor, user and further identifiers of rows, by table; where one column is filled."""
        wanted = sorted(set(tokens))
        found = {}
        for name in self.tables if wanted else ():
            if name not in self.carrying and "identifiers" in {column, filled}:
                continue
            carried = "identifiers" if name in self.carrying else "NULL"
            # A row of the map may name a person by another identifier than a user.
            is_named = "AND user_id LIKE 'pu_%'" if name == "identity_map" else ""
            rows = self.backend.raw_sql(
                f"SELECT DISTINCT visitor_id, user_id, {carried} FROM {name} "  # noqa: S608 - tables of the catalog, pseudonyms
                f"WHERE {filled} IS NOT NULL {is_named} "
                f"AND {among(column, wanted, keyed=name in _KEYED)}"
            ).fetchall()
            found[name] = [(visitor, user, tokens_in(names)) for visitor, user, names in rows]
        return found


def tokens_in(identifiers: str | None) -> list[str]:
    """Pseudonyms of further identifiers that a row carries."""
    parts = (part.partition(":")[2] for part in (identifiers or "").split(","))
    return [token for token in parts if surrogate(token) is not None]


def closure(
    links: Links, users: Iterable[str], carriers: Iterable[str]
) -> tuple[set[str], set[str], set[str]]:
    """Follow what was seen together both ways until nothing is new.

    A user leads to everything that carries them: every visitor and further identifier seen with
    them. Such a carrier leads to its user only if it has one: from a shared visitor nobody knows
    whom the request is about. A carrier that was taken from its user by a decision counts as
    shared with somebody unknown. Carriers that nobody shares lead to each other too, unless that
    would make one person of two users: then logins alone are followed, as in the identity graph.

    Returns:
        Users, carriers that are theirs alone, carriers shared with others.
    """
    given = set(users), set(carriers)
    across = _followed(links, *given, across=True)
    if not any(_of(found, "other") for found in across):
        return across
    by_login = _followed(links, *given, across=False)
    joined = across[0] - by_login[0]
    return by_login if joined and (by_login[0] or len(joined) > 1) else across


def _followed(
    links: Links, users: set[str], carriers: set[str], *, across: bool
) -> tuple[set[str], set[str], set[str]]:
    own, seen = set(users), set(carriers)
    while True:
        before = len(own), len(seen)
        seen |= links.of_users(own)
        signed_in, denied = links.users_of(seen), links.denied(seen)
        closed = links.closed(_of(seen, "other"))
        unsure = denied | closed
        own |= {
            next(iter(found))
            for carrier, found in signed_in.items()
            if len(found) == 1 and carrier not in unsure
        }
        if across:
            free = {c for c in seen if signed_in.get(c, own) <= own and c not in unsure}
            free -= links.closed(_of(free, "visitor"))
            pairs = links.beside(free) - links.undone(free)
            seen |= {carrier for pair in pairs for carrier in pair}
        if (len(own), len(seen)) == before:
            taken = denied - carriers
            shared = {c for c, found in signed_in.items() if found - own and c not in denied}
            shared |= (taken & set(signed_in)) | closed
            return own, seen - shared, shared


# -- Predicates ------------------------------------------------------------------------------------


def among(column: str, tokens: Iterable[str], *, keyed: bool = False) -> str:
    """SQL: whether a column holds one of some pseudonyms."""
    tokens = sorted(set(tokens))
    if column == "identifiers":
        held = [f"strpos(identifiers, {quoted(token)}) > 0" for token in tokens]
        return f"({' OR '.join(held)})" if held else "false"
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
        # Of a person without a user the map has another identifier in its place.
        users = among("user_id", subject.users + subject.others, keyed=keyed)
        own = among("visitor_id", subject.visitors, keyed=keyed)
        if "identifiers" in columns and subject.others:
            own = f"({own} OR coalesce({among('identifiers', subject.others)}, false))"
        return f"({users} OR ({own} AND user_id IS NULL))"
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
