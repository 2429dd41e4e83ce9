"""Rule 1: every public name of `lib/` is built on the page, with the library's code.

A cell tagged `lib:module.Name` defines that name as the library does, up to docstrings
and comments; private helpers may be tagged too. Where the library needs more than its
home lesson teaches, a cell tagged `naive:module.Name` makes a small version there, and
a later cell tagged `same:module.Name` asserts that both agree. In a later lesson a cell
tagged `grows:module.Name` may add to a name what the library adds: it holds the
library's code, or a cell `same:` follows it. Cells and functions stay small.
"""

import ast
import copy
import difflib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml
from cells import expect_none, has_assert, outline, parse, slug, was_executed
from nbformat import NotebookNode
from notebooks import (
    ROOT,
    code_cells,
    lesson_paths,
    read_ipynb,
    solution_paths,
    tagged,
    tags,
)
from small_lessons import code, complaint, lesson, prose

Lessons = dict[str, NotebookNode]  # by name, such as "02_bigram"
Library = dict[str, ast.Module]  # by module, such as "bigram"

CELL_LINES, CLASS_CELL_LINES, FUNCTION_LINES, COLUMNS = 15, 40, 30, 88
BUILDING = ("lib", "naive", "grows")  # kinds of cells that define a name
HIDDEN = {"hide-input", "remove-cell"}  # cells whose code the page does not show
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


# What is written where


@cache
def read_lessons(root: Path = ROOT) -> Lessons:
    """All finished lessons with their stored runs."""
    return {path.stem: read_ipynb(path) for path in lesson_paths(root)}


@cache
def read_library(root: Path = ROOT) -> Library:
    """The source of every module of the library."""
    found = {module_name(path, root): path for path in library_files(root)}
    trees = {name: ast.parse(path.read_text("utf-8")) for name, path in found.items()}
    return {name: tree for name, tree in trees.items() if len(tree.body) > 1}


def library_files(root: Path = ROOT) -> list[Path]:
    """The files of the library but its commands and its own `__init__`."""
    files = sorted((root / "lib").rglob("*.py"))
    own = root / "lib" / "__init__.py"
    return [path for path in files if path.name != "__main__.py" and path != own]


def module_name(path: Path, root: Path = ROOT) -> str:
    """The name of a module inside the library, such as `models.gpt` or `train`."""
    parts = path.relative_to(root / "lib").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def read_course(root: Path = ROOT) -> tuple[list[str], list[str]]:
    """The names of all lessons, finished or to come, and the modules not taught."""
    course = yaml.safe_load((root / "book" / "course.yml").read_text("utf-8"))
    names = [f"{int(row['number']):02d}_{row['slug']}" for row in course["lessons"]]
    return names, course["plumbing"]


def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """The functions, classes and constants that a module or a cell defines."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return found


def public_names(module: ast.Module) -> list[str] | None:
    """What `__all__` lists; None where a module has none."""
    listing = definitions(module).get("__all__")
    return None if listing is None else ast.literal_eval(listing.value)


def docstring(module: ast.Module, name: str) -> str:
    """The docstring of a name; for a constant, the string below it."""
    node = definitions(module).get(name)
    if isinstance(node, DOCUMENTED):
        return ast.get_docstring(node) or ""
    below = module.body[module.body.index(node) + 1 :][:1] if node else []
    return ast.get_docstring(ast.Module(below, [])) or ""


def home(module: ast.Module, name: str) -> str | None:
    """The lesson that the docstring of a name gives as its home."""
    line = re.search(r"(?m)^\s*Home lesson: (\S+)$", docstring(module, name))
    return line[1] if line else None


def bare(node: ast.AST) -> str:
    """Code in one fixed form, without docstrings and comments."""
    node = copy.deepcopy(node)
    for part in ast.walk(node):
        if isinstance(part, DOCUMENTED) and ast.get_docstring(part) is not None:
            part.body = part.body[1:] or [ast.Pass()]
    return ast.unparse(node)


# Page and library


def split_tag(tag: str) -> tuple[str, str]:
    """Module and name of a tag such as `lib:models.bigram.BigramLM`."""
    module, _, name = tag.partition(":")[2].rpartition(".")
    return module, name


def definition_problems(lessons: Lessons, library: Library) -> list[str]:
    """Cells tagged `lib:...` whose code is not the library's."""
    problems = []
    for lesson_name, notebook in lessons.items():
        for tag, cell in tagged(notebook, "lib"):
            module, name = split_tag(tag)
            where = f"{lesson_name}, cell {tag}"
            source = definitions(library.get(module, ast.Module([], [])))
            built = definitions(parse(cell.source))
            if name not in source:
                problems.append(f"{where}: lib/{module}.py does not define {name}")
            elif name not in built:
                problems.append(f"{where}: the cell does not define {name}")
            for shared in built.keys() & source.keys():
                if difference := first_difference(built[shared], source[shared]):
                    problems.append(f"{where}: {shared} differs: {difference}")
    return problems


