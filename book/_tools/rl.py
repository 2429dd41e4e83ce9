"""Train the models that lesson 25 compares, and record what each becomes.

``python book/_tools/rl.py`` writes ``data/rl.json``: reinforcement learning from
``data/rl-start.safetensors`` with several methods, rewards and settings, from another
start, and what a model learns from the answers of a trained one. With names
(``grpo distilled``) it makes these again and keeps the others.
"""

from __future__ import annotations

import copy
import json
import random
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import rl_start  # noqa: E402
from rl_start import N_NEW, PLAIN, STEPS  # noqa: E402

from lib.evaluate.losses import masked_loss  # noqa: E402
from lib.generate.rollouts import rollout  # noqa: E402
from lib.models.gpt import GPT  # noqa: E402
from lib.tasks.arithmetic import write_sum  # noqa: E402
from lib.tasks.task import Example, encode_examples  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402
from lib.train.checkpoint import load_checkpoint  # noqa: E402
from lib.tune.grpo import (  # noqa: E402
    GRPO,
    GRPOConfig,
    kl_estimate,
    log_probabilities,
)
from lib.tune.rewards import (  # noqa: E402
    Reward,
    format_reward,
    random_reward,
    sum_reward,
)

RECORD = Path("data", "rl.json")
N_STEPS, N_PROMPTS, EVERY = 50, 32, 10
RECIPE = dict(learning_rate=3e-4, schedule="constant", n_warmup=5)
SHARE = 0.2  # of the answers that the random reward pays, about what the start gets
RUNS = {  # what differs, and how many seeds
    "grpo": ({}, 5),
    "reinforce": ({"method": "reinforce"}, 3),
    "rloo": ({"method": "rloo"}, 3),
    "dr_grpo": ({"method": "dr_grpo", "average": "constant"}, 3),
    "kl": ({"kl_weight": 0.1}, 3),
    "random reward": ({}, 5),
    "format reward": ({}, 3),
    "high rate": ({}, 3),
    "other start": ({}, 3),
}
N_TRACES, TUNING = 4_000, 50  # answers of a trained model; updates of the start on them


def start() -> GPT:
    """Return the shipped model."""
    return load_checkpoint(ROOT / "data" / "rl-start.safetensors").model


def distance(model: GPT, other: GPT) -> float:
    """Return the estimated KL divergence in nats per token, on sums of the test."""
    ids = [PLAIN.tokenizer.encode(e.prompt) for e in PLAIN.test_examples]
    stop, generator = PLAIN.tokenizer.ids["."], torch.Generator().manual_seed(1)
    rollouts = rollout(model, ids, N_NEW, stop, 1.0, generator)
    with torch.no_grad():
        pair = [log_probabilities(each, rollouts) for each in (model, other)]
    return (kl_estimate(*pair).sum() / rollouts.written.sum()).item()


def judged(model: GPT, first: GPT) -> dict[str, float]:
    """Return what a model gets right, and how it answers."""
    greedy, drawn = rl_start.judge(model, 0.0), rl_start.judge(model, 1.0)
    found = {"greedy": greedy["right"], "sampled": drawn.pop("right")}
    return found | drawn | {"kl": distance(model, first)}


def reward_of(name: str, seed: int) -> Reward:
    """Return what a run is rewarded for."""
    rewards = {"random reward": random_reward(SHARE, seed)}
    return (rewards | {"format reward": format_reward}).get(name, sum_reward)


