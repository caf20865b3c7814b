"""The reference pages say what the contracts say today."""

from pathlib import Path

from clickstream_platform.tables.catalog import TABLES
from clickstream_platform.tables.pages import page, pages, write_pages

PRINTED = Path(__file__).parents[2] / "docs" / "tables"


def test_printed_pages_are_current() -> None:
    printed = {file.name: file.read_text() for file in PRINTED.glob("*.md")}
    stale = sorted(name for name, text in pages().items() if printed.get(name) != text)
    assert stale == [], "run `make docs`"
    assert sorted(printed) == sorted(pages())


def test_page_names_every_column_its_allowed_values_and_how_erasure_finds_a_person() -> None:
    text = page(TABLES["quarantined_events"])
    assert "Why it waits: rules, or the horizon. One of `quarantined`," in text
    assert "| `violations` | list of struct(code, field, expected, got) |" in text
    assert "erasure finds a person by `visitor_id`, `user_id`, `identifiers`." in text


def test_page_says_what_people_must_allow() -> None:
    assert "only rows of people who allow it." in page(TABLES["conversions"])
    text = page(TABLES["segment_members"])
    assert "who allow it, and the purpose of the row's segment, `purpose` in `segments`." in text


def test_page_of_a_table_that_is_gone_is_removed(tmp_path: Path) -> None:
    (tmp_path / "visits.md").write_text("")
    write_pages(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(pages())
