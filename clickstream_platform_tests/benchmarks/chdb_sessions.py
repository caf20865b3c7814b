"""The peer of `bench_sessions`: the same sessions, as one would make them in chDB (ClickHouse).

It reads the same Parquet files of `events` and `identity_map`, and makes the same sessions by the
same policy: 30 minutes of idleness, another campaign, 24 hours at most, and nothing but pings is
none. It sorts the events once into a MergeTree table, ClickHouse's own way, so that windows and
groups stream over sorted rows, and writes one Parquet file per table. It is spared names of
channels, counting a repeated order once, partitions, and a transaction.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from chdb.session import Session

SETTINGS = (
    "SET max_threads = 2, max_insert_threads = 2, max_memory_usage = 2000000000, "
    "max_bytes_before_external_sort = 700000000, max_bytes_before_external_group_by = 700000000, "
    "max_bytes_ratio_before_external_sort = 0, max_bytes_ratio_before_external_group_by = 0, "
    "optimize_aggregation_in_order = 1, optimize_read_in_window_order = 1, "
    "output_format_parquet_compression_method = 'zstd', output_format_compression_level = 1, "
    "join_algorithm = 'hash', allow_experimental_analyzer = 1"
)

PEOPLE = """
CREATE TABLE people ENGINE = Join(ANY, LEFT, visitor_key) AS
SELECT assumeNotNull(visitor_key) AS visitor_key, person_key, person_id
FROM file('{files}', Parquet) WHERE NOT is_shared
"""

SORTED = """
CREATE TABLE sorted ENGINE = MergeTree ORDER BY (person_key, us, event_key) AS
SELECT
  assumeNotNull(event_key) AS event_key,
  assumeNotNull(occurred_us) AS us,
  nullIf(joinGet('people', 'person_key', assumeNotNull(visitor_key)), 0) AS linked_key,
  assumeNotNull(coalesce(user_key, linked_key, visitor_key)) AS person_key,
  nullIf(joinGet('people', 'person_id', assumeNotNull(visitor_key)), '') AS linked_id,
  coalesce(user_id, linked_id, visitor_id) AS person_id,
  toLowCardinality(assumeNotNull(event_name)) AS name,
  assumeNotNull(event_name)
    IN ('page_ping', 'screen_ping', 'video_ping', 'user_engagement') AS is_ping,
  if(NOT is_ping AND (campaign_source IS NOT NULL OR campaign_medium IS NOT NULL
      OR campaign_name IS NOT NULL OR click_id_type IS NOT NULL),
    concat(ifNull(campaign_source, ''), '\\x1f', ifNull(campaign_medium, ''), '\\x1f',
      ifNull(campaign_name, ''), '\\x1f', ifNull(click_id_type, '')), NULL) AS campaign,
  visitor_id, source, page_host, page_path, referrer_host,
  campaign_source, campaign_medium, campaign_name, click_id_type,
  device_type, browser_name, os_name, country, is_bot, engaged_time_ms, revenue,
  consent_analytics, consent_marketing, consent_personalization
FROM file('{files}', Parquet)
WHERE NOT is_synthetic AND (user_key IS NOT NULL OR visitor_key IS NOT NULL)
"""

RUNS = """
CREATE TABLE runs ENGINE = MergeTree ORDER BY (person_key, us, event_key) AS
SELECT person_key, us, event_key, is_ping, campaign, opens_run,
  sum(opens_run) OVER (PARTITION BY person_key ORDER BY us, event_key) AS run
