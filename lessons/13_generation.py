# %% [markdown]
# # 13 · Generation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/13_generation.ipynb)
#
# You make a trained GPT write, choose how daring it is, and make it quick.
#
# - **You will build** the rules that choose a token (greedy, temperature, top-k, top-p, a penalty),
#   and a cache of keys and values.
# - **You will see** a model that runs in a circle, the same text for a small part of the work, and a
#   bug that the loss hardly notices.
# - **Needs** lessons [10](10_gpt.ipynb) and [11](11_training.ipynb).
# - **Takes** about 75 minutes without the exercises; the notebook runs in under 60 s.

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
# A trained GPT predicts well. But a prediction is not a text: it is 65 probabilities, and at each step
# somebody must choose one character. How? And why should every new character cost a full pass over all
# the old ones? You need a trained model; one comes with the course, a GPT as in lesson
# [11](11_training.ipynb), trained for longer.

# %%
from pathlib import Path

import torch

import lib
from lib.train.checkpoint import load_checkpoint

data = Path(lib.__file__).parents[1] / "data"
checkpoint = load_checkpoint(data / "gpt-mini.safetensors")
model, tokenizer = checkpoint.model, checkpoint.tokenizer
config = model.config
print(f"validation loss {checkpoint.notes['validation_loss']:.2f} nats")
print(f"{config.vocab_size} characters known, {config.context_length} of context")

# %% [markdown]
# Ask for its four best guesses, where a word begins and near the end of one. (`topk` gives the largest.)


# %%
def encode(text):
    return torch.tensor([tokenizer.encode(text)])  # (1, T)


@torch.no_grad()
def next_logits(text):
    return model(encode(text))[:, -1]  # (1, V)


for text in ("My lord, I ", "My lord, I wil"):
    best = next_logits(text)[0].softmax(dim=-1).topk(4)
    guesses = zip(tokenizer.decode(best.indices.tolist()), best.values.tolist())
    print(f"{text!r}:", ", ".join(f"{c!r} {p:.2f}" for c, p in guesses))

# %% [markdown]
# Where a word begins a writer has a choice. Near its end one character is nearly certain. 

# %% [markdown]
# ## The machine
#
# Two parts are new: the rules that choose, and a cache beside the model, so that it reads only the newest token.

# %% mystnb={"image": {"alt": "Diagram of a loop. The newest token of the text goes into the GPT. New beside it is a cache with the keys and values of all earlier tokens. Logits come out. New rules, penalty, temperature, top-k and top-p, decide what may come. One token is drawn and appended to the text."}}
from lib.show import diagrams

diagrams.writing_loop()

# %% [markdown]
# ## By hand
#
# Five words may come next, with the weights 25, 16, 9, 4 and 1. The
# [logits](../book/glossary.md#logits) are the logarithms of these weights, so the
# [softmax](../book/glossary.md#softmax) only divides by the sum, 55.

# %%
words = ["see", "go", "eat", "sing", "bite"]
weights = torch.tensor([[25.0, 16.0, 9.0, 4.0, 1.0]])
logits = weights.log()


def show(name, logits):
    shares = logits.softmax(dim=-1)[0].tolist()
    print(f"{name:15}", "  ".join(f"{w} {s:.2f}" for w, s in zip(words, shares)))


print("sum of the weights:", int(weights.sum()))
show("as they are", logits)

# %% [markdown]
# A [temperature](../book/glossary.md#temperature) divides the logits. Half the logarithm of a number is the logarithm of its
# square root: at 2 the weights become 5, 4, 3, 2, 1. At one half they are squared.

# %%
show("temperature 2", logits / 2)
show("temperature 0.5", logits / 0.5)

# %% [markdown]
# The order stays; hot is flatter, cold is sharper. The other way is to forbid the unlikely ones.
# **[Top-k](../book/glossary.md#top-k)** with $k = 2$ leaves the first two: 25 and 16 of 41.
# **[Top-p](../book/glossary.md#top-p)** with `p = 0.9` goes down the list until the shares add up to 0.9 or more.
# After two words that is 41/55, not enough; after three 50/55, enough. A forbidden word gets the logit
# minus infinity, for $e^{-\infty} = 0$.

# %%
inf = float("inf")
print("sums of weights:", weights.cumsum(dim=-1)[0].int().tolist())
show("top-k, k = 2", logits.masked_fill(weights < 16, -inf))
show("top-p, p = 0.9", logits.masked_fill(weights < 9, -inf))

# %% [markdown]
# Last, a **[repetition penalty](../book/glossary.md#repetition-penalty)**: a token that was there before
# gets its logit divided by a number above 1. Say `see` was there, and the penalty is 2: its weight becomes the root of what it was. (Negative
# logits need care, see below.)

# %%
penalized = logits.clone()
penalized[0, 0] /= 2
show("see was there", penalized)

# %% [markdown]
# ## The formula
#
# With a temperature $\tau$ and a set $S$ of allowed tokens, token $i$ has the probability
#
# $$p_i = \frac{e^{z_i / \tau}}{\sum_{j \in S} e^{z_j / \tau}} \quad \text{for } i \in S, \qquad p_i = 0 \quad \text{for all others}$$
#
# For top-k, $S$ holds the $k$ largest logits. For top-p it is the smallest set whose probabilities,
# *after* the temperature, sum to at least a threshold (in the code: `p`). The penalty $r$ comes first:
# for each token that was there $z_i / r$ if $z_i > 0$, and $z_i \cdot r$ if not.
#
# The newest token $t$ needs its own query, and the keys and values of *all* tokens so far:
#
# $$o_t = \operatorname{softmax}\!\left(\frac{q_t K_t^\top}{\sqrt{D_h}}\right) V_t, \qquad K_t = \begin{bmatrix} K_{t-1} \\ k_t \end{bmatrix}, \quad V_t = \begin{bmatrix} V_{t-1} \\ v_t \end{bmatrix}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $z$, $p$ | `(B, V)` | logits and probabilities of the next token |
# | $q_t, k_t, v_t$ | `(B, H, 1, Dh)` | query, key and value of the newest token |
# | $K_t, V_t$ | `(B, H, t, Dh)` | keys and values of all tokens so far: the cache |
# | $o_t$ | `(B, H, 1, Dh)` | what attention gives back for the newest token |
#
# Sources: Fan et al. (2018), section 5.4, for top-k; Holtzman et al. (2020), section 3.1, for top-p;
# Keskar et al. (2019), section 4.1, for the penalty (there negative logits are divided, too); Shazeer (2019), section 2.4, for the cache.

# %% [markdown]
# ## Build
#
# ### Greedy: always the likeliest
#
# The simplest rule takes the best character every time, [greedily](../book/glossary.md#greedy):
# `sample` of lesson [02](02_bigram.ipynb) does that at temperature 0. 

# %% tags=["sample"]
from lib.checks.claims import claim
from lib.generate import sample

