"""Tune the shipped GPT as lesson 30 does, and record what each way makes of it.

``python book/_tools/preferences.py`` writes ``data/preferences.json``: three seeds of
tuning on pairs of which the answer with fewer letters e was chosen, and of reward
models that learn from the same pairs. With names (``curves rewards``) it makes these
parts and keeps the others. Only the share of known words needs the text.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.losses import masked_loss  # noqa: E402
from lib.generate.rollouts import rollout  # noqa: E402
from lib.models.gpt import GPT  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402
from lib.train.checkpoint import load_checkpoint  # noqa: E402
from lib.tune.dpo import (  # noqa: E402
    DPOConfig,
    answer_log_probabilities,
    tune_on_pairs,
)
from lib.tune.pairs import Pair, PairRows, encode_pairs  # noqa: E402
from lib.tune.reward_model import RewardModel, fit_reward_model  # noqa: E402

RECORD = Path("data", "preferences.json")
SEEDS = range(3)
N_PAIRS, N_TEST, N_NEW, BATCH_SIZE = 400, 256, 24, 32
LONGEST_LINE = 40
NEVER = None  # no token ends an answer
RECIPE = TrainConfig(30, 6e-5, schedule="constant", n_warmup=5)
HEAD = TrainConfig(200, 0.01, schedule="linear")
LONGEST, EVERY = 60, 10  # steps of a curve, and between its points
COUNTS = (1, 2, 4, 8, 16, 32, 64)
checkpoint = load_checkpoint(ROOT / "data" / "base.safetensors")
BASE, TOKENIZER = checkpoint.model, checkpoint.tokenizer


def write_prompts(n: int, generator: torch.Generator) -> list[list[int]]:
    """Let the model begin n texts, and cut each where its last word begins."""
    starts = [TOKENIZER.encode("\n")] * n
    written = rollout(BASE, starts, 30, NEVER, generator=generator).answers()
    texts = [re.sub(r"\S+$", "", TOKENIZER.decode(ids)) for ids in written]
    return [TOKENIZER.encode(text or "\n") for text in texts]


def answer(model: GPT, prompts: list, generator: torch.Generator, **stop) -> list:
    """Let a model go on, by default with as many characters for each prompt."""
    options = {"n_new": N_NEW, "stop_id": NEVER, "generator": generator} | stop
    return rollout(model, prompts, **options).answers()


def e_count(ids: list[int]) -> int:
    """Count the letters e of an answer."""
    return TOKENIZER.decode(ids).lower().count("e")


def e_share(ids: list[int]) -> float:
    """Return the share of letters e in an answer."""
    return e_count(ids) / len(ids)


def make_pairs(prompts: list, a: list, b: list, badness: Callable) -> list[Pair]:
    """Choose of two answers the one that is less bad; leave out equally bad ones."""
    pairs = []
    for prompt, one, other in zip(prompts, a, b):
        if badness(one) != badness(other):
            pairs.append(Pair(prompt, *sorted((one, other), key=badness)))
    return pairs


def rows_of(prompts: list, answers: list) -> tuple[Tensor, Tensor]:
    """Return answers as rows, one for each."""
    other = [[0, *ids] for ids in answers]  # anything else
    rows, _ = encode_pairs([*map(Pair, prompts, answers, other)])
    return rows.ids[:, 0], rows.written[:, 0]


def data(seed: int, badness: Callable = e_count, **stop) -> dict:
    """Return pairs to learn from, prompts to test with, and the base's answers."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    prompts = write_prompts(N_PAIRS, generator)
    both = [answer(BASE, prompts, generator, **stop) for _ in range(2)]
    pairs = make_pairs(prompts, *both, badness)
    asked = write_prompts(N_TEST, generator)
    own = answer(BASE, asked, generator, **stop)
    found = {"rows": encode_pairs(pairs)[0], "prompts": asked, "own": own}
    return found | {"generator": generator, "stop": stop, "badness": badness}


