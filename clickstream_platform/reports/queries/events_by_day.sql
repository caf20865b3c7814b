-- Events of people and of bots by day, without what browsers report; a day without any is a zero.
-- Reads: events. Grain: day, visitor_type.
WITH kinds AS (SELECT unnest(['People', 'Bots']) AS visitor_type),
counted AS (
    SELECT
        occurred_at::DATE AS day,
        if(is_bot, 'Bots', 'People') AS visitor_type,
        count(*) AS events
    FROM events
    WHERE
        event_date BETWEEN $first_date - 1 AND $last_date + 1
        AND NOT is_synthetic
        AND source <> 'csp_reports'
    GROUP BY ALL
)
SELECT
    days.day::DATE AS day,
    kinds.visitor_type,
    coalesce(counted.events, 0) AS events
FROM generate_series($first_date::DATE, $last_date::DATE, INTERVAL 1 DAY) AS days (day)
CROSS JOIN kinds
LEFT JOIN counted ON counted.day = days.day::DATE AND counted.visitor_type = kinds.visitor_type
ORDER BY 1, 2 DESC
