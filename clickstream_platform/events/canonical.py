"""Records as canonical events: typed, corrected for clock skew, repaired, and checked by rules.

Everything that looks at a record is one query of DuckDB, from the JSON text to Arrow columns that
are not copied again: what events hold beside is put beside them, not joined into them
(`docs/decisions`).
"""

import re
import tomllib
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict

from clickstream_platform.events.adapters import TEXT_FIELDS, TIME_FIELDS, Adapter, quoted
from clickstream_platform.events.records import Extraction, trimmed
from clickstream_platform.lake import polars_schema
from clickstream_platform.settings import Settings

DAY_US = 86_400_000_000

MOST_US = 253_370_764_799_999_999
"""The end of the year 9998: what is further from 1970 is no instant.

No zone moves others beyond the years that dates have, and three of them still add up.
"""

LATE_US = DAY_US
"""An event that arrives a day after it happened comes after its date was closed."""

YES = ("true", "1", "yes", "granted", "t")
NO = ("false", "0", "no", "denied", "f")
"""What a flag may be written as, in any case."""

_FILE = Path(__file__).parent / "row_rules.toml"


class RowRule(BaseModel):
    """One thing that must be true of every record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    field: str
    expected: str
    broken: str
    """SQL that is true of a record that breaks the rule."""
    got: str | None = None
    """SQL for the text at fault, of which only the shape is stored."""


@lru_cache(maxsize=1)
def row_rules() -> tuple[RowRule, ...]:
    """Every rule that a record must keep to become an event, in the order of `row_rules.toml`."""
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(RowRule.model_validate(rule) for rule in data["rule"])


_READ_ONCE = (
    *TIME_FIELDS,
    "revenue",
    "engaged_time_ms",
    "consent_analytics",
    "consent_marketing",
    "consent_personalization",
    "is_synthetic",
    "refusal",
)
"""Texts that nobody needs once they are read, but to say what is wrong with them."""

TOO_LATE = "too_late"
"""Code of the one thing that is wrong with a record older than the horizon."""


def violation_codes() -> frozenset[str]:
    """Every reason for which a record may wait in quarantine."""
    return frozenset({rule.code for rule in row_rules()} | {TOO_LATE})


def lateness_horizon(adapter: Adapter, settings: Settings) -> int:
    """Age of the oldest event that a live source may still deliver, in microseconds."""
    return round((adapter.lateness_horizon_days or settings.lateness_horizon_days) * DAY_US)


def staged_sql(adapter: Adapter, settings: Settings, raw: str, *, tried: bool = False) -> str:
    """SQL for the records of one source as typed rows, with the verdict of the rules.

    Args:
        adapter: The source.
        settings: Currency, rates, buckets and lateness horizon.
        raw: Relation of raw events.
        tried: Whether a record for which an expression of the adapter fails is unreadable; else
            the query fails, but it is the faster one.

    Returns:
        A query with the columns that the row rules read, ``is_bad`` and ``is_too_late``. Texts
        that only a waiting record still needs are null in the others: copying them is what
        costs most here.
    """
    names = [name for name in (*TIME_FIELDS, *TEXT_FIELDS) if name in adapter.fields]
    if adapter.properties:
        names.append("properties")
    read = Extraction(adapter.paths(*names))
    fields = (*TIME_FIELDS, *TEXT_FIELDS)
    given = ", ".join(f"{adapter.rule_sql(name, tried=tried)} AS {name}" for name in fields)
    failed = f"coalesce(read_error, {adapter.failed_sql(*fields)})" if tried else "read_error"
    texts = ", ".join(f"{_text(adapter, name)} AS {name}" for name in fields)
    horizon = lateness_horizon(adapter, settings)
    bad = " OR ".join(f"coalesce({rule.broken}, false)" for rule in row_rules())
    too_late = f"received_us - occurred_us > {horizon}" if adapter.live else "false"
    bounded = ", ".join(
        f"CASE WHEN {name}_us BETWEEN -{MOST_US} AND {MOST_US} THEN {name}_us END AS {name}_us"
        for name in TIME_FIELDS
    )
    late = f"received_us - occurred_us > {LATE_US}" if adapter.live else "false"
    rates = settings.exchange_rates | {settings.currency: 1}
    cases = " ".join(f"WHEN {quoted(code)} THEN {rate}" for code, rate in rates.items())
    return f"""
