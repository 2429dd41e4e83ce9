"""A text in pieces gives what the whole text gives, wherever it is cut."""

import hashlib
from pathlib import Path

import pytest
import torch

from lib import device
from lib.text.corpus import read_text
from lib.text.pieces import (
    TextFacts,
    alphabet,
    encode_pieces,
    require_length,
    text_pieces,
)
from lib.text.tokenizer import CharTokenizer
from lib.train import sources
from lib.train.run_settings import RunSettings

TEXT = "Grüße, 世界! \U0001f60a\r\nΑ" * 120  # characters of one to four bytes
WIDE = "".join(chr(0x4E00 + i) for i in range(700)) * 2
SIZES = [1, 2, 3, 7, 4_096]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.txt"
    path.write_bytes(TEXT.encode())
    return path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_pieces_are_the_text(file: Path, size: int, mark: bytes) -> None:
    file.write_bytes(mark + TEXT.encode())
    pieces = list(text_pieces(file, size=size))
    assert "".join(pieces) == TEXT == read_text(file)
    assert size > len(TEXT.encode()) or len(pieces) > 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bad", [b"\xff", b"\xe4\xb8", b"\xc3("])
@pytest.mark.parametrize("after", [b"", b" and on" * 9])
def test_a_wrong_byte_is_named_by_its_place(file, size, bad, after) -> None:
    data = TEXT.encode() + bad + after
    file.write_bytes(data)
    with pytest.raises(UnicodeDecodeError) as known:
        data.decode("utf-8")
    place, byte = known.value.start, data[known.value.start]
    with pytest.raises(ValueError, match=f"at byte {place:,} .0x{byte:02x}.; save"):
        list(text_pieces(file, size=size))


def test_facts_are_those_of_the_whole(file: Path) -> None:
    facts = TextFacts()
    assert alphabet(facts.watch(text_pieces(file, size=5))) == set(TEXT)
    assert facts.length == len(TEXT)
    assert facts.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize(
    "text, dtype", [(TEXT, torch.uint8), (WIDE, torch.int32)], ids=["byte", "word"]
)
def test_ids_are_those_of_the_tokenizer(text: str, dtype: torch.dtype) -> None:
    tokenizer = CharTokenizer(text)
    ids = encode_pieces(tokenizer, [text[:100], text[100:]])
    assert ids.dtype == dtype and ids.tolist() == tokenizer.encode(text)
    assert encode_pieces(tokenizer, []).tolist() == []


def test_what_does_not_fit_is_refused(file: Path) -> None:
    tokenizer = CharTokenizer("abc")
    with pytest.raises(ValueError, match="'d' is not in the vocabulary"):
        encode_pieces(tokenizer, ["abcd"])
    with pytest.raises(ValueError, match="own.txt' has 5 characters; it must have"):
        require_length("own.txt", 5)
    with pytest.raises(ValueError, match="with the memory of this machine a text may"):
        next(text_pieces(file, per_byte=2**60))
    with pytest.raises(ValueError, match="cannot be read"):
        next(text_pieces(file.parent / "none.txt"))


def prepared(path: Path, **settings) -> sources.TextSource:
    s = RunSettings(preset="block", text=str(path), batch_size=4, **settings)
    source = sources.open_source(s)
    source.prepare(source.make_tokenizer(), 8, "cpu")
    return source


@pytest.mark.parametrize("now", [TEXT[:-1], TEXT + "a"], ids=["shorter", "longer"])
def test_a_text_that_changes_between_two_readings_is_refused(file, now) -> None:
    source = sources.open_source(RunSettings(preset="block", text=str(file)))
    file.write_bytes(now.encode())
    said = f"had {len(TEXT):,} characters and has {len(now):,} now"
    with pytest.raises(ValueError, match=said):
        source.prepare(CharTokenizer(TEXT + "a"), 8, "cpu")


@pytest.mark.parametrize("first", ["", "\u0416"], ids=["the same", "another"])
def test_with_its_tokenizer_a_text_is_read_once(file, first, monkeypatch) -> None:
    old = prepared(file)
    file.write_bytes((first + TEXT)[: len(TEXT)].encode())
    s, tokenizer = old.settings, old.make_tokenizer()
    source = sources.open_source(s, tokenizer)
    assert (source.about == old.about) == (first == "")
    monkeypatch.setattr(source, "pieces", None)  # a second reading would fail
    if first == "":
        source.prepare(tokenizer, 8, "cpu")
        assert torch.equal(source.tokens, old.tokens)
        assert torch.equal(source.validation, old.validation)


def test_a_run_learns_from_the_same_windows(file: Path) -> None:
    source, cut = prepared(file), int(0.9 * len(TEXT))
    whole = torch.tensor(CharTokenizer(TEXT).encode(TEXT))
    assert source.tokens.tolist() == whole[:cut].tolist()
    assert source.validation.tolist() == whole[cut:].tolist()
    inputs, targets = source.batch(torch.Generator().manual_seed(0))
    known = sources.random_batch(whole[:cut], 4, 8, torch.Generator().manual_seed(0))
    assert torch.equal(inputs, known[0]) and torch.equal(targets, known[1])
    assert inputs.dtype == targets.dtype == torch.int64
    assert source.describe() == f"{cut:,} tokens"


def test_of_a_long_text_a_part_is_tested(file: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources, "LONGEST_TEST", 50)
    source, cut = prepared(file), int(0.9 * len(TEXT))
    whole = CharTokenizer(TEXT).encode(TEXT)
    assert source.validation.tolist() == whole[cut : cut + 50]
    assert source.describe() == f"{cut:,} tokens, tested on 50 more"


def test_byte_pairs_need_memory_for_the_whole_text(file: Path, monkeypatch) -> None:
    size = file.stat().st_size
    monkeypatch.setattr(device, "_limits", lambda: [10 * size])
    assert len(prepared(file).tokens) == int(0.9 * len(TEXT))
    with pytest.raises(ValueError, match="a text may have"):
        prepared(file, tokenizer="bpe", vocab_size=300)
