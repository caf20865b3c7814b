"""A micro server that runs: what it took, and requests to it."""

import httpx

from clickstream_platform.collection.probes import Record, Sent
from clickstream_platform.errors import ClickstreamError

TIMEOUT_S = 30.0
"""How long one answer may take."""


class MicroUnreachableError(ClickstreamError, ConnectionError):
    """No micro server answers under the address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}. Start one by `clickstream micro`, or leave out --url.")


class MicroClient:
    """Speaks to a micro server over HTTP.

    Args:
        url: Its address, such as ``http://127.0.0.1:9090``.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def good(self) -> list[Record]:
        """Records that would become events, in order of arrival."""
        return self._records("good")

    def bad(self) -> list[Record]:
        """Records that would wait in quarantine."""
        return self._records("bad")

    def reset(self) -> None:
        """Make it forget everything."""
        self._ask("reset")

    def send(self, sent: Sent) -> int:
        """Send a request; return the status of the answer."""
        is_text = isinstance(sent.body, str) or sent.body is None
        return self._request(
            sent.method,
            sent.path,
            headers=sent.headers,
            content=sent.body if isinstance(sent.body, str) else None,
            json=None if is_text else sent.body,
        ).status_code

    def _records(self, question: str) -> list[Record]:
        found = self._ask(question)
        if not isinstance(found, list):
            reason = "answers as no micro server does"
            raise MicroUnreachableError(self.url, reason)
        return found

    def _ask(self, question: str) -> object:
        answer = self._request("GET", f"/micro/{question}")
        try:
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPStatusError, ValueError):
            reason = f"answers as no micro server does ({answer.status_code})"
            raise MicroUnreachableError(self.url, reason) from None

    def _request(self, method: str, path: str, **parts: object) -> httpx.Response:
        try:
            # A proxy of the environment does not know a server on this machine.
            with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as client:
                return client.request(method, self.url + path, **parts)  # type: ignore[arg-type]
        except (httpx.HTTPError, httpx.InvalidURL):
            raise MicroUnreachableError(self.url, "does not answer") from None
