"""Who comes, when, and for how long: headline numbers, traffic and sessions."""

import polars as pl

from clickstream_platform.reports import numbers, pictures
from clickstream_platform.reports.figures import change, complete_days
from clickstream_platform.reports.sections.parts import (
    NO_SESSIONS,
    Card,
    Figure,
    Section,
    Subject,
    figure,
    share_of,
    total,
)


def cards(subject: Subject, ledger: pl.DataFrame) -> list[Card]:
    """The headline numbers, each with its days where it has any."""
    events, sessions = subject.frame("events_by_day"), subject.frame("sessions_by_day")
    conversions = subject.frame("conversions_by_day")
    whole = subject.frame("headline").row(0, named=True)
    people_events = events.filter(pl.col("visitor_type") == "People")
    bots = share_of(
        total(events["events"]) - total(people_events["events"]), total(events["events"])
    )
    bounce = sessions.select("day", rate=pl.col("bounces") / pl.col("sessions")).fill_nan(0.0)
    received, loaded = total(ledger["received"]), total(ledger["loaded"])

    def trend(frame: pl.DataFrame, column: str) -> str:
        differs = change(complete_days(frame, now=subject.now, settings=subject.settings)[column])
        return "" if differs is None else _trend(differs)

    revenue = total(conversions["revenue"])
    return [
        Card(
            title="People",
            number=numbers.short_count(whole["people"]),
            note=trend(sessions, "people"),
            line=sparkline(sessions["people"]),
        ),
        Card(
            title="Sessions",
            number=numbers.short_count(whole["sessions"]),
            note=trend(sessions, "sessions"),
            line=sparkline(sessions["sessions"]),
        ),
        Card(
            title="Events of people",
            number=numbers.short_count(total(people_events["events"])),
            note=f"{numbers.share(bots)} of all were bots'" if bots else "no bots seen",
            line=sparkline(people_events["events"]),
        ),
        Card(
            title="Bounce rate",
            number=f"{whole['bounce_rate'] * 100:.1f}",
            unit="%",
            note=f"others stay {numbers.duration(whole['median_duration_s'])} (median)"
            if whole["sessions"] and whole["bounce_rate"] < 1
            else "",
            line=sparkline(bounce["rate"]),
        ),
        Card(
            title="Conversions",
            number=numbers.short_count(total(conversions["conversions"])),
            note=trend(conversions, "conversions"),
            line=sparkline(conversions["conversions"]),
        ),
        Card(
            title="Revenue",
            number=numbers.money(revenue),
            unit=subject.settings.currency,
            note=trend(conversions, "revenue"),
            line=sparkline(conversions["revenue"]),
        ),
        Card(
            title="People who converted",
            number=f"{share_of(whole['buyers'], whole['people']) * 100:.1f}",
            unit="%",
            note=f"{numbers.count(whole['buyers'])} of {numbers.count(whole['people'])}",
        ),
        Card(
            title="Records loaded",
            number=f"{share_of(loaded, received) * 100:.1f}",
            unit="%",
            note=f"of {numbers.short_count(received)} received, since the start",
        ),
    ]


