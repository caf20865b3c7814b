"""Records of landed files, and what an erasure makes of each: it stays, goes, or is unlinked."""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from typing import Literal

from clickstream_platform.privacy.declared import Declared
from clickstream_platform.privacy.identifiers import canonical
from clickstream_platform.privacy.needles import ERASED, Needles, is_distinctive, written
from clickstream_platform.privacy.subjects import Subject

TextKind = Literal["lines", "csv"]

LONGEST_RECORD = 100
"""Lines that one quoted CSV record may span; beyond, a stray quote is to blame."""

Values = Mapping[str, list[str]]
"""What the fields of a record hold, as it is compared, by type of identifier."""


@dataclass(frozen=True)
class Record:
    """One record of a text file."""

    content: bytes
    """Its bytes, with the line end."""
    ordinal: int | None
    """Its number in the file, as ingestion counts; None for a header or an empty line."""


def split_records(lines: Iterable[bytes], kind: TextKind, form: Declared) -> Iterator[Record]:
    """Group the lines of a file into numbered records, as ingestion does."""
    heading = 0
    if kind == "csv":
        heading = form.skip_lines if form.columns else 1
    ordinal = 0
    for number, content in enumerate(_joined(lines, kind, form)):
        is_rest = kind == "lines" and not content.endswith(b"\n")
        if number < heading or not (content.strip() if is_rest else content.rstrip(b"\r\n")):
            yield Record(content, None)
        else:
            yield Record(content, ordinal)
            ordinal += 1


def _joined(lines: Iterable[bytes], kind: TextKind, form: Declared) -> Iterator[bytes]:
    """Join lines that a quoted line break belongs to."""
    if kind != "csv" or not form.quote:
        yield from lines
        return
    held: list[bytes] = []
    quotes = 0
    for line in lines:
        held.append(line)
        quotes += line.count(form.quote.encode())
        if quotes % 2 == 0:
            yield b"".join(held)
            held, quotes = [], 0
        elif len(held) > LONGEST_RECORD:
            yield from held
            held, quotes = [], 0
    yield from held


