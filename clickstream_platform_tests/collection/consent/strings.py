"""Consent strings that tests make up."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from clickstream_platform.collection.consent.bits import DECISECOND, EPOCH, Ids
from clickstream_platform.collection.consent.errors import ConsentStringError
from clickstream_platform.collection.consent.tcf import (
    PublisherConsent,
    Restriction,
    TcString,
    encode_tcf,
)

TODAY = datetime(2026, 6, 1, tzinfo=UTC)


def tc(**changes: object) -> TcString:
    """A sound string of TCF 2.3, made today, without any consent unless said."""
    plain = TcString(
        version=2,
        created_at=TODAY,
        updated_at=TODAY,
        cmp_id=10,
        cmp_version=3,
        consent_screen=1,
        consent_language="EN",
        vendor_list_version=100,
        policy_version=5,
        is_service_specific=True,
        publisher_country="DE",
        disclosed_vendors=Ids([(1, 1000)]),
        publisher=PublisherConsent(),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]  # checked when it runs


def own(*purposes: int, at: datetime = TODAY) -> str:
    """A string by which a person consents to purposes of the site itself."""
    publisher = PublisherConsent(Ids.of(purposes))
    return encode_tcf(tc(publisher=publisher, created_at=at, updated_at=at))


letters = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=2, max_size=2)
instants = st.integers(0, 2**36 - 1).map(lambda number: EPOCH + number * DECISECOND)


def assert_read_or_refused(decode: Callable[[str], object], text: str) -> None:
    """Nothing but the decoders' own error is raised, and it does not quote what it was given."""
    message = ""
    try:
        decode(text)
    except ConsentStringError as error:
        message = str(error)
    assert len(text) < 12 or text[:12] not in message


def ids(largest: int) -> st.SearchStrategy[Ids]:
    pairs = st.tuples(st.integers(1, largest), st.integers(0, 30)).map(
        lambda pair: (pair[0], min(pair[0] + pair[1], largest))
    )
    return st.lists(pairs, max_size=8).map(Ids)


@st.composite
def tc_strings(draw: st.DrawFn) -> TcString:
    """Any string of version 2 that can be written."""
    custom = draw(st.integers(0, 63))
    flags = [draw(st.booleans()) for _ in range(3)]
    publisher = PublisherConsent(
        draw(ids(24)),
        draw(ids(24)),
        custom,
        draw(ids(custom)) if custom else Ids(),
        draw(ids(custom)) if custom else Ids(),
    )
    return TcString(
        version=2,
        created_at=draw(instants),
        updated_at=draw(instants),
        cmp_id=draw(st.integers(0, 4095)),
        cmp_version=draw(st.integers(0, 4095)),
        consent_screen=draw(st.integers(0, 63)),
        consent_language=draw(letters),
        vendor_list_version=draw(st.integers(0, 4095)),
        policy_version=draw(st.integers(0, 63)),
        is_service_specific=flags[0],
        use_non_standard_texts=flags[1],
        special_feature_opt_ins=draw(ids(12)),
        purpose_consents=draw(ids(24)),
        purpose_legitimate_interests=draw(ids(24)),
        purpose_one_treatment=flags[2],
        publisher_country=draw(letters),
        vendor_consents=draw(ids(65_535)),
        vendor_legitimate_interests=draw(ids(1_000)),
        restrictions=tuple(
            draw(
                st.lists(
                    st.builds(Restriction, st.integers(1, 24), st.integers(0, 3), ids(65_535)),
                    max_size=4,
                )
            )
        ),
        disclosed_vendors=draw(st.none() | ids(2_000)),
        allowed_vendors=draw(st.none() | ids(100)),
        publisher=draw(st.none() | st.just(publisher)),
    )
