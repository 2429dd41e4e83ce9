"""GPT-2 writes in lesson 14: its files are fetched, checked, kept, and used.

A server on this machine holds a small model with random weights in GPT-2's format, and
a tokenizer in its format. The last cell of the lesson runs against it, switched on.
"""

import contextlib
import hashlib
import http.server
import inspect
import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import tokenizers
import torch
from notebooks import ROOT
from tiktoken_ext import openai_public
from transformers import GPT2Config, GPT2LMHeadModel

from lib.generate import generate
from lib.models import gpt2_files
from lib.models.gpt2_files import load_gpt2, load_gpt2_tokenizer
from lib.text.bpe import BPETokenizer, gpt2_bytes

FILES = [*gpt2_files.FILES, "merges.txt"]
LESSON = ROOT / "lessons" / "14_tokenization.py"
OFF = "WRITE_WITH_GPT2 = False"
TEXT = "the old sailor opened the other letter and read the letter of another sailor "


def spelled(token: bytes) -> str:
    """A token as GPT-2's files write it."""
    written = {byte: character for character, byte in gpt2_bytes().items()}
    return "".join(written[byte] for byte in token)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of a few thousand random weights, with its tokenizer."""
    folder = tmp_path / "hub"
    learned = BPETokenizer.train(TEXT * 3, 300)
    tokens = [spelled(token) for token in learned.tokens]
    lines = [f"{tokens[a]} {tokens[b]}" for a, b in learned.merges]
    sizes = dict(n_embd=32, n_head=4, n_layer=2, n_positions=64)
    sizes |= dict(vocab_size=len(tokens) + 1, bos_token_id=0, eos_token_id=0)
    config = GPT2Config(**sizes)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    for weights in model.parameters():
        weights.data += 0.3 * torch.randn_like(weights)
    model.save_pretrained(folder)
    text = "\n".join(["#version: 0.2", *lines, ""])
    (folder / "merges.txt").write_text(text, "utf-8")
    in_order = [*gpt2_bytes(), *tokens[256:], "<|endoftext|>"]
    ids = {token: i for i, token in enumerate(in_order)}
    (folder / "vocab.json").write_text(json.dumps(ids), "utf-8")
    return folder


class Hub:
    """What the server does: the files asked for, and how much of each it sends."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.share = 1.0


@pytest.fixture
def hub(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Hub]:
    """The server, in the place of Hugging Face's."""
    state = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/gpt2/abc/")
            state.asked.append(name)
            data = (folder / name).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: int(state.share * len(data))])

        def log_message(self, *_: object) -> None:
            pass

    sums = [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    page = f"http://127.0.0.1:{server.server_port}/{{}}/{{}}/"
    monkeypatch.setattr(gpt2_files, "PAGE", page)
    monkeypatch.setattr(gpt2_files, "RELEASED", {"gpt2": ("abc", *sums[:2])})
    monkeypatch.setattr(gpt2_files, "MERGES_SHA256", sums[2])
    monkeypatch.setattr(gpt2_files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("COURSE_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def run_cell(on: bool = True, **changes: object) -> str:
    """Run the lesson's last code cells; return what they print."""
    cells = re.split(r"(?m)^# %%.*\n", LESSON.read_text("utf-8"))
    (at,) = (i for i, cell in enumerate(cells) if OFF in cell)
    source = (cells[at] + cells[at + 1]).replace(OFF, OFF.replace("False", str(on)))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(source, {"gpt2_files": gpt2_files, "torch": torch} | changes)
    return printed.getvalue()


def kept(tmp_path: Path) -> list[str]:
    """The files in the cache, also hidden and half ones."""
    return sorted(p.name for p in (tmp_path / "cache").rglob("*") if p.is_file())


def test_the_cell_writes_and_fetches_each_file_once(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run_cell()
    prompt = "The old sailor opened the letter and read:"
    assert text.startswith(prompt) and len(text) > len(prompt) + 40
    assert sorted(hub.asked) == kept(tmp_path) == sorted(FILES)
    monkeypatch.setenv("COURSE_OFFLINE", "1")
    assert run_cell() == text
    assert len(hub.asked) == len(FILES)


def test_it_is_switched_off_as_it_stands(hub: Hub, tmp_path: Path) -> None:
    text = run_cell(on=False)
    assert text == "Skipped: set WRITE_WITH_GPT2 to True, with a network.\n"
    assert not hub.asked and not kept(tmp_path)


def test_it_writes_what_transformers_writes(hub: Hub, folder: Path) -> None:
    ours, tokenizer = load_gpt2("gpt2"), load_gpt2_tokenizer("gpt2")
    files = str(folder / "vocab.json"), str(folder / "merges.txt")
    twin = tokenizers.ByteLevelBPETokenizer.from_file(*files)
    ids = tokenizer.encode("the sailor — another letter: 😀")
    assert ids == twin.encode("the sailor — another letter: 😀").ids
    prompt = torch.tensor([ids])
    written = generate(ours, prompt, 30, temperature=0)
    theirs = GPT2LMHeadModel.from_pretrained(folder).eval()
    options = dict(max_new_tokens=30, do_sample=False, eos_token_id=None)
    assert torch.equal(written, theirs.generate(prompt, **options, pad_token_id=0))
    assert tokenizer.decode(written[0]) == twin.decode(written[0].tolist())


@pytest.mark.parametrize("name", FILES)
def test_another_file_is_refused(name: str, hub: Hub, folder: Path, tmp_path) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + b"!")
    text = run_cell()
    assert text.startswith("Skipped: gpt2 was not downloaded")
    assert "does not match" in text and text.count("\n") == 1
    assert name not in kept(tmp_path) and not [n for n in kept(tmp_path) if "." == n[0]]
    assert set(kept(tmp_path)) <= {*FILES} - {name}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_download_that_breaks_off_leaves_nothing(
    share: float, hub: Hub, tmp_path: Path
) -> None:
    hub.share = share
    assert run_cell().startswith("Skipped: gpt2 was not downloaded")
    assert hub.asked and not kept(tmp_path)
    hub.share = 1.0
    assert run_cell().startswith("The old sailor")


def test_without_a_network_it_says_so_in_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpt2_files, "PAGE", "http://127.0.0.1:9/{}/{}/")
    for offline in ("0", "1"):
        monkeypatch.setenv("COURSE_OFFLINE", offline)
        text = run_cell()
        assert text.startswith("Skipped: gpt2 was not downloaded")
        assert text.count("\n") == 1 and len(text) < 170
    assert not hub.asked and not kept(tmp_path)


def test_a_folder_of_the_readers_own(folder: Path, tmp_path: Path) -> None:
    own = load_gpt2_tokenizer(folder)
    assert own.decode(own.encode(TEXT)) == TEXT
    assert own.special_tokens == {"<|endoftext|>": own.vocab_size - 1}
    with pytest.raises(ValueError, match="'gpt5' must be a folder or one of"):
        load_gpt2_tokenizer("gpt5")
    with pytest.raises(OSError, match="merges.txt"):
        load_gpt2_tokenizer(tmp_path)


def test_the_checksum_of_the_merges_is_the_published_one() -> None:
    """OpenAI's own tiktoken names it for the same file, there called vocab.bpe."""
    published = inspect.getsource(openai_public.gpt2)
    assert f'vocab_bpe_hash="{gpt2_files.MERGES_SHA256}"' in published
