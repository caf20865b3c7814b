"""Tables on disk: Delta snapshots, their changes, and the engines that read them."""

from clickstream_platform.lake.engine import connect, stream, view, write_parquet
from clickstream_platform.lake.reading import Answer, QueryError, open_tables, select
from clickstream_platform.lake.refresh import Refreshed
from clickstream_platform.lake.seals import SEALS, BrokenSealError
from clickstream_platform.lake.store import (
    Changes,
    Lake,
    LakeError,
    arrow_schema,
    polars_schema,
    scan_files,
)
from clickstream_platform.lake.writing import DataFile

__all__ = [
    "SEALS",
    "Answer",
    "BrokenSealError",
    "Changes",
    "DataFile",
    "Lake",
    "LakeError",
    "QueryError",
    "Refreshed",
    "arrow_schema",
    "connect",
    "open_tables",
    "polars_schema",
    "scan_files",
    "select",
    "stream",
    "view",
    "write_parquet",
]
