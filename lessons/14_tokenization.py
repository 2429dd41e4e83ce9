# %% [markdown]
# # 14 · Tokenization
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/14_tokenization.ipynb)
#
# You build the tokenizer of GPT-2. It learns from a text which characters belong together, and it
# can read every text there is.
#
# - **You will build** byte pair encoding: learning merges, encoding, decoding, special tokens.
# - **You will see** what tokens look like, what the same GPT gains from them in the same time, and
#   why losses of two tokenizers must not be compared per token.
# - **Needs** lessons [01](01_text_and_tokens.ipynb), [02](02_bigram.ipynb) and
#   [11](11_training.ipynb).
# - **Takes** about 65 minutes without the exercises; the notebook runs in under 45 s.

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
# The GPT of lesson [11](11_training.ipynb) reached 1.85 nats. It reads and writes one character at a
# time. A context of 64 tokens is 64 characters, about a dozen words: after two lines the model has
# forgotten who is speaking. And to write `queen` it runs five times, although after `q` there is
# nearly always a `u`.
# <!-- from: 11_training#experiment-2-the-fast-recipe "Muon:" -->
# <!-- from: look "positions cover" -->
#
# A token for each word would cover more text. But there is no end of words: names, misspellings,
# other languages. What lies between characters and words?

# %% [markdown]
# ## The machine
#
# The GPT stays as it is. What is new comes in front of it and after it.

# %% mystnb={"image": {"alt": "Two columns. Encode, downwards: a text is cut into words, each word becomes bytes, the bytes are merged to ids, and these go into the GPT. Decode, upwards: the id that the GPT predicts is replaced by its bytes, which are joined and read as text."}}
from lib.show import diagrams

diagrams.tokenizer_path()

# %% [markdown]
# ## By hand
#
# Let the text decide what belongs together. Take a line, and count all pairs of neighbours.

# %%
from collections import Counter

line = "the other mother bathes the brother"
pieces = list(line)
pairs = Counter(zip(pieces, pieces[1:]))
print(len(pieces), "pieces")
for pair, count in pairs.most_common(4):
    print(pair, count)

# %% [markdown]
# `t` and `h` stand side by side six times; so do `h` and `e`. Of equals, take the first in the alphabet,
# and make it one piece wherever it stands: a [merge](../book/glossary.md#merge). Go from left to right; if
# the last piece kept and the next one are the pair, the merged piece replaces both.

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


# %% [markdown]
# (The library merges ids, as the types say; strings do while you watch.) Now five rounds: count, take the
# most frequent pair, merge it.

# %%
pieces = list(line)
for _ in range(5):
    pairs = Counter(zip(pieces, pieces[1:]))
    first, second = min(pairs, key=lambda pair: (-pairs[pair], pair))
    pieces = merge_pair(pieces, (first, second), first + second)
    print(f"{first!r} + {second!r}, {pairs[first, second]} times:", "|".join(pieces))

# %% [markdown]
# Nobody told it about words. After five merges it has found `the`, and that *mother* and *brother*
# contain an *other*. Less than half of the pieces are left.
#
# The [vocabulary](../book/glossary.md#vocabulary) is what you began with plus one token per merge. A rare
# word just stays in smaller pieces.

# %% [markdown]
# ## The formula
#
# A long text is first cut into words $w$, and no merge reaches across a cut. Every step merges the pair
#
# $$(a^*, b^*) = \arg\max_{(a, b)} N_{ab}, \qquad N_{ab} = \sum_w n_w \, c_w(a, b)$$
#
# and counts again. This is [byte pair encoding](../book/glossary.md#byte-pair-encoding), BPE.
#
# Longer tokens are harder to predict, and there are fewer of them. So a loss per token means little by
# itself. What can be compared is the loss per character: the total surprise, divided by the length of the
# text. Divided by $\ln 2$ it is in [bits](../book/glossary.md#bit) instead of nats.
#
# $$L_\text{character} = L_\text{token} \cdot \frac{N_\text{tokens}}{N_\text{characters}}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $w$, $n_w$ | word, number | a word, and how often it occurs |
# | $c_w(a, b)$ | number | how often token $b$ follows token $a$ inside $w$ |
# | $N_{ab}$ | `(V, V)`, mostly 0 | how often $b$ follows $a$ within words |
# | $V$ | number | the vocabulary: 256 bytes + merges + special tokens <!-- from: learning "256 + n_merges" --> |
# | $N_\text{...}$, $L_\text{...}$ | numbers | lengths of the same text; mean surprise in nats |
#
# Gage (1994) compressed files this way. Sennrich et al. (section 3.2, algorithm 1) made it a tokenizer.
# Radford et al. (section 2.2) let it start from bytes, for GPT-2.

