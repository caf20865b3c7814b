-- Events that were counted without identifiers, most frequent pages first.
-- Reads: cookieless_counts. Grain: page, event_name.
SELECT
    page_host || CASE WHEN starts_with(page_path, '/') THEN '' ELSE ' ' END || page_path AS page,
    event_name,
    sum(events)::BIGINT AS events
FROM cookieless_counts
WHERE event_date BETWEEN $first_date AND $last_date
GROUP BY ALL
ORDER BY events DESC, page, event_name
