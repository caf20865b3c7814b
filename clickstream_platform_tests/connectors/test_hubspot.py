"""HubSpot's protocol over a real socket: what is sent, and what each answer means."""

import re
import time

import pytest

from clickstream_platform.activation import (
    BusyError,
    MisconfiguredError,
    Outcome,
    Record,
    RefusedError,
    UnavailableError,
)
from clickstream_platform.activation.destination import Operation
from clickstream_platform.connectors import HubSpot, crm_destination
from clickstream_platform.connectors.hubspot import retry_after
from clickstream_platform.settings import Settings
from clickstream_platform_tests.connectors.hubspot_server import (
    ID_PROPERTY,
    TOKEN,
    Account,
    Content,
    Fault,
    Handler,
    busy,
    endless,
    error,
    fails,
    taken_then_dropped,
    taken_then_silent,
    trickling,
    trickling_head,
    unreadable,
)
from clickstream_platform_tests.frames import NOON

ANN, BOB = "ann@example.com", "bob@example.com"


def record(
    crm_id: str,
    *,
    key: str | None = None,
    operation: Operation = "upsert",
    segments: str = "readers",
) -> Record:
    return Record(
        idempotency_key=key or f"key of {crm_id}",
        operation=operation,
        crm_id=crm_id,
        properties={"clickstream_segments": segments},
        synced_at=NOON,
    )


def delivered(*crm_ids: str) -> list[Outcome]:
    return [Outcome(f"key of {crm_id}", "delivered") for crm_id in crm_ids]


def test_contacts_are_created_and_updated(account: Account, hubspot: HubSpot) -> None:
    assert hubspot.upsert([record(ANN), record(BOB)]) == delivered(ANN, BOB)
    assert hubspot.upsert([record(ANN, segments="buyers")]) == delivered(ANN)
    assert account.contacts[ANN] == {ID_PROPERTY: ANN, "clickstream_segments": "buyers"}
    assert account.requests[0] == ("/crm/v3/objects/contacts/batch/upsert", 2)


def test_removal_clears_a_contact_and_brings_none_back(account: Account, hubspot: HubSpot) -> None:
    hubspot.upsert([record(ANN)])
    gone = [record(who, operation="remove", segments="") for who in (ANN, BOB)]
    assert sorted(hubspot.upsert(gone)) == delivered(ANN, BOB)
    assert account.contacts == {ANN: {ID_PROPERTY: ANN, "clickstream_segments": ""}}


def test_removal_of_nobody_known_is_done(account: Account, hubspot: HubSpot) -> None:
    account.faults = [fails(404, "OBJECT_NOT_FOUND")]
    assert hubspot.upsert([record(ANN, operation="remove")]) == delivered(ANN)


def test_one_who_is_not_found_leaves_open_who_else_was_cleared(
    account: Account, hubspot: HubSpot
) -> None:
    account.faults = [fails(404, "OBJECT_NOT_FOUND")]
    with pytest.raises(RefusedError, match=r"\(OBJECT_NOT_FOUND\)\. Split it"):
        hubspot.upsert([record(who, operation="remove") for who in (ANN, BOB)])


def test_server_at_fault_has_cleared_nobody(account: Account, hubspot: HubSpot) -> None:
    account.faults = [fails(500, "OBJECT_NOT_FOUND")]
    with pytest.raises(UnavailableError, match=r"status_500"):
        hubspot.upsert([record(ANN, operation="remove")])


def test_errors_beside_results_are_told_apart(account: Account, hubspot: HubSpot) -> None:
    account.invalid = {BOB: "VALIDATION_ERROR", "carol": "RATE_LIMITS"}
    outcomes = hubspot.upsert([record(ANN), record(BOB), record("carol")])
    assert sorted(outcomes) == [
        *delivered(ANN),
        Outcome(f"key of {BOB}", "refused", "VALIDATION_ERROR"),
        Outcome("key of carol", "unclear", "RATE_LIMITS"),
    ]


def answers(status: int, **content: object) -> Fault:
    return lambda handler, _content: handler.answer(status, dict(content))


def test_results_without_trace_ids_are_matched_by_identifier(
    account: Account, hubspot: HubSpot
) -> None:
    result = {"id": "1", "properties": {ID_PROPERTY: ANN}}
    refusal = error("VALIDATION_ERROR", "no", context={"id": [BOB]})
    account.faults = [answers(207, results=[result], errors=[refusal])]
    assert sorted(hubspot.upsert([record(ANN), record(BOB)])) == [
        *delivered(ANN),
        Outcome(f"key of {BOB}", "refused", "VALIDATION_ERROR"),
    ]


