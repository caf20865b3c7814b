-- How long sessions of people last, in bands that a reader can name.
-- Reads: sessions. Grain: band.
WITH bands (band_number, band, from_s, to_s) AS (
    VALUES
    (1, 'one event', 0, 0),
    (2, 'under 10 s', 0, 10),
    (3, '10–30 s', 10, 30),
    (4, '30–60 s', 30, 60),
    (5, '1–3 min', 60, 180),
    (6, '3–10 min', 180, 600),
    (7, '10–30 min', 600, 1800),
    (8, '30 min or more', 1800, 1e18)
)
SELECT
    band_number,
    band,
    count(sessions.session_key) AS sessions
FROM bands
LEFT JOIN sessions
    ON CASE
        WHEN sessions.events = 1 THEN band_number = 1
        ELSE sessions.duration_s >= from_s AND sessions.duration_s < to_s
    END
    AND sessions.session_date BETWEEN $first_date - 1 AND $last_date + 1
    AND sessions.started_at::DATE BETWEEN $first_date AND $last_date
    AND NOT sessions.is_bot
GROUP BY ALL
ORDER BY 1
