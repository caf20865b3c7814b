"""HubSpot: contacts by batch upsert, with an answer for each record.

Source:
    HubSpot's reference of the CRM API v3: `POST /crm/v3/objects/contacts/batch/upsert` and
    `batch/update` (at most 100 inputs; 200, or 207 with ``errors``), `gdpr-delete`.
"""

import asyncio
import ipaddress
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httpx

from clickstream_platform.activation import (
    PROPERTIES,
    BusyError,
    MisconfiguredError,
    Outcome,
    Record,
    RefusedError,
    UnavailableError,
)

TOKEN_VARIABLE = "CLICKSTREAM_HUBSPOT_TOKEN"  # noqa: S105 - the name of the variable
"""Environment variable that holds the access token of a private app."""

CONTACTS = "/crm/v3/objects/contacts"
DEADLINE_S = 30.0
"""From the first byte sent to the last one read; a server that trickles cannot hold us longer."""
MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""An answer about 100 contacts is some 100 KB."""

TRANSIENT = frozenset({408, 421, 423, 425, 477, *range(500, 600)})
"""Statuses after which the same call may do; a server at fault says nothing about records."""
ABOUT_RECORDS = frozenset({400, 409, 413, 422})
"""Statuses that refuse a call for what is in it; any other is about the account or its settings."""
TRANSIENT_CATEGORIES = ("RATE_LIMIT", "INTERNAL", "TIMEOUT", "UNAVAILABLE", "TRANSIENT")
"""Words in the category of one record's error after which it is worth sending it again."""

TRACE = "objectWriteTraceId"
NOT_FOUND = "OBJECT_NOT_FOUND"
NO_PROPERTY = "PROPERTY_DOESNT_EXIST"
NOT_UNIQUE = re.compile(r"by non-unique (?:\S+ )?property\b")
"""What it says, under no code of its own, of an ``idProperty`` whose values may repeat."""

_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]{2,63}")
_SECONDS = re.compile(r"[0-9]{1,9}")


class Answer(NamedTuple):
    """What the server said."""

    status: int
    retry_after_s: float | None
    content: Mapping[str, object]
    """The body; empty where it is no JSON object."""
    is_readable: bool


