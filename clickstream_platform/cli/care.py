"""Commands that take care of the platform: doctor and serve."""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer
from rich.text import Text

from clickstream_platform.cli.app import Data, Json, app, settings_of
from clickstream_platform.cli.output import counted, out, progress_bar, say, write_json
from clickstream_platform.errors import ClickstreamError, DefinitionError, told

if TYPE_CHECKING:  # `clickstream --help` does not wait for pydantic
    from clickstream_platform.settings import Settings

Level = Literal["ok", "warn", "fail"]

COLORS: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}

ENGINES = ("dagster", "dagster-webserver", "duckdb", "ibis-framework", "polars", "deltalake")
"""Packages without which nothing runs."""

LEAST_DISK_GB = 5
LEAST_MEMORY_GB = 4
"""Below these a demonstration of 200,000 events still runs; a year of a busy shop may not."""


class Check(NamedTuple):
    """One thing that was looked at."""

    name: str
    level: Level
    found: str
    remedy: str = ""


@app.command(epilog="Example: `clickstream doctor --json`")
def doctor(
    data: Data = None,
    as_json: Json = False,
    mend: Annotated[
        bool, typer.Option("--mend", help="Make broken tables anew, where that can be.")
    ] = False,
) -> None:
    """Check environment, settings, keys, ledger and every file of the lake; say what to mend.

    The exit code is 1 when something must be mended, and 0 otherwise.
    """
    if mend:
        mended = mend_lake(settings_of(data))
        if not as_json:
            made = f"Made anew: {', '.join(mended)}. Next: [bold]clickstream materialize[/]"
            say(made if mended else "Nothing was made anew.")
    found = list(examine(data))
    if as_json:
        write_json([check._asdict() for check in found])
    else:
        for check in found:
            line = Text.assemble(
                (f"{check.level:>4}  ", COLORS[check.level]),
                (f"{check.name}: ", "bold"),
                check.found,
            )
            if check.remedy:
                line.append(f"\n      {check.remedy}", "italic")
            out().print(line, soft_wrap=True)
    if any(check.level == "fail" for check in found):
        raise typer.Exit(1)


def mend_lake(settings: "Settings") -> Sequence[str]:
    """Make tables anew whose files are not what was written, and return their names."""
    from clickstream_platform import orchestration

    with progress_bar() as progress:
        return orchestration.mend(settings, progress=progress).rebuilt


def examine(data: Path | None) -> Iterator[Check]:
    """Look at everything, one check at a time; what cannot be looked at fails by itself."""
    yield _python()
    yield from _packages()
    yield _java()
    try:
        settings = settings_of(data)
    except DefinitionError as error:
        yield Check("settings", "fail", str(error), "Nothing else can be checked before this.")
        return
    yield Check("settings", "ok", f"data folder {settings.data}, time zone {settings.time_zone}")
    looks: tuple[Callable[[Settings], Check], ...] = (
        _folder,
        _disk,
        _memory,
        _definitions,
        _segments,
        _query_keys,
        _keys,
        _vault,
        _suppression_list,
        _crm,
        _erased_people,
        _ledger,
        _files,
        _landing,
        _port,
    )
    for look in looks:
        try:
            yield look(settings)
        except ClickstreamError as error:
            yield Check(_name(look), "fail", str(error))
        except OSError as error:
            yield Check(_name(look), "fail", f"{error.filename}: {error.strerror}")
        except Exception as error:
            if (text := told(error)) is None:
                raise
            yield Check(_name(look), "fail", text, "The check of files names what is damaged.")


def _name(look: Callable[["Settings"], Check]) -> str:
    return look.__name__.strip("_").replace("_", " ")


def _python() -> Check:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    if (3, 11) <= sys.version_info < (3, 14):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "Python 3.11, 3.12 or 3.13 is needed.")


def _packages() -> Iterator[Check]:
    missing, found = [], []
    for name in ENGINES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check("packages", "fail", f"missing {', '.join(missing)}", "Run scripts/sync.sh.")
    else:
        yield Check("packages", "ok", ", ".join(found))


def _java() -> Check:
    try:
        spark = f"pyspark {version('pyspark')}"
    except PackageNotFoundError:
        return Check("spark", "ok", "not installed; it is optional (extra `spark`)")
    if shutil.which("java") or "JAVA_HOME" in os.environ:
        return Check("spark", "ok", f"{spark} with Java")
    return Check("spark", "warn", f"{spark} without Java", "Install Java 17 to run it.")


