"""Train the models that lesson 20 compares, and record what they reach.

``python book/_tools/long_context.py`` writes ``data/long_context.json``: the losses of
models whose caches differ in size, with about as many parameters each, the same batches
and the same seeds; and the losses of models that read four times the length that they
were trained on. With names (``"window 16" learned``) it trains these and keeps the
other records.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.position import RotaryScaling  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, estimate_loss, train  # noqa: E402

RECORD = Path("data", "long_context.json")
SEEDS = range(3)
TRAINED, LONGEST, BUCKET = 64, 256, 32  # tokens: trained on, read, averaged together
BASE = dict(d_model=64, n_layers=2, n_heads=4, d_ff=256, context_length=TRAINED)
BASE |= dict(position="rotary", tie_weights=False, init="fan_in")
RECIPE = TrainConfig(n_steps=400, learning_rate=3e-3, n_warmup=40, weight_decay=0.1)
BATCH_SIZE = 16
ROTARY = "4 key heads"  # the model that the others are compared with
CACHES = {  # what changes the cache; the width of the feed-forward network follows
    ROTARY: {},
    "2 key heads": {"n_kv_heads": 2},
    "1 key head": {"n_kv_heads": 1},
    "latent 56": {"kv_rank": 56},
    "latent 24": {"kv_rank": 24},
    "window 16": {"window": 16},
    "window 16, every 2nd full": {"window": 16, "full_every": 2},
    "window 4": {"window": 4},
}
TABLES = ("learned", "sinusoidal")  # positions that are added
YARN = RotaryScaling(4.0, 1.0, 4.0, TRAINED, gain=0.1 * math.log(4) + 1)
READINGS = {  # how a model with rotary positions may read a longer text
    "rotary": {},
    "interpolated": {"rotary_scaling": RotaryScaling(4.0)},
    "YaRN": {"rotary_scaling": YARN},
    "window": {"window": TRAINED},
}


def matched(options: dict) -> dict:
    """Return options with the d_ff that comes nearest to the parameters of the base."""
    wanted, d_ff = count_parameters(GPT(GPTConfig(**BASE))), BASE["d_ff"]
    own, one_more = (
        count_parameters(GPT(GPTConfig(**BASE | options | {"d_ff": d_ff + step})))
        for step in (0, 1)
    )
    return options | {"d_ff": d_ff + round((wanted - own) / (one_more - own))}


def trained(options: dict, seed: int, ids: torch.Tensor) -> GPT:
    """Return a trained model."""
    torch.manual_seed(seed)
    model, generator = GPT(GPTConfig(**BASE | options)), torch.Generator()
    generator.manual_seed(seed)

    def next_batch() -> tuple[torch.Tensor, torch.Tensor]:
        return random_batch(ids, BATCH_SIZE, TRAINED, generator)

    train(Training(model, RECIPE), next_batch)
    return model


@torch.no_grad()
def cache_bytes(config: GPTConfig) -> int:
    """Fill the cache of a text of the trained length, and measure it."""
    model = GPT(config)
    caches = model.new_cache()
    model(torch.zeros(1, TRAINED, dtype=torch.long), caches)
    return sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)


@torch.no_grad()
def losses_by_place(model: GPT, held_out: torch.Tensor, **changes) -> list[float]:
    """Return the mean loss of each 32 positions of a longer text."""
    config = dataclasses.replace(model.config, context_length=LONGEST, **changes)
    longer = GPT(config).eval()
    longer.load_state_dict(model.state_dict())
    n_windows = (len(held_out) - 1) // LONGEST
    windows = held_out[: n_windows * LONGEST].view(-1, LONGEST)
    targets = held_out[1 : n_windows * LONGEST + 1].view(-1, LONGEST)
    sums = torch.zeros(LONGEST)
    for some, wanted in zip(windows.split(32), targets.split(32), strict=True):
        losses = F.cross_entropy(longer(some).mT, wanted, reduction="none")
        sums += losses.sum(dim=0)
    means = (sums / n_windows).view(-1, BUCKET).mean(dim=1)
    return [round(loss, 4) for loss in means.tolist()]


def run(name: str, ids: torch.Tensor, held_out: torch.Tensor) -> tuple[dict, dict]:
    """Train one kind of model with every seed; return its record and its readings."""
    options = matched(CACHES[name]) if name in CACHES else {"position": name}
    if name == "learned":  # the table must have rows to look up, also untrained ones
        options["context_length"] = LONGEST
    losses, places = [], {}
    for seed in SEEDS:
        model = trained(options, seed, ids)
        losses.append(round(estimate_loss(model, held_out, TRAINED), 4))
        readings = {name: {}} if name in TABLES else READINGS if name == ROTARY else {}
        for reading, changes in readings.items():
            found = losses_by_place(model, held_out, **changes)
            places.setdefault(reading, []).append(found)
    record = {"options": options, "parameters": count_parameters(model)}
    record |= {"bytes": cache_bytes(model.config), "losses": losses}
    return record, places


def write(record: dict) -> None:
    """Write the record, whole or not at all."""
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


def main(names: list[str]) -> None:
    """Train with every seed, and write what was found after each kind of model."""
    for name in names:
        if name not in (*CACHES, *TABLES):
            sys.exit(f"{name!r} must be one of {[*CACHES, *TABLES]}")
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    texts = split_text(corpus.text)
    ids, held_out = (torch.tensor(tokenizer.encode(text)) for text in texts)
    record = {"text": corpus.name, "base": BASE, "recipe": asdict(RECIPE)}
    record |= {"batch_size": BATCH_SIZE, "seeds": [*SEEDS], "bucket": BUCKET}
    kept = json.loads((ROOT / RECORD).read_text("utf-8")) if names else {}
    record |= {"caches": kept.get("caches", {}), "places": kept.get("places", {})}
    for name in names or (*CACHES, *TABLES):
        found, places = run(name, ids, held_out)
        if name in CACHES:
            record["caches"][name] = found
        record["places"] |= places
        print(name, found["parameters"], found["bytes"], *found["losses"], flush=True)
        write(record)


if __name__ == "__main__":
    main(sys.argv[1:])
