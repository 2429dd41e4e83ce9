"""Tune the shipped base model on plain prose in many ways, and record what comes of it.

``python book/_tools/fine_tuning.py`` writes ``data/fine_tuning.json``, which lessons 26
and 27 show. Every run starts from ``data/base.safetensors``, but for the one from
scratch, and reads the same batches in the same order for the same seed. With names
(``full "rank 4, alpha 8"``) it tunes these and keeps the others.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models import build_model  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.train import TrainConfig, Training, estimate_loss, train  # noqa: E402
from lib.train.checkpoint import load_checkpoint  # noqa: E402
from lib.tune.freezing import train_only, trainable_parameters  # noqa: E402
from lib.tune.lora import LoRAConfig, add_lora  # noqa: E402

BASE, PLAIN = Path("data", "base.safetensors"), Path("data", "plain.txt")
RECORD = Path("data", "fine_tuning.json")
SEEDS = range(3)
N_PLAIN = 20_000  # characters to tune on; the others are for the test
N_OLD = 25_601  # of Tiny Shakespeare's validation, to see what is forgotten
BATCH_SIZE = 8
RECIPE = TrainConfig(n_steps=100, schedule="linear", n_warmup=10)
LAST = ("blocks.3", "final_norm", "head")
HEAD = ("final_norm", "head")
RUNS: dict[str, tuple[float, tuple[str, ...] | LoRAConfig | None]] = {
    "full": (1e-3, None),
    "last block": (3e-3, LAST),
    "head": (5e-3, HEAD),
    "scratch": (3e-3, None),
    **{f"last block at {rate}": (rate, LAST) for rate in (3e-4, 1e-3)},
    **{f"head at {rate}": (rate, HEAD) for rate in (1e-3, 2e-2)},
    "rank 4, alpha 8": (5e-3, LoRAConfig(4, 8)),
    **{f"rank 4 at {rate}": (rate, LoRAConfig(4, 8)) for rate in (1e-3, 2e-3)},
    **{f"full at {rate}": (rate, None) for rate in (1e-4, 3e-4, 3e-3, 1e-2, 3e-2)},
    **{
        f"rank {rank}, alpha {alpha}": (5e-3, LoRAConfig(rank, alpha))
        for rank in (1, 4, 16)
        for alpha in (2, 8, 32)
        if (rank, alpha) != (4, 8)
    },
}
"""Learning rate; and the parts that learn, an adapter, or None for everything."""


def model_of(name: str, seed: int) -> nn.Module:
    """Return the model that a run trains, with all frozen that does not learn."""
    torch.manual_seed(seed)
    model, parts = load_checkpoint(ROOT / BASE).model, RUNS[name][1]
    if name == "scratch":
        model = build_model(model.config)
    if isinstance(parts, LoRAConfig):
        add_lora(model, parts)
    elif parts is not None:
        train_only(model, *parts)
    return model


def run(name: str, seed: int, texts: dict[str, Tensor]) -> dict:
    """Tune one model; return its losses before and after, and its seconds."""
    model = model_of(name, seed)
    length = model.context_length
    generator = torch.Generator().manual_seed(seed)
    training = Training(model, replace(RECIPE, learning_rate=RUNS[name][0]))
    start = time.process_time()
    train(
        training, lambda: random_batch(texts["learn"], BATCH_SIZE, length, generator)
    )
    seconds = time.process_time() - start
    found = {t: estimate_loss(model, texts[t], length) for t in ("new", "old")}
    learn = sum(p.numel() for p in trainable_parameters(model).values())
    return found | {"learn": learn, "seconds": seconds}


def main(names: list[str]) -> None:
    """Make every run with every seed and write the record, whole or not at all."""
    for name in names:
        if name not in RUNS:
            sys.exit(f"{name!r} must be one of {[*RUNS]}")
    base = load_checkpoint(ROOT / BASE)
    plain = (ROOT / PLAIN).read_text("utf-8")
    old = split_text(load_corpus().text)[1]
    texts = {"learn": plain[:N_PLAIN], "new": plain[N_PLAIN:], "old": old[:N_OLD]}
    ids = {t: torch.tensor(base.tokenizer.encode(text)) for t, text in texts.items()}
    kept = json.loads((ROOT / RECORD).read_text("utf-8"))["runs"] if names else {}
    length = base.model.context_length
    before = {t: round(estimate_loss(base.model, ids[t], length), 4) for t in texts}
    runs = {name: kept.get(name) for name in RUNS}
    found: dict[str, list[dict]] = {name: [] for name in names or RUNS}
    for name, ones in found.items():
        for seed in SEEDS:
            ones.append(run(name, seed, ids))
            print(f"{name:18} seed {seed}:", ones[-1], flush=True)
        runs[name] = {
            "rate": RUNS[name][0],
            "learn": ones[0]["learn"],
            "new": [round(one["new"], 4) for one in ones],
            "old": [round(one["old"], 4) for one in ones],
            "seconds": [round(one["seconds"], 1) for one in ones],
        }
    record = {"recipe": asdict(RECIPE), "batch_size": BATCH_SIZE, "seeds": [*SEEDS]}
    record |= {"before": before, "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