# %% [markdown]
# ## Build
#
# ### Bytes
#
# Which characters does the vocabulary begin with? Unicode has more than a hundred thousand. But every
# text is stored as [bytes](../book/glossary.md#byte), numbers below 256, usually in the encoding *utf-8*.
# Look at how many bytes a character takes.
# <!-- from: learning "256 + n_merges" -->

# %%
for character in "eé中😀":
    print(character, list(character.encode("utf-8")))

# %% [markdown]
# One byte for a letter of English, two or three for most others, four for most emoji. So begin with 256
# tokens, the bytes. They cover every text in every language, and merges put the bytes of a character
# together where that pays.
# <!-- from: learning "256 + n_merges" -->
#
# ### Words
#
# In a long text `dog.`, `dog!` and `dog,` are all frequent, and three tokens for one animal would waste the
# vocabulary. So GPT-2 first cuts the text into words. Of the pattern's six alternatives the first that fits
# is taken: an English ending such as `'ll`; letters; digits; other signs; white space up to its
# last sign if a word follows; what white space is left. ` ?` allows one space before letters, digits or signs. (`\p{L}` is a letter of
# any language, `\p{N}` a digit or the like; Python's `re` does not know them, the package `regex` does.)

# %% tags=["lib:text.bpe.split_words"]
import regex

SPLIT = regex.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


def split_words(text: str) -> list[str]:
    return SPLIT.findall(text)


# %%
print("|".join(split_words("The dog! They'll say: 'no dog.'   42 cafés")))

# %% [markdown]
# One space before a word belongs to it. Nothing is lost: put together, the words are the text.
#
# ### Learning
#
# A word that occurs a thousand times need only be looked at once, if you know how often it occurs. Learn
# from the training split only.

# %% tags=["corpus"]
from lib.text.batches import split_text
from lib.text.corpus import load_corpus

corpus = load_corpus()
train_text, validation_text = split_text(corpus.text)
words = Counter(split_words(train_text))
print(f"{corpus.name}: {words.total():,} words, {len(words):,} different")
print(words.most_common(5))

# %% [markdown]
# Now do what you did by hand, with ids. A byte is its own id; the first merge gets the id 256.


# %% tags=["naive:text.bpe.learn_merges"]
def learn_merges(words, n_merges):
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
# Twelve merges. To read them, spell each token: the bytes of its first half, then those of its second.


# %% tags=["corpus"]
def spell(merges):
    tokens = [bytes([byte]) for byte in range(256)]
    for first, second in merges:
        tokens.append(tokens[first] + tokens[second])
    return tokens


first_merges = learn_merges(words, 12)
print([token.decode() for token in spell(first_merges)[256:]])

# %% [markdown]
# The most frequent pair is a space and a `t`: many words begin with `t`. The eleventh merge makes ` the`
# out of two earlier tokens.
#
# Each of these merges looked at all words again. But a merge changes only the words that hold the pair. The
# library counts once, keeps a list of the places of each pair, and after a merge corrects the counts around
# these places. It finds the same merges some thirty times as fast ([benchmarks](../book/benchmarks.md)), and stops when no pair comes twice. *Deeper:
# counting once* builds it.

# %% tags=["same:text.bpe.learn_merges", "proof", "corpus"]
# @title Proof: the library learns the same merges
from lib.text import bpe

few_words = Counter(split_words(train_text[:10_000]))
assert learn_merges(few_words, 200) == bpe.learn_merges(few_words, 200)
assert bpe.learn_merges(words, 12) == first_merges
print("the same merges, in the same order")

# %% [markdown]
# With it, learn 768 merges: a vocabulary of 1,024 tokens. The last ones and the longest:

# %% tags=["corpus"]
merges = bpe.learn_merges(words, 768)
tokens = spell(merges)
print(len(tokens), "tokens, the last:", [token.decode() for token in tokens[-8:]])
print("longest:", [token.decode() for token in sorted(tokens, key=len)[-8:]])

# %% [markdown]
# The longest are names, in capitals above their speeches, and frequent words with their space.
#
# ### Encoding
#
# To encode a new text, cut it into words and merge each word in the order in which the merges were learned.
# `ranks` says which id a pair becomes. The earlier a merge was learned, the smaller its id. 


# %% tags=["naive:text.bpe.apply_merges"]
def apply_merges(ids, ranks):
    while known := [pair for pair in zip(ids, ids[1:]) if pair in ranks]:
        first = min(known, key=ranks.get)
        ids = merge_pair(ids, first, ranks[first])
    return ids


# %% tags=["corpus"]
ranks = {pair: 256 + k for k, pair in enumerate(merges)}
for word in (" the", " brother", " whether"):
    ids = apply_merges(list(word.encode()), ranks)
    print(ids, "|".join(tokens[i].decode() for i in ids))

# %% [markdown]
# ` the` and ` brother` are tokens, ` whether` is two. The merges of ` brother`, from below; the number says
# which merge it was:

