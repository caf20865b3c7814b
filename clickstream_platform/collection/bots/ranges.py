"""Networks of crawlers and datacenters: lists that operators publish, and who is on one.

Those that are shipped lie in `ranges/`, each with its source, licence and date. They age within
weeks: `clickstream bots ranges update` imports the file that a publisher offers.
"""

import ipaddress
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import chain
from pathlib import Path
from socket import AF_INET, inet_pton
from typing import Literal, get_args

from clickstream_platform.errors import ClickstreamError, ParameterError
from clickstream_platform.privacy import read_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
RangeKind = Literal["crawler", "ai_crawler", "datacenter"]

SHIPPED = Path(__file__).with_name("ranges")

RANGES_FOLDER = "bot_ranges"
"""Name of the folder of imported lists in the state folder."""

_NAME = re.compile(r"[\w-][\w.-]*")
_ABOUT = ("class", "source", "licence", "date")
_JSON_KEYS = ("ipv4Prefix", "ipv6Prefix", "ip_prefix", "ipv6_prefix")


class RangeListError(ClickstreamError, ValueError):
    """A list of networks cannot be used as written."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(
            f"{file}: {reason}. It must be one network in CIDR notation per line, or the JSON that "
            "Google, Bing, OpenAI and AWS publish; import it anew by `clickstream bots ranges "
            "update`."
        )


@dataclass(frozen=True, kw_only=True)
class RangeList:
    """Networks of one operator, and where the list is from."""

    name: str
    kind: RangeKind
    source: str
    licence: str
    published_on: date
    networks: tuple[Network, ...]

    @property
    def text(self) -> str:
        """The list as it is kept."""
        about = (self.kind, self.source, self.licence, self.published_on.isoformat())
        head = [f"# {key}: {value}" for key, value in zip(_ABOUT, about, strict=True)]
        return "\n".join([*head, *map(str, self.networks), ""])


class BotRanges:
    """Tells whether an address lies in a network of the lists.

    Networks of one kind are put together to stretches that do not touch each other, so that a look
    is one bisection: faster and ten times smaller in Python than a tree of bits.
    """

    def __init__(self, lists: Iterable[RangeList] = ()) -> None:
        self.lists = tuple(lists)
        self._stretches: dict[tuple[RangeKind, int], tuple[list[int], list[int]]] = {}
        for kind in get_args(RangeKind):
            networks = [n for each in self.lists if each.kind == kind for n in each.networks]
            for version in (4, 6):
                if merged := _merged(n for n in networks if n.version == version):
                    starts, ends = map(list, zip(*merged, strict=True))
                    self._stretches[kind, version] = starts, ends

    def __bool__(self) -> bool:
        return bool(self._stretches)

    def signals(self, address: str) -> tuple[str, ...]:
        """Rules of layer range that an address matches.

        One that was cut to the network that may be stored matches only if all of its network does.
        What is no address matches nothing.
        """
        host = read_address(address)
        if host is None:
            return ()
        first = last = host.number
        if first & host.rest == 0:  # it ends as one does that was cut before
            last |= host.rest
        return tuple(
            f"{kind}_range"
            for (kind, version), (starts, ends) in self._stretches.items()
            if version == host.version
            and (place := bisect_right(starts, first) - 1) >= 0
            and last <= ends[place]
        )


def _merged(networks: Iterable[Network]) -> list[tuple[int, int]]:
    """First and last address of stretches that do not touch each other, in order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(
        (start := int(n.network_address), start + (1 << (n.max_prefixlen - n.prefixlen)) - 1)
        for n in networks
    ):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged


def collapsed(networks: Iterable[Network], version: int) -> list[Network]:
    """Networks of one IP version in order, without those that lie in or beside another."""
    if version == 4:  # noqa: PLR2004 - IPv4
        v4 = [n for n in networks if isinstance(n, ipaddress.IPv4Network)]
        return list(ipaddress.collapse_addresses(v4))
    v6 = [n for n in networks if isinstance(n, ipaddress.IPv6Network)]
    return list(ipaddress.collapse_addresses(v6))


