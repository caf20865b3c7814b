"""Matches without a login: Fellegi-Sunter, estimated by EM, over coarse and consented features.

Matches are kept apart from the identity map: nothing downstream joins on them.
"""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import duckdb
import polars as pl
import polars.selectors as cs
from pydantic import Field

from clickstream_platform.definitions import Definition, own_or_shipped, read_definition, read_once
from clickstream_platform.errors import ClickstreamError
from clickstream_platform.identity.comparisons import (
    Comparison,
    Key,
    columns_of,
    key_sql,
    splink_comparison,
    with_digits,
)

if TYPE_CHECKING:  # an extra
    from splink import Linker
    from splink.internals.blocking_rule_creator import BlockingRuleCreator

DEFINITION = Path(__file__).with_name("matches.toml")

SEED = 1
"""Of the pairs from which chances of agreement are estimated."""

LEAST_PRIOR = 1e-12
"""Below it, no pair is expected to match at all."""

MOST_PAIRS = 1_000_000
"""Random pairs at most, for the same."""

DIGITS = 10
"""Decimals that are told: beyond, sums of floating point depend on the order of threads."""

MOST_ROUNDS = 200
"""Of the estimation, after which it is given up as unsettled."""

Keys = Annotated[tuple[Key, ...], Field(min_length=1)]
"""Pairs are looked at that are equal in every one."""


class MatchRules(Definition):
    """What is compared, which pairs are looked at, and from when on they match."""

    purpose: str = "consent_personalization"
    threshold: float = Field(0.95, gt=0.5, lt=1)
    blocking: tuple[Keys, ...] = Field(min_length=1)
    sure: tuple[Keys, ...] = Field(min_length=1)
    recall_of_sure: float = Field(0.5, gt=0, le=1)
    holds_prior: bool = False
    """Whether EM keeps the share of matches that ``sure`` tells. Where blocks hold few matches, it
    would take any two groups of pairs for matches and others."""
    training: tuple[Keys, ...] = Field(min_length=1)
    """Where one finds no pair, those of ``blocking`` stand in."""
    comparisons: tuple[Comparison, ...] = Field(min_length=2)

    @property
    def columns(self) -> frozenset[str]:
        """Columns that records must have."""
        keyed = [columns_of(keys) for keys in (*self.blocking, *self.sure, *self.training)]
        return frozenset().union(*keyed, *(it.columns for it in self.comparisons))


def load_match_rules(file: Path) -> MatchRules:
    """Read how records are matched; a file that cannot be used is a `DefinitionError`."""
    remedy = "See the shipped identity/matches.toml for every key."
    return read_definition(MatchRules, file, remedy=remedy)


def match_rules(definitions: Path | None = None) -> MatchRules:
    """The rules: the user's own `identity/matches.toml`, else the shipped ones.

    Read once while the file does not change.
    """
    return _read_match_rules(own_or_shipped(DEFINITION, definitions, folder="identity"))


_read_match_rules = read_once(load_match_rules)


class MatchingUnavailableError(ClickstreamError, ImportError):
    """The library that estimates matches is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "Matches without a login need Splink, which is an extra. "
            "Install it: `uv sync --extra probabilistic` or `pip install 'splink>=5,<6'`."
        )


class TooFewRecordsError(ClickstreamError, ValueError):
    """The records do not tell how likely a match is."""

    def __init__(self, records: int) -> None:
        super().__init__(
            f"{records:,} records are too few, or too alike, to estimate matches from: the pairs "
            "that `sure` finds are none or nearly all. Wait for more visitors who agreed, or "
            "loosen `sure` in identity/matches.toml."
        )


class UnknownColumnError(ClickstreamError, LookupError):
    """The rules name columns that the records lack."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(
            f"The rules compare by {', '.join(columns)}, which the records do not have. Take it "
            "out of identity/matches.toml."
        )


class UnderflowError(ArithmeticError):
    """A chance became too small to tell; caught here, never seen outside."""


class Matches(NamedTuple):
    """Pairs that may be the same, and why."""

    pairs: pl.DataFrame
    """``left_id``, ``right_id``, ``match_probability``, ``match_weight`` (bits), ``prior_weight``
    (bits before anything was compared), and for each comparison ``weight_<column>`` (bits) and
    ``agrees_<column>`` (level: 0 differs, -1 unknown). Weights add up to ``match_weight``.
    Grain: left_id, right_id; left is the lesser."""
    compared: int
    """Pairs that blocking let through, before the threshold."""
    is_settled: bool = True
    """Whether the estimation came to rest; where it did not, chances are rough."""


def match_records(
    records: pl.DataFrame, rules: MatchRules, *, least: float | None = None
) -> Matches:
    """Estimate how likely two records are of the same person.

    Args:
        records: ``record_id`` (text), and the columns that the rules name. Null is unknown, and
            says nothing for or against.
        rules: What is compared.
        least: Probability from which pairs are told; the threshold of the rules unless given.

    Raises:
        MatchingUnavailableError: The extra `probabilistic` is not installed.
        TooFewRecordsError: Nothing can be estimated from the records.
        UnknownColumnError: The records lack a column of the rules.

    Source:
        Fellegi and Sunter (1969), A Theory for Record Linkage; EM as in Winkler (1988); by Splink.
    """
    try:
        import splink  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise MatchingUnavailableError from None

    if lacking := sorted(rules.columns - set(records.columns)):
        raise UnknownColumnError(lacking)
    rules = _telling(rules, records)
    if len(rules.comparisons) < 2:  # noqa: PLR2004 - they are weighed against each other
        raise TooFewRecordsError(records.height)
    logging.getLogger("splink").setLevel(logging.ERROR)
    least = rules.threshold if least is None else least
    rounds = MOST_ROUNDS
    while True:
        try:
            return _matched(records, rules, least, rounds)
        except UnderflowError:  # fewer rounds do not come as far
            rounds //= 4
        if not rounds:
            raise TooFewRecordsError(records.height)