# %% tags=["corpus"] mystnb={"image": {"alt": "A tree. At the bottom the space and the letters of brother. Each merge joins two neighbours. First h and e become he, then space and b, o and t, he and r become her, ot and her become other, and space, b, r. At the top space, b, r and other become the whole word."}}
spelt = [(tokens[a].decode("latin-1"), tokens[b].decode("latin-1")) for a, b in merges]
diagrams.merge_tree(" brother", spelt)

# %% [markdown]
# Along every path upwards the numbers grow. (`latin-1` gives every byte a character.) `other` is there again; it serves *mother* and *another* as well.
#
# ### Any bytes to ids and back
#
# Now a class that keeps the merges. `data.decode(..., "surrogateescape")` puts a stand-in character for each byte that is not utf-8, so that the text can be cut into words; `word.encode(...)` turns it back.


# %% tags=["naive:text.bpe.ByteBPE"]
class ByteBPE:
    def __init__(self, merges):
        self.merges, self.tokens = merges, spell(merges)
        self.ranks = {pair: 256 + k for k, pair in enumerate(merges)}

    def encode_bytes(self, data):
        ids = []
        for word in split_words(data.decode("utf-8", "surrogateescape")):
            spelt = word.encode("utf-8", "surrogateescape")
            ids += apply_merges(list(spelt), self.ranks)
        return ids

    def decode_bytes(self, ids):
        return b"".join(self.tokens[i] for i in ids)


# %% tags=["corpus"]
for data in ("naïve 😀".encode(), b"\xff\xfe\x00 no text"):
    ids = ByteBPE(merges).encode_bytes(data)
    print(len(data), "bytes,", len(ids), "tokens:", ByteBPE(merges).decode_bytes(ids))

# %% [markdown]
# Both come back. Decoding is simple: look up the bytes of each id, and join them.
#
# ### Special tokens
#
# A model needs marks that are not part of the text: where a document ends, who is speaking. GPT-2 has one
# such [special token](../book/glossary.md#special-token), written `<|endoftext|>`. Their ids come after the
# merges. But somebody may *type* these characters, in a chat or in a lesson like this one, and that must not
# become the mark. So `encode` makes special tokens only where the caller says `allowed_special=True`.
#
# First cut a text at the marks. (`regex.escape` makes `|` an ordinary character.)


# %%
def cut_at(marks, text):
    longest_first = sorted(marks, key=len, reverse=True)
    pattern = "|".join(map(regex.escape, longest_first))
    return regex.split(f"({pattern})", text) if marks else [text]


print(cut_at(["<|end|>"], "one<|end|>two"))

# %% [markdown]
# The training counts the words *between* the marks: nothing is learned from the marks themselves.


# %% tags=["naive:text.bpe.BPETokenizer"]
class BPETokenizer(ByteBPE):
    def __init__(self, merges, special_tokens=()):
        super().__init__(merges)
        marks = enumerate(special_tokens, start=len(self.tokens))
        self.special_tokens = {mark: i for i, mark in marks}
        self.tokens += [mark.encode() for mark in self.special_tokens]

    @classmethod
    def train(cls, text, vocab_size, special_tokens=()):
        words = Counter()
        for part in cut_at(special_tokens, text):
            words.update([] if part in special_tokens else split_words(part))
        n_merges = vocab_size - 256 - len(special_tokens)
        return cls(bpe.learn_merges(words, n_merges), special_tokens)

    def encode(self, text, allowed_special=False):
        marks, ids = self.special_tokens if allowed_special else {}, []
        for part in cut_at(marks, text):
            ids += [marks[part]] if part in marks else self.encode_bytes(part.encode())
        return ids

    def decode(self, ids):
        return self.decode_bytes(ids).decode("utf-8", errors="replace")


# %% [markdown]
# A model may stop in the middle of a character. Then `errors="replace"` writes `�`.

# %% tags=["corpus"]
tokenizer = BPETokenizer(merges, ["<|endoftext|>"])
chat = "the end<|endoftext|>"
print("ordinary text:", len(tokenizer.encode(chat)), "tokens")
print("allowed:      ", tokenizer.encode(chat, allowed_special=True))
print("half an emoji:", tokenizer.decode(tokenizer.encode("😀")[:2]))

# %% [markdown]
# ## Check
#
# The library's classes give the same ids, and a test compares these with `tiktoken` and Hugging Face's
# `tokenizers`, given our merges. The library also remembers words that it has encoded, and refuses what
# cannot be right, such as ids that do not exist.

# %% tags=["same:text.bpe.apply_merges", "same:text.bpe.ByteBPE", "proof", "corpus"]
# @title Proof: the library encodes and decodes bytes the same
for word in list(words)[:2_000]:
    spelt = list(word.encode())
    assert apply_merges(spelt, ranks) == bpe.apply_merges(spelt, ranks)
