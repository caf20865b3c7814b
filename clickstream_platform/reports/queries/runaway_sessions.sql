-- Sessions that were cut for their length until no person would have them.
-- Reads: runaway_sessions. Grain: source, is_bot.
SELECT
    source,
    is_bot,
    count(*) AS runaways,
    sum(sessions)::BIGINT AS sessions,
    sum(events)::BIGINT AS events,
    sum(event_cuts)::BIGINT AS event_cuts,
    sum(duration_cuts)::BIGINT AS duration_cuts,
    max(epoch(ended_at) - epoch(started_at)) AS longest_s
FROM runaway_sessions
WHERE started_at::DATE <= $last_date AND ended_at::DATE >= $first_date
GROUP BY ALL
ORDER BY events DESC, source, is_bot
