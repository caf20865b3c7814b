"""Identity: which visitors and users are one person, by login and other proven identifiers."""

from clickstream_platform.identity.blocked import (
    BLOCKED_IDS,
    BlockedIds,
    blocked_ids,
    load_blocked,
)
from clickstream_platform.identity.clusters import Cluster, Score, score_matches
from clickstream_platform.identity.components import (
    Components,
    component_labels,
    merge_components,
    spread_components,
)
from clickstream_platform.identity.decisions import (
    DecisionError,
    decide,
    decisions_of,
    denied_links,
    ensure_decisions,
    standing,
)
from clickstream_platform.identity.history import identity_as_of, merges_around, merges_as_of
from clickstream_platform.identity.links import identity_links, merge_links
from clickstream_platform.identity.matching import (
    Matches,
    MatchRules,
    match_records,
    match_rules,
)
from clickstream_platform.identity.people import map_identities, people_as_of, with_person
from clickstream_platform.identity.refresh import METHOD, refresh_identity
from clickstream_platform.identity.rules import (
    IdentifierRules,
    IdentifierType,
    identifier_rules,
    load_rules,
)
from clickstream_platform.identity.visitors import VisitorMatches, match_visitors

__all__ = [
    "BLOCKED_IDS",
    "METHOD",
    "BlockedIds",
    "Cluster",
    "Components",
    "DecisionError",
    "IdentifierRules",
    "IdentifierType",
    "MatchRules",
    "Matches",
    "Score",
    "VisitorMatches",
    "blocked_ids",
    "component_labels",
    "decide",
    "decisions_of",
    "denied_links",
    "ensure_decisions",
    "identifier_rules",
    "identity_as_of",
    "identity_links",
    "load_blocked",
    "load_rules",
    "map_identities",
    "match_records",
    "match_rules",
    "match_visitors",
    "merge_components",
    "merge_links",
    "merges_around",
    "merges_as_of",
    "people_as_of",
    "refresh_identity",
    "score_matches",
    "spread_components",
    "standing",
    "with_person",
]
