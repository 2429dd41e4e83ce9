"""Record what PyTorch computes from the models that the playground shows.

``python book/_tools/playground_reference.py`` writes ``tests/playground/*.json``:
logits, attention weights and the vectors after each block, and what each model writes
when it always takes the likeliest token. A browser has no PyTorch: its tests compare
with these records, and a test with PyTorch holds the records against the models. It
also makes three tiny models with random weights, which have the parts that no shipped
model has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from lib.evaluate.attention_maps import attention_maps  # noqa: E402
from lib.generate import generate, window_start  # noqa: E402
from lib.models.gpt import GPT, GPTConfig  # noqa: E402
from lib.text.bpe import BPETokenizer  # noqa: E402
from lib.text.tokenizer import CharTokenizer  # noqa: E402
from lib.train.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402

RECORDS = ROOT / "tests" / "playground"
PROMPT = "ROMEO:"
SHIPPED = {name: ROOT / "data" / f"{name}.safetensors" for name in (
    "base-fp16", "gpt-mini-fp16", "base-workbook")}  # fmt: skip
LETTERS = CharTokenizer("\n !,.:ABCDEMORabcdefghijklmnopqrstuvwxyz")
MERGES = BPETokenizer.train(
    "ROMEO: to be, or not to be; that is to be ROMEO. " * 9, 280
)
SIZES = {"d_model": 24, "n_heads": 4, "n_layers": 3, "d_ff": 40, "context_length": 20}
TINY = {
    "tiny-modern": (LETTERS, dict(
        norm="rms", position="rotary", ffn="swiglu", n_kv_heads=2, d_head=8,
        attention_bias=False, qk_norm=True, window=6, full_every=3, rotary_base=500.0,
        norm_eps=1e-4, init="normal")),
    "tiny-plain": (MERGES, dict(
        position="sinusoidal", ffn="gelu_tanh", final_norm=False, tie_weights=False,
        head_bias=True, init="fan_in")),
    "tiny-learned": (LETTERS, {}),
}  # fmt: skip
N_GREEDY = 200


def files() -> dict[str, Path]:
    """Return where each model is, by name."""
    return SHIPPED | {name: RECORDS / f"{name}.safetensors" for name in TINY}


def make_tiny() -> None:
    """Write the tiny models: every weight is drawn, so that none can be forgotten."""
    for seed, (name, (tokenizer, parts)) in enumerate(TINY.items()):
        torch.manual_seed(seed)
        model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **SIZES, **parts))
        for key, weight in model.named_parameters():
            nn.init.normal_(weight, mean=float(key.endswith("gain")), std=0.3)
        save_checkpoint(files()[name], model, tokenizer, notes={})


def numbers(tensor: Tensor) -> list:
    """Return a tensor as lists of numbers of seven digits."""
    if tensor.dim():
        return [numbers(row) for row in tensor]
    return float(f"{tensor.item():.7g}")


@torch.no_grad()
def reference(path: Path) -> dict:
    """Return what PyTorch computes from a checkpoint."""
    checkpoint = load_checkpoint(path)
    model, tokenizer = checkpoint.model, checkpoint.tokenizer
    text = f"{PROMPT}\nto be, or not to be. " * 12
    long, context = tokenizer.encode(text), model.context_length
    record = {"text": text, "ids": long, "passes": []}
    for length in (
        1,
        len(tokenizer.encode(PROMPT)),
        context // 2,
        context,
        context + 7,
    ):
        ids = torch.tensor([long[window_start(length, context) : length]])
        vectors: list[Tensor] = []
        hooks = [b.register_forward_hook(lambda *c: vectors.append(c[-1][0, -1]))
                 for b in model.blocks]  # fmt: skip
        logits = model(ids)[0, -1]
        for hook in hooks:
            hook.remove()
        maps = torch.stack(
            [weights[0, :, -1] for weights in attention_maps(model, ids)]
        )
        one = {"length": length, "logits": numbers(logits)}
        if length < context // 2:
            one |= {"blocks": numbers(torch.stack(vectors)), "maps": numbers(maps)}
        elif length == context:
            one["maps"] = numbers(maps)
        record["passes"].append(one | {"ids": long[:length]})
    prompt = torch.tensor([tokenizer.encode(PROMPT)])
    written = generate(model, prompt, N_GREEDY, temperature=0.0)[0].tolist()
    return record | {"prompt": PROMPT, "written": tokenizer.decode(written)}


def main() -> None:
    """Write the tiny models and all records."""
    RECORDS.mkdir(exist_ok=True)
    make_tiny()
    for name, path in files().items():
        text = json.dumps(reference(path), separators=(",", ":"))
        (RECORDS / f"{name}.json").write_text(text + "\n", "utf-8")
        print(name, f"{len(text):,} characters")


if __name__ == "__main__":
    main()
