"""Run tests and notebooks as other machines would, and say what differs.

``python book/_tools/machines.py`` does it for all machines; ``--only avx2 jitter-1``
names some. With notebooks or test files behind it, it runs just these. The machines are
emulated on this one (tests/emulation): other instructions, threads, number formats, the
rounding of another processor, other seeds. Where seeds differ, outputs are not
compared: what a lesson claims must hold all the same.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ["lessons", "solutions", "book/museum"]
UNIT_TESTS = ["tests"]


@dataclass(frozen=True)
class Machine:
    """An emulated machine.

    Attributes:
        says: what is different there, in words.
        changes: settings of tests/emulation/machine.py.
        variables: environment variables of PyTorch and its libraries.
        same_seeds: whether stored outputs are compared, and unit tests run, which
            rest on the very numbers that they draw.
    """

    says: str
    changes: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    same_seeds: bool = True


def _capped(aten: str, onednn: str, mkl: str) -> dict[str, str]:
    """Return the variables that keep three libraries to older instructions."""
    return {
        "ATEN_CPU_CAPABILITY": aten,
        "ONEDNN_MAX_CPU_ISA": onednn,
        "MKL_ENABLE_INSTRUCTIONS": mkl,
    }


MACHINES = {
    "avx2": Machine(
        "a laptop: AVX2, no bfloat16", "bfloat16=off", _capped("avx2", "AVX2", "AVX2")
    ),
    "default": Machine(
        "an old processor: SSE4", "bfloat16=off", _capped("default", "SSE41", "SSE4_2")
    ),
    "two-threads": Machine("two threads", variables={"OMP_NUM_THREADS": "2"}),
    "bfloat16-on": Machine("a processor with bfloat16", "bfloat16=on"),
    "bfloat16-off": Machine("a processor without bfloat16", "bfloat16=off"),
    "jitter-1": Machine("rounding of another machine", "jitter=1"),
    "jitter-2": Machine("rounding of a third machine", "jitter=2"),
    "seeds-1": Machine("seeds + 1000", "seeds=1000", same_seeds=False),
    "seeds-2": Machine("seeds + 2000", "seeds=2000", same_seeds=False),
}


def environment(machine: Machine) -> dict[str, str]:
    """Return the variables of a process that runs on such a machine."""
    path = [str(ROOT / "tests" / "emulation"), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | machine.variables
    env["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    if machine.changes:
        env["COURSE_MACHINE"] = machine.changes
    return env


def pytest_on(machine: Machine, arguments: list[str], workers: int) -> dict[str, str]:
    """Run pytest on a machine; return what failed, with the reason in one line.

    Raises:
        RuntimeError: if pytest did not come to its end.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}"]
        if workers > 1:
            command += ["-n", str(workers), "--dist", "loadfile"]
        done = subprocess.run(
            [*command, *arguments],
            cwd=ROOT,
            env=environment(machine),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        if done.returncode not in (0, 1):
            raise RuntimeError("\n".join(done.stdout.splitlines()[-20:]))
        return failures(ElementTree.parse(report).getroot())


def failures(report: ElementTree.Element) -> dict[str, str]:
    """Return the names of the failed tests of a JUnit report, with their reasons."""
    found = {}
    for case in report.iter("testcase"):
        for kind in ("failure", "error"):
            if (problem := case.find(kind)) is not None:
                name = f"{case.get('classname', '')}::{case.get('name')}"
                found[name] = _reason(problem.text or problem.get("message", ""))
    return found


def _reason(text: str) -> str:
    """Return the line of a long failure that says most."""
    text = re.sub(r"(\x1b|#x1B)\[[\d;]*m", "", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [s for s in lines if re.match(r"(E +)?\w*(Error|Exception)\b", s)]
    differences = [s for s in lines if re.match(r"(E +)?[-+] ", s)][:2]
    return " | ".join([*errors[-1:], *differences] or lines[:1])[:300]


def jobs(names: list[str], machine: Machine) -> list[list[str]]:
    """Return pytest's arguments for the named files, or for everything."""
    if not names:
        tests = [UNIT_TESTS] if machine.same_seeds else []
        return [*tests, ["--nbval", *NOTEBOOKS]]
    notebooks = [n for n in names if n.endswith(".ipynb") or n in NOTEBOOKS]
    tests = [n for n in names if n not in notebooks]
    return [j for j in (tests, ["--nbval", *notebooks] if notebooks else []) if j]


def run(name: str, names: list[str], workers: int) -> dict[str, str]:
    """Run everything on one machine; return what failed."""
    machine, found = MACHINES[name], {}
    for arguments in jobs(names, machine):
        if "--nbval" in arguments and not machine.same_seeds:
            arguments = ["--nbval-lax", *arguments[1:]]
        n_threads = int(machine.variables.get("OMP_NUM_THREADS", 1))
        found |= pytest_on(machine, arguments, max(1, workers // n_threads))
    return found


def main() -> int:
    """Run on the machines, print a table of what differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks (.ipynb) or test files")
    parser.add_argument("--only", nargs="+", choices=MACHINES, default=[*MACHINES])
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    options = parser.parse_args()
    results = {}
    for name in options.only:
        start = time.perf_counter()
        results[name] = found = run(name, options.names, options.workers)
        seconds = time.perf_counter() - start
        says = MACHINES[name].says
        print(f"{name:14} {says:30} {len(found):4} failed {seconds:7.0f} s", flush=True)
        for test, reason in found.items():
            print(f"    {test}\n        {reason}", flush=True)
    return int(any(results.values()))


if __name__ == "__main__":
    sys.exit(main())
