# %% [markdown]
# # 14 · Tokenization
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/14_tokenization.ipynb)
#
# You build the tokenizer of GPT-2: it learns from a text which characters belong
# together, and it can read every text there is.
#
# - **You will build** byte pair encoding: learning merges slowly and fast, encoding,
#   decoding, special tokens, and a reader of GPT-2's own file.
# - **You will see** what tokens look like, why losses of two tokenizers must not be
#   compared per token, and what a model that reads tokens cannot see.
# - **Needs** lessons [01](01_text_and_tokens.ipynb) and [02](02_bigram.ipynb).
# - **Takes** about three hours to read and do; the notebook runs in under 60 s.

# %% tags=["remove-cell"]
# @title Set-up: makes the course's library importable; on Colab it fetches the course
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
os.environ.setdefault("OMP_NUM_THREADS", "1")  # more threads would wait for each other
url = os.getenv("COURSE_URL", "https://github.com/from-bigram-to-transformer/course")
if find_spec("google") and find_spec("google.colab") and not Path("course").exists():
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", url, "course"])
here = globals().get("__file__") or os.getenv("JPY_SESSION_NAME", "lesson")
places = [*Path(here).resolve().parents, Path("course").resolve()]
found = [place for place in places if Path(place, "lib", "text", "corpus.py").is_file()]
assert found, f"lib/ not found: run `git clone {url}` and open this lesson in it"
sys.path.insert(0, str(found[0]))

# %% [markdown]
# ## The question
#
# Lesson [13](13_generation.ipynb) ended with a complaint. The GPT that you built in
# lesson [10](10_gpt.ipynb) and trained in lesson [11](11_training.ipynb) reads and
# writes one character at a time. That is easy to build, and wasteful. A context of 64
# tokens is 64 characters, about a dozen words: after two lines the model has forgotten
# who is speaking. And to write `queen` it runs five times, although after `q` comes
# nearly always `u`.
# <!-- from: look "positions cover" -->
#
# A token that stands for a whole word would cover more text at each position. But there
# is no end of words: names, misspellings, other languages. A vocabulary of words would
# always miss some. What lies between characters and words?

# %% [markdown]
# ## By hand
#
# Let the text decide. Take a line, and count all pairs of neighbours.

# %%
from collections import Counter

from lib.text.corpus import load_corpus

line = "the other mother bathes the brother"
pieces = list(line)
pairs = Counter(zip(pieces, pieces[1:]))
print(len(pieces), "pieces")
for pair, count in pairs.most_common(4):
    print(pair, count)

# %% [markdown]
# Of 35 characters, `t` and `h` stand side by side 6 times; so do `h` and `e`. Of equals
# we take the pair that comes first in the alphabet, and make it one piece, everywhere:
# a [merge](../book/glossary.md#merge). The function goes from left to right. Where the
# last piece that it kept and the new one are the pair, the merged piece takes their
# place.

# %% tags=["lib:text.bpe.merge_pair"]
from collections.abc import Sequence

Pair = tuple[int, int]


