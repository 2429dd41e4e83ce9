"""The playground without a browser: its records, its scripts, its widget."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import live_reference
import playground_reference
import pytest
import torch
from safetensors import safe_open

from lib.models import build_model
from lib.models.bigram import BigramConfig
from lib.models.gpt import GPT, GPTConfig
from lib.show.live import playground
from lib.show.playground import (
    HERE,
    KINDS,
    page_script,
    place,
    source,
    weights_script,
    widget_module,
)
from lib.text.tokenizer import CharTokenizer, WordTokenizer
from lib.train.checkpoint import load_checkpoint

LETTERS = CharTokenizer("abcde")


def tiny(**changes) -> GPT:
    sizes = {"vocab_size": 5, "d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 8}
    return GPT(GPTConfig(**(sizes | {"context_length": 8} | changes)))


@pytest.mark.parametrize("name", playground_reference.files())
def test_the_records_are_what_pytorch_computes(name: str) -> None:
    path = playground_reference.files()[name]
    record = json.loads(
        (playground_reference.RECORDS / f"{name}.json").read_text("utf-8")
    )
    now = playground_reference.reference(path)
    assert now["written"] == record["written"] and now["ids"] == record["ids"]
    for new, old in zip(now["passes"], record["passes"], strict=True):
        assert new["ids"] == old["ids"]
        for key in new.keys() & {"logits", "blocks", "maps"}:
            one, other = torch.tensor(new[key]), torch.tensor(old[key])
            torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)


def stored(name: str) -> dict:
    """The record of a translator, or of the tokenizer."""
    return json.loads((live_reference.RECORDS / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", live_reference.files())
def test_the_records_of_translators_are_what_pytorch_computes(name: str) -> None:
    now, record = live_reference.translator_record(name), stored(name)
    assert [list(pair) for pair in now["pairs"]] == record["pairs"]
    for new, old in zip(now["passes"], record["passes"], strict=True):
        assert (new["src"], new["tgt"]) == (old["src"], old["tgt"])
        pairs = [(new["logits"], old["logits"])]
        for one, other in pairs + [*zip(new["maps"], old["maps"], strict=True)]:
            one, other = torch.tensor(one), torch.tensor(other)
            torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-5)
    for new, old in zip(now["alignments"], record["alignments"], strict=True):
        for (*words, share), (*old_words, old_share) in zip(new, old, strict=True):
            assert words == old_words and share == pytest.approx(old_share, abs=2e-5)


def test_the_record_of_the_tokenizer_is_what_python_computes() -> None:
    record = stored("tokenizer")
    assert live_reference.tokenizer_record(record["texts"]) == record
    assert record["texts"][: len(live_reference.TEXTS)] == live_reference.TEXTS


@pytest.mark.parametrize("kind", KINDS)
def test_each_script_is_small_and_has_no_imports(kind: str) -> None:
    script = page_script(kind)
    assert len(gzip.compress(script.encode(), 9)) <= 20_000
    assert "import " not in script.replace("important", "")
    assert script.count("const CSS = `") == 1 and "export " not in script
    assert f'const KIND = "{kind}";' in script


def test_the_widget_s_module_has_one_export() -> None:
    assert "import " not in widget_module().replace("important", "")
    assert widget_module().count("const CSS = `") == 1
    assert widget_module().count("export ") == 1


def test_a_script_can_end_with_one_of_its_files() -> None:
    assert "class Transformer" in source("translator", until="translation.js")
    assert "class TranslatorPanel" not in source("translator", until="translation.js")
    assert source("tokenizer", until="tokenizer_panel.js") == source("tokenizer")
    with pytest.raises(ValueError):
        source("tokenizer", until="engine.js")


def test_each_part_is_written_once() -> None:
    for name in ("function linear", "function mixHead", "function feedForward"):
        files = [f.name for f in HERE.glob("*.js") if name in f.read_text("utf-8")]
        assert files == ["parts.js"]


def test_a_place_says_its_kind() -> None:
    html = place("static/", ["bpe-1024"], {"text": 'a"b'}, "tokenizer")
    assert html.startswith('<div data-tokenizer data-folder="static/"')
    assert 'data-models="bpe-1024"' in html and "a\\&quot;b" in html


def test_the_models_of_the_page_are_small_enough_for_it() -> None:
    for name in ("base-fp16", "gpt-mini-fp16"):
        content = playground_reference.files()[name].read_bytes()
        script = weights_script(name, content).encode()
        assert len(gzip.compress(script, 9)) <= 1_700_000
    script = weights_script("translator", live_reference.SHIPPED.read_bytes())
    assert len(gzip.compress(script.encode(), 9)) <= 1_400_000
    script = weights_script("merges", live_reference.MERGES.read_bytes())
    assert len(gzip.compress(script.encode(), 9)) <= 10_000


def test_the_widget_holds_the_model(tmp_path: Path) -> None:
    model = tiny()
    widget = playground(model, LETTERS, prompt="abc", temperature=0.5, seed=3)
    assert widget.options == {"prompt": "abc", "temperature": 0.5, "seed": 3}
    path = tmp_path / "copy.safetensors"
    path.write_bytes(widget.checkpoint)
    copy = load_checkpoint(path)
    assert copy.tokenizer.to_dict() == LETTERS.to_dict()
    for new, old in zip(copy.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(new, old, atol=1e-3, rtol=1e-3)
    with safe_open(path, "pt") as file:
        assert not [name for name in file.keys() if not name.startswith("model.")]


def test_for_the_site_the_cell_holds_only_a_place(monkeypatch) -> None:
    monkeypatch.setenv("COURSE_QUIET", "1")
    html = playground(tiny(), LETTERS, prompt="ab", on_page="base", seed=3).data
    assert len(html) < 500 and 'data-models="base"' in html
    assert "{&quot;prompt&quot;: &quot;ab&quot;, &quot;seed&quot;: 3}" in html
    monkeypatch.delenv("COURSE_QUIET")
    assert playground(tiny(), LETTERS, on_page="base").checkpoint


@pytest.mark.parametrize(
    ("model", "tokenizer", "options", "error", "words"),
    [
        (build_model(BigramConfig()), LETTERS, {}, TypeError, "model is a "),
        (tiny(), WordTokenizer(["a b"]), {}, TypeError, "tokenizer is a WordTokenizer"),
        (tiny(), LETTERS, {"topk": 3}, TypeError, "option 'topk' is unknown"),
        (tiny(n_experts=2), LETTERS, {}, ValueError, "n_experts=2"),
        (
            tiny(kv_rank=4, position="rotary", d_head=4),
            LETTERS, {}, ValueError, "kv_rank=4",
        ),
        (tiny(d_model=512, d_ff=2_048, n_layers=2), LETTERS, {}, ValueError, "4 MB is"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused(
    model, tokenizer, options: dict, error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        playground(model, tokenizer, **options)
