-- Sessions of a stretch of events, for DuckDB; equal, row by row, to `place_events`,
-- `summarize_sessions`, `session_events` and `sessionless_events`, at a third of their cost.
--
-- Reads   source_events  events with the columns of `rebuild.COLUMNS`, synthetic ones left out
--         people         identity map
--         names          event_name, name_id, is_ping, is_page_view, is_logout, weight,
--                        is_conversion, counts_revenue
--         restarts       event_key, restart_reason, campaign_so_far, user_so_far: events known to
--                        start a session
--         variables      timeout_us, max_duration_us, max_events, half_life_us, cuts_on_campaign,
--                        open_from_us (null where nothing stays open), engaged_after_ms,
--                        point_steps, buckets, server
-- Makes   made_sessions, made_session_events, made_sessionless_events, and of sessions that stay
--         open: carried_events and carried_restarts.
--
-- A statement is run by the name above it. The cost lies in sorting, so events are sorted once and
-- numbered (rn); after that a session is a range of numbers. Events of servers are not among them:
-- they join a session once its range is known.

-- name: floor_div
-- Operator // rounds towards zero: with it, what happened before 1970 would share a day with 1970.
CREATE OR REPLACE TEMP MACRO floor_div(a, b) AS a // b - CAST(a % b < 0 AS BIGINT);

-- name: sort
-- Windows without an order stream over the sorted rows.
CREATE OR REPLACE TEMP TABLE sorted AS
WITH light AS (
  SELECT
    e.event_key,
    e.occurred_us AS us,
    coalesce(e.user_key, m.person_key, e.visitor_key) AS person_key,
    n.name_id,
    n.is_ping,
    n.is_page_view,
    e.engaged_time_ms,
    e.is_bot,
    e.page_host IS NOT NULL AS has_host,
    e.page_path IS NOT NULL AS has_path,
    coalesce(
      CASE
        WHEN getvariable('cuts_on_campaign') AND NOT n.is_ping AND (
          e.campaign_source IS NOT NULL OR e.campaign_medium IS NOT NULL
          OR e.campaign_name IS NOT NULL OR e.click_id_type IS NOT NULL
        )
        THEN coalesce(e.campaign_source, '') || chr(31) || coalesce(e.campaign_medium, '')
          || chr(31) || coalesce(e.campaign_name, '') || chr(31) || coalesce(e.click_id_type, '')
      END,
      r.campaign_so_far
    ) AS campaign,
    r.restart_reason
  FROM source_events AS e
  JOIN names AS n ON n.event_name = e.event_name
  LEFT JOIN (SELECT visitor_key, person_key FROM people WHERE NOT is_shared) AS m
    ON m.visitor_key = e.visitor_key
  LEFT JOIN restarts AS r ON r.event_key = e.event_key
  WHERE (e.user_key IS NOT NULL OR e.visitor_key IS NOT NULL)
    AND e.platform IS DISTINCT FROM getvariable('server')
),
in_time AS (SELECT * FROM light ORDER BY person_key, us, event_key),
numbered AS (
  SELECT
    *,
    row_number() OVER () AS rn,
    lag(us) OVER () AS us_before,
    lag(person_key) OVER () AS person_before
  FROM in_time
)
SELECT
  * EXCLUDE (us_before, person_before),
  restart_reason IS NOT NULL
    OR person_before IS DISTINCT FROM person_key
    OR us - us_before > getvariable('timeout_us') AS opens_run
FROM numbered;

-- name: campaigns
-- Events that carry a campaign, and the one before in the same run.
CREATE OR REPLACE TEMP TABLE campaigns AS
SELECT
  *,
  lag(campaign) OVER (PARTITION BY run_rn ORDER BY rn) AS campaign_before
FROM (
  SELECT c.rn, c.campaign, c.opens_run, r.rn AS run_rn
  FROM (SELECT rn, campaign, opens_run FROM sorted WHERE campaign IS NOT NULL) AS c
  ASOF JOIN (SELECT rn FROM sorted WHERE opens_run) AS r ON c.rn >= r.rn
);

-- name: cuts
CREATE OR REPLACE TEMP TABLE cuts AS
SELECT rn, 'campaign' AS cut_reason FROM campaigns
WHERE NOT opens_run AND campaign IS DISTINCT FROM campaign_before;