def merge_pair(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    merged: list[int] = []
    for i in ids:
        if merged and (merged[-1], i) == pair:
            merged[-1] = new_id
        else:
            merged.append(i)
    return merged


# %%
print("|".join(merge_pair(pieces, ("h", "e"), "he")))
print(merge_pair("aaa", ("a", "a"), "aa"))

# %% [markdown]
# (The library merges ids, as the types say; strings will do while we watch.) The second
# line shows why the direction matters: in `aaa` the first two are merged, and one is
# left.
#
# Now do it again and again: count, take the most frequent pair, merge it.

# %%
pieces = list(line)
for _ in range(5):
    pairs = Counter(zip(pieces, pieces[1:]))
    first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
    pieces = merge_pair(pieces, (first, second), first + second)
    print(f"{first!r} + {second!r}, {pairs[first, second]} times:", "|".join(pieces))
assert pieces.count("other") == 3 and len(pieces) == 15

# %% [markdown]
# Nobody told it about words. After five merges it has found `the`, and that *mother*
# and *brother* contain an *other*. 15 pieces are left of 35.
# <!-- from: by-hand "35 pieces" -->
# <!-- from: by-hand "len(pieces) == 15" -->
#
# The [vocabulary](../book/glossary.md#vocabulary) is all characters plus one new token
# per merge. You choose how many merges; a rare word just stays in smaller pieces. (For
# characters that were never seen, see *Bytes*.)

# %% [markdown]
# ## The formula
#
# A long text is first cut into pieces $w$ that no merge reaches across (see *Words*).
# Each different piece counts as often as it occurs. Every step merges the pair
#
# $$(a^*, b^*) = \arg\max_{(a, b)} N_{ab}, \qquad N_{ab} = \sum_w n_w \, c_w(a, b)$$
#
# and counts again. This is [byte pair
# encoding](../book/glossary.md#byte-pair-encoding), BPE. `aaa` counts the pair `a`, `a`
# twice, although only one of the two can be merged.
#
# Longer tokens are harder to predict, and there are fewer of them. A loss per token
# says nothing until you say how long a token is. What can be compared is the loss per
# character, the total surprise divided by the length of the text:
#
# $$L_\text{character} = L_\text{token} \cdot \frac{N_\text{tokens}}{N_\text{characters}}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $w$, $n_w$ | piece, number | a piece of the text, and how often it occurs |
# | $c_w(a, b)$ | number | how often token $b$ follows token $a$ inside $w$ |
# | $N_{ab}$ | `(V, V)`, mostly 0 | how often $b$ follows $a$ within pieces |
# | $(a^*, b^*)$ | pair of ids | the most frequent pair; of equals the smaller ids |
# | $V$ | number | the vocabulary: 256 bytes + merges + special tokens <!-- from: learning-the-plain-way "256 + n_merges" --> |
# | $N_\text{tokens}$, $N_\text{characters}$ | numbers | two lengths of the same text |
# | $L_\text{token}$, $L_\text{character}$ | numbers | mean surprise in nats |
#
# Gage (1994) compressed files this way. Sennrich et al. (section 3.2, algorithm 1) made
# it a tokenizer. Radford et al. (section 2.2) let it start from bytes, for GPT-2.

# %% [markdown]
# ## Build
#
# ### Bytes
#
# Which characters does the vocabulary begin with? Unicode knows more than a hundred
# thousand. But every text is stored as [bytes](../book/glossary.md#byte), numbers
# below 256, and the usual way to do so is utf-8. Look at how many bytes a character
# takes.
# <!-- from: learning-the-plain-way "256 + n_merges" -->

# %%
for character in "eé中😀":
    print(character, list(character.encode("utf-8")))
assert "plain English".encode("utf-8") == bytes(map(ord, "plain English"))

# %% [markdown]
# The letters of English take one byte each, most other letters two or three, most emoji
# four; some emoji are put together from several characters. So we begin with 256
# tokens, the bytes, and have a vocabulary that covers every text in every language,
# even files that are no text. Merges may put the bytes of a character together again
# where that pays.
# <!-- from: learning-the-plain-way "256 + n_merges" -->
#
# ### Words
#
# One more thing before we count. In a long text `dog.` and `dog!` and `dog,` are all
# frequent. Three tokens for one animal would waste the vocabulary, and the model would
# have to learn each of them apart. So GPT-2 first cuts the text into words, and never
# merges across a cut. The pattern below does the cutting. `\p{L}` is a letter of any
# language, `\p{N}` a digit or another sign for a number, `\s` white space; for `\p` we
# need the package `regex` instead of Python's own `re`.

# %% tags=["lib:text.bpe.split_words"]
import regex

SPLIT = regex.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


def split_words(text: str) -> list[str]:
    return SPLIT.findall(text)


# %%
example = "The dog! They'll say: 'no dog.'   42 cafés"
print("|".join(split_words(example)))
assert "".join(split_words(example)) == example

# %% [markdown]
# The pattern has six alternatives, and the first that fits is taken:
#
# 1. `'(?:[sdmt]|ll|ve|re)`: an English ending, such as `'s` or `'ll`. The bars inside
#    the parentheses choose the ending; `(?:` makes them a group and nothing more.
# 2. `␣?\p{L}+`: letters, with perhaps one space before them (here drawn as `␣`).
# 3. `␣?\p{N}+`: digits, in the same way.
# 4. `␣?[^\s\p{L}\p{N}]+`: signs that are none of these.
# 5. `\s+(?!\S)`: white space with no word behind it. Of several spaces before a word it
#    takes all but the last.
# 6. `\s+`: any other white space. So a newline is a "word", too.
#
# A space belongs to the word *after* it. So a word in the middle of a sentence begins
# with its space, and the cut loses nothing: put together, the words are the text.
#
# ### Learning, the plain way
#
# A word that occurs a thousand times needs to be looked at only once, if we know how
# often it occurs. Learn from the training split only.

# %% tags=["corpus"]
from lib.text.batches import split_text

corpus = load_corpus()
train_text, validation_text = split_text(corpus.text)
words = Counter(split_words(train_text))
print(f"{corpus.name}: {words.total():,} words, {len(words):,} different")
print(words.most_common(5))

# %% [markdown]
# 14,134 different words stand for 266,995. The plain way does exactly what we did by
# hand. The tokens are ids now: a byte is its own number, the first merge gets 256, the second
# the next. Of equally frequent pairs it takes the one with the smaller ids.


# %%
def recount_and_merge(words, n_merges):
    spelt = [list(word.encode("utf-8")) for word in words]
    times, merges = list(words.values()), []
    for new_id in range(256, 256 + n_merges):
        counts = Counter()
        for ids, n in zip(spelt, times):
            for pair in zip(ids, ids[1:]):
                counts[pair] += n
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelt = [merge_pair(ids, best, new_id) for ids in spelt]
    return merges


# %% [markdown]
# Twelve merges on the whole split. To read the result, spell each token: the bytes of
# its first half, then those of its second.


# %% tags=["corpus"]
def spell(merges):
    tokens = [bytes([byte]) for byte in range(256)]
    for first, second in merges:
        tokens.append(tokens[first] + tokens[second])
    return tokens


first_merges = recount_and_merge(words, 12)
print(first_merges)
print([token.decode() for token in spell(first_merges)[256:]])

# %% [markdown]
# The most frequent pair is a space and a `t` (32 and 116 are their bytes): many words
# begin with `t`. The eleventh merge makes ` the` out of two earlier tokens.
#
# ### Learning, counted once
#
# Every one of these twelve merges looked at all words. That is a waste: a merge changes
# only the words that hold the pair. How many are they?

# %% tags=["corpus"]
for token in spell(first_merges)[256:259]:
    holding = [word for word in words if token in word.encode()]
    print(f"{token.decode()!r} stands in {len(holding):,} of {len(words):,} words")
    assert len(holding) < len(words) / 3

# %% [markdown]
# Some later merges touch more words than these three, most touch far fewer. So keep a
# table of the pairs: how many there are of each, and where.
#
# A list is a poor place for that: take one id out, and all behind it move. So all words
# stand in one *chain*. Each place knows the place before it and the place after it. To
# join two ids, write the new one at the first place, and let the chain pass by the
# second: only the neighbours notice. A -1 stands at the end of each word, and after the
# last place comes the first.


# %% tags=["lib:text.bpe.Chain"]
from collections.abc import Iterable


class Chain:
    def __init__(self, ids: Iterable[int]) -> None:
        self.ids: list[int | None] = list(ids)
        n = len(self.ids)
        self.before, self.after = [*range(-1, n - 1)], [*range(1, n), 0]

    def pair(self, place: int) -> Pair:
        return self.ids[place], self.ids[self.after[place]]

    def join(self, place: int, new_id: int) -> None:
        gone = self.after[place]
        self.ids[place], self.ids[gone] = new_id, None
        self.after[place] = self.after[gone]
        self.before[self.after[gone]] = place


# %%
chain = Chain([*b"the", -1])
chain.join(0, 256)
print(chain.ids, "the first pair is", chain.pair(0))

# %% [markdown]
# The `h` has gone, and `None` stands in its place. The 256 is followed by the `e`, the
# byte 101.
#
# The table counts the pairs of such a chain. To merge a pair, visit its places, from
# left to right. At each, take out what the pair and its two neighbours had contributed,
# join, and put in what stands there now.
#
# `defaultdict` is a dictionary in which a missing entry begins as 0, or as an empty
# set. `_count` puts in the pair at one place; with the sign -1 it takes it out. A place
# may stay on the list of a pair that no longer begins there: such places are passed
# over.

# %% tags=["lib:text.bpe.PairTable"]
from collections import defaultdict
from collections.abc import Mapping


class PairTable:
    def __init__(self, words: Mapping[str, int]) -> None:
        spelt = [[*word.encode("utf-8"), -1] for word in words]
        self.chain = Chain(i for word in spelt for i in word)
        times = zip(map(len, spelt), words.values())
        self.times = [n for length, n in times for _ in range(length)]
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, set[int]] = defaultdict(set)
        for place in range(len(self.times)):
            self._count(place, 1, self.counts)

    def _count(self, place: int, sign: int, counts: dict[Pair, int]) -> None:
        pair = self.chain.pair(place)
        if -1 not in pair:
            counts[pair] += sign * self.times[place]
            self.places[pair].add(place)

    def merge(self, pair: Pair, new_id: int) -> list[Pair]:
        chain, change = self.chain, defaultdict(int)
        for place in sorted(self.places[pair]):
            if chain.pair(place) != pair:
                continue  # an earlier merge has taken one of the two
            for near in (chain.before[place], place, chain.after[place]):
                self._count(near, -1, change)
            chain.join(place, new_id)
            for near in (chain.before[place], place):
                self._count(near, 1, change)
        for other in change:
            self.counts[other] += change[other]
        return [other for other in change if change[other]]


