-- What each channel earned under each attribution model.
-- Reads: attribution_credits, conversions. Grain: model, channel.
SELECT
    credits.model,
    credits.channel,
    sum(credits.credit) AS conversions,
    sum(credits.revenue) AS revenue
FROM attribution_credits AS credits
INNER JOIN conversions USING (conversion_id)
WHERE
    credits.conversion_date BETWEEN $first_date - 1 AND $last_date + 1
    AND conversions.conversion_date BETWEEN $first_date - 1 AND $last_date + 1
    AND conversions.converted_at::DATE BETWEEN $first_date AND $last_date
GROUP BY ALL
ORDER BY 1, 3 DESC, 2
