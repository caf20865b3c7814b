"""Engagement weights: what the files may say."""

from pathlib import Path

import pytest

from clickstream_platform.errors import DefinitionError
from clickstream_platform.sessions import load_engagement_weights


def test_name_without_a_weight_earns_what_others_do() -> None:
    shipped = load_engagement_weights()
    assert shipped.weight("purchase") == 20
    assert shipped.weight("a name of one's own") == shipped.otherwise == 0.5


def test_own_file_replaces_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "engagement_weights.toml").write_text("otherwise = 0\n[weights]\npurchase = 3")
    own = load_engagement_weights(tmp_path)
    assert (own.weight("purchase"), own.weight("page_view")) == (3, 0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("otherwise = ", r"syntax.*must be TOML", id="no TOML"),
        pytest.param(
            "otherwise = -1\n[weights]", r"otherwise.*greater than or equal", id="below 0"
        ),
        pytest.param("[weights]\na = -1\n", r"Keys are `otherwise`", id="weight below zero"),
        pytest.param(
            "otherwise = 1\nelse = 2\n[weights]", r"else.*is no key here", id="unknown key"
        ),
    ],
)
def test_unusable_file_is_refused_with_its_key(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "engagement_weights.toml").write_text(text)
    with pytest.raises(DefinitionError, match=rf"(?s)engagement_weights\.toml.*{complaint}"):
        load_engagement_weights(tmp_path)
