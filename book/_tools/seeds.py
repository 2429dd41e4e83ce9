"""Train the two small models that lesson 31 compares, with many seeds.

``python book/_tools/seeds.py`` writes ``data/seeds.json``: the validation losses of
both models, whose difference is small beside what a seed changes.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, estimate_loss, train  # noqa: E402

RECORD = Path("data", "seeds.json")
SEEDS = range(20)
BASE = dict(d_model=32, n_heads=4, n_layers=1, context_length=32, position="rotary")
MODELS = {"narrow": dict(d_ff=64), "wide": dict(d_ff=128)}
RECIPE = TrainConfig(n_steps=300, learning_rate=0.005, schedule="linear")
BATCH_SIZE = 16


def main() -> None:
    """Train both models with every seed and write the record, whole or not at all."""
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    ids, held_out = (
        torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
    )
    held_out = held_out[:40_000]
    runs = {name: {"losses": [], "seconds": 0.0} for name in MODELS}
    for seed in SEEDS:
        for name, options in MODELS.items():
            start = time.process_time()
            torch.manual_seed(seed)
            config = GPTConfig(vocab_size=tokenizer.vocab_size, **BASE, **options)
            model = GPT(config)
            generator = torch.Generator().manual_seed(1_000 * len(name) + seed)
            next_batch = lambda: random_batch(ids, BATCH_SIZE, 32, generator)
            train(Training(model, RECIPE), next_batch)
            loss = estimate_loss(model, held_out, 32)
            runs[name]["losses"].append(round(loss, 4))
            runs[name]["seconds"] += (time.process_time() - start) / len(SEEDS)
            runs[name]["parameters"] = count_parameters(model)
            print(f"{name:7} seed {seed}: {loss:.4f}", flush=True)
    for found in runs.values():
        found["seconds"] = round(found["seconds"], 1)
    record = {"text": corpus.name, "base": BASE, "models": MODELS}
    record |= {"recipe": asdict(RECIPE), "batch_size": BATCH_SIZE, "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main()
