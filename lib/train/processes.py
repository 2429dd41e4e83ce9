"""Functions of a notebook, called in several new processes that form a group."""

from __future__ import annotations

import ast
import linecache
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from inspect import isfunction, unwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

__all__ = ["in_processes"]

# What such a function may use besides the parts that are given with it.
PRELUDE = """
import sys
from pathlib import Path

sys.path.insert(0, {root!r})
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from lib.evaluate.losses import cross_entropy
from lib.models.gpt import GPT, GPTConfig
from lib.shapes import require_sizes
from lib.text.batches import random_batch
from lib.train.parallel import n_processes, rank
"""
MAIN = """
if __name__ == "__main__":
    torch.set_num_threads(1)
    number, folder = int(sys.argv[1]), Path(sys.argv[2])
    meeting = (folder / "meeting").as_uri()
    distributed.init_process_group("gloo", meeting, world_size={n}, rank=number)
    torch.save({name}(), folder / f"answer{{number}}")
    distributed.destroy_process_group()
"""


def in_processes(
    function: Callable[[], object], *parts: Callable, n: int = 2, seconds: float = 120
) -> list:
    """Call a function in several processes that form a group; return what each returns.

    New processes know nothing of a notebook: the code of the function and of its parts
    is written into a file, which they run. It works on every system.

    Args:
        function: of the notebook, without arguments; its value can be saved.
        parts: other functions and classes of the notebook that it calls.
        n: the number of processes.
        seconds: after so many they are ended.

    Raises:
        RuntimeError: with the last line of what a process said that has failed.
        ValueError: for a part whose code cannot be found.
    """
    code = [source_of(part) for part in (*parts, function)]
    root = str(Path(__file__).resolve().parents[2])
    code = [PRELUDE.format(root=root), *code, MAIN.format(n=n, name=function.__name__)]
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        script = Path(folder, "together.py")
        script.write_text("\n\n".join(code), "utf-8")
        _run([sys.executable, str(script)], folder, n, seconds)
        return [
            torch.load(Path(folder, f"answer{i}"), weights_only=False) for i in range(n)
        ]


def _run(words: list[str], folder: str, n: int, seconds: float) -> None:
    """Run a command n times at once, each with its number; all must end well."""
    reports = [Path(folder, f"report{i}") for i in range(n)]
    started = []
    try:
        for number, report in enumerate(reports):
            with report.open("w", encoding="utf-8") as file:
                command = [*words, str(number), folder]
                started.append(subprocess.Popen(command, stderr=file))
        end = time.monotonic() + seconds
        while None in (codes := [p.poll() for p in started]) and not any(codes):
            if time.monotonic() > end:
                raise RuntimeError(f"a process has not ended after {seconds} seconds")
            time.sleep(0.02)
        for process, report in zip(started, reports):
            if process.poll():
                said = report.read_text("utf-8", "replace").splitlines()
                errors = [line for line in said if "Error" in line] or said or ["?"]
                raise RuntimeError(f"a process failed: {errors[-1]}")
    finally:
        for process in started:
            process.kill()
            process.wait()


def source_of(part: Callable) -> str:
    """Return the code of a function or class, also of a cell of a notebook."""
    inner = [v for v in vars(part).values() if isfunction(v)] if _is_class(part) else []
    found = unwrap(inner[0] if inner else part)
    lines = linecache.getlines(found.__code__.co_filename)
    text = textwrap.dedent("".join(lines))
    for node in ast.parse(text).body:
        if getattr(node, "name", None) == part.__name__:
            return ast.get_source_segment(text, node)
    raise ValueError(f"the code of {part.__name__} cannot be found")


def _is_class(part: Callable) -> bool:
    return isinstance(part, type)
