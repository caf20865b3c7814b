"""The browser tracker: the scripts a page loads, as built from the TypeScript beside this file."""

from pathlib import Path

from clickstream_platform.errors import ClickstreamError

__all__ = ["SCRIPTS", "ScriptNotFoundError", "script"]

_BUILT = Path(__file__).parent / "built"

SCRIPTS = (
    "t.js",
    "t-errors.js",
    "t-frustration.js",
    "t-links.js",
    "t-viewability.js",
    "t-vitals.js",
)
"""File names of the core and its plugins; a page asks for plugins beside the core."""


class ScriptNotFoundError(ClickstreamError, LookupError):
    """There is no script of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"The tracker has no script {name!r}. Try one of {', '.join(SCRIPTS)}.")


def script(name: str) -> bytes:
    """Return a script as it is sent to browsers: JavaScript in ASCII, minified.

    Args:
        name: One of `SCRIPTS`. Nothing else is read, whatever path the name spells.

    Raises:
        ScriptNotFoundError: There is no such script.
    """
    if name not in SCRIPTS:
        raise ScriptNotFoundError(name)
    return (_BUILT / name).read_bytes()
