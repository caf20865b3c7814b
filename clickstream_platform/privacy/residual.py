"""The residual scan: whether anything of a person is left, asked without the eraser's help.

It shares no code with the erasure: it has forms of every identifier of its own (`sought`), reads
every file below the data folder whatever a catalog says, and looks twice, at typed values and at
bytes. Before each scan it must find canaries that it planted in every kind of file and encoding;
a scanner that misses one is blind, and its silence worth nothing.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import secrets
import shutil
import sqlite3
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

import duckdb
import polars as pl
import polars.selectors as cs
import pyarrow.parquet as pq

from clickstream_platform.errors import ClickstreamError
from clickstream_platform.privacy.declared import Declared, declared
from clickstream_platform.privacy.sought import Sought, stands_for_itself
from clickstream_platform.settings import Settings

_BLOCK = 2**24
_OVERLAP = 2**12
_SHORT = 2**16  # up to here it takes longer to prepare a search for many words than to search
_ENDINGS = re.compile(r"(\.(gz|csv|tsv|ndjson|jsonl|json|log|txt|parquet|zip|db|html))+$")


class ScannerBlindError(ClickstreamError, RuntimeError):
    """The residual scan missed canaries that it planted itself."""

    def __init__(self, planted: int, found: int) -> None:
        super().__init__(
            f"Residual scan: found {found} of {planted} planted canaries, so it cannot prove that "
            "nothing is left. Report this; the request stays open until the scanner sees again."
        )


@dataclass(frozen=True)
class Residue:
    """What is left of a person."""

    by_store: dict[str, int]
    """Findings by store: a table of the lake, or a folder."""
    files: int
    """Files that were read."""

    @property
    def total(self) -> int:
        """All findings."""
        return sum(self.by_store.values())


def scan_residue(
    settings: Settings, identifiers: Sequence[tuple[str, str]], tokens: Sequence[str]
) -> Residue:
    """Look for a person in every file below the data folder.

    Args:
        settings: Where everything lies.
        identifiers: Type and value of each identifier.
        tokens: Pseudonyms.
    """
    _prove_sight(settings)
    scanner = _Scanner(settings.data, Sought.of(identifiers, tokens))
    found = scanner.scan()
    found.update(_scan_fields(settings, identifiers))
    counts = {store: number for store, number in sorted(found.items()) if number}
    return Residue(counts, scanner.files)


# -- Looking ---------------------------------------------------------------------------------------


@dataclass
class _Scanner:
    root: Path
    sought: Sought
    files: int = 0
    found: Counter[str] = field(default_factory=Counter)

    def scan(self) -> Counter[str]:
        """Read every file below the root; count findings by store."""
        tables: dict[str, list[Path]] = {}
        for path in sorted(self.root.rglob("*")):
            if not path.is_file():
                continue
            self.files += 1
            store = self._store(path)
            self._add(store, self.sought.count(_ENDINGS.sub("", str(path.relative_to(self.root)))))
            with suppress(FileNotFoundError):  # a log of a database, gone since
                if path.suffix == ".parquet":
                    tables.setdefault(store, []).append(path)
                self._scan_file(store, path)
        for store, paths in tables.items():
            for path in paths:
                self._add(store, self._typed(path))
        return +self.found

    def _store(self, path: Path) -> str:
        parts = path.relative_to(self.root).parts
        is_divided = parts[0] in {"lake", "state"} and len(parts[1:]) > 1
        return "/".join(parts[: 2 if is_divided else 1])

    def _add(self, store: str, number: int) -> None:
        self.found[store] += number

    def _scan_file(self, store: str, path: Path) -> None:
        with path.open("rb") as file:
            head = file.read(16)
        self._add(store, self._bytes(_raw_blocks(path)))
        if head[:2] == b"\x1f\x8b":
            self._add(store, self._bytes(_inflated_blocks(path)))
        elif head[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    self._add(store, self._bytes(iter([archive.read(name)])))
        elif head == b"SQLite format 3\0":
            self._add(store, self._sqlite(path))
        elif head[8:12] == b"DUCK":
            self._add(store, self._duckdb(path))
        elif head[:4] == b"PAR1" and path.suffix != ".parquet":
            self._add(store, self._typed(path))

    def _bytes(self, blocks: Iterator[bytes]) -> int:
        """Findings in bytes, also across the borders of blocks."""
        found, rest = 0, ""
        for block in blocks:
            text = rest + block.decode("latin-1")
            if self._quick(text):
                found += self.sought.count(text) - (self.sought.count(rest) if rest else 0)
            rest = text[-_OVERLAP:]
        return found

    def _quick(self, text: str) -> bool:
        if len(text) <= _SHORT:
            folded = text.lower()
            return any(form in folded for form in self.sought.folded)
        forms = self.sought.forms
        if not forms:
            return False
        return bool(pl.Series([text]).str.contains_any(forms, ascii_case_insensitive=True).any())

    def _typed(self, path: Path) -> int:
        """Findings in the values of a Parquet file, nested ones as JSON."""
        found = 0
        file = pq.ParquetFile(path)
        for batch in file.iter_batches(batch_size=200_000):
            found += self._frame(pl.DataFrame(pl.from_arrow(batch)))
        return found

    def _frame(self, frame: pl.DataFrame) -> int:
        """Findings in the values of a frame; all columns of a kind are looked through at once."""
        numbers = frame.select(cs.integer().is_in(self.sought.numbers).sum())
        found = sum(map(sum, numbers.rows()))
        found += sum(self._value(value) for column in frame.select(cs.binary()) for value in column)
        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        as_json = [pl.struct(name).struct.json_encode().alias(name) for name in nested]
        return found + self._texts(
            frame.select(cs.string(include_categorical=True).cast(pl.String), *as_json)
        )

    def _texts(self, frame: pl.DataFrame) -> int:
        forms = [form.encode("latin-1").decode("utf-8", "replace") for form in self.sought.forms]
        if not forms or not frame.width:
            return 0
        if frame.estimated_size() > _SHORT:
            held = pl.all().str.contains_any(forms, ascii_case_insensitive=True)
            frame = frame.filter(pl.any_horizontal(held))
        texts = [text for column in frame for text in column if text is not None]
        return sum(map(self._value, texts)) if self._quick(_as_bytes("\n".join(texts))) else 0

    def _sqlite(self, path: Path) -> int:
        found = 0
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (name,) in names.fetchall():
                for row in database.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 - names of the file itself
                    found += sum(self._value(value) for value in row)
        return found

    def _value(self, value: object) -> int:
        if isinstance(value, int):
            return int(value in self.sought.numbers)
        if isinstance(value, str):
            return self.sought.count(_as_bytes(value))
        return self.sought.count(value.decode("latin-1")) if isinstance(value, bytes) else 0

    def _duckdb(self, path: Path) -> int:
        found = 0
        with duckdb.connect(str(path), read_only=True) as database:
            for (name,) in database.execute(
                'SELECT format(\'"{}"."{}"\', schema_name, table_name) FROM duckdb_tables()'
            ).fetchall():
                reader = database.execute(f"SELECT * FROM {name}").fetch_record_batch(100_000)  # noqa: S608 - names of the file itself
                for batch in reader:
                    found += self._frame(pl.DataFrame(pl.from_arrow(batch)))
        return found


def _as_bytes(text: str) -> str:
    """A text as its bytes are read, as Latin-1."""
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _raw_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _inflated_blocks(path: Path) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=31)
    for block in _raw_blocks(path):
        data = block
        while data:
            try:
                yield stream.decompress(data)
            except zlib.error:
                return
            data = stream.unused_data
            if stream.eof:
                stream = zlib.decompressobj(wbits=31)


# -- Plain identifiers, in the fields that hold them -----------------------------------------------


def _scan_fields(settings: Settings, identifiers: Sequence[tuple[str, str]]) -> Counter[str]:
    """Find short and plain identifiers in the fields of landed records that hold identifiers."""
    found: Counter[str] = Counter()
    named: dict[str, set[str]] = {}
    for kind, raw in identifiers:
        named.setdefault(kind, set()).add(raw)
    if not named or not settings.landing.exists():
        return found
    for path in sorted(settings.landing.rglob("*")):
        if path.is_file():
            found["landing"] += _fields_in(settings, path, named)
    return found


def _fields_in(settings: Settings, path: Path, named: dict[str, set[str]]) -> int:
    parts = path.relative_to(settings.landing).parts
    form = declared(settings, parts[0] if len(parts) > 1 else "")
    text: str | None = None
    table: dict[str, list[str]] = {}
    found = 0
    for kind, values in named.items():
        # A telephone number is written in many ways: all its digits are compared.
        is_free = form.is_spelled_freely(kind)
        sought = values if is_free else {raw for raw in values if not stands_for_itself(raw)}
        wanted = {_compared(raw, is_free=is_free) for raw in sought}
        is_wanted = partial(_is_among, wanted, is_free)
        for field_path in form.paths(kind) if wanted else ():
            if text is None:
                text = _text_of(path)
                table = _table(text, form, path)
            found += sum(map(is_wanted, table.get(field_path, ())))
            found += _members(text, field_path, is_wanted)
    return found


def _is_among(wanted: set[str], is_free: bool, cell: object) -> bool:  # noqa: FBT001 - bound by name of place
    return isinstance(cell, str) and bool(cell) and _compared(cell, is_free=is_free) in wanted


def _text_of(path: Path) -> str:
    """The text of a landed file; the rows of a Parquet file as JSON."""
    with path.open("rb") as file:
        if file.read(4) == b"PAR1":
            rows = pl.read_parquet(path).select(pl.struct(pl.all()).struct.json_encode())
            return "\n".join(rows.to_series())
    return b"".join(_plain_blocks(path)).decode("utf-8", "replace")


def _members(text: str, path: str, is_wanted: Callable[[object], bool]) -> int:
    """Count wanted values of a member of JSON objects, also of one that is torn off."""
    leaf = re.escape(path.rsplit(".", 1)[-1])
    pattern = rf'"{leaf}"\s*:\s*(?:"((?:[^"\\\n]|\\.)*)|([^",}}\]\s]+))'
    found = 0
    for match in re.finditer(pattern, text):
        if is_wanted(_unescaped(match[1]) if match[1] else match[2]):
            start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
            found += _is_there(text[start : end if end >= 0 else None], path, is_wanted)
    return found


def _is_there(line: str, path: str, is_wanted: Callable[[object], bool]) -> bool:
    """Whether the member is the one meant, not of the same name elsewhere; if it can be read."""
    value: object = None
    with suppress(ValueError, RecursionError):
        value = json.loads(line, parse_int=str, parse_float=str)
    if value is None:
        return True
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return is_wanted(value)


def _unescaped(text: str) -> str:
    """What a JSON string says; as it stands where it is torn off within an escape."""
    with suppress(ValueError):
        return str(json.loads(f'"{text}"'))
    return text


def _compared(cell: str, *, is_free: bool) -> str:
    if is_free:
        return re.sub(r"^(?:00)+", "", re.sub(r"[^0-9]", "", cell))
    return unicodedata.normalize("NFKC", cell).strip()


def _table(text: str, form: Declared, path: Path) -> dict[str, list[str]]:
    """Columns of a text that is a table, for its name or its adapter says so."""
    suffixes = {suffix.lower() for suffix in path.suffixes}
    if form.format not in {"csv", "snowplow_tsv"} and not {".csv", ".tsv"} & suffixes:
        return {}
    delimiter = "\t" if ".tsv" in suffixes and form.delimiter == "," else form.delimiter
    rows = pl.read_csv(
        io.StringIO(text.removeprefix("\ufeff")),
        has_header=False,
        separator=delimiter,
        quote_char=form.quote or None,
        infer_schema=False,
        truncate_ragged_lines=True,
        ignore_errors=True,
    )
    names = form.columns or [(name or "").strip() for name in rows.row(0)]
    return dict(zip(names, (column.to_list() for column in rows), strict=False))


def _plain_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    return _inflated_blocks(path) if is_zipped else _raw_blocks(path)


# -- Canaries --------------------------------------------------------------------------------------


def _prove_sight(settings: Settings) -> None:
    """Plant a made-up person in every kind of file, and demand that each is found."""
    bird = f"canary-{secrets.token_hex(8)}@example.com"
    token = f"pv_{secrets.token_hex(16)}"
    folder = settings.state / f"canaries-{secrets.token_hex(4)}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        planted = _plant(folder, bird, token)
        sought = Sought.of([("user", bird)], [token])
        seen = 0
        for place in planted:
            seen += bool(_Scanner(place, sought).scan())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if seen < len(planted):
        raise ScannerBlindError(len(planted), seen)


def _plant(folder: Path, bird: str, token: str) -> list[Path]:
    """One folder for each way in which a person may lie somewhere."""
    based = base64.b64encode(f'{{"mail":"{bird}"}}'.encode()).decode()
    written = {
        "plain": bird.upper(),
        "percent": quote(bird, safe=""),
        "percent-twice": quote(quote(bird, safe=""), safe=""),
        "base64": based,
        "md5": hashlib.md5(bird.encode(), usedforsecurity=False).hexdigest(),
        "sha256": hashlib.sha256(bird.encode()).hexdigest(),
        "token": token,
        "surrogate": f"s_{int(token[3:18], 16)}_7",
    }
    for name, text in written.items():
        _file(folder, f"gz-{name}", "x.ndjson.gz").write_bytes(
            gzip.compress(f'{{"u":"http://example.com/?m={text}"}}\n'.encode())
        )
    values = pl.DataFrame(
        {"n": [int(token[3:18], 16)], "t": [f"a {bird} b"], "s": [[{"got": bird}]]}
    )
    for name in values.columns:
        values.select(name).write_parquet(
            _file(folder, f"parquet-{name}", "x.parquet"), statistics=False, compression="zstd"
        )
    with zipfile.ZipFile(_file(folder, "zip", "x.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.json", json.dumps({"mail": bird}))
    with closing(sqlite3.connect(_file(folder, "sqlite", "x.db"))) as database:
        database.execute("CREATE TABLE t (v)")
        database.execute("INSERT INTO t VALUES (?)", (int(token[3:18], 16),))
        database.commit()
    with duckdb.connect(str(_file(folder, "duckdb", "x.duckdb"))) as database:
        database.execute("CREATE TABLE t AS SELECT ? AS v FROM range(200)", [bird])
    _file(folder, "name", f"{bird}.txt").write_text("x")
    return sorted(folder.iterdir())


def _file(folder: Path, place: str, name: str) -> Path:
    (folder / place).mkdir()
    return folder / place / name
