"""The page "From laptop to cluster": its commands run, and its numbers are reckoned."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lib.evaluate.scaling_laws import flops_per_token, training_bytes
from lib.models.presets import preset_config

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "cluster.md").read_text("utf-8")
PROCESSES, ROWS, LENGTH = 8, 8, 1_024
PEAK, REACHED = 989e12, 0.4  # of an H100 in bfloat16


def commands(word: str) -> list[list[str]]:
    """The lines of the page that hold a word, to run here, in a short time."""
    lines = [line for line in PAGE.splitlines() if line.startswith(("torch", "python"))]
    return [shortened(line) for line in lines if word in line]


def shortened(line: str) -> list[str]:
    start, *words = shlex.split(line)
    run = [sys.executable, "-m", "torch.distributed.run"]
    small = [] if "--resume" in words else ["--every", "4", "--preset", "block"]
    words = ["4" if word == "40" else word for word in words]
    return [*(run if start == "torchrun" else [sys.executable]), *words, *small]


def last_loss(process: subprocess.Popen) -> str:
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    return re.findall(r"validation loss (\S+)", out)[-1]


def test_every_way_ends_with_the_same_loss(tmp_path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    environment = {"PYTHONPATH": str(ROOT), "COURSE_QUIET": "1", "OMP_NUM_THREADS": "1"}

    def start(command: list[str]) -> subprocess.Popen:
        return subprocess.Popen(
            [port if word == "29500" else word for word in command],
            cwd=tmp_path,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    (one,) = commands("--out runs/one")
    (two,) = [c for c in commands("--out runs/two") if "--resume" not in c]
    nodes = [start(command) for command in commands("--nnodes 2 --node-rank")]
    first = last_loss(nodes[0])
    nodes[1].communicate(timeout=240)
    assert nodes[1].returncode == 0
    assert first == last_loss(start(two)) == last_loss(start(one))
    for command in [c for c in commands("--resume") if "runs/two" in c]:
        assert last_loss(start(command)) == first


def test_the_bytes_are_those_of_the_library() -> None:
    config = preset_config("gpt2-xl")
    parts = training_bytes(config, ROWS)
    whole = {name: parts[name] for name in ("weights", "gradients", "optimizer")}
    cut = {"ddp": (), "zero1": ("optimizer",), "fsdp": tuple(whole)}
    for way, names in cut.items():
        sizes = [n / (PROCESSES if k in names else 1) for k, n in whole.items()]
        cells = " | ".join(f"{n / 1e9:.1f} GB" for n in [*sizes, sum(sizes)])
        assert f"| `{way}` | {cells} |" in PAGE
    lean = training_bytes(config, ROWS, recompute=True)
    assert f"process {parts['activations'] / 1e9:.1f} GB, and" in PAGE
    assert f"{lean['activations'] / 1e9:.1f} GB with `--recompute`" in PAGE
    assert f"{parts['weights'] / 4 / 1e9:.2f} billion parameters" in PAGE


def test_the_times_follow_from_operations_and_bytes() -> None:
    config = preset_config("gpt2-xl")
    sent = 2 * (PROCESSES - 1) / PROCESSES * training_bytes(config, ROWS)["gradients"]
    assert f"processes that is {sent / 1e9:.1f} GB" in PAGE
    for speed in (1.25, 50, 450):
        row = rf"\| {speed} GB \| {sent / speed / 1e9:.{1 if speed < 2 else 2}f} s \|"
        assert re.search(row, PAGE)
    work = flops_per_token(config) * ROWS * LENGTH
    assert f"{work / 1e12:.0f} trillion" in PAGE
    assert f"takes {work / PEAK / REACHED:.2f} s" in PAGE


def test_the_length_of_a_training() -> None:
    config = preset_config("gpt2")
    n = training_bytes(config, 1)["weights"] / 4
    each, n_tokens = flops_per_token(config), 20 * n
    assert f"{n / 1e6:.0f} million parameters" in PAGE
    assert f"takes {each / 1e6:.0f} million per token" in PAGE
    assert f"{n_tokens / 1e9:.1f} billion, that is" in PAGE
    assert rf"${each * n_tokens / 1e18:.1f} \cdot 10^{{18}}$" in PAGE
    minutes = each * n_tokens / (8 * PEAK * REACHED) / 60
    assert f"eight H100 at 40%: {minutes:.0f} minutes" in PAGE
    years = each * n_tokens / 50e9 / (365 * 86_400)
    assert f"it is {years:.1f} years" in PAGE


@pytest.mark.parametrize("old, new", [("24.9", "24.8"), ("0.21 s", "0.12 s")])
def test_a_wrong_number_is_noticed(monkeypatch, old: str, new: str) -> None:
    monkeypatch.setitem(globals(), "PAGE", PAGE.replace(old, new))
    with pytest.raises(AssertionError):
        test_the_bytes_are_those_of_the_library()
        test_the_times_follow_from_operations_and_bytes()
