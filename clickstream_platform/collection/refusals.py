"""Refusals: every reason for which the collector takes a request or an event not, with its status.

The list is closed, so that a client can act on a reason, and a reason names no value of the
request, so that it can be answered, logged and stored.
"""

from dataclasses import dataclass

from clickstream_platform.errors import ClickstreamError

REASONS = {
    # The request as bytes.
    "not_found": (404, "No protocol answers under this path."),
    "method_not_allowed": (405, "The path takes another method."),
    "origin_not_allowed": (403, "Add the page's origin to collector.origins."),
    "body_missing": (400, "The request needs a body."),
    "body_too_large": (413, "Send at most 1,000,000 bytes; split the batch."),
    "body_too_slow": (408, "The body did not arrive in time."),
    "encoding_unknown": (415, "Send the body plain or compressed with gzip."),
    "encoding_invalid": (400, "The body is no whole gzip stream."),
    "encoded_twice": (400, "The body is compressed more than once."),
    "inflated_too_large": (413, "The body inflates to more than 5,000,000 bytes."),
    # The request as JSON or as a query.
    "json_invalid": (400, "The body is not JSON as RFC 8259 has it."),
    "json_key_repeated": (400, "An object holds the same key twice."),
    "json_number_out_of_range": (400, "A number exceeds 64 bits."),
    "json_text_with_nul": (400, "A text holds the character NUL."),
    "batch_invalid": (400, "The body is not a batch of this protocol."),
    "too_many_events": (413, "Send fewer events at once: 500, or 512 log records."),
    # Who sends it.
    "key_missing": (401, "Send the write key of a source."),
    "key_invalid": (401, "The write key is not known; see `clickstream keys list`."),
    "key_revoked": (401, "The write key was revoked; use its successor."),
    "signature_missing": (401, "The key demands X-Clickstream-Timestamp and -Signature."),
    "signature_invalid": (401, "The signature does not fit the body."),
    "signature_expired": (401, "The timestamp is more than 5 minutes off."),
    # One event.
    "event_invalid": (400, "A field of the event is missing or of a wrong type."),
    "event_name_missing": (400, "The event has no name."),
    "event_too_large": (413, "An event takes at most 65,536 bytes."),
    "event_too_deep": (400, "An event nests at most 32 deep."),
    "event_has_too_many_keys": (400, "An event holds at most 1,000 keys."),
    "event_is_server_only": (403, "Events of this name come from servers only."),
    # How much of it.
    "rate_limited": (429, "The key or the address sends too much; wait."),
    "overloaded": (429, "More waits for the disk than memory may hold; wait."),
    "log_unavailable": (503, "The log cannot be written to; nothing was taken, send it again."),
    "shutting_down": (503, "The collector is going down; send it again."),
}  # fmt: skip
"""HTTP status and remedy by reason."""

RETRY_AFTER_S = {"rate_limited": 60, "overloaded": 1, "log_unavailable": 5, "shutting_down": 1}
"""After how many seconds a client may try again, by reason; for the others it never should."""


class RefusedError(ClickstreamError):
    """A request that the collector refuses.

    Args:
        reason: One of `REASONS`.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.status, remedy = REASONS[reason]
        super().__init__(f"{reason}: {remedy}")


@dataclass(frozen=True, slots=True)
class Rejection:
    """One event of a batch that is refused; the rest of the batch is taken."""

    index: int
    """Its place in the batch, from 0."""
    reason: str
    event_id: str | None = None
    record: dict[str, object] | None = None
    """The event as far as it could be read, for quarantine."""
