"""Quality of what arrived: how new, how complete, how much is refused, how old."""

from clickstream_platform.quality.canaries import WINDOW as CANARY_WINDOW
from clickstream_platform.quality.canaries import canary_arrivals
from clickstream_platform.quality.completeness import (
    Completeness,
    completeness,
    load_expectations,
)
from clickstream_platform.quality.refusals import Refusals, refusals
from clickstream_platform.quality.storage_periods import (
    Overdue,
    StoragePeriod,
    load_storage_periods,
    overdue,
)
from clickstream_platform.quality.watermarks import Watermark, watermarks

__all__ = [
    "CANARY_WINDOW",
    "Completeness",
    "Overdue",
    "Refusals",
    "StoragePeriod",
    "Watermark",
    "canary_arrivals",
    "completeness",
    "load_expectations",
    "load_storage_periods",
    "overdue",
    "refusals",
    "watermarks",
]
