"""Stop trainings at many moments, in every way; show that nothing is lost or left.

``make kills`` runs it, for POSIX systems: a few minutes, most of them for the processes
that are stopped while they start. All others are forked from this one, which has
imported everything already. It ends with status 1 if anything is not as it should be.
"""

from __future__ import annotations

import hashlib
import os
import random as dice
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lib.command_line import run_command
from lib.train.__main__ import train_command
from lib.train.checkpoint import load_checkpoint

if sys.platform == "win32":
    sys.exit("it forks processes and sends them signals: Windows has neither")
import resource

ROOT = Path(__file__).parents[1]
N_STEPS = 60
TEXT = "To be, or not to be: that is the question.\n" * 45
SHORT = ["--preset", "demo", "--text", "text.txt", "--batch-size", "4"]
SHORT += ["--steps", str(N_STEPS), "--dropout", "0.1", "--device", "cpu"]
NAME = "checkpoint.safetensors"
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def start(folder: str, *words: str, limit: int = 0) -> int:
    """Train in a process that is forked from this one; return its number."""
    number = os.fork()
    if number:
        return number
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # as a shell starts a program
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    output = os.open(f"{folder}.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.stdout = open(1, "w", encoding="utf-8")
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace")
    sys.argv = ["lib.train", "--out", folder, *words]
    code: object = 0
    try:
        run_command(train_command)
    except SystemExit as end:
        code = end.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:  # never back into what this process is a copy of
        print(f"Traceback: {error!r}", file=sys.stderr)
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def status(number: int) -> int:
    """Wait for a process; return its status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def said(folder: str) -> str:
    """What the processes of a folder have said."""
    return Path(f"{folder}.txt").read_text("utf-8")


def end_of(folder: str) -> str:
    """A sum of all losses and weights of the run in a folder."""
    checkpoint = load_checkpoint(folder)
    total = hashlib.sha256(checkpoint.run["run.losses"].numpy().tobytes())
    for weight in checkpoint.model.parameters():
        total.update(weight.detach().numpy().tobytes())
    return f"{len(checkpoint.run['run.losses'])} {total.hexdigest()}"


def finish(folder: str, whole: str) -> list[str]:
    """Go on with a run to its end, or begin it; return what is not as it should be."""
    begun = Path(folder, NAME).exists()
    words = ["--resume"] if begun else SHORT
    problems = []
    if code := status(start(folder, *words)):
        problems.append(f"status {code} when it goes on: {said(folder)[-200:]!r}")
    elif end_of(folder) != whole:
        problems.append("it ends elsewhere")
    if (left := sorted(os.listdir(folder))) != [NAME]:
        problems.append(f"left behind: {left}")
    return problems


def stop_at(
    kind: str, moment: float, signals: list[int], whole: str, gap: float = 0.01
) -> list[str]:
    """Stop a run after so many seconds, and go on with it."""
    folder, problems = f"{kind}-{moment:.4f}", []
    number = start(folder, *SHORT, "--every", "1" if kind == "kill" else "25")
    time.sleep(moment)
    for each in signals:
        try:
            os.kill(number, each)
        except ProcessLookupError:
            break
        time.sleep(gap)
    code, first = status(number), signals[0]
    if first in STATUS and code not in (0, STATUS[first], -first):
        problems.append(f"status {code}: {said(folder)[-200:]!r}")
    if "Traceback" in said(folder):
        problems.append(said(folder)[-300:])
    if code == STATUS.get(first) and "stopped after step" in said(folder):
        step = said(folder).split("stopped after step ")[1].split(";")[0]
        if end_of(folder).split()[0] != step:
            problems.append(f"it says step {step}, and has {end_of(folder).split()[0]}")
    if not Path(folder).exists():
        return problems
    return problems + finish(folder, whole)


def stop_while_it_starts(moment: float, number: int) -> list[str]:
    """Stop a new Python after so many seconds: one line, and nothing left."""
    folder = f"start-{moment:.2f}"
    words = [sys.executable, "-m", "lib.train", *SHORT, "--out", folder]
    words[words.index("--steps") + 1] = "1000000"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    time.sleep(moment)
    run.send_signal(number)
    try:
        output = run.communicate(timeout=60)[0].decode()
    except subprocess.TimeoutExpired:
        run.kill()
        return [f"it goes on: {run.communicate()[0][-200:]!r}"]
    problems = []
    if run.returncode not in (STATUS[number], -number):
        problems.append(f"status {run.returncode}")
    if "Traceback" in output:
        problems.append(output[-300:])
    if Path(folder).exists() and sorted(os.listdir(folder)) != [NAME]:
        problems.append(f"left behind: {sorted(os.listdir(folder))}")
    return problems


def two_writers(number: int, whole: str) -> list[str]:
    """Two new runs in one folder, then two that go on: one of each pair is refused."""
    folder, problems = f"two-{number}", []
    pair = [start(folder, *SHORT, "--every", "1") for _ in range(2)]
    codes = sorted(status(each) for each in pair)
    if codes != [0, 1] or said(folder).count("error:") != 1:
        problems.append(f"statuses {codes}: {said(folder)[-300:]!r}")
    if end_of(folder) != whole:
        problems.append("it ends elsewhere")
    if (left := sorted(os.listdir(folder))) != [NAME]:
        problems.append(f"left behind: {left}")
    return problems


def full_disk(size: int, whole: str) -> list[str]:
    """A file may have so many bytes and no more: one line, the old file whole."""
    folder, problems = f"full-{size}", []
    code = status(start(folder, *SHORT, "--every", "1", limit=size))
    errors = [line for line in said(folder).splitlines() if line.startswith("error:")]
    if code != 1 or len(errors) != 1 or "Traceback" in said(folder):
        problems.append(f"status {code}: {said(folder)[-300:]!r}")
    if Path(folder).exists():
        if left := [name for name in os.listdir(folder) if name != NAME]:
            problems.append(f"left behind: {left}")
        problems += finish(folder, whole)
    return problems


def moments(n: int, seconds: float) -> list[float]:
    """So many moments of a run, spread evenly and shaken."""
    return [(i + dice.random()) * seconds / n for i in range(n)]


def main() -> int:
    """Try everything; return how many kinds have a problem."""
    begin = time.monotonic()
    assert status(start("whole", *SHORT, "--every", "1")) == 0, said("whole")
    seconds, whole = time.monotonic() - begin, end_of("whole")
    full = Path("whole", NAME).stat().st_size
    term, hang_up, key = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
    kinds: dict[str, list[Callable[[], list[str]]]] = {}

    def stops(kind: str, n: int, signals: list[int]) -> None:
        kinds[kind] = [
            lambda m=m: stop_at(kind, m, signals, whole) for m in moments(n, seconds)
        ]

    stops("kill", 30, [signal.SIGKILL])
    stops("term", 10, [term])
    stops("hang-up", 10, [hang_up])
    stops("ctrl-c", 10, [key])
    stops("ctrl-c-twice", 10, [key, key])
    stops("ctrl-c-five-times", 5, [key] * 5)
    stops("ctrl-c-then-term", 5, [key, term])
    kinds["two-writers"] = [lambda i=i: two_writers(i, whole) for i in range(5)]
    sizes = [2_000, full // 3, full - 200, full - 8]  # the last saves fail
    kinds["full-disk"] = [lambda s=s: full_disk(s, whole) for s in sizes]
    kinds["while-it-starts"] = [
        lambda m=m, s=s: stop_while_it_starts(m, s)
        for m, s in zip((0.2, 0.4, 0.8, 1.2, 1.6, 2.4), (key, key, key, key, term, key))
    ]
    bad = 0
    for kind, tries in kinds.items():
        problems = [problem for each in tries for problem in each()]
        print(f"{kind}: {len(tries)} tries, {len(problems)} problems", flush=True)
        for problem in problems:
            print(f"    {problem}")
        bad += bool(problems)
    return bad


if __name__ == "__main__":
    torch.set_num_threads(1)
    with TemporaryDirectory() as place:
        os.chdir(place)
        Path("text.txt").write_text(TEXT, "utf-8")
        n_bad = main()
        os.chdir(ROOT)
    sys.exit(bool(n_bad))
