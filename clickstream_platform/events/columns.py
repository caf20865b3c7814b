"""Columns of formats: what the records of a format that fixes them hold."""

import re
from functools import lru_cache
from pathlib import Path

COMBINED_LOG = (
    r"^(?:(?P<vhost>[\w.-]+:\d{1,5}) )?(?P<client>\S+) (?P<logname>\S+) "
    r"(?P<remote_user>\S+|[^\s-].*?) \[(?P<time>[^\]]+)\] "
    r'"(?:(?P<method>[A-Z]+) (?P<path>\S.*?)(?: (?P<protocol>HTTP/[0-9.]+))?|.*?)" '
    r'(?P<status>\d{3}) (?P<bytes>\d+|-)(?: "(?P<referrer>(?:[^"\\]|\\.)*)" '
    r'"(?P<user_agent>(?:[^"\\]|\\.)*)"(?: .*)?)?\s*$'
)
"""Apache's `combined` (and `common`, and `vhost_combined`) log format; servers often write further
fields behind it.

A request holds whatever came over the wire, blanks and quotes too: it ends before the status.
"""

SNOWPLOW_JSON = ("contexts", "unstruct_event", "derived_contexts", "client_session")
"""Fields of a Snowplow record that hold objects; the last one is made of the first."""

NOTED = ("bot_signals",)
"""What is noted in any record at landing."""


@lru_cache(maxsize=1)
def snowplow_fields() -> tuple[str, ...]:
    """The 131 fields of Snowplow's enriched event, in order."""
    return _listed("snowplow_fields.txt")


@lru_cache(maxsize=1)
def ga4_fields() -> tuple[str, ...]:
    """Fields of GA4's export to BigQuery, with dots, as records hold them once they are read."""
    return _listed("ga4_fields.txt")


def fixed_columns(form: str) -> tuple[str, ...]:
    """Every column that records of a format can have; none where the format does not fix them.

    GA4's export is not among these: Google adds fields to it.
    """
    if form == "combined_log":
        return (*re.compile(COMBINED_LOG).groupindex, *NOTED)
    if form == "snowplow_tsv":
        return (*snowplow_fields(), "client_session", *NOTED)
    return ()


def _listed(name: str) -> tuple[str, ...]:
    file = Path(__file__).parent / name
    return tuple(file.read_text(encoding="utf-8").split())
