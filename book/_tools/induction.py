"""Train the models that lesson 23 compares, five seeds each, and record what they do.

``python book/_tools/induction.py`` writes ``data/induction.json``. Three of them learn
random letters that repeat; of these it keeps the accuracy on the letters of the
repetition while they learn, the scores of their heads, and what is left without each
of them. The others learn patterns; of those it keeps the accuracy after so many shots,
and that with labels which were shuffled. With names it trains these only.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.attention_maps import attention_maps  # noqa: E402
from lib.evaluate.induction import (  # noqa: E402
    induction_score,
    previous_token_score,
    without_head,
)
from lib.evaluate.losses import masked_loss  # noqa: E402
from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.module import in_mode  # noqa: E402
from lib.tasks.patterns import Patterns, draw_patterns  # noqa: E402
from lib.tasks.repeats import Repeats, draw_repeats  # noqa: E402
from lib.tasks.task import Rows, Task  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402

RECORD = Path("data", "induction.json")
SEEDS = range(5)
BATCH_SIZE, EVERY = 32, 20
BASE = dict(d_model=64, n_heads=2, n_layers=2, ffn="none", init="normal")
BASE |= dict(attention_bias=False, tie_weights=False)
ADAMW = TrainConfig(
    n_steps=700,
    learning_rate=0.003,
    optimizer="adamw",
    schedule="constant",
    n_warmup=50,
)
MUON = TrainConfig(
    n_steps=300,
    learning_rate=0.005,
    optimizer="muon",
    muon_learning_rate=0.01,
    schedule="linear",
    n_warmup=50,
)
REPEATS, PATTERNS = Repeats(), Patterns()
FOUR_HEADS = dict(n_layers=1, n_heads=4, d_head=32)  # as many, and as large
VARIANTS = {  # the task, what differs in the model, the recipe
    "two layers": (REPEATS, {}, ADAMW),
    "one layer": (REPEATS, FOUR_HEADS, ADAMW),
    "with feed-forward": (REPEATS, {"ffn": "gelu", "d_ff": 256}, ADAMW),
    "patterns": (PATTERNS, {"init": "fan_in"}, MUON),
    "patterns, one layer": (PATTERNS, {"init": "fan_in"} | FOUR_HEADS, MUON),
    "patterns, as above": (PATTERNS, {}, ADAMW),
}


@torch.no_grad()
def hits(model: GPT, rows: Rows) -> Tensor:
    """Return where the likeliest token is the right one, ``(B, T)``."""
    with in_mode(model, training=False):
        return model(rows.inputs).argmax(dim=-1) == rows.targets


def accuracy(model: GPT, rows: Rows) -> float:
    """Return the share of right answers among the targets that count."""
    return hits(model, rows)[rows.counted].double().mean().item()


def by_shots(model: GPT, rows: Rows) -> list[float]:
    """Return the share of right labels after 0, 1, 2 ... shots."""
    return rounded(hits(model, rows)[:, ::2].double().mean(dim=0))


def rounded(numbers: Tensor) -> list[float]:
    """Return numbers with three decimals."""
    return [round(number, 3) for number in numbers.flatten().tolist()]


def heads(model: GPT) -> dict:
    """Return the scores of all heads on the test rows, and what is left without one."""
    length, periods = REPEATS.length, (REPEATS.shortest, REPEATS.longest)
    generator = torch.Generator().manual_seed(77)
    ids, period = draw_repeats(128, length, REPEATS.vocab_size, periods, generator)
    assert torch.equal(ids[:, :-1], REPEATS.test.inputs)
    maps = attention_maps(model, REPEATS.test.inputs)
    found = {"previous": torch.stack([previous_token_score(w) for w in maps])}
    found |= {"induction": torch.stack([induction_score(w, period) for w in maps])}
    without = torch.zeros_like(found["previous"])
    for layer, head in torch.cartesian_prod(*map(torch.arange, without.shape)).tolist():
        with without_head(model, layer, head):
            without[layer, head] = accuracy(model, REPEATS.test)
    found |= {"without": without}
    return {name: [rounded(row) for row in table] for name, table in found.items()}


def shuffled_rows(task: Patterns) -> Rows:
    """Return test rows in which each shot has either label of its row, by chance."""
    generator = torch.Generator().manual_seed(78)
    sizes = (task.shots, task.n_items, task.n_labels, True, generator)
    ids, _ = draw_patterns(512, *sizes)
    shots = ids[:, 1:-1:2]
    order = torch.rand(shots.shape, generator=generator).argsort(dim=1)
    ids[:, 1:-1:2] = shots.gather(1, order)
    return Rows(ids[:, :-1], ids[:, 1:], task.test.counted)


def run(task: Task, changes: dict, recipe: TrainConfig, seed: int) -> dict:
    """Train one model; return what it can do."""
    sizes = {"vocab_size": task.tokenizer.vocab_size}
    sizes |= {"context_length": task.context_length}
    torch.manual_seed(seed)
    model, curve = GPT(GPTConfig(**(sizes | BASE | changes))), []
    generator = torch.Generator().manual_seed(seed)

    def evaluate() -> float:
        curve.append(round(accuracy(model, task.test), 3))
        return masked_loss(model, *task.test).item()

    training = Training(model, recipe, masked_loss)
    train(training, lambda: task.batch(BATCH_SIZE, generator), EVERY, evaluate)
    found = {"parameters": count_parameters(model), "accuracy": curve}
    if task is REPEATS:
        return found | heads(model)
    last = hits(model, shuffled_rows(task))[:, -1].double().mean().item()
    found |= {"by_shots": by_shots(model, task.test), "shuffled": round(last, 3)}
    return found


def main(names: list[str]) -> None:
    """Train models with every seed and write the record, whole or not at all."""
    for name in names:
        if name not in VARIANTS:
            sys.exit(f"{name!r} must be one of {[*VARIANTS]}")
    old = json.loads((ROOT / RECORD).read_text("utf-8"))["runs"] if names else {}
    runs = {name: old.get(name) for name in VARIANTS}
    for name in names or VARIANTS:
        task, changes, recipe = VARIANTS[name]
        ones = []
        for seed in SEEDS:
            ones.append(run(task, changes, recipe, seed))
            print(f"{name:19} seed {seed}:", ones[-1], flush=True)
        runs[name] = {"changes": changes, "recipe": asdict(recipe)}
        runs[name] |= {"parameters": ones[0].pop("parameters")}
        runs[name] |= {key: [one[key] for one in ones] for key in ones[0]}
    record = {"base": BASE, "batch_size": BATCH_SIZE, "every": EVERY}
    record |= {"seeds": [*SEEDS], "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
