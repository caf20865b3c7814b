"""Collection: what happens at the door, from a tag's payload to a record that may be kept."""

__all__: list[str] = []