greedy = tokenizer.decode(sample(model, encode("ROMEO:\n"), 200, temperature=0)[0])
print(greedy)
claim(greedy[-64:] in greedy[:-1], "greedy choice runs in a circle")

# %% [markdown]
# It runs in a circle. Its choice depends on its window alone; once a whole window has been there before,
# the text repeats for ever.
#
# ### Temperature
#
# So draw instead. Compare a cold, a plain and a hot text.

# %% tags=["sample"]
for temperature in (0.5, 1.0, 1.5):
    generator = torch.Generator().manual_seed(0)
    written = sample(model, encode("ROMEO:\n"), 100, temperature, generator)
    print(f"temperature {temperature}: {tokenizer.decode(written[0, 7:])!r}\n")

# %% [markdown]
# Cold is dull, hot is wild: a single bad character can derail the next words. So cut off the tail.
#
# ### Top-k
#
# `argsort` says which entry is the largest, the second largest, and so on. `scatter(1, where, value)` puts
# a value at the places that `where` names.

# %%
row = torch.tensor([[2.0, 9.0, 4.0]])
order = row.argsort(dim=-1, descending=True)
print(order.tolist(), row.scatter(1, order[:, 1:], 0.0).tolist())

# %% [markdown]
# All but the largest became 0. Put minus infinity there, and it is top-k.


# %% tags=["naive:generate.sampling.keep_top_k"]
def keep_top_k(logits, k):
    order = logits.argsort(dim=-1, descending=True)
    return logits.scatter(1, order[:, k:], -inf)


show("k = 2", keep_top_k(logits, 2))

# %% [markdown]
# But which `k`? Near the end of a word the second-best is a mistake; at its beginning ten may be fine.
#
# ### Top-p
#
# Top-p, also called nucleus sampling, asks for a share instead. Sort, add up from the top, and drop a
# token if the ones *before* it already reach `p`. (`gather` puts the row into its sorted order, `scatter`
# brings the answer back into the order of the vocabulary.)


# %% tags=["naive:generate.sampling.keep_top_p"]
def keep_top_p(logits, p):
    order = logits.argsort(dim=-1, descending=True)
    probabilities = logits.gather(1, order).softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # of the more likely ones
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, before >= p)
    return logits.masked_fill(drop, -inf)


show("p = 0.9", keep_top_p(logits, 0.9))
for text in ("My lord, I ", "My lord, I wil"):
    kept = keep_top_p(next_logits(text), 0.9).isfinite().sum().item()
    print(f"after {text!r} it keeps {kept} of {config.vocab_size} characters")
claim(kept < 3, "near the end of a word hardly any choice is left")

# %% [markdown]
# Top-k cannot do that.
#
# ### The penalty
#
# `gather` fetches the logits of what was there, `scatter` puts the new ones back. Look at the second line:
# a negative logit is multiplied, so that it gets smaller, too. However often a token came, it is penalised once.


# %% tags=["naive:generate.sampling.penalize_repetition"]
def penalize_repetition(logits, ids, penalty):
    seen = logits.gather(1, ids)  # (B, T): the logits of tokens that were there
    return logits.scatter(1, ids, torch.where(seen > 0, seen / penalty, seen * penalty))


show("see was there", penalize_repetition(logits, torch.tensor([[0]]), 2.0))
print(penalize_repetition(torch.tensor([[2.0, -2.0]]), torch.tensor([[0, 1, 1]]), 2.0))

# %% [markdown]
# ### All together
#
# One function, in a fixed order: penalty, temperature, top-k, top-p, then the draw.


# %% tags=["naive:generate.sampling.choose_next"]
def choose_next(logits, ids, temperature=1.0, top_k=None, top_p=None,
                repetition_penalty=1.0, generator=None):  # fmt: skip
    logits = penalize_repetition(logits, ids, repetition_penalty)
    if temperature == 0:
        return logits.argmax(dim=-1, keepdim=True)  # (B, 1)
    logits = logits / temperature
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)  # (B, 1)


# %% [markdown]
# ### Why it is slow
#
# `sample` gives the model the whole window for each new character, and throws away all logits but the
# last. Count the multiply-adds. A block has four $D \times D$ matrices in its
# attention and two of $D \times F$ in its feed-forward network; each pair of a query and a key costs $D$
# for the score and $D$ for mixing the value; the output layer costs $D \cdot V$.


# %%
def multiply_adds(n_new, n_read, c=config):
    """Work for n_new tokens, each of which is compared with n_read tokens."""
    matrices = 4 * c.d_model**2 + 2 * c.d_model * c.d_ff
    pairs = 2 * c.d_model * n_read
    return n_new * (c.n_layers * (matrices + pairs) + c.d_model * c.vocab_size)


full, single = multiply_adds(64, 64), multiply_adds(1, 64)
print(f"all 64 tokens: {full:,} multiply-adds, the newest alone: {single:,}")

# %% tags=["proof"]
# @title Proof: PyTorch counts the same
from torch.utils.flop_counter import FlopCounterMode

from lib.evaluate.attention_maps import attention_maps

with FlopCounterMode(display=False) as counter:
    attention_maps(model, torch.zeros(1, 64, dtype=torch.long))
assert counter.get_total_flops() // 2 == full
print("the same number")

# %% [markdown]
# The newest token alone needs one part in 64. May we leave the old ones out? The mask is causal: no token
# ever sees a later one. So what was computed for it should stay. Look at the keys of the *last* block.
# (`new_cache` makes the library's model keep its keys. You build that next.)


# %%
@torch.no_grad()
def last_keys(text):
    caches = model.new_cache()  # one for each block
    model(encode(text), caches)
    return caches[-1].keys[:, :, : len(text)]  # (1, H, T, Dh)


keys = last_keys("To be, or ")
longer, later = last_keys("To be, or not to be"), last_keys("o be, or ")
print("more text behind it:", torch.allclose(keys, longer[:, :, :10], atol=1e-4))
print("its first letter gone:", torch.allclose(keys[:, :, 1:], later, atol=1e-4))

# %% [markdown]
# Later text changes nothing. **So compute keys and values once, and keep them.** The last line is a warning:
# when the first character goes, all others move to another position, and from the second block on their keys come from vectors that had read the character that is gone. Nothing kept is right any more.

# %% mystnb={"image": {"alt": "Diagram of two tables of queries and keys for five tokens. Without a cache all rows are computed again. With a cache only the last row is computed, from four keys that were kept and a new one."}}
diagrams.cache_step()

# %% [markdown]
# ### The cache
#
# A [KV cache](../book/glossary.md#kv-cache) holds the keys and values of one attention: it appends the
# new ones to the old, and returns them all.


# %% tags=["naive:attention.KVCache"]
class KVCache:
    def __init__(self):
        self.length, self.keys, self.values = 0, None, None

    def append(self, k, v):
        if self.length > 0:
            k = torch.cat([self.keys, k], dim=2)  # (B, H, T, Dh)
            v = torch.cat([self.values, v], dim=2)
        self.length, self.keys, self.values = k.size(2), k, v
        return k, v


