"""Measure what lesson 13 says about speed: a cache, and a model that drafts.

``python book/_tools/writing.py`` writes ``data/writing.json``. ``steps``: milliseconds
of one step at a full window, without a cache, with one, and with one for 16 texts side
by side. ``drafts``: for three seeds, how much of what a draft proposes the base model
accepts, and how many times as fast they write together as the base model alone. Times
are processor seconds of one thread, the least of several measurements in turn.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.generate import generate  # noqa: E402
from lib.generate.speculative import speculative_generate  # noqa: E402
from lib.models.bigram import BigramConfig, BigramLM, count_pairs  # noqa: E402
from lib.models.gpt import GPT  # noqa: E402
from lib.models.presets import preset_config  # noqa: E402
from lib.text.batches import split_text  # noqa: E402
from lib.text.corpus import load_corpus  # noqa: E402
from lib.train.checkpoint import load_checkpoint  # noqa: E402

RECORD = Path("data", "writing.json")
CONTEXTS, N_TEXTS, N_REPEATS = (64, 256), 16, 40
SEEDS, N_DRAFT, N_TOKENS, PROMPT = range(3), (1, 2, 4, 8), 400, "ROMEO:\n"


def seconds(run: Callable[[], object]) -> float:
    """Return the processor seconds that a call takes."""
    start = time.process_time()
    run()
    return time.process_time() - start


@torch.inference_mode()
def step_times(context_length: int) -> dict[str, float]:
    """Return the milliseconds of one step at a full window, three ways."""
    torch.manual_seed(0)
    model = GPT(preset_config("mini", context_length=context_length)).eval()
    ids = torch.randint(65, (N_TEXTS, context_length))
    caches = {n: model.new_cache() for n in (1, N_TEXTS)}
    for n, cache in caches.items():
        model(ids[:n, :-1], cache)

    def step(n: int) -> Tensor:
        for cache in caches[n]:
            cache.length = context_length - 1  # the same step again
        return model(ids[:n, -1:], caches[n])

    ways = {
        "no cache": lambda: model(ids[:1]),
        "cache": lambda: step(1),
        "cache, 16 texts": lambda: step(N_TEXTS),
    }
    found = {name: [] for name in ways}
    for _ in range(N_REPEATS):
        for name, way in ways.items():
            found[name].append(seconds(way))
    return {name: round(1_000 * min(all_), 3) for name, all_ in found.items()}


def bigram_draft(tokenizer, vocab_size: int) -> BigramLM:
    """Return counted pairs of the training text as a model."""
    text, _ = split_text(load_corpus().text)
    counts = count_pairs(torch.tensor(tokenizer.encode(text)), vocab_size)
    model = BigramLM(BigramConfig(vocab_size))
    model.logits.weight.data = (counts + 1).float().log()
    return model


def draft_rows(target: nn.Module, drafts: dict[str, nn.Module], prompt: Tensor) -> list:
    """Return what each draft brings, by how many tokens it proposes."""
    rows = []
    for name, draft in drafts.items():
        for n_draft in N_DRAFT:
            row = {"draft": name, "n_draft": n_draft, "accepted": [], "per_pass": []}
            row["speed"] = []
            for seed in SEEDS:
                rng = lambda: torch.Generator().manual_seed(seed)  # noqa: B023
                alone, both = [], []
                for _ in range(2):
                    alone.append(
                        seconds(
                            lambda: generate(target, prompt, N_TOKENS, generator=rng())
                        )
                    )
                    start = time.process_time()
                    run = speculative_generate(
                        target, draft, prompt, N_TOKENS, n_draft, generator=rng()
                    )
                    both.append(time.process_time() - start)
                row["accepted"].append(round(run.n_accepted / run.n_drafted, 3))
                row["per_pass"].append(round(N_TOKENS / run.n_passes, 3))
                row["speed"].append(round(min(alone) / min(both), 2))
            print(row, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    """Measure everything and write the record, whole or not at all."""
    torch.set_num_threads(1)
    base, mini = (
        load_checkpoint(ROOT / "data" / f"{name}.safetensors")
        for name in ("base", "gpt-mini")
    )
    tokenizer, vocab_size = base.tokenizer, base.model.config.vocab_size
    drafts = {"gpt-mini": mini.model, "bigram": bigram_draft(tokenizer, vocab_size)}
    prompt = torch.tensor([tokenizer.encode(PROMPT)])
    record = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, "
        f"torch {torch.__version__.split('+')[0]}",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "model": "mini",
        "steps": {str(length): step_times(length) for length in CONTEXTS},
    }
    print(record, flush=True)
    record |= {"seeds": [*SEEDS], "n_tokens": N_TOKENS, "prompt": PROMPT}
    record["drafts"] = draft_rows(base.model, drafts, prompt)
    draft = ROOT / RECORD.with_suffix(".draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(ROOT / RECORD)


if __name__ == "__main__":
    main()