# %% [markdown]
# Try it on two words: `other`, three times, and `bathe`, once. Merge `t` and `h`, which
# are the bytes 116 and 104.

# %%
two_words = PairTable({"other": 3, "bathe": 1})
changed = two_words.merge((116, 104), 256)
print(two_words.chain.ids)
for pair in changed:
    print(pair, "now", two_words.counts[pair], "times")

# %% [markdown]
# Both words are spelt with 256 now. Pairs that ended with `t` or began with `h` are
# gone, pairs with 256 have come; `e` and `r` of *other* were not touched, so they do
# not appear in the list.
#
# Which pair is the most frequent? To look through all counts at every merge would again
# be slow. A *heap* is a list that hands out its smallest entry first, and takes new
# ones, in a few steps. Python has it as `heapq`. We put `(-count, pair)` in: the
# smallest is the pair with the largest count, and of equals the one with the smaller
# ids. When a count changes we put in a new entry and leave the old one lying. The line
# `-count == table.counts[pair] > 1` asks two things at once: does the entry still agree
# with the table, and does the pair occur more than once? Otherwise it is thrown away.

# %% tags=["lib:text.bpe.learn_merges"]
import heapq


def learn_merges(words: Mapping[str, int], n_merges: int) -> list[Pair]:
    table = PairTable(words)
    queue = [(-count, pair) for pair, count in table.counts.items()]
    heapq.heapify(queue)  # the smallest comes out first: the largest count
    merges: list[Pair] = []
    while queue and len(merges) < n_merges:
        count, pair = heapq.heappop(queue)
        if -count == table.counts[pair] > 1:  # otherwise it is rare, or out of date
            for other in table.merge(pair, 256 + len(merges)):
                heapq.heappush(queue, (-table.counts[other], other))
            merges.append(pair)
    return merges


# %% [markdown]
# It stops early if no pair occurs twice any more: merging what occurs once teaches
# nothing. Are the merges the same? A thirtieth of the text is enough to see it.

# %% tags=["proof", "corpus"]
few_words = Counter(split_words(train_text[:30_000]))
plain = recount_and_merge(few_words, 768)
fast = learn_merges(few_words, 768)
print("768 merges, all the same:", plain == fast)
assert plain == fast

# %% [markdown]
# The same merges in the same order, and much faster, as the
# [benchmarks](../book/benchmarks.md) measure. Now
# the whole training split: 768 merges, so that the vocabulary has 1,024 tokens. Then go
# through them once more with a fresh table, to see how many places a merge visits.

# %% tags=["corpus"]
merges = learn_merges(words, 768)
tokens, table, visits = spell(merges), PairTable(words), 0
for k, pair in enumerate(merges):
    visits += len(table.places[pair])
    table.merge(pair, 256 + k)
mean = visits / len(merges)
print(len(tokens), "tokens, the last:", [token.decode() for token in tokens[-8:]])
print("longest:", [token.decode() for token in sorted(tokens, key=len)[-8:]])
n_places = len(table.chain.ids)
print(f"a merge visits {mean:.0f} of {n_places:,} places on average")
assert merges[:12] == first_merges and len(tokens) == 1024
assert mean < 0.02 * n_places

# %% [markdown]
# The plain way looks at 116,785 places for each merge, the table at 101 on average.
# The longest are names of people, which stand in capitals above their speeches, and
# frequent words with their space.
#
# ### Encoding
#
# To [encode](../book/glossary.md#tokenizer) a new text, cut it into words and merge
# each word as the training would have done: in the order in which the merges were
# learnt. `ranks` says for a pair which id it becomes, and the earlier it was learnt,
# the smaller is that id. Watch it:

# %% tags=["corpus"]
ranks = {pair: 256 + k for k, pair in enumerate(merges)}
ids = list(b" whether")
while known := [pair for pair in zip(ids, ids[1:]) if pair in ranks]:
    first = min(known, key=ranks.get)
    ids = merge_pair(ids, first, ranks[first])
    print(f"merge {ranks[first] - 255}:", "|".join(tokens[i].decode() for i in ids))

# %% [markdown]
# The merges come in growing order, with gaps for those that this word has no pair for.
# The library does the same with the two tools that you have: a chain of the ids, and a
# heap from which the earliest merge comes out first, of equals the one furthest left.
# Joining two ids makes at most two new pairs, which go into the heap. So a word
# of ten times as many letters takes about ten times as long, where the loop above would
# take a hundred times as long.


# %% tags=["lib:text.bpe.apply_merges"]
def apply_merges(ids: list[int], ranks: Mapping[Pair, int]) -> list[int]:
    chain = Chain([*ids, -1])
    queue = [(ranks[p], i) for i, p in enumerate(zip(ids, ids[1:])) if p in ranks]
    heapq.heapify(queue)
    while queue:
        new_id, place = heapq.heappop(queue)
        if ranks.get(chain.pair(place)) == new_id:  # otherwise it is out of date
            chain.join(place, new_id)
            for near in (chain.before[place], place):
                if (pair := chain.pair(near)) in ranks:
                    heapq.heappush(queue, (ranks[pair], near))
    return [i for i in chain.ids[:-1] if i is not None]


