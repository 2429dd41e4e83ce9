"""Measure for lesson 16 where smoothing, beams and the warm-up pay, and where not.

``python book/_tools/translation.py`` writes ``data/translation.json``; with the word
``ambiguous`` or ``warmup`` only that part. Three seeds each.
"""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.bleu import bleu  # noqa: E402
from lib.evaluate.calibration import calibration_error, reliability  # noqa: E402
from lib.generate.beam import beam_search  # noqa: E402
from lib.generate.targets import generate_targets  # noqa: E402
from lib.models.encoder_decoder import Transformer, TransformerConfig  # noqa: E402
from lib.tasks.english_french import (  # noqa: E402
    Pair,
    Question,
    TranslationData,
    ambiguous_data,
    translation_data,
)
from lib.text.tokenizer import WordTokenizer, pad_batch  # noqa: E402
from lib.train import TrainConfig, Training, train  # noqa: E402
from lib.translate import PairBatches, encode_pairs, translation_loss  # noqa: E402
from lib.translate.translator import SIZES, TRAINING, exact_match  # noqa: E402

RECORD = Path("data", "translation.json")
SEEDS = range(3)
N_TEST, NOISE = 200, 0.05
AMOUNTS = {"many": 20_000, "few": 1_500}  # pairs to train with
SMOOTHINGS = (0.0, 0.1)
RECIPE = TrainConfig(240, **TRAINING)
EARLY = 80  # the other step at which a model is measured
SEARCHES = {  # beams, and the length penalty's alpha
    "greedy": (1, 0.0),
    "4 beams": (4, 0.6),
    "4 beams, no penalty": (4, 0.0),
    "16 beams, no penalty": (16, 0.0),
}
MAX_LEN = 24
POST_NORM = {"n_encoder_layers": 3, "n_decoder_layers": 3, "pre_norm": False}
WARMUP_STEPS, WARMUP_BATCH = 240, 32
WARMUPS = {"0.006, warm-up": (0.006, 80), "0.006": (0.006, 0), "0.003": (0.003, 0)}


class Test:
    """Questions with their answers, as tokens; a drawn answer, and four others."""

    def __init__(self, questions: list[Question], words: list[Pair]) -> None:
        answers = [Pair(q.english, text, ()) for q in questions for text in q.answers]
        self.questions = questions
        self.source = WordTokenizer(pair.english for pair in words + answers)
        self.target = WordTokenizer(pair.french for pair in words + answers)
        sources, targets = encode_pairs(answers, self.source, self.target)
        self.answers = pad_batch(sources), pad_batch(targets)
        self.shares = torch.tensor([p for q in questions for p in q.answers.values()])
        self.src = self.encode([question.english for question in questions])
        self.drawn = [self.draw(seed) for seed in range(6)]

    def encode(self, sentences: list[str]) -> torch.Tensor:
        """Return sources (B, S)."""
        pairs = [Pair(sentence, "", ()) for sentence in sentences]
        return pad_batch(encode_pairs(pairs, self.source, self.target)[0])

    def draw(self, seed: int) -> list[str]:
        """Return one answer to each question, by its share."""
        rng = random.Random(seed)
        draw = lambda answers: rng.choices([*answers], [*answers.values()])[0]
        return [draw(question.answers) for question in self.questions]


def scores(test: Test, texts: list[str]) -> dict:
    """Say how good texts are, and how they differ from what people write."""
    answers = [question.answers for question in test.questions]
    lengths = [[len(a.split()) for a in each] for each in answers]
    written = [len(text.split()) for text in texts]
    several = [(t, a) for t, a in zip(texts, answers) if len(a) > 1]
    return {
        "right": sum(t in a for t, a in zip(texts, answers)) / len(texts),
        "same": sum(t == d for t, d in zip(texts, test.drawn[0])) / len(texts),
        "likeliest": sum(t == max(a, key=a.get) for t, a in several) / len(several),
        "short": sum(n < min(each) for n, each in zip(written, lengths)) / len(texts),
        "words": len({word for text in texts for word in text.split()}),
        "bleu": bleu(texts, test.drawn[0]),
        "bleu4": bleu(texts, list(zip(*test.drawn[:4]))),
    }


@torch.no_grad()
def probabilities(model: Transformer, test: Test) -> dict:
    """Say how good the probabilities of the answers' tokens are."""
    src, tgt = test.answers
    logs = model(src, tgt[:, :-1]).log_softmax(dim=-1)  # (B, T - 1, V)
    wanted = tgt[:, 1:]
    real, weights = wanted != 0, test.shares.unsqueeze(1).expand_as(wanted)
    surprise = -logs.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
    total = (weights * real).sum()
    drawn = torch.multinomial(  # places, as often as their sentences are written
        (weights * real).flatten(), 20_000, True, generator=torch.Generator()
    )
    top, places = (each.flatten()[drawn] for each in logs.exp().max(dim=-1))
    bins = reliability(top, places == wanted.flatten()[drawn])
    truth = -(test.shares * test.shares.log()).sum()
    return {
        "nats": ((surprise * weights * real).sum() / total).item(),
        "floor": (truth / total).item(),
        "calibration": calibration_error(bins),
        "confidence": top.mean().item(),
    }


