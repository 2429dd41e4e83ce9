"""The tests of the parts: a reader's own, and the library's; no pytest is needed."""

__all__: list[str] = []