WITH parsed AS (
  SELECT *{read.columns} FROM (SELECT *, {read.parsed} AS x FROM {raw})
), given AS (
  SELECT {_PLACE}, {given} FROM (SELECT * REPLACE ({failed} AS read_error) FROM parsed)
), texts AS (
  SELECT {_PLACE}, {texts} FROM given
), cleaned AS (
  SELECT * REPLACE (
      CASE WHEN event_name IS NULL OR event_name[1] IN ('{{', '[')
        OR regexp_full_match(event_name, '[a-z][a-z0-9_]*') THEN event_name
        ELSE {_renamed("event_name")} END AS event_name,
      lower(platform) AS platform,
      upper(country) AS country,
      coalesce(upper(currency), CASE WHEN revenue IS NOT NULL THEN {quoted(settings.currency)} END)
        AS currency,
      CASE WHEN event_id IS NULL OR {_is_masked("event_id")}
        THEN 'd_' || md5(concat_ws(chr(31), source, payload, ordinal)) ELSE event_id
        END AS event_id,
      coalesce(lower(collection_source), CASE WHEN lower(platform) = 'server' THEN 'server'
        ELSE 'client' END) AS collection_source,
      CASE WHEN {_is_address("referrer_url")} THEN referrer_url END AS referrer_url
    ),
    nullif(concat_ws(',',
      CASE WHEN NOT regexp_full_match(event_name, '[a-z][a-z0-9_]*') THEN 'event_name:rename' END,
      CASE WHEN {_is_masked("event_id")} THEN 'event_id:derive' END,
      CASE WHEN platform <> lower(platform) THEN 'platform:rename' END,
      CASE WHEN country <> upper(country) THEN 'country:rename' END,
      CASE WHEN currency <> upper(currency) THEN 'currency:rename' END,
      CASE WHEN revenue IS NOT NULL AND currency IS NULL THEN 'currency:default' END,
      CASE WHEN {_leap("created_at")} OR {_leap("occurred_at")} THEN 'occurred_at:leap_second' END,
      CASE WHEN referrer_url IS NOT NULL AND NOT {_is_address("referrer_url")}
        THEN 'referrer_url:drop' END
    ), '') AS repairs,
    {", ".join(f"{_instant(adapter, name)} AS {name}_us" for name in TIME_FIELDS)},
    TRY_CAST(revenue AS DECIMAL(18, 4)) AS revenue_number,
    TRY_CAST(engaged_time_ms AS BIGINT) AS engaged_ms,
    {_flag("consent_analytics")} AS analytics_given,
    {_flag("consent_marketing")} AS marketing_given,
    {_flag("consent_personalization")} AS personalization_given,
    {_flag("is_synthetic")} AS synthetic
  FROM texts
), timed AS (
  SELECT *, coalesce(received_at_us, epoch_us(arrived_at)) AS received_us,
    {derived_time("received_at_us")} AS occurred_us
  FROM (SELECT * REPLACE ({bounded}) FROM cleaned)
), priced AS (
  SELECT *,
    CAST(CASE currency {cases} END AS DECIMAL(20, 8)) AS rate,
    {str(adapter.requires_identity).lower()} AS needs_identity
  FROM timed
)
SELECT * REPLACE (
    CASE WHEN is_bad OR is_too_late THEN payload END AS payload,
    {", ".join(f"CASE WHEN is_bad THEN {name} END AS {name}" for name in _READ_ONCE)}
  )