def test_number_of_the_crm_in_an_error_is_nobody_of_ours(
    account: Account, hubspot: HubSpot
) -> None:
    context = {"objectWriteTraceId": [f"key of {ANN}"], "existingObjectId": ["512"]}
    result = {"id": "1", "objectWriteTraceId": "key of 512"}
    refusal = error("CONFLICT", "no", context=context)
    account.faults = [answers(207, results=[result], errors=[refusal])]
    assert sorted(hubspot.upsert([record(ANN), record("512")])) == [
        Outcome("key of 512", "delivered"),
        Outcome(f"key of {ANN}", "refused", "CONFLICT"),
    ]


def test_error_that_names_nobody_is_of_the_one_who_is_left(
    account: Account, hubspot: HubSpot
) -> None:
    result = {"id": "1", "objectWriteTraceId": f"key of {ANN}"}
    account.faults = [answers(207, results=[result], errors=[error("VALIDATION_ERROR", "no")])]
    assert sorted(hubspot.upsert([record(ANN), record(BOB)])) == [
        *delivered(ANN),
        Outcome(f"key of {BOB}", "refused", "VALIDATION_ERROR"),
    ]


def test_errors_that_name_nobody_ask_for_a_split(account: Account, hubspot: HubSpot) -> None:
    account.faults = [answers(207, results=[], errors=[error("VALIDATION_ERROR", "no")])]
    with pytest.raises(RefusedError, match=r"refuses the call \(VALIDATION_ERROR\)\. Split it"):
        hubspot.upsert([record(ANN), record(BOB)])


def test_records_that_an_answer_leaves_out_are_unclear(account: Account, hubspot: HubSpot) -> None:
    result = {"id": "1", "objectWriteTraceId": f"key of {ANN}"}
    account.faults = [answers(200, results=[result])]
    assert hubspot.upsert([record(ANN), record(BOB)]) == delivered(ANN)


TRACED = {"id": "1", "objectWriteTraceId": f"key of {ANN}"}


@pytest.mark.parametrize(
    "results",
    [
        pytest.param([TRACED, TRACED], id="the same twice"),
        pytest.param([TRACED, {"id": "2", "objectWriteTraceId": "of carol"}], id="of another call"),
    ],
)
def test_as_many_results_as_records_are_not_enough(
    account: Account, hubspot: HubSpot, results: list[dict[str, str]]
) -> None:
    account.faults = [answers(200, results=results)]
    assert hubspot.upsert([record(ANN), record(BOB)]) == delivered(ANN)


def test_results_without_a_name_are_of_those_who_are_left(
    account: Account, hubspot: HubSpot
) -> None:
    refusal = error("VALIDATION_ERROR", "no", context={"id": [BOB]})
    account.faults = [
        answers(200, results=[{"id": "1"}, {"id": "2", "objectWriteTraceId": None}]),
        answers(207, results=[{"id": "1"}], errors=[refusal]),
    ]
    assert hubspot.upsert([record(ANN), record(BOB)]) == delivered(ANN, BOB)
    assert sorted(hubspot.upsert([record(ANN), record(BOB)])) == [
        *delivered(ANN),
        Outcome(f"key of {BOB}", "refused", "VALIDATION_ERROR"),
    ]


def deep(handler: Handler, _content: Content) -> None:
    """Answer with more brackets than a parser goes down."""
    body = b"[" * 90_000
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(fails(500), "status_500", id="internal error"),
        pytest.param(fails(501), "status_501", id="any other error of a server"),
        pytest.param(fails(530), "status_530", id="a proxy that finds no server"),
        pytest.param(deep, "unreadable_answer", id="brackets without end"),
        pytest.param(fails(503), "status_503", id="unavailable"),
        pytest.param(taken_then_dropped, "remoteprotocolerror", id="dropped after it was taken"),
        pytest.param(endless, "endless_answer", id="body without end"),
        pytest.param(unreadable, "unreadable_answer", id="a page"),
    ],
)
def test_failure_says_that_records_may_have_arrived(
    account: Account, hubspot: HubSpot, fault: Fault, reason: str
) -> None:
    account.faults = [fault]
    with pytest.raises(UnavailableError, match=rf"hubspot is not available \({reason}\)"):
        hubspot.upsert([record(ANN)])


