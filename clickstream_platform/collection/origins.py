"""Origins: from which pages a browser may send; a list, never a reflection."""

from collections.abc import Iterable

from clickstream_platform.errors import ParameterError

_WILD = "://*."


class Origins:
    """The allow-list of origins.

    Args:
        allowed: Origins such as ``https://shop.example``; ``https://*.shop.example`` allows every
            subdomain. No entry allows everything.

    Raises:
        ParameterError: An entry is no origin.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        entries = [entry.rstrip("/").lower() for entry in allowed]
        for entry in entries:
            scheme, _, host = entry.partition("://")
            plain = host.removeprefix("*.")
            if scheme not in {"http", "https"} or not plain or set(plain) & set("*/@?# "):
                name = "collector.origins"
                raise ParameterError(
                    name, entry, "is no origin", instead="['https://shop.example']"
                )
        self._exact = frozenset(entry for entry in entries if _WILD not in entry)
        self._wild = tuple(entry.split(_WILD) for entry in entries if _WILD in entry)

    def allows(self, origin: str, host: str = "") -> bool:
        """Whether pages of an origin may send to a collector that was asked for as ``host``."""
        origin = origin.lower()
        scheme, _, name = origin.partition("://")
        if origin in self._exact or (name and name == host.lower()):
            return True
        return any(scheme == s and name.endswith(f".{h}") for s, h in self._wild)

    def headers(self, origin: str | None, host: str = "") -> list[tuple[bytes, bytes]]:
        """CORS headers of an answer; for an origin off the list only that answers vary with it."""
        if origin is None:
            return []
        vary = (b"vary", b"Origin")
        if not self.allows(origin, host):
            return [vary]
        return [
            (b"access-control-allow-origin", origin.encode("latin-1", "replace")),
            (b"access-control-allow-credentials", b"true"),
            vary,
        ]
