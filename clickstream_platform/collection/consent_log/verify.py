"""Proving that nobody changed the consent log, nor the choices that it stands for."""

import json
from typing import NamedTuple

import polars as pl

from clickstream_platform.collection.consent_log.chain import (
    CHAINED,
    ConsentLogError,
    commitment_of,
    read_anchor,
    verify_entries,
)
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import Keys, is_signed, public_key
from clickstream_platform.settings import Settings


class Verified(NamedTuple):
    """What a verification found in order."""

    entries: int
    head: str
    """Hash of the last entry."""
    unsigned: int
    """Entries after the signed head: a crash came before the signature."""
    erased: int
    """Entries whose person was erased."""
    relinked: int
    """Entries whose visitor has a new pseudonym since an erasure."""


def verify_consent_log(lake: Lake, settings: Settings) -> Verified:
    """Check the chain, its signed head, and that `consents` says what the chain says.

    Rows of people may be gone, and visitors may have new pseudonyms, as far as certificates of
    erasures account for it.

    Raises:
        ConsentLogError: Something was edited, deleted, moved, added or cut off.
    """
    anchor = read_anchor(settings)
    log = lake.scan("consent_log").sort("number").collect()
    head = verify_entries(log.iter_rows(named=True), anchor=anchor)
    consents = lake.scan("consents").collect()
    _compare(log, consents)
    erased = log.join(consents, on="commitment", how="anti").height
    relinked = sum(
        commitment_of(*row[1:]) != row[0]
        for row in consents.select(
            "commitment", "nonce", "visitor_id", "user_id", "event_id"
        ).iter_rows()
    )
    certified = certified_erasures(settings)
    for what, found, allowed in (
        ("are gone from", erased, certified.removed),
        ("name somebody else in", relinked, certified.unlinked),
    ):
        if found > allowed:
            raise ConsentLogError(
                head.entries,
                f"and before: {found:,} {what} consents, and certificates of erasures account "
                f"for {allowed:,}",
            )
    return Verified(head.entries, head.hash, head.entries - anchor.entries, erased, relinked)


def _compare(log: pl.DataFrame, consents: pl.DataFrame) -> None:
    """Check that every choice says what its entry says."""
    both = log.select("number", *CHAINED).join(
        consents.select(CHAINED), on="commitment", how="right", suffix="_now"
    )
    names = [name for name in CHAINED if name != "commitment"]
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_now")) for name in names)
    strange = both.filter(pl.col("number").is_null())
    if strange.height:
        raise ConsentLogError(log.height, f"is followed by {strange.height:,} that are not chained")
    changed = both.filter(differs).sort("number")
    if changed.height:
        raise ConsentLogError(changed["number"][0], "is said differently in consents")


class Certified(NamedTuple):
    """What signed certificates say was done to `consents`."""

    removed: int = 0
    unlinked: int = 0


def certified_erasures(settings: Settings) -> Certified:
    """Rows that erasures took out of `consents`, or gave to another pseudonym."""
    folder = settings.state / "certificates"
    if not folder.exists():
        return Certified()
    key = public_key(Keys(settings.state / "vault"))
    removed = unlinked = 0
    for file in sorted(folder.glob("*.json")):
        held = json.loads(file.read_text())
        content = {name: held[name] for name in held if name not in {"signature", "public_key"}}
        if not is_signed(content, str(held.get("signature", "")), key=key):
            continue
        for table in content["tables"]:
            if table["table"] == "consents":
                removed += table["rows_removed"]
                unlinked += table["rows_unlinked"]
    return Certified(removed, unlinked)
