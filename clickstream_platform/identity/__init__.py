"""Identity: which visitors and users are one person, by login."""

from clickstream_platform.identity.blocked import (
    BLOCKED_IDS,
    BlockedIds,
    blocked_ids,
    is_blocked,
    load_blocked,
)
from clickstream_platform.identity.links import identity_links, merge_links
from clickstream_platform.identity.people import map_identities, people_as_of, with_person
from clickstream_platform.identity.refresh import refresh_identity

__all__ = [
    "BLOCKED_IDS",
    "BlockedIds",
    "blocked_ids",
    "identity_links",
    "is_blocked",
    "load_blocked",
    "map_identities",
    "merge_links",
    "people_as_of",
    "refresh_identity",
    "with_person",
]
