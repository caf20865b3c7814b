"""The `clickstream` command."""

from clickstream_platform.cli.app import main

__all__ = ["main"]
