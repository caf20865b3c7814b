-- How many identifiers people have that were merged at all, in steps that a chart can hold.
-- Reads: identity_merges. Grain: identifiers.
WITH ends AS (
    SELECT person_key, identifier_key AS key FROM identity_merges WHERE person_key IS NOT NULL
    UNION
    SELECT person_key, other_key FROM identity_merges WHERE person_key IS NOT NULL
),
sizes AS (
    SELECT person_key, count(*) AS identifiers FROM ends GROUP BY ALL
)
SELECT
    CASE
        WHEN identifiers <= 9 THEN CAST(identifiers AS VARCHAR)
        WHEN identifiers <= 19 THEN '10 to 19'
        WHEN identifiers <= 49 THEN '20 to 49'
        ELSE '50 and more'
    END AS identifiers,
    count(*) AS people,
    min(identifiers) AS least
FROM sizes
GROUP BY 1
ORDER BY least
