-- Sessions of people by the day they start, bots left out; a day without any is a zero.
-- Reads: sessions. Grain: day.
WITH counted AS (
    SELECT
        started_at::DATE AS day,
        count(*) AS sessions,
        count(DISTINCT person_key) AS people,
        count(*) FILTER (WHERE is_bounce) AS bounces
    FROM sessions
    WHERE
        session_date BETWEEN $first_date - 1 AND $last_date + 1
        AND NOT is_bot
    GROUP BY ALL
)
SELECT
    days.day::DATE AS day,
    coalesce(sessions, 0) AS sessions,
    coalesce(people, 0) AS people,
    coalesce(bounces, 0) AS bounces
FROM generate_series($first_date::DATE, $last_date::DATE, INTERVAL 1 DAY) AS days (day)
LEFT JOIN counted ON counted.day = days.day::DATE
ORDER BY 1
