"""Train the same small GPT on characters and on byte pairs, for lesson 14.

``python book/_tools/tokens.py`` writes ``data/tokens.json``: losses per character of
three models that have the same blocks and as much processor time. The number of steps
follows from the time of one step, which is measured in turns, so that a busy machine
slows all of them alike. All use the rates of lesson 11, which were found for
characters.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.bpe import BPETokenizer  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import Training, estimate_loss, train  # noqa: E402
from lib.train.settings import TrainConfig  # noqa: E402

RECORD = Path("data", "tokens.json")
SEEDS = range(3)
BASE = dict(d_model=64, n_heads=4, n_layers=2, d_ff=256, position="rotary")
BASE |= dict(attention_bias=False, tie_weights=False, init="fan_in")
RECIPE = TrainConfig(  # of lesson 11
    520, 0.01, "muon", 0.02, 0.05, momentum=0.9, rounds=3, schedule="linear",
    n_warmup=10, clip=0.1,
)  # fmt: skip
MODELS = {  # vocabulary, tokens of context, rows of a batch
    "characters": (65, 64, 12),
    "characters, longer": (65, 144, 5),
    "byte pairs": (1_024, 64, 12),
}
ROUNDS = 60


class Contender:
    """One of the models, with its tokenizer and its texts."""

    def __init__(self, name: str) -> None:
        vocab_size, self.context, self.rows = MODELS[name]
        corpus = load_corpus()
        self.text, self.held_out = split_text(corpus.text)
        self.tokenizer = CharTokenizer(corpus.text)
        if vocab_size > 65:
            self.tokenizer = BPETokenizer.train(self.text, vocab_size)
        self.config = GPTConfig(vocab_size, context_length=self.context, **BASE)

    def ids(self, text: str) -> torch.Tensor:
        """Return a text as ids."""
        return torch.tensor(self.tokenizer.encode(text))

    def start(self, ids: torch.Tensor, recipe: TrainConfig, seed: int):
        """Return a new training and what draws its batches."""
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        draw = lambda: random_batch(ids, self.rows, self.context, generator)
        return Training(GPT(self.config), recipe), draw

    def losses(self, text: str, other: str, recipe: TrainConfig, seed: int) -> dict:
        """Train on one text; return nats per token and per character of another."""
        training, draw = self.start(self.ids(text), recipe, seed)
        began = time.process_time()
        train(training, draw)
        seconds = time.process_time() - began
        targets = self.ids(other)
        loss = estimate_loss(training.model, targets, self.context)
        per_character = loss * len(targets) / len(other)
        return {"token": loss, "character": per_character, "seconds": seconds}


def time_steps(contenders: dict[str, Contender]) -> dict[str, float]:
    """Return the processor seconds of one step, the middle one of many in turns."""
    started = {
        name: c.start(c.ids(c.text[:100_000]), RECIPE, 0)
        for name, c in contenders.items()
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (training, draw) in started.items():
            began = time.process_time()
            training.step(draw())
            times[name].append(time.process_time() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def describe(contender: Contender, n_steps: int, step_seconds: float) -> dict:
    """Return what a model is, before it is trained."""
    n_tokens = len(contender.ids(contender.held_out))
    return {
        "vocab_size": contender.config.vocab_size,
        "context": contender.context,
        "rows": contender.rows,
        "parameters": count_parameters(GPT(contender.config)),
        "characters_per_token": round(len(contender.held_out) / n_tokens, 3),
        "steps": n_steps,
        "step_ms": round(1_000 * step_seconds, 1),
    }


def record_losses(contenders: dict[str, Contender]) -> None:
    """Train every model with every seed."""
    times = time_steps(contenders)
    runs = {}
    for name, contender in contenders.items():
        n_steps = round(RECIPE.n_steps * times["characters"] / times[name])
        runs[name] = describe(contender, n_steps, times[name])
        runs[name] |= {"per_token": [], "per_character": [], "seconds": []}
    for seed, (name, contender) in product(SEEDS, contenders.items()):
        recipe = replace(RECIPE, n_steps=runs[name]["steps"])
        text, held_out = contender.text, contender.held_out
        found = contender.losses(text, held_out, recipe, seed)
        runs[name]["per_token"].append(round(found["token"], 4))
        runs[name]["per_character"].append(round(found["character"], 4))
        runs[name]["seconds"].append(round(found["seconds"], 1))
        print(seed, name, runs[name], flush=True)
    record = {"text": load_corpus().name, "base": BASE, "recipe": asdict(RECIPE)}
    record["processor"] = torch.backends.cpu.get_cpu_capability()
    write(record | {"seeds": [*SEEDS], "runs": runs})


def write(record: dict) -> None:
    """Write the record, whole or not at all."""
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    record_losses({name: Contender(name) for name in MODELS})