for data in ("naïve 😀".encode(), b"\xff\xfe\x00 no text", chat.encode()):
    ids = ByteBPE(merges).encode_bytes(data)
    assert ids == bpe.ByteBPE(merges).encode_bytes(data)
    assert ByteBPE(merges).decode_bytes(ids) == bpe.ByteBPE(merges).decode_bytes(ids)
print("the same ids and bytes")

# %% tags=["same:text.bpe.BPETokenizer", "proof", "corpus"]
# @title Proof: the library's tokenizer is the same
settings = train_text[:30_000] + "<|endoftext|>" * 99, 600, ["<|endoftext|>"]
mine, theirs = BPETokenizer.train(*settings), bpe.BPETokenizer.train(*settings)
assert mine.merges == theirs.merges and mine.special_tokens == theirs.special_tokens
for text in (chat, "naïve 😀", validation_text[:3_000]):
    for allow in (False, True):
        ids = mine.encode(text, allow)
        assert ids == theirs.encode(text, allow)
        assert mine.decode(ids) == theirs.decode(ids) == text
print("the same merges, ids and texts")

# %% [markdown]
# Nothing is lost: not of the corpus, and not of bytes drawn at random.

# %% tags=["corpus"]
import torch

tokenizer = bpe.BPETokenizer(merges)
for text in (train_text, validation_text):
    assert tokenizer.decode(tokenizer.encode(text)) == text
generator = torch.Generator().manual_seed(0)
noise = bytes(torch.randint(256, (10_000,), generator=generator).tolist())
assert tokenizer.decode_bytes(tokenizer.encode_bytes(noise)) == noise
print("all texts and all bytes come back")

# %% [markdown]
# ### The classic bug: comparing losses per token
#
# You change the tokenizer, train again, and the loss has gone up. Is the new one worse? Take the bigram
# model of lesson [02](02_bigram.ipynb), on *tokens*. (Among a thousand tokens most pairs never occur, so
# adding 1 to each count would be too much; both tokenizers get 0.1.)

# %%
from lib.models.bigram import count_pairs


def encode_both(tokenizer):
    texts = train_text, validation_text
    return [torch.tensor(tokenizer.encode(text)) for text in texts]


def bigram_loss(train_ids, held_out, vocab_size):
    counts = count_pairs(train_ids, vocab_size).double() + 0.1
    p = counts / counts.sum(dim=1, keepdim=True)
    return -p[held_out[:-1], held_out[1:]].log().mean().item()


# %% tags=["corpus"]
import math

from lib.text.tokenizer import CharTokenizer

characters = CharTokenizer(corpus.text)
for name, t in {"characters": characters, "byte pairs": tokenizer}.items():
    train_ids, held_out = encode_both(t)
    loss = bigram_loss(train_ids, held_out, t.vocab_size)
    per_character = loss * len(held_out) / len(validation_text)
    bits = per_character / math.log(2)
    print(f"{name}: {len(held_out):,} tokens for {len(validation_text):,} characters")
    print(f"  {loss:.2f} nats per token, {per_character:.2f} nats per character")
    print(f"  {bits:.2f} bits per character")

# %% [markdown]
# Per token, byte pairs look terrible: 4.08 nats instead of 2.48. Per character they are far better: 1.81
# instead of 2.48. Both predict *the same text*, one in many easy guesses, the other in fewer hard ones. Only
# the total counts. The same trap waits in [perplexity](../book/glossary.md#perplexity), which is the loss per
# token in another form, and in "trained on so many tokens".

# %% [markdown]
# ## Look
#
# The same line, cut by vocabularies of growing size. A small one is the beginning of a large one.

# %% tags=["corpus"]
many_merges = bpe.learn_merges(words, 2048 - 256)
verse = "And he that will not fight for such a hope, go home to bed"
for V in (256, 300, 512, 1024, 2048):
    cut = bpe.BPETokenizer(many_merges[: V - 256])
    ids = cut.encode(verse)
    print(f"{V:>4}: {len(ids)} tokens", "|".join(cut.decode([i]) for i in ids))

# %% [markdown]
# First each letter stands alone, soon the frequent small words are whole, then longer ones. How long is a
# token on average, in the text that the merges come from and in new text?

# %% mystnb={"image": {"alt": "Line chart: characters per token against the size of the vocabulary, from 256 to 2048. Both lines rise steeply from 1 at first and then ever more slowly; the line of the training split lies above that of the validation split."}} tags=["corpus"]
from lib.show import plot

sizes = [256, 384, 512, 1024, 1536, 2048]
splits = {"training split": train_text, "validation split": validation_text}
counted = {name: Counter(split_words(text)) for name, text in splits.items()}
lengths = {name: [] for name in splits}
for V in sizes:
    cut = bpe.BPETokenizer(many_merges[: V - 256])
    for name, text in splits.items():
        n = sum(times * len(cut.encode(word)) for word, times in counted[name].items())
        lengths[name].append(len(text) / n)
