"""Collection: what happens at the door, from the bytes of a request to a record to be kept."""

__all__: list[str] = []