FROM (
  SELECT person_key, us, event_key, is_ping, campaign,
    row_number() OVER in_time = 1 OR us - lagInFrame(us) OVER in_time > {timeout} AS opens_run
  FROM sorted
  WINDOW in_time AS (PARTITION BY person_key ORDER BY us, event_key
    ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
"""

STRETCHES = """
CREATE TABLE stretches ENGINE = MergeTree ORDER BY (person_key, us, event_key) AS
SELECT person_key, us, event_key, is_ping, opens_run,
  sum(opens_run OR is_cut) OVER (PARTITION BY person_key ORDER BY us, event_key) AS stretch
FROM (
  SELECT *, NOT opens_run AND campaign IS NOT NULL
      AND (campaign_before IS NULL OR campaign_before != campaign) AS is_cut
  FROM (
    SELECT *, anyLast(campaign) OVER (PARTITION BY person_key, run ORDER BY us, event_key
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS campaign_before
    FROM runs
  )
)
"""

LONG = """
CREATE TABLE long ENGINE = Join(ANY, LEFT, person_key, stretch) AS
SELECT person_key, stretch, arrayFold(
    (cuts, at) -> if(at - cuts[-1] > {longest}, arrayPushBack(cuts, at), cuts),
    arraySort(groupArray(us)), [min(us)]) AS starts
FROM stretches GROUP BY person_key, stretch HAVING max(us) - min(us) > {longest}
"""

PLACED = """
CREATE TABLE placed ENGINE = MergeTree ORDER BY (person_key, us, event_key) AS
SELECT person_key, us, event_key, stretch, part,
  max(us) OVER (PARTITION BY person_key, stretch, part) AS last_us,
  first_value(event_key) OVER in_session AS session_key,
  row_number() OVER in_session AS event_number,
  sum(NOT is_ping) OVER (PARTITION BY person_key, stretch, part) > 0 AS is_session,
  first_value(if(part > 1, 'max_duration', if(opens_run, 'timeout', 'campaign')))
    OVER in_session AS cut_reason
FROM (
  SELECT *, greatest(arrayCount(start -> start <= us,
    joinGet('long', 'starts', person_key, stretch)), 1) AS part
  FROM stretches
)
WINDOW in_session AS (PARTITION BY person_key, stretch, part ORDER BY us, event_key
  ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
"""

SESSION_EVENTS = """
INSERT INTO FUNCTION file('{folder}/session_events.parquet', Parquet)
SELECT p.event_key, p.session_key, p.person_key, s.name AS event_name, p.us AS occurred_us,
  p.event_number,
  toDate(fromUnixTimestamp64Micro(p.us, 'UTC')) AS event_date
FROM placed AS p ANY JOIN sorted AS s USING (person_key, us, event_key)
WHERE p.is_session
SETTINGS join_algorithm = 'full_sorting_merge'
"""

SESSIONS = """
INSERT INTO FUNCTION file('{folder}/sessions.parquet', Parquet)
SELECT *, if(cut_reason = 'timeout' AND row_number() OVER (
    PARTITION BY person_key ORDER BY started_at, session_key) = 1, 'first', cut_reason) AS reason
FROM (
  SELECT
    concat('s_', toString(person_key), '_', toString(session_key)) AS session_id,
    session_key, argMin(person_id, event_number) AS person_id, person_key,
    argMin(visitor_id, event_number) AS visitor_id, argMin(source, event_number) AS source,
    fromUnixTimestamp64Micro(min(us), 'UTC') AS started_at,
    fromUnixTimestamp64Micro(max(us), 'UTC') AS ended_at, toDate(started_at) AS session_date,
    (max(us) - min(us)) / 1e6 AS duration_s, any(cut_reason) AS cut_reason, count() AS events,
    countIf(name IN ('page_view', 'screen_view')) AS page_views,
    sum(engaged_time_ms) / 1000 AS engaged_time_s,
    ifNull(engaged_time_s > {engaged_s}, false) OR conversions > 0 OR page_views >= 2 AS is_engaged,
    NOT is_engaged AS is_bounce,
    argMinIf(page_host, event_number, page_host IS NOT NULL) AS landing_host,
    argMinIf(page_path, event_number, page_path IS NOT NULL) AS landing_path,
    argMaxIf(page_path, event_number, page_path IS NOT NULL) AS exit_path,
    argMinIf(tuple(referrer_host, device_type, browser_name, os_name, country),
      event_number, event_number = 1) AS of_first,
    argMinIf(tuple(campaign_source, campaign_medium, campaign_name, click_id_type),
      event_number, event_number = 1 AND NOT is_ping) AS of_link,
    argMax(tuple(consent_analytics, consent_marketing, consent_personalization), event_number)
      AS of_last,
    countIf(name IN ({conversions})) AS conversions,
    sumIf(revenue, name IN ({conversions})) AS revenue,
    sum(toInt64(round(exp2(-((last_us - us) / {half_life})) * {weight} * 1000000))) / 1000000
      AS engagement_points,
    max(is_bot) AS is_bot
  FROM placed AS p ANY JOIN sorted AS s USING (person_key, us, event_key)
  WHERE p.is_session
  GROUP BY person_key, session_key
)
SETTINGS join_algorithm = 'full_sorting_merge'
"""

CHECKS = """
SELECT count(), sum(events), sum(page_views), sum(conversions), sum(revenue),
  sum(engagement_points), countIf(is_bounce), sum(session_key % 1000003),
  countIf(reason = 'campaign'), countIf(reason = 'max_duration'), countIf(reason = 'first')
FROM file('{folder}/sessions.parquet', Parquet)
"""
"""The figures of `CHECKED`, in its order."""

CHECKED = ("sessions", "placed_events", "page_views", "conversions", "revenue", "points", "bounces",
           "keys", "campaign_cuts", "long_cuts", "first_sessions")  # fmt: skip
"""What both sides must agree on."""


class Policy(NamedTuple):
    """The session policy and definitions, as numbers."""

    timeout_us: int
    longest_us: int
    half_life_us: int
    engaged_s: float
    weights: Mapping[str, float]
    otherwise: float
    conversions: Iterable[str]


def make_sessions(data: Path, folder: Path, policy: Policy) -> None:
    """Make ``sessions.parquet`` and ``session_events.parquet``.

    Args:
        data: Data folder whose lake holds ``events`` and ``identity_map``.
        folder: Empty folder for both files and for what chDB stores in between.
        policy: The policy; that of the platform.
    """
    events, people = (f"{data}/lake/{name}" for name in ("events", "identity_map"))
    weights = policy.weights.items()
    values = {
        "timeout": policy.timeout_us,
        "longest": policy.longest_us,
        "half_life": policy.half_life_us,
        "engaged_s": policy.engaged_s,
        "conversions": quoted(policy.conversions),
        "weight": f"transform(name, [{quoted(name for name, _ in weights)}], "
        f"[{', '.join(str(weight) for _, weight in weights)}], {policy.otherwise})",
        "folder": folder,
    }
    statements = (
        SETTINGS,
        PEOPLE.format(files=f"{people}/*.parquet"),
        SORTED.format(files=f"{events}/*/*/*.parquet"),
        *(text.format(**values) for text in (RUNS, STRETCHES, LONG, PLACED)),
        *(text.format(**values) for text in (SESSION_EVENTS, SESSIONS)),
    )
    run(folder / "chdb", statements)


def checked(folder: Path) -> dict[str, float]:
    """The figures of `CHECKED`, read from what `make_sessions` wrote."""
    row = run(folder / "checks", [CHECKS.format(folder=folder)]).strip().split(",")
    return dict(zip(CHECKED, map(float, row), strict=True))


def run(folder: Path, statements: Iterable[str]) -> str:
    """Run statements in a database of their own; return what the last one says, as CSV."""
    session: Any = Session(str(folder))  # type: ignore[no-untyped-call,unused-ignore]  # of chDB, where it is installed
    said = [str(session.query(statement, "CSV")) for statement in statements]
    session.close()
    return said[-1]


def quoted(names: Iterable[str]) -> str:
    """Names as a list of SQL."""
    return ", ".join(f"'{name}'" for name in names)
