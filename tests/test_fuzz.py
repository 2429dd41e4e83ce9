"""Whatever comes in: it works, or it is refused in one line that names what is wrong.

Settings, texts, tokenizers, checkpoints, folders of other libraries, adapters and rows
of examples are changed at random, the same way in each run. A refusal is a ValueError,
a TypeError or an OSError, can be printed, and leaves the folder as it was. The last
test takes one guard of each kind away, and the rule finds it.
"""

import copy
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import ANY

import psutil
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from test_bad_checkpoints import good, rewrite, said  # noqa: F401

from lib.models import hf_files, tensor_table
from lib.models.bigram import BigramConfig, BigramLM
from lib.models.gpt import GPT, GPTConfig
from lib.models.gpt2_files import export_gpt2, load_gpt2
from lib.models.llama_files import export_llama, load_llama
from lib.text import batches, stored
from lib.text.batches import consecutive_batches, random_batch, split_text
from lib.text.bpe import BPETokenizer
from lib.text.corpus import read_text
from lib.text.tokenizer import CharTokenizer
from lib.text.vocabulary import tokenizer_from_dict
from lib.train import Training, tensor_file
from lib.train.checkpoint import load_checkpoint
from lib.train.run_settings import RunSettings
from lib.train.settings import TrainConfig
from lib.tune import adapter_files, rows
from lib.tune.adapter_files import load_adapter, save_adapter
from lib.tune.lora import LoRAConfig, add_lora
from lib.tune.rows import read_conversations, read_pairs

CASES = {
    "settings": 100,
    "texts": 80,
    "tokenizers": 80,
    "bytes": 300,
    "words": 120,
    "folders": 120,
    "adapters": 60,
    "rows": 240,
}
DEEP, MARK = "[" * 100_000 + "]" * 100_000, "<deep>"
UGLY = ["\x1b[31m\n", "\ud800", "\u202e", "../x", "a\0b", "", "x" * 5_000]
SIZES = [0, -1, 1, 2, 2**31, 10**9, 10**12, 10**30]
FLOATS = [0.0, -1.0, 1e-320, 0.5, 1e308, float("inf"), float("-inf"), float("nan")]
NUMBERS = st.sampled_from(SIZES + FLOATS)
JUNK = st.one_of(
    st.sampled_from([None, True, MARK, *UGLY, *SIZES, *FLOATS, [], [[]], {}, {"a": 1}]),
    st.text(max_size=4),
    st.lists(st.one_of(NUMBERS, st.text(max_size=2)), max_size=3),
)
BATCH = (torch.tensor([[1, 2]]), torch.tensor([[2, 3]]))


def cases(kind: str, *strategies: st.SearchStrategy) -> Callable:
    """Decorate a test: so many cases, the same ones in each run."""
    options = dict(derandomize=True, database=None, deadline=None)
    options |= {"suppress_health_check": [*HealthCheck], "phases": [Phase.generate]}

    def decorate(test: Callable) -> Callable:
        return settings(max_examples=CASES[kind], **options)(given(*strategies)(test))

    return decorate


@contextmanager
def the_rule(folder: Path | None = None, *names: str) -> Iterator[SimpleNamespace]:
    """Let what is inside work, or be refused by one of the names; see above."""
    before, outcome = snapshot(folder), SimpleNamespace(refused=False)
    try:
        yield outcome
    except (ValueError, TypeError, OSError) as error:
        words, outcome.refused = str(error), True
        assert words.isprintable() and 0 < len(words) < 1_000, repr(words)
        assert not names or any(name in words for name in names), (names, words)
    assert snapshot(folder) == before


def snapshot(folder: Path | None) -> dict[str, int]:
    """The files below a folder, and their sizes."""
    found = sorted(folder.rglob("*")) if folder else []
    return {str(p): p.stat().st_size for p in found}


def as_json(values: object) -> str:
    """Values as JSON; the mark becomes 100,000 brackets."""
    return json.dumps(values).replace(json.dumps(MARK), DEEP)


def places(values: object, place: tuple = ()) -> Iterator[tuple]:
    """Where something stands in values of JSON, first the whole."""
    yield place
    inner = values.items() if isinstance(values, dict) else ()
    inner = enumerate(values) if isinstance(values, list) else inner
    for key, value in inner:
        yield from places(value, (*place, key))


