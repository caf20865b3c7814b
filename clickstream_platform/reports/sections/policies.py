"""When a session ends, by other products' rules: what the same events come to under each."""

import polars as pl

from clickstream_platform.reports import numbers, pictures
from clickstream_platform.reports.sections.parts import (
    NO_SESSIONS,
    Figure,
    Section,
    Subject,
    figure,
    share_of,
)
from clickstream_platform.sessions import Comparison


def policies(subject: Subject, compared: Comparison, *, days: int) -> Section:
    """Sessions, bounces and channels under each preset, beside our own."""
    totals, channels = compared.totals, compared.channels
    own, *others = totals.to_dicts()
    empty = "" if own["sessions"] else NO_SESSIONS
    shifted = channels.filter(pl.col("policy") != own["policy"])
    far = (
        shifted.sort(pl.col("share_shift").abs(), descending=True, maintain_order=True)
        .head(1)
        .to_dicts()
    )
    shares = channels.with_columns(pl.col("policy") + "_share").pivot(
        "policy", index="channel", values="sessions_share"
    )
    return Section(
        id="policies",
        title="Other rules for sessions",
        lead=f"The events of the last {numbers.counted(days, 'day')} as sessions of other "
        "products; here everybody is counted, also who does not allow measurement. What a bounce "
        "is stays ours, so these are not their bounce rates; `clickstream sessions compare` takes "
        "in all days.",
        figures=[
            Figure(
                id="policy-totals",
                title="Sessions and bounces",
                takeaway=_session_words(own, others),
                table=subject.table(totals, {"revenue": f"Revenue, {subject.settings.currency}"}),
                empty=empty,
                is_wide=True,
            ),
            figure(
                "policy-channels",
                "How channels shift",
                pictures.channel_shift(shifted),
                takeaway=_shift_words(far[0]) if far else "",
                table=subject.table(
                    shares, {name: name.removesuffix("_share") for name in shares.columns[1:]}
                ),
                empty=empty,
                is_wide=True,
            ),
        ],
    )


def _session_words(own: dict[str, float], others: list[dict[str, float]]) -> str:
    if not own["sessions"] or not others:
        return ""
    least, most = (
        share_of(pick(it["sessions"] or 0 for it in others), own["sessions"]) for pick in (min, max)
    )
    return f"Other rules make {numbers.share(least)} to {numbers.share(most)} of your sessions."


def _shift_words(row: dict[str, object]) -> str:
    shift = float(str(row["share_shift"]))
    if not shift:
        return "No channel's share moves."
    way = "gains" if shift > 0 else "loses"
    return f"Farthest: {row['channel']} {way} {abs(shift) * 100:.1f} points under {row['policy']}."