@dataclass
class Verdicts:
    """Decides about records for one person and one source.

    Args:
        subject: The person.
        form: What the source declares.
        needles: The person in text.
        header: Names of columns, for CSV.
    """

    subject: Subject
    form: Declared
    needles: Needles
    header: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._own: dict[str, set[str]] = {kind: set() for kind in self.form.kinds}
        for kind, raw in self.subject.values:
            if kind in self._own:
                self._own[kind].add(self.form.normalised(kind, raw))
        self._shared = {canonical(raw) for raw in self.subject.shared_identifiers}
        self._aliases = {each.raw: each.alias for each in self.subject.replacements if each.raw}
        known = {raw for kind, raw in self.subject.values if kind in self._own}
        self._spelled = {*known, *self.subject.shared_identifiers}
        own = {*known, *chain.from_iterable(self._own.values())}
        plain = _texts(raw for raw in own if not is_distinctive(raw))
        leaves = {re.escape(path.rsplit(".", 1)[-1]) for _, path in self.form.fields}
        self._torn = (
            re.compile(
                rf'"(?:{"|".join(sorted(leaves))})"\s*:\s*"?(?:{"|".join(map(re.escape, plain))})'
                r'(?:["\s,}\]]|$)'
            )
            if plain and leaves
            else None
        )

    @property
    def texts(self) -> list[str]:
        """Texts one of which a record holds if its fields hold the person or a shared visitor."""
        compared = chain.from_iterable(self._own.values())
        return _texts((*compared, *self._shared, *self._spelled))

    @property
    def needs_fields(self) -> bool:
        """Whether records may hold the person without holding one of `texts`."""
        return any(own and self.form.is_spelled_freely(kind) for kind, own in self._own.items())

    def of_text(self, content: bytes) -> bytes | None:
        """What a record of a text file becomes; None if it goes."""
        text = content.decode("utf-8", "surrogateescape")
        values = self._read(text)
        if values is None:
            is_named = self._torn is not None and self._torn.search(text) is not None
            return None if is_named or self.needles.is_in(content) else content
        verdict = self.of_values(values)
        if verdict == "erase":
            return None
        if verdict == "unlink":
            return self.needles.redacted(self._renamed(text).encode("utf-8", "surrogateescape"))
        if not self.needles.is_in(content):
            return content
        is_anybodys = any(values.values())
        return self.needles.redacted(content) if is_anybodys else None

    def of_values(self, values: Values) -> Literal["erase", "unlink", "keep"]:
        """Decide by the identifiers that a record's fields hold."""
        users, visitors = set(values["user"]), set(values["visitor"])
        if users & self._own["user"]:
            return "erase"
        if visitors & self._own["visitor"] or any(
            self._own[kind].intersection(values[kind]) for kind in self.form.further
        ):
            return "unlink" if users else "erase"
        return "unlink" if visitors & self._shared and not users else "keep"

    def instead(self, path: str, value: str) -> str | None:
        """What stands in a field once nothing leads from its record to the person.

        None where its value does not: only visitors have another name.
        """
        for kind in (kind for kind, each in self.form.fields if each == path and kind != "user"):
            if kind == "visitor":
                if alias := self._aliases.get(canonical(value)):
                    return alias
            elif self.form.normalised(kind, value) in self._own[kind]:
                return ERASED
        return None

    def _read(self, text: str) -> dict[str, list[str]] | None:
        """Identifiers in the declared fields; None where the record cannot be read."""
        if self.header:
            cells = dict(zip(self.header, cells_in(text, self.form), strict=False))
            return {
                kind: [
                    known
                    for path in self.form.paths(kind)
                    if (known := self.form.normalised(kind, cells.get(path, "")))
                ]
                for kind in self.form.kinds
            }
        record = read_object(text)
        return None if record is None else fields_of(record, self.form)

    def _renamed(self, text: str) -> str:
        if self.header:
            named = zip(chain(self.header, repeat("")), cells_in(text, self.form), strict=False)
            cells = [self.instead(name, cell) or cell for name, cell in named]
            end = text[len(text.rstrip("\r\n")) :]
            if not self.form.quote:
                return self.form.delimiter.join(cells) + end
            written = io.StringIO(newline="")
            csv.writer(
                written,
                delimiter=self.form.delimiter,
                quotechar=self.form.quote,
                lineterminator=end,
            ).writerow(cells)
            return written.getvalue()
        for path in sorted({path for kind, path in self.form.fields if kind != "user"}):
            leaf = re.escape(json.dumps(path.rsplit(".", 1)[-1]))
            rename = partial(self._rename, path)
            text = re.sub(rf'({leaf}\s*:\s*)("(?:[^"\\]|\\.)*"|[^,}}\s]+)', rename, text)
        return text

    def _rename(self, path: str, match: re.Match[str]) -> str:
        value = match[2]
        new = self.instead(path, str(json.loads(value)) if value.startswith('"') else value)
        return match[0] if new is None else f"{match[1]}{json.dumps(new)}"


def names_in(line: bytes, form: Declared) -> list[str]:
    """Names of the columns in the first line of a table, as ingestion reads them."""
    return [name.strip() for name in cells_in(line.decode("utf-8-sig", "replace"), form)]


def cells_in(text: str, form: Declared) -> list[str]:
    """Cells of one record of a table."""
    if not form.quote:
        return text.rstrip("\r\n").split(form.delimiter)
    # The engine that reads tables has no limit to a cell; Python has one for all of a process.
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=form.delimiter, quotechar=form.quote
    )
    return next(reader, [])


def _texts(identifiers: Iterable[str]) -> list[str]:
    """Identifiers as fields may write them."""
    return sorted(form.decode("utf-8", "surrogateescape") for form in written(identifiers))


def read_object(text: str) -> dict[str, object] | None:
    """Read a JSON object, its numbers as the digits that stand there; None if it is none."""
    try:
        record = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def fields_of(record: Mapping[str, object], form: Declared) -> dict[str, list[str]]:
    """Identifiers in the declared fields of a record, as they are compared."""
    found: dict[str, list[str]] = {kind: [] for kind in form.kinds}
    for kind, path in form.fields:
        value: object = record
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, str) and (text := form.normalised(kind, value)):
            found[kind].append(text)
    return found