def changed(data: st.DataObject, values: object) -> object:
    """Values with something else, or nothing, in one place of them."""
    *way, last = data.draw(st.sampled_from([*places([values])][1:]))
    values = [copy.deepcopy(values)]
    inner = values
    for key in way:
        inner = inner[key]
    if way and data.draw(st.integers(0, 4)) == 0:
        del inner[last]
    else:
        inner[last] = data.draw(JUNK)
    return values[0]


def damaged(data: st.DataObject, content: bytes) -> bytes:
    """Bytes of which one is another, or some are missing, twice there, or new."""
    head = st.integers(0, min(400, len(content) - 1))
    place = data.draw(st.one_of(head, st.integers(0, len(content) - 1)))
    ways = ["flip"] * 4 + ["cut", "drop", "double", "insert"]  # only a sum finds a flip
    how = data.draw(st.sampled_from(ways))
    new = data.draw(st.binary(min_size=1, max_size=9))
    before, after = content[:place], content[place:]
    match how:
        case "flip":
            return before + bytes([after[0] ^ 1 << new[0] % 8]) + after[1:]
        case "cut":
            return before
        case "drop":
            return before + after[len(new) :]
        case "double":
            return before + after[: len(new)] + after
    return before + new + after


# Settings and texts

WORDS = ["adamw", "muon", "cosine", "linear", "noam", "auto", "bfloat16", *UGLY[:-1]]
VALUES = {
    **dict.fromkeys(("n_steps", "accumulation", "n_warmup"), st.sampled_from(SIZES)),
    **dict.fromkeys(("learning_rate", "muon_learning_rate", "weight_decay"), NUMBERS),
    **dict.fromkeys(("embedding_learning_rate", "clip"), st.none() | NUMBERS),
    **dict.fromkeys(("optimizer", "schedule", "dtype"), st.sampled_from(WORDS)),
}
RUN_VALUES = VALUES | {"batch_size": st.sampled_from(SIZES), "epochs": NUMBERS}


def one_of(values: dict[str, st.SearchStrategy]) -> st.SearchStrategy:
    return st.one_of(*(st.tuples(st.just(n), s) for n, s in values.items()))


@cases("settings", one_of(VALUES), one_of(RUN_VALUES))
def test_settings(first, second):
    (name, value), (other, number) = first, second
    with the_rule(None, name, "n_warmup"):
        config = TrainConfig(**{"n_steps": 3, name: value})
        if config.accumulation == 1:
            Training(BigramLM(BigramConfig(4, 2)), config).step(BATCH)
    with the_rule(None, other, "n_warmup", "batch_size"):
        RunSettings(**{other: number}).train_config(3)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


ANY_TEXT = st.text(max_size=30) | st.sampled_from(UGLY)


@cases("texts", ANY_TEXT | st.binary(max_size=30), ANY_TEXT, st.integers(-1, 40))
def test_texts(place, content, other, size):
    data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
    (place / "text").write_bytes(data * 40)
    with the_rule(place, "path="):
        assert len(read_text(place / "text")) >= 1_000
    text = data.decode("utf-8", "replace") + "ab"
    for tokenizer in (CharTokenizer(text), BPETokenizer.train(text, 260)):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        with the_rule(None, "text", "surrogates", "utf-8"):
            assert tokenizer.decode(tokenizer.encode(other)) == other
        with the_rule(None, "ids"):
            tokenizer.decode([size])
    ids = torch.tensor(tokenizer.encode(text))
    with the_rule(None, "context_length", "batch_size"):
        assert random_batch(ids, 2, size)[0].shape == (2, size)
        assert sum(y.numel() for _, y in consecutive_batches(ids, 2, size)) < len(ids)
    with the_rule(None, "train_fraction"):
        assert "".join(split_text(text, size / 10)) == text


STORED = [
    {"characters": ["a", "b", "c"]},
    {"words": ["<pad>", "<bos>", "<eos>", "a", "b"]},
    {"merges": [[97, 98], [256, 256]], "special_tokens": ["<x>"], "alphabet": [1, 0]},
    {"bpe": [[[97, 98]], ["<x>"], [*range(256)]]},
    [{"words": ["<pad>", "<bos>", "<eos>", "a"]}, {"characters": ["a"]}],
]
STORED[2]["alphabet"] += range(2, 256)


