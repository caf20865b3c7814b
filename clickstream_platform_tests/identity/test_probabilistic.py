"""Matches without a login: cases with known truth, explained, and never of two users."""

import os
import random
import re
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

import clickstream_platform
from clickstream_platform.errors import DefinitionError
from clickstream_platform.identity import decide, refresh_identity
from clickstream_platform.identity.clusters import (
    cluster_matches,
    known_apart,
    pairs_of,
    score_matches,
)
from clickstream_platform.identity.comparisons import Comparison
from clickstream_platform.identity.matching import (
    DEFINITION,
    Matches,
    MatchRules,
    TooFewRecordsError,
    UnknownColumnError,
    load_match_rules,
    match_records,
    match_rules,
)
from clickstream_platform.identity.visitors import known_users, match_visitors
from clickstream_platform.lake import Lake
from clickstream_platform.settings import Settings
from clickstream_platform_tests.frames import (
    NOON,
    events_frame,
    identity_frame,
    person_consents_frame,
    surrogate,
)


def spelling(column: str, *, swapped_with: str | None = None) -> Comparison:
    return Comparison(
        column=column, kind="name", at=(0.9, 0.7), by_frequency=True, swapped_with=swapped_with
    )


FAKE = MatchRules(
    threshold=0.9,
    blocking=(
        *(("first_name",), ("surname",), ("dob",), ("email",), ("email:4",)),
        *(("first_name:2", "surname:2"), ("first_name:2", "dob:4"), ("surname:2", "dob:4")),
        ("dob:7", "city"),
    ),
    sure=(("first_name", "surname"), ("email",)),
    recall_of_sure=0.6,
    training=(("first_name", "surname"), ("dob",)),
    comparisons=(
        spelling("first_name", swapped_with="surname"),
        spelling("surname"),
        Comparison(column="dob", kind="date", at=(1, 2)),
        Comparison(column="city", kind="name", at=(0.8,), by_frequency=True),
        Comparison(column="email", kind="name", at=(0.9, 0.7)),
    ),
)
PLAIN = FAKE.model_copy(
    update={
        "comparisons": tuple(
            it.model_copy(update={"by_frequency": False}) for it in FAKE.comparisons
        )
    }
)
FEBRL = MatchRules(
    threshold=0.9,
    blocking=(
        *(("date_of_birth",), ("soc_sec_id",), ("soc_sec_id:4", "postcode")),
        *(("given_name:3", "surname:3"), ("given_name", "postcode"), ("surname", "postcode")),
        *(("given_name:3", "date_of_birth:6"), ("surname:3", "date_of_birth:6")),
        *(("given_name", "date_of_birth:4"), ("surname", "date_of_birth:4")),
        ("address_1", "street_number"),
    ),
    sure=(("soc_sec_id",), ("given_name", "surname", "date_of_birth")),
    recall_of_sure=0.8,
    training=(("given_name", "surname"), ("date_of_birth",)),
    comparisons=(
        spelling("given_name", swapped_with="surname"),
        spelling("surname"),
        Comparison(column="date_of_birth", kind="date", at=(1, 2)),
        Comparison(column="soc_sec_id", kind="typos", at=(1, 2)),
        Comparison(column="postcode", kind="typos", at=(1,), by_frequency=True),
        Comparison(column="address_1", kind="name", at=(0.9,), by_frequency=True),
        Comparison(column="street_number", kind="exact"),
    ),
)


@pytest.fixture(scope="module")
def fake(shared: Path) -> tuple[Matches, dict[str, str]]:
    """Splink's own made-up people."""
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    table = pl.read_csv(shared / "cases/record_linkage/fake_1000.csv", infer_schema=False)
    table = table.rename({"unique_id": "record_id"})
    truth = dict(table.select("record_id", "cluster").rows())
    return match_records(table.drop("cluster"), FAKE), truth


