"""The same ids as tiktoken and Hugging Face, and no byte is ever lost."""

import json
import random
from collections import Counter

import pytest
import tiktoken
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from lib.text.bpe import (
    SPLIT,
    BPETokenizer,
    ByteBPE,
    Chain,
    apply_merges,
    gpt2_bytes,
    learn_merges,
    merge_pair,
    split_words,
)

TEXT = """\
The river runs, and the rivers run; they're running where the runner ran.
It's what we'll do: "to be or not to be", isn't it? I've 1234 reasons, 567 of them new.
Où est le café naïf? Der Fluß fließt über die Brücke.
Смотри, река течёт. 河流在流动。河流。
	if x == 0:\n\t\treturn  x     # aaaaaaa aaaa 😀😀 👍🏽\r\n\r\n   \n
"""
TWICE = TEXT + TEXT  # so that each pair occurs twice, and whole words become tokens
MARKS = ["<|endoftext|>", "<|end|>", "<|end|><|more|>"]
few = settings(derandomize=True, deadline=None, max_examples=100)
# Characters that Unicode has: what is no letter yet may be one in a newer version.
texts = st.text(st.characters(exclude_categories=["Cs", "Cn"]))
# Words of the text, and pieces of them, so that merges have something to do.
familiar = st.lists(st.sampled_from(split_words(TEXT)) | texts).map("".join)
any_text = texts | familiar


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(TWICE, 400, MARKS)


@pytest.fixture(scope="module")
def tiktoken_twin(tokenizer):
    n_ranks = tokenizer.vocab_size - len(MARKS)
    return tiktoken.Encoding(
        "twin",
        pat_str=SPLIT.pattern,
        mergeable_ranks={tokenizer.token_bytes(i): i for i in range(n_ranks)},
        special_tokens=tokenizer.special_tokens,
    )


def spell(data):
    """Bytes as GPT-2 writes them."""
    characters = {byte: character for character, byte in gpt2_bytes().items()}
    return "".join(characters[byte] for byte in data)


@pytest.fixture(scope="module")
def hugging_face_twin(tokenizer):
    tokens = [spell(token) for token in tokenizer.tokens]
    merges = [(tokens[a], tokens[b]) for a, b in tokenizer.merges]
    model = models.BPE({token: i for i, token in enumerate(tokens)}, merges)
    twin = tokenizers.Tokenizer(model)
    twin.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return twin


def recount(words, n_merges):
    """Learn merges the slow way: count all pairs again before each merge."""
    spelt, merges = {word: list(word.encode()) for word in words}, []
    for new_id in range(256, 256 + n_merges):
        counts = Counter()
        for word, ids in spelt.items():
            for pair in zip(ids, ids[1:]):
                counts[pair] += words[word]
        pair = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if counts[pair] < 2:
            break
        merges.append(pair)
        spelt = {word: merge_pair(ids, pair, new_id) for word, ids in spelt.items()}
    return merges


# Nothing is lost


@few
@given(text=any_text)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(torch.tensor(ids)) == text
    assert all(0 <= i < tokenizer.vocab_size - len(MARKS) for i in ids)


@few
@given(data=st.binary() | any_text.map(str.encode))
def test_all_bytes_come_back(tokenizer, data):
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@few
@given(text=any_text)
def test_words_are_the_text(text):
    assert "".join(split_words(text)) == text


def test_bytes_that_are_no_text(tokenizer):
    assert [tokenizer.token_bytes(i) for i in tokenizer.encode("é")] == [b"\xc3\xa9"]
    assert tokenizer.decode([0xC3, ord("a")]) == "\ufffda"
    assert tokenizer.encode_bytes(b"\xff\xc3a") == [0xFF, 0xC3, ord("a")]


# The same ids as others


@few
@given(text=any_text)
def test_ids_are_tiktokens(tokenizer, tiktoken_twin, text):
    assert tokenizer.encode(text) == tiktoken_twin.encode_ordinary(text)


@few
@given(text=any_text)
def test_ids_are_hugging_faces(tokenizer, hugging_face_twin, text):
    assert tokenizer.encode(text) == hugging_face_twin.encode(text).ids


@few
@given(parts=st.lists(st.sampled_from([*MARKS, "<|", "more|>", "a"])))
def test_special_tokens_are_tiktokens(tokenizer, tiktoken_twin, parts):
    text = "".join(parts)
    allowed = tokenizer.encode(text, allowed_special=True)
    assert tokenizer.decode(allowed) == text
    # Where one mark begins another, tiktoken lets chance decide.
    if MARKS[2] not in text:
        assert allowed == tiktoken_twin.encode(text, allowed_special="all")


