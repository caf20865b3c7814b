"""Connectors: the only code that talks to other systems."""

from clickstream_platform.connectors.crm import CrmEraser, crm_destination, crm_eraser
from clickstream_platform.connectors.hubspot import TOKEN_VARIABLE, HubSpot
from clickstream_platform.connectors.micro import MicroClient, MicroUnreachableError
from clickstream_platform.connectors.outbox import Outbox, remove_from_outbox

__all__ = [
    "TOKEN_VARIABLE",
    "CrmEraser",
    "HubSpot",
    "MicroClient",
    "MicroUnreachableError",
    "Outbox",
    "crm_destination",
    "crm_eraser",
    "remove_from_outbox",
]
