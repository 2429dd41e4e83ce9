"""The page "From laptop to cluster": its commands run, and its numbers are reckoned."""

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lib.command_line import run_command
from lib.evaluate.scaling_laws import flops_per_token, training_bytes
from lib.models.presets import preset_config
from lib.train.__main__ import train_command

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "cluster.md").read_text("utf-8")
PROCESSES, ROWS, LENGTH = 8, 8, 1_024
PEAK, REACHED = 989e12, 0.4  # of an H100 in bfloat16


def commands(word: str) -> list[list[str]]:
    """The lines of the page that hold a word, to run here, in a short time."""
    lines = [line for line in PAGE.splitlines() if line.startswith(("torch", "python"))]
    return [shortened(line) for line in lines if word in line]


def shortened(line: str) -> list[str]:
    _, *words = shlex.split(line)
    small = [] if "--resume" in words else ["--every", "4", "--preset", "block"]
    return ["4" if word == "40" else word for word in words] + small


def last_loss(output: str) -> str:
    return re.findall(r"validation loss (\S+)", output)[-1]


def of_two(process: subprocess.Popen) -> str:
    """What processes say together that train and end well: one of them speaks."""
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    assert output.count("parameters on cpu") == output.count("validation loss") == 1
    return last_loss(output)


@pytest.fixture
def here(tmp_path, monkeypatch, capsys):
    """Run a command of the page in this process; return its last loss."""
    monkeypatch.chdir(tmp_path)

    def run(words: list[str]) -> str:
        assert words[:2] == ["-m", "lib.train"]
        monkeypatch.setattr(sys, "argv", words[1:])
        with pytest.raises(SystemExit) as end:
            run_command(train_command)
        assert not end.value.code
        return last_loss(capsys.readouterr().out)

    return run


def test_every_way_ends_with_the_same_loss(tmp_path, here) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    environment = {"PYTHONPATH": str(ROOT), "COURSE_QUIET": "1", "OMP_NUM_THREADS": "1"}

    def start(words: list[str]) -> subprocess.Popen:
        words = [port if word == "29500" else word for word in words]
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *words],
            cwd=tmp_path,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )

    nodes = [start(words) for words in commands("torchrun --nnodes 2 --node-rank")]
    (one,) = commands("python -m lib.train --preset mini --steps 40 --out runs/one")
    loss = here(one)
    assert of_two(nodes[0]) == loss
    silent, _ = nodes[1].communicate(timeout=240)  # but for warnings of PyTorch
    assert nodes[1].returncode == 0 and "validation loss" not in silent, silent
    two, again = commands("torchrun --nproc-per-node 2")
    assert of_two(start(two)) == loss
    assert os.listdir(tmp_path / "runs" / "two") == ["checkpoint.safetensors"]
    (alone,) = commands("python -m lib.train --out runs/two --resume")
    assert again == ["--nproc-per-node", "2", *alone]  # the same, by two
    assert here(alone) == loss


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
