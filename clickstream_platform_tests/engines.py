"""Running one transform on any engine, from frames to a frame."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

import ibis.expr.types as ir
import polars as pl
from ibis.backends.sql import SQLBackend

INSTANT = pl.Datetime("us", "UTC")


def run(
    backend: SQLBackend,
    folder: Path,
    frames: Mapping[str, pl.DataFrame],
    transform: Callable[..., ir.Table],
) -> pl.DataFrame:
    """What the transform makes of the frames, as the engine writes it, in order of all columns.

    Through files, since Spark's own way to Arrow needs pandas.
    """
    place = Path(mkdtemp(dir=folder))
    tables = {}
    for name, frame in frames.items():
        frame.write_parquet(place / f"{name}.parquet")
        tables[name] = backend.read_parquet(str(place / f"{name}.parquet"))
    result = place / "result.parquet"
    backend.to_parquet(transform(**tables), str(result))
    written = pl.read_parquet(result / "*.parquet" if result.is_dir() else result)
    return written.with_columns(pl.selectors.datetime().cast(INSTANT))
