"""Train the variants that lesson 19 compares, and record how good each becomes.

``python book/_tools/ablation.py`` writes ``data/ablation.json``. All variants have
about as many parameters as the first, the same batches in the same order, and the same
seeds. With names (``rotary "no biases"``) it trains these and keeps the other records.
"""

from __future__ import annotations

import json
import sys
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

RECORD = Path("data", "ablation.json")
SEEDS = range(6)
BASE = dict(d_model=64, n_layers=2, n_heads=4, d_ff=256, context_length=64)
BASE |= dict(tie_weights=False, init="fan_in")
VARIANTS = {  # what is changed, and the d_ff that gives back the parameters
    "GPT-2's parts": {},
    "RMSNorm": {"norm": "rms", "d_ff": 257},
    "sinusoidal": {"position": "sinusoidal", "d_ff": 272},
    "rotary": {"position": "rotary", "d_ff": 272},
    "SwiGLU": {"ffn": "swiglu", "d_ff": 172},
    "2 key heads": {"n_kv_heads": 2, "d_ff": 288},
    "1 key head": {"n_kv_heads": 1, "d_ff": 304},
    "QK-norm": {"qk_norm": True},
    "no biases": {"attention_bias": False, "d_ff": 258},
}
RECIPE = TrainConfig(n_steps=400, learning_rate=3e-3, n_warmup=40, weight_decay=0.1)
BATCH_SIZE = 16


def run(options: dict, seed: int, train_ids: torch.Tensor, held_out: torch.Tensor):
    """Train one model; return its number of parameters and its validation loss."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**(BASE | options)))
    generator, length = torch.Generator().manual_seed(seed), model.context_length

    def next_batch() -> tuple[torch.Tensor, torch.Tensor]:
        return random_batch(train_ids, BATCH_SIZE, length, generator)

    train(Training(model, RECIPE), next_batch)
    return count_parameters(model), estimate_loss(model, held_out, length)


def main(names: list[str]) -> None:
    """Train variants with every seed and write the record, whole or not at all."""
    for name in names:
        if name not in VARIANTS:
            sys.exit(f"{name!r} must be one of {[*VARIANTS]}")
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    texts = split_text(corpus.text)
    ids, held_out = (torch.tensor(tokenizer.encode(text)) for text in texts)
    kept = json.loads((ROOT / RECORD).read_text("utf-8"))["runs"] if names else {}
    runs = {}
    for name, options in VARIANTS.items():
        if names and name not in names:
            runs[name] = kept[name]
            continue
        found = [run(options, seed, ids, held_out) for seed in SEEDS]
        losses = [round(loss, 4) for _, loss in found]
        runs[name] = {"options": options, "parameters": found[0][0], "losses": losses}
        print(f"{name:14} {found[0][0]:,} parameters:", *losses, flush=True)
    record = {"text": corpus.name, "base": BASE, "recipe": asdict(RECIPE)}
    record |= {"batch_size": BATCH_SIZE, "seeds": [*SEEDS], "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
