-- When in the week sessions of people start; 1 is Monday.
-- Reads: sessions. Grain: weekday, hour.
SELECT
    isodow(started_at) AS weekday,
    hour(started_at) AS hour,
    count(*) AS sessions
FROM sessions
WHERE
    session_date BETWEEN $first_date - 1 AND $last_date + 1
    AND started_at::DATE BETWEEN $first_date AND $last_date
    AND NOT is_bot
GROUP BY ALL
ORDER BY ALL