def test_people_made_up_by_splink_are_found(fake: tuple[Matches, dict[str, str]]) -> None:
    matches, truth = fake
    clusters = cluster_matches(matches.pairs, {})
    score = score_matches(pairs_of(clusters), truth)
    print(f"fake_1000: precision {score.precision:.3f}, recall {score.recall:.3f}")  # noqa: T201 - the report
    assert score.precision >= 0.99
    assert score.recall >= 0.92


def test_febrl_duplicates_are_found(shared: Path) -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    table = pl.read_csv(shared / "cases/record_linkage/febrl1.csv", infer_schema=False)
    table = table.rename({name: name.strip() for name in table.columns})
    table = table.with_columns(pl.all().str.strip_chars().replace("", None))
    table = table.rename({table.columns[0]: "record_id"})
    truth = {record: record.split("-")[1] for record in table["record_id"]}
    matches = match_records(table, FEBRL)
    score = score_matches(pairs_of(cluster_matches(matches.pairs, {})), truth)
    print(f"febrl1: precision {score.precision:.3f}, recall {score.recall:.3f}")  # noqa: T201 - the report
    assert score.precision >= 0.99
    assert score.recall >= 0.99


def test_match_explains_itself(fake: tuple[Matches, dict[str, str]]) -> None:
    pairs = fake[0].pairs
    weights = pairs.select(pl.sum_horizontal("prior_weight", pl.col("^weight_.*$"))).to_series()
    assert weights.to_list() == pytest.approx(pairs["match_weight"].to_list())
    # By Bayes: odds are two to the power of the weight.
    odds = 2.0 ** pairs["match_weight"]
    assert (odds / (1 + odds)).to_list() == pytest.approx(pairs["match_probability"].to_list())
    assert (pairs["left_id"] < pairs["right_id"]).all()


def test_two_known_users_are_never_merged(fake: tuple[Matches, dict[str, str]]) -> None:
    matches, _ = fake
    first = matches.pairs.row(0, named=True)
    users = {first["left_id"]: "ann", first["right_id"]: "bob"}
    kept = known_apart(matches.pairs, users)
    assert kept.height == matches.pairs.height - 1
    for cluster in cluster_matches(matches.pairs, users):
        assert not set(users) <= set(cluster.records), "not by a third record either"


