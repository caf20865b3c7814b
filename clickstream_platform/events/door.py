"""The door: what every record passes before it may reach a disk of ours.

Identifiers become pseudonyms of the vault, addresses are cut, personal values are masked, and
records of suppressed people are dropped.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from clickstream_platform.collection.bots import RANGES_FOLDER, BotRanges, load_ranges
from clickstream_platform.events.adapters import Adapter, named, quoted
from clickstream_platform.events.records import Extraction, compact, each_tried_alone
from clickstream_platform.identity import (
    BlockedIds,
    IdentifierRules,
    blocked_ids,
    identifier_rules,
)
from clickstream_platform.privacy import (
    Namespace,
    QueryKeys,
    Suppression,
    Vault,
    scrub_payloads,
    scrub_texts,
    truncate_ips,
)
from clickstream_platform.settings import Settings

SHARED_ROWS = 20_000
"""Records that a thread of DuckDB takes at once."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """What every record passes before it may reach a disk of ours."""

    vault: Vault
    suppression: Suppression
    rules: IdentifierRules = field(default_factory=identifier_rules)
    blocked: BlockedIds = field(default_factory=blocked_ids)
    query_keys: QueryKeys = "detect"
    allowed_query_keys: tuple[str, ...] = ()
    bot_lists: Path | None = None
    """Folder of imported lists of networks; None where addresses are not looked up."""

    @cached_property
    def bot_ranges(self) -> BotRanges:
        """Networks of crawlers and datacenters; read when the first whole address comes."""
        return BotRanges() if self.bot_lists is None else load_ranges(self.bot_lists)


def open_door(settings: Settings) -> Door:
    """The vault, the suppression list and the minimisation of a data folder."""
    folder = settings.state / "vault"
    return Door(
        vault=Vault(folder),
        suppression=Suppression(folder),
        rules=identifier_rules(settings.definitions),
        blocked=blocked_ids(settings.definitions),
        query_keys=settings.privacy.query_keys,
        allowed_query_keys=settings.privacy.allowed_query_keys,
        bot_lists=settings.state / RANGES_FOLDER,
    )


def minimised(
    connection: duckdb.DuckDBPyConnection,
    records: pl.DataFrame,
    adapter: Adapter,
    door: Door,
    *,
    keep_tokens: bool = False,
) -> pl.DataFrame:
    """Replace identifiers by pseudonyms, cut addresses, mask personal values, drop the suppressed.

    Args:
        connection: DuckDB of `open_duckdb`; its temporary tables are overwritten.
        records: ``ordinal``, ``payload``, ``read_error``.
        adapter: Says which fields identify people.
        door: Vault and suppression list.
        keep_tokens: Take identifiers that are pseudonyms already as they are (a replay).

    Returns:
        ``ordinal``, ``visitor_id``, ``user_id``, ``identifiers``, ``payload``, ``read_error``,
        without records of suppressed people, in the order given.
    """
    found = _identifiers(connection, records, adapter)
    people = {
        "visitor_id": _people(found, "visitor_id", "visitor", door, keep_tokens=keep_tokens),
        "user_id": _people(found, "user_id", "user", door, keep_tokens=keep_tokens),
    } | {name: _further(found[name], kind, door) for name, kind in adapter.further.items()}
    addresses = found["ip_address"].drop_nulls().unique()
    cut = pl.DataFrame({"raw": addresses, "token": truncate_ips(addresses).fill_null(NO_ADDRESS)})
    pairs = {name: known for name, (known, _) in people.items()}
    pairs |= {"ip_address": cut, "order_id": _personal_orders(found["order_id"], door)}
    suppressed = pl.any_horizontal(
        pl.col(name).is_in(raw.implode()).fill_null(value=False)
        for name, (_, raw) in people.items()
    )
    frame = pl.concat([records.select("payload"), found.drop("ordinal")], how="horizontal")
    frame = frame.with_columns(ordinal=records["ordinal"]).filter(~suppressed)
    unread = frame.filter(pl.col("read_error").is_not_null())
    sound = frame.filter(pl.col("read_error").is_null()) if unread.height else frame
    sound = _replaced(connection, sound, adapter, pairs)
    scrubbed = scrub_payloads(
        sound["payload"], query_keys=door.query_keys, allowed=door.allowed_query_keys
    )
    sound = sound.with_columns(payload=_with_networks(scrubbed, sound["ip_address"], cut, door))
    columns = ("ordinal", "visitor_id", "user_id", "identifiers", "payload", "read_error")
    if unread.is_empty():
        return sound.select(columns)
    identifying = adapter.paths(*IDENTIFYING, *adapter.further)
    leaves = {path.rsplit(".", 1)[-1] for path in identifying}
    nobody = pl.lit(None, pl.String)
    unread = unread.with_columns(
        payload=_unreadable(unread["payload"], sorted(leaves), door),
        visitor_id=nobody,
        user_id=nobody,
        identifiers=nobody,
    )
    return pl.concat([sound.select(columns), unread.select(columns)]).sort("ordinal")


IDENTIFYING = ("visitor_id", "user_id", "ip_address")
"""Canonical fields that identify people, and so never reach a disk of ours as they came."""

REPLACED = (*IDENTIFYING, "order_id")
"""Canonical fields of which something else may have to stand in the payload."""

NO_ADDRESS = "[address]"
"""Stands for an address that is none: a host name, say."""


def _identifiers(
    connection: duckdb.DuckDBPyConnection, records: pl.DataFrame, adapter: Adapter
) -> pl.DataFrame:
    """Read the identifying fields of each record, and find what is no JSON object, in order."""
    names = (*REPLACED, *adapter.further)
    read = Extraction(adapter.paths(*names))
    fast_ids, tried_ids = (
        ", ".join(
            f"nullif(trim({adapter.rule_sql(name, tried=tried)}), '') AS {named(name)}"
            for name in names
        )
        for tried in (False, True)
    )
    # Several batches, so that DuckDB shares them between its threads.
    batches = records.to_arrow().to_batches(max_chunksize=SHARED_ROWS)
    connection.register("records", pa.Table.from_batches(batches))
    failed = f"coalesce(read_error, {adapter.failed_sql(*names)}) AS read_error"
    forms = zip(read.parsed_forms(), ("read_error", failed), (fast_ids, tried_ids), strict=True)
    fast, careful = (
        f"SELECT ordinal, {error}, {ids} FROM (SELECT ordinal, coalesce(read_error, "
        "CASE WHEN x IS NULL OR ltrim(payload)[1] <> '{' THEN 'is no JSON object' END) "
        f"AS read_error{read.columns} FROM (SELECT *, {parsed} AS x FROM records))"
        for parsed, error, ids in forms
    )
    try:
        rows = connection.sql(fast).to_arrow_table()
    except duckdb.Error:  # a record that is no JSON, or one for which an expression fails
        with each_tried_alone(connection):
            rows = connection.sql(careful).to_arrow_table()
    connection.unregister("records")
    frame = pl.DataFrame(pl.from_arrow(rows)).sort("ordinal")
    blank = pl.when(pl.col("read_error").is_null()).then(pl.col(names))
    return frame.with_columns(blank)


def _people(
    found: pl.DataFrame, column: str, namespace: Namespace, door: Door, *, keep_tokens: bool
) -> tuple[pl.DataFrame, pl.Series]:
    """Look up the distinct identifiers of one kind: their pseudonyms, and who is suppressed."""
    raw = found[column].drop_nulls().unique()
    if raw.len():
        raw = raw.filter(~pl.select(door.blocked.is_blocked(pl.lit(raw))).to_series())
    suppressed = door.suppression.mask(namespace, raw)
    wanted = raw.filter(~suppressed)
    tokens = door.vault.tokens(namespace, wanted, keep_tokens=keep_tokens)
    return pl.DataFrame({"raw": wanted, "token": tokens}), raw.filter(suppressed)


def _further(found: pl.Series, kind: str, door: Door) -> tuple[pl.DataFrame, pl.Series]:
    """Look up the distinct identifiers of a further type, in its normal form."""
    raw = found.drop_nulls().unique()
    normal = pl.Series([door.rules.types[kind].normalised(each) for each in raw], dtype=pl.String)
    if raw.len():
        known = ~pl.select(door.blocked.is_blocked(pl.lit(normal))).to_series() & (normal != "")
        raw, normal = raw.filter(known), normal.filter(known)
    written = pl.select(pl.lit(f"{kind}:") + normal).to_series()
    suppressed = door.suppression.mask("other", written)
    tokens = door.vault.tokens("other", written.filter(~suppressed))
    return pl.DataFrame({"raw": raw.filter(~suppressed), "token": tokens}), raw.filter(suppressed)


def _personal_orders(orders: pl.Series, door: Door) -> pl.DataFrame:
    """Pseudonyms of order ids that hold something personal: masked, two orders might be one."""
    raw = orders.drop_nulls().unique()
    clean = scrub_texts(raw, query_keys=door.query_keys, allowed=door.allowed_query_keys)
    personal = raw.filter(raw != clean)
    return pl.DataFrame({"raw": personal, "token": door.vault.fingerprints(personal)})


def _replaced(
    connection: duckdb.DuckDBPyConnection,
    frame: pl.DataFrame,
    adapter: Adapter,
    pairs: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """Put pseudonyms in place of identifiers, in their columns and where the payload holds them.

    Most identifiers stand in the payload as ``"key":"value"`` and all are replaced in one pass
    over the text. Numbers, escapes and spaces do not look like that: those records are rewritten.
    """
    old: list[str] = []
    new: list[str] = []
    for name, known in pairs.items():
        keys = [json.dumps(path.rsplit(".", 1)[-1]) for path in _held_paths(adapter, name)]
        for key in keys:
            old += [f'{key}:"{raw}"' for raw in known["raw"]]
            new += [f'{key}:"{token}"' for token in known["token"]]
    payload = pl.col("payload").str.replace_many(old, new) if old else pl.col("payload")
    frame = frame.with_columns(payload=payload)
    missed = pl.lit(value=False)
    for name, known in pairs.items():
        tokens = known.rename({"raw": name, "token": f"{name}_token"})
        frame = frame.join(tokens, on=name, how="left", maintain_order="left")
        if _held_paths(adapter, name):
            held = pl.col("payload").str.contains(pl.col(f"{name}_token"), literal=True)
            missed |= ~held.fill_null(value=True)
    is_missed = frame.select(missed).to_series()
    if is_missed.any():
        rest = frame.filter(is_missed)
        rest = rest.with_columns(payload=_rewritten(connection, rest, adapter, tuple(pairs)))
        frame = pl.concat([frame.filter(~is_missed), rest]).sort("ordinal")
    if adapter.redact:
        frame = frame.with_columns(payload=_without(connection, frame["payload"], adapter.redact))
    return frame.with_columns(
        visitor_id=pl.col("visitor_id_token"),
        user_id=pl.col("user_id_token"),
        identifiers=_carried(adapter.further),
    )


def _carried(further: Mapping[str, str]) -> pl.Expr:
    """Further identifiers of a record, as ``type:pseudonym`` by comma; null where it has none."""
    if not further:
        return pl.lit(None, pl.String)
    each = [pl.lit(f"{kind}:") + pl.col(f"{name}_token") for name, kind in further.items()]
    together = pl.concat_str(each, separator=",", ignore_nulls=True)
    return pl.when(together != "").then(together)


def _with_networks(
    payloads: pl.Series, addresses: pl.Series, cut: pl.DataFrame, door: Door
) -> pl.Series:
    """Note which bot rules an address matches, before it is gone.

    One that was cut before it came is not looked up: the collector did, when it was whole.
    """
    whole = cut.filter(pl.col("raw") != pl.col("token"))["raw"]
    found = {a: ",".join(door.bot_ranges.signals(a)) for a in whole}
    if not any(found.values()):
        return payloads
    noted = pl.col("address").replace_strict(found, default="", return_dtype=pl.String)
    payload = pl.col("payload")
    is_noted = (noted != "") & ~payload.str.contains('"bot_signals"', literal=True)
    with_note = pl.concat_str(
        pl.lit('{"bot_signals":"'),
        noted,
        pl.lit('",'),
        payload.str.strip_chars_start().str.slice(1),
    )
    frame = pl.DataFrame({"payload": payloads, "address": addresses})
    return frame.select(pl.when(is_noted).then(with_note).otherwise(payload)).to_series()


def _held_paths(adapter: Adapter, name: str) -> tuple[str, ...]:
    """Paths of the record that hold the identifier itself, not a part of an expression."""
    rule = adapter.rule(name)
    if rule is None or (rule.sql is not None and name != "ip_address"):
        return ()
    return rule.paths


def _rewritten(
    connection: duckdb.DuckDBPyConnection,
    frame: pl.DataFrame,
    adapter: Adapter,
    replaced: Sequence[str],
) -> pl.Series:
    """Set identifiers anew in records where they do not stand as plain quoted text."""
    names = [name for name in replaced if _held_paths(adapter, name)]
    read = Extraction(adapter.paths(*names))
    payload = "payload"
    for name in names:
        for path in _held_paths(adapter, name):
            raw, token = named(f"raw_{name}"), named(f"{name}_token")
            held = f"trim({named(path)}) = {raw} AND {token} IS NOT NULL"
            merged = f"CAST(json_merge_patch({payload}, {_object(path, token)}) AS VARCHAR)"
            payload = f"CASE WHEN {held} THEN {merged} ELSE {payload} END"
    connection.register("missed", frame.with_columns(read_error=pl.lit(None, pl.String)).to_arrow())
    raws = ", ".join(
        f"{named(name)} AS {named(f'raw_{name}')}, {named(f'{name}_token')}" for name in replaced
    )
    rows = connection.sql(
        f"SELECT ordinal, {payload} AS payload FROM (SELECT * EXCLUDE (x){read.columns} FROM "
        f"(SELECT ordinal, payload, {raws}, {read.parsed} AS x FROM missed))"
    ).to_arrow_table()
    connection.unregister("missed")
    return pl.DataFrame(pl.from_arrow(rows)).sort("ordinal")["payload"].cast(pl.String)


def _without(
    connection: duckdb.DuckDBPyConnection, payloads: pl.Series, fields: Sequence[str]
) -> pl.Series:
    """Drop fields from JSON objects; one whose name has dots is also looked for inside others."""
    connection.register(
        "redacted", pl.DataFrame({"payload": payloads}).with_row_index("n").to_arrow()
    )
    nothing = quoted(json.dumps(dict.fromkeys(fields)))
    rows = connection.sql(
        f"SELECT n, CAST(json_merge_patch(payload, {nothing}) AS VARCHAR) AS payload FROM redacted"
    ).to_arrow_table()
    connection.unregister("redacted")
    kept = pl.DataFrame(pl.from_arrow(rows)).sort("n")["payload"].cast(pl.String)
    paths = [field.split(".") for field in fields if "." in field]
    if not paths:
        return kept
    # DuckDB has written them, so a name stands there without escapes.
    holds = kept.str.contains_any([json.dumps(path[-1], ensure_ascii=False) for path in paths])
    return kept.scatter(
        holds.arg_true(), [_without_nested(text, paths) for text in kept.filter(holds)]
    )


def _without_nested(text: str, paths: Iterable[Sequence[str]]) -> str:
    """Drop what lies at paths of an object, through lists too; no merge patch looks into those.

    Of one that is nested too deeply to be looked through nothing is left; landing keeps it.
    """
    try:
        record = json.loads(text)
    except RecursionError:
        return "{}"
    for path in paths:
        _drop(record, path)
    return compact(record)


def _drop(value: object, path: Sequence[str]) -> None:
    if isinstance(value, list):
        for each in value:
            _drop(each, path)
    elif isinstance(value, dict):
        name, *below = path
        if below:
            _drop(value.get(name), below)
        else:
            value.pop(name, None)


def _object(path: str, value: str) -> str:
    """SQL for an object that holds a value at a path."""
    for part in reversed(path.split(".")):
        value = f"json_object({quoted(part)}, {value})"
    return value


def _unreadable(texts: pl.Series, leaves: Iterable[str], door: Door) -> pl.Series:
    """Wrap what could not be read as JSON, without what may identify somebody.

    Nothing can be looked up in a text that cannot be read, so everything goes that stands where
    an identifier would, or looks like one; the landed file keeps the original.
    """
    names = "|".join(re.escape(leaf) for leaf in leaves) or "visitor_id"
    masked = (
        texts.str.replace_all(rf'("(?:{names})"\s*:\s*)(?:"[^"]*"?|[^",}}\s]+)', '${1}"[id]"')
        .str.replace_all(r"\b(\d{1,3}\.\d{1,3}\.\d{1,3})\.\d{1,3}\b", "${1}.0")
        .str.replace_all(r"\b(?:[0-9a-fA-F]{8}-[0-9a-fA-F-]{4,27}|[0-9a-fA-F]{16,})\b", "[id]")
        .str.replace_all(r"\d{6,}", "[number]")
    )
    scrubbed = scrub_texts(masked, query_keys=door.query_keys, allowed=door.allowed_query_keys)
    return (
        pl.DataFrame({"unreadable": scrubbed})
        .select(pl.struct("unreadable").struct.json_encode())
        .to_series()
    )
