"""One name of the library stands for another thing, everywhere, for a while."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType, ModuleType

__all__ = ["swap"]


def swap(pairs: list[tuple[object, object]]) -> None:
    """Put new things in the place of old ones, wherever a loaded module holds them.

    That is a module's name, a value of a dictionary of a module, or the default value
    of an argument. What tests the parts keeps the library's own.

    Args:
        pairs: each old thing with its new one.
    """
    new = {id(old): thing for old, thing in pairs}
    for module in _modules():
        space = vars(module)
        for name, value in [*space.items()]:
            if id(value) in new:
                space[name] = new[id(value)]
            elif isinstance(value, dict) and not name.startswith("__"):
                for key in [k for k, v in value.items() if id(v) in new]:
                    value[key] = new[id(value[key])]
        for function in _functions(module):
            _swap_defaults(function, new)


def _modules() -> list[ModuleType]:
    """Return the library's loaded modules, and those of the reader's own parts."""
    everything = [*sys.modules.items()]
    found = [(name, m) for name, m in everything if isinstance(m, ModuleType)]
    return [
        module
        for name, module in found
        if name.startswith(("lib.", "own_")) and not f"{name}.".startswith("lib.own.")
    ]


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Yield the functions that a module defines, and the methods of its classes."""
    for value in [*vars(module).values()]:
        if getattr(value, "__module__", None) != module.__name__:
            continue
        inside = vars(value).values() if isinstance(value, type) else [value]
        yield from (f for f in inside if isinstance(f, FunctionType))


def _swap_defaults(function: FunctionType, new: dict[int, object]) -> None:
    """Put new things in the place of default values."""
    defaults = function.__defaults__ or ()
    if any(id(value) in new for value in defaults):
        function.__defaults__ = tuple(new.get(id(value), value) for value in defaults)
    for name, value in [*(function.__kwdefaults__ or {}).items()]:
        if id(value) in new:
            function.__kwdefaults__[name] = new[id(value)]
