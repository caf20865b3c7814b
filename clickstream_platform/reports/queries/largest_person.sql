-- The links of the person with the most identifiers, as shapes: numbers in place of pseudonyms.
-- Reads: identity_merges. Grain: identifier_id, other_id.
WITH people AS (
    SELECT person_key, count(*) AS links
    FROM identity_merges
    WHERE person_key IS NOT NULL
    GROUP BY person_key
),
theirs AS (
    SELECT *
    FROM identity_merges
    WHERE person_key = (
        SELECT person_key FROM people WHERE links <= 40 ORDER BY links DESC, person_key LIMIT 1
    )
),
names AS (
    SELECT id, kind || ' ' || row_number() OVER (PARTITION BY kind ORDER BY id) AS name
    FROM (
        SELECT identifier_type AS kind, identifier_id AS id FROM theirs
        UNION
        SELECT other_type, other_id FROM theirs
    )
)
SELECT
    t.identifier_type,
    a.name AS identifier_id,
    t.other_type,
    b.name AS other_id,
    t.cause,
    CAST(NULL AS TIMESTAMPTZ) AS valid_from_at,
    t.undone_by
FROM theirs AS t
JOIN names AS a ON a.id = t.identifier_id
JOIN names AS b ON b.id = t.other_id
ORDER BY identifier_id, other_id
