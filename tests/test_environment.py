"""The files that say what to install agree: pyproject, constraints, conda, workflows.

``pyproject.toml`` says which packages, ``constraints.txt`` which versions,
``environment.yml`` the same for conda and Binder, the workflows which Pythons.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from machines import MACHINES
from notebooks import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = "from-bigram-to-transformer"
TORCH = "2.13.0"  # newer ones bring CUDA packages to machines without a GPU
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]  # each of them on Linux
SYSTEMS = {"ubuntu-latest", "macos-latest", "windows-latest"}
# Modules of the browser tests, which other environments lack: module -> package.
NOT_INSTALLED = {"bs4": "beautifulsoup4"}
# Tools that print with Chromium run there, too.
PRINTERS = {"chromium.py", "paper.py", "pdf.py", "slides.py"}
PIN = re.compile(r"([a-z0-9][a-z0-9-]*)==(\d[\w.]*)")
EXTRAS = re.compile(r"\.\[([\w,]+)\]")
SCRIPT = re.compile(r"\b(?:book|tests)/[\w/]+\.py\b")
MAKE = re.compile(r"\bmake ([a-z]+)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.S)


def pyproject(root: Path) -> dict:
    """Return the project table of `pyproject.toml`."""
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


def extras(root: Path) -> dict[str, list[Requirement]]:
    """Return what each extra asks for."""
    table = pyproject(root)["optional-dependencies"]
    return {
        name: [Requirement(line) for line in lines] for name, lines in table.items()
    }


def pins(root: Path) -> dict[str, str]:
    """Return the version of each package in `constraints.txt`."""
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    return dict(match.groups() for line in lines if (match := PIN.fullmatch(line)))


def constraint_flaws(root: Path) -> Iterator[str]:
    """Yield lines that are no plain pins, and packages that are not pinned."""
    for line in (root / "constraints.txt").read_text("utf-8").splitlines():
        if not line.startswith("#") and not PIN.fullmatch(line):
            yield f"constraints.txt: {line!r} is not name==version"
    pinned, known = pins(root), extras(root)
    if pinned.get("torch") != TORCH:
        yield f"constraints.txt: torch is {pinned.get('torch')}, not {TORCH}"
    for extra, requirements in known.items():
        for wanted in requirements:
            name = canonicalize_name(wanted.name)
            if name == PROJECT:
                yield from (
                    f"{extra}: no extra {e}" for e in wanted.extras - set(known)
                )
            elif name not in pinned:
                yield f"{extra}: {name} is not in constraints.txt"
            elif pinned[name] not in wanted.specifier:
                yield f"{extra}: {wanted} but constraints.txt has {pinned[name]}"


def conda_flaws(root: Path) -> Iterator[str]:
    """Yield where `environment.yml` says something else than the two other files."""
    environment = yaml.safe_load((root / "environment.yml").read_text("utf-8"))
    if environment["channels"] != ["conda-forge", "nodefaults"]:
        yield f"environment.yml: channels {environment['channels']}"
    *packages, last = environment["dependencies"]
    conda = {p.split("=")[0]: p.split("=")[1:] for p in packages}
    supported = SpecifierSet(pyproject(root)["requires-python"])
    if conda.get("python", ["0"])[0] not in supported:
        yield f"environment.yml: python {conda.get('python')}"
    if conda.get("pytorch") != [pins(root).get("torch"), "cpu*"]:
        yield f"environment.yml: pytorch {conda.get('pytorch')}, not a pinned CPU build"
    constraints, *projects = last["pip"]
    if constraints != "-c constraints.txt":
        yield "environment.yml: pip does not begin with the constraints"
    if [EXTRAS.fullmatch(p) is not None for p in projects] != [True]:
        yield f"environment.yml: pip installs {projects}, not this project alone"
    asked = ",".join(EXTRAS.findall(" ".join(projects))).split(",")
    if missing := {"lessons", "lab", "test"} - set(asked):
        yield f"environment.yml: without {sorted(missing)}"


def jobs(root: Path) -> Iterator[tuple[str, dict]]:
    """Yield every job of the workflows with its name."""
    for path in sorted((root / ".github" / "workflows").glob("*.yml")):
        for name, job in yaml.safe_load(path.read_text("utf-8"))["jobs"].items():
            yield f"{path.name}, {name}", job


def matrix_gaps(matrix: dict, lowest: str) -> Iterator[str]:
    """Yield Pythons that are not tried on Linux, and systems without both ends."""
    left_out = {(e["os"], e["python"]) for e in matrix.get("exclude", [])}
    tried = {(o, p) for o in matrix["os"] for p in matrix["python"]} - left_out
    for version in PYTHONS:
        if ("ubuntu-latest", version) not in tried:
            yield f"Python {version} is not tried on ubuntu-latest"
    for system in matrix["os"]:
        for version in (lowest, PYTHONS[-1]):
            if (system, version) not in tried:
                yield f"Python {version} is not tried on {system}"


def workflow_flaws(root: Path) -> Iterator[str]:
    """Yield Pythons that are not supported, and Pythons and machines not tried."""
    supported = SpecifierSet(pyproject(root)["requires-python"])
    lowest = re.search(r"\d+\.\d+", str(supported))[0]
    for name, job in jobs(root):
        matrix = job.get("strategy", {}).get("matrix", {})
        chosen = [step.get("with", {}).get("python-version") for step in job["steps"]]
        for version in matrix.get("python", chosen):
            if version and "matrix" not in version and version not in supported:
                yield f"{name}: Python {version} is not supported"
        if "python" in matrix and lowest not in matrix["python"]:
            yield f"{name}: the lowest Python, {lowest}, is not tried"
        if "python" in matrix:
            yield from (f"{name}: {gap}" for gap in matrix_gaps(matrix, lowest))
        if "python" in matrix and set(matrix["os"]) != SYSTEMS:
            yield f"{name}: not all systems: {matrix['os']}"
        for machine in set(MACHINES) - {*matrix.get("machine", MACHINES)}:
            yield f"{name}: the machine {machine} is not tried"


def browser_tests(root: Path) -> list[Path]:
    """Return the tests that `make browser` runs, in the environment of the site."""
    files = sorted((root / "tests").glob("test_*.py"))
    return [
        p for p in files if "\npytestmark = pytest.mark.browser" in p.read_text("utf-8")
    ]


def browser_flaws(root: Path) -> Iterator[str]:
    """Yield browser tests that the Makefile or the workflow forgets."""
    for file in ("Makefile", ".github/workflows/tests.yml"):
        text = (root / file).read_text("utf-8")
        for path in browser_tests(root):
            if f"tests/{path.name}" not in text:
                yield f"{file} does not run {path.name}"


def command_flaws(root: Path) -> Iterator[str]:
    """Yield extras, make targets and scripts that are named and do not exist."""
    makefile = (root / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.M))
    texts = [root / name for name in FILES if name.endswith(".md")]
    texts += root.glob("book/*.md")
    recipes = [root / "Makefile", *root.glob(".github/workflows/*.yml")]
    for path in texts + recipes:
        text = path.read_text("utf-8")
        for extra in ",".join(EXTRAS.findall(text)).split(","):
            if extra and extra not in extras(root):
                yield f"{path.name}: there is no extra {extra}"
        if path in recipes:
            lost = {name for name in SCRIPT.findall(text) if not (root / name).exists()}
            yield from (f"{path.name}: there is no {name}" for name in sorted(lost))
        commands = " ".join(CODE.findall(text)) if path in texts else text
        if path.name != "Makefile":
            for target in set(MAKE.findall(commands)) - targets:
                yield f"{path.name}: there is no `make {target}`"


def imported(path: Path) -> Iterator[str]:
    """Yield the modules that a Python file imports, without Python's own."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module]
        yield from {name.split(".")[0] for name in names} - sys.stdlib_module_names