class HubSpot:
    """Contacts of one HubSpot account, known by a unique property that holds the user.

    Args:
        base_url: Root of the API; https, or a server on this machine.
        token: Access token; sent in the header, kept out of everything else.
        id_property: Unique property of contacts that holds the user's identifier.
        deadline_s: Longest time of one call.
        max_answer_bytes: Longest answer that is read.
        clock: The time now, for a ``Retry-After`` that is a date.
    """

    name = "hubspot"
    batch_size = 100

    def __init__(  # noqa: PLR0913 - where, who, and limits that have defaults
        self,
        base_url: str,
        *,
        token: str,
        id_property: str,
        deadline_s: float = DEADLINE_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        url = _address(base_url)
        if not (token.isascii() and token.isprintable()):
            raise MisconfiguredError(
                self.name,
                "the access token holds characters that no token has",
                remedy=f"Copy that of a private app into {TOKEN_VARIABLE} again.",
            )
        self.id_property = id_property
        self._url, self._token = url, token
        self._deadline_s, self._max_answer_bytes, self._clock = deadline_s, max_answer_bytes, clock
        self._tls = httpx.create_ssl_context()  # once: reading the authorities costs 30 ms

    def __repr__(self) -> str:
        return f"HubSpot({str(self._url)!r})"

    def upsert(self, records: Sequence[Record]) -> list[Outcome]:
        """Set properties of contacts, or clear them on contacts that exist.

        A removal updates and does not upsert: a contact that is gone must not come back as an
        empty one, so not being found is as good as cleared.
        """
        is_removal = records[0].operation == "remove"
        inputs = [
            {
                "id": record.crm_id,
                "idProperty": self.id_property,
                "properties": dict(record.properties),
                TRACE: record.idempotency_key,
            }
            for record in records
        ]
        path = f"{CONTACTS}/batch/{'update' if is_removal else 'upsert'}"
        answer = self._post(path, {"inputs": inputs})
        is_missing = answer.status == httpx.codes.NOT_FOUND
        if is_removal and is_missing and _category(answer.content) == NOT_FOUND:
            if len(records) > 1:  # one that is missing says nothing of the others
                raise RefusedError(self.name, NOT_FOUND)
            return [Outcome(records[0].idempotency_key, "delivered")]
        self._check(answer)
        if not answer.is_readable:
            raise UnavailableError(self.name, "unreadable_answer")
        return self._outcomes(records, answer, is_removal=is_removal)

    def erase(self, ids: Sequence[str]) -> int:
        """Delete contacts for good, as an erasure asks; return how many there were."""
        deleted = 0
        for crm_id in ids:
            answer = self._post(
                f"{CONTACTS}/gdpr-delete", {"objectId": crm_id, "idProperty": self.id_property}
            )
            if answer.status == httpx.codes.NOT_FOUND and answer.is_readable:
                continue  # a page instead of an object is of another server, which knows nobody
            self._check(answer)
            deleted += 1
        return deleted

    def _outcomes(
        self, records: Sequence[Record], answer: Answer, *, is_removal: bool
    ) -> list[Outcome]:
        """Match results and errors to records; what neither names is left out."""
        results, errors = _items(answer.content, "results"), _items(answer.content, "errors")
        traces = {record.idempotency_key: record.idempotency_key for record in records}
        ids = {record.crm_id: record.idempotency_key for record in records}
        found = {
            key: Outcome(key, "delivered")
            for result in results
            for key in _named(traces | ids, result.get(TRACE), self._id_of(result))
        }
        unnamed = [result for result in results if not self._names_one(result, ids)]
        lost = []
        for error in errors:
            context = _mapping(error.get("context"))
            # Other parts of a context hold values and numbers of the CRM, which may look like ids.
            named = _named(traces, context.get(TRACE)) or _named(
                ids, error.get("id"), context.get("id"), context.get("ids")
            )
            if not named:
                lost.append(error)
            found |= {key: _refusal(key, error, is_removal=is_removal) for key in named}
        silent = [key for key in map(_key_of, records) if key not in found]
        if not lost and len(unnamed) == len(silent):
            found |= {key: Outcome(key, "delivered") for key in silent}
        elif lost and len(silent) == 1:
            found[silent[0]] = _refusal(silent[0], lost[0], is_removal=is_removal)
        elif lost and not found:
            raise RefusedError(self.name, _category(lost[0]) or "unnamed_errors")
        return [*found.values()]

    def _names_one(self, result: Mapping[str, object], ids: Mapping[str, str]) -> bool:
        """Whether a result says whose it is: under any key, or by an identifier that we sent."""
        return result.get(TRACE) is not None or bool(_named(ids, self._id_of(result)))

    def _id_of(self, result: Mapping[str, object]) -> object:
        return _mapping(result.get("properties")).get(self.id_property)

    def _check(self, answer: Answer) -> None:
        """Raise for an answer that is about the call as a whole."""
        status, category = answer.status, _category(answer.content)
        reason = category or f"status_{status}"
        is_asked_to_wait = status in TRANSIENT and answer.retry_after_s is not None
        if status == httpx.codes.TOO_MANY_REQUESTS or is_asked_to_wait:
            raise BusyError(self.name, answer.retry_after_s)
        if status in TRANSIENT:
            raise UnavailableError(self.name, f"status_{status}")
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise MisconfiguredError(
                self.name,
                f"the token is not accepted ({reason})",
                remedy=f"Check {TOKEN_VARIABLE} and its scope crm.objects.contacts.write.",
            )
        said = {name: part for name, part in answer.content.items() if name != "results"}
        if NO_PROPERTY in json.dumps(said):
            raise MisconfiguredError(
                self.name, "a contact property is missing", remedy=self._properties_needed()
            )
        if NOT_UNIQUE.search(str(said.get("message"))):
            raise MisconfiguredError(
                self.name, f"{self.id_property} is not unique", remedy=self._properties_needed()
            )
        if 300 <= status < 400 or status in {404, 405, 410}:  # noqa: PLR2004 - status codes
            raise MisconfiguredError(
                self.name,
                f"there is no such interface at its address ({reason})",
                remedy="Check crm.base_url.",
            )
        if status in ABOUT_RECORDS:
            raise RefusedError(self.name, reason)
        if status >= 400:  # noqa: PLR2004 - status codes
            raise MisconfiguredError(
                self.name,
                f"every call is refused ({reason})",
                remedy="Check the account there, and crm.base_url and any proxy here.",
            )

    def _properties_needed(self) -> str:
        names = ", ".join((self.id_property, *PROPERTIES))
        return (
            f"Create these there, as single-line text: {names}; "
            f"{self.id_property} has to require unique values."
        )

    def _post(self, path: str, content: Mapping[str, object]) -> Answer:
        try:
            return asyncio.run(self._exchange(path, content))
        except TimeoutError:
            raise UnavailableError(self.name, "timeout") from None
        except httpx.HTTPError as error:
            # Only its kind: the text of some names the address, of others the content.
            raise UnavailableError(self.name, type(error).__name__.lower()) from None

    async def _exchange(self, path: str, content: Mapping[str, object]) -> Answer:
        """One request, and as much of its answer as will be read, before the deadline."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept-Encoding": "identity"}
        async with (
            httpx.AsyncClient(
                base_url=self._url,
                headers=headers,
                verify=self._tls,
                timeout=None,  # noqa: S113 - the deadline is below
            ) as client,
            asyncio.timeout(self._deadline_s),
            client.stream("POST", path, json=content) as response,
        ):
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self._max_answer_bytes:
                    raise UnavailableError(self.name, "endless_answer")
        return Answer(
            response.status_code,
            retry_after(response.headers.get("Retry-After"), now=self._clock()),
            *_object(bytes(body)),
        )


def retry_after(header: str | None, *, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` asks for, as a number or a date; None if it says nothing."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max((at - now).total_seconds(), 0.0)


def _address(base_url: str) -> httpx.URL:
    """Root of an API to which a token may be sent."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if not url.host or url.userinfo:
        raise MisconfiguredError(
            HubSpot.name,
            "base_url is no address without a user",
            remedy="Set crm.base_url to an https address.",
        )
    if url.scheme != "https" and not _is_this_machine(url.host):
        raise MisconfiguredError(
            HubSpot.name,
            "base_url would send the token unencrypted",
            remedy="Set crm.base_url to an https address.",
        )
    return url


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _object(body: bytes) -> tuple[Mapping[str, object], bool]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}, False
    return (content, True) if isinstance(content, dict) else ({}, False)


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _items(content: Mapping[str, object], name: str) -> list[Mapping[str, object]]:
    value = content.get(name)
    return [_mapping(item) for item in value] if isinstance(value, list) else []


def _key_of(record: Record) -> str:
    return record.idempotency_key


def _named(keys: Mapping[str, str], *values: object) -> list[str]:
    """Keys of the records that values of an answer name, by key or by identifier."""
    texts: list[object] = []
    for value in values:
        texts += value if isinstance(value, list) else [value]
    return [keys[text] for text in texts if isinstance(text, str) and text in keys]


def _category(content: Mapping[str, object]) -> str | None:
    """The kind of an error, where it is a code; messages quote values and are never kept."""
    category = content.get("category")
    is_code = isinstance(category, str) and _CATEGORY.fullmatch(category)
    return str(category) if is_code else None


def _refusal(key: str, error: Mapping[str, object], *, is_removal: bool) -> Outcome:
    category = _category(error) or "ERROR"
    if is_removal and category == NOT_FOUND:
        return Outcome(key, "delivered")
    is_transient = any(word in category for word in TRANSIENT_CATEGORIES)
    return Outcome(key, "unclear" if is_transient else "refused", category)
