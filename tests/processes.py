"""Two processes that work together, forked from one that has loaded the library."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from torch import distributed
from torch.multiprocessing import start_processes

LOADED = ["torch._dynamo", "lib.train.run", "lib.train.spread"]  # slow to load
METHOD = "forkserver" if sys.platform == "linux" else "spawn"


def begin_process(function: Callable, *arguments: object) -> BaseProcess:
    """Call a function of a test in a process of its own."""
    multiprocessing.set_forkserver_preload(LOADED)
    process = multiprocessing.get_context(METHOD).Process(
        target=function, args=arguments
    )
    process.start()
    return process


def in_two_processes(function: Callable, folder: str) -> None:
    """Call a function with 0 and 1, and a folder, in processes that form a group."""
    multiprocessing.set_forkserver_preload(LOADED)
    start_processes(_member, (function, folder), nprocs=2, start_method=METHOD)


def _member(number: int, function: Callable, folder: str) -> None:
    meeting = Path(folder, "meeting").as_uri()
    distributed.init_process_group("gloo", meeting, world_size=2, rank=number)
    function(number, folder)
    distributed.destroy_process_group()
