"""Tune the shipped base model to tell lines with swapped letters from right ones.

``python book/_tools/classifier.py`` writes ``data/classifier.json``, which lesson 26
shows: a classifier head on the frozen base, with the last block, with everything, and
everything from random numbers, at three rates and with three seeds each.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models import build_model  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402
from lib.train.checkpoint import load_checkpoint  # noqa: E402
from lib.tune.freezing import train_only, trainable_parameters  # noqa: E402

BASE, PLAIN = Path("data", "base.safetensors"), Path("data", "plain.txt")
RECORD = Path("data", "classifier.json")
SEEDS = range(3)
N_PLAIN = 20_000  # characters whose lines are known; the others are for the test
BATCH_SIZE = 16
RATES = (3e-4, 1e-3, 3e-3)
LAST = ("body.blocks.3", "body.final_norm", "head")
RUNS: dict[str, tuple[str, ...]] = {
    "head": ("head",),
    "last block": LAST,
    "all": (),
    "all, scratch": (),
}
"""The parts that learn; nothing stands for all."""


class LineClassifier(nn.Module):
    """The mean of a model's last vectors, and two scores of it."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.body = copy.deepcopy(base)
        self.body.head = nn.Identity()
        self.head = nn.Linear(base.config.d_model, 2)

    def forward(self, ids: Tensor) -> Tensor:
        """Return scores (B, 2) for rows (B, T) that end in fillers of -1."""
        inside = (ids >= 0).unsqueeze(-1)
        vectors = self.body(ids.clamp(min=0)) * inside
        return self.head(vectors.sum(dim=1) / inside.sum(dim=1))


def swap_letters(line: str, rng: random.Random) -> str:
    """Swap two pairs of neighbouring letters."""
    letters, pairs = list(line), range(len(line) - 1)
    places = [i for i in pairs if line[i : i + 2].isalpha() and line[i] != line[i + 1]]
    for i in rng.sample(places, 2):
        letters[i], letters[i + 1] = letters[i + 1], letters[i]
    return "".join(letters)


def rows(text: str, seed: int, tokenizer: CharTokenizer) -> tuple[Tensor, Tensor]:
    """Return the lines of a text and their spoiled copies, and which are spoiled."""
    rng = random.Random(seed)
    lines = [line for line in text.split("\n") if len(line) >= 40]
    n = len(lines)
    lines += [swap_letters(line, rng) for line in lines]
    ids = torch.full((2 * n, max(map(len, lines))), -1)
    for row, line in zip(ids, lines, strict=True):
        row[: len(line)] = torch.tensor(tokenizer.encode(line))
    return ids, (torch.arange(2 * n) >= n).long()


def run(name: str, rate: float, seed: int, parts: dict) -> tuple[float, int]:
    """Train one classifier; return its share right on unseen lines, and its size."""
    torch.manual_seed(seed)
    base = load_checkpoint(ROOT / BASE).model
    if name.endswith("scratch"):
        base = build_model(base.config)
    model = LineClassifier(base)
    if RUNS[name]:
        train_only(model, *RUNS[name])
    ids, labels = parts["known"]
    generator = torch.Generator().manual_seed(seed)

    def next_batch() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(ids), (BATCH_SIZE,), generator=generator)
        return ids[chosen], labels[chosen]

    recipe = TrainConfig(100, rate, schedule="linear", n_warmup=10)
    train(Training(model, recipe), next_batch)
    ids, labels = parts["unseen"]
    with torch.no_grad():
        right = model.eval()(ids).argmax(dim=-1) == labels
    learn = sum(p.numel() for p in trainable_parameters(model).values())
    return right.double().mean().item(), learn


def main() -> None:
    """Make every run with every seed and write the record, whole or not at all."""
    tokenizer = load_checkpoint(ROOT / BASE).tokenizer
    plain = (ROOT / PLAIN).read_text("utf-8")
    parts = {
        "known": rows(plain[:N_PLAIN], 0, tokenizer),
        "unseen": rows(plain[N_PLAIN:], 1, tokenizer),
    }
    runs = []
    for name in RUNS:
        for rate in RATES:
            found = [run(name, rate, seed, parts) for seed in SEEDS]
            right = [round(share, 4) for share, _ in found]
            runs.append(dict(name=name, rate=rate, learn=found[0][1], right=right))
            print(runs[-1], flush=True)
    counts = {name: len(labels) for name, (_, labels) in parts.items()}
    record = {"batch_size": BATCH_SIZE, "n_steps": 100, "lines": counts, "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main()
