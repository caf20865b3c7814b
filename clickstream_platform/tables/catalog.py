"""Where and how each table is stored: partitions, order within files, and how erasure reaches it.

A stored table without an entry here cannot be written, so none can be forgotten by a subject
request.
"""

from dataclasses import dataclass

import pandera.polars as pa

from clickstream_platform.tables.activation import CrmSyncs
from clickstream_platform.tables.attribution import AttributionCredits, Conversions, Touchpoints
from clickstream_platform.tables.bots import BotBehaviour
from clickstream_platform.tables.consent import ConsentLog, Consents, PersonConsents
from clickstream_platform.tables.cookieless import CookielessCounts
from clickstream_platform.tables.events import (
    DuplicateEvents,
    Events,
    QuarantinedEvents,
    RawEvents,
)
from clickstream_platform.tables.identity import (
    IdentityConflicts,
    IdentityDecisions,
    IdentityMap,
    IdentityMerges,
)
from clickstream_platform.tables.privacy import SubjectRequests
from clickstream_platform.tables.segments import EngagementScores, SegmentMembers, Segments
from clickstream_platform.tables.sessions import (
    RunawaySessions,
    SessionEvents,
    SessionlessEvents,
    Sessions,
)


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """One table of the lake."""

    name: str
    contract: type[pa.DataFrameModel]
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    person_columns: tuple[str, ...] = ()
    """Columns that hold a pseudonym or surrogate of a person; erasure deletes by them."""
    processing: str | None = None
    """Processing of `purposes.toml` that rows of people serve: without consent to it none is in
    use. None where they serve none that a person can refuse; `held_for` then says why."""
    asks_besides: str = ""
    """What each row asks for beside that, where it depends on the row."""
    in_use: str = "true"
    """SQL condition of the rows that are in use, where others are history."""
    held_for: str = ""
    """Why rows of people are held whatever they chose, until they are erased or too old."""

    @property
    def date_column(self) -> str | None:
        """The date partition, or None."""
        return next((name for name in self.partition_by if name.endswith("_date")), None)


AS_ARRIVED = "the record of what arrived, which every use of it asks for consent"
ARRANGED = "the record of what arrived, put in order; every use of it asks for consent"
WHO_CHOSE = "keeping to a choice on every device of the person, and proving it"
SECURITY = "telling programs and mistakes apart, which needs no consent"
ACCOUNT = "account of what others were told; a withdrawal adds that they were told to forget"

