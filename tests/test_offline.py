"""Rule 4: every lesson and solution runs as a plain script without network or display.

The scripts run with an empty cache, no `COURSE_DATA`, and every way to another machine
blocked (tests/emulation): they must come to their end on the stand-in and say so. Only
lib/text/corpus.py may try to fetch anything, and only from its own address.
"""

import ast
import os
import re
import site
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from cells import expect_none
from notebooks import ROOT, lesson_paths, pair_name, solution_paths
from small_lessons import complaint

AT_ONCE = 2  # scripts that run at the same time
NOTICE = "stand-in"
MACHINE = ("COURSE_DATA", "COURSE_OFFLINE", "DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")
HOMES = ("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME")
FETCHERS = {"aiohttp", "ftplib", "http", "httpx", "pooch", "requests", "socket"}
FETCHERS |= {"urllib", "urllib3"}
CORPUS = "lib/text/corpus.py"  # fetched by lessons, with a stand-in
# GPT-2 when a reader asks for it; the device knows where a cache lies, no more.
MAY_FETCH = {CORPUS, "lib/models/gpt2_files.py", "lib/device.py"}


@dataclass(frozen=True)
class Run:
    """How a script ended, what it wrote, and which hosts it tried to reach."""

    status: int
    text: str
    hosts: list[str]


def environment(folder: Path) -> dict[str, str]:
    """The variables of a machine without network, display, data or cache."""
    dropped = {name for name in os.environ if name.lower().endswith("_proxy")}
    env = {k: v for k, v in os.environ.items() if k not in dropped.union(MACHINE)}
    env |= {name: str(folder) for name in HOMES}
    env |= {"SOCKET_LOG": str(folder / "hosts.txt"), "PYTHONIOENCODING": "utf-8"}
    env["PYTHONPATH"] = str(ROOT / "tests" / "emulation")
    env["PYTHONUSERBASE"] = site.getuserbase()  # packages of the real home
    if sys.platform != "linux":  # elsewhere a display is always there
        env["MPLBACKEND"] = "agg"
    return env


def run_offline(script: Path, folder: Path) -> Run:
    """Run a script from the root of the course, on such a machine."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=300,
    )
    log = folder / "hosts.txt"
    hosts = log.read_text("utf-8").splitlines() if log.exists() else []
    return Run(done.returncode, done.stdout, hosts)


def run_all(scripts: Iterable[Path], folder: Path) -> dict[Path, Run]:
    """Run scripts offline, two at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {
            script: pool.submit(run_offline, script, folder / str(number))
            for number, script in enumerate(scripts)
        }
    return {script: run.result() for script, run in runs.items()}


def run_problems(name: str, source: str, run: Run, allowed: set[str]) -> list[str]:
    """What is wrong with a run; `allowed` are the hosts that may be tried."""
    problems = []
    if run.status:
        last = "\n".join(run.text.strip().splitlines()[-5:])
        problems.append(f"{name}: it failed without a network:\n{last}")
    reads_corpus = "load_corpus" in source
    if reads_corpus and NOTICE not in run.text:
        problems.append(f"{name}: it does not say that it uses the {NOTICE}")
    hosts = set(run.hosts) - (allowed if reads_corpus else set())
    return problems + [f"{name}: it tried to reach {host}" for host in sorted(hosts)]


def fetch_problems(name: str, source: str) -> list[str]:
    """Imports of modules that fetch; `name` is the path from the root."""
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.split(".")[0])
    found = sorted(imported & FETCHERS) if name not in MAY_FETCH else []
    return [f"{name}: it imports {module}" for module in found]


# The rule, on the course


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Run]:
    """One offline run of every lesson and solution."""
    scripts = lesson_paths() + solution_paths()
    return run_all(scripts, tmp_path_factory.mktemp("offline"))


@pytest.mark.offline  # minutes: `make scripts`
@pytest.mark.parametrize("script", lesson_paths() + solution_paths(), ids=pair_name)
def test_script_runs_offline(script: Path, runs: dict[Path, Run]) -> None:
    hosts = re.findall(r"https?://([^/\s\"]+)", (ROOT / CORPUS).read_text("utf-8"))
    source = script.read_text("utf-8")
    expect_none(run_problems(pair_name(script), source, runs[script], set(hosts)))


def test_only_the_corpus_and_gpt2_are_fetched() -> None:
    paths = [*sorted((ROOT / "lib").glob("*.py")), *lesson_paths(), *solution_paths()]
    names = [(path.relative_to(ROOT).as_posix(), path) for path in paths]
    found = [fetch_problems(name, path.read_text("utf-8")) for name, path in names]
    expect_none(sum(found, []))


# The rule's own test, on small broken scripts


def offline_problems(folder: Path, source: str, allowed: str = "") -> list[str]:
    """What is said about a script with this source."""
    script = folder / "script.py"
    script.write_text(source, encoding="utf-8")
    run = run_offline(script, folder / "run")
    return run_problems("script", source, run, {allowed})


def test_a_script_that_opens_a_socket_is_found(tmp_path: Path) -> None:
    source = "import socket\nsocket.create_connection(('192.0.2.1', 80), timeout=1)"
    failed, tried = offline_problems(tmp_path, source)
    assert "the test blocks the network: 192.0.2.1" in failed
    assert tried == "script: it tried to reach 192.0.2.1"


def test_a_swallowed_attempt_is_found_all_the_same(tmp_path: Path) -> None:
    source = (
        "import urllib.request\n"
        "try:\n    urllib.request.urlopen('http://data.invalid/')\n"
        "except OSError:\n    pass\n"
    )
    said = complaint(offline_problems(tmp_path, source))
    assert said == "script: it tried to reach data.invalid"


def test_only_the_corpus_may_be_tried(tmp_path: Path) -> None:
    lines = ["import socket", "try:", "    socket.getaddrinfo('data.invalid', 80)"]
    lines += ["except OSError:", "    print('load_corpus: the stand-in')"]
    source = "\n".join(lines)
    assert not offline_problems(tmp_path, source, allowed="data.invalid")


def test_a_silent_stand_in_is_found() -> None:
    said = complaint(run_problems("x", "load_corpus()", Run(0, "A play.", []), set()))
    assert said == "x: it does not say that it uses the stand-in"


def test_this_machine_may_be_reached(tmp_path: Path) -> None:
    source = (
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "socket.create_connection(server.getsockname(), timeout=5)\n"
    )
    assert not offline_problems(tmp_path, source)


def test_an_import_that_fetches_is_found() -> None:
    for line in ("import urllib.request", "from requests import get", "import pooch"):
        assert "it imports" in complaint(fetch_problems("lib/text/batches.py", line))
        assert not fetch_problems(CORPUS, line)
    assert not fetch_problems(
        "lib/text/batches.py", "from lib.text.corpus import load_corpus"
    )