def traffic(subject: Subject) -> Section:
    """Events, sessions and people by day, and when in the week they come."""
    events, sessions = subject.frame("events_by_day"), subject.frame("sessions_by_day")
    hours = subject.frame("sessions_by_hour")
    busiest = sessions.sort("sessions", "day", descending=[True, False]).row(0, named=True)
    wide = events.pivot("visitor_type", index="day", values="events")
    bots = int(wide["Bots"].sum())
    is_empty = total(sessions["sessions"]) == 0
    return Section(
        id="traffic",
        title="Traffic",
        lead="Who comes, and when. Events are everybody's; sessions are those of people who allow "
        "measurement. Bots are counted apart and left out of everything below.",
        figures=[
            figure(
                "sessions-by-day",
                "Sessions and people by day",
                pictures.sessions_by_day(sessions),
                takeaway=f"Busiest: {numbers.day(busiest['day'])}, with "
                f"{numbers.counted(busiest['sessions'], 'session')}.",
                table=subject.table(sessions),
                empty=NO_SESSIONS if is_empty else "",
                is_wide=True,
            ),
            figure(
                "events-by-day",
                "Events by day",
                pictures.events_by_day(events),
                takeaway=f"{numbers.counted(bots, 'event is', 'events are')} flagged as bots': "
                f"{numbers.share(share_of(bots, total(events['events'])))}.",
                table=subject.table(wide),
            ),
            figure(
                "sessions-by-hour",
                "When in the week",
                pictures.sessions_by_hour(hours),
                takeaway=_busiest_hour(hours, subject.settings.time_zone),
                empty=NO_SESSIONS if hours.is_empty() else "",
            ),
        ],
    )


def visits(subject: Subject) -> Section:
    """How long sessions last, on what devices, and where they begin."""
    lengths, devices = subject.frame("session_durations"), subject.frame("sessions_by_device")
    pages, whole = subject.frame("landing_pages"), subject.frame("headline").row(0, named=True)
    empty = NO_SESSIONS if devices.is_empty() else ""
    alone = share_of(lengths["sessions"][0], total(lengths["sessions"]))
    timeout = f"{subject.settings.sessions.timeout_minutes:g}"
    staying = (
        f"those that do not bounce last {numbers.duration(whole['median_duration_s'])} (median)"
        if whole["bounce_rate"] < 1
        else "all bounce"
    )
    return Section(
        id="sessions",
        title="Sessions",
        lead=f"A session ends after {timeout} minutes without an event. It is a bounce without "
        "engaged time, a second page view or a conversion.",
        figures=[
            figure(
                "session-durations",
                "How long they last",
                pictures.session_durations(lengths),
                takeaway=f"{numbers.share(alone)} have one event; {staying}.",
                table=subject.table(lengths.drop("band_number"), {"band": "Duration"}),
                empty=empty,
            ),
            figure(
                "sessions-by-device",
                "On what device",
                pictures.sessions_by_device(devices),
                takeaway=_device_words(devices),
                table=subject.table(devices),
                is_open=True,
                empty=empty,
            ),
            Figure(
                id="landing-pages",
                title="Where they begin",
                takeaway="Ten landing pages with the most sessions.",
                table=subject.table(pages, {"revenue": f"Revenue, {subject.settings.currency}"}),
                empty=empty,
                is_wide=True,
            ),
        ],
    )


def sparkline(values: pl.Series) -> str:
    """Path of a line through values, in a box of 100 by 28; empty below two values."""
    low, top = min([0, *values]), max([0, *values])
    if len(values) == 1 or low == top:
        return ""
    step, scale = 100 / (len(values) - 1), 22 / (top - low)
    points = [
        f"{place * step:.1f} {26 - scale * (value - low):.1f}" for place, value in enumerate(values)
    ]
    return "M" + " L".join(points)


def _trend(differs: float) -> str:
    written = numbers.share(abs(differs))
    if written == numbers.share(0):
        return "as in the week before"
    return f"{'▲' if differs > 0 else '▼'} {written} on the week before"


def _busiest_hour(hours: pl.DataFrame, zone: str) -> str:
    if hours.is_empty():
        return ""
    top = hours.sort("sessions", descending=True, maintain_order=True).row(0, named=True)
    day = pictures.WEEKDAYS[top["weekday"] - 1]
    return f"Most sessions start on {day} at {top['hour']}:00 ({zone})."


def _device_words(devices: pl.DataFrame) -> str:
    if devices.is_empty():
        return ""
    top = devices.row(0, named=True)
    part = share_of(top["sessions"], total(devices["sessions"]))
    return (
        f"{top['device_type'].capitalize()}: {numbers.share(part)} of sessions, of which "
        f"{numbers.share(top['conversion_rate'])} convert."
    )
