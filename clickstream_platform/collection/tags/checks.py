"""Checks: how each rule for containers is told, by the name that `rules.toml` gives it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

import polars as pl

from clickstream_platform.collection.tags.container import (
    BUILT_IN_TRIGGERS,
    Container,
    Item,
    is_built_in_trigger,
    is_number,
    plain,
)
from clickstream_platform.collection.tags.templates import permissions_of
from clickstream_platform.collection.tags.vendors import (
    CODE_TYPES,
    Purpose,
    Vendors,
    code_of,
    hosts_of,
    owner_of,
    strangers,
    vendor_of,
)
from clickstream_platform.privacy import find_personal

_CONSENT_INIT = "2147479572"
_PAGE_TRIGGERS = frozenset({"pageview", "init", "consentinit", "domready", "windowloaded"})
_MEASURES: tuple[Purpose, ...] = ("advertising", "analytics")
_SEQUENCES = ("setupTag", "teardownTag")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PERSONAL_NAME = re.compile(
    r"(?i)(?:^|[._\s-])(?:e_?mail|phone|tel|mobile|(?:first|last|full)_?name|street|birth_?da(?:y|te)"
    r"|iban|passw(?:or)?d|ssn|user_?data)(?:$|[._\s-]|address|number)"
)
_SECRET_NAME = re.compile(
    r"(?i)(?:api|client|app)[\s_-]?secret|private[\s_-]?key|access[\s_-]?token"
)
_INSECURE = re.compile(r"(?i)(?:src|href|url)\s*[=:(]\s*['\"]?http://")
_ACCOUNT_NAME = re.compile(r"(?i)(?:id|label|number)$")
_CONSENT_SET = re.compile(r"['\"]consent['\"]\s*,\s*['\"](?:default|update)['\"]")
_SWITCH = frozenset({"true", "false"})
"""Values that switch something on or off and hold nothing."""

_TABLES = frozenset({"c", "jsm", "remm", "smm"})
"""Types of variables whose numbers are accounts or code, whatever they look like."""


class Case(NamedTuple):
    """What checks look at."""

    container: Container
    vendors: Vendors
    now: datetime | None
    """Time to compare schedules with; None where nobody asks about them."""

    def purpose(self, tag: Item) -> Purpose | None:
        """What a tag is for: what its vendors are for, measuring first."""
        purposes = {
            self.vendors[name].purpose if name is not None else None for name in self.owners(tag)
        }
        for measures in _MEASURES:
            if measures in purposes:
                return measures
        if self.sets_consent(tag):
            return "consent"
        return purposes.pop() if len(purposes) == 1 else None

    def owners(self, tag: Item) -> frozenset[str | None]:
        """Vendors of a tag: by its account or type, else by its code; None for strangers."""
        if (name := vendor_of(tag, self.vendors)) is not None:
            accounts = self.accounts(tag, name)
            by_account = {
                other
                for other, it in self.vendors.items()
                if it.accounts and any(re.match(it.accounts, account) for account in accounts)
            }
            return frozenset(by_account or {name})
        code = code_of(tag)
        marked = {
            name
            for name, vendor in self.vendors.items()
            if any(re.search(marker, code) for marker in vendor.markers)
        }
        return frozenset(marked | {owner_of(host, self.vendors) for host in self.hosts(tag)})

    def accounts(self, tag: Item, vendor: str) -> frozenset[str]:
        """Accounts of a vendor that a tag names, constants resolved."""
        said = (tag.parameters.get(key, "") for key in self.vendors[vendor].ids)
        return frozenset(self.container.constants.get(value, value) for value in said if value)

    def asks_itself(self, tag: Item) -> bool:
        """Whether all that measures in a tag asks Consent Mode itself."""
        named = [self.vendors[name] for name in self.owners(tag) if name is not None]
        measuring = [vendor for vendor in named if vendor.purpose in _MEASURES]
        return bool(measuring) and all(vendor.checks_consent for vendor in measuring)

    def sets_consent(self, tag: Item) -> bool:
        """Whether a tag tells Consent Mode what was chosen."""
        template = self.template(tag)
        return bool(_CONSENT_SET.search(code_of(tag))) or any(
            it.name == "access_consent" and it.is_write
            for it in (permissions_of(template) if template else ())
        )

    def hosts(self, tag: Item) -> frozenset[str]:
        """Hosts that a tag's code or template names."""
        template = self.template(tag)
        return hosts_of(tag) | (hosts_of(template) if template else frozenset())

    def template(self, item: Item) -> Item | None:
        """The custom template that a tag or variable is made from."""
        if not item.type.startswith("cvt_"):
            return None
        last = item.type.rpartition("_")[2]
        for template in self.container.of("customTemplate"):
            gallery = template.fields.get("galleryReference")
            gallery_id = gallery.get("galleryTemplateId") if isinstance(gallery, dict) else None
            if last in (template.item_id, gallery_id):
                return template
        return None

    def is_on_every_page(self, tag: Item) -> bool:
        """Whether a trigger fires it on each page view."""
        return any(
            trigger_id in BUILT_IN_TRIGGERS
            or (
                (trigger := self.triggers.get(trigger_id)) is not None
                and plain(trigger.type) in _PAGE_TRIGGERS
                and not trigger.fields.get("filter")
            )
            for trigger_id in tag.ids("firingTriggerId")
        )

    @property
    def triggers(self) -> dict[str, Item]:
        """Triggers of the container's own."""
        return {item.item_id: item for item in self.container.of("trigger")}

    @property
    def called(self) -> Iterator[tuple[Item, str]]:
        """Tags, with the names of the tags that they call before or after them."""
        for tag in self.container.of("tag"):
            for field in _SEQUENCES:
                listed = tag.fields.get(field)
                for each in listed if isinstance(listed, list) else []:
                    if isinstance(each, dict) and isinstance(name := each.get("tagName"), str):
                        yield tag, name


