-- First and last day with an event of people or bots, in the reporting time zone.
-- Reads: events. Grain: one row.
SELECT
    min(occurred_at)::DATE AS first_date,
    max(occurred_at)::DATE AS last_date
FROM events
WHERE NOT is_synthetic
