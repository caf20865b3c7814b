-- How fresh and how punctual each source is, and how often it repeats itself, over all its events.
-- Reads: events, duplicate_events. Grain: source.
WITH repeated AS (
    SELECT
        source,
        count(*) FILTER (WHERE NOT is_conflict) AS duplicates,
        count(*) FILTER (WHERE is_conflict) AS conflicts
    FROM duplicate_events
    GROUP BY ALL
)
SELECT
    events.source,
    count(*) AS events,
    max(events.occurred_at) AS newest_event_at,
    avg(events.is_late::INT) AS late_share,
    coalesce(any_value(repeated.duplicates), 0) AS duplicates,
    coalesce(any_value(repeated.conflicts), 0) AS conflicts,
    count(events.repairs) AS repaired
FROM events
LEFT JOIN repeated USING (source)
GROUP BY ALL
ORDER BY 1