def test_server_that_is_not_there_is_unavailable() -> None:
    nobody = HubSpot("http://127.0.0.1:9", token=TOKEN, id_property=ID_PROPERTY)
    with pytest.raises(UnavailableError, match=r"\(connecterror\)"):
        nobody.upsert([record(ANN)])


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        pytest.param(busy("30"), 30.0, id="seconds"),
        pytest.param(busy(), None, id="without saying how long"),
        pytest.param(busy("soon"), None, id="garbage"),
        pytest.param(busy("7", status=503), 7.0, id="unavailable for some time"),
    ],
)
def test_being_asked_to_wait_is_passed_on(
    account: Account, hubspot: HubSpot, fault: Fault, seconds: float | None
) -> None:
    account.faults = [fault]
    with pytest.raises(BusyError, match=r"hubspot asks to wait") as raised:
        hubspot.upsert([record(ANN)])
    assert raised.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("0", 0.0, id="none to wait"),
        pytest.param(" 120 ", 120.0, id="seconds"),
        pytest.param("999999999", 999_999_999.0, id="huge"),
        pytest.param("9" * 400, None, id="too huge to be meant"),
        pytest.param("-5", None, id="negative"),
        pytest.param("1e9", None, id="not an integer"),
        pytest.param("inf", None, id="infinite"),
        pytest.param("nan", None, id="not a number"),
        pytest.param("\u0663", None, id="digits of another script"),
        pytest.param("Sun, 01 Mar 2026 12:00:30 GMT", 30.0, id="date"),
        pytest.param("Sun, 01 Mar 2026 11:00:00 GMT", 0.0, id="date that is over"),
        pytest.param("Sun, 01 Mar 2026 12:00:30 -0000", 30.0, id="date without a zone"),
        pytest.param("Sun, 99 Mar 2026 12:00:30 GMT", None, id="no date"),
        pytest.param(f"Sun, 01 Mar 2026 12:00:{'9' * 20} GMT", None, id="too many seconds"),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, now=NOON) == seconds


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_call_that_is_refused_as_a_whole(account: Account, hubspot: HubSpot, status: int) -> None:
    account.faults = [fails(status, f"a message about {ANN}")]
    with pytest.raises(RefusedError, match=rf"\(status_{status}\)") as raised:
        hubspot.upsert([record(ANN)])
    assert ANN not in str(raised.value)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(fails(401), r"token is not accepted .* Check CLICKSTREAM", id="token"),
        pytest.param(fails(403), r"scope crm\.objects\.contacts\.write", id="scope"),
        pytest.param(fails(404, "NOT_FOUND"), r"no such interface .* crm\.base_url", id="address"),
        pytest.param(fails(302), r"no such interface", id="redirect"),
        pytest.param(fails(402), r"every call is refused .* Check the account", id="unpaid"),
        pytest.param(fails(407), r"every call is refused .* any proxy", id="proxy"),
    ],
)
def test_settings_at_fault_are_named(
    account: Account, hubspot: HubSpot, fault: Fault, message: str
) -> None:
    account.faults = [fault]
    with pytest.raises(MisconfiguredError, match=message):
        hubspot.upsert([record(ANN)])


def test_missing_property_is_a_setting_at_fault(account: Account, hubspot: HubSpot) -> None:
    account.properties.remove("clickstream_segments")
    with pytest.raises(MisconfiguredError, match=r"Create these there.*clickstream_segments"):
        hubspot.upsert([record(ANN)])


def test_identifier_that_may_repeat_is_a_setting_at_fault(
    account: Account, hubspot: HubSpot
) -> None:
    said = f"Unable to perform update/upsert by non-unique 0-1 property {ID_PROPERTY}"
    answer = error("VALIDATION_ERROR", f"{said} in portal ID 1")
    account.faults = [lambda handler, _content: handler.answer(400, answer)]
    with pytest.raises(MisconfiguredError, match=r"not unique\. .*has to require unique values"):
        hubspot.upsert([record(ANN), record(BOB)])


def test_value_that_reads_like_an_error_is_none(account: Account, hubspot: HubSpot) -> None:
    said = [record(ANN, segments="PROPERTY_DOESNT_EXIST")]
    assert hubspot.upsert(said) == delivered(ANN)
    assert account.contacts[ANN]["clickstream_segments"] == "PROPERTY_DOESNT_EXIST"


