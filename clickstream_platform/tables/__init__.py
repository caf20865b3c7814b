"""One Pandera contract per stored table, and the catalog of where and how each is stored."""

import sys
import threading
from importlib import import_module
from importlib.abc import MetaPathFinder


class _WithoutPandas(MetaPathFinder):
    """Tells the thread that loads Pandera that there is no pandas.

    Pandera loads pandas wherever it is installed, and by it PySpark: that is more than half of
    what a fresh process costs before it has done anything, and contracts of Polars need neither.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002 - what Python asks with
        if fullname in {"pandas", "pyspark"} and threading.get_ident() == self._thread:
            message = f"No module named {fullname!r}"
            raise ModuleNotFoundError(message, name=fullname)


def _load_pandera() -> None:
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        import_module("pandera.polars")
    finally:
        sys.meta_path.remove(finder)


_load_pandera()