@torch.no_grad()
def measure(model: Transformer, test: Test) -> dict:
    """Measure a translator in all ways."""
    model.eval()
    found = {"probabilities": probabilities(model, test), "searches": {}}
    for name, (n_beams, alpha) in SEARCHES.items():
        ids, score = beam_search(model, test.src, n_beams, MAX_LEN, alpha)
        texts = [test.target.decode(row) for row in ids]
        found["searches"][name] = scores(test, texts)
        if not alpha:
            found["searches"][name]["log_p"] = score.mean().item()
    draws = torch.Generator().manual_seed(0)
    options = dict(temperature=1.0, generator=draws)
    ids = generate_targets(model, test.src, MAX_LEN, **options)
    texts = [test.target.decode(row) for row in ids]
    found["searches"]["drawn"] = scores(test, texts)
    model.train()
    return found


def one_run(test: Test, pairs: list[Pair], smoothing: float, seed: int) -> dict:
    """Train one translator; measure it early and at the end."""
    rows = encode_pairs(pairs, test.source, test.target)
    torch.manual_seed(seed)
    sizes = test.source.vocab_size, test.target.vocab_size
    model = Transformer(TransformerConfig(*sizes, **SIZES))
    batches = PairBatches(*rows, 64, torch.Generator().manual_seed(seed))
    loss = partial(translation_loss, smoothing=smoothing)
    loss.counts = translation_loss.counts
    run, start, early = Training(model, RECIPE, loss), time.process_time(), {}
    while run.n_done < EARLY:
        run.step(batches())
    seconds = time.process_time() - start
    early = measure(model, test)
    start = time.process_time()
    train(run, batches)
    seconds += time.process_time() - start
    return {"early": early, "late": measure(model, test), "seconds": seconds}


def ambiguous() -> dict:
    """Train on sentences with several translations, much or few, smoothed or not."""
    data = ambiguous_data(AMOUNTS["many"], N_TEST, noise=NOISE)
    test = Test(data.unseen, data.train)
    people = {"one": scores(test, test.drawn[4]), "other": scores(test, test.drawn[5])}
    print("people", people["one"], flush=True)
    runs: dict[str, list] = {}
    for amount, n_pairs in AMOUNTS.items():
        for smoothing in SMOOTHINGS:
            for seed in SEEDS:
                found = one_run(test, data.train[:n_pairs], smoothing, seed)
                runs.setdefault(f"{amount}, {smoothing}", []).append(found)
                print(amount, smoothing, seed, json.dumps(found), flush=True)
    how = {"amounts": AMOUNTS, "noise": NOISE, "n_test": N_TEST, "sizes": SIZES}
    how |= {"recipe": asdict(RECIPE), "early": EARLY, "searches": SEARCHES}
    return how | {"seeds": [*SEEDS], "people": people, "runs": runs}


def post_norm(data: TranslationData, rate: float, n_warmup: int, seed: int) -> dict:
    """Train one post-norm translator; return how often it is right."""
    start = time.process_time()
    source = WordTokenizer(pair.english for pair in data.train)
    target = WordTokenizer(pair.french for pair in data.train)
    torch.manual_seed(seed)
    sizes = source.vocab_size, target.vocab_size
    model = Transformer(TransformerConfig(*sizes, **(SIZES | POST_NORM)))
    how = {"betas": (0.9, 0.98), "schedule": "linear", "n_warmup": n_warmup}
    recipe = TrainConfig(WARMUP_STEPS, rate, **how)
    rows = encode_pairs(data.train, source, target)
    batches = PairBatches(*rows, WARMUP_BATCH, torch.Generator().manual_seed(seed))
    losses = train(Training(model, recipe, translation_loss), batches)
    found = {"loss": sum(losses[-10:]) / 10, "seconds": time.process_time() - start}
    for kind, pairs in (("unseen", data.unseen), ("held_out", data.held_out)):
        src = pad_batch(encode_pairs(pairs, source, target)[0])
        ids = generate_targets(model, src, MAX_LEN, temperature=0.0)
        found[kind] = exact_match([target.decode(row) for row in ids], pairs)
    return found


def warmup() -> dict:
    """Train post-norm at two rates, with and without a warm-up."""
    data, runs = translation_data(20_000, N_TEST), {}
    for name, settings in WARMUPS.items():
        for seed in SEEDS:
            found = post_norm(data, *settings, seed)
            runs.setdefault(name, []).append(found)
            print(name, seed, found, flush=True)
    how = {"sizes": SIZES | POST_NORM, "warmups": WARMUPS, "n_steps": WARMUP_STEPS}
    how |= {"batch_size": WARMUP_BATCH, "n_test": N_TEST}
    return how | {"seeds": [*SEEDS], "runs": runs}


def rounded(value: object) -> object:
    """Return a record with four decimals in every number."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value


PARTS = {"ambiguous": ambiguous, "warmup": warmup}


def main() -> None:
    """Measure the parts that are asked for; keep the others of an older record."""
    path, record = ROOT / RECORD, {}
    if path.exists():
        record = json.loads(path.read_text(encoding="utf-8"))
    for name in sys.argv[1:] or PARTS:
        record[name] = rounded(PARTS[name]())
        draft = path.with_suffix(".draft")
        text = json.dumps(record, indent=1, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(path)


if __name__ == "__main__":
    main()