@torch.no_grad()
def judge(model: GPT, d: dict, known: set[str]) -> dict:
    """Return how often a model wins against the base, and how far it has moved."""
    new = answer(model, d["prompts"], d["generator"], **d["stop"])
    both = new, d["own"]
    bad = torch.tensor([[d["badness"](ids) for ids in each] for each in both])
    wins = (bad[0] < bad[1]).double() + 0.5 * (bad[0] == bad[1])
    rows = rows_of(d["prompts"], new)
    moved = [answer_log_probabilities(m, *rows) for m in (model, BASE)]
    n_tokens = sum(map(len, new))
    words = [w for ids in new for w in inner_words(TOKENIZER.decode(ids))]
    pairs = [answer_log_probabilities(m, *d["rows"]).mean(dim=0) for m in (model, BASE)]
    chosen, rejected = (pairs[0] - pairs[1]).tolist()
    return {
        "win": wins.mean().item(),
        "e": sum(map(e_count, new)) / n_tokens,
        "kl": (moved[0] - moved[1]).sum().item() / n_tokens,
        "known": sum(word in known for word in words) / len(words),
        "length": n_tokens / len(new),
        "chosen": chosen,
        "rejected": rejected,
    }


def inner_words(text: str) -> list[str]:
    """Return the words of a text but for its last one, which may be cut off."""
    return re.findall("[a-z']+", text.lower().rpartition(" ")[0])


def sft(d: dict) -> GPT:
    """Train on the chosen answers alone, as in lesson 29, as many steps."""
    model = copy.deepcopy(BASE)
    ids, written = (part[:, 0] for part in d["rows"])

    def next_batch() -> tuple[Tensor, ...]:
        places = torch.randint(len(ids), (BATCH_SIZE,), generator=d["generator"])
        return ids[places, :-1], ids[places, 1:], written[places, 1:]

    train(Training(model, RECIPE, masked_loss), next_batch)
    return model


def tuned(d: dict, config: DPOConfig, n_steps: int = RECIPE.n_steps) -> GPT:
    """Tune the base on pairs."""
    model, recipe = copy.deepcopy(BASE), replace(RECIPE, n_steps=n_steps)
    tune_on_pairs(model, d["rows"], config, recipe, BATCH_SIZE, d["generator"])
    return model


def rounded(found: dict | list | float) -> dict | list | float:
    """Return numbers with few decimals."""
    if isinstance(found, dict):
        return {name: rounded(each) for name, each in found.items()}
    if isinstance(found, list):
        return [rounded(each) for each in found]
    return round(found, 3)


def say(part: str, name: str, found: dict) -> dict:
    """Print what was found, and return it."""
    found = rounded(found)
    print(part, name, found, flush=True)
    return found


def runs(known: set[str]) -> dict:
    """Compare ways to tune, with three seeds: one dictionary for each seed."""
    table: dict[str, list] = {}
    for seed in SEEDS:
        d = data(seed)
        for name, make in (
            ("untuned", lambda: BASE),
            ("DPO", lambda: tuned(d, DPOConfig())),
            ("IPO", lambda: tuned(d, DPOConfig(loss="ipo"))),
            ("chosen only", lambda: sft(d)),
        ):
            found = say("runs", f"{name} {seed}", judge(make(), d, known))
            table.setdefault(name, []).append(found)
    return table


def curves(known: set[str]) -> dict:
    """Go on for long with several betas, judged on the way, with one seed."""
    found = {}
    for beta in (0.03, 0.1, 1.0):
        d, model, points = data(0), copy.deepcopy(BASE), []

        def evaluate() -> float:
            point = {"step": EVERY * (len(points) + 1)} | judge(model, d, known)
            points.append(say("curves", str(beta), point))
            return point["win"]

        recipe = replace(RECIPE, n_steps=LONGEST)
        options = DPOConfig(beta=beta), recipe, BATCH_SIZE, d["generator"]
        tune_on_pairs(model, d["rows"], *options, EVERY, evaluate)
        found[str(beta)] = points
    return found


