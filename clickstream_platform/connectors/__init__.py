"""Connectors: the only code that talks to other systems."""

from clickstream_platform.connectors.canary import KEY_VARIABLE, CanaryLog, send_canary
from clickstream_platform.connectors.crm import CrmEraser, crm_destination, crm_eraser
from clickstream_platform.connectors.hubspot import TOKEN_VARIABLE, HubSpot
from clickstream_platform.connectors.micro import MicroClient, MicroUnreachableError
from clickstream_platform.connectors.outbox import Outbox, remove_from_outbox

__all__ = [
    "KEY_VARIABLE",
    "TOKEN_VARIABLE",
    "CanaryLog",
    "CrmEraser",
    "HubSpot",
    "MicroClient",
    "MicroUnreachableError",
    "Outbox",
    "crm_destination",
    "crm_eraser",
    "remove_from_outbox",
    "send_canary",
]
