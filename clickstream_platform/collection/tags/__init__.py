"""Tags: what a Google Tag Manager container does, what changed in it, and what it may load."""

from clickstream_platform.collection.tags.budget import (
    Budget,
    Page,
    Verdict,
    load_budget,
    read_pages,
    spent,
)
from clickstream_platform.collection.tags.container import Container, read_container
from clickstream_platform.collection.tags.csp import Collector, Policy, content_security_policy
from clickstream_platform.collection.tags.diff import Change, diff, load_signatures
from clickstream_platform.collection.tags.lint import Finding, Rule, lint, load_rules
from clickstream_platform.collection.tags.reports import EVENT as CSP_EVENT
from clickstream_platform.collection.tags.reports import SOURCE as CSP_SOURCE
from clickstream_platform.collection.tags.reports import blocked_sources, new_domains
from clickstream_platform.collection.tags.vendors import Vendor, load_vendors

__all__ = [
    "CSP_EVENT",
    "CSP_SOURCE",
    "Budget",
    "Change",
    "Collector",
    "Container",
    "Finding",
    "Page",
    "Policy",
    "Rule",
    "Vendor",
    "Verdict",
    "blocked_sources",
    "content_security_policy",
    "diff",
    "lint",
    "load_budget",
    "load_rules",
    "load_signatures",
    "load_vendors",
    "new_domains",
    "read_container",
    "read_pages",
    "spent",
]