def lengths(known: set[str]) -> dict:
    """Let answers end with their line, and compare sum and mean, with three seeds."""
    table: dict[str, list] = {}
    stop = {"n_new": LONGEST_LINE, "stop_id": TOKENIZER.ids["\n"]}
    for seed in SEEDS:
        d = data(seed, e_share, **stop)
        pair = d["rows"].written.sum(dim=-1).double().mean(dim=0)
        mean = pair.mean().item()
        for name, config in (
            ("untuned", None),
            ("sum", DPOConfig()),
            ("mean", DPOConfig(beta=0.1 * mean, average=True)),
        ):
            model = BASE if config is None else tuned(d, config)
            found = judge(model, d, known) | {"pair": pair.tolist()}
            table.setdefault(name, []).append(say("lengths", f"{name} {seed}", found))
    return table


def rewards(known: set[str]) -> dict:
    """Fit reward models, and take the best of many answers by their judgement."""
    table: dict[str, list] = {}
    for seed in SEEDS:
        d = data(seed)
        asked = d["prompts"][:24]
        many = [answer(BASE, [prompt] * COUNTS[-1], d["generator"]) for prompt in asked]
        counts = [[e_count(ids) for ids in each] for each in many]
        truth = -torch.tensor(counts).double()
        new = [answer(BASE, d["prompts"], d["generator"])]
        held_out = encode_pairs(make_pairs(d["prompts"], d["own"], *new, e_count))[0]
        for name, average, n in (
            ("last, all pairs", False, None),
            ("mean, all pairs", True, None),
            ("mean, 50 pairs", True, 50),
        ):
            model = RewardModel(BASE, average)
            fit_reward_model(model, PairRows(*(p[:n] for p in d["rows"])), HEAD)
            found = judge_rewards(model, d["rows"], held_out)
            found |= best_of(model, asked, many, truth)
            table.setdefault(name, []).append(say("rewards", f"{name} {seed}", found))
    return table


@torch.no_grad()
def judge_rewards(model: RewardModel, rows: PairRows, held_out: PairRows) -> dict:
    """Return in what share of the pairs the chosen answer gets the larger reward."""
    found = {}
    for name, each in (("learnt", rows), ("held_out", held_out)):
        chosen, rejected = model(*each).unbind(dim=-1)
        found[name] = (chosen > rejected).double().mean().item()
    return found


@torch.no_grad()
def best_of(model: RewardModel, asked: list, many: list, truth: Tensor) -> dict:
    """Return proxy and truth of the best of n answers, for each n of COUNTS."""
    rewards = torch.stack(
        [model(*rows_of([p] * len(each), each)) for p, each in zip(asked, many)]
    )
    found: dict[str, list] = {"proxy": [], "truth": [], "best": []}
    for n in COUNTS:
        proxy, real = (x.view(len(asked), -1, n) for x in (rewards, truth))
        best = proxy.argmax(dim=-1, keepdim=True)
        found["proxy"].append(proxy.amax(dim=-1).mean().item())
        found["truth"].append(real.gather(-1, best).mean().item())
        found["best"].append(real.amax(dim=-1).mean().item())
    return found


PARTS = {"runs": runs, "rewards": rewards, "curves": curves, "lengths": lengths}


def main(names: list[str]) -> None:
    """Make parts of the record and write it, whole or not at all."""
    for name in names:
        if name not in PARTS:
            sys.exit(f"{name!r} must be one of {[*PARTS]}")
    corpus = load_corpus()
    known = set(re.findall("[a-z']+", corpus.text.lower()))
    path = ROOT / RECORD
    parts = json.loads(path.read_text("utf-8"))["parts"] if names else {}
    for name in names or PARTS:
        parts[name] = PARTS[name](known)
    record = {"text": corpus.name, "recipe": asdict(RECIPE), "head": asdict(HEAD)}
    record |= {"pairs": N_PAIRS, "test": N_TEST, "n_new": N_NEW}
    record |= {"batch_size": BATCH_SIZE, "seeds": [*SEEDS], "counts": [*COUNTS]}
    record |= {"parts": {name: parts[name] for name in PARTS if name in parts}}
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
