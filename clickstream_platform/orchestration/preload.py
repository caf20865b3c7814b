"""What the fork server of `launcher` loads once, so that no run has to."""

import importlib
import os
from pathlib import Path

import dagster as dg

import clickstream_platform.orchestration.launcher  # noqa: F401 - runs start in it
from clickstream_platform.orchestration.definitions import definitions

ENGINES = (
    "numpy",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "deltalake",
    "scipy.sparse.csgraph",
    "sqlglot",
    "ibis.backends.sql.compilers.duckdb",
    "pandera",
    "httpx",
    "cryptography.fernet",
)
"""Modules that every tick needs and that are importable without a thread; 2 to 3 s of a run.

Polars and DuckDB start threads when they are imported, and so are left to each run.
"""

WITHOUT_THREADS = {
    "OPENBLAS_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "_RJEM_MALLOC_CONF": "background_thread:false",
}
"""What keeps numpy, Arrow and delta-rs from starting threads when they are imported."""

TASKS = Path("/proc/self/task")
"""Threads of this process, where Linux says."""


class ThreadsError(RuntimeError):
    """The fork server has threads: a lock that one holds would be held for ever in a run."""

    def __init__(self, threads: int) -> None:
        super().__init__(
            f"the fork server has {threads} threads, so no run can be forked from it. Something "
            "imports an engine when the code location loads; or use the default launcher."
        )


@dg.asset
def _warm() -> None:
    """Nothing: executing it loads what executing anything loads."""


def warm_up() -> None:
    """Load the definitions and quiet engines, open the storage, execute nothing."""
    os.environ.update(WITHOUT_THREADS)
    for module in ENGINES:
        importlib.import_module(module)
    definitions.get_repository_def().load_all_definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        loggers = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        dg.materialize([_warm], instance=instance, run_config=loggers)
    if "DAGSTER_HOME" in os.environ:
        with dg.DagsterInstance.get() as instance:
            instance.get_runs(limit=1)
            instance.event_log_storage.get_maximum_record_id()
    threads = len(list(TASKS.iterdir())) if TASKS.exists() else 1
    if threads > 1:
        raise ThreadsError(threads)


warm_up()
