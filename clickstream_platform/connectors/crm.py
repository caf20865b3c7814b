"""The destination that the settings name."""

import os

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
