-- What cannot be added up from days: distinct people and medians.
-- Reads: sessions. Grain: one row.
SELECT
    count(*) AS sessions,
    count(DISTINCT person_key) AS people,
    count(DISTINCT person_key) FILTER (WHERE conversions > 0) AS buyers,
    coalesce(median(duration_s) FILTER (WHERE NOT is_bounce), 0) AS median_duration_s,
    coalesce(avg(is_bounce::INT), 0) AS bounce_rate
FROM sessions
WHERE
    session_date BETWEEN $first_date - 1 AND $last_date + 1
    AND started_at::DATE BETWEEN $first_date AND $last_date
    AND NOT is_bot
