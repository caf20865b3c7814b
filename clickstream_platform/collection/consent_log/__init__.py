"""The consent log: choices read out of events, chained so that nobody can change them."""

from clickstream_platform.collection.consent_log.chain import ConsentLogError
from clickstream_platform.collection.consent_log.current import (
    choices_as_of,
    current_consents,
    refresh_person_consents,
)
from clickstream_platform.collection.consent_log.evidence import judged_consents, said_sql
from clickstream_platform.collection.consent_log.refresh import refresh_consents
from clickstream_platform.collection.consent_log.use import Silence, permitted, silence_of
from clickstream_platform.collection.consent_log.verify import Verified, verify_consent_log

__all__ = [
    "ConsentLogError",
    "Silence",
    "Verified",
    "choices_as_of",
    "current_consents",
    "judged_consents",
    "permitted",
    "refresh_consents",
    "refresh_person_consents",
    "said_sql",
    "silence_of",
    "verify_consent_log",
]