def first_difference(built: ast.stmt, source: ast.stmt) -> str:
    """The first lines in which a cell and the library differ; empty if they agree."""
    page, library = bare(built).splitlines(), bare(source).splitlines()
    changes = [line for line in difflib.ndiff(page, library) if line[0] in "-+"]
    sides = {"-": "(nothing)", "+": "(nothing)"}
    for line in reversed(changes):
        sides[line[0]] = line[2:].strip()
    return f"page `{sides['-']}`, library `{sides['+']}`" if changes else ""


def home_problems(
    lessons: Lessons, library: Library, course: list[str], plumbing: list[str]
) -> list[str]:
    """Public names without a home, with two homes, or missing from their home."""
    problems, cells = [], {}
    for lesson_name, notebook in lessons.items():
        for tag, _ in (*tagged(notebook, "lib"), *tagged(notebook, "naive")):
            cells.setdefault(split_tag(tag), []).append(lesson_name)
    for module, tree in library.items():
        names = public_names(tree)
        if names is None:
            problems.append(f"lib/{module}.py has no __all__")
        for name in names or []:
            built_in = cells.pop((module, name), [])
            if module not in plumbing:
                where = f"lib/{module}.py, {name}"
                problems += one_home(where, home(tree, name), built_in, lessons, course)
    return problems


def one_home(
    where: str,
    home_lesson: str | None,
    built_in: list[str],
    lessons: Lessons,
    course: list[str],
) -> list[str]:
    """What is wrong with the home of one public name."""
    if home_lesson is None:
        return [f"{where}: the docstring has no line `Home lesson: NN_slug`"]
    if home_lesson not in course:
        return [f"{where}: home lesson {home_lesson} is not in book/course.yml"]
    expected = [home_lesson] if home_lesson in lessons else []
    if built_in != expected:
        return [f"{where}: cells build it in {built_in}, it should be {expected}"]
    return []


def equality_problems(lessons: Lessons, library: Library) -> list[str]:
    """Small versions that no later cell holds against the library's."""
    problems = []
    for lesson_name, notebook in lessons.items():
        for tag, version in small_versions(notebook, library):
            later = notebook.cells[notebook.cells.index(version) + 1 :]
            proof_tag = "same:" + tag.partition(":")[2]
            proofs = [cell for cell in later if proof_tag in tags(cell)]
            where = f"{lesson_name}, cell {tag}"
            if not proofs:
                problems.append(f"{where}: no later cell is tagged {proof_tag}")
            elif not any(was_executed(c) and has_assert(c) for c in proofs):
                problems.append(f"{where}: cell {proof_tag} holds no executed assert")
    return problems


def small_versions(notebook: NotebookNode, library: Library) -> list[tuple]:
    """The tags and cells that define a name in another way than the library does."""
    grown = tagged(notebook, "grows")
    own = [
        (tag, cell) for tag, cell in grown if not is_library_code(tag, cell, library)
    ]
    return [*tagged(notebook, "naive"), *own]


def is_library_code(tag: str, cell: NotebookNode, library: Library) -> bool:
    """Whether a cell defines the name of its tag just as the library does."""
    module, name = split_tag(tag)
    source = definitions(library.get(module, ast.Module([], []))).get(name)
    built = definitions(parse(cell.source)).get(name)
    return bool(source and built) and not first_difference(built, source)


def version_problems(lessons: Lessons, library: Library) -> list[str]:
    """Small versions of nothing, and names that grow before they have a home."""
    problems = []
    for lesson_name, notebook in lessons.items():
        grown = [tag for tag, _ in tagged(notebook, "grows")]
        for tag, cell in (*tagged(notebook, "naive"), *tagged(notebook, "grows")):
            module, name = split_tag(tag)
            tree, where = library.get(module), f"{lesson_name}, cell {tag}"
            if tree is None or name not in definitions(tree):
                problems.append(f"{where}: lib has no {module}.{name}")
            elif name not in definitions(parse(cell.source)):
                problems.append(f"{where}: the cell does not define {name}")
            elif tag in grown and not (home(tree, name) or "~") < lesson_name:
                problems.append(f"{where}: its home is not an earlier lesson")
    return problems