FROM (
  SELECT *, {bad} AS is_bad, coalesce({too_late}, false) AS is_too_late,
    coalesce({late}, false) AS is_late
  FROM priced
)
"""


def computed_sql(adapter: Adapter, settings: Settings, raw: str, *, tried: bool = False) -> str:
    """SQL for `staged_sql` with what events are stored and found by, for rows that are sound.

    Adds ``event_key``, ``visitor_key``, ``user_key``, ``bucket``, ``clock_skew_ms`` and
    ``revenue_reported``. People must be pseudonyms by now.
    """
    visitor, user = (
        f"CAST('0x' || substr({name}_id, 4, 15) AS BIGINT)" for name in ("visitor", "user")
    )
    bucket = f"coalesce({visitor}, {user}, 0) % {settings.lake.buckets}"
    computed = {
        "event_key": "CAST('0x' || left(md5(event_id), 15) AS BIGINT)",
        "visitor_key": visitor,
        "user_key": user,
        "bucket": f"CAST({bucket} AS INTEGER)",
        "clock_skew_ms": "coalesce((occurred_us - created_at_us) // 1000, 0)",
        "revenue_reported": "CAST(revenue_number * rate AS DECIMAL(18, 4))",
    }
    listed = ", ".join(
        f"CASE WHEN NOT is_bad THEN {sql} END AS {name}" for name, sql in computed.items()
    )
    return f"SELECT *, {listed} FROM ({staged_sql(adapter, settings, raw, tried=tried)})"


def derived_time(received: str) -> str:
    """SQL for event time in microseconds: what the sender swears by, else corrected for skew.

    ``received - (sent - created)`` where the device names both and sent not before it created;
    arrival time where it names one alone and the collector named its own; the device's time where
    nobody else named any.

    Source:
        `derived_tstamp` of Snowplow's enrichment.
    """
    return (
        "CASE WHEN occurred_at_us IS NOT NULL THEN occurred_at_us "
        f"WHEN {received} IS NULL THEN created_at_us "
        f"WHEN created_at_us IS NULL OR sent_at_us IS NULL OR sent_at_us < created_at_us "
        f"THEN {received} ELSE {received} - (sent_at_us - created_at_us) END"
    )


def violations_sql(adapter: Adapter) -> str:
    """SQL for the list of every rule that a staged row breaks; what it held is masked."""
    broken = ", ".join(
        f"CASE WHEN {rule.broken} THEN {{'code': {quoted(rule.code)}, "
        f"'field': {quoted(rule.field)}, 'expected': {quoted(_expected(rule, adapter))}, "
        f"'got': {_masked(rule.got)}}} END"
        for rule in row_rules()
    )
    return f"list_filter([{broken}], lambda rule: rule IS NOT NULL)"


def _expected(rule: RowRule, adapter: Adapter) -> str:
    """What a rule expects, with the format of the adapter where it names one for an instant."""
    mapped = adapter.fields.get(rule.field)
    if rule.code != f"{rule.field}_unreadable" or mapped is None or mapped.format == "auto":
        return rule.expected
    return f"an instant as {mapped.format}"


def pages_sql(click_ids: Iterable[str]) -> str:
    """SQL for the parts of every page URL of ``page_urls``.

    Args:
        click_ids: Query parameters that name the click of an advertisement; the first one counts.
    """
    utm = {
        "source": "source",
        "medium": "medium",
        "name": "campaign",
        "term": "term",
        "content": "content",
    }
    campaign = ", ".join(
        f"{_query_value('page_url', f'utm_{key}')} AS utm_{name}" for name, key in utm.items()
    )
    return (
        f"SELECT page_url, {_PARTS}, {campaign}, "
        f"{_click_id('page_url', click_ids)} AS click_id_type FROM ({_parted('page_url')})"
    )


def referrers_sql() -> str:
    """SQL for the host of every referrer of ``referrer_urls``."""
    return f"SELECT referrer_url, {_PARTS} FROM ({_parted('referrer_url')})"


_PARTS = (
    "CASE WHEN authority IS NOT NULL THEN nullif(lower(CASE WHEN site LIKE '[%' THEN "
    "split_part(site, ']', 1) || ']' ELSE split_part(site, ':', 1) END), '') END AS host, "
    "coalesce(nullif(split_part(split_part(rest, '?', 1), '#', 1), ''), '/') AS path"
)
"""Host in lower case without user, password and port, null for a bare path; path without query.

