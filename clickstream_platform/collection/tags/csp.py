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
from clickstream_platform.collection.tags.templates import (
    DIRECTIVES,
    Permission,
    permissions_of,
)
from clickstream_platform.collection.tags.vendors import (
    Vendors,
    code_of,
    is_covered,
    owner_of,
    strangers,
)
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

_SERVER_URL = re.compile(r"(?i)(?:^|\.)(?:server_?container_?url|transport_?url)$")
"""Parameters of Google's tags that name the server that they send to."""

_SHOWN = 3
"""Tags that a note names."""

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
    if not container.is_of_pages:
        rule = "is of AMP pages or an app: no policy of yours applies"
        if container.is_server:
            rule = "is of a server: no browser runs it"
        what, instead = "container", "a web container"
        raise ParameterError(what, container.public_id, rule, instead=instead)
    case = Case(container, vendors, None)
    needed = {"google_tag_manager"} & vendors.keys()
    for tag in container.live_tags:
        needed |= {name for name in case.owners(tag) if name is not None}
        for host in case.hosts(tag):
            if owner_of(host, vendors) is None:
                yield from ((it, f"https://{host}") for it in _guessed(tag, host, case))
        for server in filter(None, _servers(tag, container)):
            yield from ((directive, server) for directive in _ANY_CODE)
    for name in needed:
        for directive, sources in vendors[name].csp.items():
            yield from ((directive, source) for source in sources)


def _guessed(tag: Item, host: str, case: Case) -> set[str]:
    """Directives of a host of no known vendor: by what loads it, else by all code."""
    if tag.type == "img":
        return {"img-src"}
    template = case.template(tag)
    loads = {DIRECTIVES.get(it.name) for it in _naming(template, host)} if template else set()
    by_element = {
        _ELEMENTS[element.lower()]
        for element, loaded in _LOADING.findall(code_of(tag))
        if loaded.lower() == host
    }
    return {it for it in loads if it is not None} | by_element or set(_ANY_CODE)


def _naming(template: Item, host: str) -> Iterator[Permission]:
    return (it for it in permissions_of(template) if host in it.hosts)


def _servers(tag: Item, container: Container) -> Iterator[str | None]:
    """Origins of the servers that Google's tags send to; None where a variable hides one."""
    for path, value in tag.parameters.items():
        if value and _SERVER_URL.search(path):
            parts = urlsplit(container.constants.get(value, value))
            is_known = parts.scheme == "https" and parts.hostname and "{" not in parts.netloc
            yield f"https://{parts.netloc}" if is_known else None


def _notes(container: Container, vendors: Vendors, *, allow_eval: bool) -> Iterator[str]:
    yield from _notes_of_tags(container, vendors)
    for zone in container.of("zone"):
        if children := ", ".join(zone.child_containers):
            yield f"Zone '{zone.name}' loads {children}: make a policy of that container, too."
    evaluated = sorted(it.name for it in container.of("variable") if it.type == "jsm")
    if evaluated and not allow_eval:
        named = ", ".join(f"'{name}'" for name in evaluated)
        yield (
            f"Custom JavaScript variables are undefined without 'unsafe-eval': {named}. Make "
            "templates of them, or allow it (--allow-eval)."
        )


def _notes_of_tags(container: Container, vendors: Vendors) -> Iterator[str]:
    """What to know about live tags, once for all tags that it is true of."""
    case = Case(container, vendors, None)
    unknown: dict[str, list[str]] = defaultdict(list)
    missing, silent, hidden = [], [], []
    for tag in container.live_tags:
        template = case.template(tag)
        for host in strangers(tag, vendors) | (strangers(template, vendors) if template else set()):
            unknown[host].append(tag.name)
        if tag.type.startswith("cvt_") and template is None:
            missing.append(tag.name)
        elif template is not None and not case.hosts(tag) and not case.sets_consent(tag):
            silent.append(tag.name)
        if None in _servers(tag, container):
            hidden.append(tag.name)
    for host, names in sorted(unknown.items()):
        yield f"{host} is of no known vendor; named by {_listed(names)}. Allowed by guess."
    if missing:
        yield f"The file lacks the templates, and so the hosts, of {_listed(missing)}."
    if silent:
        yield f"No host is named by the permissions of the templates of {_listed(silent)}."
    if hidden:
        yield f"A variable names the server, to be allowed by you, of {_listed(hidden)}."


def _listed(names: Sequence[str]) -> str:
    """Tags as a note names them: the first few, and how many more there are."""
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{'tag' if len(names) == 1 else 'tags'} {shown}{more}"


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
