"""The four real clickstreams go through from their raw files with shipped adapters."""

from pathlib import Path
from typing import NamedTuple

import pytest

from clickstream_platform.settings import Settings
from clickstream_platform_tests.events.door import fates, load_file


class Expected(NamedTuple):
    """What the raw files of a source hold."""

    source: str
    files: str
    received: int
    quarantined: int


@pytest.mark.parametrize(
    "expected",
    [
        pytest.param(
            Expected("shop", "rees46_oct2019_head/*.csv.gz", 17_435, 1), id="cut-off last line"
        ),
        pytest.param(
            Expected("panel", "webtrackr_testdt/*.parquet", 49_612, 0), id="browsing panel"
        ),
        pytest.param(Expected("apache", "elastic_apache/*.gz", 10_000, 1), id="one torn line"),
        pytest.param(Expected("nasa", "nasa_1995_20k/*.gz", 19_998, 0), id="log of 1995"),
    ],
)
def test_every_record_has_one_fate(settings: Settings, shared: Path, expected: Expected) -> None:
    paths = sorted((shared / "data").glob(expected.files))
    rows = [load_file(settings, path, expected.source) for path in paths][-1]
    ledger = fates(settings, expected.source)
    assert (ledger["received"], ledger["quarantined"]) == expected[2:]
    assert rows.height == ledger["loaded"] == expected.received - expected.quarantined
    if expected.source == "panel":
        assert rows.select("visitor_id", "user_id").n_unique() == 10
        assert rows["user_id"].n_unique() == 5
