"""The code location loads fast, says what it should of every asset, and is what was reviewed."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.load import location_origins_from_yaml_paths

from clickstream_platform import identity, sessions
from clickstream_platform.orchestration.contracts import PRINTED, contracts, lineage, printed
from clickstream_platform.orchestration.definitions import definitions
from clickstream_platform.orchestration.running import DEFINITIONS
from clickstream_platform.tables.catalog import TABLES

GRAPH = Path(__file__).with_name("asset_graph.txt")
"""The graph as it was reviewed; rewiring shows up as a difference."""

HEAVY = ("polars", "duckdb", "ibis", "pandera", "sklearn", "pyarrow", "deltalake", "altair")
"""Engines: each costs a run a part of a second, or seconds, before it starts."""


def graph_as_text() -> str:
    """One paragraph per asset: group, key, partitions, pool; inputs; checks."""
    graph = definitions.resolve_asset_graph()
    checks = graph.asset_check_keys
    lines = []
    order = {dg.AssetKey(table): number for number, table in enumerate(TABLES)}
    for key in sorted(graph.get_all_asset_keys(), key=lambda key: (order.get(key, -1), key)):
        node = graph.get(key)
        partitions = type(node.partitions_def).__name__ if node.partitions_def else "-"
        lines.append(f"{node.group_name}/{key.to_user_string()}  {partitions}")
        if node.is_materializable:
            pools = ", ".join(sorted(node.pools or ())) or "-"
            asked = "automation" if node.automation_condition else "sensor or hand"
            lines.append(f"  pool {pools}, asked for by {asked}")
        lines += [f"  < {parent.to_user_string()}" for parent in sorted(node.parent_keys)]
        lines += [
            f"  ? {check.name}{' (blocking)' if graph.get_check_spec(check).blocking else ''}"
            for check in sorted(checks, key=lambda c: c.name)
            if check.asset_key == key
        ]
    return "\n".join(lines) + "\n"


def test_asset_graph_is_the_reviewed_one() -> None:
    text = graph_as_text()
    if not GRAPH.exists():
        GRAPH.write_text(text)
    assert text == GRAPH.read_text(), f"Rewired on purpose? Remove {GRAPH.name} and run again."


def test_every_asset_has_a_blocking_contract_check() -> None:
    dg.Definitions.validate_loadable(definitions)
    graph = definitions.resolve_asset_graph()
    checked = {
        key.asset_key
        for key in graph.asset_check_keys
        if key.name == "contract" and graph.get_check_spec(key).blocking
    }
    assert graph.materializable_asset_keys - checked == set()


def test_every_stored_table_is_an_asset() -> None:
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert set(TABLES) - keys == set()


@pytest.mark.parametrize("table", [*TABLES, "report"])
def test_asset_says_who_owns_it_and_what_it_is(table: str) -> None:
    node = definitions.resolve_asset_graph().get(dg.AssetKey(table))
    assert node.owners
    assert node.kinds
    assert node.description
    assert node.code_version
    assert node.pools
    assert node.tags.keys() >= {"stage", "pseudonyms"}


@pytest.mark.parametrize(
    ("table", "method"), [("identity_map", identity.METHOD), ("sessions", sessions.METHOD)]
)
def test_code_version_is_the_method_of_the_domain(table: str, method: int) -> None:
    # Written twice, because loading the code location must not load what refreshes the table.
    node = definitions.resolve_asset_graph().get(dg.AssetKey(table))
    assert node.code_version == str(method)


def test_loading_the_code_location_loads_no_engine() -> None:
    script = (
        "import sys\n"
        "from clickstream_platform.orchestration.definitions import definitions\n"
        "definitions.get_repository_def().load_all_definitions()\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules))"
    )
    found = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=240
    )
    assert found.stdout.split() == []


def test_printed_contracts_are_those_of_the_code() -> None:
    command = "python -m clickstream_platform.orchestration.contracts"
    assert PRINTED.read_text() == printed(), f"Print them anew: {command}"


@pytest.mark.parametrize("table", TABLES)
def test_column_schema_is_that_of_the_contract(table: str) -> None:
    columns = contracts()[table].columns.columns
    assert [column.name for column in columns] == list(TABLES[table].contract.to_schema().columns)


FIRST = {"raw_events", "subject_requests", "identity_decisions"}
"""Tables that no table of the lake comes before."""


@pytest.mark.parametrize("table", sorted(set(TABLES) - FIRST))
def test_every_column_says_where_it_comes_from(table: str) -> None:
    assert lineage()[table].keys() == TABLES[table].contract.to_schema().columns.keys()


def test_lineage_names_columns_that_exist() -> None:
    origins = {origin for found in lineage().values() for each in found.values() for origin in each}
    columns = {
        f"{name}.{column}"
        for name, t in TABLES.items()
        for column in t.contract.to_schema().columns
    }
    assert origins - columns == set()


def test_lineage_goes_along_the_asset_graph() -> None:
    graph = definitions.resolve_asset_graph()
    for table, columns in lineage().items():
        origins = {origin.split(".")[0] for found in columns.values() for origin in found}
        parents = {key.to_user_string() for key in graph.get(dg.AssetKey(table)).parent_keys}
        siblings = {
            key.to_user_string() for key in graph.get(dg.AssetKey(table)).execution_set_asset_keys
        }
        assert origins - parents - siblings == set(), table


def test_no_module_postpones_annotations() -> None:
    # Dagster reads the types of `context` and `config`, which must not be text.
    package = Path(__file__).parents[2] / "clickstream_platform" / "orchestration"
    assert [p.name for p in package.rglob("*.py") if "import annotations" in p.read_text()] == []


def test_workspace_names_the_location_as_serve_does() -> None:
    file = Path(__file__).parents[2] / "workspace.yaml"
    (origin,) = location_origins_from_yaml_paths([str(file)])
    assert origin.location_name == DEFINITIONS