# %%
assert apply_merges(list(b" whether"), ranks) == ids
print("the same ids")

# %% [markdown]
# ### Any bytes to ids and back
#
# Now a class that keeps the merges. Three details:
#
# - Words come back again and again, so it remembers those that it has encoded.
# - Bytes that are no utf-8 cannot be cut into words as they are. The option
#   `"surrogateescape"` turns each into a stand-in character and, on the way out, back.
# - `alphabet` is the order of the bytes. Ours is 0, 1, 2, ...; GPT-2 has another.


# %% tags=["naive:text.bpe.ByteBPE"]
class ByteBPE:
    def __init__(self, merges, alphabet=range(256)):
        self.merges, self.alphabet = list(merges), list(alphabet)
        self.tokens = [bytes([byte]) for byte in self.alphabet]
        for first, second in self.merges:
            self.tokens.append(self.tokens[first] + self.tokens[second])
        self.vocab_size = len(self.tokens)
        self.ids = {byte: i for i, byte in enumerate(self.alphabet)}
        self.ranks = {pair: 256 + k for k, pair in enumerate(self.merges)}
        self.known = {}  # words that were encoded before

    def encode_bytes(self, data):
        ids = []
        for word in split_words(data.decode("utf-8", "surrogateescape")):
            if word not in self.known:
                spelt = word.encode("utf-8", "surrogateescape")
                start = [self.ids[byte] for byte in spelt]
                self.known[word] = apply_merges(start, self.ranks)
            ids += self.known[word]
        return ids

    def decode_bytes(self, ids):
        return b"".join(self.tokens[i] for i in ids)


# %% [markdown]
# Decoding is simple: look up the bytes of each id and join them. There is nothing to
# search: any ids of the vocabulary can be joined. The library's class does the same. (It
# also refuses merges of tokens that do not exist, and ids that are none, and remembers
# only so many words.)

# %% tags=["same:text.bpe.ByteBPE", "proof", "corpus"]
from lib.text import bpe

small, theirs = ByteBPE(merges), bpe.ByteBPE(merges)
for data in ("naïve 😀".encode(), b"\xff\xfe\x00 no text"):
    ids = small.encode_bytes(data)
    print(len(data), "bytes,", len(ids), "tokens:", small.decode_bytes(ids))
    assert ids == theirs.encode_bytes(data)
    assert small.decode_bytes(ids) == theirs.decode_bytes(ids) == data

# %% [markdown]
# ### GPT-2's file
#
# OpenAI published GPT-2's merges as a text file, `merges.txt`, one merge per line. To
# make all bytes visible in it, each byte is written as a character. Byte `b` becomes
# `chr(b)` if that can be seen; so `é`, the bytes 195 and 169, is written `Ã©`. Each of
# the others gets a character from 256 on: the space becomes `Ġ`. Below, 173 is left
# out of the visible ones because `chr(173)` is a soft hyphen, which shows only at the
# end of a line. The ids of the bytes follow this order too: `!` has the id 0.
# <!-- from: bytes "é [" -->
# <!-- from: gpt-2s-file "seen = [" -->


# %% tags=["lib:text.bpe.gpt2_bytes"]
def gpt2_bytes() -> dict[str, int]:
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = sorted(set(range(256)) - set(seen))
    return {chr(b): b for b in seen} | {chr(256 + i): b for i, b in enumerate(unseen)}


# %%
written = {byte: character for character, byte in gpt2_bytes().items()}
print("".join(written[byte] for byte in "the café".encode()))
assert list(gpt2_bytes())[0] == "!" and len(written) == 256

# %% [markdown]
# A line such as `Ġ t` merges two tokens, each a byte or made by a line above. So read
# the lines in order and give each new token the next id.

# %% tags=["lib:text.bpe.read_gpt2_merges"]
from pathlib import Path


def read_gpt2_merges(path: str | Path) -> list[Pair]:
    lines = Path(path).read_text("utf-8").removesuffix("\n").split("\n")
    ids = {character: i for i, character in enumerate(gpt2_bytes())}
    merges, start = [], int(lines[0].startswith("#version"))
    for number, line in enumerate(lines[start:], start + 1):
        parts = line.split(" ")
        if len(parts) != 2 or not ids.keys() >= set(parts):
            raise ValueError(
                f"path={str(path)!r}, line {number}: {line!r} must be two tokens "
                "with a space between, each a byte or made by a line above"
            )
        merges.append((ids[parts[0]], ids[parts[1]]))
        ids["".join(parts)] = len(ids)
    return merges


# %% [markdown]
# ### Text and special tokens
#
# The last class adds text, files, and [special
# tokens](../book/glossary.md#special-token). A model needs marks that are not part of
# the text, to tell where a document ends or who is speaking. GPT-2 has one, written
# `<|endoftext|>`. Their ids come after the merges. The same characters may also be
# typed by somebody, in a chat or in a lesson like this one. They must then *not* become
# the mark, so `encode` makes special tokens only where the caller says
# `allowed_special=True`. `decode` shows the mark and the typed characters alike.
#
# So a text must be cut at the marks. `regex.escape` takes the bars in a mark for what
# they are; where one mark begins like another, the longer one comes first.


# %%
def cut_at(marks, text):
    longest_first = sorted(marks, key=len, reverse=True)
    pattern = "|".join(map(regex.escape, longest_first))
    return regex.split(f"({pattern})", text) if marks else [text]


print(cut_at(["<|end|>"], "one<|end|>two"))

# %% [markdown]
# The training counts the words between the marks, so that nothing is learnt from the
# letters of the marks themselves. The files come from `StoredTokenizer`, which all
# tokenizers of the library share: `save` writes what `to_dict` gives, `load` reads it
# and hands it to `from_dict`.

# %% tags=["naive:text.bpe.BPETokenizer"]
from lib.text.stored import StoredTokenizer


