"""The destination that the settings name."""

import os
from collections.abc import Sequence

from clickstream_platform.activation import Destination, MisconfiguredError
from clickstream_platform.connectors.hubspot import TOKEN_VARIABLE, HubSpot
from clickstream_platform.connectors.outbox import Outbox
from clickstream_platform.settings import Settings


def crm_destination(settings: Settings) -> Destination:
    """Where audiences go, by the settings; a token is read from the environment.

    Raises:
        MisconfiguredError: The destination needs a token, and there is none.
    """
    crm = settings.crm
    if crm.destination == "outbox":
        return Outbox(settings.outbox, id_property=crm.id_property)
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        name, reason = HubSpot.name, "no access token is set"
        raise MisconfiguredError(
            name, reason, remedy=f"Put that of a private app into {TOKEN_VARIABLE}."
        )
    return HubSpot(crm.base_url, token=token, id_property=crm.id_property)


class CrmEraser:
    """The destination that the settings name, opened once there is somebody to erase from it.

    An erasure suppresses the person before it tells anybody: a token that is missing must not
    keep it from that.
    """

    def __init__(self, settings: Settings) -> None:
        self.name = settings.crm.destination
        self._settings = settings

    def erase(self, ids: Sequence[str]) -> int:
        """Erase people by the identifiers they were sent under; return how many are gone."""
        return crm_destination(self._settings).erase(ids)


def crm_eraser(settings: Settings) -> CrmEraser | None:
    """Whom an erasure has to tell; nobody where the CRM is the outbox, a folder of our own."""
    return None if settings.crm.destination == Outbox.name else CrmEraser(settings)