# %% [markdown]
# The attention of lesson [07](07_multi_head_attention.ipynb) needs one new line. (With fewer queries than keys, our `is_causal` treats the queries as the *last* positions, PyTorch's as the first.)

# %% tags=["grows:attention.MultiHeadAttention"]
from torch import nn

from lib.attention import scaled_dot_product_attention


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x, cache):
        wide = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (w.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for w in wide)
        k, v = cache.append(k, v)  # new: (B, H, T_k, Dh), all tokens so far
        mixed, _ = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


# %% [markdown]
# Give it six vectors at once, then one after the other with a cache.

# %%
torch.manual_seed(0)
x, attention = torch.randn(2, 6, 128), MultiHeadAttention(d_model=128, n_heads=4)
at_once = attention(x, KVCache())
cache = KVCache()
steps = [attention(x[:, [t]], cache) for t in range(6)]
same = torch.allclose(torch.cat(steps, dim=1), at_once, atol=1e-5)
print(f"the same output: {same}; keys kept: {tuple(cache.keys.shape)}")

# %% [markdown]
# The price is memory: keys *and* values, in every layer, for each text and position.
#
# $$\text{bytes} = 2 \cdot L \cdot B \cdot H_{kv} \cdot D_h \cdot T \cdot 4$$
#
# $L$ layers, $H_{kv}$ heads with keys and values (here all; several query heads may share one, see
# *Deeper*), 4 bytes in a float32. What does the smallest GPT-2 need for one text?

# %%
from lib.models.presets import preset_config

gpt2 = preset_config("gpt2")
one_text = 2 * gpt2.n_layers * gpt2.d_model * gpt2.context_length * 4
print(f"{one_text / 1e6:.0f} MB for one text of {gpt2.context_length:,} tokens")

# %% [markdown]
#
#
# ### A GPT that reads one token
#
# In the library's `GPT.forward` these lines are for a cache:
#
# ```python
# start = 0 if cache is None else cache[0].length   # what is already there
# x = self.positions(x, start)                      # the new ones stand behind it
# for block, own in zip(self.blocks, cache):
#     x = block(x, is_causal=True, cache=own)       # and look at it, and at themselves
# ```
#
# Read ten characters into a cache, then one alone. Compare with one pass over all.

# %%
ids, caches = encode("To be, or n"), model.new_cache()
with torch.no_grad():
    model(ids[:, :10], caches)
    from_cache = model(ids[:, 10:], caches)[:, -1]
    from_all = model(ids)[:, -1]
print("the same logits:", torch.allclose(from_cache, from_all, atol=1e-4))

# %% [markdown]
# ### When the window is full
#
# The model has 64 positions. For the next character it must let go of the first; then every token has a
# new position, and all keys must be computed again. Done for each character, that saves nothing. So move
# rarely, and far: by a quarter of the context. (`-(-a // b)` is $a / b$ rounded up.)


