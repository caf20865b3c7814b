"""The life cycle of requests, walked at random: whatever the order, crashes and repetitions."""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from clickstream_platform.lake import Lake
from clickstream_platform.privacy import (
    Register,
    Suppression,
    Vault,
    erase_subject,
    export_subject,
    register_request,
)
from clickstream_platform.privacy.audit import AuditEntry
from clickstream_platform.privacy.erasure import _Run
from clickstream_platform.privacy.tables import LakePart
from clickstream_platform.settings import PrivacySettings, Settings, load_settings
from clickstream_platform_tests.frames import events_frame, identity_frame

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PEOPLE = ["ann@example.com", "bob-4711-x9", "carol-0815-y8"]


class Crash(BaseException):
    """A process that ends here."""


class LifeCycle(RuleBasedStateMachine):
    """Three people, each with a device and the family's tablet; requests in any order."""

    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.settings: Settings = load_settings(self.folder).model_copy(
            update={"privacy": PrivacySettings(max_erased_share=1)}
        )
        self.lake = Lake(self.settings.lake_folder)
        self.vault = Vault(self.settings.state / "vault")
        names = pl.Series([*PEOPLE, *(f"device-{person}-1" for person in PEOPLE), "tablet-1234-z"])
        self.tokens = dict(
            zip(
                names,
                [
                    *self.vault.tokens("user", names[:3]),
                    *self.vault.tokens("visitor", names[3:]),
                ],
                strict=True,
            )
        )
        links = [
            (self.tokens[device], self.tokens[person])
            for person in PEOPLE
            for device in (f"device-{person}-1", "tablet-1234-z")
        ]
        rows: list[dict[str, object]] = [
            {"event_id": f"e{n}", "visitor_id": visitor, "user_id": user}
            for n, (visitor, user) in enumerate(links)
        ]
        rows.append({"event_id": "tablet", "visitor_id": self.tokens["tablet-1234-z"]})
        self.lake.append("events", events_frame(rows))
        self.lake.append(
            "identity_map",
            identity_frame(
                [
                    {"visitor_id": v, "user_id": u, "is_shared": v == self.tokens["tablet-1234-z"]}
                    for v, u in links
                ]
            ),
        )
        self.erased: set[str] = set()
        self.status: dict[str, str] = {}
        self.person: dict[str, str] = {}
        self.log: list[AuditEntry] = []

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(
        target=requests,
        person=st.sampled_from(PEOPLE),
        kind=st.sampled_from(["export", "erase", "erase"]),
        by_device=st.booleans(),
    )
    def register(self, person: str, kind: str, by_device: bool) -> str:  # noqa: FBT001 - drawn
        named = ("visitor", f"device-{person}-1") if by_device else ("user", person.upper())
        if "@" not in person and not by_device:
            named = ("user", person)
        request_id = register_request(
            self.settings,
            request_type=kind,
            identifiers=[named],  # type: ignore[list-item]  # literals
            now=NOON,
        )
        self.status[request_id], self.person[request_id] = "received", person
        return request_id

    @rule(request=requests, crash_in=st.sampled_from([None, None, "erase", "_forgotten", "_pass"]))
    def run(self, request: str, crash_in: str | None) -> None:
        kind = Register(self.settings).get(request).request_type
        owner = LakePart if crash_in == "erase" else _Run
        if kind == "export":
            done = self.status[request] == "completed"
            if done and not (self.settings.exports / f"{request}.zip").exists():
                return
            export_subject(self.settings, request, now=NOON)
        elif crash_in is None or self.status[request] == "completed":
            erase_subject(self.settings, request, now=NOON)
            self.erased.add(self.person[request])
        else:
            real = getattr(owner, crash_in)
            setattr(owner, crash_in, crashed)
            try:
                erase_subject(self.settings, request, now=NOON)
            except Crash:
                self.status[request] = "failed"
                return
            finally:
                setattr(owner, crash_in, real)
        self.status[request] = "completed"

    @invariant()
    def states_are_what_was_done(self) -> None:
        found = {each.request_id: each.status for each in Register(self.settings).requests()}
        assert found == self.status

    @invariant()
    def the_erased_are_gone_and_suppressed(self) -> None:
        suppression = Suppression(self.settings.state / "vault")
        for person in self.erased:
            assert self.vault.find("user", person) is None
            assert suppression.mask("user", pl.Series([person])).to_list() == [True]

    @invariant()
    def the_others_keep_every_event(self) -> None:
        kept = set(self.lake.scan("events").select("event_id").collect().to_series())
        for number, person in enumerate(PEOPLE):
            events = {f"e{2 * number}", f"e{2 * number + 1}"}
            started = any(
                self.person[request] == person and status == "failed"
                for request, status in self.status.items()
            )
            assert person in self.erased or started or events <= kept
            assert person not in self.erased or not events & kept
        assert "tablet" in kept

    @invariant()
    def the_log_only_grows(self) -> None:
        register = Register(self.settings)
        if self.status:
            register.verify_audit()
        log = register.audit()
        assert log[: len(self.log)] == self.log
        self.log = log


def crashed(*_: object) -> None:
    raise Crash


TestLifeCycle = LifeCycle.TestCase
TestLifeCycle.settings = settings(
    max_examples=6,
    stateful_step_count=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
