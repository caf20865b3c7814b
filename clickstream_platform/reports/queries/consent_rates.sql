-- Who was asked and who agreed to measurement, by page, country and consent platform; and what would
-- be lost if only those were measured. A visitor counts where it was first seen in the period.
-- Reads: events, consents. Grain: dimension, value.
WITH seen AS (
    SELECT
        coalesce(visitor_key, user_key) AS visitor,
        arg_min(page_path, occurred_us) AS page,
        arg_min(country, occurred_us) AS country,
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
        arg_max(consent_analytics, valid_from_us) AS answer,
        arg_max(cmp_version, valid_from_us) AS cmp_version
    FROM consents
    WHERE valid_from_at::DATE <= $last_date
    GROUP BY visitor
),

valued AS (
    SELECT
        unnest(['page', 'country', 'consent platform']) AS dimension,
        unnest([
            coalesce(page, '(none)'), coalesce(country, '(unknown)'),
            coalesce(cmp_version, '(not said)')
        ]) AS value,
        events,
        answer
    FROM seen
    LEFT JOIN answers USING (visitor)
)

SELECT
    dimension,
    value,
    count(*) AS visitors,
    count(*) FILTER (WHERE answer) AS granted,
    count(*) FILTER (WHERE NOT answer) AS refused,
    count(*) FILTER (WHERE answer IS NULL) AS unanswered,
    granted / nullif(granted + refused, 0) AS opt_in_rate,
    1 - granted / visitors AS lost_visitors_share,
    coalesce(sum(events) FILTER (WHERE answer IS DISTINCT FROM true), 0)::BIGINT AS lost_events
FROM valued
GROUP BY dimension, value
ORDER BY dimension, visitors DESC, value
