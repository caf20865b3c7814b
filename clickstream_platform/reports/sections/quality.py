"""How far the figures can be trusted, and what people agreed to."""

from datetime import UTC

import polars as pl

from clickstream_platform.reports import numbers, pictures
from clickstream_platform.reports.bot_matches import NO_RULE, matches_in
from clickstream_platform.reports.figures import fold
from clickstream_platform.reports.sections.parts import (
    NO_RECORDS,
    NO_SESSIONS,
    SHOWN_BARS,
    Figure,
    Section,
    Subject,
    figure,
    share_of,
    total,
)

SHOWN_SOURCES = 7
"""Sources with a colour of their own; the rest are folded into one."""


def quality(subject: Subject, ledger: pl.DataFrame) -> Section:
    """What became of every record, what was wrong with it, and how punctual sources are."""
    reasons, freshness = (
        subject.figures.frame("quarantine_reasons"),
        subject.figures.frame("freshness"),
    )
    late, runaways = subject.frame("late_by_day"), subject.frame("runaway_sessions")
    received, loaded = total(ledger["received"]), total(ledger["loaded"])
    bots = matches_in(subject.figures, subject.period, subject.settings)
    bots = bots.filter(pl.col("events") > 0).drop("weight")
    aged = freshness.select(
        "source",
        "events",
        "newest_event_at",
        age=pl.lit(subject.now.astimezone(UTC))
        - pl.col("newest_event_at").dt.convert_time_zone("UTC"),
        late_share="late_share",
        duplicates="duplicates",
        conflicts="conflicts",
        repaired="repaired",
    )
    return Section(
        id="quality",
        title="Data quality",
        lead="Every record that is received has one fate: received = loaded + quarantined + "
        "duplicate + suppressed + too late.",
        figures=[
            figure(
                "ledger",
                "What became of every record",
                pictures.ledger(ledger.sort("received", descending=True).head(SHOWN_BARS)),
                takeaway=f"{numbers.count(loaded)} of {numbers.count(received)} records "
                f"({numbers.share(share_of(loaded, received))}) are in the tables.",
                table=subject.table(ledger),
                is_open=True,
                is_wide=True,
                empty=NO_RECORDS if received == 0 else "",
            ),
            figure(
                "quarantine-reasons",
                "Why records wait in quarantine",
                pictures.quarantine_reasons(_folded(reasons, "records")),
                takeaway="A record may break several rules; `clickstream quarantine show` lists "
                "them, and a replay takes them in after a fix.",
                table=subject.table(reasons, {"code": "Rule"}),
                empty="Nothing waits in quarantine: every record kept the rules."
                if reasons.is_empty()
                else "",
            ),
            figure(
                "late",
                "Late events by day of arrival",
                pictures.late_by_day(_folded(late, "events")),
                takeaway="They are in the tables under the day they happened.",
                table=subject.table(late),
                empty="No event of this period was late." if late.is_empty() else "",
            ),
            Figure(
                id="bots",
                title="What tells bots, and what it matches",
                takeaway="Rates are of visitors' days. A rule in shadow flags nobody; where its "
                "matches click and buy as often as who matches no rule, it would flag people.",
                table=subject.table(bots),
                empty=""
                if (bots["rule"] != NO_RULE).any()
                else "No event of this period matches a rule.",
                is_wide=True,
            ),
            Figure(
                id="runaway-sessions",
                title="Sessions that ran away",
                takeaway="Cut for their length until no person would have them. They count; "
                "`clickstream quarantine sessions` lists them.",
                table=subject.table(
                    runaways.with_columns(longest=pl.duration(seconds="longest_s")).drop(
                        "longest_s"
                    )
                ),
                empty="No session ran away in this period." if runaways.is_empty() else "",
                is_wide=True,
            ),
            Figure(
                id="freshness",
                title="How fresh each source is",
                takeaway="Age of the newest event; what came late, twice, or under the "
                "identifier of another event.",
                table=subject.table(aged),
                empty=NO_RECORDS if freshness.is_empty() else "",
                is_wide=True,
            ),
        ],
    )


SHOWN_RATES = 12
"""Most frequent pages, countries and consent platforms that a report shows."""


def consent(subject: Subject) -> Section:
    """What people agreed to, and what was sent to whom on that ground."""
    frame, syncs = subject.frame("consent"), subject.figures.frame("syncs")
    answers = frame.pivot("answer", index="purpose", values="sessions").fill_null(0)
    rates = subject.frame("consent_rates")
    shown = rates.filter(pl.int_range(pl.len()).over("dimension") < SHOWN_RATES)
    counted = subject.frame("cookieless").head(SHOWN_RATES)
    return Section(
        id="consent",
        title="Consent and syncs",
        lead="Consent is read from each session's last event; unknown counts as no. What a "
        "person has chosen by then is asked again when a segment is made and a record is sent.",
        figures=[
            figure(
                "consent-coverage",
                "Consent of sessions",
                pictures.consent(frame),
                takeaway=_consent_words(frame),
                table=subject.table(answers),
                is_open=True,
                is_wide=True,
                empty=NO_SESSIONS if frame.is_empty() else "",
            ),
            Figure(
                id="consent-rates",
                title="Who agrees to measurement",
                takeaway="By first page, country and consent platform. Lost: what would be "
                "missing if only who agreed were measured.",
                table=subject.table(shown),
                empty="No visitor of this period made a choice."
                if rates["unanswered"].sum() == rates["visitors"].sum()
                else "",
                is_wide=True,
            ),
            Figure(
                id="cookieless-counts",
                title="Counted without identifiers",
                takeaway="Events of people who do not allow measurement, and those that came "
                "without identifiers; counts of too few people are (few). Dates are UTC.",
                table=subject.table(counted),
                empty="Nothing was counted without identifiers in this period."
                if counted.is_empty()
                else "",
            ),
            Figure(
                id="syncs",
                title="Sent to the CRM",
                takeaway="Withheld: no consent, or on the suppression list.",
                table=subject.table(syncs),
                empty="Nothing was sent yet: `clickstream materialize` syncs segments to the "
                "outbox, or to the CRM of the settings."
                if syncs.is_empty()
                else "",
            ),
        ],
    )


def _folded(frame: pl.DataFrame, number: str) -> pl.DataFrame:
    folded = fold(frame, "source", by=number, keep=SHOWN_SOURCES, into=pictures.OTHER)
    return folded.group_by(pl.exclude(number), maintain_order=True).agg(pl.col(number).sum())


def _consent_words(frame: pl.DataFrame) -> str:
    parts = []
    for purpose in frame["purpose"].unique(maintain_order=True):
        answers = frame.filter(pl.col("purpose") == purpose)
        granted = total(answers.filter(pl.col("answer") == "granted")["sessions"])
        parts.append(f"{purpose} {numbers.share(share_of(granted, total(answers['sessions'])))}")
    return f"Granted: {', '.join(parts)}." if parts else ""
