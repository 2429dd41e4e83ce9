# %% [markdown]
# # Bug museum, room 4: Text and its numbers
#
# [![Open in Colab](../_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/book/museum/04_writing.ipynb)
#
# From logits to text on a screen, and back from text to a number for a table.
#
# Each exhibit is a bug that somebody had. You read what was seen, then the faulty code,
# then a cell that shows the symptom in small numbers. **Mend the code in its cell**, run
# it, and run the cell that begins with `hunt`: it looks at your version and says what it
# still observes. Often one line is wrong, sometimes more, and sometimes one is missing;
# import what you need. Hint and answer are folded below. [All rooms](../museum.md).

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

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from lib.checks.museum import hunt

# %% [markdown]
# ## More careful than it was told to be
#
# *Where: [Reasoning from scratch, issue 164](https://github.com/rasbt/reasoning-from-scratch/issues/164). To read: lesson [13](../../lessons/13_generation.ipynb).*
#
# With the same model and the same settings another program writes livelier text. Where
# the model is rather sure this one always takes the likeliest token, whatever the seed.

# %%
def keep_top_p(probabilities, p):
    """Keep the fewest tokens that together have p or more: (V,) to (V,), of sum 1."""
    ordered, places = probabilities.sort(descending=True)
    kept = ordered.cumsum(dim=0) <= p
    kept[0] = True
    result = torch.zeros_like(probabilities)
    result[places[kept]] = ordered[kept]
    return result / result.sum()

# %%
probabilities = torch.tensor([0.5, 0.25, 0.125, 0.125])
for p in (0.6, 0.8):
    kept = keep_top_p(probabilities, p).nonzero().flatten()
    print(f"p={p}: {len(kept)} token(s) kept, which have {probabilities[kept].sum():g}")

# %% [markdown]
# The hunt: mend `keep_top_p` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("top-p", keep_top_p)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The tokens that are kept must *reach* p. Think of the sum without the token itself.
#
# </details>
#
# <details><summary>Answer</summary>
#
# The token that takes the sum past p was dropped, so that what was left had less than p. Top-p
# keeps the fewest tokens that reach p, and the last of them usually goes beyond it. A token stays
# if those *before* it have not reached p yet.
#
# ```diff
# -    kept = ordered.cumsum(dim=0) <= p
# +    kept = ordered.cumsum(dim=0) - ordered < p
# ```
#
# Planted in this course's `lib/generate/sampling.py` it makes `test_top_p_keeps_the_smallest_set_that_reaches_p`
# fail, in `tests/test_sampling.py`.
#
# </details>

# %% [markdown]
# ## The knob that does nothing
#
# *Where: [Flamingo in PyTorch, issue 10](https://github.com/lucidrains/flamingo-pytorch/issues/10). To read: lesson [13](../../lessons/13_generation.ipynb).*
#
# There is an option for top-k, its value arrives in the function, no line raises an error.
# The text is just as wild with every k.

# %%
def keep_top_k(logits, k):
    """Return (B, V) with all but the k highest scores of each row at minus infinity."""
    least = logits.topk(k, dim=-1).values[:, -1:]
    logits.masked_fill(logits < least, float("-inf"))
    return logits

# %%
logits = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
for k in (1, 2):
    print(f"k={k}:", keep_top_k(logits, k).tolist())

# %% [markdown]
# The hunt: mend `keep_top_k` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("top-k", keep_top_k)

# %% [markdown]
# <details><summary>Hint</summary>
#
# PyTorch has `masked_fill` and `masked_fill_`. What does each of them change, and what does it
# return?
#
# </details>
#
# <details><summary>Answer</summary>
#
# `masked_fill` returns a new tensor and leaves the old one alone; its result was thrown away. The
# name with an underscore works in place, but then the caller's logits are cut as well, and who
# draws from them again is in for a surprise. Return the new tensor.
#
# ```diff
# -    logits.masked_fill(logits < least, float("-inf"))
# -    return logits
# +    return logits.masked_fill(logits < least, float("-inf"))
# ```
#
# Planted in this course's `lib/generate/sampling.py` it makes `test_top_k_keeps_the_k_highest_and_of_equal_ones_the_first`
# fail, in `tests/test_sampling.py`.
#
# </details>

# %% [markdown]
# ## The penalty that rewards
#
# *Where: [Transformers, issue 2302](https://github.com/huggingface/transformers/issues/2302). To read: lesson [13](../../lessons/13_generation.ipynb).*
#
# A model that repeats itself gets a penalty: tokens that were there before are made less likely. One
# model gets better by it. Another one says the same word until the end of the page, and the
# higher the penalty is, the sooner it begins.

