"""Fixtures that every folder of tests uses."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from ibis.backends.duckdb import Backend

from clickstream_platform.lake import Lake, connect
from clickstream_platform.settings import LakeSettings, Settings, load_settings

# No example has a deadline: how long one takes says more about the host than about the code.
# Where CI is set, as in .ci/run, the examples are the same in each run.
hypothesis.settings.register_profile(
    "project", deadline=None, derandomize="CI" in os.environ, print_blob=True
)
hypothesis.settings.load_profile("project")

SHARED = Path(__file__).resolve().parents[2] / "shared"
"""Third-party data and cases beside the checkout; never copied into it."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of third-party data and cases, or a skip where it is absent."""
    if not SHARED.exists():
        pytest.skip("../shared is not here: third-party data lies beside the checkout only")
    return SHARED


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Default settings over an empty data folder."""
    return load_settings(tmp_path / "data")


@pytest.fixture
def lake(settings: Settings) -> Lake:
    """An empty lake."""
    return Lake(settings.lake_folder)


@pytest.fixture
def duckdb_backend() -> Backend:
    """A fresh DuckDB connection as the platform opens it."""
    return connect(LakeSettings())


@pytest.fixture(scope="session")
def spark_backend() -> Iterator[Any]:
    """A local Spark as an Ibis backend, or a skip with its reason."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Java is not installed: engine parity needs Spark")
    pytest.importorskip("pyspark", reason="the extra `spark` is not installed")
    import ibis
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", "2")
        # Tests ask much once, of little data: compiling it to the last would not pay.
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield ibis.pyspark.connect(session)
    session.stop()