for name, length in lengths.items():
    print(f"{name}: {length[sizes.index(1024)]:.2f} characters per token of 1,024")
plot.line_chart(lengths, "tokens in the vocabulary", "characters per token", sizes)

# %% [markdown]
# *The first few hundred merges do most of the work. Later ones shorten the text that they were learned from more than new text: the gap grows.* And it is new text that counts:

# %% tags=["corpus"]
covered = 64 * lengths["validation split"][sizes.index(1024)]
print(f"64 positions cover {covered:.0f} characters")

# %% [markdown]
# More than twice as much text in the same context.
#
# ### What the model cannot see
#
# The model sees ids. What is inside a token it can only learn from the text around it.

# %% tags=["corpus"]
for text in ("strawberry", " strawberry", "STRAWBERRY"):
    ids = tokenizer.encode(text)
    print(ids, "|".join(tokenizer.decode([i]) for i in ids))
questions = {
    "English": "What is the meaning of life?",
    "German": "Was ist der Sinn des Lebens?",
    "Chinese": "生命的意义是什么？",
}
for language, question in questions.items():
    n = len(tokenizer.encode(question))
    print(f"{language}: {len(question)} characters, {n} tokens")

# %% [markdown]
# How many `r` are in it? You look at the letters; a model gets a few numbers, and none says how the word is
# spelled. A space before it changes the first number; capitals change them all.
#
# And this tokenizer has only seen English: a Chinese character costs its three bytes. Tokens fill the context
# and are what you pay for, so the same question costs more in one language than in another.

# %% [markdown]
# ## Experiment: the same GPT on characters and on byte pairs
#
# Now the question from the start. Take the GPT of lesson 11 and its recipe, and give it *the same processor
# time*: on characters; on characters with as long a context as byte pairs have, in batches of fewer rows; and
# on byte pairs. These need a larger head, so a step takes longer and there are fewer steps. Three seeds each
# were recorded with `python book/_tools/tokens.py`.

# %%
import json
from pathlib import Path

import lib

file = Path(lib.__file__).parents[1] / "data" / "tokens.json"
record = json.loads(file.read_text("utf-8"))
for name, run in record["runs"].items():
    n_characters = round(run["context"] * run["characters_per_token"])
    print(f"{name}: {run['parameters']:,} parameters, {run['steps']} steps,")
    print(f"  {n_characters} characters of context")
    mean = sum(run["per_character"]) / len(run["per_character"])
    print(f"  nats per character: {run['per_character']}, mean {mean:.3f}")
    print(f"  bits per character: mean {mean / math.log(2):.3f}")

# %% tags=["proof"]
# @title Proof: what the text says about the recorded runs
characters_run, longer, byte_pairs = record["runs"].values()
triples = zip(*(run["per_character"] for run in record["runs"].values()))
for plain, long, paired in triples:
    assert 0.09 < plain - paired < 0.15
    assert abs(plain - long) < 0.03
assert len(byte_pairs["per_character"]) == 3
assert 2 < byte_pairs["parameters"] / characters_run["parameters"] < 2.3
times = [sum(run["seconds"]) for run in record["runs"].values()]
assert max(times) < 1.15 * min(times)
print("so it stands in the record")

# %% [markdown]
# - **Byte pairs win**, by more than a tenth of a nat per character, with every seed and in fewer steps.
# - **A longer context alone gains nothing** in so short a training: the second model looks back as far as the
#   third, and does no better than the first.
# - So what gains? A batch of byte pairs holds more than twice the text, and frequent words have vectors of their
#   own: twice the parameters, and all the additional ones are in two tables, the embedding and the head. The record does not tell
#   these causes apart.
#
# All use the learning rates of lesson 11, found for characters. Now train the last model yourself, with another seed:

# %% tags=["hide-input"]
# @title The training, as in lesson 11
import time

from lib.checks.claims import claim
from lib.models import count_parameters
from lib.models.gpt import GPT, GPTConfig
from lib.text.batches import random_batch
from lib.train import Training, estimate_loss, train
from lib.train.settings import TrainConfig


def train_on(ids, vocab_size, n_steps, seed):
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size, context_length=64, **record["base"]))
    generator = torch.Generator().manual_seed(seed)
    recipe = TrainConfig(**record["recipe"] | {"n_steps": n_steps})
    train(Training(model, recipe), lambda: random_batch(ids, 12, 64, generator))
    return model


