"""The scripts that the package ships: which, how large, and what they agree on with the rest."""

import gzip
import json
import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest

from clickstream_platform import attribution
from clickstream_platform.collection.tracker import SCRIPTS, ScriptNotFoundError, script
from clickstream_platform.sessions import PAGE_VIEWS, PINGS
from clickstream_platform_tests.collection.conftest import FOLDER

CORE_BYTES = 3_000
"""Most that the core may weigh, gzipped, consent included."""

SOURCES = "".join(file.read_text() for file in sorted((FOLDER / "src").rglob("*.ts")))


def gzipped(name: str) -> int:
    return len(gzip.compress(script(name), 9))


def test_core_with_consent_weighs_at_most_three_thousand_bytes() -> None:
    assert gzipped("t.js") <= CORE_BYTES


def test_sizes_in_the_readme_are_those_of_the_scripts() -> None:
    rows = re.findall(r"^\| `(t[a-z-]*\.js)` \| ([\d,]+) \| ([\d,]+) \|", readme(), re.MULTILINE)
    told = {name: (int(size.replace(",", "")), int(gz.replace(",", ""))) for name, size, gz in rows}
    assert told == {name: (len(script(name)), gzipped(name)) for name in SCRIPTS}


def readme() -> str:
    return (FOLDER / "README.md").read_text()


def test_scripts_are_those_that_were_built() -> None:
    assert sorted(SCRIPTS) == sorted(file.name for file in (FOLDER / "built").iterdir())
    plugins = re.findall(r"clickstream\('plugin', '(\w+)'", SOURCES)
    assert sorted(SCRIPTS) == sorted(["t.js", *(f"t-{plugin}.js" for plugin in plugins)])


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_the_same_in_any_encoding(name: str) -> None:
    assert script(name).isascii()


@pytest.mark.parametrize("name", ["t", "T.js", "../package.json", "t-unknown.js", ""])
def test_nothing_but_scripts_is_served(name: str) -> None:
    with pytest.raises(ScriptNotFoundError, match=r"^The tracker has no script .*\. Try one of t"):
        script(name)


def test_event_names_are_those_of_the_platform() -> None:
    names = set(re.findall(r"track\(\s*'(\w+)'", SOURCES))
    assert {"page_view", "page_ping", "click", "scroll"} <= names
    assert names & {*PAGE_VIEWS} == {"page_view"}
    assert names & {*PINGS} == {"page_ping"}
    assert all(name in readme() for name in names)


def test_click_ids_are_those_that_attribution_knows() -> None:
    found = re.search(r"const CLICK_IDS =\s*/(.+)/i;", SOURCES)
    assert found is not None
    definitions = Path(attribution.__file__).parent / "click_ids.toml"
    known = tomllib.loads(definitions.read_text())
    assert [key for key in known if re.match(found[1], key, re.IGNORECASE) is None] == []
    assert re.match(found[1], "email", re.IGNORECASE) is None


def cleaned(node: str, addresses: list[str]) -> dict[str, list[str]]:
    """Addresses as the tracker sends them: by default, and with all of their keys allowed."""
    done = subprocess.run(  # noqa: S603 - our own words
        [node, Path(__file__).with_name("clean.mjs"), FOLDER],
        input=json.dumps(addresses),
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_personal_values_of_a_foreign_corpus_stay_in_the_browser(node: str, shared: Path) -> None:
    lines = (shared / "cases/pii/url_parameters.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    result = cleaned(node, [case["url"] for case in cases])
    # Query and fragment are gone, whatever their keys and encodings; campaigns stay.
    keys = {key for address in result["usual"] for key, _ in parse_qsl(urlsplit(address).query)}
    assert keys == {"gclid", "utm_campaign", "utm_source"}
    assert [address for address in result["usual"] if "#" in address] == []
    # What is written as an e-mail address is masked in paths too, and in keys that a site allows.
    # (Base64 is left to the collector, which looks deeper.)
    emails = [
        (index, value["value"], "usual" if value["where"] == "path" else "all_keys")
        for index, case in enumerate(cases)
        for value in case["pii"]
        if value["entity"] == "EMAIL_ADDRESS" and value["encoding"] != "base64"
    ]
    assert len(emails) > 30
    assert [v for i, v, under in emails if v.split("@")[0] in unquote(result[under][i])] == []
    # Addresses without anything personal keep their paths.
    clean = [index for index, case in enumerate(cases) if not case["pii"]]
    paths = [(urlsplit(cases[i]["url"]).path, urlsplit(result["usual"][i]).path) for i in clean]
    assert [before for before, after in paths if before != after] == []


@pytest.mark.slow
def test_rebuilding_gives_the_same_bytes(node: str, tmp_path: Path) -> None:
    subprocess.run([node, "build.mjs", tmp_path], cwd=FOLDER, check=True, capture_output=True)  # noqa: S603
    built = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert built == {name: script(name) for name in SCRIPTS}


@pytest.mark.slow
def test_types_hold_for_the_sources_and_for_pages(node: str) -> None:
    compiler = FOLDER / "node_modules/typescript/bin/tsc"
    page = Path(__file__).with_name("page.ts")
    flags = ["--strict", "--noEmit", "--lib", "es2022,dom", "--ignoreConfig"]
    for arguments in (["-p", str(FOLDER)], [*flags, str(page)]):
        done = subprocess.run(  # noqa: S603 - our own words
            [node, str(compiler), *arguments], capture_output=True, text=True, check=False
        )
        assert done.stdout == ""
        assert done.returncode == 0