Plain text functions on distinct addresses: regular expressions on every row cost ten times more.
"""


def _parted(column: str) -> str:
    after = f"split_part({column}, '://', 2)"
    authority = f"split_part(split_part(split_part({after}, '/', 1), '?', 1), '#', 1)"
    return (
        f"SELECT *, CASE WHEN authority IS NULL THEN {column} ELSE "
        f"substr({after}, length(authority) + 1) END AS rest, CASE WHEN contains(authority, '@') "
        "THEN split_part(authority, '@', -1) ELSE authority END AS site FROM ("
        f"SELECT {column}, CASE WHEN {column}[1] <> '/' THEN {authority} END AS authority "
        f"FROM {column}s)"
    )


def event_columns() -> dict[str, pl.Expr]:
    """Each column of events, over rows of `computed_sql` and what was found beside them.

    Beside a row stand the parts of its addresses (``page_host``, ``page_path``, ``utm_source`` …,
    ``click_id_type``, ``referrer_host``), its columns of `agents.AGENTS` and what its signals of
    consent come to (``judged_analytics`` …).
    """
    instants = {
        name: pl.col(column).cast(pl.Datetime("us", "UTC"))
        for name, column in (
            ("occurred_at", "occurred_us"),
            ("received_at", "received_us"),
            ("created_at", "created_at_us"),
            ("sent_at", "sent_at_us"),
        )
    }
    campaign = {
        f"campaign_{name}": pl.coalesce(f"campaign_{name}", f"utm_{name}")
        for name in ("source", "medium", "name", "term", "content")
    }
    consents = {
        f"consent_{use}": pl.coalesce(f"judged_{use}", f"{use}_given")
        for use in ("analytics", "marketing", "personalization")
    }
    has_revenue = pl.col("revenue_number").is_not_null()
    made = {
        **instants,
        "event_date": pl.from_epoch("occurred_us", time_unit="us").dt.date(),
        **campaign,
        **consents,
        "engaged_time_ms": pl.col("engaged_ms"),
        "revenue": pl.col("revenue_reported"),
        "revenue_original": pl.col("revenue_number"),
        "currency_original": pl.when(has_revenue).then("currency"),
        "is_synthetic": pl.col("synthetic").fill_null(value=False),
    }
    return {name: made.get(name, pl.col(name)) for name in polars_schema("events")}


_PLACE = (
    "batch_id, ordinal, source, arrived_at, arrival_date, visitor_id, user_id, identifiers, "
    "payload, read_error"
)
"""Columns of raw_events."""


def _text(adapter: Adapter, name: str) -> str:
    rule = adapter.fields.get(name)
    return name if rule is not None and rule.value is not None else trimmed(name)


def _renamed(name: str) -> str:
    """SQL that turns `Add To Cart` and `addToCart` into `add_to_cart`.

    Letters beyond these stay: two names that differ in them alone would be one without them.
    """
    parted = f"regexp_replace({name}, '([a-z0-9])([A-Z])', '\\1_\\2', 'g')"
    plain = f"lower(strip_accents({parted}))"
    renamed = f"trim(regexp_replace({plain}, '[^\\p{{L}}\\p{{M}}0-9]+', '_', 'g'), '_')"
    is_plain = f"{renamed} <> '' AND strlen({renamed}) = length({renamed})"
    return f"CASE WHEN {is_plain} THEN {renamed} ELSE {name} END"


def _is_address(name: str) -> str:
    return f"({name}[1] = '/' OR strpos({name}, '://') BETWEEN 3 AND 24)"


def _is_masked(name: str) -> str:
    """SQL that is true where minimisation took something out of an identifier.

    Ids that differed in that alone are equal now, and different events would be repetitions.
    """
    return f"(contains({name}, '[') AND regexp_matches({name}, '\\[[a-z_]+\\]'))"


def _flag(name: str) -> str:
    """SQL for a text as a flag. Not by `IN`, which DuckDB plans as a join: a dozen for a record."""
    words = {"true": YES, "false": NO}
    cases = " ".join(f"WHEN '{word}' THEN {flag}" for flag, said in words.items() for word in said)
    return f"CASE WHEN {name} IS NOT NULL THEN CASE lower({name}) {cases} END END"


def _leap(name: str) -> str:
    return f"({name} LIKE '%:60%' AND regexp_matches({name}, ':60(\\.\\d+)?([Zz]|[+-]|$)'))"


def _instant(adapter: Adapter, name: str) -> str:
    """SQL for an instant in microseconds since 1970; null where it cannot be read."""
    rule = adapter.fields.get(name)
    if rule is None:
        return "CAST(NULL AS BIGINT)"
    number = f"TRY_CAST({name} AS BIGINT)"
    scale = {"epoch_s": "1000000", "epoch_ms": "1000", "epoch_us": "1", "epoch_ns": "0.001"}
    if rule.format in scale:
        number = f"TRY_CAST({name} AS DECIMAL(26, 6)) * {scale[rule.format]}"
        return f"TRY_CAST({number} AS BIGINT)"
    if rule.format != "auto":
        parsed = f"try_strptime({name}, {quoted(rule.format)})"
        zoned = parsed if "%z" in rule.format else _zoned(parsed, adapter.time_zone)
        return f"epoch_us({zoned})"
    clamped = f"regexp_replace({name}, ':60(\\.\\d+)?', ':59.999999')"
    text = f"CASE WHEN {_leap(name)} THEN {clamped} ELSE {name} END"
    exact = f"TRY_CAST({name} AS DECIMAL(26, 6))"
    digits = (
        f"CASE WHEN regexp_matches({name}, '[.eE]') THEN TRY_CAST({_epoch(exact)} AS BIGINT) "
        f"ELSE {_epoch(number)} END"
    )
    # Plain TIMESTAMP is several times faster, and right where the text ends in Z; it would drop
    # an offset without a word. Neither type knows small letters, nor an offset behind a minute.
    bare = f"TRY_CAST(upper(left({name}, -1)) AS TIMESTAMP)"
    whole = f"regexp_replace(upper({text}), '([T ]\\d\\d:\\d\\d)(Z|[+-][\\d:]+)$', '\\1:00\\2')"
    return (
        f"CASE WHEN {name} IS NULL THEN NULL WHEN {name}[-1] IN ('Z', 'z') AND NOT {_leap(name)} "
        f"THEN epoch_us(coalesce(TRY_CAST({name} AS TIMESTAMP), {bare})) "
        f"WHEN {number} IS NOT NULL THEN {digits} "
        f"WHEN regexp_matches({text}, '([Zz]|UTC|[+-]\\d\\d(:?\\d\\d)?)$') THEN "
        f"epoch_us(coalesce(TRY_CAST({text} AS TIMESTAMPTZ), TRY_CAST({whole} AS TIMESTAMPTZ))) "
        f"ELSE epoch_us({_zoned(f'TRY_CAST({text} AS TIMESTAMP)', adapter.time_zone)}) END"
    )


def _epoch(number: str) -> str:
    """SQL for a number as microseconds since 1970: which part of a second it counts its size says.

    Milliseconds from the year 5138 in seconds on, and so on to nanoseconds.
    """
    seconds, milliseconds, microseconds = (
        f"{number} > -{most} AND {number} < {most}" for most in (10**11, 10**14, 10**17)
    )
    return (
        f"CASE WHEN {seconds} THEN {number} * 1000000 WHEN {milliseconds} THEN {number} * 1000 "
        f"WHEN {microseconds} THEN {number} ELSE TRY_CAST({number} AS BIGINT) // 1000 END"
    )


def _zoned(naive: str, time_zone: str) -> str:
    """SQL for a local time as an instant; of two it takes the later, of none the one after."""
    return naive if time_zone == "UTC" else f"timezone({quoted(time_zone)}, {naive})"


def _query_value(url: str, key: str) -> str:
    """SQL for a query parameter, decoded; evaluated only where the URL names it.

    One whose bytes are no UTF-8 stays as it stands: decoding it is an error.
    """
    found = f"regexp_extract({url}, '[?&#]{key}=([^&#]+)', 1)"
    return (
        f"CASE WHEN contains({url}, {quoted(key + '=')}) "
        f"THEN nullif(coalesce(TRY(url_decode(replace({found}, '+', ' '))), {found}), '') END"
    )


def _click_id(url: str, click_ids: Iterable[str]) -> str:
    """SQL for the name of the first click id in a URL, in whatever case, that has a value."""
    cases = " ".join(
        f"WHEN CASE WHEN contains(lower({url}), {quoted(key + '=')}) "
        f"THEN regexp_matches({url}, {quoted(f'(?i)[?&#]{re.escape(key)}=[^&#]')}) ELSE false END "
        f"THEN {quoted(key)}"
        for key in click_ids
    )
    return f"CASE WHEN contains({url}, '=') THEN CASE {cases} END END"


def _masked(text: str | None) -> str:
    """SQL for the shape of a text: its first 40 characters, letters as a, digits as 9."""
    if text is None or text == "read_error":
        return f"CAST({text or 'NULL'} AS VARCHAR)"
    if text == "refusal":
        # A word of the collector's own list; anything else that stands there is not shown.
        return "CASE WHEN regexp_full_match(refusal, '[a-z_]{1,40}') THEN refusal END"
    digits = f"regexp_replace(left({text}, 40), '\\p{{N}}', '9', 'g')"
    return f"regexp_replace({digits}, '[\\p{{L}}\\p{{M}}]', 'a', 'g')"