# %% tags=["corpus", "measured"]
train_ids, held_out = encode_both(tokenizer)
n_steps = record["runs"]["byte pairs"]["steps"]
start = time.process_time()
gpt = train_on(train_ids, tokenizer.vocab_size, n_steps, seed=7)
seconds = time.process_time() - start
per_token = estimate_loss(gpt, held_out, 64)
per_character = per_token * len(held_out) / len(validation_text)
print(f"{per_token:.2f} nats per token, {per_character:.2f} nats per character")
limit = 1.0 if corpus.is_stand_in else 1.80
claim(per_character < limit, "byte pairs come below 1.80 nats per character")

# %% [markdown]
# What does it write?

# %% tags=["corpus", "sample"]
from lib.generate import sample
from lib.show.ladder import rung

prompt = torch.tensor([tokenizer.encode("\n")])
written = sample(gpt, prompt, 60, 1.0, torch.Generator().manual_seed(1))
text = tokenizer.decode(written[0, 1:])
rung("GPT over byte pairs", count_parameters(gpt), per_character, seconds, text)

# %% [markdown]
# Short words are nearly all real: many are single tokens. Longer ones are still put together wrongly.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>Every word of the training text becomes twice as frequent. Which merges change?</summary>
#
# None. All counts double, so the order of the pairs stays. (The library stops when no pair comes twice; it could now go on for longer.)
#
# </details>
#
# <details><summary>You encode "and t" and "he" and join the ids. Are they the ids of "and the"? Do they decode to it?</summary>
#
# Not the same ids, but the same text: decoding joins bytes. The model has never seen the word cut like that,
# because training would have merged it. A prompt that ends in the middle of a word, or with a space, is
# continued badly for this reason.
#
# </details>
#
# <details><summary>A tokenizer learns from the hundred years that begin with 1900. Are 1984 and 2084 cut alike?</summary>
#
# No. Where a number is cut depends on which numbers were frequent, not on the value of its digits. That makes
# adding hard. Newer models give each digit, or each group of up to three, its own token; exercise 3 does the
# former.
#
# </details>

# %% tags=["answer", "corpus"]
# @title Answers: twice the words, a cut in a word, and years
doubled = {word: 2 * n for word, n in few_words.items()}
assert bpe.learn_merges(doubled, 200) == bpe.learn_merges(few_words, 200)
joined = tokenizer.encode("and t") + tokenizer.encode("he")
print(joined, "and", tokenizer.encode("and the"), "both give", tokenizer.decode(joined))
assert joined != tokenizer.encode("and the")
assert tokenizer.decode(joined) == "and the"
numbers = " ".join(str(year) for year in range(1900, 2000))
years = bpe.BPETokenizer.train(numbers, 268)
for text in (" 1984", " 2084"):
    print(text, "is cut", "|".join(years.decode([i]) for i in years.encode(text)))
assert len(years.encode(" 1984")) < len(years.encode(" 2084"))

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_14 import (
    check_bits_per_byte,
    check_decode_stream,
    check_longest_match,
    check_split_digits,
)

# %% [markdown]
# ### Exercise 1: Bits per byte
#
# *warm-up · 5 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-1-bits-per-byte)
#
# Papers often report *bits per byte*, because it is a matter of taste what one character is. Given a loss in
# nats per token, the number of tokens, and the text that they stand for, return the loss in bits per byte of the
# text in utf-8, as a float. Do not round.
#
# <details><summary>Hint</summary>
#
# First the total in nats. One bit is $\ln 2$ nats, as in lesson 01. `text.encode("utf-8")` gives the bytes.
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
# *core · 15 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-2-the-longest-token-first)
#
# Another way to encode: at each place take the longest token that fits, then continue after it. BERT's tokenizer
# works like that. `word` is `bytes`, and `tokens` is a list of `bytes` in which each of the 256 single bytes
# occurs. Return the list of ids; the id of a token is its place in `tokens`. (The solution compares it with BPE.)
# <!-- from: learning "256 + n_merges" -->
#
# <details><summary>Hint</summary>
#
# A dictionary from token to id makes looking up fast. At place `i`, try the ends `len(word)`, `len(word) - 1`,
# ... down to `i + 1`; the first `word[i:end]` in the dictionary is the longest.
#
# </details>


# %%
def longest_match(word, tokens):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_longest_match(longest_match)