def run(name: str, seed: int) -> tuple[dict, GPT]:
    """Train one model; return its curves, and the model."""
    first = start()
    if name == "other start":
        first = rl_start.make_start(rl_start.COUNTER, seed)
    model, rng = copy.deepcopy(first), random.Random(seed)
    recipe = RECIPE | ({"learning_rate": 3e-3} if name == "high rate" else {})
    grpo = GRPO(
        model,
        PLAIN.tokenizer,
        reward_of(name, seed),
        GRPOConfig(n_new=N_NEW, **RUNS[name][0]),
        TrainConfig(n_steps=N_STEPS, **recipe),
        torch.Generator().manual_seed(seed),
    )
    curves: dict[str, list[float]] = {}

    def note(values: dict[str, float]) -> None:
        for key, value in values.items():
            curves.setdefault(key, []).append(round(value, 4))

    note(judged(model, first))
    for _ in range(N_STEPS // EVERY):
        reports = grpo.run(
            lambda: [PLAIN.draw_to_learn(rng).prompt for _ in range(N_PROMPTS)], EVERY
        )
        for report in reports:
            mean = report.rewards.mean().item()
            note({"rewards": mean, "entropy": report.entropy, "dead": report.dead})
        note(judged(model, first))
    return curves, model


def traces(model: GPT, seed: int) -> list[Example]:
    """Let a model answer sums; return what the reward says is right."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    asked = [PLAIN.draw_to_learn(rng).prompt for _ in range(N_TRACES)]
    tokenizer = PLAIN.tokenizer
    ids = [tokenizer.encode(prompt) for prompt in asked]
    rollouts = rollout(model, ids, N_NEW, tokenizer.ids["."], 1.0, generator)
    answers = [tokenizer.decode(answer) for answer in rollouts.answers()]
    pairs = zip(asked, answers, strict=True)
    return [Example(*pair) for pair in pairs if sum_reward(*pair)]


def written(examples: list[Example]) -> list[Example]:
    """Return the same sums with the steps that the task writes."""
    numbers = [[int(n) for n in e.prompt[:-1].split("+")] for e in examples]
    return [write_sum(a, b, STEPS.digits, STEPS.style) for a, b in numbers]


def pupil(examples: list[Example], fresh: bool, seed: int) -> dict[str, float]:
    """Train a new model, or the start, on examples; return what it gets right."""
    torch.manual_seed(seed)
    rng = random.Random(seed)
    if fresh:
        n_steps = sum(n for n, _ in rl_start.STAGES)
        model, recipe = GPT(rl_start.CONFIG), rl_start.RECIPE
    else:
        n_steps, model, recipe = TUNING, start(), RECIPE
    size = rl_start.BATCH_SIZE
    training = Training(model, TrainConfig(n_steps=n_steps, **recipe), masked_loss)
    train(
        training,
        lambda: encode_examples(PLAIN.tokenizer, rng.choices(examples, k=size)),
    )
    return {
        "greedy": rl_start.judge(model, 0.0)["right"],
        "sampled": rl_start.judge(model, 1.0)["right"],
    }


def distilled(seed: int) -> dict[str, dict]:
    """Return what pupils learn from a model that was trained by rewards."""
    own = traces(run("grpo", seed)[1], seed)
    kinds = {"traces": own, "written": written(own)}
    found: dict[str, dict] = {"n_traces": len(own)}
    for name, examples in kinds.items():
        for fresh in (True, False):
            who = "fresh" if fresh else "start"
            found[f"{who}, {name}"] = pupil(examples, fresh, seed)
    return found


def main(names: list[str]) -> None:
    """Make the runs and write the record, whole or not at all."""
    every = [*RUNS, "distilled"]
    for name in names:
        if name not in every:
            sys.exit(f"{name!r} must be one of {every}")
    old = json.loads((ROOT / RECORD).read_text("utf-8"))["runs"] if names else {}
    runs = {name: old.get(name) for name in every}
    for name in names or every:
        if name == "distilled":
            runs[name] = [distilled(seed) for seed in range(3)]
        else:
            runs[name] = [run(name, seed)[0] for seed in range(RUNS[name][1])]
        last = runs[name][0] if name == "distilled" else {}
        last = last or {k: [r[k][-1] for r in runs[name]] for k in runs[name][0]}
        print(name, last, flush=True)
    record = {"n_steps": N_STEPS, "n_prompts": N_PROMPTS, "every": EVERY}
    record |= {"n_new": N_NEW, "recipe": RECIPE, "share": SHARE, "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