Found = Iterator[tuple[Item, str]]
"""Items at fault, each with the part of it that is."""


def _consent_missing(case: Case) -> Found:
    for tag in case.container.live_tags:
        purpose = case.purpose(tag)
        if case.asks_itself(tag) or purpose in {"consent", "function"} or tag.consent == "needed":
            continue
        if tag.consent == "notset" or purpose in _MEASURES:
            yield tag, ""


def _consent_by_mode_alone(case: Case) -> Found:
    for tag in case.container.live_tags:
        if case.asks_itself(tag) and tag.consent != "needed":
            yield tag, ""


def _fires_before_consent(case: Case) -> Found:
    early = {_CONSENT_INIT} | {
        trigger_id
        for trigger_id, trigger in case.triggers.items()
        if plain(trigger.type) == "consentinit"
    }
    for tag in case.container.live_tags:
        loads = case.purpose(tag) in _MEASURES or (tag.type in CODE_TYPES and case.hosts(tag))
        if loads and case.purpose(tag) not in {"consent", "function"}:
            for trigger_id in sorted(early & set(tag.ids("firingTriggerId"))):
                yield tag, case.container.trigger_names.get(trigger_id, trigger_id)


def _personal_value(case: Case) -> Found:
    places = [
        (item, path, value)
        for item in (*case.container.of("tag"), *case.container.of("variable"))
        for path, value in item.parameters.items()
    ]
    found = find_personal(pl.Series([value for *_, value in places], dtype=pl.String))
    for row, kind in found.iter_rows():
        item, path, _ = places[row]
        # Accounts and numbers in code look like telephone and card numbers; addresses do not.
        is_number = path == "html" or item.type in _TABLES or _ACCOUNT_NAME.search(path)
        if kind == "email" or not is_number:
            yield item, f"{path} ({kind})"


def _personal_parameter(case: Case) -> Found:
    for tag in case.container.of("tag"):
        for path, value in tag.parameters.items():
            if value not in _SWITCH and _PERSONAL_NAME.search(_CAMEL.sub("_", path)):
                yield tag, path
        for name in tag.references:
            if _PERSONAL_NAME.search(_CAMEL.sub("_", name)):
                yield tag, f"{{{{{name}}}}}"


def _secret_exposed(case: Case) -> Found:
    for item in (*case.container.of("tag"), *case.container.of("variable")):
        for path, value in item.parameters.items():
            named = f"{item.name} {path}" if item.type == "c" else path
            if value and value not in _SWITCH and _SECRET_NAME.search(named):
                yield item, path


def _document_write(case: Case) -> Found:
    for tag in case.container.live_tags:
        if "document.write" in code_of(tag) or tag.parameters.get("supportDocumentWrite") == "true":
            yield tag, ""


def _insecure_url(case: Case) -> Found:
    for tag in case.container.live_tags:
        url = tag.parameters.get("url", "").lower()
        if url.startswith("http://") or _INSECURE.search(code_of(tag)):
            yield tag, ""


def _unknown_domain(case: Case) -> Found:
    for item in (*case.container.live_tags, *case.container.of("customTemplate")):
        for host in sorted(strangers(item, case.vendors)):
            yield item, host


def _html_on_all_pages(case: Case) -> Found:
    for tag in case.container.live_tags:
        is_ours = case.purpose(tag) in {"consent", "function"}
        if tag.type in CODE_TYPES and case.is_on_every_page(tag) and not is_ours:
            yield tag, ""