-- name: zone
-- Offsets of the property's zone in the time of these events, as the numbers in ZONE_OFFSETS.
CREATE OR REPLACE TEMP TABLE zone AS
SELECT unnest(getvariable('zone_from_us')) AS from_us,
  unnest(getvariable('zone_offset_us')) AS offset_us;

-- name: marks
-- What the other cuts look at, of every event.
CREATE OR REPLACE TEMP TABLE marks AS
SELECT
  s.rn,
  s.opens_run,
  n.is_logout,
  CASE WHEN NOT s.is_ping THEN coalesce(e.user_key, r.user_so_far) ELSE r.user_so_far END
    AS seen_user_key,
  floor_div(s.us + z.offset_us, 86400000000) AS local_day
FROM sorted AS s
JOIN names AS n ON n.name_id = s.name_id
JOIN source_events AS e ON e.event_key = s.event_key
LEFT JOIN restarts AS r ON r.event_key = s.event_key
ASOF JOIN zone AS z ON s.us >= z.from_us;

-- name: other_cuts
INSERT INTO cuts
SELECT rn, cut_reason
FROM (
  SELECT
    rn,
    opens_run,
    CASE
      WHEN getvariable('cuts_on_logout') AND lag(is_logout) OVER in_time THEN 'logout'
      WHEN getvariable('cuts_on_identity') AND seen_user_key IS NOT NULL
        AND seen_user_key IS DISTINCT FROM last_value(seen_user_key IGNORE NULLS) OVER so_far THEN 'identity'
      WHEN getvariable('cuts_at_midnight') AND local_day <> lag(local_day) OVER in_time
        THEN 'midnight'
    END AS cut_reason
  FROM (
    SELECT *, sum(CAST(opens_run AS BIGINT)) OVER (ORDER BY rn ROWS UNBOUNDED PRECEDING) AS run
    FROM marks
  )
  WINDOW
    in_time AS (ORDER BY rn),
    so_far AS (PARTITION BY run ORDER BY rn ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
WHERE NOT opens_run AND cut_reason IS NOT NULL AND rn NOT IN (SELECT rn FROM cuts);

-- name: starts
CREATE OR REPLACE TEMP TABLE starts AS
SELECT rn, coalesce(restart_reason, 'timeout') AS cut_reason FROM sorted WHERE opens_run
UNION ALL
FROM cuts;

-- name: stretches
CREATE OR REPLACE TEMP TABLE placed AS
SELECT
  rn,
  max(CASE WHEN opens_run OR is_cut THEN rn END) OVER (ROWS UNBOUNDED PRECEDING) AS start_rn
FROM (
  SELECT s.rn, s.opens_run, c.rn IS NOT NULL AS is_cut
  FROM sorted AS s
  LEFT JOIN (SELECT rn FROM cuts) AS c ON c.rn = s.rn
  ORDER BY s.rn
);

-- name: long_stretches
CREATE OR REPLACE TEMP TABLE long_stretches AS
SELECT start_rn FROM placed JOIN sorted USING (rn)
GROUP BY start_rn
HAVING max(us) - min(us) > getvariable('max_duration_us') OR count(*) > getvariable('max_events');

-- name: cut_long_stretches
-- One cut after the other: the first event that is too far from the cut before, or one too many.
INSERT INTO starts
WITH RECURSIVE long_events AS (
  SELECT p.start_rn, p.rn, s.us FROM placed AS p JOIN sorted AS s USING (rn)
  WHERE p.start_rn IN (FROM long_stretches)
),
cuts AS (
  SELECT start_rn, rn, us, '' AS cut_reason FROM long_events WHERE rn = start_rn
  UNION ALL
  SELECT
    e.start_rn,
    min(e.rn),
    arg_min(e.us, e.rn),
    arg_min(
      CASE WHEN e.us - c.us > getvariable('max_duration_us') THEN 'max_duration' ELSE 'max_events' END,
      e.rn
    )
  FROM cuts AS c
  JOIN long_events AS e
    ON e.start_rn = c.start_rn
    AND (e.us - c.us > getvariable('max_duration_us') OR e.rn - c.rn >= getvariable('max_events'))
    AND e.rn > c.rn
  GROUP BY e.start_rn
)
SELECT rn, cut_reason FROM cuts WHERE rn <> start_rn;

-- name: place_long_stretches
UPDATE placed SET start_rn = c.start_rn
FROM (
  SELECT p.rn, s.rn AS start_rn
  FROM (SELECT rn FROM placed WHERE start_rn IN (FROM long_stretches)) AS p
  ASOF JOIN starts AS s ON p.rn >= s.rn
) AS c
WHERE c.rn = placed.rn;

-- name: sums
CREATE OR REPLACE TEMP TABLE sums AS
SELECT
  p.start_rn,
  any_value(s.person_key) AS person_key,
  max(s.event_key) FILTER (WHERE p.rn = p.start_rn) AS session_key,
  count(*) AS events,
  min(s.us) AS start_us,
  max(s.us) AS end_us,
  count(*) FILTER (WHERE NOT s.is_ping) AS real_events,
  count(*) FILTER (WHERE s.is_page_view) AS page_views,
  sum(s.engaged_time_ms) AS engaged_ms,
  bool_or(s.is_bot) AS is_bot,
  min(p.rn) FILTER (WHERE s.has_host) AS host_rn,
  min(p.rn) FILTER (WHERE s.has_path) AS landing_rn,
  max(p.rn) FILTER (WHERE s.has_path) AS exit_rn
FROM placed AS p
JOIN sorted AS s ON s.rn = p.rn
GROUP BY p.start_rn;

-- name: server_events
-- Events of servers, and the session of what their person did before, no more than the timeout ago.
CREATE OR REPLACE TEMP TABLE server_events AS
WITH theirs AS (
  SELECT
    e.event_key,
    e.occurred_us AS us,
    coalesce(e.user_key, m.person_key, e.visitor_key) AS person_key,
    n.name_id
  FROM source_events AS e
  JOIN names AS n ON n.event_name = e.event_name
  LEFT JOIN (SELECT visitor_key, person_key FROM people WHERE NOT is_shared) AS m
    ON m.visitor_key = e.visitor_key
  WHERE e.platform = getvariable('server')
    AND (e.user_key IS NOT NULL OR e.visitor_key IS NOT NULL)
),
done AS (
  SELECT person_key, us, max(rn) AS rn FROM sorted
  WHERE person_key IN (SELECT person_key FROM theirs)
  GROUP BY person_key, us
)
SELECT t.*, d.rn AS before_rn, p.start_rn
FROM theirs AS t
ASOF LEFT JOIN done AS d ON d.person_key = t.person_key AND t.us >= d.us
LEFT JOIN placed AS p ON p.rn = d.rn AND t.us - d.us <= getvariable('timeout_us');

-- name: attached
-- Those in a session, numbered within it.
CREATE OR REPLACE TEMP TABLE attached AS
SELECT
  v.*,
  row_number() OVER (PARTITION BY v.start_rn ORDER BY v.us, v.event_key) AS number
FROM server_events AS v
JOIN sums AS m ON m.start_rn = v.start_rn
WHERE m.real_events > 0;

-- name: shifts
-- How many of them come before an event of their session.
CREATE OR REPLACE TEMP TABLE shifts AS
SELECT p.rn, a.earlier
FROM (SELECT rn, start_rn FROM placed WHERE start_rn IN (SELECT start_rn FROM attached)) AS p
ASOF JOIN (
  SELECT start_rn, before_rn, max(number) AS earlier FROM attached GROUP BY start_rn, before_rn
) AS a ON a.start_rn = p.start_rn AND p.rn > a.before_rn;

-- name: heartbeats
-- Engaged time where no event reports any: the intervals of the heartbeat in which a ping came.
UPDATE sums SET engaged_ms = h.engaged_ms
FROM (
  SELECT
    p.start_rn,
    (count(DISTINCT floor_div(s.us, getvariable('heartbeat_us'))) - 1)
      * getvariable('heartbeat_us') // 1000 + getvariable('min_visit_ms') AS engaged_ms
  FROM placed AS p
  JOIN sorted AS s ON s.rn = p.rn
  WHERE s.is_ping
  GROUP BY p.start_rn
) AS h
WHERE h.start_rn = sums.start_rn AND sums.engaged_ms IS NULL;

-- name: open_sessions
-- A person's last session, where later events may belong to it.
CREATE OR REPLACE TEMP TABLE open_sessions AS
SELECT start_rn, events FROM sums
WHERE end_us >= getvariable('open_from_us')
QUALIFY start_rn = max(start_rn) OVER (PARTITION BY person_key);

-- name: carried_restarts
CREATE OR REPLACE TEMP TABLE carried_restarts AS
SELECT
  any_value(s.event_key) AS event_key,
  any_value(w.cut_reason) AS restart_reason,
  arg_max(c.campaign, c.rn) FILTER (WHERE c.rn < o.start_rn + o.events) AS campaign_so_far,
  CAST(NULL AS BIGINT) AS user_so_far
FROM (
  SELECT o.start_rn, o.events, r.rn AS run_rn
  FROM open_sessions AS o
  ASOF JOIN (SELECT rn FROM sorted WHERE opens_run) AS r ON o.start_rn >= r.rn
) AS o
JOIN sorted AS s ON s.rn = o.start_rn
JOIN starts AS w ON w.rn = o.start_rn
LEFT JOIN campaigns AS c ON c.run_rn = o.run_rn
GROUP BY o.start_rn;

-- name: carried_users
UPDATE carried_restarts SET user_so_far = u.user_so_far
FROM (
  SELECT any_value(s.event_key) AS event_key, arg_max(m.seen_user_key, m.rn) AS user_so_far
  FROM (
    SELECT o.start_rn, o.events, r.rn AS run_rn
    FROM open_sessions AS o
    ASOF JOIN (SELECT rn FROM sorted WHERE opens_run) AS r ON o.start_rn >= r.rn
  ) AS o
  JOIN sorted AS s ON s.rn = o.start_rn
  JOIN marks AS m ON m.rn BETWEEN o.run_rn AND o.start_rn + o.events - 1
  GROUP BY o.start_rn
) AS u
WHERE u.event_key = carried_restarts.event_key;

-- name: carried_events
CREATE OR REPLACE TEMP TABLE next_events AS
SELECT * FROM source_events WHERE event_key IN (
  SELECT s.event_key FROM placed AS p JOIN sorted AS s ON s.rn = p.rn
  WHERE p.start_rn IN (SELECT start_rn FROM open_sessions)
  UNION ALL
  SELECT event_key FROM server_events WHERE start_rn IN (SELECT start_rn FROM open_sessions)
);

-- name: closed
CREATE OR REPLACE TEMP TABLE closed AS
SELECT m.*, w.cut_reason
FROM sums AS m
JOIN starts AS w ON w.rn = m.start_rn
WHERE m.start_rn NOT IN (SELECT start_rn FROM open_sessions);

-- name: session_events
CREATE OR REPLACE TEMP TABLE made_session_events AS
SELECT
  s.event_key,
  c.session_key,
  s.person_key,
  n.event_name,
  s.us AS occurred_us,
  p.rn - p.start_rn + 1 + coalesce(h.earlier, 0) AS event_number,
  CAST(make_timestamp(s.us) AS DATE) AS event_date,
  CAST(s.person_key % getvariable('buckets') AS INTEGER) AS bucket
FROM placed AS p
JOIN closed AS c ON c.start_rn = p.start_rn
JOIN sorted AS s ON s.rn = p.rn
JOIN names AS n ON n.name_id = s.name_id
LEFT JOIN shifts AS h ON h.rn = p.rn
WHERE c.real_events > 0
UNION ALL
SELECT
  a.event_key,
  c.session_key,
  a.person_key,
  n.event_name,
  a.us,
  a.before_rn - a.start_rn + 1 + a.number,
  CAST(make_timestamp(a.us) AS DATE),
  CAST(a.person_key % getvariable('buckets') AS INTEGER)
FROM attached AS a
JOIN closed AS c ON c.start_rn = a.start_rn
JOIN names AS n ON n.name_id = a.name_id;

-- name: sessionless_events
CREATE OR REPLACE TEMP TABLE made_sessionless_events AS
SELECT
  s.event_key,
  s.person_key,
  'only_pings' AS reason,
  n.event_name,
  s.us AS occurred_us,
  CAST(make_timestamp(s.us) AS DATE) AS event_date
FROM placed AS p
JOIN closed AS c ON c.start_rn = p.start_rn AND c.real_events = 0
JOIN sorted AS s ON s.rn = p.rn
JOIN names AS n ON n.name_id = s.name_id
UNION ALL
SELECT
  v.event_key,
  v.person_key,
  'no_open_session',
  n.event_name,
  v.us,
  CAST(make_timestamp(v.us) AS DATE)
FROM server_events AS v
JOIN names AS n ON n.name_id = v.name_id
LEFT JOIN closed AS c ON c.start_rn = v.start_rn
WHERE v.start_rn IS NULL OR c.real_events = 0
UNION ALL
SELECT event_key, NULL, 'no_person', event_name, occurred_us, event_date
FROM source_events WHERE user_key IS NULL AND visitor_key IS NULL;

-- name: points
CREATE OR REPLACE TEMP TABLE points_of AS
SELECT
  p.start_rn,
  sum(CAST(round(
    pow(2.0, -(greatest(c.end_us - p.us, 0) / getvariable('half_life_us')))
    * n.weight * getvariable('point_steps')
  ) AS BIGINT)) AS point_steps
FROM (
  SELECT p.start_rn, s.us, s.name_id FROM placed AS p JOIN sorted AS s ON s.rn = p.rn
  UNION ALL
  SELECT start_rn, us, name_id FROM attached
) AS p
JOIN closed AS c ON c.start_rn = p.start_rn
JOIN names AS n ON n.name_id = p.name_id
WHERE c.real_events > 0
GROUP BY p.start_rn;

-- name: converted
-- Conversions, each order of a session once.
CREATE OR REPLACE TEMP TABLE converted AS
WITH found AS (
  SELECT p.start_rn, p.rn, 0 AS number, s.event_key, n.counts_revenue
  FROM sorted AS s
  JOIN names AS n ON n.name_id = s.name_id AND n.is_conversion
  JOIN placed AS p ON p.rn = s.rn
  UNION ALL
  SELECT a.start_rn, a.before_rn, a.number, a.event_key, n.counts_revenue
  FROM attached AS a
  JOIN names AS n ON n.name_id = a.name_id AND n.is_conversion
),
numbered AS (
  SELECT
    f.start_rn,
    f.counts_revenue,
    e.order_id,
    e.revenue,
    row_number() OVER (PARTITION BY f.start_rn, e.order_id ORDER BY f.rn, f.number) AS repetition
  FROM found AS f
  JOIN source_events AS e ON e.event_key = f.event_key
)
SELECT
  start_rn,
  count(*) AS conversions,
  sum(revenue) FILTER (WHERE counts_revenue) AS revenue
FROM numbered
WHERE order_id IS NULL OR order_id = '' OR repetition = 1
GROUP BY start_rn;

-- name: first_rows
CREATE OR REPLACE TEMP TABLE first_rows AS
SELECT
  c.*,
  coalesce(e.user_id, m.person_id, e.visitor_id) AS person_id,
  e.visitor_id,
  e.source,
  e.page_host,
  e.page_path,
  e.referrer_host,
  -- A page left open keeps the campaign in its address: a ping brings nobody.
  CASE WHEN NOT n.is_ping THEN e.campaign_source END AS campaign_source,
  CASE WHEN NOT n.is_ping THEN e.campaign_medium END AS campaign_medium,
  CASE WHEN NOT n.is_ping THEN e.campaign_name END AS campaign_name,
  CASE WHEN NOT n.is_ping THEN e.click_id_type END AS click_id_type,
  e.device_type,
  e.browser_name,
  e.os_name,
  e.country,
  e.consent_analytics,
  e.consent_marketing,
  e.consent_personalization
FROM closed AS c
JOIN source_events AS e ON e.event_key = c.session_key
JOIN names AS n ON n.event_name = e.event_name
LEFT JOIN (SELECT visitor_key, person_id FROM people WHERE NOT is_shared) AS m
  ON m.visitor_key = e.visitor_key
WHERE c.real_events > 0;

-- name: other_rows
-- What a session takes from events that are not its first.
CREATE OR REPLACE TEMP TABLE other_rows AS
SELECT
  r.start_rn,
  r.is_last,
  r.is_host,
  r.is_landing,
  r.is_exit,
  e.page_host,
  e.page_path,
  e.consent_analytics,
  e.consent_marketing,
  e.consent_personalization
FROM (
  SELECT
    start_rn,
    rn,
    bool_or(role = 'last') AS is_last,
    bool_or(role = 'host') AS is_host,
    bool_or(role = 'landing') AS is_landing,
    bool_or(role = 'exit') AS is_exit
  FROM (
    SELECT start_rn, start_rn + events - 1 AS rn, 'last' AS role FROM closed WHERE real_events > 0
    UNION ALL SELECT start_rn, host_rn, 'host' FROM closed WHERE real_events > 0
    UNION ALL SELECT start_rn, landing_rn, 'landing' FROM closed WHERE real_events > 0
    UNION ALL SELECT start_rn, exit_rn, 'exit' FROM closed WHERE real_events > 0
  )
  WHERE rn > start_rn
  GROUP BY start_rn, rn
) AS r
JOIN sorted AS s ON s.rn = r.rn
JOIN source_events AS e ON e.event_key = s.event_key;

-- name: links
-- Channels are named once per link, not once per session: the rules are many.
CREATE OR REPLACE TEMP TABLE links AS
SELECT DISTINCT
  f.campaign_source,
  f.campaign_medium,
  f.campaign_name,
  f.click_id_type,
  f.referrer_host,
  CASE WHEN f.host_rn = f.start_rn THEN f.page_host ELSE h.page_host END AS landing_host
FROM first_rows AS f
LEFT JOIN (FROM other_rows WHERE is_host) AS h ON h.start_rn = f.start_rn;

-- name: sessions
CREATE OR REPLACE TEMP TABLE made_sessions AS
SELECT
  's_' || f.person_key || '_' || f.session_key AS session_id,
  f.session_key,
  f.person_id,
  f.person_key,
  f.visitor_id,
  f.source,
  make_timestamptz(f.start_us) AS started_at,
  make_timestamptz(f.end_us) AS ended_at,
  CAST(make_timestamp(f.start_us) AS DATE) AS session_date,
  CAST(f.person_key % getvariable('buckets') AS INTEGER) AS bucket,
  (f.end_us - f.start_us) / 1e6 AS duration_s,
  f.cut_reason,
  f.events + coalesce(v.server_events, 0) AS events,
  f.page_views,
  f.engaged_ms / 1000.0 AS engaged_time_s,
  coalesce(f.engaged_ms > getvariable('engaged_after_ms'), false)
    OR coalesce(c.conversions, 0) > 0 OR f.page_views >= 2 AS is_engaged,
  NOT is_engaged AS is_bounce,
  CASE WHEN f.host_rn = f.start_rn THEN f.page_host ELSE h.page_host END AS landing_host,
  CASE WHEN f.landing_rn = f.start_rn THEN f.page_path ELSE g.page_path END AS landing_path,
  CASE WHEN f.exit_rn = f.start_rn THEN f.page_path ELSE x.page_path END AS exit_path,
  f.referrer_host,
  f.campaign_source,
  f.campaign_medium,
  f.campaign_name,
  f.click_id_type,
  f.device_type,
  f.browser_name,
  f.os_name,
  f.country,
  coalesce(c.conversions, 0) AS conversions,
  CAST(coalesce(c.revenue, 0) AS DECIMAL(18, 4)) AS revenue,
  p.point_steps / getvariable('point_steps') AS engagement_points,
  f.is_bot,
  CASE WHEN f.events = 1 THEN f.consent_analytics ELSE l.consent_analytics END AS consent_analytics,
  CASE WHEN f.events = 1 THEN f.consent_marketing ELSE l.consent_marketing END AS consent_marketing,
  CASE WHEN f.events = 1 THEN f.consent_personalization ELSE l.consent_personalization END
    AS consent_personalization,
  k.channel
FROM first_rows AS f
JOIN points_of AS p ON p.start_rn = f.start_rn
LEFT JOIN converted AS c ON c.start_rn = f.start_rn
LEFT JOIN (SELECT start_rn, count(*) AS server_events FROM attached GROUP BY start_rn) AS v
  ON v.start_rn = f.start_rn
LEFT JOIN (FROM other_rows WHERE is_last) AS l ON l.start_rn = f.start_rn
LEFT JOIN (FROM other_rows WHERE is_host) AS h ON h.start_rn = f.start_rn
LEFT JOIN (FROM other_rows WHERE is_landing) AS g ON g.start_rn = f.start_rn
LEFT JOIN (FROM other_rows WHERE is_exit) AS x ON x.start_rn = f.start_rn
JOIN channels AS k
  ON k.campaign_source IS NOT DISTINCT FROM f.campaign_source
  AND k.campaign_medium IS NOT DISTINCT FROM f.campaign_medium
  AND k.campaign_name IS NOT DISTINCT FROM f.campaign_name
  AND k.click_id_type IS NOT DISTINCT FROM f.click_id_type
  AND k.referrer_host IS NOT DISTINCT FROM f.referrer_host
  AND k.landing_host IS NOT DISTINCT FROM
    CASE WHEN f.host_rn = f.start_rn THEN f.page_host ELSE h.page_host END;