def test_bytes_stand_in_the_order_of_gpt2():
    assert list(gpt2_bytes()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(gpt2_bytes().values()) == list(range(256))


def test_the_first_ids_of_gpt2(tmp_path):
    path = tmp_path / "merges.txt"
    path.write_text("#version: 0.2\nĠ t\nĠ a\nh e\ni n\nr e\no n\nĠt he\n", "utf-8")
    gpt2 = BPETokenizer.from_gpt2(path)
    assert gpt2.encode("!Aa\n") == [0, 32, 64, 198]
    assert gpt2.encode(" the  a") == [262, 220, 257]
    assert gpt2.special_tokens == {"<|endoftext|>": 263}


def test_a_merges_file_of_gpt2(tokenizer, tmp_path):
    path = tmp_path / "merges.txt"
    pairs = [(tokenizer.tokens[a], tokenizer.tokens[b]) for a, b in tokenizer.merges]
    lines = [f"{spell(a)} {spell(b)}" for a, b in pairs]
    path.write_text("\n".join(["#version: 0.2", *lines, ""]), "utf-8")
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens += [spell(a + b) for a, b in pairs]
    (tmp_path / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}), "utf-8"
    )
    twin = tokenizers.ByteLevelBPETokenizer.from_file(
        str(tmp_path / "vocab.json"), str(path)
    )
    gpt2 = BPETokenizer.from_gpt2(path)
    assert gpt2.encode(TEXT) == twin.encode(TEXT).ids
    assert gpt2.decode(gpt2.encode(TEXT)) == TEXT
    assert gpt2.encode("<|endoftext|>", allowed_special=True) == [len(tokens)]
    assert len(gpt2.encode(TEXT)) == len(tokenizer.encode(TEXT))


# Learning


@few
@given(text=st.text("aab !é1'", min_size=1, max_size=60), n_merges=st.integers(0, 20))
def test_counting_once_is_counting_again(text, n_merges):
    words = Counter(split_words(text))
    assert learn_merges(words, n_merges) == recount(words, n_merges)


def test_counting_once_is_counting_again_on_a_longer_text():
    words = Counter(split_words(TWICE))
    merges = learn_merges(words, 1_000)
    assert 100 < len(merges) < 1_000
    assert merges == recount(words, 1_000)


@few
@given(text=st.text("aaab1!", min_size=1, max_size=200))
def test_merges_are_hugging_faces(text):
    # Its bytes have other ids. These keep their order, so that ties end alike.
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=270, min_frequency=2, initial_alphabet=alphabet, show_progress=False
    )
    model.train_from_iterator([text], trainer)
    ids = model.get_vocab()
    theirs = sorted(ids, key=ids.get)[256:]
    assert [spell(t) for t in BPETokenizer.train(text, 270).tokens[256:]] == theirs


def test_the_merges_of_a_small_text():
    tokenizer = BPETokenizer.train("low lower lowest", 300)
    # "lo" and "ow" occur three times each: "l" is the smaller byte.
    assert [bytes(t) for t in tokenizer.tokens[256:]] == [
        b"lo",
        b"low",
        b" low",
        b" lowe",
    ]
    assert tokenizer.encode("slower") == [*b"s", 257, *b"er"]


def test_counting_once_is_counting_again_on_a_text_without_spaces():
    draw = random.Random(0)
    for letters in ("ab", "ACGT", "0123456789"):
        words = {"".join(draw.choice(letters) for _ in range(400)): 1}
        assert learn_merges(words, 100) == recount(words, 100)


def test_more_merges_do_not_change_the_first(tokenizer):
    assert BPETokenizer.train(TWICE, 280).merges == tokenizer.merges[:24]


def test_a_vocabulary_is_smaller_where_no_pair_occurs_twice():
    assert BPETokenizer.train("abcdef", 1_000).vocab_size == 256
    assert BPETokenizer.train("abab", 1_000, ["<|end|>"]).vocab_size == 258


@pytest.mark.parametrize(
    "ids, merged", [("aaa", "Xa"), ("aaaa", "XX"), ("baab", "bXb")]
)
def test_pairs_are_merged_from_left_to_right(ids, merged):
    assert "".join(merge_pair(ids, ("a", "a"), "X")) == merged


