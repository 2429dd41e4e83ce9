"""Measure how fast the library trains, writes and tokenizes, as ratios within one run.

``python book/_tools/bench.py`` takes about twenty minutes, prints what it measures,
and writes ``data/benchmarks.json``, which the site shows; with names (``training``,
``longer``, ``writing``, ``tokenizing``, ``translating``, ``modern``, ``lessons``) it
measures these again and keeps the other rows. Times are processor seconds; on a busy
machine they vary, the ratios less. ``gpu`` and ``longer`` are measured only by name:
one needs a GPU, the other ten to thirty minutes more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import torch
from times import ROOT, kept, machine

sys.path.insert(0, str(ROOT))
os.environ["COURSE_QUIET"] = "1"

from lib.attention import causal_mask, scaled_dot_product_attention  # noqa: E402
from lib.device import has_bfloat16  # noqa: E402
from lib.evaluate.bleu import bleu  # noqa: E402
from lib.evaluate.scaling_laws import flops_per_token  # noqa: E402
from lib.flash import flash_attention  # noqa: E402
from lib.generate import generate  # noqa: E402
from lib.models import count_parameters  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.models.presets import preset_config  # noqa: E402
from lib.tasks.english_french import TranslationData, translation_data  # noqa: E402
from lib.text.batches import random_batch, split_text  # noqa: E402
from lib.text.bpe import BPETokenizer, merge_pair, split_words  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train import Training, estimate_loss, train  # noqa: E402
from lib.train.settings import TrainConfig  # noqa: E402
from lib.translate import translate  # noqa: E402
from lib.translate.translator import (  # noqa: E402
    TRAINING,
    exact_match,
    train_translator,
)

BENCHMARKS = ROOT / "data" / "benchmarks.json"

# The documented run of nanoGPT on a processor, by our code.
PLAIN = {"attention_bias": False, "head_bias": True, "tie_weights": False}
REFERENCE = GPTConfig(65, 128, 4, 4, 512, 64, **PLAIN)
REFERENCE_TRAINING = TrainConfig(
    2_000, 1e-3, weight_decay=0.1, betas=(0.9, 0.99), n_warmup=100
)
REFERENCE_BATCH = 12

# The translator of lesson 16: the paper's recipe, made small.
POST_NORM = {"pre_norm": False, "n_encoder_layers": 3, "n_decoder_layers": 3}
POST_NORM_TRAINING = {"learning_rate": 6e-3, "betas": (0.9, 0.98), "schedule": "linear"}
POST_NORM_STEPS = MUON_STEPS = 400

# The recipe of lesson 11; another model of its size, which learns in fewer and cheaper
# steps; and one for as long as the reference takes.
SMALL = PLAIN | {"position": "rotary", "head_bias": False, "init": "fan_in"}
FAST = GPTConfig(65, 64, 4, 2, 256, 64, **SMALL)
FAST_TRAINING = {"optimizer": "muon", "learning_rate": 0.01, "clip": 0.1}
FAST_TRAINING |= {"embedding_learning_rate": 0.05, "momentum": 0.9, "rounds": 3}
FAST_TRAINING |= {"schedule": "linear", "n_warmup": 10}
FAST_STEPS, FAST_BATCH = 520, 12
QUICK = replace(FAST, smear=True, bigrams=True, ffn="relu2", n_heads=2)
QUICK_TRAINING, QUICK_STEPS = FAST_TRAINING | {"betas": (0.8, 0.98)}, 290
LONG = GPTConfig(65, 112, 4, 3, 448, 128, **SMALL, smear=True, ffn="relu2")
LONG_STEPS, LONG_BATCH = 1_800, 8
LONGER = replace(LONG, d_model=128, d_ff=512, n_layers=4, context_length=256)
LONGER_STEPS = 4_000

# What a GPU is measured with, and what data sheets promise of it in bfloat16.
GPU_PRESET, GPU_BATCH, GPU_STEPS, GPU_WARM = "small", 32, 20, 5
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "L4": 121e12, "T4": 65e12}

BY_NAME = ("gpu", "longer")  # not among all


def main() -> int:
    """Run all benchmarks, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="training, writing, ...")
    names = parser.parse_args().names
    if "gpu" in names and not torch.cuda.is_available():
        print("gpu: there is no GPU here that PyTorch can use; nothing was measured")
        names.remove("gpu")
        if not names:
            return 0
    torch.set_num_threads(1)
    corpus = load_corpus()
    if corpus.is_stand_in:
        print("Benchmarks need Tiny Shakespeare: set COURSE_DATA to its folder.")
        return 1
    rows = [r for r in read_rows() if names or r["benchmark"] in BY_NAME]
    order = (training, longer, writing, tokenizing, translating, modern, lessons, gpu)
    for benchmark in order:
        name = benchmark.__name__
        if name in names or (not names and name not in BY_NAME):
            rows = [row for row in rows if row["benchmark"] != name]
            rows += [{"benchmark": name} | row for row in benchmark(corpus.text)]
    half = BENCHMARKS.with_suffix(".tmp")
    order = [benchmark.__name__ for benchmark in order]
    rows.sort(key=lambda row: order.index(row["benchmark"]))
    record = {"machine": machine(), "rows": rows}
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    half.write_text(text, "utf-8", newline="\n")
    half.replace(BENCHMARKS)
    return 0


