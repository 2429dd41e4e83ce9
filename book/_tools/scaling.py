"""Train what lesson 22 compares: sizes, batches and lengths, and record the losses.

``python book/_tools/scaling.py`` writes ``data/scaling.json``. With names (``sizes``,
``batches``, ``lengths``) it trains these and keeps the other records.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, estimate_loss, train  # noqa: E402

RECORD = Path("data", "scaling.json")
SEEDS = range(3)
D_HEAD = 8  # a wider model has more heads
PARTS = dict(position="rotary", attention_bias=False, tie_weights=False, init="fan_in")

# Sizes: five widths, and a sixth that the law has not seen.
WIDTHS = (16, 24, 32, 48, 64, 96)
BASE = dict(n_layers=3, context_length=64) | PARTS
RECIPE = TrainConfig(
    400, 0.005, "muon", 0.01, schedule="linear", n_warmup=10, weight_decay=0.0
)
BATCH_SIZE = 16

# Batches: how many steps until a model is good enough.
SMALL = dict(d_model=32, n_heads=4, n_layers=2, d_ff=128, context_length=32) | PARTS
BATCHES = (8, 16, 32, 64, 128, 256)
FACTORS = (0.0005, 0.001, 0.002, 0.004)  # times the root of the batch: the rate
TARGET, EVERY, MOST_STEPS = 2.2, 5, 1_500
PAIR = range(2)  # of seeds

# Lengths: the same tokens in short rows first. Rows, tokens per row, and steps.
LENGTHS = {
    "64 throughout": [(16, 64, 400)],
    "16, 32, 64": [(64, 16, 130), (32, 32, 130), (16, 64, 140)],
}
LENGTHS_WIDTH = 64

Data = tuple[Tensor, Tensor]


def sizes(data: Data) -> dict:
    """Train every width with every seed."""
    runs = []
    for width in WIDTHS:
        losses = [one_length(data, width, LENGTHS["64 throughout"], s) for s in SEEDS]
        size = 12 * BASE["n_layers"] * width**2
        runs.append({"d_model": width, "n": size, "losses": losses})
        print(f"width {width}: {size:,} weights", *losses, flush=True)
    settings = {"base": BASE, "d_head": D_HEAD, "recipe": asdict(RECIPE)}
    settings |= {"batch_size": BATCH_SIZE}
    return settings | {"seeds": [*SEEDS], "runs": runs}


def lengths(data: Data) -> dict:
    """Train on rows of one length, and on rows that grow longer."""
    runs = {}
    for name, stages in LENGTHS.items():
        losses = [one_length(data, LENGTHS_WIDTH, stages, s) for s in SEEDS]
        runs[name] = {"stages": stages, "losses": losses}
        print(name, *losses, flush=True)
    return {"d_model": LENGTHS_WIDTH, "seeds": [*SEEDS], "runs": runs}


def one_length(data: Data, width: int, stages: list, seed: int) -> float:
    """Return the validation loss of one model after all stages of its training."""
    torch.manual_seed(seed)
    options = dict(d_model=width, n_heads=width // D_HEAD, d_ff=4 * width)
    model = GPT(GPTConfig(**options, **BASE))
    generator = torch.Generator().manual_seed(seed)
    ends, run = [], Training(model, RECIPE)
    for _, _, n in stages:
        ends.append(n + sum(ends[-1:]))
    assert ends[-1] == RECIPE.n_steps

    def next_batch() -> tuple[Tensor, Tensor]:
        stage = sum(run.n_done >= end for end in ends)
        return random_batch(data[0], *stages[stage][:2], generator)

    train(run, next_batch)
    return round(estimate_loss(model, data[1], BASE["context_length"]), 4)


def batches(data: Data) -> dict:
    """Count the steps to the target for every batch size and rate."""
    runs = {}
    for size in BATCHES:
        runs[size] = {}
        for factor in FACTORS:
            rate = round(factor * size**0.5, 5)
            steps = [steps_to_target(data, size, rate, seed) for seed in PAIR]
            runs[size][rate] = steps
            print(f"batch {size}, rate {rate}:", *steps, flush=True)
    settings = {"base": SMALL, "target": TARGET, "every": EVERY, "seeds": [*PAIR]}
    return settings | {"most_steps": MOST_STEPS, "runs": runs}


def steps_to_target(data: Data, size: int, rate: float, seed: int) -> int | None:
    """Return how many steps a model takes to the target, None if too many."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**SMALL))
    length = SMALL["context_length"]
    recipe = TrainConfig(MOST_STEPS, rate, schedule="constant", n_warmup=20)
    run, generator = Training(model, recipe), torch.Generator().manual_seed(seed)
    for _ in range(MOST_STEPS):
        run.step(random_batch(data[0], size, length, generator))
        held_out = data[1][: 512 * length + 1]
        if run.n_done % EVERY == 0 and estimate_loss(model, held_out, length) < TARGET:
            return run.n_done
    return None


def main(names: list[str]) -> None:
    """Train what is named and write the record, whole or not at all."""
    trainings: list[Callable[[Data], dict]] = [sizes, batches, lengths]
    work = {f.__name__: f for f in trainings}
    for name in names:
        if name not in work:
            sys.exit(f"{name!r} must be one of {[*work]}")
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    texts = split_text(corpus.text)
    data = tuple(torch.tensor(tokenizer.encode(text)) for text in texts)
    old = (ROOT / RECORD).read_text("utf-8") if (ROOT / RECORD).exists() else "{}"
    kept, record = json.loads(old), {"text": corpus.name}
    for name, train_all in work.items():
        again = not names or name in names
        record[name] = train_all(data) if again else kept.get(name)
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