# %%
def penalise(logits, seen, penalty):
    """Make tokens that were there before less likely; logits (V,), seen: ids."""
    logits = logits.clone()
    for token in set(seen):
        logits[token] /= penalty
    return logits

# %%
for logits in (torch.tensor([2.0, 1.0]), torch.tensor([-2.0, -1.0])):
    before = logits.softmax(dim=0)[0]
    after = penalise(logits, seen=[0], penalty=1.5).softmax(dim=0)[0]
    print(f"logits {logits.tolist()}: token 0 from {before:.2f} to {after:.2f}")

# %% [markdown]
# The hunt: mend `penalise` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("repetition", penalise)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Half of -4 is -2. Is that less likely?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Dividing makes a number smaller only if it is positive. A negative logit came closer to 0, so the
# token became likelier. Positive logits are divided, negative ones multiplied. The paper that
# proposed the penalty divides all of them; some models have mostly positive logits, and others
# mostly negative ones.
#
# ```diff
# -        logits[token] /= penalty
# +        logits[token] *= 1 / penalty if logits[token] > 0 else penalty
# ```
#
# Planted in this course's `lib/generate/sampling.py` it makes `test_the_penalty_makes_what_was_there_less_likely`
# fail, in `tests/test_sampling.py`.
#
# </details>

# %% [markdown]
# ## Much worse in Japanese
#
# *Where: [Evaluation harness, issue 3278](https://github.com/EleutherAI/lm-evaluation-harness/issues/3278). To read: lesson [31](../../lessons/31_evaluation.ipynb).*
#
# Bits per byte compare models with different tokenizers on the same file. In English two
# evaluation programs agree on the number. In French this one reports somewhat more, in Japanese
# about three times as much.

# %%
def bits_per_byte(losses, text):
    """Bits that a model needs for each byte of a text; losses: nats of its tokens."""
    return losses.sum().item() / math.log(2) / len(text)

# %%
for text in ("sea", "été", "海"):
    n_bytes = len(text.encode("utf-8"))
    losses = torch.tensor([n_bytes * math.log(2)])  # one bit for each byte of the file
    found = bits_per_byte(losses, text)
    print(f"{text!r}, {n_bytes} bytes in a file: {found:.1f} bits per byte")

# %% [markdown]
# The hunt: mend `bits_per_byte` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("bits-per-byte", bits_per_byte)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What does `len` of a Python string count?
#
# </details>
#
# <details><summary>Answer</summary>
#
# `len` of a string counts characters, not bytes. In English text almost every character is one byte;
# an accented letter has two, most Japanese characters have three. Encode the text as it lies on the
# disk, and count that.
#
# ```diff
# -    return losses.sum().item() / math.log(2) / len(text)
# +    return losses.sum().item() / math.log(2) / len(text.encode("utf-8"))
# ```
#
# Planted in this course's `lib/evaluate/perplexity.py` it makes `test_bytes_are_those_of_utf8`
# fail, in `tests/test_evaluation.py`.
#
# </details>

# %% [markdown]
# ## Diamonds with a question mark
#
# *Where: [exo, pull request 1691](https://github.com/exo-explore/exo/pull/1691). To read: lesson [14](../../lessons/14_tokenization.ipynb).*
#
# The tokens of this model are pieces of bytes, and the program shows each as soon as it is there.
# English looks right. In other languages small diamonds with a question mark turn up, though the
# text is right when it is saved and opened again.

# %%
def show(pieces):
    """Yield the text of a stream of bytes, as soon as it can be shown."""
    for piece in pieces:
        yield piece.decode("utf-8", errors="replace")

# %%
text = "né à 8 h 🙂"
data = text.encode("utf-8")
print("written:", text)
print("shown:  ", "".join(show([data[:2], data[2:5], data[5:13], data[13:]])))

# %% [markdown]
# The hunt: mend `show` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("diamonds", show)

# %% [markdown]
# <details><summary>Hint</summary>
#
# `é` is two bytes. What can you show when only the first has come? The module `codecs` knows
# incremental decoders.
#
# </details>
#
# <details><summary>Answer</summary>
#
# A token may end in the middle of a character. Each half, decoded alone, is invalid and becomes the
# sign for that. The bytes that do not make a whole character yet must wait for the next piece; an
# incremental decoder does so. Ignoring errors would lose the character, and waiting for the end would
# show nothing until then.
#
# ```diff
# +    import codecs
# +
# +    make = codecs.getincrementaldecoder("utf-8")
# +    decoder = make(errors="replace")
# -        yield piece.decode("utf-8", errors="replace")
# +        yield decoder.decode(piece)
# ```
#
# Planted in this course's `lib/generate/__init__.py` it makes `test_no_half_character_of_a_byte_tokenizer_is_shown`
# fail, in `tests/test_generate.py`.
#
# </details>