# %% tags=["lib:generate.window_start"]
def window_start(length: int, context_length: int) -> int:
    step = max(1, context_length // 4)
    return -(-max(0, length - context_length) // step) * step  # rounded up


for length in (1, 64, 65, 80, 81):
    start = window_start(length, 64)
    print(f"{length:2} characters: reads from {start:2} on, {length - start} of them")

# %% [markdown]
#
#
# ### The loop
#
# As a rule only the newest token is read; the whole window when it has moved, or without a cache.


# %% tags=["naive:generate.generate"]
@torch.no_grad()
def generate(model, ids, n_new, use_cache=True, **options):
    start, cache = -1, None
    for _ in range(n_new):
        first = window_start(ids.size(1), model.context_length)
        new = ids[:, first:]  # the whole window
        if use_cache and start == first:
            new = ids[:, -1:]  # the cache holds the others
        elif use_cache:
            cache = model.new_cache()
        start = first
        chosen = choose_next(model(new, cache)[:, -1], ids, **options)  # (B, 1)
        ids = torch.cat([ids, chosen], dim=1)
    return ids


# %% [markdown]
# ### Prefill and decoding
#
# Writing has two parts. [Prefill](../book/glossary.md#prefill) reads the whole prompt in one pass, and gives the first new token.
# Each further one is *decoded* in a pass of its own.

# %% mystnb={"image": {"alt": "Diagram of six passes in time. Prefill reads the whole prompt: many multiplications for one reading of the weights. Five decoding passes follow: few multiplications each, for the same reading of all weights."}}
diagrams.prefill_decode()

# %% [markdown]
# Each pass fetches all weights from memory. A weight has 4 bytes, and is used for one multiplication and
# one addition per token. By hand:

# %%
for n_tokens in (1, 16, 256):
    per_byte = 2 * n_tokens / 4
    print(f"{n_tokens:3} tokens in a pass: {per_byte:5.1f} operations per byte")

# %% [markdown]
# A laptop can do about ten operations while it fetches a byte, a GPU with 16-bit numbers a few hundred. So the prefill of a long prompt is
# [compute-bound](../book/glossary.md#arithmetic-intensity): it waits for its multiplications. Decoding is
# *memory-bound*: it waits for the weights. A second text in the same pass, which shares them, costs
# little.

# %% [markdown]
# ## Check
#
# The library's [sampling rules](../book/api.md#generatesampling), its
# [KVCache and MultiHeadAttention](../book/api.md#attention) and its [generate](../book/api.md#generate)
# do the same as ours. They also check their arguments, and the cache reserves its memory once instead of copying at each step.

# %% tags=["same:generate.sampling.keep_top_k", "same:generate.sampling.keep_top_p", "same:generate.sampling.penalize_repetition", "same:generate.sampling.choose_next", "proof"]
# @title Proof: the rules equal the library's
from lib.generate import sampling as library

seeded = lambda seed: torch.Generator().manual_seed(seed)
z, past = 3 * torch.randn(40, 20, generator=seeded(0)), torch.randint(20, (40, 7))
for k in (1, 5, 20, 99):
    assert torch.equal(keep_top_k(z, k), library.keep_top_k(z, k))
for p in (0.05, 0.5, 0.9, 0.99):
    assert torch.equal(keep_top_p(z, p), library.keep_top_p(z, p))
pair = (f(z, past, 1.3) for f in (penalize_repetition, library.penalize_repetition))
assert torch.equal(*pair)
for options in ({}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.8}):
    options |= {"repetition_penalty": 1.2}
    drawn = (f(z, past, **options, generator=seeded(1))
             for f in (choose_next, library.choose_next))  # fmt: skip
    assert torch.equal(*drawn)
print("the same tokens stay, and the same are drawn")

# %% tags=["same:attention.KVCache", "same:attention.MultiHeadAttention", "proof"]
# @title Proof: cache and attention equal the library's
from lib import attention as library_attention

theirs = library_attention.MultiHeadAttention(128, 4)
theirs.load_state_dict(attention.state_dict())
own, other = KVCache(), library_attention.KVCache(64)
for part in (x[:, :2], x[:, 2:5], x[:, 5:]):
    output = theirs(part, is_causal=True, cache=other)[0]
    assert torch.allclose(attention(part, own), output, atol=1e-6)
assert torch.allclose(own.keys, other.keys[:, :, : other.length], atol=1e-6)
assert own.length == other.length == 6
print("the same outputs, the same keys")

# %% [markdown]
# Now the text: three prompts over several moves of the window, with a cache, without, and by the library.

# %% tags=["same:generate.generate"]
from lib import generate as library_generate

openings = ("ROMEO:\nI ", "GREMIO:\nO", "My lord, ")
prompts = torch.cat([encode(text) for text in openings])
cached = generate(model, prompts, 100, temperature=0)
uncached = generate(model, prompts, 100, use_cache=False, temperature=0)
theirs = library_generate.generate(model, prompts, 100, temperature=0)
claim(torch.equal(cached, uncached), "with a cache it writes what it writes without")
assert torch.equal(cached, theirs)
print("moves of the window:", len({window_start(n, 64) for n in range(9, 109)}) - 1)

# %% [markdown]
# ### The classic bug: the position of the newest token
#
# With a cache somebody has to tell the model how long the past is. Ask the cache for its length *after* the
# new token was appended, and each token stands one place too far on. Use the last position in place of the length, and it is one too few. Or forget `start`: all stand at position 0. Let the model read a speech
# from *Hamlet*, which it does not know, one character at a time, with each mistake.

# %% tags=["hide-input"]
# @title The speech, in windows
from lib.evaluate.losses import cross_entropy

SPEECH = """To be, or not to be, that is the question:
Whether 'tis nobler in the mind to suffer
The slings and arrows of outrageous fortune,
Or to take arms against a sea of troubles
And by opposing end them. To die, to sleep,
No more; and by a sleep to say we end
The heart-ache and the thousand natural shocks
That flesh is heir to: 'tis a consummation
Devoutly to be wish'd.
"""
n_windows = (len(SPEECH) - 1) // 63
inputs = encode(SPEECH)[0, : n_windows * 63].view(-1, 63)  # (N, T)
targets = encode(SPEECH)[0, 1 : n_windows * 63 + 1].view(-1, 63)


# %%
@torch.no_grad()
def read_with(change):
    wrong = lambda _, given: (given[0], change(given[1]))  # (x, start)
    hook, caches = model.positions.register_forward_pre_hook(wrong), model.new_cache()
    logits = [model(inputs[:, [t]], caches) for t in range(63)]
    hook.remove()
    return torch.cat(logits, dim=1)  # (N, T, V)


# %% [markdown]
# (The hook changes what `positions` is given.) Which mistakes does the loss notice?

# %%
changes = {"right": lambda start: start, "one too few": lambda start: max(start - 1, 0)}
changes |= {"one too many": lambda start: start + 1, "always 0": lambda start: 0}
losses, at_once = {}, model(inputs)
for name, change in changes.items():
    read = read_with(change)
    losses[name] = cross_entropy(read, targets).item()
    same = torch.allclose(read, at_once, atol=1e-4)
    print(f"{name:12} {losses[name]:.2f} nats, same logits: {same}")
claim(losses["always 0"] > losses["right"] + 0.3, "position 0 for all costs much")
off = [abs(losses[name] - losses["right"]) for name in ("one too few", "one too many")]
claim(max(off) < 0.1, "wrong by one costs little")

# %% [markdown]
# The comparison of logits finds all three. The loss alone would warn you only of the last: text that stands one place further
# on is still text. **So always compare a cache with the model without it.**
#
# ### The second bug: top-p without the token that reaches it
#
# It is tempting to drop whatever lies at or beyond `p`, and so the token that *crosses* it.


# %%
def wrong_top_p(logits, p):
    order = logits.argsort(dim=-1, descending=True)
    sums = logits.gather(1, order).softmax(dim=-1).cumsum(dim=-1)
    drop = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, sums >= p)
    return logits.masked_fill(drop, -inf)


show("wrong, p = 0.9", wrong_top_p(logits, 0.9))
show("wrong, p = 0.4", wrong_top_p(logits, 0.4))
empty = wrong_top_p(at_once.flatten(0, 1), 0.9).isinf().all(dim=-1)
claim(empty.float().mean() > 0.03, "the set is empty far too often")
print("empty for a tenth or more:", empty.float().mean().item() > 0.1)

# %% [markdown]
# With 0.9 the third word is missing. With 0.4 the first word reaches it alone: nothing is left, and the
# softmax of an empty set is not a number. On the speech that happens wherever the model is more than nine
# tenths sure. A test on flat random logits would never meet an empty set.

# %% [markdown]
# ## Look
#
# The twelve likeliest characters after `My lord, I `, one row for each setting.

# %% mystnb={"image": {"alt": "Heat map with five rows, one per setting, and twelve characters as columns. As it is: blue cells that fade to the right. Temperature 0.5: the first cells darker, the last pale. Temperature 2: all of a middle blue and nearly equal. Top-k 3: three dark cells, then white. Top-p 0.6: a few dark cells, then white."}}
from lib.show import plot

z = next_logits("My lord, I ")
settings = {"as it is": z, "temperature 0.5": z / 0.5, "temperature 2": z / 2}
settings |= {"top-k 3": keep_top_k(z, 3), "top-p 0.6": keep_top_p(z, 0.6)}
top = z[0].argsort(descending=True)[:12]
rows = torch.stack([changed.softmax(dim=-1)[0, top] for changed in settings.values()])
characters = plot.visible(list(tokenizer.decode(top.tolist())))
axes = ("next character", "")
plot.heat_map(rows, [*settings], characters, *axes, size=(7.5, 3.2), gamma=0.4)

# %% [markdown]
# Temperature changes all and sets none to 0. Top-k and top-p cut off the tail (only 0 is white), and share
# it out among those that stay. Now move the temperature yourself.

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider


def draw(temperature):
    heights = (z / temperature).softmax(dim=-1)[0, top].tolist()
    bars = dict(zip(characters, heights))
    return plot.bar_chart(bars, "next character", "probability", top=1)


def describe(temperature):
    best = (z / temperature).softmax(dim=-1).max()
    return f"At temperature {temperature} the likeliest character has {best:.0%}."


coldest, hottest = ((z / t).softmax(dim=-1)[0, top] for t in (0.1, 4.0))
claim(coldest[0] > 0.9, "near 0 one bar has almost everything")
claim(max(hottest) < min(0.1, 2 * min(hottest)), "at 4 all are low and nearly equal")
temperatures = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0]
slider(draw, temperatures, "temperature", alt=describe, start=4)

# %% [markdown]
# ## Experiment: what the cache saves
#
# Work is not time. Here is a model with a full window of 256 characters: what each new token costs in
# multiply-adds, counted, and in time, as recorded on one machine in `data/writing.json`.

