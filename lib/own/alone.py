"""A definition out of a notebook as a file that can be imported on its own."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import linecache
import math
import symtable
import sys
import textwrap
from types import FunctionType, ModuleType

__all__ = ["Elsewhere", "library_names", "stand_alone"]

KNOWN = {  # names that every lesson uses -> how they are imported
    "torch": "import torch",
    "math": "import math",
    "nn": "from torch import nn",
    "F": "from torch.nn import functional as F",
    "Tensor": "from torch import Tensor",
}
SHORT = ["math", "typing", "collections.abc"]
SHORT += ["torch", "torch.nn", "torch.nn.functional"]
HOUSES = ["attention", "position", "norm", "ffn", "block", "module", "shapes", "device"]
HOUSES += ["evaluate.losses", "generate.sampling", "tune.lora"]
ROOTS = {*sys.stdlib_module_names, "torch", "numpy", "lib"} - {"__main__"}


class Elsewhere(ValueError):
    """Raised where a definition uses names that stand elsewhere in a notebook."""


def library_names() -> dict[str, str]:
    """Return the public names of the library's parts, and the module of each."""
    found = {}
    for house in HOUSES:
        module = importlib.import_module(f"lib.{house}")
        found |= dict.fromkeys(module.__all__, module.__name__)
    return found


def stand_alone(thing: type | FunctionType, part: str) -> tuple[str, list[str]]:
    """Return a file that defines a reader's class or function, and the library's part.

    Args:
        thing: the class or function, from a notebook, a script or a module.
        part: the name of the part, such as ``norm.LayerNorm``.

    Returns:
        The file's text, with the imports that it needs; and the names of the reader's
        own that it takes from the library instead, as ``LayerNorm`` in a block.

    Raises:
        Elsewhere: if it uses other names of the notebook, or its code is not found.
    """
    source, space = _source_of(thing)
    tree, own = ast.parse(source), thing.__name__
    imports, taken, missing = set(), [], []
    for name in sorted(_needed(tree) - {own}):
        line = _import_line(name, space)
        if line is None and name in (names := library_names()):
            line = f"from {names[name]} import {name}"
            taken.append(name)
        missing += [name] if line is None else []
        imports |= {line} - {None, ""}
    if missing:
        raise Elsewhere(
            f"{own} uses {', '.join(missing)}, which stands elsewhere: write that into "
            f"{own} itself, or hand it over as an argument"
        )
    imports |= {_import_line(name, space) for name in _annotated(tree)} - {None, ""}
    short = part.rpartition(".")[2]
    last = "" if own == short else f"\n\n{short} = {own}\n"
    first = f'"""{part}: own code, checked and kept by lib.own."""'
    head = [first, "", "from __future__ import annotations", ""]
    head += [*sorted(imports), ""] if imports else []
    return "\n".join([*head, "", source.strip()]) + "\n" + last, taken


def _source_of(thing: type | FunctionType) -> tuple[str, dict]:
    """Return the code of a definition, and the names around it."""
    functions = [thing, *vars(thing).values()] if isinstance(thing, type) else [thing]
    functions = [inspect.unwrap(f) for f in functions if callable(f)]
    for function in (f for f in functions if isinstance(f, FunctionType)):
        code = function.__code__
        file = code.co_filename
        linecache.checkcache(file)
        lines = linecache.getlines(file, function.__globals__)
        found = _definition("".join(lines), thing.__name__, code.co_firstlineno)
        if found:
            return found, function.__globals__
    raise Elsewhere(
        f"the code of {thing.__name__} is not found: give a def or a class of a cell "
        "or a file, as it stands there"
    )


def _definition(text: str, name: str, line: int) -> str | None:
    """Return the definition of a name around a line of a text."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if start <= line <= node.end_lineno:
                lines = text.splitlines(keepends=True)[start - 1 : node.end_lineno]
                return textwrap.dedent("".join(lines))
    return None


def _needed(tree: ast.Module) -> set[str]:
    """Return the names that code uses and does not define, but for annotations."""
    bare = _WithoutAnnotations().visit(ast.parse(ast.unparse(tree)))
    source = ast.unparse(ast.fix_missing_locations(bare))
    tables, needed = [symtable.symtable(source, "part", "exec")], set()
    top = {s.get_name() for s in tables[0].get_symbols() if s.is_assigned()}
    for table in tables:  # grows by the tables of what stands inside
        tables += table.get_children()
        for symbol in table.get_symbols():
            outside = table is tables[0] or symbol.is_global()
            if outside and symbol.is_referenced():
                needed.add(symbol.get_name())
    return {n for n in needed - top if not hasattr(builtins, n)}


class _WithoutAnnotations(ast.NodeTransformer):
    """Takes away what only says of which type something is."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        return ast.arg(node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        self.generic_visit(node)
        node.annotation = ast.Constant(None)
        return node


def _annotated(tree: ast.Module) -> set[str]:
    """Return all names in code; most of them are known otherwise."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _import_line(name: str, space: dict) -> str | None:
    """Return how a name is imported; nothing for what is always there; or None."""
    if name not in space:
        return "" if hasattr(builtins, name) else KNOWN.get(name)
    value = space[name]
    if isinstance(value, ModuleType):
        return _import_of_module(name, value)
    for place in SHORT:
        if _is(getattr(importlib.import_module(place), name, None), value):
            return f"from {place} import {name}"
    place, own = getattr(value, "__module__", None), getattr(value, "__name__", name)
    if not isinstance(place, str) or place.split(".")[0] not in ROOTS:
        return None
    if not _is(getattr(importlib.import_module(place), own, None), value):
        return None
    return f"from {place} import {own}" + ("" if own == name else f" as {name}")


def _import_of_module(name: str, module: ModuleType) -> str | None:
    """Return how a module is imported under a name."""
    whole = module.__name__
    if whole.split(".")[0] not in ROOTS:
        return None
    if KNOWN.get(name, "").split()[-1:] == [name] and _is_known(name, whole):
        return KNOWN[name]
    return f"import {whole}" if whole == name else f"import {whole} as {name}"


def _is_known(name: str, whole: str) -> bool:
    """Whether a short name of the lessons means the module that it always means."""
    return whole == {"nn": "torch.nn", "F": "torch.nn.functional"}.get(name, name)


def _is(found: object, value: object) -> bool:
    """Whether two are the same thing; numbers such as infinity may be equal."""
    if found is None:
        return False
    is_number = isinstance(value, float) and isinstance(found, float)
    return found is value or (is_number and math.isinf(value) and found == value)