# %% [markdown]
# ### Exercise 3: Each digit on its own
#
# *core · 10 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-3-each-digit-on-its-own)
#
# Write `split_digits(text)`: like `split_words`, but each digit (all that `\p{N}` stands for) is a word of its
# own, so that no merge ever joins two. A space before a number stays with its first digit: `" 42"` becomes
# `" 4"` and `"2"`. All else is cut as before.
# <!-- from: words "| 42" -->
#
# <details><summary>Hint</summary>
#
# Which part of the pattern takes digits, and which sign in it says "one or more"?
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
# *stretch · 25 minutes* · [Solution](../solutions/14_tokenization.ipynb#exercise-4-show-it-as-it-comes)
#
# A chat shows the text token by token. But a token may end in the middle of a character, and nobody wants to see
# `�`. Given the tokens as a list of `bytes`, return a list of as many strings. The k-th holds all characters that
# are complete after the k-th token and were not shown before; the bytes of an unfinished one wait. All tokens
# together are valid utf-8, which may hold a `�` of its own.
#
# <details><summary>Hint</summary>
#
# Keep the bytes that were not shown yet. `bytes.decode` raises `UnicodeDecodeError` when they do not decode,
# and its attribute `start` says where the trouble begins: what stands before can be shown.
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
# - You built **byte pair encoding**: begin with the bytes, so that nothing is ever unknown; merge the most
#   frequent pair within words; encode in the order of the merges.
# - You saw the **classic bug**: per token the loss of the bigram model rises from 2.48 to 4.08 nats, per
#   character it falls to 1.81. Compare per character, or per byte.
#   <!-- from: the-classic-bug-comparing-losses-per-token "nats per token," -->
# - You saw **the same GPT gain** about a tenth of a nat per character from byte pairs, in the same processor
#   time and with every seed. A longer context of characters alone gained nothing there.
# - You saw what it **costs**: tables grow with the vocabulary, letters and digits disappear inside tokens, and
#   other languages pay more.
#
# Now you have all of GPT-2: tokenizer, model, training, sampling. At the end of this page it can write for
# you. But the Transformer was invented to *translate*: to read one sequence and write another. That needs an
# encoder and a decoder: lesson [15](15_encoder_decoder.ipynb).
#
# The library's entries: [all of `bpe`](../book/api.md#textbpe),
# [load_gpt2_tokenizer](../book/api.md#modelsgpt2_files).

# %% [markdown]
# ## To read
#
# - Gage (1994), *A new algorithm for data compression*: the idea, in a magazine for C programmers.
# - Sennrich et al. (2016), section 3.2: byte pair encoding for rare words in translation, with a program of half
#   a page.
# - Radford et al. (2019), section 2.2: why bytes, and why no merges across kinds of characters.
# - Kudo (2018), sections 1 to 3: another tokenizer, which draws one of many possible cuts each time the model sees
#   a sentence.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: counting once
#
# The plain way looks at all words for each merge. To count once, keep a table of the pairs: how many there are
# of each, and where.
#
# A list is a poor place for that: take one id out, and everything after it moves. So all words stand in one *chain*.
# Each place knows the place before it and the place after it. To join two ids, write the new one at the first
# place, and let the chain skip the second: only the neighbours notice. A -1 ends each word, and after the last
# place comes the first (before the first stands -1, which Python takes for the last).


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
# The `h` has gone, and `None` stands in its place. The 256 is followed by the `e`, the byte 101.
#
# The table counts the pairs of such a chain. To merge a pair, visit its places from left to right. At each, take
# out what the pair and its two neighbours had contributed, join, and put in what stands there now. (`defaultdict`
# is a dictionary in which a missing entry begins as 0, or as an empty set. A place may stay on the list of a pair
# that no longer begins there; such places are skipped.)


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
# Two words: `other`, three times, and `bathe`, once. Merge `t` and `h`, the bytes 116 and 104.

# %%
two_words = PairTable({"other": 3, "bathe": 1})
changed = two_words.merge((116, 104), 256)
print(two_words.chain.ids)
for pair in changed:
    print(pair, "now", two_words.counts[pair], "times")

# %% [markdown]
# Pairs that ended with `t` or began with `h` are gone, pairs with 256 have come. `e` and `r` of *other* were not
# touched, so they are not in the list.
#
# Which pair is the most frequent? A *heap*, Python's `heapq`, hands out its smallest entry first, in a few steps.
# Put `(-count, pair)` in. When a count changes, put in a new entry and leave the old one. When an entry comes out
# that does not agree with the table, throw it away.

# %% tags=["corpus"]
import heapq


def learn_with_table(words, n_merges):
    table, merges = PairTable(words), []
    queue = [(-count, pair) for pair, count in table.counts.items()]
    heapq.heapify(queue)
    while queue and len(merges) < n_merges:
        count, pair = heapq.heappop(queue)
        if -count == table.counts[pair] > 1:  # up to date, and not just once
            for other in table.merge(pair, 256 + len(merges)):
                heapq.heappush(queue, (-table.counts[other], other))
            merges.append(pair)
    return merges


assert learn_with_table(few_words, 200) == bpe.learn_merges(few_words, 200)
print("the same merges")

# %% [markdown]
# How many places does a merge visit now?

# %% tags=["corpus"]
table, visits = PairTable(words), 0
for k, pair in enumerate(merges):
    visits += len(table.places[pair])
    table.merge(pair, 256 + k)
mean, n_places = visits / len(merges), len(table.chain.ids)
print(f"a merge visits {mean:.0f} of {n_places:,} places on average")

