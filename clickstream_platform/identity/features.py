"""What two visitors of one person may have in common: coarse features of consented events."""

import ibis
import ibis.expr.types as ir
import polars as pl
from ibis import _

MOST_HOSTS = 20
"""Hosts of a visitor that are compared: those it came back to most."""

HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000


def consented_events(events: ir.Table, person_consents: ir.Table, *, purpose: str) -> ir.Table:
    """Keep events of people, whose visitor is known and has agreed to being recognised.

    Asked is the event, and what its person has chosen since: who withdrew is not recognised by
    old events either.

    Args:
        events: Contract: `clickstream_platform.tables.events.Events`, with ``person_key``.
        person_consents: Contract: `clickstream_platform.tables.consent.PersonConsents`.
        purpose: Column that must be true; null is no.
    """
    refused = person_consents.filter(~person_consents[purpose])
    return events.filter(
        _.person_key.notin(refused.person_key),
        _[purpose].fill_null(False),  # noqa: FBT003 - what ibis takes
        ~_.is_bot,
        ~_.is_synthetic,
        _.visitor_id.notnull(),
    )


def visitor_features(events: ir.Table) -> pl.DataFrame:
    """Describe each visitor, by what most of its events say.

    Nothing in it is unique to a device: the network is cut to /24 or /48, and there is no list of
    fonts, no canvas and no screen.

    Args:
        events: Rows of `consented_events`.

    Returns:
        ``record_id`` (visitor_id), ``network``, ``country``, ``language``, ``device_type``,
        ``browser_name``, ``main_hour`` (hour of the day, UTC, by thirds of a day), ``main_host``,
        ``hosts`` (at most `MOST_HOSTS`). Null where unknown. Grain: record_id.
    """
    named = events.mutate(
        main_hour=((events.occurred_us % DAY_US) // (8 * HOUR_US)).cast("string"),
        network=events.ip_address,
        main_host=events.page_host,
    )
    columns = ("network", "country", "language", "device_type", "browser_name", "main_hour",
               "main_host")  # fmt: skip
    described: pl.DataFrame = events.select(record_id="visitor_id").distinct().to_polars()
    for column in columns:
        counted = (
            named.filter(named[column].notnull())
            .group_by("visitor_id", column)
            .aggregate(times=_.count())
        )
        in_order = ibis.window(group_by="visitor_id", order_by=[ibis.desc("times"), column])
        ranked: pl.DataFrame = counted.mutate(rank=ibis.row_number().over(in_order)).to_polars()
        most = ranked.filter(pl.col("rank") == 0).select(record_id="visitor_id", **{column: column})
        described = described.join(most, on="record_id", how="left")
        if column == "main_host":
            top = ranked.filter(pl.col("rank") < MOST_HOSTS)
            hosts = top.group_by(record_id="visitor_id").agg(hosts=pl.col(column).sort())
            described = described.join(hosts, on="record_id", how="left")
    return described.sort("record_id")
