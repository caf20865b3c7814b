"""Addresses: read as the standard library reads them, and cut to the network that is stored."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickstream_platform.privacy import read_address, truncated_ip

octets = st.integers(0, 300).map(str) | st.sampled_from(["", "01", "00", "1e1", "\u0661", " 1"])
dotted = st.lists(octets, min_size=3, max_size=5).map(".".join)
addresses = st.ip_addresses().map(str) | st.ip_addresses(v=4).map(lambda a: f"::ffff:{a}") | dotted


def plainly(text: str) -> tuple[int, int] | None:
    """What the standard library alone makes of a text."""
    try:
        host = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    inner = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return (4, int(inner)) if inner is not None else (host.version, int(host))


@given(addresses)
def test_an_address_is_what_the_standard_library_says(text: str) -> None:
    assert read_address(text) == plainly(text)


@given(addresses)
def test_the_network_that_is_kept_is_that_of_the_standard_library(text: str) -> None:
    address = plainly(text)
    kept = truncated_ip(text)
    if address is None:
        assert kept is None
        return
    version, number = address
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    network = ipaddress.ip_network((kind(number), 24 if version == 4 else 48), strict=False)
    assert kept == str(network.network_address)
    assert kept is not None
    assert truncated_ip(kept) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        pytest.param(" 203.0.113.77 ", "203.0.113.0", id="blanks"),
        pytest.param("[2001:db8:1:2::3]", "2001:db8:1::", id="brackets"),
        pytest.param("fe80::1%eth0", "fe80::", id="a zone"),
        pytest.param("203.0.113", None, id="three parts"),
        pytest.param("203.0.113.7\0", None, id="NUL"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_what_stands_around_an_address_is_dropped(text: str, kept: str | None) -> None:
    assert truncated_ip(text) == kept