def test_more_than_a_hundred_are_refused(account: Account, hubspot: HubSpot) -> None:
    with pytest.raises(RefusedError, match=r"VALIDATION_ERROR"):
        hubspot.upsert([record(f"user{number}") for number in range(101)])
    assert account.contacts == {}
    assert hubspot.batch_size == 100


def test_wrong_token_is_not_accepted_and_not_shown(account: Account) -> None:
    wrong = HubSpot(account.url, token="secret-token", id_property=ID_PROPERTY)  # noqa: S106 - wrong on purpose
    with pytest.raises(MisconfiguredError, match=r"INVALID_AUTHENTICATION") as raised:
        wrong.upsert([record(ANN)])
    assert "secret-token" not in f"{raised.value} {wrong!r}"


def test_erasure_deletes_contacts_for_good(account: Account, hubspot: HubSpot) -> None:
    hubspot.upsert([record(ANN), record(BOB)])
    assert hubspot.erase([ANN, "nobody"]) == 1
    assert account.contacts.keys() == {BOB}
    assert hubspot.erase([]) == 0


def test_erasure_does_not_take_a_page_for_an_answer(account: Account, hubspot: HubSpot) -> None:
    def page(handler: Handler, _content: Content) -> None:
        handler.send_error(404)

    account.faults = [page]
    with pytest.raises(MisconfiguredError, match=r"no such interface .* crm\.base_url"):
        hubspot.erase([ANN])


def test_erasure_that_fails_says_so(account: Account, hubspot: HubSpot) -> None:
    account.faults = [fails(500)]
    with pytest.raises(UnavailableError, match=r"status_500"):
        hubspot.erase([ANN])


@pytest.mark.parametrize(
    "url", ["http://api.hubapi.com", "http://127.0.0.1.example.com", "ftp://127.0.0.1.nip.io"]
)
def test_token_is_not_sent_unencrypted(url: str) -> None:
    with pytest.raises(MisconfiguredError, match=r"unencrypted.*https"):
        HubSpot(url, token=TOKEN, id_property=ID_PROPERTY)


@pytest.mark.parametrize(
    "url", ["", "https://", "http://[::1", "https://ann:secret-word@api.example.com"]
)
def test_address_names_a_server_and_no_user(url: str) -> None:
    with pytest.raises(MisconfiguredError, match=r"base_url is no address.*Set crm") as raised:
        HubSpot(url, token=TOKEN, id_property=ID_PROPERTY)
    assert "secret-word" not in str(raised.value)


@pytest.mark.parametrize("token", ["“secret-word”", "secret-word\nX-Header: 1", "secret-word\0"])
def test_token_that_no_header_can_carry_is_a_setting_at_fault(account: Account, token: str) -> None:
    with pytest.raises(MisconfiguredError, match=r"Copy that.*CLICKSTREAM_HUBSPOT") as raised:
        HubSpot(account.url, token=token, id_property=ID_PROPERTY)
    assert "secret-word" not in str(raised.value)


def test_settings_choose_the_destination(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crm_destination(settings).name == "outbox"
    crm = settings.crm.model_copy(update={"destination": "hubspot"})
    chosen = settings.model_copy(update={"crm": crm})
    monkeypatch.delenv("CLICKSTREAM_HUBSPOT_TOKEN", raising=False)
    with pytest.raises(MisconfiguredError, match=r"no access token.*CLICKSTREAM_HUBSPOT_TOKEN"):
        crm_destination(chosen)
    monkeypatch.setenv("CLICKSTREAM_HUBSPOT_TOKEN", TOKEN)
    assert crm_destination(chosen).name == "hubspot"


@pytest.mark.parametrize("deadline_s", [0.5])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(taken_then_silent, id="silent after it was taken"),
        pytest.param(trickling, id="body a byte at a time"),
        pytest.param(trickling_head, id="header a byte at a time"),
    ],
)
def test_deadline_holds_however_slow_the_server_is(
    account: Account, hubspot: HubSpot, fault: Fault
) -> None:
    account.faults = [fault]
    start = time.monotonic()
    with pytest.raises(UnavailableError, match=re.escape("(timeout)")):
        hubspot.upsert([record(ANN)])
    assert time.monotonic() - start < 20  # the servers go on for 30 s and for ever
