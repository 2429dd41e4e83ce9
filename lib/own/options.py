"""Which options a reader's own part knows, and what becomes of the others."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor

from lib.own.tests.near import Unknown, Wrong

__all__ = ["Options"]

EMPTY = inspect.Parameter.empty


class Options:
    """How a call of the library's part becomes a call of a reader's own.

    What the library needs is handed over by its place, so a reader may call it
    otherwise; options are handed over by name. An option that the reader's part does
    not know is left out while it has its default value, and refused otherwise.

    Args:
        part: the name of the part, for the words.
        theirs: what the library calls, or its class.
        ours: the reader's function, method or class.
        what: what of the part this is, for the words, such as ``forward``.

    Raises:
        Wrong: if the reader's part cannot be called in this way at all.
    """

    def __init__(
        self, part: str, theirs: Callable, ours: Callable, what: str = ""
    ) -> None:
        self.part, self.what = part, f"{what} of " if what else ""
        self.theirs = _parameters(theirs)
        self.signature = inspect.Signature([*self.theirs.values()])
        ours_ = _parameters(ours)
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in ours_.values())
        named = {n: p for n, p in ours_.items() if p.kind is not p.VAR_KEYWORD}
        self.by_place = [n for n, p in self.theirs.items() if p.default is EMPTY]
        by_place = [*named][: len(self.by_place)]
        if len(by_place) < len(self.by_place):
            needed = ", ".join(self.by_place)
            raise Wrong(f"{self.what}your part must take {needed}; it takes {[*named]}")
        self.by_name = {*named} - {*by_place}
        for name in self.by_name - {*self.theirs}:
            if named[name].default is EMPTY:
                raise Wrong(
                    f"{self.what}your part needs {name}, which the library does not "
                    "give: let it have a default value"
                )

    def knows(self, name: str) -> bool:
        """Return whether the reader's part has an option."""
        return name in self.by_name or self.takes_all

    def call(self, ours: Callable, given: dict[str, object]) -> object:
        """Call the reader's part with arguments of the library, given by name.

        Raises:
            Unknown: for an option that it does not know.
        """
        places, options = [given[name] for name in self.by_place], {}
        for name, value in given.items():
            if name in self.by_name:
                options[name] = value
            elif name not in self.by_place and not self._is_default(name, value):
                if not self.takes_all:
                    raise Unknown(self.refusal(name, value))
                options[name] = value
        return ours(*places, **options)

    def bind(self, args: tuple, kwargs: dict) -> dict[str, object]:
        """Return the arguments of a call by name, with all defaults."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def refusal(self, name: str, value: object) -> str:
        """Say that an option is not there."""
        shown = "a tensor" if isinstance(value, Tensor) else repr(value)
        return (
            f"{name}={shown}: {self.what}your own {self.part} has no option {name}; "
            "teach it that, or use the library's for this"
        )

    def _is_default(self, name: str, value: object) -> bool:
        default = self.theirs[name].default
        if value is default:
            return True
        plain = bool, int, float, str
        return isinstance(value, plain) and value == default


def _parameters(function: Callable) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function or a class, without ``self``."""
    found = dict(inspect.signature(function).parameters)
    found.pop("self", None)
    return found
