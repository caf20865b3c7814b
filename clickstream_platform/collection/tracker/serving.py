"""Serving the tracker's scripts, so that one address is all a page needs."""

import gzip
from collections.abc import Mapping

from clickstream_platform.collection.arrivals import Answer
from clickstream_platform.collection.tracker import SCRIPTS, script

FRESH_S = 3600
"""How long a browser uses a script without asking again, in seconds."""

_HEADERS = (
    (b"cache-control", f"public, max-age={FRESH_S}".encode()),
    (b"vary", b"Accept-Encoding"),
    # Pages that isolate themselves load from other origins only what allows it.
    (b"cross-origin-resource-policy", b"cross-origin"),
)


def _answer(body: bytes, *further: tuple[bytes, bytes]) -> Answer:
    return Answer(
        status=200, body=body, content_type="text/javascript", headers=(*_HEADERS, *further)
    )


_PLAIN = {f"/{name}": _answer(script(name)) for name in SCRIPTS}
_GZIPPED = {
    f"/{name}": _answer(gzip.compress(script(name), 9, mtime=0), (b"content-encoding", b"gzip"))
    for name in SCRIPTS
}


def script_at(path: str, *, headers: Mapping[str, str]) -> Answer | None:
    """The script at a path such as ``/t.js``, gzipped for those who take that; None if none is."""
    plain = _PLAIN.get(path)
    if plain is not None and "gzip" in headers.get("accept-encoding", ""):
        return _GZIPPED[path]
    return plain