# %%
import json

record = json.loads((data / "writing.json").read_text("utf-8"))
counted = {"no cache": multiply_adds(256, 256), "cache": multiply_adds(1, 256)}
counted["cache, 16 texts"] = counted["cache"]
for name, work in counted.items():
    n_texts = 16 if "16" in name else 1
    took = record["steps"]["256"][name] / n_texts
    print(f"{name:15} {work / 1e6:6.1f} million multiply-adds, {took:5.2f} ms a token")

# %% [markdown]
# The first two rows: hundreds of times less work, but only several times less time. The third says why:
# sixteen texts side by side do sixteen times the work of one, and a token costs a fraction. Most of a
# step is *not* multiplying. In a model this small it is what Python does around it; in a large one it is
# fetching the weights. On your machine? The next cell measures, and puts the times into `spent`.

# %% tags=["hide-input"]
# @title A clock for the same steps on your machine
import time

from lib.models.gpt import GPT

wide = GPT(preset_config("mini", context_length=256)).eval()


@torch.inference_mode()
def step_time(n_texts, use_cache):
    ids = torch.zeros(n_texts, 256, dtype=torch.long)
    caches, times = wide.new_cache(), []
    wide(ids[:, :-1], caches)
    for _ in range(10):
        for cache in caches:
            cache.length = 255  # the same step again
        start = time.process_time()
        wide(ids[:, -1:], caches) if use_cache else wide(ids)
        times.append(time.process_time() - start)
    return min(times)


spent = {"no cache": step_time(1, False), "cache": step_time(1, True)}
spent["cache, 16 texts"] = step_time(16, True) / 16
claim(spent["no cache"] > 2 * spent["cache"], "with a cache a step is much quicker")
claim(spent["cache"] > 2 * spent["cache, 16 texts"], "more texts in a step pay")

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You set <code>top_k=1</code> and a temperature of 5. What does the model write?</summary>
#
# What greedy writes. Only one token is left, and heat cannot change the order.
#
# </details>
#
# <details><summary>Someone adds 10 to all logits. Temperature, top-k, top-p, penalty: which of the four gives another distribution than before?</summary>
#
# Only the penalty. The softmax does not notice a constant. But the penalty looks at the sign of a logit,
# and where zero is means nothing to the model. It is a rule of thumb.
#
# </details>
#
# <details><summary>You double the context. What happens to the cache, and to the work for one new token?</summary>
#
# The cache doubles. The work, here from 64 to 128 characters, grows by less than a tenth: most of it is in the matrices, which do not
# care about the past. With a context of thousands the pairs would count. <!-- from: predict-then-run "context 128" -->
#
# </details>

# %% tags=["answer"]
# @title Answers: heat without choice, a constant, a longer context
prompt = encode("ROMEO:\n")
hot = generate(model, prompt, 60, temperature=5.0, top_k=1)
assert torch.equal(hot, generate(model, prompt, 60, temperature=0))
rules = {"temperature": lambda z: z / 2, "top-k": lambda z: keep_top_k(z, 2)}
rules |= {"top-p": lambda z: keep_top_p(z, 0.9)}
rules["penalty"] = lambda z: penalize_repetition(z, torch.tensor([[0]]), 2.0)
for name, rule in rules.items():
    pair = (rule(moved).softmax(dim=-1) for moved in (logits, logits + 10))
    print(f"{name:12} the same after adding 10: {torch.allclose(*pair)}")
growth = multiply_adds(1, 128) / multiply_adds(1, 64) - 1
print(f"work for one token, context 128 instead of 64: {growth:+.1%}")
assert growth < 0.1

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_13 import (
    check_keep_min_p,
    check_nucleus_size,
    check_texts_that_fit,
    check_write_until,
)

# %% [markdown]
# ### Exercise 1: How many does it keep?
#
# *warm-up · 10 minutes* · [Solution](../solutions/13_generation.ipynb#exercise-1-how-many-does-it-keep)
#
# Given `probabilities` `(B, V)` in any order, and `p` above 0 and below 1, return how many tokens top-p
# keeps in each row (a sum equal to `p` is enough): an int64 tensor `(B,)`.
#
# <details><summary>Hint</summary>
#
# Sort each row, largest first, and add up. How many of the sums are still below `p`? One more token
# than that is needed.
#
# </details>


# %%
def nucleus_size(probabilities, p):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_nucleus_size(nucleus_size)

# %% [markdown]
# ### Exercise 2: A threshold that moves
#
# *core · 15 minutes* · [Solution](../solutions/13_generation.ipynb#exercise-2-a-threshold-that-moves)
#
# *Min-p* keeps a token if its probability is at least `min_p` times that of the likeliest token of its
# row. Given `logits` `(B, V)` and `min_p` above 0 and at most 1, return new logits of the same shape and
# dtype: minus infinity for what falls away, the rest unchanged.
#
# <details><summary>Hint</summary>
#
# The softmax of each row, and its largest entry with `keepdim=True`. `masked_fill` takes a mask that is
# True where the value shall be replaced.
#
# </details>


# %%
def keep_min_p(logits, min_p):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_keep_min_p(keep_min_p)

# %% [markdown]
# ### Exercise 3: How many texts fit?
#
# *core · 15 minutes* · [Solution](../solutions/13_generation.ipynb#exercise-3-how-many-texts-fit)
#
# A server has `n_bytes` left for caches, and writes texts side by side, each up to the full context. Given a `GPTConfig` (its `n_kv_heads` may be None, which means as many as `n_heads`) and the
# bytes of one number (4 for float32, 2 for bfloat16), return how many whole texts fit: an `int`.
#
# <details><summary>Hint</summary>
#
# The formula for the bytes of a cache, for one text. A head has `config.d_model // config.n_heads`
# numbers.
#
# </details>


# %%
def texts_that_fit(config, n_bytes, bytes_per_number):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_texts_that_fit(texts_that_fit)

# %% [markdown]
# ### Exercise 4: Stop each text at its own end
#
# *stretch · 35 minutes* · [Solution](../solutions/13_generation.ipynb#exercise-4-stop-each-text-at-its-own-end)
#
# Write on greedily from `ids` `(B, T)`. A row that has chosen `stop_id` is done: from then on it gets
# `stop_id` again and again. (One in the prompt does not count.) Stop when all rows are done, or after
# `n_new` tokens. Return prompts and new tokens, `(B, T + n)`, where $n$ is the number of steps. Feed each
# token to the model only once: use `model.new_cache()`. `T + n_new` fits into the context; `n_new` is at
# least 1.
#
# <details><summary>Hint</summary>
#
# Keep a bool tensor `done` of shape `(B, 1)`. `torch.where(done, stop_id, chosen)` replaces what finished
# rows have chosen. Read the whole prompt first; from then on give the model only the column that you have
# just appended.
#
# </details>


# %%
def write_until(model, ids, n_new, stop_id):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_write_until(write_until)

