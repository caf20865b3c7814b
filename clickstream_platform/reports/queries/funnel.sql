-- People who came so far on the way to a purchase, each step at or after the one before; bots left
-- out. The device is that of the session in which a person first saw an item.
-- Reads: session_events, sessions. Grain: device_type, step_number.
WITH people AS (
    SELECT
        session_events.person_key,
        session_events.event_name,
        session_events.occurred_us,
        coalesce(sessions.device_type, 'unknown') AS device_type
    FROM session_events
    INNER JOIN sessions USING (session_key)
    WHERE
        session_events.event_date BETWEEN $first_date - 1 AND $last_date + 1
        AND make_timestamptz(session_events.occurred_us)::DATE BETWEEN $first_date AND $last_date
        AND session_events.event_name IN ('view_item', 'add_to_cart', 'begin_checkout', 'purchase')
        AND NOT sessions.is_bot
),
viewed AS (
    SELECT
        person_key,
        arg_min(device_type, occurred_us) AS device_type,
        min(occurred_us) AS at_us
    FROM people
    WHERE event_name = 'view_item'
    GROUP BY ALL
),
added AS (
    SELECT person_key, min(occurred_us) AS at_us
    FROM people INNER JOIN viewed USING (person_key)
    WHERE event_name = 'add_to_cart' AND occurred_us >= viewed.at_us
    GROUP BY ALL
),
began AS (
    SELECT person_key, min(occurred_us) AS at_us
    FROM people INNER JOIN added USING (person_key)
    WHERE event_name = 'begin_checkout' AND occurred_us >= added.at_us
    GROUP BY ALL
),
bought AS (
    SELECT person_key, min(occurred_us) AS at_us
    FROM people INNER JOIN began USING (person_key)
    WHERE event_name = 'purchase' AND occurred_us >= began.at_us
    GROUP BY ALL
),
reached AS (
    SELECT
        viewed.device_type,
        count(*) AS view_item,
        count(added.at_us) AS add_to_cart,
        count(began.at_us) AS begin_checkout,
        count(bought.at_us) AS purchase
    FROM viewed
    LEFT JOIN added USING (person_key)
    LEFT JOIN began USING (person_key)
    LEFT JOIN bought USING (person_key)
    GROUP BY ALL
)
SELECT
    device_type,
    step_number,
    [view_item, add_to_cart, begin_checkout, purchase][step_number] AS people
FROM reached
CROSS JOIN generate_series(1, 4) AS steps (step_number)
ORDER BY ALL
