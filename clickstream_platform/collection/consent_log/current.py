"""Consent as of a moment: what a person has chosen by then, whatever was collected before."""

from datetime import datetime

import polars as pl

from clickstream_platform.collection.consent import COLUMNS
from clickstream_platform.lake import Lake

SUBJECT = ("visitor_key", "user_key")


def current_consents(lake: Lake, *, now: datetime) -> pl.DataFrame:
    """What each person has consented to as of a moment.

    The last choice counts, on whichever of the person's visitors it was made and purpose by
    purpose: an event that says nothing takes nothing back. A choice that has expired by then is a
    no. Who opted out of sale, sharing or targeting on any visitor is not marketed to on any,
    whatever else they chose, until that visitor says otherwise.

    Args:
        lake: The lake; reads ``consents`` and ``identity_map``.
        now: The moment. Choices made later do not count.

    Returns:
        ``person_key``, and each consent: true, false, or null where nothing was said. Grain:
        person_key; who never said anything is left out.
    """
    choices = lake.scan("consents").filter(pl.col("valid_from_at") <= now)
    people = (
        lake.scan("identity_map")
        .select("visitor_key", identified=pl.col("person_key"))
        .unique("visitor_key")
    )
    person = pl.coalesce("user_key", "identified", "visitor_key")
    by_person = (
        choices.join(people, on="visitor_key", how="left")
        .with_columns(person_key=person)
        .sort("valid_from_us", "event_id")
    )
    is_over = (pl.col("valid_until_at") <= now).fill_null(value=False)
    stated = by_person.group_by("person_key").agg(
        (pl.col(name) & ~is_over).filter(pl.col(name).is_not_null()).last() for name in COLUMNS
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
            consent_marketing=pl.when("is_opted_out").then(False).otherwise("consent_marketing")  # noqa: FBT003 - polars has no keyword
        )
        .select("person_key", *COLUMNS)
        .collect()
    )
    return found


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
