-- Conversions and their revenue by day; a day without any is a zero.
-- Reads: conversions. Grain: day.
WITH counted AS (
    SELECT
        converted_at::DATE AS day,
        count(*) AS conversions,
        sum(revenue)::DOUBLE AS revenue
    FROM conversions
    WHERE conversion_date BETWEEN $first_date - 1 AND $last_date + 1
    GROUP BY ALL
)
SELECT
    days.day::DATE AS day,
    coalesce(conversions, 0) AS conversions,
    coalesce(revenue, 0) AS revenue
FROM generate_series($first_date::DATE, $last_date::DATE, INTERVAL 1 DAY) AS days (day)
LEFT JOIN counted ON counted.day = days.day::DATE
ORDER BY 1