# %% [markdown]
# ## Recap
#
# - You built the **rules of choice**. Top-p is wide where a word begins and narrow where its end is clear.
# - You saw **greedy choice run in a circle**.
# - You built a **cache of keys and values**: the same text with a small part of the work. Its price is memory,
#   and when the window moves all is read again.
# - **Time shrinks less than work**: here because of what Python does around each step, in a large model because decoding is
#   memory-bound.
# - Two **bugs**: a position wrong by one, which only the comparison without a cache finds, and a top-p that
#   drops the crossing token.
#
# What is still wrong: it reads and writes single characters. Its window holds about a dozen words, so after
# two lines it has forgotten who is speaking. Larger pieces: lesson [14](14_tokenization.ipynb).
#
# The library's entries: [the rules](../book/api.md#generatesampling),
# [KVCache and MultiHeadAttention](../book/api.md#attention),
# [window_start, stream, generate and stream_text](../book/api.md#generate),
# [speculative_generate](../book/api.md#generatespeculative).

# %% [markdown]
# ## To read
#
# - Holtzman et al. (2020), *The Curious Case of Neural Text Degeneration*, sections 3 and 4: why the
#   likeliest text is a bad text, and top-p.
# - Shazeer (2019), *Fast Transformer Decoding*, sections 2.4 and 3: what one token at a time costs, and keys
#   that heads share.
# - Leviathan et al. (2023), *Fast Inference from Transformers via Speculative Decoding*, section 2.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: the model, live
#
# All rules of this lesson under your hands. The panel runs in your browser, with a copy of the model's
# weights. Press *One token* and watch what top-k and top-p take from the table; set the temperature to 0,
# then to 2. `playground` shows any small GPT that you have just trained.

# %%
from lib.show.live import playground

playground(model, tokenizer, prompt="ROMEO:", on_page="gpt-mini")

# %% [markdown]
# ## Deeper: speculative decoding
#
# A pass over five tokens costs a memory-bound model hardly more than a pass over one. So let a small model,
# the *draft*, propose a few tokens, and the large one, the *target*, check them all in one pass. If the
# draft guesses well, several tokens come out of each pass of the target.

# %% mystnb={"image": {"alt": "Diagram of one round. The draft proposes four characters. The target looks at all of them in one pass, accepts the first two, and puts its own character in the place of the third. The fourth is thrown away."}}
diagrams.speculation()

# %% [markdown]
# The text must have exactly the target's distribution $p$, whatever the draft's distribution $q$. The rule
# (Leviathan et al. 2023, section 2.3): accept a drafted token $x$ with probability $\min(1, p(x) / q(x))$.
# If it is rejected, draw instead from what $p$ has more than $q$: $\max(0, p - q)$, divided by its sum.
# By hand, for three tokens:

# %%
p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.6, 0.2])
accepted = q * (p / q).clamp(max=1)  # drawn from q and accepted
more = (p - q).clamp(min=0)
redrawn = (1 - accepted.sum()) * more / more.sum()
for name, mass in (("accepted", accepted), ("redrawn", redrawn)):
    print(f"{name:9}", [round(m, 2) for m in mass.tolist()])
print("together ", [round(m, 2) for m in (accepted + redrawn).tolist()])

# %% [markdown]
# Together they are $p$. It is no accident: $\min(p, q) + \max(0, p - q) = p$ for every token, and the chance of a rejection, $1 - \sum \min(p, q)$, equals the sum $\sum \max(0, p - q)$ by which we divide. Of several drafted tokens those before the first rejected one are accepted.
# `p` has one row more than `q`, for the token after the last.


# %% tags=["naive:generate.speculative.accept_drafts"]
def accept_drafts(p, q, drafted, generator=None):
    n = len(drafted)
    dice, places = torch.rand(n, generator=generator), (torch.arange(n), drafted)
    accepted = dice * q[places] < p[places]  # (n,)
    n_accepted = int(accepted.long().cumprod(dim=0).sum())  # those before the first no
    rest = p[n_accepted]  # (V,)
    if n_accepted < n:
        rest = (rest - q[n_accepted]).clamp(min=0)
    return n_accepted, torch.multinomial(rest, 1, generator=generator)


# %% [markdown]
# (`cumprod` multiplies up from the left: after the first 0 all are 0. `multinomial` divides by the sum
# itself.) The loop, without caches and within one window, in two parts: draft, then check.


# %%
def probabilities(model, ids, temperature):
    return (model(ids)[0] / temperature).softmax(dim=-1)  # (T, V)


def propose(draft, ids, n, temperature, generator):
    rows = [probabilities(draft, ids, temperature)[:0]]  # none yet
    for _ in range(n):
        rows.append(probabilities(draft, ids, temperature)[-1:])
        token = torch.multinomial(rows[-1], 1, generator=generator)
        ids = torch.cat([ids, token], dim=1)
    return ids, torch.cat(rows)  # (1, T + n), (n, V)


# %% tags=["lib:generate.speculative.Speculation"]
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Speculation:
    ids: Tensor
    n_drafted: int
    n_accepted: int
    n_passes: int


# %% [markdown]
# The last round drafts fewer, so that the text ends where it should: each round adds one token of the
# target's own.


# %% tags=["naive:generate.speculative.speculative_generate"]
@torch.no_grad()
def speculative_generate(target, draft, ids, n_tokens, n_draft=4, temperature=1.0,
                         generator=None):  # fmt: skip
    end, counts = ids.size(1) + n_tokens, torch.zeros(3, dtype=torch.long)
    while (length := ids.size(1)) < end:
        n = min(n_draft, end - length - 1)
        text, q = propose(draft, ids, n, temperature, generator)
        p = probabilities(target, text, temperature)[-n - 1 :]
        kept, token = accept_drafts(p, q, text[0, length:], generator)
        ids = torch.cat([text[:, : length + kept], token[None]], dim=1)
        counts += torch.tensor([n, kept, 1])
    return Speculation(ids, *counts.tolist())


# %% [markdown]
# The library's keeps caches: a rejected token is forgotten by setting the length of the cache back. Near the
# end of a window it drafts fewer tokens, so that a round never moves the window. At temperature 0 it writes
# what greedy writes.

# %% tags=["same:generate.speculative.accept_drafts", "proof"]
# @title Proof: the library accepts the same
from lib.generate import speculative as library_speculative

base = load_checkpoint(data / "base.safetensors").model
for seed in range(20):
    rows = [torch.randn(n, 9, generator=seeded(seed)).softmax(dim=-1) for n in (4, 3)]
    given = (*rows, torch.multinomial(rows[1], 1, generator=seeded(seed)).flatten())
    pair = (f(*given, seeded(seed))
            for f in (accept_drafts, library_speculative.accept_drafts))  # fmt: skip
    (n, token), (n_theirs, token_theirs) = pair
    assert n == n_theirs and torch.equal(token, token_theirs)
print("the same number accepted, the same token after them")

