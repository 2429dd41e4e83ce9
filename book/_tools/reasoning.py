"""Train the small models that lesson 24 compares, and record how often each is right.

``python book/_tools/reasoning.py`` writes ``data/reasoning.json``: for each task the
share of test questions that are answered right, for three seeds, and what more samples
for each question bring. With names (``commands logic``) it makes these parts anew and
keeps the others.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.exact_match import exact_match  # noqa: E402
from lib.evaluate.losses import masked_loss  # noqa: E402
from lib.generate.rollouts import rollout  # noqa: E402
from lib.generate.voting import best_of_n, majority_vote  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.tasks import make_task  # noqa: E402
from lib.tasks.task import ExampleTask, encode_examples  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402

RECORD = Path("data", "reasoning.json")
SEEDS = range(3)
BASE = dict(d_model=64, n_heads=4, n_layers=2, d_ff=256, position="learned")
BASE |= dict(attention_bias=False, tie_weights=False, init="fan_in")
RECIPE = TrainConfig(
    n_steps=300,
    learning_rate=0.005,
    optimizer="muon",
    muon_learning_rate=0.01,
    schedule="linear",
    n_warmup=50,
)
KNOWN = "n_examples=1000"
LONGER = "test_digits=4"
ROTARY = {"position": "rotary"}
RUNS = {  # part -> name -> task, steps, rows per batch, and what the model has else
    "addition": {
        style: (f"addition:style={style},{KNOWN}", 300, 128, {})
        for style in ("plain", "reversed", "steps")
    },
    "longer": {
        "reversed": (f"addition:style=reversed,{LONGER}", 600, 128, {}),
        "steps": (f"addition:style=steps,{LONGER}", 300, 128, {}),
        "hints": (f"addition:style=hints,{LONGER}", 600, 128, ROTARY),
    },
    "logic": {
        style: (f"logic:style={style},{KNOWN}", 400, 128, {})
        for style in ("plain", "steps")
    },
    "commands": {
        "random": ("commands", 600, 64, {}),
        **{
            str(n): (f"commands:split=jump,n_jump={n}", 600, 64, {})
            for n in (0, 8, 32, 200)
        },
    },
    "calculation": {
        style: (f"calculation:style={style},{KNOWN}", 400, 64, {})
        for style in ("plain", "tool")
    },
}
PARTS = [*RUNS, "samples"]
HALF_TRAINED = (f"addition:style=steps,{KNOWN}", 170, 64, {})
N_QUESTIONS, COUNTS = 200, (1, 2, 4, 8, 16)
TEMPERATURE = 0.6
DRAWS = 20  # of n among the 16 samples, on average over which a share is told


def trained(
    words: str, n_steps: int, batch_size: int, options: dict, seed: int
) -> tuple[ExampleTask, GPT]:
    """Return a task, and a model that learnt it."""
    task = make_task(words)
    torch.manual_seed(seed)
    sizes = dict(
        vocab_size=task.tokenizer.vocab_size, context_length=task.context_length
    )
    model = GPT(GPTConfig(**(BASE | sizes | options)))
    generator = torch.Generator().manual_seed(seed)
    training = Training(model, replace(RECIPE, n_steps=n_steps), masked_loss)
    train(training, lambda: task.batch(batch_size, generator))
    return task, model


def run(words: str, n_steps: int, batch_size: int, options: dict, seed: int) -> dict:
    """Train one model; return how often it is right, and the seconds that it took."""
    start = time.process_time()
    task, model = trained(words, n_steps, batch_size, options, seed)
    found = {"seconds": time.process_time() - start}
    found |= {"accuracies": exact_match(model, *task.test)}
    if LONGER in words:
        usual = make_task(words.replace(f",{LONGER}", "").replace(LONGER, ""))
        rows = encode_examples(task.tokenizer, usual.test_examples)
        found |= {"as trained": exact_match(model, *rows)}
    return found


def final(answer: str) -> str | None:
    """The number at the end of an answer; None where it does not end."""
    return answer[answer.rfind(">") + 1 : -1] if answer.endswith(".") else None


def steps_hold(prompt: str, answer: str) -> bool:
    """Whether each step of a sum is right, and the result is what the steps wrote.

    That asks for sums of two digits only: what a school child knows by heart.
    """
    a, b = prompt[:-1].split("+")
    steps, _, result = answer.partition(">")
    carry, digits = 0, ""
    for x, y, step in zip(reversed(a), reversed(b), steps.split(";")):
        if step != f"{int(x) + int(y) + carry:02}":
            return False
        carry, digits = int(step[0]), step[1] + digits
    return result == f"{carry}{digits}."


def sampled(seed: int) -> dict[str, list[float]]:
    """Return the share of right answers for n samples, chosen in several ways."""
    task, model = trained(*HALF_TRAINED, seed)
    known, chosen = task.test_examples[:N_QUESTIONS], random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    questions = [task.tokenizer.encode(example.prompt) for example in known]
    prompts = [question for question in questions for _ in range(COUNTS[-1])]
    stop = task.tokenizer.ids["."]
    n_new = task.context_length - len(prompts[0])
    rolls = rollout(model, prompts, n_new, stop, TEMPERATURE, generator)
    texts = [task.tokenizer.decode(ids) for ids in rolls.answers()]
    found = {
        name: [] for name in ("one sample", "vote", "verifier", "judge at random")
    }
    greedy = exact_match(model, *encode_examples(task.tokenizer, known))
    for n in COUNTS:
        right = dict.fromkeys(found, 0)
        for place, (prompt, answer, _) in enumerate(known):
            own = texts[place * COUNTS[-1] : (place + 1) * COUNTS[-1]]
            for _ in range(DRAWS):
                some = chosen.sample(own, n)
                picked = {
                    "one sample": some[0],
                    "verifier": best_of_n(some, lambda a: steps_hold(prompt, a)),
                    "judge at random": best_of_n(some, lambda _: chosen.random()),
                }
                goal = final(answer)
                right["vote"] += majority_vote([*map(final, some)]) == goal
                for name, text in picked.items():
                    right[name] += final(text) == goal
        for name, count in right.items():
            found[name].append(count / (DRAWS * N_QUESTIONS))
    return {"greedy": [greedy] * len(COUNTS)} | found


def part(name: str) -> dict:
    """Return the record of one part, all seeds."""
    if name == "samples":
        each = [sampled(seed) for seed in SEEDS]
        task, n_steps, *_ = HALF_TRAINED
        lines = {
            line: [[round(x, 4) for x in found[line]] for found in each]
            for line in each[0]
        }
        print(lines, flush=True)
        settings = {"task": task, "n_steps": n_steps, "temperature": TEMPERATURE}
        return settings | {"counts": COUNTS, "lines": lines}
    runs = {}
    for label, (words, n_steps, batch_size, options) in RUNS[name].items():
        each = [run(words, n_steps, batch_size, options, seed) for seed in SEEDS]
        runs[label] = {"task": words, "n_steps": n_steps, "batch_size": batch_size}
        runs[label] |= {"options": options} if options else {}
        for key in ("accuracies", "as trained"):
            if key in each[0]:
                runs[label][key] = [round(found[key], 4) for found in each]
        seconds = sum(found["seconds"] for found in each) / len(each)
        runs[label]["seconds"] = round(seconds, 1)
        print(f"{name:12} {label:14}", runs[label], flush=True)
    return runs


def main(names: list[str]) -> None:
    """Make all parts, or some, and write the record, whole or not at all."""
    for name in names:
        if name not in PARTS:
            sys.exit(f"{name!r} must be one of {PARTS}")
    old = json.loads((ROOT / RECORD).read_text("utf-8"))["parts"] if names else {}
    new = {name: part(name) for name in names or PARTS}
    record = {"base": BASE, "recipe": asdict(RECIPE), "seeds": [*SEEDS]}
    parts = {name: (old | new)[name] for name in PARTS if name in old | new}
    draft = ROOT / RECORD.with_suffix(".draft")
    text = json.dumps(record | {"parts": parts}, indent=1)
    draft.write_text(text + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