def _account_twice(case: Case) -> Found:
    setups: dict[tuple[str, str], list[Item]] = defaultdict(list)
    for tag in case.container.live_tags:
        for name, vendor in case.vendors.items():
            accounts = {
                account for marker in vendor.markers for account in re.findall(marker, code_of(tag))
            }
            if tag.type in vendor.setup_types:
                accounts |= case.accounts(tag, name)
            for account in accounts:
                setups[name, account].append(tag)
    for (name, _), tags in setups.items():
        for tag in tags[1:]:
            yield tag, f"{name}, as {tags[0].name} does"


def _duplicate(case: Case) -> Found:
    alike: dict[tuple[str, frozenset[tuple[str, str]]], list[Item]] = defaultdict(list)
    for tag in case.container.live_tags:
        alike[tag.type, frozenset(tag.parameters.items())].append(tag)
    for tags in alike.values():
        for place, tag in enumerate(tags):
            triggers = set(tag.ids("firingTriggerId"))
            for other in tags[:place]:
                if triggers & set(other.ids("firingTriggerId")):
                    yield tag, other.name


def _retired(case: Case) -> Found:
    for tag in case.container.live_tags:
        vendor = vendor_of(tag, case.vendors)
        if vendor is not None and case.vendors[vendor].is_retired:
            yield tag, vendor


def _trigger_missing(case: Case) -> Found:
    called = {name for _, name in case.called}
    for tag in case.container.live_tags:
        if not tag.ids("firingTriggerId") and tag.name not in called:
            yield tag, ""


def _trigger_unknown(case: Case) -> Found:
    for item in case.container.items:
        for trigger_id in item.used_triggers:
            if trigger_id not in case.triggers and not is_built_in_trigger(trigger_id):
                yield item, f"trigger {trigger_id}"


def _sequence_unknown(case: Case) -> Found:
    names = {tag.name for tag in case.container.of("tag")}
    for tag, name in case.called:
        if name not in names:
            yield tag, name


def _variable_unknown(case: Case) -> Found:
    known = {it.name for kind in ("variable", "builtInVariable") for it in case.container.of(kind)}
    for item in case.container.items:
        if item.kind != "customTemplate":
            for name in sorted(item.references - known):
                yield item, f"{{{{{name}}}}}"


def _paused(case: Case) -> Found:
    return ((tag, "") for tag in case.container.of("tag") if tag.is_paused)


def _expired(case: Case) -> Found:
    now_ms = case.now.timestamp() * 1000 if case.now else 0
    for tag in case.container.of("tag"):
        end = str(tag.fields.get("scheduleEndMs", ""))
        if is_number(end) and int(end) < now_ms:
            yield tag, ""


def _unused(case: Case) -> Found:
    items = case.container.items
    for variable in case.container.of("variable"):
        if not any(variable.name in it.references for it in items if it is not variable):
            yield variable, ""
    fired = {trigger_id for item in items for trigger_id in item.used_triggers}
    for trigger_id, trigger in case.triggers.items():
        if trigger_id not in fired:
            yield trigger, ""
    made_from = {template.item_id for it in items if (template := case.template(it))}
    for template in case.container.of("customTemplate"):
        if template.item_id not in made_from:
            yield template, ""


def _name_twice(case: Case) -> Found:
    names = Counter((item.kind, item.name) for item in case.container.items)
    return ((it, "") for it in case.container.items if names[it.kind, it.name] > 1)


CHECKS: dict[str, Callable[[Case], Found]] = {
    "consent_missing": _consent_missing,
    "consent_by_mode_alone": _consent_by_mode_alone,
    "fires_before_consent": _fires_before_consent,
    "personal_value": _personal_value,
    "personal_parameter": _personal_parameter,
    "secret_exposed": _secret_exposed,
    "document_write": _document_write,
    "insecure_url": _insecure_url,
    "unknown_domain": _unknown_domain,
    "html_on_all_pages": _html_on_all_pages,
    "account_twice": _account_twice,
    "duplicate": _duplicate,
    "retired": _retired,
    "trigger_missing": _trigger_missing,
    "trigger_unknown": _trigger_unknown,
    "sequence_unknown": _sequence_unknown,
    "variable_unknown": _variable_unknown,
    "paused": _paused,
    "expired": _expired,
    "unused": _unused,
    "name_twice": _name_twice,
}
"""Every check, by the name of its rule."""

IN_BROWSERS = frozenset(
    {
        "consent_missing",
        "consent_by_mode_alone",
        "fires_before_consent",
        "secret_exposed",
        "document_write",
        "html_on_all_pages",
    }
)
"""Rules that say nothing about a server container."""
