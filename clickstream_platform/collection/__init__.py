"""Collection: what comes over HTTP, from its bytes to canonical records ready for the log."""

__all__: list[str] = []
