"""Train one small GPT from three starts, for lesson 10.

``python book/_tools/starts.py`` writes ``data/starts.json``: the validation losses
after a short training, for starts that differ in the standard deviation of the weights,
at two learning rates and with a warm-up.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.losses import cross_entropy  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import estimate_loss  # noqa: E402

RECORD = Path("data", "starts.json")
SEEDS = range(3)
MODEL = dict(d_model=64, n_heads=4, n_layers=3, d_ff=256, context_length=32)
MODEL |= dict(tie_weights=False)
LAST = ("out_proj.weight", "down.weight")
N_STEPS, BATCH_SIZE, HELD_OUT = 50, 16, 8_192
SETTINGS = [  # learning rate, steps of warm-up, standard deviations
    (0.002, 0, (0.02, 0.125, 1.0)),
    (0.005, 0, (0.02, 0.125)),
    (0.005, 20, (0.02, 0.125)),
]


def main() -> None:
    """Train all starts with every seed and write the record, whole or not at all."""
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    texts = [torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)]
    runs = []
    for rate, n_warmup, stds in SETTINGS:
        for std in stds:
            losses = [train_from(*texts, std, rate, n_warmup, s) for s in SEEDS]
            run = {"rate": rate, "n_warmup": n_warmup, "std": std, "losses": losses}
            runs.append(run)
            print(run, flush=True)
    record = {"text": corpus.name, "model": MODEL, "n_steps": N_STEPS}
    record |= {"batch_size": BATCH_SIZE, "held_out": HELD_OUT, "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


def train_from(train, validation, std, rate, n_warmup, seed) -> float:
    """Return the validation loss of one run, in nats per character."""
    torch.manual_seed(seed)
    model = initialise(GPT(GPTConfig(vocab_size=65, **MODEL)), std)
    batches = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.0, fused=True)
    for step in range(N_STEPS):
        optimizer.param_groups[0]["lr"] = rate * min(1, (step + 1) / max(1, n_warmup))
        inputs, targets = random_batch(train, BATCH_SIZE, 32, batches)
        loss = cross_entropy(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return round(estimate_loss(model, validation[:HELD_OUT], 32), 4)


@torch.no_grad()
def initialise(model: GPT, std: float) -> GPT:
    """Draw the weights as lesson 10 does."""
    for name, weight in model.named_parameters():
        if weight.dim() == 2:
            shrink = math.sqrt(2 * len(model.blocks)) if name.endswith(LAST) else 1
            nn.init.normal_(weight, std=std / shrink)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)
    return model


if __name__ == "__main__":
    main()
