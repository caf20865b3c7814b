"""Budgets: what tags cost a page, measured by a browser, against what they may cost.

Read are HAR files, as the network panel of every browser saves them, and the JSON of Lighthouse (or
of PageSpeed Insights, which wraps it). Both hold addresses with whatever was in them: told are
hosts.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from clickstream_platform.definitions import read_definition
from clickstream_platform.errors import DefinitionError

SHIPPED = Path(__file__).with_name("budget.toml")
"""The budget where no other is given."""

_REMEDY = "Save a HAR in the network panel of a browser, or run lighthouse --output=json."
Whose = Literal["tracker", "own", "third"]
_SHOWN = 3
"""Hosts that are told of, costliest first."""


class Limits(BaseModel):
    """What may be at most; None is not looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracker_bytes: int | None = Field(None, ge=0, description="Own scripts, compressed.")
    main_thread_ms: float | None = Field(None, ge=0, description="Own scripts on the main thread.")
    third_party_requests: int | None = Field(None, ge=0, description="Requests to others.")
    third_party_bytes: int | None = Field(None, ge=0, description="Bytes from others.")
    third_party_hosts: int | None = Field(None, ge=0, description="Hosts of others.")
    third_party_main_thread_ms: float | None = Field(None, ge=0, description="Scripts of others.")
    lcp_ms: float | None = Field(None, ge=0, description="Largest contentful paint.")
    cls: float | None = Field(None, ge=0, description="Cumulative layout shift.")
    tbt_ms: float | None = Field(None, ge=0, description="Total blocking time.")


class Budget(BaseModel):
    """A budget."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    own: tuple[str, ...] = Field((), description="Hosts that are no third parties.")
    tracker: str = Field(description="Pattern in the addresses of own scripts.")
    limits: Limits = Field(description="What may be at most.")

    @field_validator("tracker")
    @classmethod
    def _is_a_pattern(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            message = f"is no pattern: {error}"
            raise ValueError(message) from None
        return value


class Request(NamedTuple):
    """One request of a page."""

    url: str
    transferred_bytes: int


class Page(NamedTuple):
    """What a browser measured of one page."""

    host: str
    requests: tuple[Request, ...]
    script_ms: Mapping[str, float] | None
    """Time on the main thread by script address; None where it was not measured."""
    vitals: Mapping[str, float]
    """Measures of the page by the name of their limit."""


class Verdict(NamedTuple):
    """One limit, and what was measured."""

    page: str
    limit: str
    allowed: float
    measured: float | None
    """None where the file does not say."""
    costliest: str
    """Hosts that it is mostly of."""

    @property
    def is_kept(self) -> bool:
        """Whether it is kept, or was not measured."""
        return self.measured is None or self.measured <= self.allowed


def load_budget(file: Path | None = None) -> Budget:
    """Read a budget, the shipped one unless another is given.

    A file that cannot be used as written is a `DefinitionError`.
    """
    remedy = "Compare with the shipped budget.toml."
    return read_definition(Budget, file or SHIPPED, remedy=remedy)


def read_pages(text: str, file: object) -> list[Page]:
    """Read what a browser measured.

    Args:
        text: Content of the file.
        file: What errors call it.

    Raises:
        DefinitionError: It is neither a HAR file nor of Lighthouse.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        reason = "is no JSON"
        raise DefinitionError(file, "syntax", reason, remedy=_REMEDY) from None
    report = _at(content, "lighthouseResult") or content
    if isinstance(audits := _at(report, "audits"), dict):
        return [_of_lighthouse(report, audits)]
    entries = _at(content, "log", "entries")
    if not isinstance(entries, list):
        reason = "is neither a HAR file (log.entries) nor of Lighthouse (audits)"
        raise DefinitionError(file, "(root)", reason, remedy=_REMEDY)
    pages: dict[str, list[Request]] = {}
    for entry in entries:
        if (request := _of_entry(entry)) is not None:
            pages.setdefault(str(_at(entry, "pageref")), []).append(request)
    if not pages:
        raise DefinitionError(file, "log.entries", "holds no request", remedy=_REMEDY)
    return [Page(_host(of[0].url), tuple(of), None, {}) for of in pages.values()]


