"""Commands about tags: words, JSON and exit codes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clickstream_platform.cli.app import app, load_commands
from clickstream_platform.errors import DefinitionError, ParameterError
from clickstream_platform_tests.collection.tags.exports import ALL_PAGES, export, ga4, html

load_commands()


def tags(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["tags", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    file = tmp_path / "faulty.json"
    file.write_text(export(html("1", "[b]", name="[red]", needs="NOT_SET"), ga4("2", paused=True)))
    return file


def test_lint_says_what_to_do_and_fails_on_errors(faulty: Path) -> None:
    first, second = tags("lint", faulty, code=1).splitlines()
    assert first.startswith("error: tag '[red]' runs without asking for consent. Set its")
    assert second.startswith("warning: tag 'tag 2' is paused. Delete it;")
    found = json.loads(tags("lint", faulty, "--json", code=1))
    assert [(it["rule"], it["name"]) for it in found] == [
        ("consent_missing", "[red]"),
        ("paused", "tag 2"),
    ]


def test_lint_passes_warnings_and_takes_own_rules(faulty: Path, tmp_path: Path) -> None:
    own = tmp_path / "data" / "definitions"
    own.mkdir(parents=True)
    (tmp_path / "data" / "clickstream.toml").write_text('definitions = "definitions"')
    shipped = Path(__file__).parents[2] / "clickstream_platform/collection/tags/rules.toml"
    (own / "tag_rules.toml").write_text(shipped.read_text().replace('"error"', '"warning"'))
    assert tags("lint", faulty, "--data", tmp_path / "data").count("warning: ") == 2


def test_diff_fails_until_each_change_is_signed(faulty: Path, tmp_path: Path) -> None:
    later, signed = tmp_path / "later.json", tmp_path / "owners.toml"
    later.write_text(export(html("1", "[b]", name="[red]", on=(ALL_PAGES,)), ga4("2")))
    changes = json.loads(tags("diff", faulty, later, "--json"))
    assert [(it["name"], it["field"]) for it in changes] == [
        ("[red]", "consentSettings"),
        ("[red]", "firingTriggerId"),
        ("tag 2", "paused"),
    ]
    lines = [f'{it["digest"]} = "web team"' for it in changes]
    signed.write_text("\n".join(["[signed]", *lines[:2]]))
    tags("diff", faulty, later, "--signed", signed, code=1)
    signed.write_text("\n".join(["[signed]", *lines]))
    assert tags("diff", faulty, later, "--signed", signed).count("web team") == 3
    assert tags("diff", faulty, faulty) == "Nothing changed.\n"


def test_other_files_are_named(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(DefinitionError, match=r"other\.json: containerVersion: is missing"):
        tags("lint", other)


def test_policy_is_printed_as_headers_and_as_json(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(export(ga4("1")))
    first, second, *notes = tags(
        "csp", file, "--collector", "https://c.example", "--key", "k"
    ).splitlines()
    assert first.startswith("Content-Security-Policy-Report-Only: default-src 'self'; script-src ")
    assert second == 'Reporting-Endpoints: csp="https://c.example/v1/csp?key=k"'
    assert notes
    assert all(note.startswith("# ") for note in notes)
    told = json.loads(tags("csp", file, "--enforce", "--json"))
    assert [*told["headers"]] == ["Content-Security-Policy"]
    assert told["directives"]["object-src"] == ["'none'"]


def test_policy_needs_a_container_or_reports(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"^container is missing"):
        tags("csp")
    with pytest.raises(ParameterError, match=r"^collector is missing, to which --key reports"):
        tags("csp", "--from-events", "--key", "k", "--data", tmp_path / "data")
    assert "default-src 'self'" in tags("csp", "--from-events", "--data", tmp_path / "data")


def test_budget_fails_where_a_limit_is_exceeded(tmp_path: Path) -> None:
    entries = [
        {"request": {"url": url}, "response": {"_transferSize": 10}}
        for url in ("https://shop.example/", "https://ads.example/x.js")
    ]
    file, own = tmp_path / "shop.har", tmp_path / "budget.toml"
    file.write_text(json.dumps({"log": {"entries": entries}}))
    assert "third_party_requests" in tags("budget", file)
    own.write_text("tracker = '/t.js'\n[limits]\nthird_party_bytes = 9\n")
    (told,) = json.loads(tags("budget", file, "--budget", own, "--json", code=1))
    assert (told["limit"], told["measured"], told["is_kept"]) == ("third_party_bytes", 10, False)