class BPETokenizer(ByteBPE, StoredTokenizer):
    def __init__(self, merges, special_tokens=(), alphabet=range(256)):
        super().__init__(merges, alphabet)
        marks = enumerate(special_tokens, start=len(self.tokens))
        self.special_tokens = {mark: i for i, mark in marks}
        self.tokens += [mark.encode("utf-8") for mark in self.special_tokens]
        self.vocab_size = len(self.tokens)

    @classmethod
    def train(cls, text, vocab_size, special_tokens=()):
        parts, words = cut_at(special_tokens, text), Counter()
        for part in parts:
            words.update([] if part in special_tokens else split_words(part))
        n_merges = vocab_size - 256 - len(special_tokens)
        return cls(learn_merges(words, n_merges), special_tokens)

    def encode(self, text, allowed_special=False):
        marks, ids = self.special_tokens if allowed_special else {}, []
        for part in cut_at(marks, text):
            ids += [marks[part]] if part in marks else self.encode_bytes(part.encode())
        return ids

    def decode(self, ids):
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def to_dict(self):
        values = {"merges": self.merges, "alphabet": self.alphabet}
        return values | {"special_tokens": list(self.special_tokens)}

    @classmethod
    def from_dict(cls, values):
        merges = [tuple(pair) for pair in values["merges"]]  # a file has lists
        return cls(**(values | {"merges": merges}))


# %% [markdown]
# The bytes of a model's text need not be utf-8 at every moment: it may stop in the
# middle of a character. `decode` then puts `�`, the sign for "no character".

# %% tags=["corpus"]
tokenizer = BPETokenizer(merges, ["<|endoftext|>"])
chat = "the end<|endoftext|>"
allowed = tokenizer.encode(chat, allowed_special=True)
print("ordinary text:", len(tokenizer.encode(chat)), "tokens")
print("allowed:      ", len(allowed), "tokens, the last is", allowed[-1])
print("half an emoji:", tokenizer.decode(tokenizer.encode("😀")[:2]))
assert tokenizer.special_tokens["<|endoftext|>"] not in tokenizer.encode(chat)
assert tokenizer.decode(allowed) == tokenizer.decode(tokenizer.encode(chat)) == chat

# %% [markdown]
# The id 1024 is the mark. And here are the first seven of GPT-2's 50,000 merges
# ([Radford et al.](../book/bibliography.md)), from a file as OpenAI wrote it.

# %%
from tempfile import TemporaryDirectory

folder = TemporaryDirectory()
path = Path(folder.name, "merges.txt")
path.write_text("#version: 0.2\nĠ t\nĠ a\nh e\ni n\nr e\no n\nĠt he\n", "utf-8")
gpt2_merges, alphabet = read_gpt2_merges(path), gpt2_bytes().values()
gpt2 = BPETokenizer(gpt2_merges, ["<|endoftext|>"], alphabet)
print(gpt2.encode("!"), gpt2.encode("\n"), gpt2.encode(" the"))
assert gpt2.encode("!") == [0] and gpt2.encode(" the") == [262]

# %% [markdown]
# `!` is 0, the newline 198, ` the` 262, as in the real GPT-2. With the whole file you
# have its tokenizer.
#
# The library's `BPETokenizer` does the same. It also refuses a text that is none, marks
# that are there twice, and a vocabulary that is too small, and its `from_gpt2` reads
# GPT-2's file in one line. Hold both against each other:

# %% tags=["same:text.bpe.BPETokenizer", "proof", "corpus"]
kept, marks = path.with_name("bpe.json"), ["<|endoftext|>"]
BPETokenizer.train(train_text[:30_000], 600, marks).save(kept)
learnt = bpe.BPETokenizer.train(train_text[:30_000], 600, marks)
pairs = (BPETokenizer.load(kept), learnt), (gpt2, bpe.BPETokenizer.from_gpt2(path))
for ours, theirs in pairs:
    assert ours.to_dict() == theirs.to_dict()
    for text in (chat, "naïve 😀", validation_text[:10_000]):
        ids = ours.encode(text)
        assert ids == theirs.encode(text)
        assert ours.encode(text, True) == theirs.encode(text, True)
        assert ours.decode(ids) == theirs.decode(ids) == text
print("the same merges, ids and texts")

# %% [markdown]
# ## Check
#
# ### Nothing is lost
#
# The whole corpus, and then bytes drawn at random, which no text ever looks like.

# %% tags=["corpus"]
import torch

