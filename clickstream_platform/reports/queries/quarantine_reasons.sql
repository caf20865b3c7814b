-- Which rules the records in quarantine break, by source; a record may break several.
-- Reads: quarantined_events. Grain: source, code, field.
SELECT
    source,
    violation.code AS code,
    coalesce(violation.field, '') AS field,
    count(*) AS records
FROM (
    SELECT source, unnest(violations) AS violation
    FROM quarantined_events
    WHERE fate = 'quarantined'
)
GROUP BY ALL
ORDER BY 4 DESC, 1, 2, 3
LIMIT 12