def read_rows() -> list[dict]:
    """Return what was recorded before."""
    old = BENCHMARKS.read_text("utf-8") if BENCHMARKS.exists() else '{"rows": []}'
    return json.loads(old)["rows"]


def row(what: str, ours: str, compared: str = "", ratio: float | None = None) -> dict:
    """Print one result and return it."""
    print(f"{what}: {ours}", compared and f"| {compared}", ratio or "", flush=True)
    return {"what": what, "ours": ours, "compared": compared, "ratio": ratio}


def seconds(work: Callable) -> float:
    """Return the processor seconds that some work takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def splits(text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is learned from and what is tested with, a token per character."""
    tokenizer = CharTokenizer(text)
    return tuple(torch.tensor(tokenizer.encode(part)) for part in split_text(text))


def trained(
    text: str, config: GPTConfig, settings: TrainConfig, batch: int, seed: int
) -> tuple[float, float]:
    """Return the seconds that a training takes, and its loss on the validation text."""
    tokens, validation = splits(text)
    torch.manual_seed(seed)
    run, g = Training(GPT(config), settings), torch.Generator().manual_seed(seed)
    length = config.context_length
    run.step(random_batch(tokens, batch, length, g))  # warm caches, import AdamW
    torch.manual_seed(seed)
    run = Training(GPT(config), settings)
    taken = seconds(lambda: train(run, lambda: random_batch(tokens, batch, length, g)))
    return taken, estimate_loss(run.model, validation, length)


def training(text: str) -> list[dict]:
    """Time to 1.88 nats against the reference run, and the loss after as long."""
    one = partial(trained, text)
    seeds = [random.SystemRandom().randrange(10**6) for _ in range(5)]
    reference = [one(REFERENCE, REFERENCE_TRAINING, REFERENCE_BATCH, 0)]
    runs = {}
    changed = "with smear, bigrams, squared ReLU and two heads"
    for what, config, n_steps, recipe in (
        ("lesson 11's recipe", FAST, FAST_STEPS, FAST_TRAINING),
        (changed, QUICK, QUICK_STEPS, QUICK_TRAINING),
    ):
        settings = TrainConfig(n_steps, **recipe)
        runs[what, config] = [one(config, settings, FAST_BATCH, s) for s in seeds]
    reference.append(one(REFERENCE, REFERENCE_TRAINING, REFERENCE_BATCH, 1))
    theirs = statistics.median(t for t, _ in reference)
    config, settings = LONG, TrainConfig(LONG_STEPS, **FAST_TRAINING)
    long, loss = one(config, settings, LONG_BATCH, seeds[0])
    compared = (
        f"reference ({count_parameters(GPT(REFERENCE)):,} parameters, 2,000 steps): "
        f"{theirs:.1f} s; validation {', '.join(f'{v:.3f}' for _, v in reference)}"
    )

    def ratio_row(what: str, config: GPTConfig) -> dict:
        ours = runs[what, config]
        taken = statistics.median(t for t, _ in ours)
        n, losses = count_parameters(GPT(config)), (f"{v:.3f}" for _, v in ours)
        return row(
            f"training to 1.88 nats, {what} (GPT of {n:,} parameters, seeds {seeds})",
            f"{taken:.1f} s; validation {', '.join(losses)}",
            compared,
            round(theirs / taken, 1),
        )

    return [
        *(ratio_row(*which) for which in runs),
        row(
            "training for as long, with smear and squared ReLU "
            f"(GPT of {count_parameters(GPT(LONG)):,} parameters, "
            f"context {LONG.context_length}, {LONG_STEPS:,} steps)",
            f"{long:.0f} s; validation {loss:.3f}",
            f"reference: {theirs:.0f} s; validation {reference[0][1]:.3f}",
        ),
    ]