def scripts(root: Path, *folders: str) -> list[Path]:
    """Return the Python files of these folders."""
    return [p for folder in folders for p in sorted((root / folder).glob("*.py"))]


def import_flaws(root: Path) -> Iterator[str]:
    """Yield imports that the extra meant for them does not install."""
    owners, known = packages_distributions(), extras(root)
    given = {name: {canonicalize_name(r.name) for r in known[name]} for name in known}
    given["test"] |= given["lessons"]
    own = {p.stem for p in scripts(root, "tests", "book/_tools", "book/_ext")} | {"lib"}
    meant = [("lessons", path) for path in scripts(root, "lib", "lessons", "solutions")]
    meant += [("test", path) for path in scripts(root, "tests", "book/_tools")]
    browser = browser_tests(root)
    for extra, path in meant:
        if path in browser or path.name in PRINTERS:
            extra = "browser"
        for module in set(imported(path)) - own:
            names = owners.get(module, [NOT_INSTALLED.get(module, module)])
            owner = {canonicalize_name(name) for name in names}
            if not owner & given[extra]:
                yield f"{path.name} imports {module}: not in extra {extra}"


Check = Callable[[Path], Iterator[str]]
CHECKS = [
    constraint_flaws,
    conda_flaws,
    workflow_flaws,
    browser_flaws,
    command_flaws,
    import_flaws,
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_files_agree(check: Check) -> None:
    assert list(check(ROOT)) == []


# The tests' own tests: a copy of these files, and each way to break it.


FILES = [
    "pyproject.toml",
    "constraints.txt",
    "environment.yml",
    "Makefile",
    "README.md",
    "CONTRIBUTING.md",
    "MAINTAINING.md",
    "CHANGELOG.md",
]
LESSON = "lessons/09_small.py"
TESTS = ".github/workflows/tests.yml"
SITE = ".github/workflows/site.yml"
WEEKLY = ".github/workflows/weekly.yml"
BROWSER_TEST = "import pytest\n\npytestmark = pytest.mark.browser\n"
BROKEN = {  # for each check and file: what stands there, what instead, the complaint
    (constraint_flaws, "constraints.txt"): [
        ("torch==2.13.0", "torch==2.14.0", "torch is 2.14.0"),
        ("torch==2.13.0", "torch==2.13.0+cpu", "+cpu"),
        ("attrs==", "--index-url https://x.org\nattrs==", "x.org"),
        ("nbval==", "nbfalse==", "nbval is not in"),
    ],
    (constraint_flaws, "pyproject.toml"): [
        ('"tqdm>=', '"tqdm>=999', "tqdm>=999"),
        ("r[lessons]", "r[lesson]", "no extra lesson"),
    ],
    (conda_flaws, "environment.yml"): [
        ("pytorch=2.13.0", "pytorch=2.12.0", "2.12.0"),
        ("=cpu*", "", "not a pinned CPU build"),
        ("python=3.11", "python=3.10", "python ['3.10']"),
        ("-c constraints.txt", "numpy", "constraints"),
        (",lab", "", "without ['lab']"),
        ("nodefaults", "defaults", "channels"),
        ("      - .[", "      - rich\n      - .[", "rich"),
    ],
    (workflow_flaws, TESTS): [
        ('"3.11", "3', '"3', "the lowest Python"),
        ('["3.11"', '["3.11", "3.10"', "3.10 is not supported"),
        (", windows-latest", "", "not all systems"),
        (', "3.14"]', "]", "Python 3.14 is not tried on ubuntu-latest"),
        ("{os: macos-latest", "{os: ubuntu-latest", "Python 3.12 is not tried on"),
        ('windows-latest, python: "3.13', 'windows-latest, python: "3.14', "on win"),
    ],
    (workflow_flaws, WEEKLY): [("- jitter-2", "- jitter-1", "machine jitter-2 is not")],
    (workflow_flaws, SITE): [('"3.11"', '"3.9"', "3.9 is not supported")],
    (workflow_flaws, "pyproject.toml"): [(">=3.11", ">=3.12", "3.11 is not supported")],
    (browser_flaws, "Makefile"): [("tests/test_links.py ", "", "run test_links.py")],
    (browser_flaws, TESTS): [("tests/test_links.py\n", "\n", "run test_links.py")],
    (command_flaws, "README.md"): [
        ("make site", "make pages", "`make pages`"),
        (".[lessons,test]", ".[lessons,all]", "no extra all"),
    ],
    (command_flaws, "CONTRIBUTING.md"): [("make times", "make time", "`make time`")],
    (command_flaws, "Makefile"): [
        ('".[site]"', '".[pages]"', "no extra pages"),
        ("_tools/times.py", "_tools/clock.py", "there is no book/_tools/clock.py"),
    ],
    (import_flaws, LESSON): [
        ("import torch", "import yaml", "imports yaml"),
        ("import torch", "from no_such import part", "imports no_such"),
    ],
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the files that these checks read, with a lesson that imports torch."""
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    for name in SCRIPT.findall((ROOT / "Makefile").read_text("utf-8")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "tests" / "test_links.py").write_text(BROWSER_TEST, encoding="utf-8")
    (tmp_path / "lessons").mkdir()
    (tmp_path / LESSON).write_text("import torch\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("check", CHECKS)
def test_the_copy_agrees(copy: Path, check: Check) -> None:
    assert list(check(copy)) == []


@pytest.mark.parametrize(
    ("check", "name", "right", "wrong", "complaint"),
    [(*place, *case) for place, cases in BROKEN.items() for case in cases],
)
def test_each_disagreement_is_found(
    copy: Path, check: Check, name: str, right: str, wrong: str, complaint: str
) -> None:
    text = (copy / name).read_text("utf-8")
    assert right in text
    (copy / name).write_text(text.replace(right, wrong), encoding="utf-8")
    assert complaint in " · ".join(check(copy))
