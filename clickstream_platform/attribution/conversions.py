"""Conversions: events that the business has declared to count, once per order."""

from collections.abc import Mapping
from pathlib import Path

import ibis
import ibis.expr.types as ir
from ibis import _
from pydantic import Field

from clickstream_platform.attribution.touchpoints import USES
from clickstream_platform.collection.consent_log import Silence, permitted
from clickstream_platform.definitions import Definition, own_or_shipped, read_definition
from clickstream_platform.lake import literal

COLUMNS = (
    "conversion_id",
    "conversion_name",
    "person_id",
    "person_key",
    "session_id",
    "converted_at",
    "converted_us",
    "conversion_date",
    "order_id",
    "revenue",
    "is_attributable",
)
"""Columns of the contract."""

MONEY = "decimal(18, 4)"

SHIPPED = Path(__file__).with_name("conversions.toml")


class ConversionRule(Definition):
    """How the events of one name count."""

    counts_revenue: bool


class _ConversionFile(Definition):
    conversion: dict[str, ConversionRule] = Field(min_length=1)


def load_conversion_rules(definitions: Path | None = None) -> Mapping[str, ConversionRule]:
    """Read which events count, by name: the user's `conversions.toml`, else the shipped one.

    A file that cannot be used is a `DefinitionError`.
    """
    file = own_or_shipped(SHIPPED, definitions)
    remedy = f"See {SHIPPED} for the form."
    return read_definition(_ConversionFile, file, remedy=remedy, table="conversion").conversion


def conversions(  # noqa: PLR0913, PLR0917 - four tables, and two definitions that rule them
    events: ir.Table,
    session_events: ir.Table,
    sessions: ir.Table,
    person_consents: ir.Table,
    rules: Mapping[str, ConversionRule],
    silence: Mapping[str, Silence],
    *,
    reported: ir.Table | None = None,
) -> ir.Table:
    """Find the conversions among events: declared ones, of people, once per order.

    Synthetic events and sessions of bots do not count, nor do events outside every session, but for
    those that a server reported. Nothing counts of a person who does not allow measurement.

    Args:
        events: Contract: `clickstream_platform.tables.events.Events`.
        session_events: Contract: `clickstream_platform.tables.sessions.SessionEvents`.
        sessions: Contract: `clickstream_platform.tables.sessions.Sessions`.
        person_consents: Contract: `clickstream_platform.tables.consent.PersonConsents`.
        rules: The rules of `load_conversion_rules`.
        silence: What counts for who never chose.
        reported: Events of servers that are in no session: ``event_key``, ``person_id``,
            ``person_key``, ``country``.

    Returns:
        Contract: `clickstream_platform.tables.attribution.Conversions`.
    """
    found = conversion_candidates(
        events, session_events, sessions, person_consents, rules, silence, reported
    )
    return once_per_order(found).select(COLUMNS)


def conversion_candidates(  # noqa: PLR0913, PLR0917 - as `conversions`
    events: ir.Table,
    session_events: ir.Table,
    sessions: ir.Table,
    person_consents: ir.Table,
    rules: Mapping[str, ConversionRule],
    silence: Mapping[str, Silence],
    reported: ir.Table | None = None,
) -> ir.Table:
    """Find every event that is declared to count, orders that repeat included.

    Returns:
        The columns of `conversions`, and ``event_key``, which decides between events of one
        instant. Grain: event_key.
    """
    names = [literal(name) for name in rules]
    named = events.filter(_.event_name.isin(names), ~_.is_synthetic)
    places = session_events.filter(_.event_name.isin(names)).select("event_key", "session_key")
    of_people = permitted(sessions.filter(~_.is_bot), person_consents, USES, silence)
    people = of_people.filter(_.may_measure).select(
        "session_key", "session_id", "person_id", "person_key", is_attributable="may_attribute"
    )
    counting = [literal(name) for name, rule in rules.items() if rule.counts_revenue]
    whose = places.inner_join(people, "session_key").drop("session_key")
    if reported is not None:
        theirs = permitted(reported, person_consents, USES, silence).filter(_.may_measure)
        theirs = theirs.mutate(session_id=ibis.null("string"), is_attributable=_.may_attribute)
        whose = whose.union(theirs.select(whose.columns))
    nothing = ibis.literal(0).cast(MONEY)
    return named.inner_join(whose, "event_key").select(
        "event_key",
        "person_id",
        "person_key",
        "session_id",
        "is_attributable",
        conversion_id=_.event_id,
        conversion_name=_.event_name,
        converted_at=_.occurred_at,
        converted_us=_.occurred_us,
        conversion_date=_.event_date,
        order_id=_.order_id.nullif(""),
        revenue=_.event_name.isin(counting).ifelse(_.revenue.fill_null(nothing), nothing),
    )


def once_per_order(candidates: ir.Table) -> ir.Table:
    """Keep the earliest event of each order of a person, and every event without an order."""
    of_order = ibis.window(
        group_by=["person_key", "order_id"], order_by=["converted_us", "event_key"]
    )
    numbered = candidates.mutate(number_in_order=ibis.row_number().over(of_order))
    kept = numbered.filter(_.order_id.isnull() | (_.number_in_order == 0))
    return kept.drop("number_in_order")
