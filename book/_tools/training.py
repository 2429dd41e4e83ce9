"""Train the models that lesson 11 compares, with three seeds each.

``python book/_tools/training.py`` writes ``data/training.json``: the losses of one rate
after the other, of the settings that were tried for AdamW and for Muon, of the best of
each, and of one and three blocks in the plain loop and with the recipe. With names,
such as ``rates`` or ``blocks``, it measures only these parts again.

Settings are chosen by the loss on the last characters of the training text, which those
runs do not train on. The runs that are reported train on all of it, and are judged on
the validation split, which no choice has seen.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, replace
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

RECORD = Path("data", "training.json")
SEEDS = range(3)
ROWS, CONTEXT = 12, 64
SMALL = GPTConfig(
    65, d_model=64, n_heads=4, n_layers=2, d_ff=256, context_length=CONTEXT,
    position="rotary", attention_bias=False, tie_weights=False, init="fan_in",
)  # fmt: skip
MUON = TrainConfig(
    520, 0.01, "muon", 0.02, 0.05, momentum=0.9, rounds=3, schedule="linear",
    n_warmup=10, clip=0.1,
)  # fmt: skip
ADAMW = replace(MUON, optimizer="adamw", clip=1.0)
LOOP = TrainConfig(200, 0.003, betas=(0.9, 0.999), schedule="constant", clip=None)
KEPT_FOR_CHOICES = 50_000  # characters at the end of the training text
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
OF_MATRICES = {"adamw": (0.003, 0.006, 0.012), "muon": (0.01, 0.02, 0.04)}
OF_TABLES = (0.01, 0.05)

Split = tuple[Tensor, Tensor]


def run(settings: TrainConfig, model: GPTConfig, split: Split, seed: int) -> float:
    """Return the loss of one run on the second part of a split."""
    torch.manual_seed(seed)
    training = Training(GPT(model), settings)
    generator = torch.Generator().manual_seed(seed)
    train(training, lambda: random_batch(split[0], ROWS, CONTEXT, generator))
    return round(estimate_loss(training.model, split[1], CONTEXT, 64), 4)


def rates(choosing: Split) -> dict:
    """The loss after sixty steps at each rate."""
    one_block, settings = replace(SMALL, n_layers=1), TrainConfig(60, clip=None)
    losses = {
        str(rate): [
            run(replace(settings, learning_rate=rate), one_block, choosing, seed)
            for seed in SEEDS
        ]
        for rate in RATES
    }
    return {"settings": asdict(settings), "n_layers": 1, "losses": losses}


def tuning(choosing: Split) -> dict:
    """The loss of each setting that is tried, six for each optimiser, one seed."""
    tried = {}
    for name, base in (("adamw", ADAMW), ("muon", MUON)):
        knob = "learning_rate" if name == "adamw" else "muon_learning_rate"
        tried[name] = [
            {knob: rate, "embedding_learning_rate": table}
            for rate in OF_MATRICES[name]
            for table in OF_TABLES
        ]
        for setting in tried[name]:
            settings = replace(base, n_steps=260, **setting)
            setting["loss"] = run(settings, SMALL, choosing, seed=100)
            print(name, setting, flush=True)
    return tried


def final(reported: Split, tried: dict) -> dict:
    """The loss on the whole validation split with the best setting of each."""
    found = {}
    for name, base in (("adamw", ADAMW), ("muon", MUON)):
        best = min(tried[name], key=lambda setting: setting["loss"])
        settings = replace(base, **{k: v for k, v in best.items() if k != "loss"})
        losses = [run(settings, SMALL, reported, seed) for seed in SEEDS]
        found[name] = {"settings": asdict(settings), "losses": losses}
        print(name, losses, flush=True)
    return found


def blocks(reported: Split, n_steps: int = 200) -> dict:
    """The losses of one and of three blocks, in the plain loop and with the recipe."""
    ways = {"plain loop": LOOP, "recipe": replace(MUON, n_steps=n_steps)}
    found = {}
    for way, settings in ways.items():
        for n_layers in (1, 3):
            model = replace(SMALL, n_layers=n_layers)
            losses = [run(settings, model, reported, seed) for seed in SEEDS]
            found[f"{way}, {n_layers}"] = losses
            print(way, n_layers, losses, flush=True)
    return {"settings": {w: asdict(s) for w, s in ways.items()}, "losses": found}


def main() -> None:
    """Measure all parts or those that are named; write the record after each."""
    corpus = load_corpus()
    tokenizer = CharTokenizer(corpus.text)
    text, held_out = (
        torch.tensor(tokenizer.encode(part)) for part in split_text(corpus.text)
    )
    choosing = text[:-KEPT_FOR_CHOICES], text[-KEPT_FOR_CHOICES:]
    path = ROOT / RECORD
    record = json.loads(path.read_text("utf-8")) if path.exists() else {}
    record |= {
        "text": corpus.name,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "seeds": [*SEEDS],
        "model": asdict(SMALL),
        "batch": [ROWS, CONTEXT],
        "kept_for_choices": KEPT_FOR_CHOICES,
    }
    for part in sys.argv[1:] or ("tuning", "final", "blocks", "rates"):
        start = time.process_time()
        if part in ("rates", "tuning"):
            record[part] = {"rates": rates, "tuning": tuning}[part](choosing)
        elif part == "final":
            record[part] = final((text, held_out), record["tuning"])
        else:
            record[part] = blocks((text, held_out))
        seconds = record.setdefault("seconds", {})
        seconds[part] = round(time.process_time() - start)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        draft.replace(path)


if __name__ == "__main__":
    main()
