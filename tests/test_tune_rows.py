"""A user's own examples: good lines become rows, bad ones are named by their number."""

import json

import pytest

from lib.text.chat import CHATML, render
from lib.text.tokenizer import CharTokenizer
from lib.tune.rows import read_pairs, read_conversations

TOKENIZER = CharTokenizer("".join(map(chr, [10, *range(32, 127)])))
GOOD = {"prompt": "Shout king.", "answer": "KING"}
TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Ho"},
    {"role": "user", "content": "Hi again"},
    {"role": "assistant", "content": "Ho again"},
]
CHOICE = {"prompt": "Shout king.", "chosen": "KING", "rejected": "king"}


@pytest.fixture
def file(tmp_path):
    """Write lines, values or raw ones, into a file; return its path."""

    def write(*lines) -> str:
        raw = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines]
        path = tmp_path / "my.jsonl"
        path.write_bytes(b"\n".join(raw))
        return str(path)

    return write


def test_both_forms_are_read(file):
    path = file(GOOD, b"", {"messages": TURNS})
    first, second = read_conversations(path, TOKENIZER, 64)
    assert render(first) == "Q: Shout king.\nA: KING\n" and second == TURNS
    assert read_conversations(file(GOOD), TOKENIZER, 128, CHATML) == [first]


def test_both_answers_have_their_stop_and_one_question(file):
    (pair,) = read_pairs(file(CHOICE), TOKENIZER, 64)
    words = [TOKENIZER.decode(ids) for ids in pair]
    assert words == ["Q: Shout king.\nA: ", "KING\n", "king\n"]


BAD_ROWS = {
    "not JSON": (b'{"prompt": "a"', "is not JSON"),
    "not an object": ([1, 2], "is not an object"),
    "a number alone": (b"17", "is not an object"),
    "a missing answer": ({"prompt": "a"}, "it must have prompt, answer"),
    "another name": (GOOD | {"note": "x"}, "it must have prompt, answer"),
    "both forms": (GOOD | {"messages": TURNS}, "it must have messages"),
    "an answer that is a number": ({"prompt": "a", "answer": 7}, "answer=7 must be"),
    "an empty prompt": ({"prompt": " ", "answer": "b"}, "prompt is empty"),
    "an empty answer": ({"prompt": "a", "answer": ""}, "answer is empty"),
    "a stop in the answer": ({"prompt": "a", "answer": "b\nc"}, "would end it"),
    "an unknown character": ({"prompt": "\u00e9", "answer": "b"}, "\u00e9"),
    "too long": ({"prompt": "a" * 80, "answer": "b"}, "the model reads 64"),
    "no messages": ({"messages": []}, "messages=\\[\\] is empty"),
    "messages of no list": ({"messages": "Hi"}, "messages='Hi' must be a list"),
    "a message of no object": ({"messages": ["Hi"]}, "must have role, content"),
    "roles out of turn": ({"messages": [TURNS[1], TURNS[0]]}, "role='assistant'"),
    "an unknown role": ({"messages": [TURNS[0] | {"role": "bot"}]}, "role='bot'"),
    "a role that is no text": ({"messages": [TURNS[0] | {"role": []}]}, "role=\\[\\]"),
    "a content of no text": ({"messages": [TURNS[0] | {"content": 3}]}, "content=3"),
    "an empty one": ({"messages": [TURNS[0] | {"content": " "}, TURNS[1]]}, "empty"),
    "a very long role": ({"messages": [TURNS[0] | {"role": "x" * 9_999}]}, "role="),
    "a very long key": ({"messages": [{"x" * 9_999: ""}]}, "must have role, content"),
    "a question at the end": ({"messages": TURNS[:3]}, "not the assistant's"),
    "bytes of no text": (b'{"prompt": "\xff"}', "utf-8"),
    "deep nesting": (b"[" * 100_000, "recursion|not JSON"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_is_named_by_its_line(file, name):
    line, words = BAD_ROWS[name]
    with pytest.raises(ValueError, match=rf"(?s)my\.jsonl, line 3: .*{words}") as error:
        read_conversations(file(GOOD, b"", line, GOOD), TOKENIZER, 64)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


BAD_CHOICES = {
    "equal answers": (CHOICE | {"rejected": "KING"}, "are the same"),
    "no rejected": ({"prompt": "a", "chosen": "b"}, "must have prompt, chosen"),
    "a list of answers": (CHOICE | {"chosen": ["KING"]}, "chosen=\\['KING'\\] must be"),
    "an empty rejected": (CHOICE | {"rejected": ""}, "rejected is empty"),
    "a rejected too long": (CHOICE | {"rejected": "b" * 80}, "the model reads 64"),
}


@pytest.mark.parametrize("name", BAD_CHOICES)
def test_a_bad_choice_is_named_by_its_line(file, name):
    line, words = BAD_CHOICES[name]
    with pytest.raises(ValueError, match=rf"my\.jsonl, line 2: .*{words}"):
        read_pairs(file(CHOICE, line), TOKENIZER, 64)


def test_several_bad_rows_are_counted_and_none_hides_another(file):
    bad = {"prompt": "a"}
    words = r"line 1: .* \(8 more bad lines: 3, 4, 5, 6, 7, \.\.\.\)"
    with pytest.raises(ValueError, match=words):
        read_conversations(file(bad, GOOD, *[bad] * 8), TOKENIZER, 64)


def test_a_row_may_be_one_token_longer_than_the_context(file):
    """Its last token is predicted, and not read."""
    row = {"prompt": "a", "answer": "b" * 55}  # 64 tokens with "Q: ", "A: ", line ends
    path = file(row)
    assert len(render(read_conversations(path, TOKENIZER, 63)[0])) == 64
    with pytest.raises(ValueError, match="it has 64 tokens; the model reads 62"):
        read_conversations(path, TOKENIZER, 62)


@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_a_file_without_rows_is_refused(file, content):
    with pytest.raises(ValueError, match="has no rows"):
        read_conversations(file(content), TOKENIZER, 64)


def test_control_characters_of_a_file_are_not_printed_raw(file):
    with pytest.raises(ValueError) as error:
        read_conversations(file(b'{"\\u001b[31m": 1}'), TOKENIZER, 64)
    assert "\x1b" not in str(error.value)
