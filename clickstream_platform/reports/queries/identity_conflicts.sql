-- Identifiers and people that were not merged, by why.
-- Reads: identity_conflicts. Grain: reason, identifier_type, found_type.
SELECT
    reason,
    identifier_type,
    found_type,
    count(*) AS identifiers,
    max(found) AS most_found,
    any_value(allowed) AS allowed,
    max(since_at) AS newest_at
FROM identity_conflicts
GROUP BY ALL
ORDER BY identifiers DESC, reason, identifier_type, found_type