# %% tags=["same:generate.speculative.speculative_generate", "proof"]
# @title Proof: the library writes the same
prompt = encode("ROMEO:\n")
for n_draft in (1, 3):
    options = dict(n_tokens=30, n_draft=n_draft, temperature=0.8)
    ours = speculative_generate(base, model, prompt, **options, generator=seeded(2))
    theirs = library_speculative.speculative_generate(
        base, model, prompt, **options, generator=seeded(2)
    )
    assert torch.equal(ours.ids, theirs.ids)
    assert vars(ours) | {"ids": 0} == vars(theirs) | {"ids": 0}
greedy = library_generate.generate(base, prompt, 130, temperature=0)
drafted = library_speculative.speculative_generate(base, model, prompt, 130, 4, 0)
assert torch.equal(drafted.ids, greedy)
print("the same tokens, and greedy is greedy")

# %% [markdown]
# Is the distribution right? Take a vocabulary of three letters, with the $p$ and the $q$ from above as target and draft, whatever
# came before. Write two letters a thousand times, and compare with the target's exact probabilities.

# %%
from lib.models.bigram import BigramConfig, BigramLM

tables = [BigramLM(BigramConfig(3)).requires_grad_(False) for _ in range(2)]
for table, row in zip(tables, (p, q)):
    table.logits.weight.copy_(row.log().expand(3, 3))
rows = tables[0].logits.weight.softmax(dim=-1)
exact = rows[0].unsqueeze(1) * rows  # (V, V): first letter, second letter
counts, generator = torch.zeros(3, 3), torch.Generator().manual_seed(0)
for _ in range(1_000):
    start = torch.zeros(1, 1, dtype=torch.long)
    run = speculative_generate(*tables, start, n_tokens=2, generator=generator)
    counts[tuple(run.ids[0, 1:])] += 1

# %%
off = (counts / 1_000 - exact).abs().max().item()
claim(off < 0.06, "the texts have the target's distribution")
print("off by less than 0.06:", off < 0.06)
wrong = accepted + (1 - accepted.sum()) * p  # who redraws from p itself
bug = (wrong[:, None] * wrong - exact).abs().max().item()
print(f"who redraws from p itself is off by {bug:.2f}")

# %% [markdown]
# Now the real pair: the mini model drafts for the course's `base`, which has a lower loss.

# %% tags=["measured:wide"]
run = library_speculative.speculative_generate(
    base, model, prompt, 200, n_draft=4, generator=torch.Generator().manual_seed(0)
)
print(f"accepted {run.n_accepted} of {run.n_drafted}, in {run.n_passes} passes")
claim(run.n_accepted > run.n_drafted / 2, "more than half of the drafts are accepted")
claim(run.n_passes < 100, "a pass of the target gives more than two tokens")

# %% [markdown]
# About two thirds are accepted, and each pass of the target gives more than three tokens. Is it quicker?
# Recorded with three seeds, and with a second draft: a table of counted bigrams, which costs almost nothing and guesses
# badly. *Speed* is how many times as fast as the target alone with its cache, measured on a busy machine.

# %%
for row in record["drafts"]:
    mean = {key: sum(row[key]) / 3 for key in ("accepted", "per_pass", "speed")}
    found = ", ".join(f"{key} {value:.2f}" for key, value in mean.items())
    print(f"{row['draft']:8} {row['n_draft']} drafted: {found}")

# %% [markdown]
# With the mini model it does not pay here: many tokens come out of each pass, but the draft's own passes cost
# more than they save. A draft of three blocks is not much quicker than a target of four, least of all where
# Python takes most of the time. The bigram is nearly free and is seldom right: about even. If each token
# is accepted with probability $\alpha$, and a pass of the draft costs a share $c$ of one of the target, $\gamma$
# drafts make the writing faster by (Leviathan et al. 2023, theorem 3.8; $\alpha$ is the share accepted with one draft, since after a
# rejection all later ones count as rejected)
#
# $$\frac{1 - \alpha^{\gamma + 1}}{(1 - \alpha)(\gamma c + 1)}$$

# %%
for alpha, c in ((0.84, 0.7), (0.84, 0.05), (0.4, 0.05)):
    gains = [(1 - alpha ** (n + 1)) / ((1 - alpha) * (n * c + 1)) for n in (1, 2, 4, 8)]
    print(f"alpha {alpha}, c {c:4}:", [round(gain, 2) for gain in gains])

# %% [markdown]
# The first row has the numbers of our pair: hardly any gain, and the formula leaves out Python, and the shorter drafts near the end of
# a window. The second is what large models hope for: a draft that costs a twentieth
# and is as often right, and a target whose pass costs no more for five tokens than for one. The third is the bigram: the formula
# promises a gain, but a pass over five tokens does cost our small target more than a pass over one.
#
# `python -m lib.generate data/base.safetensors --draft data/gpt-mini.safetensors` writes with both.

# %% [markdown]
# ## Deeper: likely text and good text
#
# Which setting writes best? There is no single number for that, but two say a lot. How *surprised* is
# the model by a text: its loss on it. And how *varied* is the text: the share of its pieces of four
# characters that differ from each other. First the beginning of Shakespeare's speech, then eight texts for each setting.
# (`unfold(0, n, 1)` gives all pieces of `n` neighbours.)


# %%
from lib.train import estimate_loss


def surprise_and_variety(ids, n=4):
    pieces = ids.unfold(0, n, 1)  # (N - n + 1, n)
    variety = len(pieces.unique(dim=0)) / len(pieces)
    return torch.tensor([estimate_loss(model, ids, 64), variety])


greedily = {"temperature": 0}
SETTINGS = {"greedy": greedily, "and penalty": greedily | {"repetition_penalty": 1.3}}
SETTINGS |= {f"temperature {t}": {"temperature": t} for t in (0.5, 1.0, 1.5)}
SETTINGS |= {"top-k 5": {"top_k": 5}, "top-p 0.9": {"top_p": 0.9}}

# %% tags=["measured"]
starts = torch.cat([encode("\n" + letter) for letter in "ABCGHKLM"])
found = {"Shakespeare": surprise_and_variety(encode(SPEECH)[0, :200])}
for name, options in SETTINGS.items():
    generator = torch.Generator().manual_seed(0)
    written = library_generate.generate(
        model, starts, 198, generator=generator, **options
    )
    found[name] = torch.stack([surprise_and_variety(row) for row in written]).mean(0)
for name, (surprise, variety) in found.items():
    print(f"{name:15} surprise {surprise:.2f} nats, variety {variety:.2f}")

# %% [markdown]
# Compare each line with the first.
#
# - **Greedy** text is much likelier than Shakespeare's, and far less varied. *Likely text is not good
#   text*: nobody says the likeliest thing all the time.
# - The **penalty** helps, but not enough. It was made for vocabularies of thousands of pieces of words.
#   Here the tokens are characters: the more of them have appeared, the fewer the penalty can still tell apart. When all have, their
#   order stays, and greedy is unchanged.
# - **Hot** text is too surprising. **Temperature 1**, where the model says what it believes, comes nearest to
#   Shakespeare in surprise.
# - **Top-k** and **top-p** are less surprising than temperature 1, and these two numbers do not separate them.