tokenizer = BPETokenizer.train(train_text, 1024)
assert tokenizer.merges == merges
for text in (train_text, validation_text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
generator = torch.Generator().manual_seed(0)
noise = bytes(torch.randint(256, (10_000,), generator=generator).tolist())
assert tokenizer.decode_bytes(tokenizer.encode_bytes(noise)) == noise
print("all texts and all bytes come back")

# %% [markdown]
# ### Encoding agrees with training
#
# After its last merge, the `table` above holds each word in its final spelling.
# Encoding the word must give the same ids. (That our ids are also those of `tiktoken`
# and of Hugging Face's `tokenizers`, with the same merges, is tested in the
# repository.)

# %% tags=["corpus"]
left = [i for i in table.chain.ids if i is not None]
assert left == [i for word in words for i in [*tokenizer.encode(word), -1]]
print(f"{len(words):,} words are encoded as they were left by the training")

# %% [markdown]
# ### The classic bug: comparing losses per token
#
# You swap the tokenizer, train again, and the loss has gone up. Is the new one worse?
# Take the bigram model of lesson [02](02_bigram.ipynb): count pairs of *tokens*,
# smooth, and measure the loss on the validation split. With a thousand tokens most
# pairs never occur, so smoothing with 1 would drown the counts; every tokenizer gets
# 0.1.


# %%
from lib.models.bigram import BigramConfig, BigramLM, count_pairs


def encode_both(tokenizer):
    """The training and the validation split as ids."""
    texts = train_text, validation_text
    return [torch.tensor(tokenizer.encode(text)) for text in texts]


def bigram_loss(train, validation, vocab_size, added=0.1):
    """Nats per token and nats per character on the validation split."""
    counts = count_pairs(train, vocab_size).double() + added
    p = counts / counts.sum(dim=1, keepdim=True)
    loss = -p[validation[:-1], validation[1:]].log().mean().item()
    return loss, loss * len(validation) / len(validation_text)


# %% tags=["corpus"]
from lib.text.tokenizer import CharTokenizer

losses = {}
for name, t in {"characters": CharTokenizer(corpus.text), "BPE": tokenizer}.items():
    train, validation = encode_both(t)
    losses[name] = bigram_loss(train, validation, t.vocab_size)
    print(f"{name}: {len(validation):,} tokens for {len(validation_text):,} characters")
    print("  {:.2f} nats per token, {:.2f} per character".format(*losses[name]))
assert losses["BPE"][0] > losses["characters"][0] + 0.4
assert losses["BPE"][1] < losses["characters"][1] - 0.4

# %% [markdown]
# Per token BPE looks terrible: 4.08 nats instead of 2.48. Per character it is far
# better: 1.81 instead of 2.48. Both models predict *the same text*; the one spreads its
# surprise over 111,540 guesses, the other over 49,420 harder ones. (Strictly, one guess
# fewer each: nothing predicts the first token. That is too little to see.) Only the
# total counts, and dividing it by the number of characters makes it comparable.
#
# It is even a little unfair to BPE. A text can be cut into tokens in many ways, and we
# count only the probability of the one that the tokenizer chose. So 1.81 is an upper
# bound.
#
# The same trap waits for [perplexity](../book/glossary.md#perplexity), which is the
# loss per token in another form; for the loss of one batch, because a batch of the same
# shape holds more text; and for "trained on so many tokens".

# %% [markdown]
# ## Look
#
# The same line, cut by vocabularies of growing size. They need no training of their
# own: merges are learnt in order, so the small vocabulary is the beginning of the large
# one.

# %% tags=["corpus"]
many_merges = learn_merges(words, 2048 - 256)
assert many_merges[:768] == merges
verse = "And he that will not fight for such a hope, go home to bed"
for V in (256, 300, 512, 1024, 2048):
    cut = BPETokenizer(many_merges[: V - 256])
    ids = cut.encode(verse)
    print(f"{V:>4}: {len(ids)} tokens", "|".join(cut.decode([i]) for i in ids))

# %% [markdown]
# With 256 tokens each letter stands alone. Soon the frequent small words are whole,
# then the longer ones; the rare ones stay in pieces.
#
# How long is a token on average? Measure it on both splits.

# %% mystnb={"image": {"alt": "Line chart: characters per token against the size of the vocabulary, from 256 to 2048. Both lines rise steeply from 1 at first and then ever more slowly; the line of the training split lies above that of the validation split."}} tags=["corpus"]
from lib.show import plot

sizes = [256, 300, 384, 512, 768, 1024, 1536, 2048]
encoded = {V: encode_both(BPETokenizer(many_merges[: V - 256])) for V in sizes}
lengths = {"training split": [], "validation split": []}
for train, validation in encoded.values():
    lengths["training split"].append(len(train_text) / len(train))
    lengths["validation split"].append(len(validation_text) / len(validation))
for name, length in lengths.items():
    print(f"{name}:", ", ".join(f"{V}: {n:.2f}" for V, n in zip(sizes, length)))
    assert length == sorted(length) and length[0] == 1
    assert length[3] - length[0] > length[-1] - length[-3]
assert lengths["training split"][5] > lengths["validation split"][5]
plot.line_chart(lengths, "tokens in the vocabulary", "characters per token", sizes)

# %% [markdown]
# *The first few hundred merges do most of the work; each further one is rarer and gains
# less. The merges fit the text that they were learnt from: at 1,024 tokens, a token of
# the training split has 2.44 characters, on new text 2.26.*
#
# It is new text that counts. A context of 64 positions now covers 144 characters of it
# instead of 64:

# %% tags=["corpus"]
context_length = 64
covered = context_length * lengths["validation split"][sizes.index(1024)]
print(f"{context_length} positions cover {covered:.0f} characters")
assert covered > 2 * context_length

# %% [markdown]
# ## Experiment: how large a vocabulary?
#
# The price of a larger vocabulary: the table of the bigram model has $V^2$ entries, and
# a GPT's embedding and head grow with $V$. And each pair of tokens is seen less often.
# Take the bigram model through all sizes.

# %% mystnb={"image": {"alt": "Line chart over the size of the vocabulary. The loss per character falls steeply at first and is almost flat at the end."}} tags=["corpus"]
curves = {"per token": [], "per character": []}
for V in sizes:
    per_token, per_character = bigram_loss(*encoded[V], V)
    curves["per token"].append(per_token)
    curves["per character"].append(per_character)
    print(f"{V:>5} tokens, a table of {V * V:>9,}:", end=" ")
    print(f"{per_token:.3f} nats per token, {per_character:.3f} per character")
per_token, per_character = curves.values()
assert per_token == sorted(per_token)
assert per_character[0] - per_character[3] > 0.4
best = per_character.index(min(per_character))
print(f"lowest: {per_character[best]:.3f} per character at {sizes[best]:,} tokens")
assert sizes[best] >= 1536
axes = "tokens in the vocabulary", "validation loss (nats per character)"
plot.line_chart({"bigram model": per_character}, *axes, sizes)

# %% [markdown]
# *Per character the loss falls to 1.787 nats at 1,536 tokens, and then hardly changes any
# more.* Per token it only rises; it has no place in the picture, because it counts in
# another unit.
#
# The model is the same all along: it reads one token. But one token is more and more
# characters, so it knows more of the past. At 512 tokens its table has 262,144 entries,
# and it reaches 1.931 nats. The model of *two characters* from the
# [solutions](../solutions/02_bigram.ipynb) of lesson 02 has a table of 274,625, and
# stops at 2.046. It keeps room for every two characters, `qx` as much as `th`. Tokens
# spend the same room on pieces that occur.
# <!-- from: experiment-how-large-a-vocabulary "512 tokens, a table" -->
# <!-- from: solutions/02_bigram#exercise-4-read-two-characters "274,625" -->
# <!-- from: solutions/02_bigram#exercise-4-read-two-characters "alpha 0.1" -->
#
# Is 1,536 the best size, then? Careful: smoothing adds 0.1 to *every* entry, and a
# larger table has more entries. Try the two largest sizes with less.

# %% tags=["corpus"]
differences = []
for added in (0.1, 0.03, 0.01):
    pair = [bigram_loss(*encoded[V], V, added)[1] for V in (1536, 2048)]
    print(f"{added} added: 1,536 tokens {pair[0]:.3f}, 2,048 tokens {pair[1]:.3f}")
    differences.append(pair[1] - pair[0])
invented, real = 0.1 * 2048, len(encoded[2048][0]) / 2048
print(f"a row of 2,048 holds {real:.0f} counts on average; 0.1 adds {invented:.0f}")
assert differences == sorted(differences, reverse=True)
assert max(map(abs, differences)) < 0.05 and invented > real

# %% [markdown]
# With 0.1 a row of the largest table gets more invented counts than real ones, and
# 2,048 tokens are worse. With 0.03 both sizes are equal, with 0.01 the larger table is
# slightly better. So where the minimum lies depends on the smoothing. Beyond 1,536
# tokens there is little to gain either way: the table has millions of entries for a
# text of a million characters. A GPT does not count pairs, and with more text it can
# use more tokens: GPT-2 takes 50,257 ([Radford et al.](../book/bibliography.md)).
#
# What does the bigram model write, now that its one token of memory is longer? For
# writing we leave the smoothing out: a pair that never occurred is then never drawn.

# %% tags=["corpus", "sample"]
import time

from lib.generate import sample
from lib.show.ladder import rung

V = tokenizer.vocab_size
start = time.process_time()
counts = count_pairs(encoded[V][0], V)
seconds = time.process_time() - start
writer = BigramLM(BigramConfig(V))
writer.logits.weight.data = counts.float().log()  # the log of 0 is minus infinity
prompt = torch.tensor([tokenizer.encode("\n")])
written = sample(writer, prompt, 60, 1.0, torch.Generator().manual_seed(1))
text = tokenizer.decode(written[0, 1:])
rung("Bigram over BPE tokens", V * V, losses["BPE"][1], seconds, text)

# %% [markdown]
# Many of the words are words now, because tokens are. Still, each token knows only the
# one before it. This rung of the [ladder](../book/ladder.md) is in nats per
# *character*, like all others. Its loss is that of the *smoothed* model. And the loss
# of the writer?

# %% tags=["corpus"]
validation = encoded[V][1]
unseen = (counts[validation[:-1], validation[1:]] == 0).double().mean().item()
print(f"{unseen:.1%} of the pairs in the validation split never occur in training")
assert unseen > 0

# %% [markdown]
# Without smoothing 7.1 % of the pairs get the probability 0, so its loss is infinite.
#
# ### What the model cannot see
#
# The model sees ids. What is inside a token it can only learn from the company that the
# token keeps.

# %% tags=["corpus"]
for text in ("strawberry", " strawberry", "Strawberry", "STRAWBERRY"):
    ids = tokenizer.encode(text)
    print(ids, "|".join(tokenizer.decode([i]) for i in ids))
assert tokenizer.encode("strawberry")[0] != tokenizer.encode(" strawberry")[0]
assert len(tokenizer.encode("strawberry")) < len("strawberry")
assert not set(tokenizer.encode("strawberry")) & set(tokenizer.encode("STRAWBERRY"))

# %% [markdown]
# How many `r` are in it? You look at the letters; a model gets a few numbers, and none
# of them says how it is spelt. And for the model the four lines are four different
# lists of ids: with a space before it, with a capital, in capitals; the last shares
# none with the first. It has to learn that they belong together.
#
# Numbers are worse. Let a tokenizer learn from the hundred years that begin with 1900.

# %%
years = BPETokenizer.train(" ".join(str(year) for year in range(1900, 2000)), 268)
for text in (" 1984", " 1994", " 2084"):
    print("|".join(years.decode([i]) for i in years.encode(text)))
assert len(years.encode(" 1984")) < len(years.encode(" 2084"))

# %% [markdown]
# Where a number is cut depends on which numbers were frequent, not on the value of its
# digits. That makes adding hard. Newer models give each digit, or each group of up to
# three, its own token; exercise 3 does the former.
#
# And a tokenizer is best at what it has seen most. The same question in four languages:

# %% tags=["corpus"]
questions = {
    "English": "What is the meaning of life?",
    "French": "Quel est le sens de la vie ?",
    "German": "Was ist der Sinn des Lebens?",
    "Chinese": "生命的意义是什么？",
}
for language, question in questions.items():
    n = len(tokenizer.encode(question))
    print(f"{language}: {len(question)} characters, {n} tokens")
costs = {k: len(tokenizer.encode(q)) / len(q) for k, q in questions.items()}
assert costs["English"] < min(costs["French"], costs["German"])
assert costs["Chinese"] == 3  # nothing but bytes

# %% [markdown]
# Our tokenizer has only seen English. French and German fall into smaller pieces, and a
# Chinese character costs three tokens, its three bytes. Tokens are what you pay for,
# and what fills the context: the same question is dearer in one language than in
# another. It can be eased by learning the merges from text in many languages; but then
# they have to share one vocabulary.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>Every word of the training text becomes twice as frequent. Which merges change?</summary>
#
# None. All counts double, so the order of the pairs stays. Only at the end more merges
# are possible, because pairs that occurred once now occur twice.
#
# </details>
#
# <details><summary>You encode "and t" and "he" and join the ids. Are they the ids of "and the"? Do they decode to it?</summary>
#
# Not the same ids, but the same text: decoding joins bytes and does not care. But the
# model has never seen the word cut like that: where training meets these two tokens
# side by side, it has merged them. Prompts that end in the middle of a word, or with a
# space, are continued badly for this reason.
#
# </details>
#
# <details><summary>Without cutting into words first, would the tokens be longer or shorter?</summary>
#
# Usually longer, on new text too: all pairs that could be merged before still can, and
# now a merge may also reach across a cut. (Taking the best pair at each step guarantees
# nothing for many steps.) GPT-2 cuts for the reason above: not to spend tokens on
# `dog.`, `dog!` and `dog,`.
#
# </details>

# %% tags=["corpus"]
doubled = {word: 2 * n for word, n in few_words.items()}
assert learn_merges(doubled, 768) == fast
joined = tokenizer.encode("and t") + tokenizer.encode("he")
print(joined, "and", tokenizer.encode("and the"), "both give", tokenizer.decode(joined))
assert joined != tokenizer.encode("and the")
assert tokenizer.decode(joined) == "and the"
times = [int(counts[pair]) for pair in zip(joined, joined[1:])]
print("their pairs occur", times, "times in the training split")
assert min(times) == 0

# %% [markdown]
# And the third: learn 100 merges from 10,000 characters, once cut into words and once
# as a single long word. Then encode them, and as many characters of new text.

# %% tags=["corpus"]
excerpts = train_text[:10_000], validation_text[:10_000]
n_tokens = {}
for name, cut in (("words", split_words), ("one word", lambda text: [text])):
    merges_here = learn_merges(Counter(cut(excerpts[0])), 100)
    ranks_here = {pair: 256 + k for k, pair in enumerate(merges_here)}
    n_tokens[name] = [
        sum(len(apply_merges([*piece.encode()], ranks_here)) for piece in cut(text))
        for text in excerpts
    ]
    longest = sorted(spell(merges_here)[256:], key=len)[-4:]
    print("{}: {:,} tokens, on new text {:,};".format(name, *n_tokens[name]), longest)
assert all(one < cut for one, cut in zip(n_tokens["one word"], n_tokens["words"]))

# %% [markdown]
# ## Exercises

# %%
from lib.checks.lesson_14 import (
    check_bits_per_byte,
    check_decode_stream,
    check_longest_match,
    check_split_digits,
)

# %% [markdown]
# ### Exercise 1: Bits per byte
#
# *warm-up · 10 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-1-bits-per-byte)
#
# Papers often report *bits per byte*, because even the number of characters is a matter
# of taste: is an emoji of two parts one character or two? Given a loss in nats per
# token, the number of tokens, and the text that they stand for, return the loss in bits
# per byte of the text in utf-8. Do not round.
#
# <details><summary>Hint</summary>
#
# First the total in nats. One bit is $\ln 2$ nats, as in lesson 01.
# `text.encode("utf-8")` gives the bytes.
#
# </details>


# %%
def bits_per_byte(loss, n_tokens, text):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_bits_per_byte(bits_per_byte)

# %% [markdown]
# ### Exercise 2: The longest token first
#
# *core · 20 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-2-the-longest-token-first)
#
# There is another way to encode with the same vocabulary: at each place take the
# longest token that fits, then go on behind it. BERT's tokenizer works like that. Write
# it for one word: `word` is `bytes`, and `tokens` is a list of `bytes` in which each of
# the 256 single bytes occurs. Return the list of ids, where the id of a token is its
# place in `tokens`. (Is it the same as BPE? The solution compares both on all words.)
# <!-- from: learning-the-plain-way "256 + n_merges" -->
#
# <details><summary>Hint</summary>
#
# A dictionary from token to id makes looking up fast. At place `i`, try the ends
# `len(word)`, `len(word) - 1`, ... down to `i + 1`; the first `word[i:end]` in the
# dictionary is the longest.
#
# </details>


# %%
def longest_match(word, tokens):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_longest_match(longest_match)

# %% [markdown]
# ### Exercise 3: Each digit for itself
#
# *core · 15 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-3-each-digit-for-itself)
#
# Write `split_digits(text)`: like `split_words`, but each digit (or other sign that
# `\p{N}` stands for) is a word of its own, so that no merge ever joins two. A space
# before a number stays with its first digit: `" 42"` becomes `" 4"` and `"2"`.
# Everything else is cut as before, and the words are still the whole text.
# <!-- from: words "| 42" -->
#
# <details><summary>Hint</summary>
#
# Which part of the pattern takes digits, and which sign in it says "one or more"?
# `SPLIT.pattern` is the pattern as a string.
#
# </details>


# %%
def split_digits(text):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_split_digits(split_digits)

# %% [markdown]
# ### Exercise 4: Show it as it comes
#
# *stretch · 30 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-4-show-it-as-it-comes)
#
# A chat shows the text while the model writes it, token by token. But a token may end
# in the middle of a character, and nobody wants to see `�`. Write
# `decode_stream(tokens)`: given the tokens as a list of `bytes`, return a list of as
# many strings. The k-th is what can be shown after the k-th token: all characters that
# are complete by then and were not shown before. The bytes of an unfinished character
# wait. All tokens together are valid utf-8, and may hold a `�` of their own: that is a
# character like any other.
#
# <details><summary>Hint</summary>
#
# Keep the bytes that were not shown yet. `bytes.decode` raises `UnicodeDecodeError`
# when they do not decode, and its attribute `start` says where the trouble begins: what
# stands before can be shown. Python's `codecs.getincrementaldecoder` is a shorter way.
#
# </details>


# %%
def decode_stream(tokens):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_decode_stream(decode_stream)

# %% [markdown]
# ## Recap
#
# - You built **byte pair encoding**: begin with 256 bytes, so that nothing is ever
#   unknown; merge the most frequent pair within words; encode in the order of the
#   merges.
#   <!-- from: learning-the-plain-way "256 + n_merges" -->
# - You made the training **fast** by counting once: the same merges as by counting
#   again, but each visits 101 places on average and not all 116,785.
#   <!-- from: learning-counted-once "a merge visits" -->
# - You saw the **classic bug**: per token the loss rises from 2.48 to 4.08 nats, per
#   character it falls to 1.81. Compare per character, or per byte.
#   <!-- from: the-classic-bug-comparing-losses-per-token "nats per token," -->
# - You saw what it **costs**: tables grow with the vocabulary, letters and digits
#   disappear inside tokens, and other languages pay more.
#
# With this you have all parts of GPT-2: its tokenizer, its model, its training and its
# sampling. What is open is the other half of the story. The Transformer was invented to
# *translate*: to read one sequence and write another. That needs an encoder and a
# decoder: lesson 15.
#
# The library entries of what you built: [all of `bpe`](../book/api.md#textbpe).

# %% [markdown]
# ## To read
#
# - Gage (1994), *A new algorithm for data compression*: the idea, in a magazine for C
#   programmers.
# - Sennrich et al. (2016), section 3.2: byte pair encoding for rare words in
#   translation, with a program of half a page.
# - Radford et al. (2019), section 2.2: why bytes, and why no merges across kinds of
#   characters.
# - Kudo (2018), sections 1 to 3: another tokenizer, which sees a word as many possible
#   cuts and trains the model on all of them.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
