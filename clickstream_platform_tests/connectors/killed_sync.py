"""A sync that kills itself: `python -m … DATA DESTINATION_URL_OR_outbox POINT CALL`."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from clickstream_platform.activation import Destination, Outcome, Record, sync_crm
from clickstream_platform.connectors import HubSpot, Outbox
from clickstream_platform.lake import Lake
from clickstream_platform.privacy import Suppression, Vault
from clickstream_platform.settings import load_settings
from clickstream_platform_tests.connectors.hubspot_server import ID_PROPERTY, TOKEN
from clickstream_platform_tests.frames import NOON


class Killing:
    """A destination that ends its own process before or after the nth call."""

    def __init__(self, inner: Destination, *, point: str, call: int) -> None:
        self.inner, self.point, self.call = inner, point, call
        self.name, self.batch_size = inner.name, 2

    def upsert(self, records: Sequence[Record]) -> list[Outcome]:
        self.call -= 1
        if self.call == 0 and self.point == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcomes = self.inner.upsert(records)
        if self.call == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return outcomes

    def erase(self, ids: Sequence[str]) -> int:
        return self.inner.erase(ids)


def main(data: str, target: str, point: str, call: str) -> None:
    settings = load_settings(Path(data))
    folder = settings.state / "vault"
    inner: Destination = (
        Outbox(settings.outbox)
        if target == "outbox"
        else HubSpot(target, token=TOKEN, id_property=ID_PROPERTY)
    )
    sync_crm(
        Lake(settings.lake_folder),
        settings,
        vault=Vault(folder),
        suppression=Suppression(folder),
        destination=Killing(inner, point=point, call=int(call)),
        now=NOON,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