def private_problems(lessons: Lessons, library: Library) -> list[str]:
    """Names that lessons import although the library does not offer them."""
    problems = []
    for lesson_name, notebook in lessons.items():
        for cell in code_cells(notebook):
            for node in ast.walk(parse(cell.source)):
                module = getattr(node, "module", None) or ""
                if not isinstance(node, ast.ImportFrom) or module[:4] != "lib.":
                    continue
                tree = library.get(module[4:], ast.Module([], []))
                offered = public_names(tree) or []
                problems += [
                    f"{lesson_name}: {module} does not offer {alias.name}"
                    for alias in node.names
                    if alias.name not in offered
                    and f"{module[4:]}.{alias.name}" not in library
                ]
    return problems


def api_problems(
    lessons: Lessons, library: Library, plumbing: list[str], api: NotebookNode
) -> list[str]:
    """Modules without a heading on the API page, and lessons that do not link to it."""
    anchors = [slug(section.title) for section in outline(api)]
    problems = [
        f"book/api.md has no heading for lib/{module}.py"
        for module in library
        if module not in plumbing and slug(module) not in anchors
    ]
    for lesson_name, notebook in lessons.items():
        text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        built = (tag for kind in BUILDING for tag, _ in tagged(notebook, kind))
        for module in sorted({split_tag(tag)[0] for tag in built}):
            if f"(../book/api.md#{slug(module)})" not in text:
                problems.append(f"{lesson_name}: no link to ../book/api.md#{module}")
    return problems


# Size