# %% [markdown]
# The plain way visits all of them. The library encodes a word with the same two tools, a chain and a heap: its time
# grows a little faster than the length of the word. The short loop above reads the whole word once for each merge that it uses.

# %% [markdown]
# ## Deeper: GPT-2 writes with your tokenizer
#
# GPT-2's merges are a text file, one merge per line (OpenAI called it `vocab.bpe`, Hugging Face `merges.txt`). To make all bytes visible in
# it, each byte is written as a character. Byte `b` becomes `chr(b)` if that can be seen; each of the others gets a
# character from 256 on, so that the space becomes `Ġ`. (173 is left out of the visible ones because `chr(173)` is
# a soft hyphen.) The ids of the bytes follow this order too.


# %% tags=["lib:text.bpe.gpt2_bytes"]
def gpt2_bytes() -> dict[str, int]:
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    unseen = sorted(set(range(256)) - set(seen))
    return {chr(b): b for b in seen} | {chr(256 + i): b for i, b in enumerate(unseen)}


# %%
written = {byte: character for character, byte in gpt2_bytes().items()}
print("".join(written[byte] for byte in "the café".encode()))
print("the id of ! is", list(gpt2_bytes()).index("!"))

# %% [markdown]
# A line such as `Ġ t` merges two tokens, each a byte or made by a line above. So read the lines in order, and give
# each new token the next id.


# %% tags=["naive:text.bpe.read_gpt2_merges"]
def read_gpt2_merges(path):
    lines = Path(path).read_text("utf-8").strip("\n").split("\n")
    ids = {character: i for i, character in enumerate(gpt2_bytes())}
    merges = []
    for line in lines[lines[0].startswith("#version") :]:
        first, second = line.split(" ")
        merges.append((ids[first], ids[second]))
        ids[first + second] = len(ids)
    return merges


# %% [markdown]
# The library's `BPETokenizer` takes the order of the bytes as `alphabet`. That is all of GPT-2's tokenizer.


# %% tags=["naive:models.gpt2_files.load_gpt2_tokenizer"]
def load_gpt2_tokenizer(folder):
    merges = read_gpt2_merges(Path(folder, "merges.txt"))
    return bpe.BPETokenizer(merges, ["<|endoftext|>"], gpt2_bytes().values())


# %% [markdown]
# Try it on the first seven of GPT-2's 50,000 merges ([Radford et al.](../book/bibliography.md)), in a file as
# OpenAI wrote it.

# %%
from tempfile import TemporaryDirectory

folder = TemporaryDirectory()
first_lines = "#version: 0.2\nĠ t\nĠ a\nh e\ni n\nr e\no n\nĠt he\n"
Path(folder.name, "merges.txt").write_text(first_lines, "utf-8")
small = load_gpt2_tokenizer(folder.name)
print(small.encode("!"), small.encode("\n"), small.encode(" the"))

# %% [markdown]
# `!` is 0, the newline 198, ` the` 262, as in the real GPT-2.

# %% tags=["same:text.bpe.read_gpt2_merges", "same:models.gpt2_files.load_gpt2_tokenizer", "proof"]
# @title Proof: the library reads the same file, and refuses others
from lib.models import gpt2_files

path = Path(folder.name, "merges.txt")
assert read_gpt2_merges(path) == bpe.read_gpt2_merges(path)
assert small.to_dict() == gpt2_files.load_gpt2_tokenizer(folder.name).to_dict()
path.with_name("other.txt").write_text("h e\nhe llo\n", "utf-8")
try:
    bpe.read_gpt2_merges(path.with_name("other.txt"))
except ValueError as error:
    print(str(error).partition("line")[2])

# %% [markdown]
# Now the pay-off: OpenAI's smallest GPT-2, in *your* model of lesson [10](10_gpt.ipynb), with your tokenizer, and
# the cache and the sampler of lesson [13](13_generation.ipynb). This needs a network and downloads half a
# gigabyte, once; each file is checked by its sha256. So it only runs if you set the switch to `True`. Without a
# network it says so and goes on.

# %%
WRITE_WITH_GPT2 = False
PROMPT = "The old sailor opened the letter and read:"

# %% tags=["sample"]
from lib.generate import stream_text

if WRITE_WITH_GPT2:
    try:
        gpt2_tokenizer = gpt2_files.load_gpt2_tokenizer("gpt2")
        gpt2 = gpt2_files.load_gpt2("gpt2")
    except OSError as error:
        print("Skipped:", str(error)[:150])
    else:
        options = dict(temperature=0.8, top_k=40, generator=torch.manual_seed(0))
        print(PROMPT, end="")
        for piece in stream_text(gpt2, gpt2_tokenizer, PROMPT, n_new=80, **options):
            print(piece, end="", flush=True)
else:
    print("Skipped: set WRITE_WITH_GPT2 to True, with a network.")

# %% [markdown]
# Every part that writes there is one that you have built.
