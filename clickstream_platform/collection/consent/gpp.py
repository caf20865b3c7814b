"""Strings of the IAB Tech Lab's Global Privacy Platform: header, sections, and what they refuse.

Source:
    "Consent String Specification" of the Global Privacy Platform (December 2025) and the texts of
    its sections; the published reference decoder where these leave something open.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from clickstream_platform.collection.consent.bits import (
    BitReader,
    BitWriter,
    Ids,
    split_segments,
)
from clickstream_platform.collection.consent.errors import refuse
from clickstream_platform.collection.consent.tcf import (
    PURPOSES,
    SPECIAL_FEATURES,
    PublisherConsent,
    Restriction,
    TcString,
    decode_tcf,
)

TCF_EU, TCF_CA, USP = 2, 5, 6
"""Section ids that have no row in `gpp_sections.toml`."""

HEADER_TYPE = 3
GPC_TYPE = 1
ONLY_PART = 1
"""Id of the one part that a section may have after its core: control, or sensitive data."""
BITS = 2
"""Bits of a field of a US section."""

NOT_APPLICABLE, NOTICE_GIVEN, NOT_OPTED_OUT, CONSENT = 0, 1, 2, 2


@dataclass(frozen=True, slots=True)
class Layout:
    """Fields of one version of a US section, in order, each with how often it is there."""

    name: str
    id: int
    version: int
    version_field: str
    fields: tuple[tuple[str, int], ...]
    has_gpc: bool
    sensitive: tuple[str, int] | None
    """Field of a second part of its own, in the sections that have one."""
    sensitive_opt_out: str | None = None
    """Notice of the right to opt out of the use of sensitive data, where no consent is asked."""
    has_header: bool = False
    """Whether the text of the section puts a header before the core."""

    @property
    def bits(self) -> int:
        """Length of the core, without padding."""
        return 6 + BITS * sum(times or 1 for _, times in self.fields)


@dataclass(frozen=True, slots=True)
class UsSection:
    """What a US section says, by the names of the specification."""

    name: str
    version: int
    fields: Mapping[str, int | tuple[int, ...]]
    """0 is not applicable, 1 opted out or no, 2 not opted out or yes; notices 1 given, 2 not."""
    gpc: bool | None = None
    """Global Privacy Control; null where the string does not say."""

    def is_opted_out(self, right: str) -> bool:
        """Whether the person opted out of ``Sale``, ``Sharing`` or ``TargetedAdvertising``.

        A choice that the person was not told of is none: who got no notice counts as opted out,
        whatever is said of the choice. So does who has a value that is not defined.
        """
        chosen = self._number(f"{right}OptOut")
        return chosen is not None and _is_out(chosen, self._number(f"{right}OptOutNotice"))

    def may_use_sensitive(self, place: int) -> bool | None:
        """Whether the person allows the use of a kind of sensitive data, by its place in the list.

        Null where the section does not say. Where a law has people opt out, who did not has
        not consented: such a section refuses or is silent.
        """
        values = self.fields.get("SensitiveDataProcessing")
        if not isinstance(values, tuple) or place > len(values):
            return None
        notice = _layout(self.name, self.version).sensitive_opt_out
        if notice is not None:
            return False if _is_out(values[place - 1], self._number(notice)) else None
        return None if values[place - 1] == NOT_APPLICABLE else values[place - 1] == CONSENT

    @property
    def refuses_children(self) -> bool:
        """Whether it speaks of a known child for whom something was not consented to."""
        children = self.fields.get("KnownChildSensitiveDataConsents", NOT_APPLICABLE)
        each = children if isinstance(children, tuple) else (children,)
        return not {NOT_APPLICABLE, CONSENT}.issuperset(each)

    def _number(self, name: str) -> int | None:
        value = self.fields.get(name)
        return value if isinstance(value, int) else None


def _is_out(chosen: int, notice: int | None) -> bool:
    """Whether a choice is an opt-out, given whether the person was told of it."""
    if notice is None or notice == NOTICE_GIVEN:
        return chosen not in {NOT_APPLICABLE, NOT_OPTED_OUT}
    return notice != NOT_APPLICABLE or chosen != NOT_APPLICABLE


@dataclass(frozen=True, slots=True)
class UspString:
    """The US Privacy string that came before: Y, N or - for each of three things."""

    version: int
    notice: str
    opt_out_sale: str
    lspa_covered: str


@dataclass(frozen=True, slots=True)
class CanadaString:
    """What a string of TCF Canada says; express consent and implied consent."""

    fields: Mapping[str, object]
    """By the names of the specification; ids as `Ids`, restrictions as `Restriction`."""

    @property
    def express(self) -> TcString:
        """Its express consent, as a TC string of Europe would say it; implied consent is none."""
        names = {
            "created_at": "Created",
            "updated_at": "LastUpdated",
            "cmp_id": "CmpId",
            "cmp_version": "CmpVersion",
            "consent_screen": "ConsentScreen",
            "consent_language": "ConsentLanguage",
            "vendor_list_version": "VendorListVersion",
            "policy_version": "TcfPolicyVersion",
            "use_non_standard_texts": "UseNonStandardStacks",
            "special_feature_opt_ins": "SpecialFeatureExpressConsent",
            "purpose_consents": "PurposesExpressConsent",
            "vendor_consents": "VendorExpressConsent",
            "restrictions": "PubRestrictions",
            "disclosed_vendors": "DisclosedVendors",
        }
        said = {ours: self.fields.get(theirs) for ours, theirs in names.items()}
        own = self.fields.get("PubPurposesExpressConsent")
        publisher = PublisherConsent(own) if isinstance(own, Ids) else None
        return TcString(version=2, publisher=publisher, **said)  # type: ignore[arg-type]  # by name


@dataclass(frozen=True, slots=True)
class GppString:
    """Everything that a GPP string says."""

    section_ids: tuple[int, ...]
    tcf_eu: TcString | None = None
    tcf_ca: CanadaString | None = None
    usp: UspString | None = None
    us: Mapping[str, UsSection] = field(default_factory=dict)
    """US sections by name: ``usnat``, ``usca`` …"""
    unknown: tuple[int, ...] = ()
    """Sections that are there and that nobody here can read."""

    @property
    def gpc(self) -> bool:
        """Whether any section carries a Global Privacy Control that is on."""
        return any(section.gpc for section in self.us.values())


def decode_gpp(text: str) -> GppString:
    """Read a GPP string with every section that is known.

    A TC string on its own is read as a string with that one section. One that is too long, ends
    too soon, or has another number of sections than its header says raises `ConsentStringError`,
    and nothing else is ever raised.
    """
    header, *sections = split_segments(text, "~", "GPP string")
    if header.startswith("C") and not sections:
        return GppString((TCF_EU,), tcf_eu=decode_tcf(text))
    reader = BitReader(header)
    if reader.integer(6, "Type") != HEADER_TYPE:
        refuse("Type", "is not 3")
    if reader.integer(6, "Version") != 1:
        refuse("Version", "is not 1")
    listed = reader.fibonacci_ranges("SectionIds")
    if len(listed) != len(sections):
        refuse("SectionIds", "are not as many as there are sections")
    ids = tuple(listed)
    us: dict[str, UsSection] = {}
    read: dict[int, object] = {}
    for number, section in zip(ids, sections, strict=True):
        if not section:
            refuse("a section", "is empty")
        if number in layouts():
            found = _us_section(number, section)
            us[found.name] = found
        elif number in _DECODERS:
            read[number] = _DECODERS[number](section)
    return GppString(
        ids,
        tcf_eu=read.get(TCF_EU),  # type: ignore[arg-type]  # each decoder returns its own type
        tcf_ca=read.get(TCF_CA),  # type: ignore[arg-type]
        usp=read.get(USP),  # type: ignore[arg-type]
        us=us,
        unknown=tuple(n for n in ids if n not in _DECODERS and n not in layouts()),
    )


@cache
def layouts() -> Mapping[int, Mapping[int, Layout]]:
    """Layouts of the US sections, by section id and version."""
    file = Path(__file__).with_name("gpp_sections.toml")
    found: dict[int, dict[int, Layout]] = {}
    for entry in tomllib.loads(file.read_text(encoding="utf-8"))["section"]:
        layout = Layout(
            name=entry["name"],
            id=entry["id"],
            version=entry["version"],
            version_field=entry.get("version_field", "Version"),
            fields=tuple(map(_field, entry["fields"])),
            has_gpc=entry.get("has_gpc", False),
            sensitive=_field(entry["sensitive"]) if "sensitive" in entry else None,
            sensitive_opt_out=entry.get("sensitive_opt_out"),
            has_header=entry.get("has_header", False),
        )
        found.setdefault(layout.id, {})[layout.version] = layout
    return found


def _field(text: str) -> tuple[str, int]:
    name, _, number = text.partition("*")
    return name, int(number or 0)


@cache
def _layout(name: str, version: int) -> Layout:
    return next(
        found[version]
        for found in layouts().values()
        if version in found and found[version].name == name
    )


def _us_section(number: int, text: str) -> UsSection:
    versions = layouts()[number]
    parts = text.split(".")
    fields: dict[str, int | tuple[int, ...]] = {}
    reader = BitReader(parts[0])
    version = reader.integer(6, "Version")
    if version == number and any(each.has_header for each in versions.values()):
        version = fields["Version"] = reader.integer(6, "Version")
        parts = parts[1:]
        _check_parts(reader, parts)
        reader = BitReader(parts[0])
        core_version = reader.integer(6, "MspaVersion")
    else:
        core_version = version
    if version not in versions:
        refuse("Version", f"of section {number} is not known")
    layout = versions[version]
    fields[layout.version_field] = core_version
    written = _as_written(versions, layout, len(reader.bits))
    for (name, times), (_, declared) in zip(written.fields, layout.fields, strict=True):
        fields[name] = _resized(_value(reader, name, times), declared)
    others = parts[1:]
    gpc: bool | None = None
    if len(others) > 1 or (others and not layout.has_gpc and layout.sensitive is None):
        refuse("a section", "has more parts than it may have")
    for other in others:
        part = BitReader(other)
        if layout.sensitive is not None:
            name, times = layout.sensitive
            fields[name] = _value(part, name, times)
        elif part.integer(BITS, "GpcSegmentType") == GPC_TYPE:
            gpc = part.flag("Gpc")
        else:
            refuse("GpcSegmentType", "is not 1")
    return UsSection(layout.name, version, fields, gpc)


def _check_parts(header: BitReader, parts: list[str]) -> None:
    """Compare the parts after a section's header with its list, which leaves out the core."""
    listed = header.fibonacci_ranges("SubSections")
    if listed not in (Ids(), Ids.of([ONLY_PART])) or len(parts) != 1 + len(listed):
        refuse("SubSections", "are not those that follow")