def spent(page: Page, budget: Budget) -> list[Verdict]:
    """Compare what a page costs with what it may cost, limit by limit."""
    tracker = [it for it in page.requests if _whose(it.url, page, budget) == "tracker"]
    third = [it for it in page.requests if _whose(it.url, page, budget) == "third"]
    costs: dict[str, dict[str, float] | None] = {
        "tracker_bytes": _by_host((it.url, it.transferred_bytes) for it in tracker) or None,
        "main_thread_ms": _times("tracker", page, budget),
        "third_party_requests": _by_host((it.url, 1) for it in third),
        "third_party_bytes": _by_host((it.url, it.transferred_bytes) for it in third),
        "third_party_hosts": dict.fromkeys((_host(it.url) for it in third), 1),
        "third_party_main_thread_ms": _times("third", page, budget),
    }
    costs |= {name: {"": page.vitals[name]} if name in page.vitals else None for name in VITALS}
    return [
        Verdict(page.host, name, allowed, _total(costs[name]), _costliest(costs[name] or {}))
        for name, allowed in budget.limits
        if allowed is not None
    ]


VITALS = {
    "lcp_ms": "largest-contentful-paint",
    "cls": "cumulative-layout-shift",
    "tbt_ms": "total-blocking-time",
}
"""Audits of Lighthouse by the name of their limit."""


def _of_lighthouse(report: object, audits: Mapping[str, object]) -> Page:
    address = _at(report, "finalDisplayedUrl") or _at(report, "finalUrl")
    items = _items(audits, "network-requests")
    times = _items(audits, "bootup-time") if "bootup-time" in audits else None
    vitals = {name: _number(_at(audits, audit, "numericValue")) for name, audit in VITALS.items()}
    return Page(
        _host(str(address or "")),
        tuple(
            Request(url, int(_number(it.get("transferSize")) or 0))
            for it in items
            if _host(url := str(it.get("url", "")))
        ),
        None
        if times is None
        else {
            url: _number(it.get("total")) or 0.0
            for it in times
            if _host(url := str(it.get("url", "")))
        },
        {name: value for name, value in vitals.items() if value is not None},
    )


def _of_entry(entry: object) -> Request | None:
    """A request of a HAR file: what came over the network, else what it was unpacked."""
    url = _at(entry, "request", "url")
    if not isinstance(url, str) or not _host(url):
        return None
    transferred = _number(_at(entry, "response", "_transferSize"))
    if transferred is None or transferred < 0:
        parts = [_number(_at(entry, "response", name)) for name in ("bodySize", "headersSize")]
        if parts[0] is None or parts[0] < 0:
            parts = [_number(_at(entry, "response", "content", "size")), parts[1]]
        transferred = sum(part for part in parts if part is not None and part > 0)
    return Request(url, int(transferred))


def _items(audits: Mapping[str, object], audit: str) -> Iterator[Mapping[str, object]]:
    items = _at(audits, audit, "details", "items")
    return (it for it in (items if isinstance(items, list) else []) if isinstance(it, dict))


def _at(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isinstance(value, int | float) else None


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "") if parts.scheme in {"http", "https"} else ""
    except ValueError:
        return ""


def _whose(url: str, page: Page, budget: Budget) -> Whose:
    """Whose an address is: scripts of the tracker are so on whichever host."""
    if re.search(budget.tracker, url.split("?", 1)[0]):
        return "tracker"
    host = _host(url)
    own = filter(None, (page.host.removeprefix("www."), *budget.own))
    return "own" if any(host == name or host.endswith(f".{name}") for name in own) else "third"


def _times(whose: Whose, page: Page, budget: Budget) -> dict[str, float] | None:
    """Time on the main thread by host."""
    if page.script_ms is None:
        return None
    times = page.script_ms.items()
    return _by_host((url, ms) for url, ms in times if _whose(url, page, budget) == whose)


def _by_host(costs: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for url, cost in costs:
        found[_host(url)] += cost
    return found


def _total(costs: Mapping[str, float] | None) -> float | None:
    return None if costs is None else sum(costs.values())


def _costliest(costs: Mapping[str, float]) -> str:
    first = sorted(costs.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    return ", ".join(f"{host} {cost:,.0f}" for host, cost in first if host)
