"""Clickstream and customer data platform: from raw events to people, attribution and audiences."""