def read_networks(text: str, file: Path) -> tuple[Network, ...]:
    """Read a list as its publisher offers it: JSON, or a network at the start of each line.

    Something that is no network, or nothing at all, raises `RangeListError`.
    """
    networks = _listed(text, file)
    return tuple(dict.fromkeys(chain(collapsed(networks, 4), collapsed(networks, 6))))


def _listed(text: str, file: Path) -> list[Network]:
    """Every network of a list, as it stands there.

    Raises:
        RangeListError: Something in it is no network, or nothing is.
    """
    if text.lstrip().startswith("{"):
        found = _of_json(text, file)
    else:
        lines = (line.partition("#")[0].partition(",")[0].strip() for line in text.splitlines())
        found = [line for line in lines if line]
    networks: list[Network] = []
    for number, entry in enumerate(found, start=1):
        try:
            network = _network(entry)
        except ValueError:
            raise RangeListError(file, f"entry {number} is no network") from None
        if network.prefixlen == 0:
            raise RangeListError(file, f"entry {number} is the whole internet")
        networks.append(network)
    if not networks:
        raise RangeListError(file, "holds no networks")
    return networks


def _network(entry: str) -> Network:
    """A network in CIDR notation; most are plain IPv4, which the system reads faster."""
    address, _, length = entry.partition("/")
    if not (length.isascii() and length.isdigit()):
        return ipaddress.ip_network(entry)
    try:
        plain = inet_pton(AF_INET, address)
    except (OSError, ValueError):
        return ipaddress.ip_network(entry)
    return ipaddress.IPv4Network((plain, int(length)))


def store_ranges(folder: Path, given: RangeList) -> Path:
    """Keep a list in place of the last one of the same name.

    Raises:
        ParameterError: No file can be called so.
    """
    if not _NAME.fullmatch(given.name):
        parameter, rule = "name", "must be letters, digits, '_', '-' and '.', no '.' first"
        raise ParameterError(parameter, given.name, rule, instead="googlebot")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{given.name}.txt"
    draft = file.with_suffix(".tmp")
    draft.write_text(given.text, encoding="utf-8")
    draft.replace(file)
    return file


def load_ranges(folder: Path, *, shipped: Path | None = SHIPPED) -> BotRanges:
    """Read the lists that are shipped and those of a folder, which replace them by name.

    They are kept until a file is another one: every load asks for them, and reading takes longer
    than judging the addresses of most. A list that cannot be used as written is a `RangeListError`.
    """
    folders = [each for each in (shipped, folder) if each is not None]
    files = {file.stem: file for each in folders for file in sorted(each.glob("*.txt"))}
    looks = [(file, file.stat()) for _, file in sorted(files.items())]
    return _of_files(tuple((file, it.st_ino, it.st_size, it.st_mtime_ns) for file, it in looks))


@lru_cache(maxsize=4)
def _of_files(files: tuple[tuple[Path, int, int, int], ...]) -> BotRanges:
    """Lists of files that look so: inode, bytes and time of change."""
    return BotRanges(_stored(file) for file, *_ in files)


def _stored(file: Path) -> RangeList:
    text = file.read_text(encoding="utf-8")
    said = (line[1:].partition(":") for line in text.splitlines() if line.startswith("#"))
    about = {key.strip(): value.strip() for key, _, value in said}
    for key in _ABOUT:
        if not about.get(key):
            raise RangeListError(file, f"does not say its {key}")
    kinds: Mapping[str, RangeKind] = {kind: kind for kind in get_args(RangeKind)}
    kind = kinds.get(about["class"])
    if kind is None:
        raise RangeListError(file, f"class must be one of {', '.join(kinds)}")
    try:
        published_on = date.fromisoformat(about["date"])
    except ValueError:
        raise RangeListError(file, "date must be a day such as 2026-11-01") from None
    return RangeList(
        name=file.stem,
        kind=kind,
        source=about["source"],
        licence=about["licence"],
        published_on=published_on,
        networks=tuple(_listed(text, file)),
    )


def _of_json(text: str, file: Path) -> list[str]:
    try:
        data = json.loads(text)
    except ValueError:
        raise RangeListError(file, "is no JSON") from None
    entries = [
        entry
        for key in ("prefixes", "ipv6_prefixes")
        for entry in data.get(key, [])
        if isinstance(entry, dict)
    ]
    return [str(entry[key]) for entry in entries for key in _JSON_KEYS if key in entry]
