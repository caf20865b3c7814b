"""Minimisation: what may identify a person is masked before anything reaches a disk."""

from clickstream_platform.privacy.minimisation.addresses import read_address, truncated_ip
from clickstream_platform.privacy.minimisation.columns import (
    find_personal,
    scrub_payloads,
    scrub_texts,
    scrub_urls,
    truncate_ips,
)
from clickstream_platform.privacy.minimisation.records import scrub_records
from clickstream_platform.privacy.minimisation.scrubber import QueryKeys

__all__ = [
    "QueryKeys",
    "find_personal",
    "read_address",
    "scrub_payloads",
    "scrub_records",
    "scrub_texts",
    "scrub_urls",
    "truncate_ips",
    "truncated_ip",
]