def longer(text: str) -> list[dict]:
    """The loss after a training of ten minutes or more, of a model of base's size."""
    settings = TrainConfig(LONGER_STEPS, weight_decay=0.1, **FAST_TRAINING)
    seed = random.SystemRandom().randrange(10**6)
    taken, loss = trained(text, LONGER, settings, LONG_BATCH, seed)
    return [
        row(
            "training longer, with smear and squared ReLU "
            f"(GPT of {count_parameters(GPT(LONGER)):,} parameters, "
            f"context {LONGER.context_length}, {LONGER_STEPS:,} steps, seed {seed})",
            f"{taken:.0f} s; validation {loss:.3f}",
        )
    ]


def writing(text: str) -> list[dict]:
    """The cache: one token at a full window, and 1,000 tokens, with and without it."""
    rows = []
    for length in (64, 256):
        torch.manual_seed(0)
        model = GPT(GPTConfig(65, 128, 4, 4, 512, length, **PLAIN)).eval()
        window = torch.randint(65, (1, length))
        with torch.inference_mode():
            cache = model.new_cache()
            model(window[:, :-1], cache)

            def one() -> None:
                for layer in cache:
                    layer.length = length - 1  # forget the token again
                model(window[:, -1:], cache)

            cached, full = fastest(one, lambda: model(window))
        rows.append(
            row(
                f"one more token at a full window of {length}",
                f"{1e3 * cached:.2f} ms",
                f"reading the window again: {1e3 * full:.2f} ms",
                round(full / cached, 1),
            )
        )
        rows += thousand_tokens(model, length)
    return rows


def fastest(*works: Callable) -> list[float]:
    """Return the seconds of each work, the median of 20 rounds of 10 in a row."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(22):
        for work, taken in zip(works, times):
            taken.append(seconds(lambda: [work() for _ in range(10)]) / 10)
    return [statistics.median(taken[2:]) for taken in times]


def thousand_tokens(model: GPT, length: int) -> list[dict]:
    """Write 1,000 tokens from one, across window moves, in four ways."""
    prompt, n = torch.zeros(1, 1, dtype=torch.long), 1_000

    def write(use_cache: bool) -> None:
        g = torch.Generator().manual_seed(0)
        generate(model, prompt, n, use_cache=use_cache, generator=g)

    ways = {"without the cache": lambda: write(False)}
    ways["the plain way"] = lambda: write_plainly(model, prompt, n)
    if find_spec("transformers"):
        ways["transformers' GPT-2, with its cache"] = partial(
            write_with_transformers, transformers_model(length), prompt, n
        )
    times: dict[str, list[float]] = {"ours": [], **{name: [] for name in ways}}
    for _ in range(5):
        for name, work in ({"ours": lambda: write(True)} | ways).items():
            times[name].append(seconds(work))
    ours = times.pop("ours")
    return [
        row(
            f"writing 1,000 tokens, context {length}",
            f"{n / statistics.median(ours):,.0f} tokens/s",
            f"{name}: {n / statistics.median(taken):,.0f} tokens/s",
            round(statistics.median(b / a for a, b in zip(ours, taken)), 1),
        )
        for name, taken in times.items()
    ]


@torch.inference_mode()
def write_plainly(model: GPT, ids: torch.Tensor, n: int) -> None:
    """Read the last tokens again for each new one, and choose by chance."""
    for _ in range(n):
        logits = model(ids[:, -model.context_length :])[:, -1]
        new = torch.multinomial(logits.softmax(dim=-1), 1)
        ids = torch.cat([ids, new], dim=1)


def transformers_model(length: int):
    """Return a GPT-2 of transformers with the sizes of the reference."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": 65, "n_embd": 128, "n_layer": 4, "n_head": 4}
    return GPT2LMHeadModel(
        GPT2Config(n_positions=length, bos_token_id=0, eos_token_id=0, **sizes)
    ).eval()


