"""Consent as of a moment: what a person has chosen by then, whatever was collected before."""

from datetime import UTC, datetime

import polars as pl

from clickstream_platform.collection.consent import CHOICES, COLUMNS
from clickstream_platform.lake import Lake, Refreshed, polars_schema

SUBJECT = ("visitor_key", "user_key")

REFUSED_BY_OPT_OUT = ("consent_marketing", "consent_attribution")
"""Consents that an opt-out of sale, sharing or targeting takes back on every visitor."""


def current_consents(lake: Lake, *, now: datetime) -> pl.DataFrame:
    """What each person has consented to as of a moment.

    The last choice counts, on whichever of the person's visitors it was made and purpose by
    purpose: an event that says nothing takes nothing back. A choice that has expired by then is a
    no. Who opted out of sale, sharing or targeting on any visitor is not marketed to on any, and
    credits no advertising, whatever else they chose, until that visitor says otherwise.

    Args:
        lake: The lake; reads ``consents`` and ``identity_map``.
        now: The moment. Choices made later do not count.

    Returns:
        Contract: `clickstream_platform.tables.consent.PersonConsents`.
    """
    choices = lake.scan("consents").filter(pl.col("valid_from_at") <= now)
    people = (
        lake.scan("identity_map")
        .filter(~pl.col("is_shared"))
        .select("visitor_key", linked_key="person_key", linked_id="person_id")
    )
    by_person = (
        choices.join(people, on="visitor_key", how="left")
        .with_columns(
            person_key=pl.coalesce("user_key", "linked_key", "visitor_key"),
            person_id=pl.coalesce("user_id", "linked_id", "visitor_id"),
        )
        .sort("valid_from_us", "event_id")
    )
    is_over = (pl.col("valid_until_at") <= now).fill_null(value=False)
    stated = by_person.group_by("person_key", "person_id").agg(
        (pl.col(name) & ~is_over).filter(pl.col(name).is_not_null()).last() for name in CHOICES
    )
    opted_out = (
        by_person.group_by("person_key", *SUBJECT)
        .agg(pl.col("is_opted_out").drop_nulls().last())
        .group_by("person_key")
        .agg(pl.col("is_opted_out").any())
    )
    found: pl.DataFrame = (
        stated.join(opted_out, on="person_key")
        .with_columns(
            pl.when("is_opted_out").then(False).otherwise(name).alias(name)  # noqa: FBT003 - polars has no keyword
            for name in REFUSED_BY_OPT_OUT
        )
        .select(polars_schema("person_consents").keys())
        .sort("person_key")
        .collect()
    )
    return found


def refresh_person_consents(lake: Lake, *, now: datetime, full: bool = False) -> Refreshed:
    """Bring `person_consents` to what holds now; nothing is written where nothing changed.

    Choices expire by themselves, so everybody is looked at in every run: there are as many rows as
    people who chose, far fewer than events.

    Args:
        lake: The lake; reads ``consents`` and ``identity_map``.
        now: Time of the run.
        full: Write the table anew, whatever it holds.
    """
    table = "person_consents"
    if not lake.exists("consents"):
        return Refreshed(table=table, version=lake.version(table))
    upstreams = {name: lake.version(name) for name in ("consents", "identity_map")}
    newest = {name: version for name, version in upstreams.items() if version >= 0}
    before = lake.scan(table).collect().sort("person_key")
    after = current_consents(lake, now=now.astimezone(UTC))
    is_same = lake.exists(table) and not full and after.equals(before)
    if not is_same:
        lake.overwrite(table, after, consumed=newest)
    elif any(lake.consumed(table, name) != version for name, version in newest.items()):
        lake.append(table, after.clear(), consumed=newest)
    return Refreshed(
        table=table,
        version=lake.version(table),
        rows_written=0 if is_same else after.height,
        rows_read=lake.row_count("consents"),
        is_full=True,
    )


def choices_as_of(choices: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    """Give each event the choice that was in force when it happened.

    Args:
        choices: Rows as in `Consents`.
        events: ``event_id``, ``visitor_key``, ``user_key`` and ``occurred_us``, with any others.

    Returns:
        The events with ``commitment`` of the last choice of the same visitor and user at or
        before their time, and ``in_force_`` each consent; null before the first. Grain: event_id.
    """
    made = choices.select(
        *SUBJECT,
        "commitment",
        occurred_us="valid_from_us",
        **{f"in_force_{name}": name for name in COLUMNS},
    ).sort("occurred_us", "commitment")
    # Nulls never join: a visitor without a user is a subject of its own.
    keyed = {name: pl.col(name).fill_null(-1) for name in SUBJECT}
    joined = (
        events.with_columns(**{f"{name}_": value for name, value in keyed.items()})
        .sort("occurred_us", "event_id")
        .join_asof(
            made.with_columns(**{f"{name}_": value for name, value in keyed.items()}).drop(SUBJECT),
            on="occurred_us",
            by=[f"{name}_" for name in SUBJECT],
            check_sortedness=False,
        )
    )
    return joined.drop(f"{name}_" for name in SUBJECT)