def test_the_earliest_merge_comes_first():
    ranks = {(1, 2): 5, (0, 1): 6, (5, 3): 7}
    assert apply_merges([0, 1, 2, 3], ranks) == [0, 7]
    assert apply_merges([3, 0, 1], ranks) == [3, 6]
    assert apply_merges([], ranks) == []


def test_no_token_reaches_across_words(tokenizer):
    words = [word.encode() for word in split_words(TWICE)]
    tokens = tokenizer.tokens[256 : -len(MARKS)]
    assert b" river" in tokens and b"    " in tokens
    assert all(any(token in word for word in words) for token in tokens)


@pytest.mark.parametrize("letters", ["a", "theriverruns", "0123456789", "河流在动"])
def test_a_long_word_has_tiktokens_ids(tokenizer, tiktoken_twin, letters):
    draw = random.Random(0)
    word = "".join(draw.choice(letters) for _ in range(5_000))
    assert tokenizer.encode(word) == tiktoken_twin.encode_ordinary(word)


class CountedRanks(dict):
    """Ranks that count how often somebody asks for one."""

    n_asked = 0

    def _ask(name):
        def ask(self, *key):
            self.n_asked += 1
            return getattr(dict, name)(self, *key)

        return ask

    get, __getitem__, __contains__ = map(_ask, ("get", "__getitem__", "__contains__"))


@pytest.mark.parametrize("letters", ["a", "abcdefghijklmnopqrstuvwxyz"])
def test_the_work_for_a_word_grows_with_its_length(tokenizer, letters):
    """A word ten times as long takes ten times the look-ups, not a hundred times."""
    ranks, asked = CountedRanks(tokenizer._ranks), []
    for length in (500, 5_000):
        draw, ranks.n_asked = random.Random(0), 0
        apply_merges([ord(draw.choice(letters)) for _ in range(length)], ranks)
        asked.append(ranks.n_asked)
    assert asked[0] >= 500
    assert asked[1] < 12 * asked[0]


@pytest.mark.parametrize("letters", ["a", "ACGT", "0123456789"])
def test_the_work_of_learning_grows_with_a_text_without_spaces(monkeypatch, letters):
    look, n_looks, looks = Chain.pair, 0, []

    def counted(self, place):
        nonlocal n_looks
        n_looks += 1
        return look(self, place)

    monkeypatch.setattr(Chain, "pair", counted)
    for length in (1_000, 10_000):
        draw, n_looks = random.Random(0), 0
        word = "".join(draw.choice(letters) for _ in range(length))
        assert learn_merges({word: 1}, 10_000)
        looks.append(n_looks)
    assert looks[0] >= 1_000
    assert looks[1] < 20 * looks[0]  # looking through all again: 100 times


def test_a_tokenizer_remembers_only_so_many_words(monkeypatch):
    monkeypatch.setattr("lib.text.bpe.KNOWN_WORDS", 3)
    tokenizer = ByteBPE([])
    assert tokenizer.encode_bytes(b"a b c d e a") == [*b"a b c d e a"]
    assert list(tokenizer._known) == ["a", " b", " c"]


# Special tokens


def test_nothing_is_learnt_from_the_marks():
    """Neither from their letters nor from a word that goes on across one."""
    texts = ["the river", "the <runner", " end|> and the end"]
    marked = MARKS[0].join(texts * 3) + MARKS[2] * 50
    words = Counter(word for text in texts * 3 for word in split_words(text))
    learnt = BPETokenizer.train(marked, 400, MARKS)
    assert learnt.merges == learn_merges(words, 400 - 256 - len(MARKS))
    assert BPETokenizer.train(marked, 400).merges != learnt.merges
    assert BPETokenizer.train(MARKS[0] * 9, 400, MARKS).merges == []


def test_a_special_token_is_text_unless_allowed(tokenizer):
    mark = tokenizer.special_tokens["<|endoftext|>"]
    text = "a<|endoftext|>b"
    assert mark == tokenizer.vocab_size - 3
    assert mark not in tokenizer.encode(text)
    assert tokenizer.encode(text, allowed_special=True) == [97, mark, 98]
    assert (
        tokenizer.decode([97, mark, 98])
        == text
        == tokenizer.decode(tokenizer.encode(text))
    )


def test_the_longest_special_token_wins(tokenizer):
    ids = tokenizer.encode("<|end|><|more|><|end|>", allowed_special=True)
    assert ids == [tokenizer.special_tokens[mark] for mark in (MARKS[2], MARKS[1])]


# Files


