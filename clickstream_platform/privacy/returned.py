"""People who were erased and are back, for a backup was restored; erasing them once more.

A backup knows nothing of the erasures after it. The suppression list does: it holds a keyed digest
of every pseudonym that was erased, and no pseudonym is ever given out twice.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import polars as pl

from clickstream_platform.lake import Lake, connect, view
from clickstream_platform.privacy.certificate import Certificate
from clickstream_platform.privacy.erasure import erase_subject
from clickstream_platform.privacy.register import Register
from clickstream_platform.privacy.subjects import namespace_of
from clickstream_platform.privacy.suppression import Suppression
from clickstream_platform.privacy.tables import PERSON_TABLES
from clickstream_platform.privacy.vault import Vault
from clickstream_platform.settings import Settings
from clickstream_platform.tables.catalog import TABLES

_AT_ONCE = 100_000
_STEP = "reapplies"


class Returned(NamedTuple):
    """Pseudonyms that one request suppressed, and that are held all the same."""

    request_id: str
    tokens: tuple[str, ...]
    is_erased: bool
    """Whether they had been erased; else the erasure is not finished."""


def returned_people(settings: Settings) -> list[Returned]:
    """Look for suppressed people in every table and in the vault; nobody is to be found there."""
    suppression = Suppression(settings.state / "vault")
    if suppression.is_empty:
        return []
    found: dict[str, set[str]] = {}
    held = _held(settings)
    while some := list(islice(held, _AT_ONCE)):
        for token, request_id in suppression.requests(some).items():
            found.setdefault(request_id, set()).add(token)
    open_ones = {each.request_id for each in Register(settings).requests() if not each.completed_at}
    return [
        Returned(request_id, tuple(sorted(tokens)), request_id not in open_ones)
        for request_id, tokens in sorted(found.items())
    ]


def _held(settings: Settings) -> Iterator[str]:
    """Pseudonyms that tables hold, each once, then those of the vault."""
    lake, backend = Lake(settings.lake_folder), connect(settings.lake)
    parts = []
    for table in filter(lake.exists, PERSON_TABLES):
        view(backend, lake, table)
        for column in TABLES[table].person_columns:
            listed = "unnest(regexp_extract_all(identifiers, 'pi_[0-9a-f]{32}'))"
            value = listed if column == "identifiers" else column
            if not column.endswith("_key"):
                parts.append(f"SELECT {value} AS token FROM {table}")  # noqa: S608 - columns of the catalog
    if parts:
        rows = backend.raw_sql(
            f"SELECT token FROM ({' UNION '.join(parts)}) WHERE token IS NOT NULL"  # noqa: S608 - tables of the catalog
        )
        while some := rows.fetchmany(_AT_ONCE):
            yield from (str(token) for (token,) in some)
    yield from Vault(settings.state / "vault").held()


def reapply_erasures(
    settings: Settings, *, now: datetime, progress: Callable[[str], None] | None = None
) -> list[Certificate]:
    """Erase people once more whom a restored backup brought back.

    Each gets a request of its own, by the identifiers that the vault knows and by pseudonyms where
    it does not. An approval of the first erasure holds; unfinished erasures are left alone.

    Args:
        settings: Where everything lies.
        now: Time of the erasures.
        progress: Told of each step.

    Returns:
        Their certificates; none if nobody is back.
    """
    register = Register(settings)
    return [
        erase_subject(settings, _request(settings, register, each, now), now=now, progress=progress)
        for each in returned_people(settings)
        if each.is_erased
    ]


def _request(settings: Settings, register: Register, returned: Returned, now: datetime) -> str:
    """The request to erase somebody once more: one that was begun before, or a new one."""
    known = {each.request_id: each for each in register.requests()}
    for request_id, each in known.items():
        again = register.steps(request_id).get(_STEP, {}).get("request")
        if again == returned.request_id and each.status != "completed":
            return request_id
    raw = Vault(settings.state / "vault").reveal(
        pl.Series(returned.tokens), purpose="subject request", now=now
    )
    identifiers = [
        (namespace_of(token), called or token)
        for token, called in zip(returned.tokens, raw, strict=True)
    ]
    request_id = register.add("erase", identifiers, now)
    register.note(request_id, _STEP, {"request": returned.request_id}, now=now)
    if returned.request_id in known and register.is_approved(returned.request_id):
        register.approve(request_id, now=now)
    return request_id
