-- What each bot rule matched, and whether who it matched did what people do: clicked, engaged, converted
-- on the same day. `(no rule)` is everybody else, to compare with. Days are those of UTC.
-- Reads: events, bot_behaviour. Grain: rule.
WITH seen AS (
    SELECT
        event_date,
        visitor_key,
        event_name,
        bot_signals
    FROM events
    WHERE event_date BETWEEN $first_date AND $last_date AND NOT is_synthetic
),

days AS (
    SELECT
        visitor_key,
        event_date,
        bool_or(event_name = 'click') AS has_clicked,
        bool_or(event_name IN (SELECT unnest($conversions))) AS has_converted
    FROM seen
    WHERE visitor_key IS NOT NULL
    GROUP BY ALL
),

behaviour AS (
    SELECT
        visitor_key,
        event_date,
        events,
        engagements,
        bot_signals
    FROM bot_behaviour
    WHERE event_date BETWEEN $first_date AND $last_date
),

matched AS (
    SELECT
        visitor_key,
        event_date,
        unnest(string_split(bot_signals, ',')) AS rule,
        1 AS events
    FROM seen
    WHERE bot_signals IS NOT NULL
    UNION ALL
    SELECT
        visitor_key,
        event_date,
        unnest(string_split(bot_signals, ',')) AS rule,
        events
    FROM behaviour
    WHERE bot_signals IS NOT NULL
),

matches AS (
    SELECT
        rule,
        visitor_key,
        event_date,
        sum(events) AS events
    FROM matched
    GROUP BY ALL
    UNION ALL
    SELECT
        '(no rule)' AS rule,
        visitor_key,
        event_date,
        count(*) AS events
    FROM seen
    WHERE
        visitor_key IS NOT NULL
        AND (visitor_key, event_date) NOT IN (
            SELECT (visitor_key, event_date) FROM matched WHERE visitor_key IS NOT NULL
        )
    GROUP BY ALL
)

SELECT
    rule,
    sum(matches.events)::BIGINT AS events,
    count(DISTINCT matches.visitor_key) AS visitors,
    count(days.visitor_key) AS visitor_days,
    avg(days.has_clicked::INTEGER) AS click_rate,
    avg((behaviour.engagements > 0)::INTEGER) AS engagement_rate,
    avg(days.has_converted::INTEGER) AS conversion_rate
FROM matches
LEFT JOIN days USING (visitor_key, event_date)
LEFT JOIN behaviour USING (visitor_key, event_date)
GROUP BY rule
ORDER BY visitor_days DESC, rule
