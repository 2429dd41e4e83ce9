"""Measure how long every notebook runs and how much memory it takes.

``python book/_tools/times.py`` runs all of them, one after the other, each in a process
of its own, and writes ``data/timings.json``, which the site shows and a test holds
against the limits. With names (``02_bigram`` or ``lessons/02_bigram``) it measures
these again and keeps the other records.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import nbclient
import nbformat
import psutil

ROOT = Path(__file__).resolve().parents[2]
TIMINGS = Path("data", "timings.json")
MAX_THREADS = 2  # as on the machine that the limits are meant for
PAUSE = 0.05  # seconds between two looks at the memory


def notebooks(root: Path = ROOT) -> dict[str, Path]:
    """Return every notebook by its short name, such as `lessons/02_bigram`."""
    return {
        f"{folder}/{path.stem}": path
        for folder in ("lessons", "solutions")
        for path in sorted((root / folder).glob("[0-9][0-9]_*.ipynb"))
    }


def run(path: Path) -> float:
    """Execute a notebook in its folder; return the seconds, kernel start included."""
    client = nbclient.NotebookClient(
        nbformat.read(path, as_version=4),
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    start = time.perf_counter()
    client.execute()
    return time.perf_counter() - start


def resident(process: psutil.Process) -> int:
    """Return the bytes that a process and all its children hold in memory now."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def measure(path: Path) -> dict[str, float]:
    """Run a notebook in a process of its own; return its seconds and peak megabytes.

    Raises:
        RuntimeError: if a cell fails; the message is what the run printed last.
    """
    threads = min(int(os.environ.get("OMP_NUM_THREADS", 1)), MAX_THREADS)
    command = [sys.executable, __file__, "--run", str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    peak = 0
    with tempfile.TemporaryFile() as log:
        process = psutil.Popen(command, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            peak = max(peak, resident(process))
            time.sleep(PAUSE)
        log.seek(0)
        said = log.read().decode("utf-8")
    if process.returncode:
        raise RuntimeError(f"{path.name} failed:\n{said}")
    seconds = float(said.splitlines()[-1])  # the last thing that --run prints
    return {"seconds": round(seconds, 1), "peak_mb": round(peak / 1e6)}


def machine() -> str:
    """Return what the times depend on, in words."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    cores = len(affinity(0)) if affinity else os.cpu_count()
    python = ".".join(platform.python_version_tuple()[:2])
    torch = version("torch").split("+")[0]
    return f"{cores} cores, Python {python}, torch {torch}"


def write(records: dict[str, dict], root: Path = ROOT) -> None:
    """Write the records, all or nothing, in the order of the course."""
    content = {
        "machine": machine(),
        "notebooks": {
            name: records[name] for name in notebooks(root) if name in records
        },
    }
    path = root / TIMINGS
    half = path.with_suffix(".tmp")
    half.write_text(json.dumps(content, indent=1) + "\n", "utf-8", newline="\n")
    os.replace(half, path)


def kept(root: Path = ROOT) -> dict[str, dict]:
    """Return the records of earlier runs, which must come from this kind of machine.

    Raises:
        ValueError: if they come from another.
    """
    if not (root / TIMINGS).exists():
        return {}
    old = json.loads((root / TIMINGS).read_text("utf-8"))
    if old["machine"] != machine():
        raise ValueError(
            f"the records are from {old['machine']!r} and this is {machine()!r}: "
            "times of two machines do not mix; measure all, without names"
        )
    return old["notebooks"]


def chosen(names: list[str], known: dict[str, Path]) -> list[str]:
    """Return the short names that the given names mean, all of them for none.

    Raises:
        ValueError: if a name means no notebook.
    """
    wanted = {name.removesuffix(".py").removesuffix(".ipynb") for name in names}
    lost = {w for w in wanted if not any(w in (k, k.split("/")[1]) for k in known)}
    if lost:
        raise ValueError(f"no notebook is called {', '.join(sorted(lost))}")
    return [k for k in known if not names or wanted & {k, k.split("/")[1]}]


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Measure the named notebooks or all, record and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="notebooks to measure again")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.run:
        print(run(options.run))
        return 0
    known = notebooks(root)
    try:
        records = kept(root) if options.names else {}
        for name in chosen(options.names, known):
            records[name] = measure(known[name])
            print(
                "{:<40}{seconds:>8.1f} s{peak_mb:>8} MB".format(name, **records[name])
            )
    except (RuntimeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    write(records, root)
    lessons = sum(r["seconds"] for n, r in records.items() if n.startswith("lessons/"))
    print(f"{'all lessons together':<40}{lessons:>8.1f} s   on {machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