@cases("tokenizers", st.data())
def test_tokenizers(place, data):
    values = changed(data, data.draw(st.sampled_from(STORED)))
    if data.draw(st.integers(0, 9)) == 0:
        values = {"merges": [[0, 0], *([n, n] for n in range(256, 300))]}
    (place / "tokenizer.json").write_text(as_json(values), "utf-8")
    for kind in (CharTokenizer, BPETokenizer):
        with the_rule(place, "tokenizer.json"):
            kind.load(place / "tokenizer.json")
    if MARK not in as_json(values):
        with the_rule():
            one = tokenizer_from_dict(values)
            for tokenizer in one if isinstance(one, tuple) else [one]:
                assert tokenizer is None or tokenizer.decode([0]) is not None


# Checkpoints


@cases("bytes", st.data())
def test_bytes_of_checkpoints(good, place, data):  # noqa: F811
    content, path = good.read_bytes(), place / "bad.safetensors"
    head = 8 + int.from_bytes(content[:8], "little")
    if data.draw(st.integers(0, 2)) == 2:
        header = as_json(changed(data, json.loads(content[8:head]))).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + content[head:])
    else:
        path.write_bytes(damaged(data, content))
    with the_rule(place, "bad.safetensors"):
        assert said(load_checkpoint(path)) == said(load_checkpoint(good))


@cases("words", st.data())
def test_words_of_checkpoints(good, place, data):  # noqa: F811
    name = data.draw(st.sampled_from(["model", "notes", "tokenizer", "format", "new"]))
    about = tensor_table.TensorFile(good).metadata
    value = as_json(changed(data, json.loads(about.get(name, '{"a": [1]}'))))
    path = rewrite(good, place / "bad.safetensors", raw={name: value})
    with the_rule(place, "bad.safetensors"):
        loaded = load_checkpoint(path)
        assert loaded.tokenizer is None or loaded.tokenizer.vocab_size <= 260
        with the_rule(None, "checkpoint"):
            config = TrainConfig(3, optimizer="muon")
            training = Training(GPT(loaded.model.config), config)
            loaded.resume(training, torch.Generator())


# Folders


@pytest.fixture(scope="module")
def folders(place) -> dict[Path, Callable]:
    """A GPT-2 and a Llama, of which one lies in shards."""
    torch.manual_seed(0)
    sizes = (9, 4, 2, 1, 4, 6)
    export_gpt2(GPT(GPTConfig(*sizes)), place / "gpt2")
    parts = dict(norm="rms", position="rotary", ffn="swiglu", attention_bias=False)
    llama = GPT(GPTConfig(*sizes, **parts, tie_weights=False, init="normal"))
    export_llama(llama, place / "llama")
    weights = place / "llama" / "model.safetensors"
    names = [*tensor_table.TensorFile(weights).entries]
    weights.rename(weights.with_name("part.safetensors"))
    index = {"weight_map": dict.fromkeys(names, "part.safetensors")}
    weights.with_name(hf_files.INDEX).write_text(json.dumps(index), "utf-8")
    return {place / "gpt2": load_gpt2, place / "llama": load_llama}


@cases("folders", st.data())
def test_folders(folders, data):
    folder, load = data.draw(st.sampled_from([*folders.items()]))
    file = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = file.read_bytes()
    try:
        if file.suffix == ".json" and data.draw(st.integers(0, 5)):
            values = changed(data, json.loads(content))
            file.write_text(as_json(values), "utf-8")
        else:
            file.write_bytes(damaged(data, content))
        with the_rule(folder):
            model = load(folder)
            assert all(p.isfinite().all() for p in model.parameters())
            with the_rule(None, "length"):
                assert model(torch.tensor([[1, 2, 3]])).size(1) == 3
    finally:
        file.write_bytes(content)


@pytest.fixture(scope="module")
def adapter(place) -> tuple[GPT, Path]:
    torch.manual_seed(0)
    model = GPT(GPTConfig(9, 4, 2, 1, 4, 6))
    tuned = copy.deepcopy(model)
    add_lora(tuned, LoRAConfig(rank=2))
    save_adapter(place / "adapter", tuned)
    return model, place / "adapter"