def pairs(*rows: tuple[str, str, float]) -> pl.DataFrame:
    schema = {"left_id": pl.String(), "right_id": pl.String(), "match_probability": pl.Float64()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_chain_between_two_users_breaks_at_its_weakest_match() -> None:
    # a-b-c-d, ann at a and bob at d; b-c is the weakest: a, b stay together and c, d.
    chain = pairs(("a", "b", 0.99), ("b", "c", 0.96), ("c", "d", 0.98))
    clusters = cluster_matches(chain, {"a": "ann", "d": "bob"})
    assert [cluster.records for cluster in clusters] == [("a", "b"), ("c", "d")]
    (whole,) = cluster_matches(chain, {"a": "ann", "d": "ann"})
    # 3 matches of 6 pairs.
    assert (whole.matches, whole.density, whole.least_probability) == (3, 0.5, 0.96)


def customers(*, seed: int = 1, people: int = 150) -> pl.DataFrame:
    """People of a few names, two in five of them once more with a slip of the pen."""
    rng = random.Random(seed)
    rows: list[dict[str, str | None]] = []
    for number in range(people):
        row: dict[str, str | None] = {
            "record_id": f"a{number}",
            "first_name": f"{rng.choice('ABCDEFG')}{rng.choice(['nn', 'lí', 'żółć'])}",
            "surname": f"{rng.choice('KLMNOPRST')}{rng.choice(['arch', 'over', 'utte'])}",
            "dob": f"19{rng.randrange(40, 99)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
            "city": rng.choice(["Oslo", "Bern", "Rome"]),
            "email": f"e{rng.randrange(10**6)}@example.com",
        }
        rows.append(row)
        if rng.random() < 0.4:
            column = rng.choice(["first_name", "surname", "city", "email"])
            rows.append(row | {"record_id": f"b{number}", column: rng.choice([None, "Xyz"])})
    return pl.DataFrame(rows)


def told(records: pl.DataFrame) -> pl.DataFrame:
    return match_records(records, FAKE, least=0.01).pairs


@pytest.mark.parametrize("records", [0, 1, 2])
def test_too_few_records_say_so(records: int) -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    with pytest.raises(TooFewRecordsError, match=rf"^{records} records are too few"):
        match_records(customers().head(records), FAKE)


def test_column_that_nobody_has_leaves_the_others() -> None:
    # A rule of training that needs the column finds no pair; one of blocking stands in. A level
    # that no match has underflows after some rounds.
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    records = customers().with_columns(pl.lit(None, pl.String).alias("first_name"))
    matches = match_records(records, PLAIN)
    truth = {record: record[1:] for record in records["record_id"]}
    score = score_matches(matches.pairs.select("left_id", "right_id").rows(), truth)
    assert score.precision >= 0.8
    assert score.recall >= 0.9
    assert "weight_first_name" not in matches.pairs.columns


def test_records_in_another_order_match_alike() -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    records = customers()
    shuffled = records.sample(fraction=1, shuffle=True, seed=7)
    assert_frame_equal(told(shuffled), told(records), check_exact=True)


def test_unsettled_estimation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    assert match_records(customers(), PLAIN).is_settled
    monkeypatch.setattr("clickstream_platform.identity.matching.MOST_ROUNDS", 1)
    assert not match_records(customers(), PLAIN).is_settled


def test_column_that_records_lack_is_named() -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    with pytest.raises(UnknownColumnError, match=r"^The rules compare by city, dob, which"):
        match_records(customers().drop("city", "dob"), FAKE)


JO: dict[str, str | None] = {
    "first_name": "Jo",
    "surname": "Quist",
    "dob": "1970-02-11",
    "email": "jo@example.com",
}
SLIPS: list[tuple[str, dict[str, str | None], int]] = [
    ("dob", {"dob": "1970-02-11"}, 4),
    ("dob", {"dob": "1970-11-02"}, 3),
    ("dob", {"dob": "1970-02-12"}, 2),
    ("first_name", {"first_name": "Quist", "surname": "Jo"}, 3),
    ("first_name", {"first_name": "Quist"}, 0),
    ("first_name", {"first_name": None}, -1),
]
"""What is compared, how it differs from Jo's, and how alike that is."""


def test_slips_are_told_apart() -> None:
    # The same date, day and month swapped, a typo; names swapped, half swapped, and unknown.
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    jo = JO | {"record_id": "x", "city": "Oslo"}
    slips = [jo | {"record_id": f"y{place}"} | slip for place, (_, slip, _) in enumerate(SLIPS)]
    records = pl.concat([customers(), pl.DataFrame([jo, *slips], schema=customers().schema)])
    of_jo = told(records).filter(left_id="x")
    for place, (column, _, expected) in enumerate(SLIPS):
        assert of_jo.filter(right_id=f"y{place}")[f"agrees_{column}"].to_list() == [expected]


def test_rare_name_says_more_than_a_common_one() -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    pairs = told(customers()).filter(agrees_surname=3)
    common = customers()["surname"].value_counts(sort=True)["surname"].to_list()
    names = dict(customers().select("record_id", "surname").rows())
    by_name = {
        names[left]: weight for left, weight in pairs.select("left_id", "weight_surname").rows()
    }
    rarest = max(name for name in common[-8:] if name in by_name)
    assert by_name[rarest] > by_name[common[0]]
    weights = pairs.select(pl.sum_horizontal("prior_weight", pl.col("^weight_.*$"))).to_series()
    assert weights.to_list() == pytest.approx(pairs["match_weight"].to_list())


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"kind": "name"}, id="no threshold"),
        pytest.param({"kind": "exact", "at": (1,)}, id="threshold of exact"),
        pytest.param({"kind": "name", "at": (0.7, 0.9)}, id="loosest first"),
        pytest.param({"kind": "edits", "at": (2, 1)}, id="most edits first"),
        pytest.param({"kind": "edits", "at": (0.5,)}, id="half an edit"),
        pytest.param({"kind": "name", "at": (2,)}, id="more than the same"),
        pytest.param({"kind": "overlap", "at": (2,), "by_frequency": True}, id="list by frequency"),
    ],
)
def test_comparison_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Comparison.model_validate({"column": "name", **wrong})


