# %% [markdown]
# # Solutions 16 · Translation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/16_translation.ipynb)
#
# One way to solve each exercise of lesson [16](../lessons/16_translation.ipynb), and
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

# %% [markdown]
# These solutions use the translator that comes with the course: two layers on each
# side, pre-norm, trained longer than the one of the lesson. `load_checkpoint` brings
# back the model and both vocabularies.

# %%
import math
from collections import Counter
from pathlib import Path

import torch

import lib
from lib.train.checkpoint import load_checkpoint
from lib.checks.lesson_16 import (
    check_forbidden,
    check_log_probability,
    check_lowest_loss,
    check_run_matches,
)
from lib.checks.claims import claim
from lib.tasks.english_french import Pair, translation_data
from lib.text.tokenizer import pad_batch
from lib.translate import encode_pairs, translate

path = Path(lib.__file__).parents[1] / "data" / "translator.safetensors"
checkpoint = load_checkpoint(path)
model, (source, target) = checkpoint.model, checkpoint.tokenizer
data = translation_data(1_000)
print(source.vocab_size, "English and", target.vocab_size, "French words")

# %% [markdown]
# ## Exercise 1: As low as it goes
#
# [Exercise](../lessons/16_translation.ipynb#exercise-1-as-low-as-it-goes)


# %%
def lowest_loss(smoothing, vocab_size):
    share = smoothing / vocab_size
    parts = [1 - smoothing + share] + [share] * (vocab_size - 1)
    return sum(p * -math.log(p) for p in parts if p > 0)


# %% tags=["exercise"]
check_lowest_loss(lowest_loss)

# %% [markdown]
# How high is the floor for different shares, and for the vocabulary of a real
# translator?

# %%
for vocab_size in (157, 37_000):
    floors = [f"{lowest_loss(epsilon, vocab_size):.2f}" for epsilon in (0.0, 0.1, 0.2)]
    print(f"{vocab_size:6,} words: {floors} nats for epsilon 0, 0.1 and 0.2")

# %% [markdown]
# The usual 0.1 lifts the floor of our vocabulary to 0.83 nats, and that of
# 37,000 tokens to 1.38. So a smoothed loss says nothing until you know its
# floor, and two of them can only be compared with the same smoothing and the same
# vocabulary. Validation losses are therefore reported without it.

# %% [markdown]
# ## Exercise 2: More than one right answer
#
# [Exercise](../lessons/16_translation.ipynb#exercise-2-more-than-one-right-answer)


# %%
def run_matches(candidate, references, n):
    def runs(text):
        words = text.split()
        return Counter(zip(*(words[i:] for i in range(n))))

    allowed = Counter()
    for reference in references:
        allowed |= runs(reference)
    written = runs(candidate)
    return (written & allowed).total(), written.total()


# %% tags=["exercise"]
check_run_matches(run_matches)

# %% [markdown]
# A car can be `une voiture` or `une auto`, a girl can be `elle`. Each further reference
# lets more runs count. (The library's `bleu` counts like this.)

# %%
candidate = "la fille prend une auto rouge"
references = ["la fille prend une voiture rouge", "elle prend une auto rouge"]
for n in (1, 2, 3, 4):
    one = run_matches(candidate, references[:1], n)
    both = run_matches(candidate, references, n)
    print(f"{n}: {one[0]} of {one[1]} with one reference, {both[0]} with two")
    assert both[0] >= one[0]

# %% [markdown]
# Scores with one reference and with four are not on the same scale. That is one of the
# reasons why a BLEU score without its settings means little.

# %% [markdown]
# ## Exercise 3: How likely is this translation?
#
# [Exercise](../lessons/16_translation.ipynb#exercise-3-how-likely-is-this-translation)


# %%
def log_probability(model, src, tgt):
    logs = model(src, tgt[:, :-1]).log_softmax(dim=-1)  # (B, T - 1, V)
    wanted = tgt[:, 1:]
    logs = logs.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)  # (B, T - 1)
    return (logs * (wanted != model.config.pad_id)).sum(dim=-1)


# %% tags=["exercise"]
check_log_probability(log_probability)

