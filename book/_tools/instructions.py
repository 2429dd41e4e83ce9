"""Tune the models that lesson 29 compares, and record what each becomes.

``python book/_tools/instructions.py`` writes ``data/instructions.json`` in about twenty
minutes; with names (``base replay "no base"``) it tunes these and keeps the others.
"Shakespeare" is the larger base of ``data/base.safetensors``, which has read nothing
else, with new rows for the characters that it does not know; "no base" has read nothing
at all.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from workbook import CHECKPOINT, new_model  # noqa: E402

from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT  # noqa: E402
from lib.tasks.instructions import KINDS, Instructions, word_lists  # noqa: E402
from lib.tasks.task import Example, Rows  # noqa: E402
from lib.text.batches import split_text  # noqa: E402
from lib.text.chat import render  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import estimate_loss  # noqa: E402
from lib.train.checkpoint import load_checkpoint  # noqa: E402
from lib.tune.sft import SFTConfig, ask, fine_tune, share_right, stop_rate  # noqa: E402

RECORD = Path("data", "instructions.json")
RECIPE = SFTConfig()
VARIANTS = {  # what is changed, which base is tuned, and how many seeds
    "base": ({}, "workbook", 3),
    "short": ({"n_steps": 400}, "workbook", 3),
    "long": ({"n_steps": 1_000}, "workbook", 3),
    "all tokens": ({"answers_only": False}, "workbook", 3),
    "no stop": ({}, "workbook", 3),  # the stop does not count
    "replay": ({"n_replay": 2}, "workbook", 3),
    "Shakespeare": ({}, "Shakespeare", 2),
    "no base": ({}, "none", 2),
}
N_VALIDATION = 128 * 200 + 1  # characters on which forgetting is measured
STOP = Instructions().tokenizer.ids["\n"]
N_NEW = 32
EVERY = 4  # of the questions is answered by writing
FIRST_TURN = 'Shout the word "{}".', "{}"  # before a second question


def draw(batch_size: int, generator: torch.Generator) -> Rows:
    """Draw questions with answers."""
    return Instructions().batch(batch_size, generator)


def draw_without_stop(batch_size: int, generator: torch.Generator) -> Rows:
    """Draw the same, with the stop outside of the mask."""
    rows = draw(batch_size, generator)
    return rows._replace(counted=rows.counted & (rows.targets != STOP))


DRAWS = {"no stop": draw_without_stop}


def user(words: str) -> dict:
    """Return a message of the user."""
    return {"role": "user", "content": words}


def second_turn(model: GPT, asked: list, examples: list[Example]) -> float:
    """Return the share of right answers to questions that come second."""
    word = word_lists()[1][0]
    first = [user(FIRST_TURN[0].format(word))]
    first += [{"role": "assistant", "content": FIRST_TURN[1].format(word.upper())}]
    pairs = [  # whatever fits
        (first + messages, example.answer)
        for messages, example in zip(asked, examples)
        if len(render(first + messages, ask=True)) + N_NEW <= model.context_length
    ]
    tokenizer = Instructions().tokenizer
    written = ask(model, tokenizer, [talk for talk, _ in pairs], n_new=N_NEW)
    answers = map(tokenizer.decode, written.answers())
    return sum(a == b for a, (_, b) in zip(answers, pairs)) / len(pairs)


def measure(model: GPT, held_out: Tensor) -> dict:
    """Return what a model can do: answers, stops, and the text that it comes from."""
    found: dict = {}
    for kind in KINDS:
        task = Instructions(unseen=kind)
        skills = share_right(model, task.tokenizer, task.questions)
        found[kind] = round(sum(skills.values()) / len(skills), 4)
        found[f"{kind} by skill"] = {name: round(x, 4) for name, x in skills.items()}
    task = Instructions()
    examples = [one for some in task.questions.values() for one in some][::EVERY]
    asked = [[user(example.prompt[3:-4])] for example in examples]
    written = ask(model, task.tokenizer, asked)
    found["stops"] = round(stop_rate(written, STOP), 4)
    found["second turn"] = round(second_turn(model, asked, examples), 4)
    found["text"] = round(estimate_loss(model, held_out, 128), 4)
    return found


def with_more_characters(path: Path, tokenizer: CharTokenizer) -> GPT:
    """Return a model with rows for more characters; the new ones are not trained."""
    checkpoint = load_checkpoint(path)
    old, known = checkpoint.model, checkpoint.tokenizer.characters
    torch.manual_seed(0)
    model = GPT(replace(old.config, vocab_size=tokenizer.vocab_size))
    weights, places = old.state_dict(), tokenizer.encode("".join(known))
    for name, weight in model.state_dict().items():
        same = weight.shape == weights[name].shape
        weight[... if same else places] = weights[name]
    return model


def run(name: str, base: GPT, seed: int, text: Tensor, held_out: Tensor) -> dict:
    """Tune a copy of a base; return what it can do."""
    model = GPT(base.config)
    model.load_state_dict(base.state_dict())
    config = replace(RECIPE, seed=seed, **VARIANTS[name][0])
    losses = fine_tune(
        model, DRAWS.get(name, draw), config, text if config.n_replay else None
    )
    return measure(model, held_out) | {"last loss": round(sum(losses[-20:]) / 20, 4)}


def main(names: list[str]) -> None:
    """Tune models with every seed and write the record, whole or not at all."""
    for name in names:
        if name not in VARIANTS:
            sys.exit(f"{name!r} must be one of {[*VARIANTS]}")
    chosen = names or [*VARIANTS]
    corpus, encode = load_corpus(), Instructions().tokenizer.encode
    text, held_out = split_text(corpus.text)
    bases = {"workbook": load_checkpoint(ROOT / CHECKPOINT).model, "none": new_model()}
    larger = ROOT / "data" / "base.safetensors"
    bases["Shakespeare"] = with_more_characters(larger, Instructions().tokenizer)
    ids, held_out = torch.tensor(encode(text)), torch.tensor(encode(held_out))
    held_out = held_out[:N_VALIDATION]
    kept = names and (ROOT / RECORD).is_file()
    old = json.loads((ROOT / RECORD).read_text("utf-8")) if kept else {}
    before = old.get("before", {})
    for name in {VARIANTS[name][1] for name in chosen}:
        before[name] = measure(bases[name], held_out)
    runs = {name: old.get("runs", {}).get(name) for name in VARIANTS}
    for name in chosen:
        options, base, n_seeds = VARIANTS[name]
        ones = []
        for seed in range(n_seeds):
            ones.append(run(name, bases[base], seed, ids, held_out))
            print(f"{name} seed {seed}:", ones[-1], flush=True)
        runs[name] = {"options": options, "base": base}
        runs[name] |= {key: [one[key] for one in ones] for key in ones[0]}
    record = {"text": corpus.name, "recipe": asdict(RECIPE)}
    sizes = {name: count_parameters(model) for name, model in bases.items()}
    record |= {"parameters": sizes, "before": before, "runs": runs}
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main(sys.argv[1:])
