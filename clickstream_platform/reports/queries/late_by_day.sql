-- Events that arrived after their date had been closed, by the day they arrived.
-- Reads: events. Grain: day, source.
SELECT
    received_at::DATE AS day,
    source,
    count(*) AS events
FROM events
WHERE
    is_late
    AND received_at::DATE BETWEEN $first_date AND $last_date
GROUP BY ALL
ORDER BY ALL