# %% [markdown]
# With it you can ask whose fault a wrong translation is. If the model finds the *right*
# translation likelier than what it wrote, the search is to blame: it walked past the
# better one. If not, the model itself is wrong, and no search will help. This
# translator makes hardly a mistake, so give it what it cannot do: two sentences in a
# row, and sentences with their words in reverse order, as in the lesson.

# %%
firsts, seconds = data.unseen[:100], data.unseen[100:200]
double = [
    Pair(f"{a.english} {b.english}", f"{a.french} {b.french}", ())
    for a, b in zip(firsts, seconds)
]
reverse = [
    pair._replace(english=" ".join(reversed(pair.english.split()))) for pair in firsts
]


def log_p(pairs):
    sources, targets = encode_pairs(pairs, source, target)
    with torch.no_grad():
        return log_probability(model, pad_batch(sources), pad_batch(targets))


# %% tags=["measured"]
for name, pairs in (("two in a row", double), ("words reversed", reverse)):
    written = translate(model, source, target, [pair.english for pair in pairs])
    wrong = [(p, text) for p, text in zip(pairs, written) if text != p.french]
    right = log_p([pair for pair, _ in wrong])
    chosen = log_p([pair._replace(french=text) for pair, text in wrong])
    n_search = (right > chosen).sum().item()
    print(f"{name}: {len(wrong)} of {len(pairs)} wrong, {n_search} by the search")
    print(f"  mean log p: right {right.mean():.1f}, written {chosen.mean():.1f}")
    claim(n_search <= len(wrong) / 4, "most mistakes are the model's own")
    claim(right.mean() < chosen.mean() - 1, "the right text is far less likely to it")

# %% [markdown]
# The mistakes are the model's own. It does not walk past the right translation, it
# thinks that it is far less likely than its own text. A wider beam repairs mistakes of
# the search only, and that is why it gains so little.

# %% [markdown]
# ## Exercise 4: Never say it twice
#
# [Exercise](../lessons/16_translation.ipynb#exercise-4-never-say-it-twice)


# %%
def forbidden(ids, vocab_size, n):
    mask = torch.zeros(len(ids), vocab_size, dtype=torch.bool)
    length = ids.size(1)
    for i, row in enumerate(ids.tolist()):
        start = row[max(0, length - n + 1) :]  # the last n - 1 tokens
        for place in range(length - n + 1):
            if row[place : place + n - 1] == start:
                mask[i, row[place + n - 1]] = True
    return mask


# %% tags=["exercise"]
check_forbidden(forbidden)

# %% [markdown]
# Put it into a greedy loop, without a cache to keep it short. (`<eos>` and `<pad>` must
# stay allowed.) What does the rule do to good translations, and what to those of two
# sentences in a row?


# %%
@torch.no_grad()
def write(model, src, n=None, max_len=24):
    ids = torch.ones(len(src), 1, dtype=torch.long)  # <bos>
    memory, mask = model.encode(src)
    for _ in range(max_len):
        logits = model.decode(ids, memory, mask)[:, -1]
        if n is not None:
            banned = forbidden(ids, logits.size(1), n)
            banned[:, [0, 2]] = False
            logits = logits.masked_fill(banned, -math.inf)
        ids = torch.cat([ids, logits.argmax(dim=-1, keepdim=True)], dim=1)
    return [target.decode(row[1:]) for row in ids]


# %%
shares = {}
for name, pairs in (("unseen", data.unseen[:200]), ("two in a row", double)):
    src = pad_batch(encode_pairs(pairs, source, target)[0])
    for n in (None, 2, 1):
        texts = write(model, src, n)
        shares[name, n] = sum(t == p.french for t, p in zip(texts, pairs)) / len(pairs)
        twice = sum(len(set(t.split())) < len(t.split()) for t in texts)
        print(f"{name}, n={n}: {shares[name, n]:.1%} right, {twice} with a word twice")
best = shares["unseen", None]
claim(shares["unseen", 2] > best - 0.02, "to forbid pairs of words does nothing here")
claim(shares["unseen", 1] < best - 0.05, "to forbid single words does harm")

# %% [markdown]
# To forbid pairs of words does nothing here. To forbid single words does harm, because
# a correct sentence may need `la` twice. And it repairs nothing: without its stutter a
# wrong translation is wrong in another way. The rule hides a symptom. It helps where
# long free text runs in circles, as the greedy GPT of lesson
# [13](../lessons/13_generation.ipynb) did.
