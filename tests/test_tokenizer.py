"""Text to ids and back, without loss, and errors that name the culprit."""

import pytest
import torch
from against_torch import few
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.text.tokenizer import CharTokenizer


@settings(few, max_examples=100)
@given(st.text(min_size=1))
def test_every_text_comes_back(text):
    tokenizer = CharTokenizer(text)
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert set(ids) == set(range(tokenizer.vocab_size))
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(torch.tensor(ids)) == text


def test_ids_follow_the_sorted_characters():
    assert CharTokenizer("banana").encode("nab") == [2, 0, 1]


def test_an_unknown_character_is_named_with_its_position():
    with pytest.raises(ValueError, match=r"text\[3\]='ï'.* 3 characters"):
        CharTokenizer("abn").encode("banï")


@pytest.mark.parametrize("bad", [3, -1])
def test_an_id_out_of_range_is_named_with_its_position(bad):
    with pytest.raises(ValueError, match=rf"ids\[1\]={bad} is outside 0 .. 2"):
        CharTokenizer("abc").decode([0, bad])


def test_an_empty_text_has_no_vocabulary():
    with pytest.raises(ValueError, match="text=''"):
        CharTokenizer("")


def test_a_saved_vocabulary_is_the_same(tmp_path):
    tokenizer = CharTokenizer("naïve\n\"'😀")
    tokenizer.save(tmp_path / "vocabulary.json")
    loaded = CharTokenizer.load(tmp_path / "vocabulary.json")
    assert loaded.characters == tokenizer.characters
    assert loaded.encode("naïve😀") == tokenizer.encode("naïve😀")


def test_a_crash_while_saving_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    CharTokenizer("abc").save(path)

    def breaks_off(self, text, encoding):
        self.write_bytes(text.encode(encoding)[:5])
        raise OSError("no space left on device")

    monkeypatch.setattr(type(path), "write_text", breaks_off)
    with pytest.raises(OSError, match="no space left"):
        CharTokenizer("abcdef").save(path)
    assert CharTokenizer.load(path).characters == list("abc")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"characters": []}', "not json"])
def test_a_file_without_a_vocabulary(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match="vocabulary.json.* holds no saved tokenizer"):
        CharTokenizer.load(path)
