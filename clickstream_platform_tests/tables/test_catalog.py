"""Every contract is documented: the reference pages are built from it."""

import importlib
import pkgutil

import pandera.polars as pa
import pytest

from clickstream_platform import tables
from clickstream_platform.tables.catalog import TABLES, StoredTable

for module in pkgutil.iter_modules(tables.__path__, "clickstream_platform.tables."):
    importlib.import_module(module.name)


@pytest.mark.parametrize("contract", pa.DataFrameModel.__subclasses__(), ids=lambda c: c.__name__)
def test_contract_states_its_grain_and_describes_every_column(
    contract: type[pa.DataFrameModel],
) -> None:
    schema = contract.to_schema()
    assert schema.name
    assert f"Grain: {', '.join(schema.unique or [])}." in (contract.__doc__ or "")
    assert [name for name, column in schema.columns.items() if not column.description] == []


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_catalog_names_columns_that_the_contract_has(table: StoredTable) -> None:
    columns = set(table.contract.to_schema().columns)
    named = {*table.partition_by, *table.sort_by, *table.person_columns}
    assert named - columns == set()


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_column_that_holds_a_pseudonym_is_known_to_erasure(table: StoredTable) -> None:
    pseudonyms = {"visitor_id", "user_id", "person_id"} & set(table.contract.to_schema().columns)
    assert pseudonyms - set(table.person_columns) == set()
