"""Diff of containers: by hand, and what nobody should be told about."""

import random
from pathlib import Path

import pytest

from clickstream_platform.collection.tags import diff, load_signatures, read_container
from clickstream_platform.errors import DefinitionError
from clickstream_platform_tests.collection.tags.exports import (
    ALL_PAGES,
    Fields,
    export,
    ga4,
    html,
    table,
    tag,
    template,
)

Told = tuple[str, str, str, str | None, str | None]


def changes(old: list[Fields], new: list[Fields]) -> list[Told]:
    before, after = (read_container(export(*tags), "c.json") for tags in (old, new))
    return [(it.change, it.name, it.field, it.before, it.after) for it in diff(before, after)]


def event(**rows: str) -> Fields:
    return tag("2", "gaawe", *template(eventName="buy"), table("eventParameters", **rows))


def test_changes_by_hand() -> None:
    old = [ga4("1"), event(plan="free"), html("3", "<b></b>")]
    new = [ga4("1", on=(ALL_PAGES,), paused=True), event(plan="paid", seats="2"), ga4("4", "G-D")]
    assert changes(old, new) == [
        ("changed", "tag 1", "firingTriggerId", "trigger 5", "All Pages"),
        ("changed", "tag 1", "paused", None, "true"),
        ("changed", "tag 2", "parameter.eventParameters.plan", "free", "paid"),
        ("changed", "tag 2", "parameter.eventParameters.seats", None, "2"),
        ("removed", "tag 3", "", None, None),
        ("added", "tag 4", "", None, None),
    ]


def test_what_tag_manager_keeps_for_itself_is_no_change() -> None:
    again = ga4("1") | {"fingerprint": "9", "accountId": "9", "tagManagerUrl": "https://x"}
    assert changes([ga4("1")], [again]) == []


def test_renamed_tag_is_a_changed_one() -> None:
    assert changes([ga4("1", name="a")], [ga4("1", name="b")]) == [
        ("changed", "b", "name", "a", "b")
    ]


def test_order_of_tags_of_one_name_is_no_change() -> None:
    one, two = ga4("1", "G-A", name="same"), ga4("2", "G-B", name="same")
    assert changes([one, two], [two, one]) == []
    assert changes([one, two], [two]) == [("removed", "same", "", None, None)]


def test_no_row_of_a_table_hides_another_of_its_name() -> None:
    def twice(first: str) -> Fields:
        rows = [template(name="plan", value=value) for value in (first, "last")]
        listed = [{"type": "MAP", "map": row} for row in rows]
        return tag("2", "gaawe", {"type": "LIST", "key": "eventParameters", "list": listed})

    assert changes([twice("free")], [twice("paid")]) == [
        ("changed", "tag 2", "parameter.eventParameters.plan", "free", "paid")
    ]


def test_personal_values_are_masked_and_long_ones_cut() -> None:
    long = f"<script>{'x' * 100}</script>"
    ((*_, before, after),) = changes([html("3", "to ann@example.com")], [html("3", long)])
    assert "ann" not in str(before)
    assert str(after).endswith("… (117 letters)")
    assert len(str(after)) < 100


def test_long_values_are_shown_where_they_differ() -> None:
    # 100 letters are alike; 20 of them are shown before the one that is not.
    old, new = (html("3", "x" * 100 + last + "y" * 100) for last in "ab")
    ((*_, before, after),) = changes([old], [new])
    assert before == f"…{'x' * 20}a{'y' * 59}… (201 letters)"
    assert after == f"…{'x' * 20}b{'y' * 59}… (201 letters)"


def test_folders_are_told_by_name() -> None:
    folders = [{"folderId": str(n), "name": f"folder {n}"} for n in (1, 2)]
    before, after = (
        read_container(export(ga4("1", parentFolderId=folder), folder=folders), "c.json")
        for folder in "12"
    )
    ((*_, was, now, _),) = diff(before, after)
    assert (was, now) == ("folder 1", "folder 2")


@pytest.mark.parametrize("seed", range(20))
def test_diff_turns_around(seed: int) -> None:
    rng = random.Random(seed)
    old, new = (
        [ga4(str(i), rng.choice(["G-A", "G-B"])) for i in rng.sample(range(9), 5)] for _ in "ab"
    )
    turned = {"added": "removed", "removed": "added", "changed": "changed"}
    back = {
        (turned[c], name, field, after, before)
        for c, name, field, before, after in changes(new, old)
    }
    assert set(changes(old, new)) == back
    assert changes(old, old) == []


def test_signature_is_of_one_change_alone(tmp_path: Path) -> None:
    digests = [
        diff(
            read_container(export(event(plan="free")), "a"),
            read_container(export(event(plan=plan)), "b"),
        )[0].digest
        for plan in ("paid", "gold", "paid")
    ]
    assert digests[0] == digests[2] != digests[1]
    signed = tmp_path / "owners.toml"
    signed.write_text(f'[signed]\n{digests[0]} = "web team"\n')
    assert load_signatures(signed) == {digests[0]: "web team"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a", r"owners\.toml: syntax: .*It must be TOML", id="no TOML"),
        pytest.param("a = 1", r"owners\.toml: signed: is no table\. Write", id="no table"),
        pytest.param('[signed]\na = " "', r"signed\.a: names nobody", id="nobody"),
    ],
)
def test_signatures_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    signed = tmp_path / "owners.toml"
    signed.write_text(text)
    with pytest.raises(DefinitionError, match=message):
        load_signatures(signed)
