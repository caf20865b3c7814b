-- Pages on which most sessions of people begin.
-- Reads: sessions. Grain: landing_page.
SELECT
    coalesce(landing_path, '(no page)') AS landing_page,
    count(*) AS sessions,
    avg(is_bounce::INT) AS bounce_rate,
    avg((conversions > 0)::INT) AS conversion_rate,
    sum(revenue)::DOUBLE AS revenue
FROM sessions
WHERE
    session_date BETWEEN $first_date - 1 AND $last_date + 1
    AND started_at::DATE BETWEEN $first_date AND $last_date
    AND NOT is_bot
GROUP BY ALL
ORDER BY 2 DESC, 1
LIMIT 10