def _as_written(versions: Mapping[int, Layout], declared: Layout, bits: int) -> Layout:
    """The layout that a section was written in, which is not always the version it names.

    When version 2 of usnat made two lists longer, encoders sent the new layout under the old
    number and the other way round. The reference decoders go by the length, and so do we; lists
    are then cut or filled to what the named version has.
    """
    if len(versions) == 1:
        return declared
    return max(
        (each for each in versions.values() if each.bits <= bits),
        key=lambda each: each.bits,
        default=declared,
    )


def _resized(value: int | tuple[int, ...], size: int) -> int | tuple[int, ...]:
    if isinstance(value, int):
        return value
    return (*value, *[0] * (size - len(value)))[:size]


def _value(reader: BitReader, name: str, times: int) -> int | tuple[int, ...]:
    if not times:
        return reader.integer(BITS, name)
    return tuple(reader.integer(BITS, name) for _ in range(times))


def decode_usp(text: str) -> UspString:
    """Read a US Privacy string, such as ``1YNN``; it is not encoded.

    One that is not of that form raises `ConsentStringError`.
    """
    if len(text) != len("1YNN") or text[0] != "1" or set(text[1:]) - set("YN-"):
        refuse("US Privacy string", "is not 1 and three of Y, N and -")
    return UspString(int(text[0]), *text[1:])


