"""Train the model that lesson 25 starts from, and ship it.

``python book/_tools/rl_start.py`` writes ``data/rl-start.safetensors``: a small GPT
that has seen sums with steps, and then mostly without. So it mostly writes the answer
at once, which it cannot do well, and sometimes steps, which it does better.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.exact_match import exact_match  # noqa: E402
from lib.evaluate.losses import masked_loss  # noqa: E402
from lib.generate.rollouts import rollout  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.tasks.arithmetic import Addition  # noqa: E402
from lib.tasks.task import Rows, encode_examples  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402
from lib.train.checkpoint import save_checkpoint  # noqa: E402
from lib.tune.rewards import sum_reward  # noqa: E402

FILE = ROOT / "data" / "rl-start.safetensors"
SEED, BATCH_SIZE, N_NEW = 0, 128, 16
PLAIN, STEPS = Addition(), Addition(style="steps")
STAGES = ((280, 0.70), (60, 0.15))  # updates, and the share of sums with steps
COUNTER = ((340, 0.15),)  # never many steps: its steps are worse than its blurts
CONFIG = GPTConfig(
    vocab_size=PLAIN.tokenizer.vocab_size,
    d_model=64,
    n_heads=4,
    n_layers=2,
    d_ff=256,
    context_length=64,
    attention_bias=False,
    tie_weights=False,
    init="fan_in",
)
RECIPE = dict(
    learning_rate=0.005,
    optimizer="muon",
    muon_learning_rate=0.01,
    schedule="linear",
    n_warmup=50,
)


def mixed_batch(share: float, rng: random.Random) -> Rows:
    """Draw sums, a share of them with steps."""
    tasks = [STEPS if rng.random() < share else PLAIN for _ in range(BATCH_SIZE)]
    return encode_examples(PLAIN.tokenizer, [task.draw_to_learn(rng) for task in tasks])


def make_start(stages: tuple[tuple[int, float], ...], seed: int) -> GPT:
    """Return a model that was trained on sums, stage after stage."""
    torch.manual_seed(seed)
    shares = [share for n_steps, share in stages for _ in range(n_steps)]
    recipe = TrainConfig(n_steps=len(shares), **RECIPE)
    training = Training(GPT(CONFIG), recipe, masked_loss)
    rng, left = random.Random(seed), iter(shares)
    train(training, lambda: mixed_batch(next(left), rng))
    return training.model.eval()


def judge(model: GPT, temperature: float, seed: int = 0) -> dict[str, float]:
    """Answer the sums of the test; return what share is right, and what has steps."""
    asked = [example.prompt for example in PLAIN.test_examples]
    tokenizer, generator = PLAIN.tokenizer, torch.Generator().manual_seed(seed)
    stop = tokenizer.ids["."]
    ids = [tokenizer.encode(prompt) for prompt in asked]
    rollouts = rollout(model, ids, N_NEW, stop, temperature, generator)
    answers = [tokenizer.decode(answer) for answer in rollouts.answers()]
    right = [sum_reward(*pair) for pair in zip(asked, answers, strict=True)]
    found = {"right": sum(right) / len(right)}
    stepped = [">" in answer for answer in answers]
    found["steps"] = sum(stepped) / len(stepped)
    found["length"] = rollouts.written.sum().item() / len(asked)
    for name, wanted in (("right_steps", True), ("right_plain", False)):
        own = [r for r, s in zip(right, stepped, strict=True) if s == wanted]
        found[name] = sum(own) / max(1, len(own))
    return found


def main() -> None:
    """Train the model, and write it with what it can do."""
    model = make_start(STAGES, SEED)
    greedy, drawn = judge(model, 0.0), judge(model, 1.0)
    notes = {"command": "python book/_tools/rl_start.py", "seed": SEED}
    notes |= {"greedy": greedy["right"], "sampled": drawn["right"]}
    notes |= {"steps": drawn["steps"], "torch": torch.__version__}
    save_checkpoint(FILE, model, PLAIN.tokenizer, **notes)
    print(f"{FILE.name}: {FILE.stat().st_size:,} bytes\n{greedy}\n{drawn}")
    print(f"sums at once: {exact_match(model, *PLAIN.test):.3f}")


if __name__ == "__main__":
    main()
