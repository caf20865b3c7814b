"""Collection: how events reach the platform from browsers, apps and servers."""

__all__: list[str] = []