def _canada(text: str) -> CanadaString:
    core, *others = text.split(".")
    reader = BitReader(core)
    if reader.integer(6, "Version") != 1:
        refuse("Version", "of TCF Canada is not 1")
    fields: dict[str, object] = {
        "Version": 1,
        "Created": reader.instant("Created"),
        "LastUpdated": reader.instant("LastUpdated"),
        "CmpId": reader.integer(12, "CmpId"),
        "CmpVersion": reader.integer(12, "CmpVersion"),
        "ConsentScreen": reader.integer(6, "ConsentScreen"),
        "ConsentLanguage": reader.letters("ConsentLanguage"),
        "VendorListVersion": reader.integer(12, "VendorListVersion"),
        "TcfPolicyVersion": reader.integer(6, "TcfPolicyVersion"),
        "UseNonStandardStacks": reader.flag("UseNonStandardStacks"),
        "SpecialFeatureExpressConsent": reader.bitfield(SPECIAL_FEATURES, "SpecialFeature"),
        "PurposesExpressConsent": reader.bitfield(PURPOSES, "PurposesExpressConsent"),
        "PurposesImpliedConsent": reader.bitfield(PURPOSES, "PurposesImpliedConsent"),
        "VendorExpressConsent": reader.vendors("VendorExpressConsent", fibonacci=True),
        "VendorImpliedConsent": reader.vendors("VendorImpliedConsent", fibonacci=True),
        "PubRestrictions": _canadian_restrictions(reader),
    }
    for other in others:
        part = BitReader(other)
        kind = part.integer(3, "SubsectionType")
        if kind == 1 and "DisclosedVendors" not in fields:
            fields["DisclosedVendors"] = part.vendors("DisclosedVendors", fibonacci=True)
        elif kind == 3 and "NumCustomPurposes" not in fields:  # noqa: PLR2004 - the format's type
            fields["PubPurposesExpressConsent"] = part.bitfield(PURPOSES, "PubPurposes")
            fields["PubPurposesImpliedConsent"] = part.bitfield(PURPOSES, "PubPurposes")
            number = part.integer(6, "NumCustomPurposes")
            fields["NumCustomPurposes"] = number
            fields["CustomPurposesExpressConsent"] = part.bitfield(number, "CustomPurposes")
            fields["CustomPurposesImpliedConsent"] = part.bitfield(number, "CustomPurposes")
        else:
            refuse("SubsectionType", "is not known, or stands there twice")
    return CanadaString(fields)


