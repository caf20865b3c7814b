"""Containers: what Google Tag Manager exports, as items that rules and diffs can ask.

Read are an export of the user interface (``exportFormatVersion`` 2) and a container version of the
API; the two write names of constants differently (``NOT_SET``, ``notSet``), so none is compared as
written.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from clickstream_platform.errors import DefinitionError

KINDS = {
    "tag": "tagId",
    "trigger": "triggerId",
    "variable": "variableId",
    "builtInVariable": "type",
    "folder": "folderId",
    "customTemplate": "templateId",
    "client": "clientId",
    "zone": "zoneId",
    "transformation": "transformationId",
    "gtagConfig": "gtagConfigId",
}
"""Kinds of items by their key in a container version, and the field that holds their id."""

BUILT_IN_TRIGGERS = {
    "2147479553": "All Pages",
    "2147479572": "Consent Initialization - All Pages",
    "2147479573": "Initialization - All Pages",
}
"""Triggers that every web container has and no export lists."""

EXPORT_FORMAT = 2
_NUMBER = re.compile(r"[0-9]{1,19}")
_FIRST_BUILT_IN_ID = 2_147_479_000
_REFERENCE = re.compile(r"\{\{([^{}]+)\}\}")
_SAID = frozenset({"name", "notes", "path", "tagManagerUrl", "templateData"})
"""Fields that Tag Manager shows and never resolves: variables in them are words."""
_REMEDY = "Export it in Tag Manager under Admin, Export Container, and name that file."


@dataclass(frozen=True)
class Item:
    """One tag, trigger, variable or other part of a container."""

    kind: str
    item_id: str
    name: str
    fields: Mapping[str, object]

    @property
    def type(self) -> str:
        """Kind of tag, trigger or variable, such as ``html``."""
        return str(self.fields.get("type", ""))

    @property
    def is_paused(self) -> bool:
        """Whether a tag is paused."""
        return self.fields.get("paused") is True

    @property
    def consent(self) -> str:
        """Additional consent of a tag: ``notset``, ``notneeded`` or ``needed``."""
        settings = self.fields.get("consentSettings")
        said = settings.get("consentStatus") if isinstance(settings, dict) else None
        return plain(said) if isinstance(said, str) else "notset"

    @cached_property
    def parameters(self) -> dict[str, str]:
        """Values of parameters by their path, such as ``eventParameters.value``.

        Further rows of one name are numbered from 2, so that none is lost.
        """
        values: dict[str, str] = {}
        times = Counter[str]()
        for path, value in _values(self.fields.get("parameter")):
            times[path] += 1
            values[path if times[path] == 1 else f"{path} ({times[path]})"] = value
        return values

    @cached_property
    def references(self) -> frozenset[str]:
        """Names of the variables that it reads."""
        return frozenset(
            name
            for field, value in self.fields.items()
            if field not in _SAID
            for text in _texts(value)
            for name in _REFERENCE.findall(text)
            if not name.startswith("_")
        )

    def ids(self, field: str) -> tuple[str, ...]:
        """Ids that a field lists, such as ``firingTriggerId``."""
        listed = self.fields.get(field)
        return tuple(str(each) for each in listed) if isinstance(listed, list) else ()

    @property
    def grouped_triggers(self) -> tuple[str, ...]:
        """Triggers that a trigger group waits for."""
        if plain(self.type) != "triggergroup":
            return ()
        return tuple(value for key, value in self.parameters.items() if "triggerIds" in key)

    @property
    def zone_triggers(self) -> tuple[str, ...]:
        """Triggers that open a zone."""
        boundary = self.fields.get("boundary")
        listed = boundary.get("customEvaluationTriggerId") if isinstance(boundary, dict) else None
        return tuple(str(each) for each in listed) if isinstance(listed, list) else ()

    @property
    def used_triggers(self) -> tuple[str, ...]:
        """Triggers that it waits for, in whichever way."""
        fired = (*self.ids("firingTriggerId"), *self.ids("blockingTriggerId"))
        return (*fired, *self.grouped_triggers, *self.zone_triggers)

    @property
    def child_containers(self) -> tuple[str, ...]:
        """Containers that a zone loads, by their public ids."""
        listed = self.fields.get("childContainer")
        return tuple(
            str(each["publicId"])
            for each in (listed if isinstance(listed, list) else [])
            if isinstance(each, dict) and "publicId" in each
        )


@dataclass(frozen=True)
class Container:
    """A container version."""

    public_id: str
    version: str
    usage: frozenset[str]
    """Where it runs: ``web``, ``server``, ``amp``, ``ios``, ``android`` and the like."""
    items: tuple[Item, ...]

    @property
    def is_server(self) -> bool:
        """Whether it runs on a server alone."""
        return self.usage == {"server"}

    @property
    def is_of_pages(self) -> bool:
        """Whether pages of one's own load it; one that does not say where it runs is one."""
        return not self.usage or "web" in self.usage

    def of(self, kind: str) -> tuple[Item, ...]:
        """Items of one kind."""
        return tuple(item for item in self.items if item.kind == kind)

    @property
    def live_tags(self) -> tuple[Item, ...]:
        """Tags that are not paused."""
        return tuple(tag for tag in self.of("tag") if not tag.is_paused)

    @cached_property
    def trigger_names(self) -> dict[str, str]:
        """Names of triggers by their ids."""
        return BUILT_IN_TRIGGERS | {item.item_id: item.name for item in self.of("trigger")}

    @cached_property
    def folder_names(self) -> dict[str, str]:
        """Names of folders by their ids."""
        return {item.item_id: item.name for item in self.of("folder")}

    @cached_property
    def constants(self) -> dict[str, str]:
        """Values of constants by how they are written where they are read."""
        return {
            f"{{{{{it.name}}}}}": it.parameters.get("value", "")
            for it in self.of("variable")
            if it.type == "c"
        }


