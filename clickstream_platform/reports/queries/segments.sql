-- The catalogue of segments, with who came and went in the last seven days.
-- Reads: segments, segment_members. Grain: segment.
WITH moves AS (
    SELECT
        segment,
        count(*) FILTER (WHERE since_at > $now::TIMESTAMPTZ - INTERVAL 7 DAYS) AS joined,
        count(*) FILTER (WHERE until_at > $now::TIMESTAMPTZ - INTERVAL 7 DAYS) AS departed
    FROM segment_members
    GROUP BY ALL
)
SELECT
    segments.segment,
    segments.description,
    segments.owner,
    segments.purpose,
    segments.expires_on,
    segments.is_expired,
    segments.members,
    coalesce(moves.joined, 0) AS joined,
    coalesce(moves.departed, 0) AS departed,
    segments.evaluated_at
FROM segments
LEFT JOIN moves USING (segment)
ORDER BY segments.members DESC, segments.segment
