"""Conversions of some dates, so that each order of a person counts once in all."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import ibis.expr.types as ir
from ibis import _

from clickstream_platform.attribution.conversions import (
    COLUMNS,
    ConversionRule,
    conversion_candidates,
    once_per_order,
)
from clickstream_platform.collection.consent_log import Silence
from clickstream_platform.identity import with_person
from clickstream_platform.lake import Engine, Lake, distinct_dates, view

ORDER = ("person_key", "order_id")

OUTSIDE = "sessionless_events"
"""Where events are that no session holds."""


class Finder:
    """Finds conversions in the lake, date by date or all at once."""

    def __init__(
        self,
        backend: Engine,
        lake: Lake,
        rules: Mapping[str, ConversionRule],
        silence: Mapping[str, Silence],
        *,
        longest_session: timedelta,
    ) -> None:
        self.backend, self.lake, self.rules, self.silence = backend, lake, rules, silence
        self.longest_session = longest_session
        self._known: tuple[Sequence[date] | None, ir.Table] | None = None

    def with_shared_orders(self, dates: Iterable[date]) -> list[date]:
        """Add the dates on which an order that changes on these dates may change as well."""
        days = sorted(set(dates))
        if not days:
            return days
        stored = view(self.backend, self.lake, "conversions").filter(_.order_id.notnull())
        inside = _.conversion_date.isin(days)
        before, elsewhere = stored.filter(inside), stored.filter(~inside)
        now = self._found(days).filter(_.order_id.notnull())
        more = distinct_dates(elsewhere.semi_join(now, ORDER), "conversion_date")
        # Where the event that counted went away, another takes its place. If that is on another
        # date it is stored nowhere, and only the events tell.
        as_early = now.select(now_key="person_key", now_order="order_id", now_us="converted_us")
        lost = before.anti_join(
            as_early,
            [
                before.person_key == as_early.now_key,
                before.order_id == as_early.now_order,
                as_early.now_us <= before.converted_us,
            ],
        )
        orders = lost.select("order_id").distinct().to_polars()["order_id"].to_list()
        if orders:
            events = view(self.backend, self.lake, "events").filter(
                _.event_name.isin([*self.rules]), _.order_id.isin(orders)
            )
            more |= distinct_dates(events, "event_date")
        return sorted({*days, *more})

    def settled(self, dates: Sequence[date] | None) -> ir.Table:
        """Find the conversions of some dates, given those that are stored on others.

        Args:
            dates: Dates as `with_shared_orders` completes them, or None for all.
        """
        found = self._found(dates)
        if dates:
            others = view(self.backend, self.lake, "conversions").filter(
                _.order_id.notnull(), ~_.conversion_date.isin([*dates])
            )
            found = found.anti_join(others, ORDER)
        return found

    def _found(self, dates: Sequence[date] | None) -> ir.Table:
        """Conversions of some dates, whatever is stored on others; found once."""
        if self._known is None or self._known[0] != dates:
            rows = once_per_order(self._candidates(dates)).select(COLUMNS)
            self._known = dates, self.backend.make_table("found_conversions", rows)
        return self._known[1]

    def _candidates(self, dates: Sequence[date] | None) -> ir.Table:
        days = {"events": dates, "session_events": dates, "sessions": self._session_dates(dates)}
        events, session_events, sessions = (
            view(self.backend, self.lake, name, files=self.lake.files(name, dates=days[name]))
            for name in days
        )
        return conversion_candidates(
            events,
            session_events,
            sessions,
            view(self.backend, self.lake, "person_consents"),
            self.rules,
            self.silence,
            self._reported(events, dates),
        )

    def _reported(self, events: ir.Table, dates: Sequence[date] | None) -> ir.Table:
        """Events that servers reported of people who had no session open."""
        files = self.lake.files(OUTSIDE, dates=dates)
        outside = view(self.backend, self.lake, OUTSIDE, files=files).filter(
            _.reason == "no_open_session", _.event_name.isin([*self.rules])
        )
        theirs = events.semi_join(outside, "event_key")
        named = with_person(theirs, view(self.backend, self.lake, "identity_map"))
        # Not only columns of a join: what joins this next would take it for one of its own tables.
        theirs = named.filter(_.person_key.notnull())
        return theirs.select("event_key", "person_id", "person_key", "country")

    def _session_dates(self, dates: Sequence[date] | None) -> list[date] | None:
        """Dates on which a session of these dates may have started."""
        if dates is None:
            return None
        reach = range(-(-self.longest_session // timedelta(days=1)) + 1)
        return sorted({day - timedelta(days=back) for day in dates for back in reach})