def _folder(settings: "Settings") -> Check:
    existing = next(folder for folder in (settings.data, *settings.data.parents) if folder.exists())
    if os.access(existing, os.W_OK):
        return Check("data folder", "ok", f"{settings.data} can be written to")
    return Check("data folder", "fail", f"{existing} cannot be written to", "Change its owner.")


def _disk(settings: "Settings") -> Check:
    existing = next(folder for folder in (settings.data, *settings.data.parents) if folder.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free >= LEAST_DISK_GB:
        return Check("disk", "ok", f"{free:,.0f} GB free")
    return Check("disk", "warn", f"{free:,.1f} GB free", f"{LEAST_DISK_GB} GB are comfortable.")


def _memory(settings: "Settings") -> Check:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    total = pages * size / 1e9
    found = f"{total:,.0f} GB, of which DuckDB may take {settings.lake.memory_limit}"
    if total >= LEAST_MEMORY_GB:
        return Check("memory", "ok", found)
    return Check("memory", "warn", found, "Lower lake.memory_limit in the settings.")


def _definitions(settings: "Settings") -> Check:
    from clickstream_platform.attribution import load_channel_rules, load_conversion_rules
    from clickstream_platform.collection.bots import load_bot_rules
    from clickstream_platform.collection.consent import load_policy
    from clickstream_platform.collection.tags import load_rules, load_vendors
    from clickstream_platform.events import load_adapters
    from clickstream_platform.identity import identifier_rules, match_rules
    from clickstream_platform.quality import load_expectations, load_storage_periods
    from clickstream_platform.segments import load_segments
    from clickstream_platform.sessions import load_engagement_weights, load_session_definitions

    loads: tuple[Callable[[Path | None], object], ...] = (
        load_adapters,
        load_policy,
        load_bot_rules,
        load_channel_rules,
        load_conversion_rules,
        load_session_definitions,
        load_engagement_weights,
        load_segments,
        identifier_rules,
        match_rules,
        load_expectations,
        load_storage_periods,
        load_rules,
        load_vendors,
    )
    for load in loads:
        load(settings.definitions)
    adapters, segments = load_adapters(settings.definitions), load_segments(settings.definitions)
    where = settings.definitions or "shipped alone"
    found = (
        f"all can be read, of them {counted(len(adapters), 'adapter')} "
        f"and {counted(len(segments), 'segment')}"
    )
    return Check("definitions", "ok", f"{found} ({where})")


def _segments(settings: "Settings") -> Check:
    from clickstream_platform.attribution import load_channel_rules
    from clickstream_platform.lake import Lake
    from clickstream_platform.segments import load_segments, unknown_names, unread_files

    shipped = load_segments()
    segments = load_segments(settings.definitions)
    own = [each for name, each in segments.items() if each != shipped.get(name)]
    if unread := unread_files(settings.definitions):
        remedy = "Name each of them NAME.toml, in small letters, in that folder itself."
        return Check("segments", "warn", f"not read: {', '.join(unread)}", remedy)
    names = Lake(settings.lake_folder).scan("events").select("event_name") if own else None
    if doubts := unknown_names(
        own,
        event_names=[] if names is None else names.unique().collect()["event_name"].to_list(),
        channels=load_channel_rules(settings.definitions).channels,
    ):
        remedy = "Compare with `clickstream sql` on events, and with channels.toml."
        return Check("segments", "warn", "; ".join(doubts), remedy)
    found = (
        f"{counted(len(own), 'own one')}; what they name is there" if own else "none of your own"
    )
    return Check("segments", "ok", found)


def _query_keys(settings: "Settings") -> Check:
    if settings.privacy.query_keys == "allow":
        kept = len(settings.privacy.allowed_query_keys)
        return Check("query keys", "ok", f"campaign parameters and {kept:,} listed keys are kept")
    return Check(
        "query keys",
        "ok",
        "all are kept, and masked where they look personal",
        'Safer: [privacy] query_keys = "allow", with the keys that you read in allowed_query_keys.',
    )


def _keys(settings: "Settings") -> Check:
    folder = settings.state / "vault" / "keys"
    open_to_others = stat.S_IRWXG | stat.S_IRWXO
    exposed = [
        path
        for path in (folder, *folder.glob("*"))
        if path.exists() and path.stat().st_mode & open_to_others
    ]
    if exposed:
        remedy = f"Run: chmod -R go-rwx {folder.parent}"
        return Check("vault keys", "fail", f"{exposed[0]} is open to other users", remedy)
    if not folder.exists():
        return Check("vault keys", "ok", "none yet; they are made with the first record")
    return Check("vault keys", "ok", "readable by their owner alone")


def _vault(settings: "Settings") -> Check:
    from clickstream_platform.privacy import Vault

    if not (folder := settings.state / "vault").exists():
        return Check("vault", "ok", "none yet; it is made with the first record")
    Vault(folder).find("visitor", "nobody")
    return Check("vault", "ok", "can be read with its keys")


def _suppression_list(settings: "Settings") -> Check:
    import polars as pl

    from clickstream_platform.privacy import Suppression

    if not (folder := settings.state / "vault").exists():
        return Check("suppression list", "ok", "none yet; it is made with the first record")
    Suppression(folder).mask("visitor", pl.Series(["nobody"]))
    return Check("suppression list", "ok", "can be read with its key")


def _crm(settings: "Settings") -> Check:
    from clickstream_platform.connectors import crm_destination

    return Check("crm", "ok", f"audiences go to {crm_destination(settings)!r}")


def _erased_people(settings: "Settings") -> Check:
    from clickstream_platform.privacy import returned_people

    if not (settings.state / "vault").exists():
        return Check("erased people", "ok", "none are held")
    found = returned_people(settings)
    if again := [each.request_id for each in found if each.is_erased]:
        remedy = (
            "A backup was restored. Run `clickstream subject reapply`, which erases them again."
        )
        return Check("erased people", "fail", f"back again: those of {', '.join(again)}", remedy)
    if unfinished := [each.request_id for each in found]:
        remedy = "Go on with `clickstream subject erase --request`."
        return Check("erased people", "warn", f"not erased yet: {', '.join(unfinished)}", remedy)
    return Check("erased people", "ok", "none are held")


def _ledger(settings: "Settings") -> Check:
    from clickstream_platform.events import Ledger

    ledger = Ledger(settings.state)
    if wrong := ledger.unbalanced():
        remedy = "Run `clickstream materialize --full`, which counts anew from the tables."
        return Check("ledger", "fail", f"batches that do not add up: {len(wrong):,}", remedy)
    return Check("ledger", "ok", f"batches that add up: {len(ledger.batches()):,}")


def _files(settings: "Settings") -> Check:
    from clickstream_platform.lake import Lake

    lake = Lake(settings.lake_folder)
    if broken := lake.broken_tables():
        each = "; ".join(f"{table}: {len(files):,}, {files[0]}" for table, files in broken.items())
        remedy = (
            "Run `clickstream doctor --mend`: derived tables are made anew, raw events from the "
            "landed files. Restore what is left from a backup."
        )
        return Check("files", "fail", f"not what was written: {each}", remedy)
    if unsealed := lake.unsealed_tables():
        each = "; ".join(f"{table}: {len(files):,}" for table, files in unsealed.items())
        remedy = (
            "A crash leaves a few so, and the table's next commit seals them. Where there are more "
            "its _SHA256SUMS was damaged: restore that from a backup, or run "
            "`clickstream materialize --full`."
        )
        return Check("files", "warn", f"files without a seal, not compared: {each}", remedy)
    return Check("files", "ok", "every file of the lake is what was written")


def _landing(settings: "Settings") -> Check:
    from clickstream_platform.events import Ledger, foreign_files

    refusals = Ledger(settings.state).refusals()
    if refused := sorted(path for path in refusals if (settings.landing / path).exists()):
        remedy = (
            "Put a sound file in its place, mend its adapter, or remove it; "
            "`clickstream sources check` says what is wrong."
        )
        found = f"refused: {counted(len(refused), 'file')}, {refused[0]} …"
        return Check("landing", "warn", found, remedy)
    if foreign := foreign_files(settings):
        remedy = "Put them into a source's folder under a name such as events.ndjson.gz."
        return Check(
            "landing", "warn", f"not taken: {counted(len(foreign), 'file')}, {foreign[0]} …", remedy
        )
    return Check("landing", "ok", f"{settings.landing}")


def _port(settings: "Settings", port: int = 3000) -> Check:  # noqa: ARG001 - a check like the others
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", port)) == 0
    if taken:
        return Check(
            "port", "warn", f"{port} is in use", "`clickstream serve --port 3001` takes another."
        )
    return Check("port", "ok", f"{port} is free for the Dagster UI")