@cases("adapters", st.data())
def test_adapters(adapter, data):
    (model, folder), names = adapter, [adapter_files.SETTINGS, adapter_files.WEIGHTS]
    before = {name: (folder / name).read_bytes() for name in names}
    settings = json.loads(before[names[0]])
    try:
        if data.draw(st.booleans()):
            settings = changed(data, settings)
        if data.draw(st.booleans()) and isinstance(settings, dict):
            settings["r"] = data.draw(st.sampled_from([1, 2, 3, 10**9]))
        (folder / names[0]).write_text(as_json(settings), "utf-8")
        if data.draw(st.integers(0, 3)) == 0:
            (folder / names[1]).write_bytes(damaged(data, before[names[1]]))
        twin = copy.deepcopy(model)
        with the_rule(folder, "adapter") as outcome:
            load_adapter(folder, twin)
        parts = [[name for name, _ in m.named_modules()] for m in (model, twin)]
        assert (parts[0] == parts[1]) == outcome.refused
    finally:
        for name in names:
            (folder / name).write_bytes(before[name])


TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
ROWS = [
    {"prompt": "a", "answer": "b"},
    {"messages": TURNS},
    {"prompt": "a", "chosen": "b", "rejected": "c"},
]
LETTERS = CharTokenizer("".join(map(chr, [10, *range(32, 127)])))


@cases("rows", st.data())
def test_rows(place, data):
    lines = [
        as_json(changed(data, row)).encode()
        if data.draw(st.booleans())
        else damaged(data, json.dumps(row).encode())
        for row in data.draw(st.lists(st.sampled_from(ROWS), min_size=1, max_size=2))
    ]
    (place / "rows.jsonl").write_bytes(b"\n".join(lines))
    for read in (read_conversations, read_pairs):
        with the_rule(place, "rows.jsonl"):
            assert read(place / "rows.jsonl", LETTERS, 64)


# The rule itself


def test_there_are_enough_cases():
    tests = {name for name in globals() if name.startswith("test_")}
    assert sum(CASES.values()) >= 500 and len(tests) >= len(CASES)


def anything(*_: object, **__: object) -> None:
    """A guard that lets everything pass."""


def no_name(_: str) -> nullcontext:
    """What lets an error go as it came."""
    return nullcontext()


def any_sum(*_: object) -> object:
    """A sum that equals what is written, whatever that is."""
    return ANY


def read_anything(path: Path) -> object:
    """What does not ask whether a file holds an object."""
    return json.loads(path.read_text("utf-8"))


FAULTS = {
    "settings": (test_settings, TrainConfig, "__post_init__", anything),
    "texts": (test_texts, batches, "require_windows", anything),
    "tokenizers": (test_tokenizers, stored, "naming", no_name),
    "bytes": (test_bytes_of_checkpoints, tensor_file, "_sum", any_sum),
    "words": (test_words_of_checkpoints, tensor_file, "naming", no_name),
    "folders": (test_folders, hf_files, "_read_object", read_anything),
    "adapters": (test_adapters, adapter_files, "_require_fit", anything),
    "rows": (test_rows, rows, "parse_json", json.loads),
}


@contextmanager
def four_gigabytes_more() -> Iterator[None]:
    """Without its guard the library may ask for all the memory that there is."""
    if sys.platform == "win32":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(ValueError):  # macOS sets no such limit
        most = psutil.Process().memory_info().vms + 4 * 2**30
        resource.setrlimit(resource.RLIMIT_AS, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("kind", CASES)
def test_a_guard_that_is_gone_is_found(
    kind,
    monkeypatch,
    request,
    good,
    place,
    folders,
    adapter,  # noqa: F811
):
    test, module, name, fault = FAULTS[kind]
    monkeypatch.setattr(module, name, fault)
    known = {"good": good, "place": place, "folders": folders, "adapter": adapter}
    wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
    needed = re.findall(r"\b(?:good|place|folders|adapter)\b", " ".join(wanted))
    with pytest.raises(BaseException) as caught, four_gigabytes_more():
        test(**{name: known[name] for name in needed})
    assert not isinstance(caught.value, KeyboardInterrupt | SystemExit)
