"""Consent at use: which rows may be used for something, by what their person chose last."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import ibis
import ibis.expr.types as ir

from clickstream_platform.collection.consent import CHOICES, Policy, signals_of, what_is_allowed

EVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Silence does not expire: the moment at which it is judged does not matter."""


class Silence(NamedTuple):
    """Where a consent is given by who says nothing: the law of the country alone decides."""

    granted: tuple[str, ...]
    """Countries where nobody needs to be asked."""
    refused: tuple[str, ...]
    """Countries where not answering is a no."""
    elsewhere: bool
    """What counts in any other country, and where it is not known."""


def silence_of(policy: Policy) -> dict[str, Silence]:
    """What silence means for each consent of `CHOICES`."""
    nothing = signals_of({})

    def allowed(regime: str, column: str) -> bool:
        verdicts = what_is_allowed(nothing, regime, policy=policy, now=EVER)
        return verdicts[policy.columns[column]].is_allowed

    countries = sorted({code for regime in policy.regimes.values() for code in regime.countries})
    found = {}
    for column in CHOICES:
        by_regime = {name: allowed(name, column) for name in policy.regimes}
        granted = [code for code in countries if by_regime[policy.regime_of(code)]]
        found[column] = Silence(
            granted=tuple(granted),
            refused=tuple(code for code in countries if code not in granted),
            elsewhere=allowed(policy.regime_of(None), column),
        )
    return found


def permitted(
    rows: ir.Table,
    person_consents: ir.Table,
    uses: Mapping[str, str],
    silence: Mapping[str, Silence],
) -> ir.Table:
    """Tell of each row what it may be used for: the last choice of its person, else the law.

    Args:
        rows: ``person_key`` and ``country`` where it was collected, with any others.
        person_consents: Contract: `clickstream_platform.tables.consent.PersonConsents`.
        uses: Columns to add, each with the consent that it asks.
        silence: Result of `silence_of`.

    Returns:
        ``rows`` with a boolean, never null, for each use. As many rows as before.
    """
    chosen = person_consents.select(
        chooser="person_key", **{f"chosen_{use}": column for use, column in uses.items()}
    )
    joined = rows.left_join(chosen, rows.person_key == chosen.chooser)
    told = {
        use: joined[f"chosen_{use}"].fill_null(_by_law(joined.country, silence[column]))
        for use, column in uses.items()
    }
    return joined.mutate(**told).drop("chooser", *(f"chosen_{use}" for use in uses))


def _by_law(country: ir.StringValue, silence: Silence) -> ir.BooleanValue:
    code = country.upper().fill_null("")
    return ibis.cases(
        (code.isin(silence.granted), True),
        (code.isin(silence.refused), False),
        else_=silence.elsewhere,
    )