TABLES: dict[str, StoredTable] = {
    table.name: table
    for table in (
        StoredTable(
            name="raw_events",
            contract=RawEvents,
            partition_by=("arrival_date",),
            person_columns=("visitor_id", "user_id", "identifiers"),
            held_for=AS_ARRIVED,
        ),
        StoredTable(
            name="events",
            contract=Events,
            partition_by=("event_date", "bucket"),
            sort_by=("visitor_key", "occurred_us"),
            person_columns=("visitor_id", "user_id", "identifiers"),
            held_for=AS_ARRIVED,
        ),
        StoredTable(
            name="quarantined_events",
            contract=QuarantinedEvents,
            partition_by=("arrival_date",),
            person_columns=("visitor_id", "user_id", "identifiers"),
            held_for=AS_ARRIVED,
        ),
        StoredTable(
            name="duplicate_events",
            contract=DuplicateEvents,
            partition_by=("arrival_date",),
            person_columns=("visitor_id", "user_id", "identifiers"),
            held_for=AS_ARRIVED,
        ),
        StoredTable(
            name="identity_decisions",
            contract=IdentityDecisions,
            person_columns=("identifier_id", "other_id"),
            held_for=WHO_CHOSE,
        ),
        StoredTable(
            name="identity_merges",
            contract=IdentityMerges,
            sort_by=("identifier_key",),
            person_columns=("identifier_id", "other_id", "person_id"),
            held_for=WHO_CHOSE,
        ),
        StoredTable(
            name="identity_conflicts",
            contract=IdentityConflicts,
            sort_by=("identifier_key",),
            person_columns=("identifier_id",),
            held_for=WHO_CHOSE,
        ),
        StoredTable(
            name="identity_map",
            contract=IdentityMap,
            sort_by=("visitor_key",),
            person_columns=("visitor_id", "user_id", "person_id"),
            held_for=WHO_CHOSE,
        ),
        StoredTable(
            name="consents",
            contract=Consents,
            sort_by=("visitor_key", "valid_from_us"),
            person_columns=("visitor_id", "user_id"),
            held_for=WHO_CHOSE,
        ),
        StoredTable(
            name="person_consents",
            contract=PersonConsents,
            sort_by=("person_key",),
            person_columns=("person_id",),
            held_for=WHO_CHOSE,
        ),
        StoredTable(
            name="bot_behaviour",
            contract=BotBehaviour,
            partition_by=("event_date",),
            sort_by=("visitor_key",),
            person_columns=("visitor_id",),
            held_for=SECURITY,
        ),
        StoredTable(name="consent_log", contract=ConsentLog, sort_by=("number",)),
        StoredTable(
            name="sessions",
            contract=Sessions,
            partition_by=("session_date", "bucket"),
            sort_by=("person_key", "started_at"),
            person_columns=("person_id", "visitor_id"),
            held_for=ARRANGED,
        ),
        StoredTable(
            name="session_events",
            contract=SessionEvents,
            partition_by=("event_date", "bucket"),
            sort_by=("person_key", "occurred_us"),
            person_columns=("person_key",),
            held_for=ARRANGED,
        ),
        StoredTable(
            name="sessionless_events",
            contract=SessionlessEvents,
            partition_by=("event_date",),
            sort_by=("person_key", "occurred_us"),
            person_columns=("person_key",),
            held_for=ARRANGED,
        ),
        StoredTable(
            name="cookieless_counts",
            contract=CookielessCounts,
            partition_by=("event_date",),
            sort_by=("page_host", "page_path"),
        ),
        StoredTable(
            name="runaway_sessions",
            contract=RunawaySessions,
            partition_by=("session_date",),
            sort_by=("person_key", "started_at"),
            person_columns=("person_id",),
            held_for=SECURITY,
        ),
        StoredTable(
            name="touchpoints",
            contract=Touchpoints,
            partition_by=("touch_date", "bucket"),
            sort_by=("person_key", "touched_us"),
            person_columns=("person_id",),
            processing="attribution",
        ),
        StoredTable(
            name="conversions",
            contract=Conversions,
            partition_by=("conversion_date",),
            sort_by=("person_key", "converted_us"),
            person_columns=("person_id",),
            processing="first_party_analytics",
        ),
        StoredTable(
            name="attribution_credits",
            contract=AttributionCredits,
            partition_by=("conversion_date",),
            sort_by=("model", "person_key"),
            person_columns=("person_key",),
            processing="first_party_analytics",
        ),
        StoredTable(
            name="engagement_scores",
            contract=EngagementScores,
            partition_by=("bucket",),
            sort_by=("person_key",),
            person_columns=("person_id",),
            processing="first_party_analytics",
        ),
        StoredTable(
            name="segment_members",
            contract=SegmentMembers,
            sort_by=("segment", "person_key"),
            person_columns=("person_id",),
            processing="first_party_analytics",
            asks_besides="the purpose of the row's segment, `purpose` in `segments`",
            in_use="until_at IS NULL",
        ),
        StoredTable(name="segments", contract=Segments),
        StoredTable(
            name="crm_syncs",
            contract=CrmSyncs,
            partition_by=("sync_date",),
            sort_by=("person_key",),
            person_columns=("person_id",),
            held_for=ACCOUNT,
        ),
        StoredTable(name="subject_requests", contract=SubjectRequests),
    )
}
"""Every stored table by name."""