def code_lines(source: str) -> list[int]:
    """The numbers of the lines that hold code: no blanks, comments or docstrings."""
    words: set[int] = set()
    for node in ast.walk(parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            words |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return [
        number
        for number, line in enumerate(source.splitlines(), start=1)
        if number not in words and line.strip() and not line.strip().startswith("#")
    ]


def cell_size_problems(lessons: Lessons) -> list[str]:
    """Visible code cells that are too long to take in at one look."""
    problems = []
    for lesson_name, notebook in lessons.items():
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code" or HIDDEN & set(tags(cell)):
                continue
            builds = any(tag.split(":")[0] in BUILDING for tag in tags(cell))
            nodes = ast.walk(parse(cell.source))
            a_class = builds and any(isinstance(node, ast.ClassDef) for node in nodes)
            limit = CLASS_CELL_LINES if a_class else CELL_LINES
            length = len(code_lines(cell.source))
            if length > limit:
                where = f"{lesson_name}, cell {index}"
                problems.append(f"{where}: {length} lines of code, at most {limit}")
    return problems


def function_size_problems(name: str, source: str) -> list[str]:
    """Functions with a body of more than 30 lines."""
    problems, lines = [], code_lines(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = range(node.body[0].lineno, node.end_lineno + 1)
            length = sum(line in body for line in lines)
            if length > FUNCTION_LINES:
                problems.append(f"{name}, {node.name}: a body of {length} lines")
    return problems


def width_problems(name: str, source: str) -> list[str]:
    """Lines of more than 88 columns."""
    return [
        f"{name}, line {number}: {len(line)} columns"
        for number, line in enumerate(source.splitlines(), start=1)
        if len(line) > COLUMNS
    ]


def sources(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """Every piece of code that is kept: files, and the code cells of notebooks."""
    for pattern in ("*.py", "lib/**/*.py", "tests/**/*.py", "book/_*/*.py"):
        for path in sorted(root.glob(pattern)):
            yield path.relative_to(root).as_posix(), path.read_text("utf-8")
    for path in lesson_paths(root) + solution_paths(root):
        for cell in code_cells(read_ipynb(path)):
            yield f"{path.parent.name}/{path.stem}, cell {cell.id}", cell.source


# The rule, on the course


def test_cells_define_what_the_library_defines() -> None:
    expect_none(definition_problems(read_lessons(), read_library()))


def test_every_public_name_is_built_in_its_home_lesson() -> None:
    expect_none(home_problems(read_lessons(), read_library(), *read_course()))


def test_simpler_versions_are_held_against_the_library() -> None:
    expect_none(equality_problems(read_lessons(), read_library()))
    expect_none(version_problems(read_lessons(), read_library()))


def test_lessons_import_public_names_only() -> None:
    solutions = {f"solution {p.stem}": read_ipynb(p) for p in solution_paths()}
    expect_none(private_problems(read_lessons() | solutions, read_library()))


def test_page_and_reference_link_to_each_other() -> None:
    api = lesson(prose((ROOT / "book" / "api.md").read_text("utf-8")))
    plumbing = read_course()[1]
    expect_none(api_problems(read_lessons(), read_library(), plumbing, api))


def test_cells_are_small() -> None:
    expect_none(cell_size_problems(read_lessons()))


def test_functions_of_the_library_are_small() -> None:
    paths = sorted((ROOT / "lib").rglob("*.py"))
    found = [function_size_problems(p.name, p.read_text("utf-8")) for p in paths]
    expect_none(sum(found, []))


def test_no_line_is_too_wide() -> None:
    expect_none(sum((width_problems(*piece) for piece in sources()), []))


# The rule's own test, on small broken lessons

LIBRARY = {
    "norm": ast.parse(
        '''
__all__ = ["half", "Box", "LIMIT"]
LIMIT: int = 4
"""The largest size.

Home lesson: 01_first
"""
@cached
def half(x: float, by: int = 2) -> float:
    """Halve.

    Home lesson: 01_first
    """
    return _checked(x) / by
def _checked(x: float) -> float:
    return x
class Box:
    """A box.

    Home lesson: 02_second
    """
    def open(self) -> None:
        """Open it."""
'''
    )
}
COURSE = ["01_first", "02_second"]
HALF = "@cached\ndef half(x: float, by: int = 2) -> float:\n    return _checked(x) / by"
GOOD = [
    code(HALF, tags=["lib:norm.half"]),
    code("LIMIT: int = 4", tags=["lib:norm.LIMIT"]),
]


def definition_complaint(source: str, tag: str = "lib:norm.half") -> str:
    """What is said about one cell."""
    first = {"01_first": lesson(code(source, tags=[tag]))}
    return complaint(definition_problems(first, LIBRARY))


def test_comments_and_docstrings_may_differ() -> None:
    commented = HALF.replace("    return", '    """Cut."""\n    # in two\n    return')
    box = 'class Box:\n    def open(self) -> None:\n        """Lift the lid."""'
    cells = [code(commented, tags=["lib:norm.half"]), code(box, tags=["lib:norm.Box"])]
    assert not definition_problems({"01_first": lesson(*cells)}, LIBRARY)


def test_drift_between_page_and_library_is_found() -> None:
    changed = HALF.replace("/", "//")
    assert "library `return _checked(x) / by`" in definition_complaint(changed)
    assert "def half(x," in definition_complaint(HALF.replace("x: float", "x"))
    assert "by: int=3" in definition_complaint(HALF.replace("int = 2", "int = 3"))
    undecorated = HALF.replace("@cached\n", "")
    assert "page `(nothing)`, library `@cached`" in definition_complaint(undecorated)
    helper = HALF + "\ndef _checked(x: float) -> float:\n    return -x"
    assert "_checked differs" in definition_complaint(helper)
    assert "LIMIT differs" in definition_complaint("LIMIT: int = 5", "lib:norm.LIMIT")


def test_a_tag_without_its_definition_is_found() -> None:
    assert "does not define third" in definition_complaint(HALF, "lib:norm.third")
    assert "does not define half" in definition_complaint(HALF, "lib:nrom.half")
    assert "the cell does not define half" in definition_complaint("half = 1".upper())


def test_a_name_without_its_home_is_found() -> None:
    def problems(*cells: NotebookNode, library: Library = LIBRARY) -> list[str]:
        return home_problems({"01_first": lesson(*cells)}, library, COURSE, ["plot"])

    assert not problems(*GOOD)
    assert "half: cells build it in []" in complaint(problems(GOOD[1]))
    assert "'01_first', '01_first'" in complaint(problems(*GOOD, GOOD[0]))
    early = code("class Box: ...", tags=["lib:norm.Box"])
    assert "['01_first'], it should be []" in complaint(problems(*GOOD, early))
    plumbing, nameless = ast.parse("__all__ = ['p']"), ast.parse("x = 1")
    two = LIBRARY | {"plot": plumbing, "odd": nameless}
    assert "odd.py has no __all__" in complaint(problems(*GOOD, library=two))
    for text, words in (("No home.", "no line"), ("Home lesson: 9_x", "9_x")):
        stray = ast.parse(f"__all__ = ['f']\ndef f():\n    '{text}'")
        assert words in complaint(problems(*GOOD, library=LIBRARY | {"stray": stray}))


def test_a_simpler_version_without_proof_is_found() -> None:
    naive = code("def slow(): ...", tags=["naive:norm.half"])
    proof = code("assert slow() == half()", tags=["same:norm.half"])

    def problems(*cells: NotebookNode) -> list[str]:
        return equality_problems({"01_first": lesson(*cells)}, LIBRARY)

    assert not problems(naive, proof)
    assert "no later cell" in complaint(problems(naive))
    assert "no later cell" in complaint(problems(proof, naive))
    talk = code("print('same')", tags=["same:norm.half"])
    not_run = code("assert True", tags=["same:norm.half"], executed=False)
    for bad in (talk, not_run):
        assert "no executed assert" in complaint(problems(naive, bad))


def test_a_name_that_grows_needs_the_library_or_a_proof() -> None:
    def problems(*cells: NotebookNode, name: str = "02_second") -> str:
        lessons = {name: lesson(*cells)}
        found = equality_problems(lessons, LIBRARY) + version_problems(lessons, LIBRARY)
        return complaint(found) if found else ""

    tag, proof = "grows:norm.half", code("assert 1", tags=["same:norm.half"])
    assert not problems(code(HALF, tags=[tag]))
    more = code(HALF.replace("/ by", "/ by / 1"), tags=[tag])
    assert "no later cell is tagged same:norm.half" in problems(more)
    assert not problems(more, proof)
    assert "not an earlier lesson" in problems(more, proof, name="01_first")
    assert "does not define half" in problems(code("x = 1", tags=[tag]), proof)
    stray = code("def third(): ...", tags=["naive:norm.third"])
    third = code("assert 1", tags=["same:norm.third"])
    assert "lib has no norm.third" in problems(stray, third)


def test_an_import_that_is_not_public_is_found() -> None:
    def problems(source: str) -> list[str]:
        return private_problems({"01_first": lesson(code(source))}, LIBRARY)

    assert not problems("from lib.norm import half\nfrom torch import nn")
    for name in ("_checked", "cached", "half, _checked"):
        assert len(problems(f"from lib.norm import {name}")) == 1
    assert problems("from lib.nrom import half")


def test_a_missing_link_or_heading_is_found() -> None:
    api = lesson(prose("# Reference\n\n## norm\n"))
    linked = prose("Here is [half](../book/api.md#norm).")
    good = {"01_first": lesson(linked, *GOOD)}
    assert not api_problems(good, LIBRARY, [], api)
    unlinked = {"01_first": lesson(*GOOD)}
    assert "no link to" in complaint(api_problems(unlinked, LIBRARY, [], api))
    other = lesson(prose("# Reference\n\n## attention\n"))
    assert "no heading for" in complaint(api_problems(good, LIBRARY, [], other))
    assert not api_problems(good, LIBRARY, ["norm"], other)


def test_a_long_cell_or_function_is_found() -> None:
    def problems(source: str, *cell_tags: str) -> list[str]:
        return cell_size_problems({"01_first": lesson(code(source, tags=cell_tags))})

    long = "x = 1\n" * 16
    assert "16 lines of code, at most 15" in complaint(problems(long))
    assert not problems(long, "hide-input")
    assert not problems("# why\n\nx = 1\n" * 15)
    a_class = "class A:\n    '''One.\n\n    Two.\n    '''\n" + "    x = 1\n" * 39
    assert not problems(a_class, "lib:norm.A")
    assert "at most 40" in complaint(problems(a_class + "    y = 1", "lib:norm.A"))
    assert "at most 15" in complaint(problems(a_class))
    a_function = "def f():\n    '''Do.'''\n" + "    x = 1\n" * 30
    assert not function_size_problems("norm.py", a_function)
    longer = function_size_problems("norm.py", a_function + "    y = 1")
    assert complaint(longer) == "norm.py, f: a body of 31 lines"


def test_a_wide_line_is_found() -> None:
    assert not width_problems("norm.py", "x" * 88)
    assert complaint(width_problems("norm.py", "\n" + "x" * 89)) == (
        "norm.py, line 2: 89 columns"
    )