# %% tags=["proof"]
# @title Proof: what the list says
surprise, varied = ({name: row[i].item() for name, row in found.items()}
                    for i in (0, 1))  # fmt: skip
people, likely = surprise["Shakespeare"], surprise["greedy"]
claim(likely < people - 0.3, "greedy text is much likelier than Shakespeare's")
claim(varied["greedy"] < varied["Shakespeare"] - 0.3, "and far less varied")
claim(surprise["temperature 1.5"] > people + 0.3, "hot text is too surprising")
helped = varied["greedy"] < varied["and penalty"] < varied["Shakespeare"] - 0.1
claim(helped, "the penalty helps the greedy text, but not enough")
print("as the list says")

# %% tags=["proof"]
# @title Proof: the rest of the list
gaps = {name: abs(surprise[name] - people) for name in SETTINGS}
claim(min(gaps, key=gaps.get) == "temperature 1.0", "temperature 1 comes nearest")
claim(likely < surprise["top-p 0.9"] < surprise["temperature 1.0"], "top-p is tamer")
claim(likely < surprise["top-k 5"] < surprise["temperature 1.0"], "top-k is tamer")
near = (found["top-p 0.9"] - found["top-k 5"]).abs().max()
claim(near < 0.15, "these two numbers do not separate top-k and top-p")
every, read = torch.arange(config.vocab_size), at_once.flatten(0, 1)
all_seen = penalize_repetition(read, every.expand_as(read), 1.3)
assert all_seen.argmax(dim=-1).equal(read.argmax(dim=-1))
print("as the list says")

# %% [markdown]
# ## Deeper: fewer key and value heads
#
# A cache grows with the number of heads that have keys and values. In *grouped-query attention* several
# query heads share one of them: `n_kv_heads` in the library. `repeat_interleave` lends each shared head to its
# readers.

# %%
shared = torch.tensor([10, 20])  # two heads of keys, for four heads of queries
print(shared.repeat_interleave(2).tolist())
for n_kv_heads in (4, 2, 1):
    part = library_attention.MultiHeadAttention(128, 4, n_kv_heads=n_kv_heads)
    cache = part.new_cache(64)
    outputs = [part(x[:, [t]], cache=cache)[0] for t in range(6)]
    assert torch.allclose(
        torch.cat(outputs, 1), part(x, is_causal=True)[0], atol=1e-5
    )
    n_bytes = cache.keys.nbytes + cache.values.nbytes
    print(f"{n_kv_heads} heads with keys: {n_bytes:,} bytes of cache for two texts")

# %% [markdown]
# What such a model loses in quality, and what it gains: lesson [20](20_long_context.ipynb).

# %% [markdown]
# ## Deeper: text as it comes
#
# A function with `yield` is a *generator*: it hands out a token, waits until it is asked for the next, and
# goes on after the `yield`. So you can show each character as it comes. The library's `generate` is one line
# around it. (`in_mode` of lesson [02](02_bigram.ipynb) switches [dropout](../book/glossary.md#dropout) off
# while it writes.)

# %% tags=["naive:generate.stream"]
from lib.module import in_mode


@torch.no_grad()
def stream(model, ids, n_new, **options):
    with in_mode(model, training=False):
        for _ in range(n_new):
            window = ids[:, window_start(ids.size(1), model.context_length) :]
            chosen = choose_next(model(window)[:, -1], ids, **options)  # (B, 1)
            ids = torch.cat([ids, chosen], dim=1)
            yield chosen


# %% [markdown]
# For a reader we want strings, and an end: a speech ends at an empty line, which is `"\n\n"`. The stop must not
# be shown, not even its first half. So `_pieces` holds back as many characters as could be its beginning. It
# also holds back `\ufffd`, the sign for half a character: the tokens of lesson 14 can end in the middle of one.

# %%
from collections.abc import Iterator

from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer


# %% tags=["lib:generate._pieces"]
def _pieces(
    tokenizer: CharTokenizer | BPETokenizer, tokens: Iterator[Tensor], stop: str | None
) -> Iterator[str]:
    new, shown, text = [], 0, ""
    for token in tokens:
        new.append(token.item())
        text = tokenizer.decode(new)
        if stop and stop in text:
            yield text[shown : text.index(stop)]
            return
        sure = len(text.rstrip("\ufffd")) - (len(stop) - 1 if stop else 0)
        if sure > shown:
            yield text[shown:sure]
            shown = sure
    yield text[shown:]


# %% [markdown]
# `stream_text` encodes the prompt and hands the tokens on. (`yield from` passes on all that another generator
# yields.)


# %% tags=["naive:generate.stream_text"]
def stream_text(model, tokenizer, prompt, n_new, stop=None, **options):
    ids = torch.tensor([tokenizer.encode(prompt)])
    yield from _pieces(tokenizer, stream(model, ids, n_new, **options), stop)


# %% tags=["sample"]
generator = torch.Generator().manual_seed(3)
pieces = [*stream_text(model, tokenizer, "JULIET:\n", 400, "\n\n", generator=generator)]
print("".join(pieces))
print("\nthe first pieces:", pieces[:6])

# %% [markdown]
# She speaks, and is silent when her speech is over. `python -m lib.generate` prints these pieces as they come.

# %% tags=["same:generate.stream", "same:generate.stream_text", "proof"]
# @title Proof: the library streams the same
pair = (torch.cat([*write(model, prompts, 30, temperature=0.8, generator=seeded(0))])
        for write in (stream, library_generate.stream))  # fmt: skip
assert torch.equal(*pair)
options = dict(n_new=90, stop="\n\n", prompt="JULIET:\n")
pair = (write(model, tokenizer, **options, generator=seeded(4))
        for write in (stream_text, library_generate.stream_text))  # fmt: skip
assert len({"".join(pieces) for pieces in pair}) == 1
print("the same tokens, the same text")

# %% [markdown]
# ## Deeper: a temperature near zero
#
# Logits divided by a tiny temperature become infinite, and infinity minus infinity is not a number. The library
# takes the largest logit of a row away first. That changes no probability, and then nothing can become too
# large: what is not the largest goes to minus infinity, as it should. (`at_least_float32` makes float32 of shorter numbers.)

# %% tags=["lib:generate.sampling.sharpen"]
from lib.device import at_least_float32


def sharpen(logits: Tensor, temperature: float) -> Tensor:
    logits = at_least_float32(logits)
    least = torch.finfo(logits.dtype).tiny  # 0 would be divided by 0
    best = logits.amax(dim=-1, keepdim=True)  # (B, 1)
    return (logits - best) / max(temperature, least)


# %%
print("plain:    ", (logits / 1e-40).softmax(dim=-1).tolist())
print("sharpened:", sharpen(logits, 1e-40).softmax(dim=-1).tolist())
