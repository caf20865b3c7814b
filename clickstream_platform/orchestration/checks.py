"""Builders of asset checks, and the contract check that every stored table has."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from clickstream_platform.orchestration.partitions import ARRIVAL_HOURS, day_of, hour_of
from clickstream_platform.orchestration.resources import Platform
from clickstream_platform.orchestration.stages import Outcome, Stage

if TYPE_CHECKING:
    import polars as pl

    from clickstream_platform.lake import Lake
    from clickstream_platform.tables.contracts import Breach

CONTRACT = "contract"
"""Name of the check that a table keeps its contract."""

GROUP_BYTES = 32 * 2**20
"""Compressed bytes that are checked at once: about a million events, a few hundred MB of memory."""

HOUR = timedelta(hours=1)

MANY = 31
"""Partitions of one run beyond which sound ones are told of together: an event each costs 10 ms."""


def contract_check(table: str, stage: Stage) -> dg.AssetChecksDefinition:
    """Build the check that a table keeps its contract; nothing downstream runs if it fails.

    Of a partitioned table it reads the partitions of the run and no others.
    """

    @dg.asset_check(
        asset=table,
        name=CONTRACT,
        blocking=True,
        partitions_def=stage.partitions,
        description="Columns, types, ranges and grain are those of the table's contract.",
    )
    def check(context: dg.AssetCheckExecutionContext, platform: Platform) -> dg.AssetCheckResult:
        lake = platform.lake()
        if stage.partitions is None:
            return _result(contract_breaches(table, lake.files(table)))
        found = {
            key: partition_breaches(lake, platform, table, stage, key)
            for key in context.op_execution_context.partition_keys
        }
        if len(found) > 1:  # one run for many partitions: each has a row of its own
            for key, breaches in found.items():
                context.op_execution_context.log_event(_evaluation(table, breaches, key))  # type: ignore[arg-type]  # takes them, says less
        return _result(list({breach for breaches in found.values() for breach in breaches}))

    return check


def contract_evaluations(outcome: Outcome) -> Iterator[dg.AssetCheckEvaluation]:
    """Check what a stage wrote, and say so for every partition that it touched.

    New files are checked rather than whole partitions: all new rows are in them, and a tick costs
    as much as what it brings, however long the day has been.
    """
    breaches = contract_breaches(outcome.table, outcome.added)
    if not outcome.partitions or (len(outcome.partitions) > MANY and not breaches):
        yield _evaluation(outcome.table, breaches, None)
        return
    for key in outcome.partitions:
        of_day = [file for file in outcome.added if f"_date={key}/" in file]
        own = contract_breaches(outcome.table, of_day) if breaches and of_day else breaches
        yield _evaluation(outcome.table, own, key)


def contract_breaches(table: str, files: Sequence[str]) -> "list[Breach]":
    """What breaks the contract in some data files of a table, most rows first.

    Rules about rows see every row. The grain is checked within each group of files that is read
    at once; rules that compare rows, such as credits that sum to 1, always see whole dates.
    """
    from clickstream_platform.lake import scan_files
    from clickstream_platform.tables.catalog import TABLES

    compares_rows = bool(TABLES[table].contract.to_schema().checks)
    groups = _groups(files, splits_dates=not compares_rows)
    return _breaches(table, (scan_files(table, group).collect() for group in groups))


def partition_breaches(
    lake: "Lake", platform: Platform, table: str, stage: Stage, key: str
) -> "list[Breach]":
    """What breaks the contract in one partition of a table."""
    if stage.partitions is not ARRIVAL_HOURS:
        return contract_breaches(table, lake.files(table, dates=[day_of(key)]))
    frames = _arrived_in(lake, platform, table, hour_of(key))
    return _breaches(table, frames)


def _arrived_in(
    lake: "Lake", platform: Platform, table: str, hour: datetime
) -> "Iterator[pl.DataFrame]":
    """Rows of batches that arrived in an hour, group by group of files."""
    import polars as pl

    from clickstream_platform.events import Ledger
    from clickstream_platform.lake import scan_files

    batches = [
        str(row["batch_id"])
        for row in Ledger(platform.settings().state).batches()
        if hour <= datetime.fromisoformat(str(row["arrived_at"])) < hour + HOUR
    ]
    if not batches:
        return
    files = lake.files(table) if table == "events" else lake.files(table, dates=[hour.date()])
    for group in _groups(files):
        yield scan_files(table, group).filter(pl.col("batch_id").is_in(batches)).collect()


def _breaches(table: str, frames: "Iterable[pl.DataFrame]") -> "list[Breach]":
    from clickstream_platform.tables.catalog import TABLES
    from clickstream_platform.tables.contracts import Breach, breaches

    contract = TABLES[table].contract
    found: dict[tuple[str | None, str], int | None] = {}
    for frame in frames:
        for column, rule, rows in breaches(contract, frame):
            known = found.get((column, rule), 0)
            found[column, rule] = None if rows is None or known is None else known + rows
    ordered = sorted(found.items(), key=lambda item: -(item[1] or 0))
    return [Breach(column, rule, rows) for (column, rule), rows in ordered]


def _groups(files: Sequence[str], *, splits_dates: bool = True) -> Iterator[list[str]]:
    """Files to read at once: whole dates, as many as fit; a date that does not fit may be split."""
    group: list[str] = []
    held = 0
    for _, together in groupby(sorted(files), key=lambda file: file.rsplit("_date=", 1)[-1][:10]):
        members = list(together)
        size = sum(Path(file).stat().st_size for file in members)
        if group and held + size > GROUP_BYTES:
            yield group
            group, held = [], 0
        while splits_dates and size > GROUP_BYTES and len(members) > 1:
            yield [members.pop()]
            size = sum(Path(file).stat().st_size for file in members)
        group += members
        held += size
    if group:
        yield group


def _result(breaches: "Sequence[Breach]") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=not breaches, metadata=_metadata(breaches))


def _evaluation(
    table: str, breaches: "Sequence[Breach]", partition: str | None
) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(table),
        check_name=CONTRACT,
        passed=not breaches,
        metadata=_metadata(breaches),
        blocking=True,
        partition=partition,
    )


def _metadata(breaches: "Sequence[Breach]") -> dict[str, dg.MetadataValue]:
    return {"breaches": dg.MetadataValue.json([*map(str, breaches)])}
