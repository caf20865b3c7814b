-- Who was asked and who agreed to measurement, by page, country and consent platform; and what would
-- be lost if only those were measured. A visitor counts where it was first seen in the period; events
-- that came without identifiers, because somebody said no, are lost events of no visitor.
-- Reads: events, consents. Grain: dimension, value.
WITH seen AS (
    SELECT
        coalesce(visitor_key, user_key) AS visitor,
        arg_min(page_path, (occurred_us, event_key)) AS page,
        arg_min(country, (occurred_us, event_key)) AS country,
        count(*) AS events
    FROM events
    WHERE
        event_date BETWEEN $first_date - 1 AND $last_date + 1
        AND occurred_at::DATE BETWEEN $first_date AND $last_date
        AND NOT is_bot
        AND NOT is_synthetic
        AND (visitor_key IS NOT NULL OR user_key IS NOT NULL)
    GROUP BY visitor
),

answers AS (
    SELECT
        coalesce(visitor_key, user_key) AS visitor,
        arg_max(consent_analytics, (valid_from_us, event_id)) AS answer,
        arg_max(cmp_version, (valid_from_us, event_id)) AS cmp_version
    FROM consents
    WHERE valid_from_at::DATE <= $last_date
    GROUP BY visitor
),

asked AS (
    SELECT page, country, cmp_version, events, answer, 1 AS people
    FROM seen
    LEFT JOIN answers USING (visitor)
    UNION ALL
    SELECT page_path, country, NULL, count(*), NULL, 0
    FROM events
    WHERE
        event_date BETWEEN $first_date - 1 AND $last_date + 1
        AND occurred_at::DATE BETWEEN $first_date AND $last_date
        AND NOT is_bot
        AND NOT is_synthetic
        AND visitor_key IS NULL
        AND user_key IS NULL
        AND NOT consent_analytics
    GROUP BY page_path, country
),

valued AS (
    SELECT
        unnest(['page', 'country', 'consent platform']) AS dimension,
        unnest([
            coalesce(page, '(none)'), coalesce(country, '(unknown)'),
            coalesce(cmp_version, '(not said)')
        ]) AS value,
        events,
        answer,
        people
    FROM asked
)

SELECT
    dimension,
    value,
    sum(people)::BIGINT AS visitors,
    count(*) FILTER (WHERE answer) AS granted,
    count(*) FILTER (WHERE NOT answer) AS refused,
    count(*) FILTER (WHERE answer IS NULL AND people = 1) AS unanswered,
    granted / nullif(granted + refused, 0) AS opt_in_rate,
    1 - granted / nullif(sum(people), 0) AS lost_visitors_share,
    coalesce(sum(events) FILTER (WHERE answer IS DISTINCT FROM true), 0)::BIGINT AS lost_events
FROM valued
GROUP BY dimension, value
ORDER BY dimension, 3 DESC, value
