"""Networks: who is on a list, formats of publishers, and lists that cannot be used."""

import ipaddress
import json
import random
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from clickstream_platform.collection.bots import (
    BotRanges,
    RangeList,
    RangeListError,
    load_ranges,
    read_networks,
    store_ranges,
)

FILE = Path("list.txt")


def listed(kind: str, *networks: str) -> RangeList:
    """A list of documentation networks."""
    return RangeList(
        name=f"{kind}s",
        kind=kind,  # type: ignore[arg-type]  # a text of the test
        source="https://crawler.example/ranges.json",
        licence="CC0-1.0",
        published_on=date(2026, 11, 1),
        networks=read_networks("\n".join(networks), FILE),
    )


RANGES = BotRanges(
    [
        listed("crawler", "198.51.100.64/27", "192.0.2.0/24", "2001:db8:1::/48"),
        listed("datacenter", "198.51.100.0/24", "2001:db8::/32"),
    ]
)


@pytest.mark.parametrize(
    ("address", "signals"),
    [
        pytest.param("198.51.100.64", {"crawler", "datacenter"}, id="first of a network"),
        pytest.param("198.51.100.95", {"crawler", "datacenter"}, id="last of a network"),
        pytest.param("198.51.100.96", {"datacenter"}, id="behind it"),
        pytest.param("198.51.100.63", {"datacenter"}, id="before it"),
        pytest.param("198.51.100.0", {"datacenter"}, id="cut, and not all of it is a crawler's"),
        pytest.param("192.0.2.0", {"crawler"}, id="cut, and all of it is"),
        pytest.param("192.0.3.1", set(), id="on no list"),
        pytest.param("::ffff:192.0.2.7", {"crawler"}, id="IPv4 in IPv6 clothing"),
        pytest.param("2001:db8:1:2::3", {"crawler", "datacenter"}, id="IPv6"),
        pytest.param("2001:db8:1::", {"crawler", "datacenter"}, id="IPv6, cut"),
        pytest.param("2001:db8:2::1", {"datacenter"}, id="IPv6, of one list"),
        pytest.param("[2001:db8:2::1%eth0]", {"datacenter"}, id="IPv6 with a zone"),
        pytest.param("0.0.2.0", set(), id="before everything"),
        pytest.param("host.example", set(), id="no address"),
        pytest.param("", set(), id="nothing"),
    ],
)
def test_address_is_looked_up_in_every_list(address: str, signals: set[str]) -> None:
    assert set(RANGES.signals(address)) == {f"{kind}_range" for kind in signals}


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_a_loop_over_networks(seed: int) -> None:
    rng = random.Random(seed)
    networks = [
        ipaddress.ip_network((rng.getrandbits(10) << 22, rng.randint(8, 32)), strict=False)
        for _ in range(30)
    ]
    ranges = BotRanges([listed("datacenter", *map(str, networks))])
    for _ in range(300):
        host = ipaddress.ip_address((rng.getrandbits(10) << 22) + rng.getrandbits(8) | 1)
        inside = any(host in network for network in networks)
        assert ranges.signals(str(host)) == (("datacenter_range",) if inside else ())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("# crawlers\n192.0.2.0/25 # half\n\n2001:db8::/32\n192.0.2.128/25", id="text"),
        pytest.param("192.0.2.0/24,US,US-NY,New York,\n2001:db8::/32,US,,,", id="geofeed"),
        pytest.param(
            json.dumps(
                {
                    "creationTime": "2026-11-01T00:00:00",
                    "prefixes": [{"ipv4Prefix": "192.0.2.0/24"}, {"ipv6Prefix": "2001:db8::/32"}],
                }
            ),
            id="Google, Bing, OpenAI",
        ),
        pytest.param(
            json.dumps(
                {
                    "prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "x"}],
                    "ipv6_prefixes": [{"ipv6_prefix": "2001:db8::/32"}],
                }
            ),
            id="AWS",
        ),
    ],
)
def test_formats_of_publishers_are_read(text: str) -> None:
    assert [*map(str, read_networks(text, FILE))] == ["192.0.2.0/24", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "holds no networks", id="empty"),
        pytest.param("{}", "holds no networks", id="empty JSON"),
        pytest.param('{"prefixes"', "is no JSON", id="broken JSON"),
        pytest.param("192.0.2.0/24\n192.0.2.1/24", "entry 2 is no network", id="bits of a host"),
        pytest.param("<html>", "entry 1 is no network", id="page"),
        pytest.param("0.0.0.0/0", "entry 1 is the whole internet", id="everybody"),
    ],
)
def test_unusable_list_is_refused(text: str, reason: str) -> None:
    with pytest.raises(RangeListError, match=rf"list\.txt: {reason}\. It must be one network"):
        read_networks(text, FILE)


def test_stored_list_is_read_again_with_its_origin(tmp_path: Path) -> None:
    folder = tmp_path / "ranges"
    assert not load_ranges(folder, shipped=None)
    first = listed("crawler", "198.51.100.64/27", "2001:db8::/32")
    store_ranges(folder, first)
    assert load_ranges(folder, shipped=None).lists == (first,)
    store_ranges(folder, latest := replace(first, networks=read_networks("192.0.2.0/24", FILE)))
    assert load_ranges(folder, shipped=None).lists == (latest,)
    assert load_ranges(folder, shipped=None) is load_ranges(folder, shipped=None), "kept"


@pytest.mark.parametrize("missing", ["class", "source", "licence", "date"])
def test_list_without_origin_is_refused(tmp_path: Path, missing: str) -> None:
    file = store_ranges(tmp_path, listed("crawler", "192.0.2.0/24"))
    lines = file.read_text().splitlines()
    file.write_text("\n".join(line for line in lines if not line.startswith(f"# {missing}")))
    with pytest.raises(RangeListError, match=f"does not say its {missing}"):
        load_ranges(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("crawler\n", "friend\n", "class must be one of crawler, ai_crawler, datacenter"),
        ("2026-11-01", "November", "date must be a day"),
    ],
)
def test_list_of_wrong_origin_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    file = store_ranges(tmp_path, listed("crawler", "192.0.2.0/24"))
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(RangeListError, match=reason):
        load_ranges(tmp_path)


SHIPPED_NETWORKS = {
    "66.249.66.1": {"crawler", "datacenter"},  # Googlebot
    "2001:4860:4801:10::1": {"crawler", "datacenter"},  # Googlebot
    "216.73.216.5": {"ai_crawler", "datacenter"},  # ClaudeBot
    "3.5.140.1": {"datacenter"},  # AWS
    "203.0.113.7": set(),  # documentation
    "192.168.1.1": set(),  # private
}


@pytest.mark.parametrize("address", SHIPPED_NETWORKS)
def test_shipped_lists_name_their_origin_and_are_told(tmp_path: Path, address: str) -> None:
    ranges = load_ranges(tmp_path)
    assert [each.name for each in ranges.lists] == ["ai_crawlers", "crawlers", "datacenters"]
    assert all("iporigin" in each.source and "CC0" in each.licence for each in ranges.lists)
    kinds = SHIPPED_NETWORKS[address]
    assert set(ranges.signals(address)) == {f"{kind}_range" for kind in kinds}


def test_own_list_replaces_a_shipped_one_by_name(tmp_path: Path) -> None:
    store_ranges(tmp_path, replace(listed("crawler", "192.0.2.0/24"), name="crawlers"))
    ranges = load_ranges(tmp_path)
    assert ranges.signals("192.0.2.1") == ("crawler_range",)
    assert "crawler_range" not in ranges.signals("66.249.66.1")
