"""Tables on disk: Delta snapshots, their changes, and the engines that read them."""

from clickstream_platform.lake.changed import changed_rows, distinct_dates, net_changes
from clickstream_platform.lake.engine import (
    Engine,
    connect,
    opened_engine,
    read_files,
    stream,
    stream_schema,
    view,
    write_parquet,
)
from clickstream_platform.lake.json_texts import json_value
from clickstream_platform.lake.literals import literal
from clickstream_platform.lake.parts import Parts, part_of, rows_of
from clickstream_platform.lake.reading import Answer, QueryError, open_tables, select
from clickstream_platform.lake.refresh import Refreshed
from clickstream_platform.lake.schemas import LakeError, arrow_schema, polars_schema
from clickstream_platform.lake.seals import SEALS, BrokenSealError
from clickstream_platform.lake.shapes import adapt, require_current
from clickstream_platform.lake.store import Changes, Lake, scan_files
from clickstream_platform.lake.turns import deriving, rewriting, turn
from clickstream_platform.lake.writing import DataFile

__all__ = [
    "SEALS",
    "Answer",
    "BrokenSealError",
    "Changes",
    "DataFile",
    "Engine",
    "Lake",
    "LakeError",
    "Parts",
    "QueryError",
    "Refreshed",
    "adapt",
    "arrow_schema",
    "changed_rows",
    "connect",
    "deriving",
    "distinct_dates",
    "json_value",
    "literal",
    "net_changes",
    "open_tables",
    "opened_engine",
    "part_of",
    "polars_schema",
    "read_files",
    "require_current",
    "rewriting",
    "rows_of",
    "scan_files",
    "select",
    "stream",
    "stream_schema",
    "turn",
    "view",
    "write_parquet",
]