def _canadian_restrictions(reader: BitReader) -> tuple[Restriction, ...]:
    """Restrictions, which strings of the first edition do not have."""
    if reader.left < 12:  # noqa: PLR2004 - bits of their number
        return ()
    return tuple(
        Restriction(
            reader.integer(6, "PubRestrictions"),
            reader.integer(2, "PubRestrictions"),
            reader.vendors("PubRestrictions", fibonacci=True),
        )
        for _ in range(reader.integer(12, "NumPubRestrictions"))
    )


_DECODERS = {TCF_EU: decode_tcf, TCF_CA: _canada, USP: decode_usp}


def encode_us_section(section: UsSection) -> str:
    """Write a US section; `decode_gpp` reads the same back."""
    layout = _layout(section.name, section.version)
    core = BitWriter().integer(section.version, 6)
    for name, _ in layout.fields:
        _write(core, section.fields[name])
    parts = [core.text]
    if section.gpc is not None:
        parts.append(BitWriter().integer(GPC_TYPE, BITS).flag(value=section.gpc).text)
    if layout.sensitive and layout.sensitive[0] in section.fields:
        part = BitWriter()
        _write(part, section.fields[layout.sensitive[0]])
        parts.append(part.text)
    return ".".join(parts)


def _write(writer: BitWriter, value: int | tuple[int, ...]) -> None:
    for each in value if isinstance(value, tuple) else (value,):
        writer.integer(each, BITS)


def encode_gpp(sections: Mapping[int, str]) -> str:
    """Write a GPP string from sections that are written already, by their ids."""
    header = BitWriter().integer(HEADER_TYPE, 6).integer(1, 6).fibonacci_ranges(Ids.of(sections))
    return "~".join([header.text, *(sections[number] for number in sorted(sections))])
