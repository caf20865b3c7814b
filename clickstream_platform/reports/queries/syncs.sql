-- What was asked of each CRM, and how it ended.
-- Reads: crm_syncs. Grain: destination, operation, status.
SELECT
    destination,
    operation,
    status,
    count(*) AS records,
    max(synced_at) AS newest_at
FROM crm_syncs
GROUP BY ALL
ORDER BY ALL
