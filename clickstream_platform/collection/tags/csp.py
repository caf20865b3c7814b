"""Content-Security-Policy: what pages may load for the tags of a container, and for no others."""

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import polars as pl

from clickstream_platform.collection.tags.checks import Case
from clickstream_platform.collection.tags.container import Container, Item
from clickstream_platform.collection.tags.vendors import Vendors, is_covered, vendor_of
from clickstream_platform.errors import ParameterError

NONCE = "'nonce-{NONCE}'"
"""Stands for a value that the server draws anew for each answer."""

REPORTS_PATH = "/v1/csp"
"""Where the collector takes what browsers report."""

GROUP = "csp"
"""Name of the reporting endpoint."""

BASE = {
    "default-src": ("'self'",),
    "script-src": ("'self'",),
    "style-src": ("'self'",),
    "img-src": ("'self'", "data:"),
    "font-src": ("'self'",),
    "connect-src": ("'self'",),
    "frame-src": ("'self'",),
    "object-src": ("'none'",),
    "base-uri": ("'self'",),
    "form-action": ("'self'",),
}
"""What every policy begins with."""

_ELEMENTS = {"script": "script-src", "img": "img-src", "iframe": "frame-src", "link": "style-src"}
_LOADING = re.compile(
    r"(?is)<(script|img|iframe|link)\b[^>]*?(?:src|href)\s*=\s*['\"]?(?:https?:)?//([a-z0-9.-]+)"
)
_ANY_CODE = ("script-src", "img-src", "connect-src")
"""Directives of a host that stands in code, which may do anything with it."""

_INLINE = re.compile(r"(?is)<script\b[^>]*>(.*?)</script>")


class Policy(NamedTuple):
    """A policy, and what to know about it."""

    directives: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]
    report_url: str | None

    @property
    def value(self) -> str:
        """The policy as the header says it."""
        parts = [" ".join((name, *sources)) for name, sources in self.directives.items()]
        if self.report_url:
            parts += [f"report-uri {self.report_url}", f"report-to {GROUP}"]
        return "; ".join(parts)

    def headers(self, *, enforce: bool) -> dict[str, str]:
        """The headers that a page is answered with."""
        name = "Content-Security-Policy" + ("" if enforce else "-Report-Only")
        endpoints = {"Reporting-Endpoints": f'{GROUP}="{self.report_url}"'}
        return {name: self.value} | (endpoints if self.report_url else {})


