"""Tags: what a Google Tag Manager container does, what changed in it, and what it may load."""

from clickstream_platform.collection.tags.container import Container, read_container
from clickstream_platform.collection.tags.diff import Change, diff, load_signatures
from clickstream_platform.collection.tags.lint import Finding, Rule, lint, load_rules
from clickstream_platform.collection.tags.vendors import Vendor, load_vendors

__all__ = [
    "Change",
    "Container",
    "Finding",
    "Rule",
    "Vendor",
    "diff",
    "lint",
    "load_rules",
    "load_signatures",
    "load_vendors",
    "read_container",
]
