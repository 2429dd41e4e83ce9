"""Record what Python computes for the translator and the tokenizer of the site.

``python book/_tools/live_reference.py`` writes ``tests/playground/live/*.json``. For
the translator these are logits, attention weights, translations and what each word
looks at; for the tokenizer ids of many texts, also after the first merges alone. A
browser has no Python: its tests compare with these records, and a test with Python
holds the records against the library. Two tiny translators with random weights have
the parts that the shipped one has not.
"""

from __future__ import annotations

import json
import random
import sys
import unicodedata
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from playground_reference import numbers  # noqa: E402

from lib.evaluate.attention_maps import attention_maps  # noqa: E402
from lib.models.encoder_decoder import Transformer, TransformerConfig  # noqa: E402
from lib.tasks.english_french import Pair, translation_data  # noqa: E402
from lib.text.bpe import BPETokenizer, split_words  # noqa: E402
from lib.text.tokenizer import WordTokenizer  # noqa: E402
from lib.train.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from lib.translate import encode_pairs, translate  # noqa: E402
from lib.translate.translator import alignment  # noqa: E402

RECORDS = ROOT / "tests" / "playground" / "live"
SHIPPED = ROOT / "data" / "translator.safetensors"
MERGES = ROOT / "data" / "bpe-1024.json"
N_EACH = 30  # sentences of the training, unseen, held out
SIZES = {"d_model": 16, "d_ff": 24, "n_encoder_layers": 3, "n_decoder_layers": 2}
SIZES |= {"context_length": 14}
TINY = {
    "tiny-post": dict(n_heads=4, attention_bias=True),  # and a tied head, as the paper
    "tiny-pre": dict(n_heads=2, pre_norm=True, tie_weights=False, n_decoder_layers=3),
}
WORDS = ["one two three four five six", "un deux trois quatre cinq six sept huit"]
FIRST = (0, 1, 2, 5, 20, 100, 300, 767, 768)  # merges
TEXTS = [
    "", " ", "\n", "a", "  two  spaces ", "the theatre, thou and thee: there!",
    "ROMEO:\nI'll go; we've not gone, they'd said.\n\nJULIET:\nO!", "café naïve Ærø",
    "I\u2019m \u201cquoting\u201d \u2014 dashes\u2026", "12345 and 3.14159, -7",
    "🎭", "👩‍👩‍👧 👍🏽 🇫🇷", "日本語のテキスト", "Привет, мир", "مرحبا", "नमस्ते", "e\u0301",
    "tabs\tand\r\nlines\r", "\ufeffmark", "next\u0085line", "thin\u2009space\u00a0hard",
    "\n\n\u0085the", "\n\n\ufeffthe", "\u3000wide\u200bzero",
    "a" * 300, " " * 60 + "end", "thethethethe" * 20,
]  # fmt: skip


def make_tiny() -> None:
    """Write the tiny translators: every weight is drawn, so that none is forgotten."""
    source, target = (WordTokenizer([words]) for words in WORDS)
    for seed, (name, parts) in enumerate(TINY.items()):
        torch.manual_seed(seed)
        vocabularies = (source.vocab_size, target.vocab_size)
        model = Transformer(TransformerConfig(*vocabularies, **(SIZES | parts)))
        for key, weight in model.named_parameters():
            nn.init.normal_(weight, mean=float(key.endswith("gain")), std=0.4)
        path = RECORDS / f"{name}.safetensors"
        save_checkpoint(path, model, (source, target), notes={})


def files() -> dict[str, Path]:
    """Return where each translator is, by name."""
    tiny = {name: RECORDS / f"{name}.safetensors" for name in TINY}
    return {"translator": SHIPPED} | tiny


def sentences(name: str) -> list[str]:
    """Return the sentences that a translator is asked for."""
    if name != "translator":
        rng, words = random.Random(name), WORDS[0].split()
        return [" ".join(rng.choices(words, k=k)) for k in [*range(1, 13)] * 3]
    parts = (part[:N_EACH] for part in translation_data(400))
    return [pair.english for part in parts for pair in part]


@torch.no_grad()
def translator_record(name: str) -> dict:
    """Return what PyTorch computes with a translator."""
    checkpoint = load_checkpoint(files()[name])
    model, (source, target) = checkpoint.model, checkpoint.tokenizer
    asked = sentences(name)
    french = translate(model, source, target, asked)
    # With no neighbour, as in the browser: a batch must not change a translation.
    assert french[:5] == [translate(model, source, target, [s])[0] for s in asked[:5]]
    record = {"pairs": [*zip(asked, french)], "passes": [], "alignments": []}
    longest = sorted(range(len(asked)), key=lambda i: -len(french[i].split()))
    for i in sorted(longest[:3]):
        (src,), (tgt,) = encode_pairs([Pair(asked[i], french[i], ())], source, target)
        tgt = tgt[: model.config.context_length]
        one, other = torch.tensor([src]), torch.tensor([tgt])
        maps = attention_maps(model, one, other)
        record["passes"].append({
            "src": src, "tgt": tgt, "logits": numbers(model(one, other)[0]),
            "maps": [numbers(weights[0]) for weights in maps],
        })  # fmt: skip
    for sentence in asked[:20] if name == "translator" else []:
        rows = alignment(model, source, target, sentence)
        record["alignments"].append([[*row[:2], round(row[2], 6)] for row in rows])
    return record


def texts() -> list[str]:
    """Return the texts above, and seeded ones of characters that Unicode long has."""
    rng, drawn = random.Random(0), []
    known = unicodedata.ucd_3_2_0.category
    everything = [chr(c) for c in range(0xFFFF) if known(chr(c)) not in ("Cn", "Cs")]
    near = [c for c in everything if ord(c) < 0x250]
    for pool, n in ((near, 20), (everything, 20)):
        for length in range(1, n + 1):
            letters = rng.choices("the and'll  \n.,ROMEO12", k=length)
            mixed = letters + rng.choices(pool, k=length)
            rng.shuffle(mixed)
            drawn.append("".join(mixed))
    return TEXTS + drawn


def tokenizer_record(asked: list[str]) -> dict:
    """Return words and ids of texts, ids after some merges, and which change some."""
    merges = BPETokenizer.load(MERGES).merges
    after = {}
    for k in FIRST:
        tokenizer = BPETokenizer(merges[:k])
        after[str(k)] = [tokenizer.encode(text) for text in asked]
    shown, changes = asked[5:8], {text: [] for text in asked[5:8]}
    before = after["0"][5:8]
    for k in range(1, len(merges) + 1):
        tokenizer = BPETokenizer(merges[:k])
        now = [tokenizer.encode(text) for text in shown]
        for text, old, new in zip(shown, before, now):
            changes[text] += [255 + k] * (old != new)
        before = now
    words = [split_words(text) for text in asked]
    return {"texts": asked, "words": words, "after": after, "changes": changes}


def main() -> None:
    """Write the tiny translators and all records."""
    RECORDS.mkdir(parents=True, exist_ok=True)
    make_tiny()
    records = {name: translator_record(name) for name in files()}
    records["tokenizer"] = tokenizer_record(texts())
    for name, record in records.items():
        text = json.dumps(record, separators=(",", ":"))
        (RECORDS / f"{name}.json").write_text(text + "\n", "utf-8")
        print(name, f"{len(text):,} characters")


if __name__ == "__main__":
    main()
