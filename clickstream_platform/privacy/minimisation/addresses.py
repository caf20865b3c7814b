"""IP addresses: read in whatever clothing they come, and cut to what may be stored."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import AF_INET, inet_pton
from typing import NamedTuple

_REST = {4: (1 << 32 - 24) - 1, 6: (1 << 128 - 48) - 1}
"""Bits of an address that may not be stored, by version: all but /24 and /48."""


class Address(NamedTuple):
    """An IP address as its version, 4 or 6, and a number."""

    version: int
    number: int

    @property
    def rest(self) -> int:
        """The bits that may not be stored, as ones."""
        return _REST[self.version]


def read_address(text: str) -> Address | None:
    """Read an address; None if the text is none.

    An IPv4 address in IPv6 clothing (``::ffff:203.0.113.7``) is one of version 4. A zone and
    brackets are dropped.
    """
    text = text.strip().strip("[]").partition("%")[0]
    try:
        # Most are plain, and the system reads those ten times faster.
        return Address(4, int.from_bytes(inet_pton(AF_INET, text)))
    except (OSError, ValueError):
        pass
    try:
        host: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return None
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return Address(host.version, int(host))


def truncated_ip(text: str) -> str | None:
    """Cut an IPv4 address to /24 and an IPv6 address to /48; None if it is neither.

    What it is is judged by `read_address`.
    """
    address = read_address(text)
    if address is None:
        return None
    kept = address.number & ~address.rest
    if address.version == 4:  # noqa: PLR2004 - IPv4
        return f"{kept >> 24}.{kept >> 16 & 255}.{kept >> 8 & 255}.0"
    return str(IPv6Address(kept))
