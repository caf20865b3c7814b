"""Consent: what people chose, read from every signal, and what that allows."""

from clickstream_platform.collection.consent.consent_mode import (
    decode_consent_mode,
    decode_gcd,
    decode_gcs,
)
from clickstream_platform.collection.consent.door import ConsentDoor
from clickstream_platform.collection.consent.errors import ConsentStringError
from clickstream_platform.collection.consent.gpp import GppString, decode_gpp, encode_gpp
from clickstream_platform.collection.consent.purposes import (
    CHOICES,
    COLUMNS,
    Policy,
    Verdict,
    consents_of,
    load_policy,
    what_is_allowed,
)
from clickstream_platform.collection.consent.signals import ConsentSignals, signals_of
from clickstream_platform.collection.consent.tcf import (
    Decision,
    TcString,
    Vendor,
    decide_publisher,
    decide_vendor,
    decode_tcf,
    encode_tcf,
    tcf_faults,
)

__all__ = [
    "CHOICES",
    "COLUMNS",
    "ConsentDoor",
    "ConsentSignals",
    "ConsentStringError",
    "Decision",
    "GppString",
    "Policy",
    "TcString",
    "Vendor",
    "Verdict",
    "consents_of",
    "decide_publisher",
    "decide_vendor",
    "decode_consent_mode",
    "decode_gcd",
    "decode_gcs",
    "decode_gpp",
    "decode_tcf",
    "encode_gpp",
    "encode_tcf",
    "load_policy",
    "signals_of",
    "tcf_faults",
    "what_is_allowed",
]