@torch.inference_mode()
def write_with_transformers(model, ids: torch.Tensor, n: int) -> None:
    """Call its `generate`; a full window goes on from its last three quarters."""
    length, end = model.config.n_positions, ids.size(1) + n
    options = {"do_sample": True, "top_k": 0, "pad_token_id": 0, "eos_token_id": None}
    while ids.size(1) < end:
        window = ids if ids.size(1) < length else ids[:, -(length * 3 // 4) :]
        new = min(length - window.size(1), end - ids.size(1))
        written = model.generate(
            window,
            attention_mask=torch.ones_like(window),
            max_new_tokens=new,
            **options,
        )
        ids = torch.cat([ids, written[:, window.size(1) :]], dim=1)


def naive_merges(text: str, vocab_size: int) -> list[tuple[int, int]]:
    """Learn byte pairs and count all pairs again after every merge."""
    words = {tuple(w.encode()): n for w, n in Counter(split_words(text)).items()}
    merges = []
    for new_id in range(256, vocab_size):
        counts: Counter = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                counts[pair] += n
        pair = min(counts, key=lambda p: (-counts[p], p))
        merges.append(pair)
        words = {tuple(merge_pair(w, pair, new_id)): n for w, n in words.items()}
    return merges


def tokenizing(text: str) -> list[dict]:
    """Byte pairs: training against the naive way, and the speed of encoding."""
    made = []
    taken = statistics.median(
        seconds(lambda: made.append(BPETokenizer.train(text, 1_024))) for _ in range(3)
    )
    naive: list = []
    slow = seconds(lambda: naive.extend(naive_merges(text, 1_024)))
    assert made[0].merges == naive
    made[0].encode(text)
    speed = len(text) / 1e6 / seconds(lambda: made[0].encode(text))
    return [
        row(
            "1,024 byte pairs from 1.1 MB",
            f"{taken:.2f} s",
            f"counting again: {slow:.1f} s, the same merges",
            round(slow / taken, 1),
        ),
        row("encoding with known words", f"{speed:.1f} MB/s"),
    ]


def translating(_: str) -> list[dict]:
    """How often translators are right, and post-norm with and without a warm-up."""
    data = translation_data()
    seeds = [random.SystemRandom().randrange(10**6) for _ in range(3)]

    def runs(config: TrainConfig, **sizes) -> str:
        made = [one_translator(data, config, seed, **sizes) for seed in seeds]
        taken = statistics.median(seconds for seconds, _ in made)
        return f"{taken:.0f} s; {'; '.join(results for _, results in made)}"

    def post_norm(n_warmup: int) -> str:
        settings = {"n_warmup": n_warmup} | POST_NORM_TRAINING
        return runs(TrainConfig(POST_NORM_STEPS, **settings), **POST_NORM)

    right = "unseen / held-out sentences right / BLEU of the held-out ones"
    return [
        row(
            f"translating, {MUON_STEPS} steps of Muon: {right}",
            runs(TrainConfig(MUON_STEPS, **TRAINING)),
        ),
        row(
            f"translating, post-norm, {POST_NORM_STEPS} steps of AdamW: {right}",
            f"with a warm-up: {post_norm(100)}",
            f"without: {post_norm(0)}",
        ),
    ]


def one_translator(
    data: TranslationData, config: TrainConfig, seed: int, **sizes
) -> tuple[float, str]:
    """Return the seconds that a translator takes to train, and how good it is."""
    start = time.process_time()
    translator = train_translator(data, config, seed, **sizes)
    taken, right = time.process_time() - start, []
    for pairs in (data.unseen, data.held_out):
        french = translate(*translator, [pair.english for pair in pairs])
        right.append(exact_match(french, pairs))
    score = bleu(french, [pair.french for pair in data.held_out])
    return taken, f"{right[0]:.1%} / {right[1]:.1%} / {score:.1f}"


def modern(text: str) -> list[dict]:
    """Attention in blocks, a window's cache, and a step of a mixture of experts."""
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 4, 1_024, 32)
    mask = causal_mask(1_024)
    with torch.inference_mode():
        blocks, table = fastest(
            lambda: flash_attention(q, k, v, is_causal=True),
            lambda: scaled_dot_product_attention(q, k, v, mask, need_weights=True),
        )
    rows = [
        row(
            "attention in blocks, 1,024 tokens",
            f"{1e3 * blocks:.1f} ms",
            f"with a table of all scores: {1e3 * table:.1f} ms",
            round(table / blocks, 1),
        )
    ]
    long = GPTConfig(65, 128, 4, 4, 512, 2_048, position="rotary", **PLAIN)
    models = [GPT(replace(long, window=window)).eval() for window in (64, None)]
    ids = torch.randint(65, (1, 2_000))
    with torch.inference_mode():
        caches = [model.new_cache() for model in models]
        for model, cache in zip(models, caches):
            model(ids, cache)

        def one(model: GPT, cache: list) -> None:
            model(ids[:, :1], cache)
            for layer in cache:
                layer.length -= 1  # forget the token again

        short, whole = fastest(*(partial(one, *each) for each in zip(models, caches)))
    rows.append(
        row(
            "one more token after 2,000, with a window of 64",
            f"{1e3 * short:.2f} ms",
            f"without a window: {1e3 * whole:.2f} ms",
            round(whole / short, 1),
        )
    )
    small = GPTConfig(65, 64, 4, 2, 256, 64, **SMALL)
    tokens = torch.tensor(CharTokenizer(text).encode(text[:50_000]))
    batch = random_batch(tokens, 16, 64, torch.Generator().manual_seed(0))
    trainings = [
        Training(GPT(config), TrainConfig(1_000, 0.01, "muon"))
        for config in (replace(small, n_experts=4), small)
    ]
    mixed, dense = fastest(*(partial(t.step, batch) for t in trainings))
    rows.append(
        row(
            "a training step with four experts, one active",
            f"{1e3 * mixed:.1f} ms",
            f"dense, as many active parameters: {1e3 * dense:.1f} ms",
            round(dense / mixed, 1),
        )
    )
    return rows


def lessons(text: str) -> list[dict]:
    """What `make times` recorded."""
    times = [r["seconds"] for n, r in kept().items() if n.startswith("lessons/")]
    return [
        row("all lessons", f"{sum(times):.0f} s", f"the longest: {max(times):.0f} s")
    ]


def gpu(_: str) -> list[dict]:
    """Tokens per second, share of the peak and memory of a preset, in three ways."""
    ways = {"float32": ("float32", False)}
    if has_bfloat16(torch.device("cuda")):
        ways |= {"bfloat16": ("bfloat16", False), "compiled": ("bfloat16", True)}
    else:
        ways["compiled"] = "float32", True
    config, name = preset_config(GPU_PRESET), torch.cuda.get_device_name()
    peak = next((p for kind, p in PEAKS.items() if kind in name), None)
    rows, slow = [], None
    for way, (dtype, compiled) in ways.items():
        speed, memory = gpu_speed(config, dtype, compiled)
        slow = slow or speed
        share = "MFU not known" if peak is None else (
            f"MFU {speed * flops_per_token(config) / peak:.0%} of the bfloat16 peak"
        )  # fmt: skip
        rows.append(
            row(
                f"preset {GPU_PRESET} on {name}, {way}",
                f"{speed:,.0f} tokens/s, {share}, {memory / 2**30:.1f} GiB",
                "" if way == "float32" else f"float32: {slow:,.0f} tokens/s",
                None if way == "float32" else round(speed / slow, 1),
            )
        )
    return rows


def gpu_speed(config: GPTConfig, dtype: str, compiled: bool) -> tuple[float, int]:
    """Return the tokens per second of a training on the GPU, and its largest memory."""
    torch.manual_seed(0)
    settings = TrainConfig(GPU_STEPS + GPU_WARM, optimizer="muon", dtype=dtype)
    run = Training(GPT(config).to("cuda"), settings)
    if compiled:
        run.runner = torch.compile(run.runner)
    shape = GPU_BATCH, config.context_length
    ids = torch.randint(config.vocab_size, shape, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    for step in range(GPU_STEPS + GPU_WARM):
        if step == GPU_WARM:
            torch.cuda.synchronize()
            start = time.perf_counter()
        run.step((ids, ids))
    torch.cuda.synchronize()
    taken = time.perf_counter() - start
    return GPU_STEPS * ids.numel() / taken, torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    sys.exit(main())
