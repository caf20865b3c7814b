"""What commands say: tables for people, JSON and CSV for programs, progress on standard error."""

import csv
import io
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from clickstream_platform.errors import DefinitionError

if TYPE_CHECKING:  # `clickstream --help` does not wait for the engines
    from clickstream_platform.events import Ledger

WIDE = 240
"""Columns of a table that goes to a file or a pipe, where no screen sets them."""

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal obeys, other than tab and new line."""

Report = Callable[[str, int, int], None]
"""Told of long work: what is being done, how far, out of how much (0 if unknown)."""


class Format(StrEnum):
    """How rows are written."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def out() -> Console:
    """Standard output as it is now; wide where it is not a screen."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def err() -> Console:
    """Standard error as it is now."""
    return Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Write one line for people."""
    out().print(Text.from_markup(text), soft_wrap=True)


def say_plain(text: str) -> None:
    """Write one line for people whose words are data, not markup."""
    out().print(Text(printable(text)), soft_wrap=True)


def counted(number: int, one: str, many: str = "") -> str:
    """A number with what it counts: 1 file, 2 files."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """Text that a terminal only shows: what visitors send may hold orders to it."""
    return CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def write_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    form: Format = Format.TABLE,
    title: str | None = None,
) -> None:
    """Write rows to standard output."""
    match form:
        case Format.JSON:
            write_json([dict(zip(columns, row, strict=True)) for row in rows])
        case Format.CSV:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows([[_cell(value, "") for value in row] for row in rows])
            sys.stdout.write(text.getvalue())
        case Format.TABLE:
            _write_table(columns, rows, title)


def write_records(
    records: Sequence[Mapping[str, object]], *, as_json: bool, title: str | None = None
) -> None:
    """Write records of equal keys to standard output, as a table or as JSON."""
    columns = list(records[0]) if records else []
    rows = [[record[name] for name in columns] for record in records]
    write_rows(columns, rows, form=Format.JSON if as_json else Format.TABLE, title=title)


def write_json(value: object) -> None:
    """Write one JSON value to standard output."""
    sys.stdout.write(json.dumps(_finite(value), default=_plain, ensure_ascii=False) + "\n")


def text_of(file: Path) -> str:
    """Read a file that somebody names as text.

    Raises:
        DefinitionError: It is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DefinitionError(
            file, "encoding", "is no text in UTF-8", remedy="Is it the right file? Or convert it."
        ) from None


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Show progress on standard error while the block runs; nothing where that is no screen."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=32),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield report


def ledger_records(ledger: "Ledger") -> list[dict[str, object]]:
    """The ledger by source, its last arrival as an instant."""
    return [
        {name: value for name, value in row.items() if name != "last_arrived_at"}
        | {"arrived": datetime.fromisoformat(str(row["last_arrived_at"]))}
        for row in ledger.totals()
    ]


def ago(moment: object, now: datetime) -> str:
    """How long ago an instant was, in one unit: 3 h ago."""
    if not isinstance(moment, datetime):
        return "never"
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:,} {unit} ago"
    return f"{seconds} s ago"


def _write_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None
) -> None:
    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for place, name in enumerate(columns):
        numbers = [row[place] for row in rows if row[place] is not None]
        is_number = bool(numbers) and all(
            isinstance(value, int | float | Decimal) and not isinstance(value, bool)
            for value in numbers
        )
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        # Values are data, not markup: a page may be named [red].
        table.add_row(*[Text(printable(_cell(value, "-", separate=True))) for value in row])
    out().print(table)


def _cell(value: object, nothing: str, *, separate: bool = False) -> str:
    match value:
        case None:
            text = nothing
        case bool():
            text = "yes" if value and separate else "no" if separate else str(value).lower()
        case int() if separate:
            text = f"{value:,}"
        case float() if separate:
            text = f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
        case Decimal() if separate:
            text = f"{value:,.2f}"
        case datetime():
            text = value.isoformat(sep=" ", timespec="seconds")
        case dict() | list():
            text = json.dumps(value, default=_plain, ensure_ascii=False)
        case _:
            text = str(value)
    return text


def _finite(value: object) -> object:
    # JSON knows neither infinity nor a number that is none.
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {name: _finite(part) for name, part in value.items()}
        case list() | tuple():
            return [_finite(part) for part in value]
        case _:
            return value


def _plain(value: object) -> object:
    match value:
        case datetime() | date():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return float(value)
        case _:
            return str(value)