def visitor(name: str, *, other: bool = False) -> dict[str, object]:
    """One of two kinds of visitors who are alike in everything."""
    return {
        "record_id": name,
        "network": "192.0.2.0" if other else "198.51.100.0",
        "country": "DE",
        "language": "de" if other else "fr",
        "device_type": "mobile",
        "browser_name": "Firefox" if other else "Safari",
        "main_hour": str(int(other)),
        "main_host": "a.example" if other else "b.example",
        "hosts": ["a.example"] if other else ["b.example"],
    }


@pytest.mark.parametrize(
    "others",
    [
        pytest.param(0, id="all alike"),
        pytest.param(1, id="all alike but one"),
    ],
)
def test_visitors_who_are_too_much_alike_tell_nothing(others: int) -> None:
    pytest.importorskip("splink", reason="the extra `probabilistic` is not installed")
    rows = [visitor(f"v{number}", other=number < others) for number in range(20)]
    with pytest.raises(TooFewRecordsError, match=r"^20 records are too few, or too alike"):
        match_records(pl.DataFrame(rows), match_rules())


def test_user_of_a_visitor_is_known_whoever_it_is_merged_with() -> None:
    # Ann's account is on too many devices and merges nobody; Bob and Cid share the tablet.
    found = known_users(
        identity_frame(
            [
                {"visitor_id": "phone", "user_id": "ann", "person_id": "phone", "is_shared": True},
                {"visitor_id": "laptop", "user_id": "bob"},
                {"visitor_id": "tablet", "user_id": "bob", "person_id": "tablet"},
                {"visitor_id": "tablet", "user_id": "cid", "person_id": "tablet"},
                {"visitor_id": "till", "user_id": "pi_1"},
                {"visitor_id": "desk", "user_id": "pi_1", "person_id": "pi_1"},
                {"visitor_id": "desk", "user_id": "ann", "person_id": "pi_1", "is_shared": True},
            ]
        )
    )
    assert found == {
        "phone": {"ann"},
        "laptop": {"bob"},
        "tablet": {"bob", "cid"},
        "till": {"pi_1"},
        "desk": {"ann"},
    }


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every two visitors match."""

    def match(records: pl.DataFrame, *_: object, **__: object) -> Matches:
        found = combinations(records["record_id"], 2)
        return Matches(pairs(*((*pair, 0.99) for pair in found)), 0)

    monkeypatch.setattr("clickstream_platform.identity.visitors.match_records", match)


def agreed(visitor: str, **more: object) -> dict[str, object]:
    return {"event_id": visitor, "visitor_id": visitor, "consent_personalization": True} | more


def matched(settings: Settings) -> list[tuple[str, ...]]:
    clusters = match_visitors(Lake(settings.lake_folder), settings).clusters
    return [cluster.records for cluster in clusters]


@pytest.mark.usefixtures("alike")
def test_a_guess_does_not_put_back_whom_a_decision_took_away(settings: Settings) -> None:
    lake = Lake(settings.lake_folder)
    logins = [agreed(name, user_id="ann") for name in ("laptop", "phone")]
    lake.append("events", events_frame([*logins, agreed("unknown")]))
    refresh_identity(lake, settings)
    assert matched(settings) == [("laptop", "phone", "unknown")]
    phone = ("phone", surrogate("phone"))
    split = decide(lake, "split", reason="sold", actor="care", now=NOON, identifier=phone)
    refresh_identity(lake, settings)
    assert matched(settings) == [("laptop", "unknown")]
    decide(lake, "restore", reason="hers again", actor="care", now=NOON, restores=split)
    refresh_identity(lake, settings)
    assert matched(settings) == [("laptop", "phone", "unknown")]


@pytest.mark.usefixtures("alike")
def test_who_withdrew_is_not_compared_any_more(settings: Settings) -> None:
    # Ann agreed on both devices, then withdrew: also what her phone did anonymously is left out.
    lake = Lake(settings.lake_folder)
    linked = [agreed("laptop", user_id="ann"), agreed("phone", user_id="ann")]
    anonymous = agreed("phone", event_id="before")
    others = [agreed(name) for name in ("b", "c")]
    lake.append("events", events_frame([*linked, anonymous, *others]))
    refresh_identity(lake, settings)
    assert matched(settings) == [("b", "c", "laptop", "phone")]
    refused = person_consents_frame({"ann": "yy"}).with_columns(consent_personalization=False)
    lake.append("person_consents", refused)
    assert matched(settings) == [("b", "c")]


def test_matches_reach_the_command_line_and_nothing_else() -> None:
    # No table, segment, credit or message can hold what no other module asks for.
    package = Path(clickstream_platform.__file__).parent
    asking = {
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if re.search(
            r"match_(visitors|records)|identity\.(matching|clusters|visitors)", file.read_text()
        )
    }
    assert asking == {
        "identity/__init__.py",
        "identity/matching.py",
        "identity/visitors.py",
        "cli/identities.py",
    }


@pytest.mark.usefixtures("alike")
def test_visitors_of_two_users_are_apart_though_an_account_merges_nobody(
    settings: Settings,
) -> None:
    # Ann's account is shared by too many devices. The tablet is Bob's and Cid's: a bridge.
    lake = Lake(settings.lake_folder)
    names = ("laptop", "phone", "tablet", "unknown")
    events = [{"event_id": it, "visitor_id": it, "consent_personalization": True} for it in names]
    lake.append("events", events_frame(events))
    ann = {"visitor_id": "phone", "user_id": "ann", "person_id": "phone", "is_shared": True}
    both = {"visitor_id": "tablet", "person_id": "tablet", "is_shared": True}
    links: list[dict[str, object]] = [ann, {"visitor_id": "laptop", "user_id": "bob"}]
    links += [both | {"user_id": user} for user in ("bob", "cid")]
    lake.append("identity_map", identity_frame(links))
    found = match_visitors(lake, settings)
    assert found.matches.pairs.select("left_id", "right_id").rows() == [
        ("laptop", "unknown"),
        ("phone", "unknown"),
    ]
    assert [it.records for it in found.clusters] == [("laptop", "unknown")]
    # Of what was matched as if nobody had signed in, Ann's and Bob's pair is wrong.
    assert found.score == (0, 1, 0)


def test_score_counts_pairs() -> None:
    # a, b, c are one person (3 pairs), d another. Found a-b (right), c-d (wrong), d-x (unknown).
    truth = {"a": "1", "b": "1", "c": "1", "d": "2"}
    score = score_matches([("b", "a"), ("c", "d"), ("d", "x")], truth)
    assert (score.true_pairs, score.found_pairs, score.right_pairs) == (3, 2, 1)
    assert score.precision == 1 / 2
    assert score.recall == 1 / 3
    assert (score_matches([], {}).precision, score_matches([], {}).recall) == (1, 1)


def test_rules_are_data(tmp_path: Path) -> None:
    assert match_rules().purpose == "consent_personalization"
    file = tmp_path / "matches.toml"
    file.write_text("threshold = 2")
    with pytest.raises(DefinitionError, match=r"(?s)matches.toml.*threshold"):
        load_match_rules(file)


def test_own_rules_are_read_again_when_they_change(tmp_path: Path) -> None:
    own = tmp_path / "identity" / "matches.toml"
    own.parent.mkdir()
    own.write_text(DEFINITION.read_text())
    assert match_rules(tmp_path).threshold == 0.95
    own.write_text(DEFINITION.read_text().replace("threshold = 0.95", "threshold = 0.8"))
    os.utime(own, ns=(1, 1))
    assert match_rules(tmp_path).threshold == 0.8
