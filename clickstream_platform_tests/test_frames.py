"""The tables that tests build keep the contracts of the real ones."""

from clickstream_platform.tables.contracts import require
from clickstream_platform.tables.events import Events
from clickstream_platform.tables.identity import IdentityMap
from clickstream_platform.tables.sessions import Sessions
from clickstream_platform_tests.frames import events_frame, identity_frame, sessions_frame


def test_defaults_keep_the_contracts() -> None:
    require(Events, events_frame([{}, {"visitor_id": "v1", "user_id": "ann", "occurred_us": 5}]))
    require(IdentityMap, identity_frame([{"visitor_id": "v1", "user_id": "ann"}]))
    require(Sessions, sessions_frame([{}, {"person_id": "bob", "is_engaged": True}]))
