"""The house: which file of `lib/` may import which, and what lies where.

The rows stand in one order. A file imports only from rows above its own, or from its
own row; no file comes back to itself; a command is the `__main__.py` of its package,
and nothing imports one. Environment variables are read in `lib/__init__.py` alone.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from cells import expect_none
from notebooks import ROOT

ROWS = [
    ["lib", "stopping"],
    ["shapes", "device", "module", "command_line"],
    ["position", "norm", "ffn", "moe"],
    ["attention", "flash", "latent", "embedding"],
    ["block"],
    ["own"],
    ["text"],
    ["tasks"],
    ["models"],
    ["evaluate"],
    ["train"],
    ["generate"],
    ["translate"],
    ["tune"],
    ["show"],
    ["checks"],
]
LARGEST_FLAT = 14
ONE_SITTING = 650  # lines of the shell around the training loop
SHELL = ["settings.py", "run_settings.py", "run.py", "checkpoint.py", "__main__.py"]

Files = dict[str, str]  # module, such as "lib.models.gpt" -> source


def read_files(root: Path = ROOT) -> Files:
    """The source of every file of the library, by module."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path.read_text("utf-8")
        for path in sorted((root / "lib").rglob("*.py"))
    }


def row(module: str) -> int:
    """The number of the row that a module stands in."""
    parts = module.split(".")
    place = parts[1] if len(parts) > 1 and parts[1] != "__init__" else "lib"
    return next((n for n, names in enumerate(ROWS) if place in names), -1)


def arrows(files: Files) -> Iterator[tuple[str, str]]:
    """Each module with each module of the library that it imports, anywhere in it."""
    for module, source in files.items():
        for node in ast.walk(ast.parse(source)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module}: a relative import"
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                names = [n if is_module(n, files) else node.module for n in names]
            for name in names:
                if name.split(".")[0] == "lib":
                    yield module, full_name(name, files)


def is_module(name: str, files: Files) -> bool:
    """Whether a dotted name is a file or a package, not something inside of one."""
    return name in files or f"{name}.__init__" in files


def full_name(name: str, files: Files) -> str:
    """The file that a dotted name means: a package means its `__init__`."""
    return name if name in files else f"{name}.__init__"


def direction_problems(files: Files) -> list[str]:
    """Files in no row, arrows that run up, and imports of commands."""
    problems = [f"{module} stands in no row" for module in files if row(module) < 0]
    for module, other in arrows(files):
        if row(other) > row(module):
            problems.append(f"{module} imports {other}, from a row below it")
        if other.endswith("__main__"):
            problems.append(f"{module} imports {other}, a command")
    return problems


def circle_problems(files: Files) -> list[str]:
    """Files that import themselves through others."""
    below: dict[str, set[str]] = {module: set() for module in files}
    for module, other in arrows(files):
        below.setdefault(module, set()).add(other)
    problems = []
    for module in files:
        reached, waiting = set(), [*below[module]]
        while waiting:
            other = waiting.pop()
            if other not in reached:
                reached.add(other)
                waiting += below.get(other, ())
        if module in reached:
            problems.append(f"{module} imports itself through others")
    return problems


def environment_problems(files: Files) -> list[str]:
    """Files that read environment variables, but for the one place for that."""
    words = ("environ", "getenv")
    return [
        f"{module} reads the environment"
        for module, source in files.items()
        if module != "lib.__init__"
        and any(
            getattr(node, "attr", getattr(node, "id", "")) in words
            for node in ast.walk(ast.parse(source))
        )
    ]


def test_arrows_run_down() -> None:
    expect_none(direction_problems(read_files()))


def test_there_is_no_circle() -> None:
    expect_none(circle_problems(read_files()))


def test_the_environment_is_read_in_one_place() -> None:
    expect_none(environment_problems(read_files()))


def test_few_files_lie_flat() -> None:
    flat = [path.name for path in (ROOT / "lib").glob("*.py")]
    assert len(flat) <= LARGEST_FLAT, sorted(flat)


def test_the_shell_around_the_loop_reads_in_one_sitting() -> None:
    texts = [(ROOT / "lib" / "train" / name).read_text("utf-8") for name in SHELL]
    assert sum(len(text.splitlines()) for text in texts) <= ONE_SITTING


# The rule's own test, on small houses that are broken

GOOD = {
    "lib.__init__": "import os\nos.environ",
    "lib.shapes": "",
    "lib.attention": "from lib.shapes import require_sizes",
    "lib.models.__init__": "from lib.models.gpt import GPT",
    "lib.models.gpt": "import torch\nfrom lib import attention",
    "lib.models.__main__": "from lib.models import build_model",
}


def test_a_good_house_is_accepted() -> None:
    assert not direction_problems(GOOD) + circle_problems(GOOD)
    assert not environment_problems(GOOD)


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("lib.shapes", "from lib.attention import causal_mask", "from a row below"),
        ("lib.attention", "import lib.models.gpt", "from a row below"),
        ("lib.attention", "def f():\n    from lib.models import gpt", "a row below"),
        ("lib.utils", "", "stands in no row"),
        ("lib.models.presets", "import lib.models.__main__", "a command"),
    ],
)
def test_an_arrow_that_runs_up_is_found(module, source, words) -> None:
    problems = direction_problems(GOOD | {module: source})
    assert len(problems) == 1 and words in problems[0]


def test_a_circle_is_found() -> None:
    circle = GOOD | {"lib.models.gpt": "from lib.models import build_model"}
    found = circle_problems(circle)
    assert [text.split()[0] for text in found] == [
        "lib.models.__init__",
        "lib.models.gpt",
    ]
    own = GOOD | {"lib.shapes": "from lib.shapes import require_sizes"}
    assert len(circle_problems(own)) == 1


@pytest.mark.parametrize("source", ["import os\nos.getenv('X')", "environ['X']"])
def test_reading_the_environment_elsewhere_is_found(source) -> None:
    assert len(environment_problems(GOOD | {"lib.shapes": source})) == 1