def _matched(records: pl.DataFrame, rules: MatchRules, least: float, rounds: int) -> Matches:
    from splink import DuckDBAPI, Linker, SettingsCreator  # noqa: PLC0415 - an extra

    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record_id",
        comparisons=[splink_comparison(each) for each in rules.comparisons],
        blocking_rules_to_generate_predictions=[_block(keys) for keys in rules.blocking],
        retain_intermediate_calculation_columns=True,
        max_iterations=rounds,
    )
    # In order, so that sums of floating point do not depend on how the records came.
    ordered = with_digits(records, rules.comparisons).sort("record_id").to_arrow()
    with duckdb.connect() as connection:
        linker = Linker(DuckDBAPI(connection).register(ordered), settings, log_level=logging.ERROR)
        is_settled = _train(linker, rules, records) < rounds
        prior = _prior(linker)
        everything = linker.inference.predict().as_duckdbpyrelation()
        found = pl.DataFrame(pl.from_arrow(everything.to_arrow_table()))
    pairs = _pairs(found, rules, prior).filter(pl.col("match_probability") >= least)
    return Matches(pairs, found.height, is_settled)


def _train(linker: "Linker", rules: MatchRules, records: pl.DataFrame) -> int:
    """Estimate chances; tells how many rounds the longest estimation took."""
    training = linker.training
    try:
        training.estimate_probability_two_random_records_match(
            [_block(keys) for keys in rules.sure], recall=rules.recall_of_sure
        )
    except ValueError:  # more sure pairs than there can be at that recall
        raise TooFewRecordsError(records.height) from None
    training.estimate_u_using_random_sampling(max_pairs=MOST_PAIRS, seed=SEED)
    if not LEAST_PRIOR < _prior(linker) < 1 - LEAST_PRIOR:
        raise TooFewRecordsError(records.height)
    rounds = []
    for keys in _training(rules, records):
        try:
            session = training.estimate_parameters_using_expectation_maximisation(
                _block(keys),
                estimate_without_term_frequencies=not any(
                    it.by_frequency for it in rules.comparisons
                ),
                fix_probability_two_random_records_match=rules.holds_prior,
            )
        except ValueError as error:  # a level that no match of the block has: its chance underflows
            raise UnderflowError from error
        rounds.append(len(session._core_model_settings_history) - 1)  # noqa: SLF001 - told nowhere else
    if not rounds:
        raise TooFewRecordsError(records.height)
    return max(rounds)


def _training(rules: MatchRules, records: pl.DataFrame) -> list[tuple[str, ...]]:
    """The rules of training that find pairs, and of blocking what is needed in their place."""
    chosen = []
    missing = set(rules.comparisons)
    for number, keys in enumerate((*rules.training, *rules.blocking)):
        told = {it for it in rules.comparisons if not it.columns & columns_of(keys)}
        is_needed = number < len(rules.training) or told & missing
        if told and is_needed and _finds_pairs(keys, records):
            chosen.append(keys)
            missing -= told
    return chosen


def _finds_pairs(keys: tuple[str, ...], records: pl.DataFrame) -> bool:
    cut = [
        pl.col(column).str.slice(0, int(length)).alias(str(number))
        if length
        else pl.col(column).alias(str(number))
        for number, (column, _, length) in enumerate(key.partition(":") for key in keys)
    ]
    return bool(records.select(cut).drop_nulls().is_duplicated().any())


def _block(keys: tuple[str, ...]) -> "BlockingRuleCreator":
    from splink import block_on  # noqa: PLC0415 - an extra

    return block_on(*map(key_sql, keys))


def _telling(rules: MatchRules, records: pl.DataFrame) -> MatchRules:
    """The rules without comparisons that say the same of everybody, such as a shop's only host.

    They tell nobody apart, and nothing can be estimated from them.
    """
    telling = tuple(
        it for it in rules.comparisons if records[it.column].drop_nulls().n_unique() > 1
    )
    return rules.model_copy(update={"comparisons": telling})


def _prior(linker: "Linker") -> float:
    """Probability that two records are the same before anything is compared."""
    return float(linker.misc.save_model_to_json()["probability_two_random_records_match"])


def _pairs(found: pl.DataFrame, rules: MatchRules, prior: float) -> pl.DataFrame:
    one, other = pl.col("record_id_l"), pl.col("record_id_r")
    told = found.select(
        left_id=pl.min_horizontal(one, other),
        right_id=pl.max_horizontal(one, other),
        match_probability=pl.col("match_probability"),
        match_weight=pl.col("match_weight"),
        prior_weight=pl.lit(math.log2(prior / (1 - prior))),
        **{f"weight_{it.column}": _weight(it) for it in rules.comparisons},
        **{f"agrees_{it.column}": pl.col(f"gamma_{it.column}") for it in rules.comparisons},
    ).with_columns(cs.float().round(DIGITS))
    return told.sort("match_probability", "left_id", "right_id", descending=[True, False, False])


def _weight(rule: Comparison) -> pl.Expr:
    weight = pl.col(f"mw_{rule.column}")
    return weight + pl.col(f"mw_tf_adj_{rule.column}") if rule.by_frequency else weight