@pytest.mark.parametrize("kind", ["trained", "gpt2"])
def test_a_saved_tokenizer_is_the_same(tokenizer, tmp_path, kind):
    if kind == "gpt2":
        tokenizer = BPETokenizer(tokenizer.merges, MARKS, gpt2_bytes().values())
    tokenizer.save(tmp_path / "bpe.json")
    loaded = BPETokenizer.load(tmp_path / "bpe.json")
    assert vars(loaded) | {"_known": 0} == vars(tokenizer) | {"_known": 0}
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)


def test_a_crash_while_saving_leaves_the_old_file(tokenizer, tmp_path, monkeypatch):
    path = tmp_path / "bpe.json"
    tokenizer.save(path)

    def breaks_off(self, text, encoding):
        self.write_bytes(text.encode(encoding)[:5])
        raise OSError("no space left on device")

    monkeypatch.setattr(type(path), "write_text", breaks_off)
    with pytest.raises(OSError, match="no space left"):
        BPETokenizer([]).save(path)
    assert BPETokenizer.load(path).merges == tokenizer.merges


GOOD = {"merges": [[97, 98]], "special_tokens": [], "alphabet": list(range(256))}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "not json",
        "[]",
        "7",
        '{"characters": ["a"]}',
        json.dumps(GOOD | {"merges": [[97, 256]]}),
        json.dumps(GOOD | {"merges": [[97]]}),
        json.dumps(GOOD | {"merges": ["ab"]}),
        json.dumps(GOOD | {"merges": [[97.0, 98.0]]}),
        json.dumps(GOOD | {"merges": None}),
        json.dumps(GOOD | {"alphabet": [0] * 256}),
        json.dumps(GOOD | {"special_tokens": "ab"}),
        json.dumps(GOOD | {"special_tokens": [1]}),
    ],
)
def test_a_file_without_a_tokenizer(tmp_path, content):
    path = tmp_path / "bpe.json"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match="bpe.json.* holds no saved tokenizer"):
        BPETokenizer.load(path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("#version: 0.2\nh e\nhe llo\n", "line 3: 'he llo' must be two tokens"),
        ("h e\nhello\n", "line 2: 'hello' must be two tokens"),
        ("h e l\n", "line 1: 'h e l' must be two tokens"),
        ("", "line 1: '' must be two tokens"),
        ('{"merges": []}', "line 1: .* must be two tokens"),
    ],
)
def test_a_file_that_gpt2_cannot_read(tmp_path, content, message):
    path = tmp_path / "merges.txt"
    path.write_text(content, "utf-8")
    with pytest.raises(ValueError, match=f"merges.txt', {message}"):
        BPETokenizer.from_gpt2(path)


# Bad input


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("", 300), "text='' has no pairs"),
        (("ab", 255), "vocab_size=255 .* 256 bytes and 0 special tokens need 256"),
        (("ab", 257, ["<a>", "<b>"]), "vocab_size=257 .* 2 special tokens need 258"),
        (("ab", 300, ["<a>", "<a>"]), r"special_tokens=\['<a>', '<a>'\] must be diff"),
        (("ab", 300, [""]), r"special_tokens=\[''\] must be different and not empty"),
    ],
)
def test_training_on_bad_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        BPETokenizer.train(*arguments)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: BPETokenizer.train(b"ab", 300), "text has the type bytes"),
        (lambda: BPETokenizer([]).encode(None), "text has the type NoneType"),
        (
            lambda: BPETokenizer([], "<|end|>"),
            "special_tokens='<.end.>' must be a list",
        ),
        (lambda: BPETokenizer([], [7]), r"special_tokens=\[7\] must be a list"),
    ],
)
def test_the_wrong_type(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("merge", [(97, 257), (-1, 97)])
def test_a_merge_of_tokens_that_do_not_exist(merge):
    with pytest.raises(ValueError, match=r"merges\[1\]=.* of the tokens 0 .. 256"):
        ByteBPE([(97, 98), merge])


@pytest.mark.parametrize("bad", [400, -1])
def test_an_id_out_of_range_is_named_with_its_position(tokenizer, bad):
    for decode in (tokenizer.decode, tokenizer.decode_bytes):
        with pytest.raises(ValueError, match=rf"ids\[1\]={bad} is outside 0 .. 399"):
            decode([0, bad])


def test_half_a_surrogate_pair_is_no_text(tokenizer):
    with pytest.raises(ValueError, match="position 2: surrogates not allowed"):
        tokenizer.encode("ab\ud83d")
