"""Train the models that lesson 21 compares, and record what each becomes.

``python book/_tools/experts.py`` writes ``data/experts.json``. All models read the same
batches in the same order, with the same seeds. The mixtures use as many parameters for
a token as the dense one; the last three are dense models that take about as long, or
hold about as many parameters. With names (``dense "more steps"``) it trains these and
keeps the other losses. The seconds are measured for all, a few steps of each in turn.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.moe import MoE  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import TrainConfig, Training, estimate_loss, train  # noqa: E402

RECORD = Path("data", "experts.json")
SEEDS = range(3)
BASE = dict(d_model=64, n_layers=2, n_heads=4, context_length=64, tie_weights=False)
BASE |= dict(position="rotary", norm="rms", attention_bias=False, init="fan_in")
EXPERTS = dict(n_experts=4, n_active=1, d_ff=256)
VARIANTS = {  # what it is made of, and its steps
    "dense": ({"d_ff": 258}, 1_000),  # 2 more are as many weights as a router
    "balance loss": (EXPERTS | {"balance_weight": 0.01}, 1_000),
    "bias": (EXPERTS | {"balance_weight": 0.0, "bias_rate": 0.001}, 1_000),
    "no balance": (EXPERTS | {"balance_weight": 0.0}, 1_000),
    "more steps": ({"d_ff": 258}, 1_300),
    "wider": ({"d_ff": 408}, 1_000),
    "as large": ({"d_ff": 1_026}, 1_000),
}
RECIPE = TrainConfig(
    n_steps=1_000,
    learning_rate=0.005,
    optimizer="muon",
    muon_learning_rate=0.01,
    schedule="linear",
)
BATCH_SIZE = 16
PARTS = {"losses": 4, "busiest": 3, "bits": 2}  # decimals that are kept
ROUNDS, STEPS = 9, 20  # in which the seconds are measured


def training_of(options: dict, n_steps: int, seed: int) -> Training:
    """Return a new model with its optimisers."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**(BASE | options)))
    return Training(model, replace(RECIPE, n_steps=n_steps))


def run(options: dict, n_steps: int, seed: int, ids: Tensor, held_out: Tensor) -> dict:
    """Train one model; return its sizes, its loss, and what its experts do."""
    training = training_of(options, n_steps, seed)
    model, length = training.model, BASE["context_length"]
    generator = torch.Generator().manual_seed(seed)
    train(training, lambda: random_batch(ids, BATCH_SIZE, length, generator))
    found = {"parameters": count_parameters(model), "active": active(model)}
    found |= {"losses": estimate_loss(model, held_out, length)}
    return found | habits(model, held_out[: 256 * length].view(-1, length))


def seconds(ids: Tensor) -> dict[str, float]:
    """Return the processor seconds of each model's training, from a few of its steps.

    All take turns, so that what else the machine does meets them alike.
    """
    batch = random_batch(ids, BATCH_SIZE, BASE["context_length"])
    runs = {name: training_of(*variant, 0) for name, variant in VARIANTS.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, training in runs.items():
            start = time.process_time()
            for _ in range(STEPS):
                training.step(batch)
            found[name].append((time.process_time() - start) / STEPS)
    return {name: median(each) * VARIANTS[name][1] for name, each in found.items()}


def active(model: GPT) -> int:
    """Return how many parameters one token uses."""
    mixtures = [part for part in model.modules() if isinstance(part, MoE)]
    idle = sum(
        count_parameters(part.experts) * (1 - part.n_active / len(part.experts))
        for part in mixtures
    )
    return count_parameters(model) - round(idle)


@torch.no_grad()
def habits(model: GPT, ids: Tensor) -> dict:
    """Return the load of the busiest expert, and what an expert says of a character.

    For each block the share of tokens, and the mutual information in bits.
    """
    model.eval()
    model(ids)
    busiest, bits = [], []
    for part in (p for p in model.modules() if isinstance(p, MoE)):
        joint = torch.zeros(len(part.experts), model.config.vocab_size)
        places = part.chosen[..., 0].flatten(), ids.flatten()
        joint.index_put_(places, torch.ones(ids.numel()), accumulate=True)
        joint /= joint.sum()
        alone = joint.sum(1, keepdim=True) * joint.sum(0)
        information = torch.xlogy(joint, joint) - torch.xlogy(joint, alone)
        busiest.append(joint.sum(1).max().item())
        bits.append(information.sum().item() / math.log(2))
    return {"busiest": busiest, "bits": bits} if busiest else {}


def kept(value: float | list[float], decimals: int) -> float | list[float]:
    """Return a number, or several, with so many decimals."""
    if isinstance(value, list):
        return [round(number, decimals) for number in value]
    return round(value, decimals)


def main(names: list[str]) -> None:
    """Train models with every seed and write the record, whole or not at all."""
    for name in names:
        if name not in VARIANTS:
            sys.exit(f"{name!r} must be one of {[*VARIANTS]}")
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    texts = split_text(corpus.text)
    ids, held_out = (torch.tensor(tokenizer.encode(text)) for text in texts)
    old = json.loads((ROOT / RECORD).read_text("utf-8"))["runs"] if names else {}
    runs = {name: old.get(name) for name in VARIANTS}
    found: dict[str, list[dict]] = {name: [] for name in names or VARIANTS}
    for seed in SEEDS:
        for name in found:
            one = run(*VARIANTS[name], seed, ids, held_out)
            found[name].append(one)
            print(f"{name:13} seed {seed}:", one, flush=True)
    for name, ones in found.items():
        options, n_steps = VARIANTS[name]
        runs[name] = {"options": options, "n_steps": n_steps}
        runs[name] |= {key: ones[0][key] for key in ("parameters", "active")}
        for key, decimals in PARTS.items():
            if key in ones[0]:
                runs[name][key] = [kept(one[key], decimals) for one in ones]
    for name, number in seconds(ids).items():
        runs[name]["seconds"] = round(number, 1)
        print(f"{name:13} {number:.1f} s", flush=True)
    record = {"text": corpus.name, "base": BASE, "recipe": asdict(RECIPE)}
    record |= {"batch_size": BATCH_SIZE, "seeds": [*SEEDS], "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