def read_container(text: str, file: object) -> Container:
    """Read an export.

    Args:
        text: Content of the file.
        file: What errors call it.

    Raises:
        DefinitionError: It is no export of Google Tag Manager.
    """
    try:
        export = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        reason = "is no JSON"
        raise DefinitionError(file, "syntax", reason, remedy=_REMEDY) from None
    if not isinstance(export, dict):
        raise DefinitionError(file, "(root)", "is no JSON object", remedy=_REMEDY)
    version = export.get("containerVersion", export if "containerVersionId" in export else None)
    if not isinstance(version, dict):
        raise DefinitionError(file, "containerVersion", "is missing", remedy=_REMEDY)
    if (form := export.get("exportFormatVersion", EXPORT_FORMAT)) != EXPORT_FORMAT:
        reason = f"is {form!r}; only {EXPORT_FORMAT} is known"
        raise DefinitionError(file, "exportFormatVersion", reason, remedy=_REMEDY)
    container = version.get("container")
    if not isinstance(container, dict):
        key = "containerVersion.container"
        raise DefinitionError(file, key, "is missing", remedy=_REMEDY)
    usage = container.get("usageContext")
    return Container(
        public_id=str(container.get("publicId", "")),
        version=str(version.get("containerVersionId", "")),
        usage=frozenset(plain(str(each)) for each in (usage if isinstance(usage, list) else [])),
        items=tuple(item for kind in KINDS for item in _items(version, kind, file)),
    )


def plain(constant: str) -> str:
    """A constant as both writings share it: ``NOT_SET`` and ``notSet`` are ``notset``."""
    return constant.replace("_", "").lower()


def is_built_in_trigger(trigger_id: str) -> bool:
    """Whether a trigger belongs to every container; there are more of them than have names."""
    return is_number(trigger_id) and int(trigger_id) >= _FIRST_BUILT_IN_ID


def is_number(text: str) -> bool:
    """Whether a text is a whole number as Tag Manager writes ids and times."""
    return _NUMBER.fullmatch(text) is not None


def _items(version: Mapping[str, object], kind: str, file: object) -> Iterator[Item]:
    listed = version.get(kind, [])
    key = f"containerVersion.{kind}"
    if not isinstance(listed, list):
        raise DefinitionError(file, key, "is no list", remedy=_REMEDY)
    for place, fields in enumerate(listed):
        if not isinstance(fields, dict):
            raise DefinitionError(file, f"{key}[{place}]", "is no object", remedy=_REMEDY)
        item_id = fields.get(KINDS[kind])
        name = fields.get("name", item_id)
        if not isinstance(item_id, str) or not isinstance(name, str):
            reason = f"has no {KINDS[kind]} or no name that is a text"
            raise DefinitionError(file, f"{key}[{place}]", reason, remedy=_REMEDY)
        yield Item(kind, item_id, name, fields)


def _values(parameters: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Values of parameters by path; a row of a table is named by its ``name`` or its place."""
    for place, parameter in enumerate(parameters if isinstance(parameters, list) else []):
        if not isinstance(parameter, dict):
            continue
        here = f"{path}{parameter.get('key', place)}"
        rows = parameter.get("map")
        if isinstance(rows, list) and "key" not in parameter:
            pairs = dict(_values(rows))
            named = pairs.get("name") or pairs.get("parameter")
            value = pairs.get("value", pairs.get("parameterValue"))
            if named is not None and value is not None:
                yield f"{path}{named}", value
                continue
        if isinstance(value := parameter.get("value"), str):
            yield here, value
        yield from _values(parameter.get("list"), f"{here}.")
        yield from _values(rows, f"{here}.")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
