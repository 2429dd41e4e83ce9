"""A text in pieces gives what the whole text gives, wherever it is cut."""

import hashlib
from pathlib import Path

import pytest
import torch

from lib import device
from lib.text.corpus import read_text
from lib.text.pieces import TextFacts, encode_pieces, require_length, text_pieces
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
    facts = TextFacts(text_pieces(file, size=5))
    assert facts.alphabet == set(TEXT) and facts.length == len(TEXT)
    assert facts.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize(
    "text, dtype", [(TEXT, torch.uint8), (WIDE, torch.int32)], ids=["byte", "word"]
)
def test_ids_are_those_of_the_tokenizer(text: str, dtype: torch.dtype) -> None:
    tokenizer = CharTokenizer(text)
    ids = encode_pieces(tokenizer, [text[:100], text[100:]], len(text))
    assert ids.dtype == dtype and ids.tolist() == tokenizer.encode(text)


def test_what_does_not_fit_is_refused(file: Path) -> None:
    tokenizer = CharTokenizer("abc")
    with pytest.raises(ValueError, match="'d' is not in the vocabulary"):
        encode_pieces(tokenizer, ["abcd"], 4)
    for length in (2, 4):  # it grew, or became shorter
        with pytest.raises(ValueError, match=f"had {length} characters and has 3 now"):
            encode_pieces(tokenizer, ["ab", "c"], length)
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
