"""Train the small models of lesson 28 on splits with and without leaks.

``python book/_tools/leaks.py`` writes ``data/leaks.json``: the share of test questions
that are answered right, for three seeds and several splits of the same texts. The
labels are random, so whatever is above chance has leaked.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.exact_match import exact_match  # noqa: E402
from lib.evaluate.losses import masked_loss  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.tasks.copies import LABELS, draw_copies  # noqa: E402
from lib.tasks.task import Example, encode_examples  # noqa: E402
from lib.text.duplicates import (  # noqa: E402
    group_numbers,
    near_duplicates,
    split_groups,
)
from lib.text.tokenizer import WordTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402

RECORD = Path("data", "leaks.json")
SEEDS = range(3)
DATA = dict(n_groups=120, n_copies=3, n_words=20, n_changes=2)
FINDERS = {  # how near duplicates are found before the texts are split
    "found, strict": dict(threshold=0.5, n=3, n_bands=32),
    "found, loose": dict(threshold=0.2, n=2, n_bands=64),
}
BASE = dict(d_model=64, n_heads=4, n_layers=2, d_ff=256, context_length=24)
RECIPE = TrainConfig(n_steps=200, learning_rate=0.003, schedule="linear")
BATCH_SIZE = 32
SPLITS = ("by text", *FINDERS, "planted")


def split(name: str, seed: int) -> tuple[list[Example], list[Example]]:
    """Return examples to learn from and to test with."""
    copies = draw_copies(**DATA, seed=seed)
    groups = list(range(len(copies)))
    if name == "planted":
        groups = [copy.group for copy in copies]
    if name in FINDERS:
        pairs = near_duplicates([copy.text for copy in copies], **FINDERS[name])
        groups = group_numbers(len(copies), pairs)
    examples = [Example(copy.text, copy.label) for copy in copies]
    sides = split_groups(groups, seed=seed)
    return tuple([examples[i] for i in side] for side in sides)


def run(name: str, seed: int) -> dict:
    """Train one model; return how often it is right."""
    start = time.process_time()
    known, test = split(name, seed)
    tokenizer = WordTokenizer([e.prompt for e in known + test] + [" ".join(LABELS)])
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **BASE))
    rng = random.Random(seed)
    next_batch = lambda: encode_examples(tokenizer, rng.sample(known, BATCH_SIZE))
    train(Training(model, RECIPE, masked_loss), next_batch)
    shares = [exact_match(model, *encode_examples(tokenizer, e)) for e in (known, test)]
    return {"seen": shares[0], "test": shares[1]} | {
        "seconds": time.process_time() - start
    }


def main() -> None:
    """Train with every seed and write the record, whole or not at all."""
    runs: dict[str, dict] = {}
    for name in SPLITS:
        each = [run(name, seed) for seed in SEEDS]
        runs[name] = {k: [round(one[k], 4) for one in each] for k in ("seen", "test")}
        runs[name]["seconds"] = round(sum(one["seconds"] for one in each) / 3, 1)
        print(f"{name:18}", runs[name], flush=True)
    record = {"data": DATA, "finders": FINDERS, "base": BASE}
    record |= {"recipe": asdict(RECIPE), "batch_size": BATCH_SIZE, "seeds": [*SEEDS]}
    draft = ROOT / RECORD.with_suffix(".draft")
    text = json.dumps(record | {"runs": runs}, indent=1)
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main()
