-- What people of the shown sessions agreed to, purpose by purpose; unknown counts as no.
-- Reads: all_sessions. Grain: purpose, answer.
WITH answers AS (
    SELECT
        unnest(['analytics', 'marketing', 'personalization']) AS purpose,
        unnest([consent_analytics, consent_marketing, consent_personalization]) AS consent
    FROM all_sessions
    WHERE
        session_date BETWEEN $first_date - 1 AND $last_date + 1
        AND started_at::DATE BETWEEN $first_date AND $last_date
        AND NOT is_bot
)
SELECT
    purpose,
    CASE consent WHEN true THEN 'granted' WHEN false THEN 'refused' ELSE 'unknown' END AS answer,
    count(*) AS sessions
FROM answers
GROUP BY ALL
ORDER BY ALL