class Collector(NamedTuple):
    """Where the tracker is served and events and reports go."""

    url: str
    key: str | None = None

    @property
    def origin(self) -> str:
        """Its origin."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            name = "collector"
            raise ParameterError(name, self.url, "is no address", instead="https://c.shop.example")
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def content_security_policy(  # noqa: PLR0913 - what a policy is made of
    container: Container | None = None,
    *,
    vendors: Vendors,
    seen: pl.DataFrame | None = None,
    collector: Collector | None = None,
    inline: Sequence[str] = (),
    allow_eval: bool = False,
) -> Policy:
    """Make the narrowest policy under which the tags of a container work.

    Args:
        container: The container, of a page; none where only what was seen counts.
        vendors: What vendors need.
        seen: What browsers have reported and is to be allowed, as `blocked_sources` tells it.
        collector: Serves the tracker, and takes events and reports.
        inline: Pages or scripts whose inline code is allowed by its hash; without any, inline code
            needs a nonce.
        allow_eval: Allow ``'unsafe-eval'``, which Custom JavaScript variables need.
    """
    directives: dict[str, set[str]] = defaultdict(set)
    notes: list[str] = []
    hashes = {_hash(code) for text in inline for code in _INLINE.findall(text) or [text]}
    directives["script-src"] |= hashes or {NONCE}
    if hashes:
        notes.append("A hash allows one text: print the policy anew when an inline script changes.")
    else:
        notes.append(
            "Replace {NONCE} by a random value per answer, and give the same value to the nonce "
            "attribute of the Tag Manager snippet, which hands it to the scripts it adds."
        )
    if container is not None:
        for directive, source in _of_container(container, vendors):
            directives[directive].add(source)
        notes += _notes(container, vendors, allow_eval=allow_eval)
    if seen is not None:
        is_safe = pl.col("blocked_origin").str.contains("^(https|wss)://")
        for directive, source in _pairs(seen.filter(is_safe)):
            directives[directive].add(source)
        notes += [
            f"{directive} was blocked for {source}, which is not allowed by what was reported."
            for directive, source in _pairs(seen.filter(~is_safe))
        ]
    if allow_eval:
        directives["script-src"].add("'unsafe-eval'")
    report_url = None
    if collector is not None:
        for directive in _ANY_CODE:
            directives[directive].add(collector.origin)
        if collector.key:
            report_url = f"{collector.origin}{REPORTS_PATH}?key={quote(collector.key, safe='')}"
    return Policy(_ordered(directives), tuple(notes), report_url)


def _pairs(seen: pl.DataFrame) -> Iterator[tuple[str, str]]:
    return ((row[0], row[1]) for row in seen.select("directive", "blocked_origin").iter_rows())


def _of_container(container: Container, vendors: Vendors) -> Iterator[tuple[str, str]]:
    """Directives and sources that live tags need."""
    if container.is_server:
        what, rule = "container", "is of a server: no browser runs it"
        raise ParameterError(what, container.public_id, rule, instead="a web container")
    case = Case(container, vendors, None)
    needed = {"google_tag_manager"} & vendors.keys()
    for tag in container.live_tags:
        if (name := vendor_of(tag, vendors)) is not None:
            needed.add(name)
        for host in case.hosts(tag):
            known = [name for name, vendor in vendors.items() if vendor.covers(host)]
            needed.update(known)
            if not known:
                for directive in _guessed(tag, host):
                    yield directive, f"https://{host}"
    for name in needed:
        for directive, sources in vendors[name].csp.items():
            yield from ((directive, source) for source in sources)


def _guessed(tag: Item, host: str) -> set[str]:
    """Directives of a host of no known vendor: by the element that loads it, else by all code."""
    if tag.type == "img":
        return {"img-src"}
    html = tag.parameters.get("html", "")
    by_element = {
        _ELEMENTS[element.lower()]
        for element, loaded in _LOADING.findall(html)
        if loaded.lower() == host
    }
    return by_element or set(_ANY_CODE)


def _notes(container: Container, vendors: Vendors, *, allow_eval: bool) -> Iterator[str]:
    case = Case(container, vendors, None)
    for tag in container.live_tags:
        unknown = [h for h in case.hosts(tag) if not any(v.covers(h) for v in vendors.values())]
        for host in sorted(unknown):
            yield f"{host} is of no known vendor; tag '{tag.name}' names it. Allowed by guess."
        if tag.type.startswith("cvt_") and not case.hosts(tag):
            yield f"Tag '{tag.name}' is of a template whose permissions name no host."
    evaluated = sorted(it.name for it in container.of("variable") if it.type == "jsm")
    if evaluated and not allow_eval:
        named = ", ".join(f"'{name}'" for name in evaluated)
        yield (
            f"Custom JavaScript variables are undefined without 'unsafe-eval': {named}. Make "
            "templates of them, or allow it (--allow-eval)."
        )


def _ordered(directives: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    """Directives in order, without sources that a wildcard of the same directive covers."""
    ordered = {}
    for name in [*BASE, *sorted(directives.keys() - BASE.keys())]:
        found = directives.get(name, set())
        wild = [source for source in found if "://*." in source]
        narrow = {
            source
            for source in found
            if source in wild
            or not any(
                urlsplit(source).scheme == urlsplit(it).scheme
                and is_covered(urlsplit(source).hostname or "", it)
                for it in wild
            )
        }
        base = BASE.get(name, ())
        ordered[name] = (*base, *sorted(narrow - set(base)))
    return ordered


def _hash(code: str) -> str:
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"'sha256-{digest}'"
