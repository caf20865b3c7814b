"""Connectors: the only code that talks to other systems."""

from clickstream_platform.connectors.crm import crm_destination
from clickstream_platform.connectors.hubspot import TOKEN_VARIABLE, HubSpot
from clickstream_platform.connectors.outbox import Outbox, remove_from_outbox

__all__ = ["TOKEN_VARIABLE", "HubSpot", "Outbox", "crm_destination", "remove_from_outbox"]
