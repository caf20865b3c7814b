-- What sessions of people came through each channel.
-- Reads: sessions. Grain: channel.
SELECT
    channel,
    count(*) AS sessions,
    count(DISTINCT person_key) AS people,
    avg(is_bounce::INT) AS bounce_rate,
    avg((conversions > 0)::INT) AS conversion_rate
FROM sessions
WHERE
    session_date BETWEEN $first_date - 1 AND $last_date + 1
    AND started_at::DATE BETWEEN $first_date AND $last_date
    AND NOT is_bot
GROUP BY ALL
ORDER BY 2 DESC, 1
