# %% [markdown]
# # Solutions 14 · Tokenization
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/14_tokenization.ipynb)
#
# One way to solve each exercise of lesson [14](../lessons/14_tokenization.ipynb), and
# what to learn from it.

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

# %% tags=["corpus"]
import codecs
import math
from collections import Counter

import regex
import torch

from lib.models.bigram import count_pairs
from lib.text.bpe import BPETokenizer, learn_merges, split_words
from lib.checks.lesson_14 import (
    check_bits_per_byte,
    check_decode_stream,
    check_longest_match,
    check_split_digits,
)
from lib.text.corpus import load_corpus
from lib.text.batches import split_text
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
train_text, validation_text = split_text(corpus.text)
tokenizer = BPETokenizer.train(train_text, 1024)
print(f"{corpus.name}: {tokenizer.vocab_size:,} tokens")

# %% [markdown]
# ## Exercise 1: Bits per byte
#
# [Exercise](../lessons/14_tokenization.ipynb#exercise-1-bits-per-byte)


# %%
def bits_per_byte(loss, n_tokens, text):
    return loss * n_tokens / math.log(2) / len(text.encode("utf-8"))


# %% tags=["exercise"]
check_bits_per_byte(bits_per_byte)

# %% [markdown]
# What would a file of the validation split take if a bigram model compressed it? An
# ideal coder spends exactly as many bits as the model is surprised.

# %% tags=["corpus"]
for t in (CharTokenizer(corpus.text), tokenizer):
    ids, other = (torch.tensor(t.encode(x)) for x in (train_text, validation_text))
    counts = count_pairs(ids, t.vocab_size).double() + 0.1
    p = counts / counts.sum(dim=1, keepdim=True)
    loss = -p[other[:-1], other[1:]].log().mean().item()
    bits = bits_per_byte(loss, len(other), validation_text)
    print(f"{t.vocab_size:>5} tokens: {bits:.2f} bits per byte instead of 8")
assert bits < 8 / 2.5

# %% [markdown]
# A language model is a compressor. Gage invented byte pair encoding to compress files,
# and it comes back to that here.

# %% [markdown]
# ## Exercise 2: The longest token first
#
# [Exercise](../lessons/14_tokenization.ipynb#exercise-2-the-longest-token-first)


# %%
def longest_match(word, tokens):
    ids = {token: i for i, token in enumerate(tokens)}
    found, i = [], 0
    while i < len(word):
        end = next(end for end in range(len(word), i, -1) if word[i:end] in ids)
        found.append(ids[word[i:end]])
        i = end
    return found


# %% tags=["exercise"]
check_longest_match(longest_match)

# %% [markdown]
# Is it the same as BPE? Compare both on all different words of the training split.

# %% tags=["corpus"]
words = list(Counter(split_words(train_text)))
tokens = tokenizer.tokens
cuts = {w: (tokenizer.encode(w), longest_match(w.encode(), tokens)) for w in words}
other = [w for w in words if cuts[w][0] != cuts[w][1]]
print(f"{len(other):,} of {len(words):,} words are cut differently")
for word in other[:3]:
    spelt = ["|".join(tokenizer.decode([i]) for i in ids) for ids in cuts[word]]
    print(" or ".join(spelt))
assert 0.1 * len(words) < len(other) < 0.5 * len(words)

# %% [markdown]
# No: each line shows first what merging does, then the longest match. In *Speak* the
# tokens `pe` and `eak` overlap. Merging builds what was learnt first; the longest match
# takes what begins first. Does it matter for the length? Count the tokens of the
# validation split, where each word counts as often as it occurs.

# %% tags=["corpus"]
n_words, n_other, n_merged, n_longest = 0, 0, 0, 0
for word, times in Counter(split_words(validation_text)).items():
    merged = tokenizer.encode(word)
    longest = longest_match(word.encode(), tokenizer.tokens)
    n_words += times
    n_other += times * (merged != longest)
    n_merged += times * len(merged)
    n_longest += times * len(longest)
print(f"{n_other / n_words:.1%} of the running words are cut differently")
print(f"{n_merged:,} tokens by merging, {n_longest:,} by the longest match")
assert 0 < n_other / n_words < len(other) / len(words)
assert abs(n_merged - n_longest) < 0.03 * n_merged

# %% [markdown]
# It happens less often than in the list of words: frequent words are mostly cut alike.
# And the length is nearly the same. What matters is that a model is always given the
# cuts that it was trained on.

# %% [markdown]
# ## Exercise 3: Each digit on its own
#
# [Exercise](../lessons/14_tokenization.ipynb#exercise-3-each-digit-on-its-own)


# %%
ONE_DIGIT = regex.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


def split_digits(text):
    return ONE_DIGIT.findall(text)


# %% tags=["exercise"]
check_split_digits(split_digits)

# %% [markdown]
# It is the pattern of the lesson without the `+` behind `\p{N}`. The years of the
# lesson again, all of which begin alike.

# %%
years = " ".join(str(year) for year in range(1900, 2000))
merges = learn_merges(Counter(split_digits(years)), 12)
together = learn_merges(Counter(split_words(years)), 12)
for name, learnt in (("apart", merges), ("together", together)):
    tokens = BPETokenizer(learnt).tokens[256:]
    print(f"digits {name}:", [token.decode() for token in tokens])
assert len(merges) == 1 and len(together) == 12

# %% [markdown]
# Apart, there is one merge to learn: the space and the digit after it. Together, the
# first half of the year becomes one token, and then each decade.

# %% [markdown]
# ## Exercise 4: Show it as it comes
#
# [Exercise](../lessons/14_tokenization.ipynb#exercise-4-show-it-as-it-comes)


# %%
def decode_stream(tokens):
    decoder = codecs.getincrementaldecoder("utf-8")()
    return [decoder.decode(token) for token in tokens]


# %% tags=["exercise"]
check_decode_stream(decode_stream)

# %% [markdown]
# The same by hand, for those who want to see what the decoder does:


# %%
def decode_stream_by_hand(tokens):
    shown, waiting = [], b""
    for token in tokens:
        waiting += token
        end = len(waiting)
        try:
            waiting.decode()
        except UnicodeDecodeError as error:
            end = error.start  # all bytes before it make whole characters
        shown.append(waiting[:end].decode())
        waiting = waiting[end:]
    return shown


# %% tags=["corpus"]
tokens = [tokenizer.token_bytes(i) for i in tokenizer.encode("To the café 😀!")]
print(decode_stream(tokens))
assert decode_stream(tokens) == decode_stream_by_hand(tokens)
assert "".join(decode_stream(tokens)) == "To the café 😀!"

# %% [markdown]
# The corpus has neither `é` nor an emoji, so they are two and four tokens here. Nothing
# appears until the last of them, then the whole character at once.
