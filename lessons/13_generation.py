# %% [markdown]
# # 13 · Generation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/13_generation.ipynb)
#
# You make a trained GPT write, choose how daring it is, and make it fast.
#
# - **You will build** greedy choice, temperature, top-k, top-p and a repetition
#   penalty, a cache of keys and values, and a generator that streams text.
# - **You will see** a model that runs in a circle, the same text
#   written with a small part of the work, and a bug that the loss hardly sees.
# - **Needs** lessons [10](10_gpt.ipynb), [11](11_training.ipynb) and
#   [12](12_training_runs.ipynb).
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
# Lesson [11](11_training.ipynb) trained a GPT that predicts well. But a prediction is
# not a text. It is 65 probabilities, and at each step somebody must choose one
# character. That leaves two questions. How should one choose? And why does every new
# character cost a full pass over all the old ones, which the model has read before?
# <!-- from: top-p "it keeps" -->
#
# You need a trained model. One comes with the course: a GPT as in lesson
# [11](11_training.ipynb), trained for longer. `load_checkpoint` of lesson
# [12](12_training_runs.ipynb) brings back the model,
# its tokenizer, and notes on how it was trained.

# %%
from pathlib import Path

import torch
from torch import Tensor, nn

import lib
from lib.module import in_mode
from lib.train.checkpoint import load_checkpoint

data = Path(lib.__file__).parents[1] / "data"
checkpoint = load_checkpoint(data / "gpt-mini.safetensors")
model, tokenizer = checkpoint.model, checkpoint.tokenizer
config = model.config
n_parameters = sum(parameter.numel() for parameter in model.parameters())
print(f"{n_parameters:,} parameters in {config.n_layers} layers, {config.d_model} wide")
print(f"{config.n_heads} heads, {config.context_length} characters of context")
print(f"validation loss: {checkpoint.notes['validation_loss']:.2f} nats per character")

# %% [markdown]
# It has learned from Tiny Shakespeare, which has no *Hamlet* in it. So the most famous
# speech of all is new to it. Ask for its loss on that, and for its five best guesses
# after a few words.

# %%
from lib.train import estimate_loss

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
speech = torch.tensor(tokenizer.encode(SPEECH))
speech_loss = estimate_loss(model, speech, config.context_length)
print(f"{len(speech)} characters, {speech_loss:.2f} nats per character")


# %%
def encode(text):
    return torch.tensor([tokenizer.encode(text)])  # (1, T)


@torch.no_grad()
def next_logits(text):
    return model(encode(text))[:, -1]  # (1, V)


for text in ("My lord, I ", "My lord, I wil"):
    best = next_logits(text)[0].softmax(dim=-1).topk(5)
    guesses = zip(tokenizer.decode(best.indices.tolist()), best.values.tolist())
    print(f"{text!r}:", ", ".join(f"{c!r} {p:.2f}" for c, p in guesses))

# %% [markdown]
# (`topk` gives the largest entries and where they stand.) Near the end of a word the
# model is often certain. Where a word begins, many characters are possible, and that is right:
# a writer has a choice there. A rule for choosing has to serve both places.

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
    print(f"{name:16}", "  ".join(f"{w} {s:.2f}" for w, s in zip(words, shares)))


print("sum of the weights:", int(weights.sum()))
show("as they are", logits)

# %% [markdown]
# To divide a logarithm by 2 is to take the square root of its number. So a temperature
# of 2 turns the weights into 5, 4, 3, 2, 1, and their sum is 15. A temperature of one
# half squares them: 625, 256, 81, 16, 1. Do the divisions on paper, then look.

# %%
print("squares:", weights.square().int().tolist()[0])
show("temperature 2", logits / 2)
show("temperature 0.5", logits / 0.5)
assert torch.allclose((logits / 2).softmax(-1)[0], torch.tensor([5.0, 4, 3, 2, 1]) / 15)

# %% [markdown]
# The order stays. The first word has a third of the probability when it is hot, and
# almost two thirds when it is cold.
#
# The other way is to forbid the unlikely ones.
# **[Top-k](../book/glossary.md#top-k)** with $k = 2$ leaves the first
# two: 25 and 16 of 41. **Top-p** with `p = 0.9` goes down the list until the sum
# reaches 0.9: after the first word it has 25/55, after the second 41/55, after the
# third 50/55, and that is enough. Three words stay: 25, 16 and 9 of 50. A forbidden
# word gets the logit minus infinity, for $e^{-\infty} = 0$.

# %%
inf = float("inf")
print("sums of weights:", weights.cumsum(-1).int().tolist()[0])
print("shares:", [round(s, 3) for s in logits.softmax(-1).cumsum(-1)[0].tolist()])
show("top-k, k = 2", logits.masked_fill(weights < 16, -inf))
show("top-p, p = 0.9", logits.masked_fill(weights < 9, -inf))

# %% [markdown]
# Last, a **repetition penalty**: a token that was there before gets its logit divided
# by a number above 1. Say `see` was there, and the penalty is 2. Half of its logit is
# the root of its weight: 5 instead of 25, of 35 in all.

# %%
penalized = logits.clone()
penalized[0, 0] /= 2
show("see was there", penalized)
assert torch.allclose(penalized.softmax(-1)[0], torch.tensor([5.0, 16, 9, 4, 1]) / 35)

# %% [markdown]
# Now `go` is the likeliest.

# %% [markdown]
# ## The formula
#
# With a temperature $\tau$, and a set $S$ of tokens that are allowed, the probability
# of token $i$ is
#
# $$p_i = \frac{e^{z_i / \tau}}{\sum_{j \in S} e^{z_j / \tau}} \quad \text{for } i \in S, \qquad p_i = 0 \quad \text{for all others}$$
#
# - top-k: $S$ holds the $k$ tokens with the largest logits.
# - top-p: $S$ is the smallest set of tokens whose probabilities, *after* the
#   temperature, sum to at least a threshold $P$ (in the code: `p`).
# - The penalty $r$ comes first: for each token that was there, $z_i / r$ if $z_i > 0$,
#   and $z_i \cdot r$ if not. With $r > 1$ both make a logit smaller, unless it is 0.
#
# The second half of the lesson is about one line. When token $t$ is read, the
# attention of each head needs the new query, and the keys and values of *all* tokens
# so far:
#
# $$o_t = \operatorname{softmax}\!\left(\frac{q_t K_t^\top}{\sqrt{D_h}}\right) V_t, \qquad K_t = \begin{bmatrix} K_{t-1} \\ k_t \end{bmatrix}, \quad V_t = \begin{bmatrix} V_{t-1} \\ v_t \end{bmatrix}$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $z$, $p$ | `(B, V)` | logits and probabilities of the next token |
# | $\tau$, $k$, $P$, $r$ | numbers | temperature, top-k, top-p, penalty |
# | $q_t, k_t, v_t$ | `(B, H, 1, Dh)` | query, key and value of the newest token |
# | $K_t, V_t$ | `(B, H, t, Dh)` | keys and values of all tokens so far: the cache |
#
# Where they come from: top-k is section 5.4 of Fan, Lewis and Dauphin (2018), top-p
# section 3.1 of Holtzman et al. (2020), the penalty section 4.1 of Keskar et al.
# (2019). That paper always divides. Implementations have added the other case, for a
# division would *raise* a negative logit. Section 2.4 of Shazeer (2019) counts what
# reading one token at a time costs.

# %% [markdown]
# ## Build
#
# ### Greedy: always the likeliest
#
# The simplest rule is to take the best character every time,
# [greedily](../book/glossary.md#greedy). `sample` of lesson [02](02_bigram.ipynb) does
# that at temperature 0. Would you not expect the best text of it?

# %% tags=["sample"]
from lib.generate import sample

greedy = tokenizer.decode(sample(model, encode("ROMEO:\n"), 300, temperature=0)[0])
print(greedy)

# %% [markdown]
# Were its last 64 characters there before?

# %%
from lib.checks.claims import claim

claim(greedy[-64:] in greedy[:-1], "greedy choice runs in a circle")

# %% [markdown]
# It runs in a circle. Greedy choice is a function of the last 64 characters. Once a whole
# window was there before, the text repeats for ever. (Large models do it too, and in them each
# repetition also makes a phrase likelier, as Holtzman et al. (2020) show.)
#
# ### Temperature
#
# So draw instead. Every character can come then, also the bad ones: each is unlikely,
# but there are many of them, and hundreds of draws. One bad character is enough to
# derail the next words.

# %% tags=["sample"]
for temperature in (0.5, 1.0, 1.5):
    generator = torch.Generator().manual_seed(0)
    written = sample(model, encode("ROMEO:\n"), 120, temperature, generator)
    print(f"temperature {temperature}: {tokenizer.decode(written[0, 7:])!r}\n")

# %% [markdown]
# Temperature moves between the two evils: cold is dull, hot is wild. It treats all
# tokens alike. The next two rules cut off the tail instead.
#
# ### Top-k
#
# `argsort` says which entry is the largest, the second largest, and so on; `stable`
# leaves equal ones in their order. `scatter(1, where, value)` returns a copy in which
# each row has the value at the places that `where` names.

# %% tags=["lib:generate.sampling.keep_top_k"]
import math

from lib.shapes import require_sizes


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    require_sizes(k=k)
    order = logits.argsort(dim=-1, descending=True, stable=True)
    return logits.scatter(1, order[:, k:], -math.inf)


# %%
show("k = 2", keep_top_k(logits, 2))
show("k = 9", keep_top_k(logits, 9))
assert torch.equal(keep_top_k(logits, 9), logits)

# %% [markdown]
# The same as by hand, and a `k` above the size of the vocabulary keeps all.
# (`require_sizes` refuses a `k` below 1.)
#
# But which `k`? Near the end of a word one character is often right, and the second
# already a mistake. At its beginning ten may be fine. A fixed number is wrong in one of the two
# places.

# %% [markdown]
# ### Top-p
#
# **[Top-p](../book/glossary.md#top-p)**, also called nucleus sampling, asks for a share instead of a number. Sort
# the probabilities, add them up from the top, and stop when the sum has reached `p`.
#
# Look at `rest`: what a token and all *less likely* ones have together. A token is
# dropped if this is `1 - p` or less, for then the ones before it were already enough.
# (`flip` turns the row around, so that the sums begin at the small end: thousands of
# tiny numbers added to a 1 would be lost in rounding.) The most likely token always
# stays. `scatter` then brings the answer from the sorted order back to the order of the
# vocabulary. (`at_least_float32` gives numbers of fewer digits the usual ones.)

# %% tags=["lib:generate.sampling.keep_top_p"]
from lib.device import at_least_float32


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    if not 0 < p <= 1:
        raise ValueError(f"p={p} must be above 0 and at most 1")
    if p == 1:
        return logits
    order = logits.argsort(dim=-1, descending=True, stable=True)
    probabilities = at_least_float32(logits).gather(1, order).softmax(dim=-1)
    rest = probabilities.flip(-1).cumsum(dim=-1).flip(-1)  # it and less likely ones
    drop = rest <= 1 - p  # the more likely ones already reach p
    drop[:, 0] = False
    drop = torch.zeros_like(drop).scatter(1, order, drop)
    return logits.masked_fill(drop, -math.inf)


# %%
show("p = 0.9", keep_top_p(logits, 0.9))
show("p = 0.4", keep_top_p(logits, 0.4))
for text in ("My lord, I ", "My lord, I wil"):
    kept = keep_top_p(next_logits(text), 0.9).isfinite().sum().item()
    print(f"after {text!r} it keeps {kept} of {config.vocab_size} characters")
claim(kept < 3, "near the end of a word hardly any choice is left")

# %% [markdown]
# That is what top-k cannot do: a wide choice at the start of a word, none where its end
# is clear.
#
# ### The penalty
#
# `gather` fetches the logits of all tokens that were there, and `scatter` puts the new
# ones back. The two cases see to it that a negative logit also gets smaller. A token
# that came twice is penalised once, and `ids` holds the prompt, too.


# %% tags=["lib:generate.sampling.penalize_repetition"]
def penalize_repetition(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    if not 0 < penalty < math.inf:
        raise ValueError(f"penalty={penalty} must be above 0, and finite")
    seen = logits.gather(1, ids)  # (B, T): the logits of tokens that were there
    seen = torch.where(seen > 0, seen / penalty, seen * penalty)
    return logits.scatter(1, ids, seen)


# %%
show("see was there", penalize_repetition(logits, torch.tensor([[0]]), 2.0))
print(penalize_repetition(torch.tensor([[2.0, -2.0]]), torch.tensor([[0, 1, 1]]), 2.0))

# %% [markdown]
# ### All together
#
# `sharpen` divides by the temperature. It first takes the largest logit of a row away from
# all. That changes no probability, and then no number can become too large, however
# small the temperature is.

# %% tags=["lib:generate.sampling.sharpen"]
def sharpen(logits: Tensor, temperature: float) -> Tensor:
    logits = at_least_float32(logits)
    least = torch.finfo(logits.dtype).tiny  # 0 would be divided by 0
    best = logits.amax(dim=-1, keepdim=True)  # (B, 1)
    return (logits - best) / max(temperature, least)


# %% [markdown]
# One function in a fixed order: penalty, temperature, top-k, top-p, then the draw of
# lesson [02](02_bigram.ipynb). The order matters: top-p is asked *after* the
# temperature, so heat makes the set larger.

# %% tags=["lib:generate.sampling.choose_next"]
from lib.generate.sampling import sample_next


def choose_next(
    logits: Tensor, ids: Tensor, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, repetition_penalty: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    if repetition_penalty != 1:
        logits = penalize_repetition(logits, ids, repetition_penalty)
    if 0 < temperature < math.inf:  # otherwise sample_next decides
        logits, temperature = sharpen(logits, temperature), 1.0
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    if top_p is not None:
        logits = keep_top_p(logits, top_p)
    return sample_next(logits, temperature, generator)


# %%
generator = torch.Generator().manual_seed(0)
many, nothing = logits.expand(10_000, 5), torch.zeros(10_000, 1, dtype=torch.long)
drawn = choose_next(many, nothing, temperature=2.0, top_p=0.9, generator=generator)
shares = drawn.flatten().bincount(minlength=5) / len(drawn)
print("drawn:", [round(share, 2) for share in shares.tolist()])
show("expected", keep_top_p(logits / 2, 0.9))
expected = keep_top_p(logits / 2, 0.9).softmax(dim=-1)[0]
claim(torch.allclose(shares, expected, atol=0.03), "the draws come out as they should")

# %% [markdown]
# Ten thousand draws come out as they should, and at temperature 2 top-p keeps four
# words where it kept three before.

# %% [markdown]
# ### Why it is slow
#
# Now the second question. `sample` gives the model the whole window for each new
# character, and throws away all logits but the last. Count the work. A matrix of
# $n \times m$ costs $n \cdot m$ multiply-adds for each vector that goes through it
# (one multiplication and one addition each).
#
# - Each block: four matrices $D \times D$ in the attention, and two of $D \times F$ in
#   the feed-forward network.
# - Each pair of a query and a key: $D$ for the score and $D$ for mixing the value, over
#   all heads together. (The mask forbids almost half of the pairs, but they are
#   computed all the same.)
# - The head at the end: $D \cdot V$.


# %%
def multiply_adds(n_new, n_read, c=config):
    """Work for n_new tokens, each of which is compared with n_read tokens."""
    matrices = 4 * c.d_model**2 + 2 * c.d_model * c.d_ff
    pairs = 2 * c.d_model * n_read
    return n_new * (c.n_layers * (matrices + pairs) + c.d_model * c.vocab_size)


full, single = multiply_adds(64, 64), multiply_adds(1, 64)
print(f"all 64 tokens:    {full:,} multiply-adds")
print(f"the newest alone: {single:,}")
assert full == 64 * single

# %% [markdown]
# 64 times as much as the newest token alone would need. Is the count right? PyTorch
# can count too. (`attention_maps` makes the model write down its attention weights;
# the fused kernel of lesson [06](06_attention.ipynb) is not counted.)

# %%
from torch.utils.flop_counter import FlopCounterMode

from lib.evaluate.attention_maps import attention_maps

window = speech[None, :64]  # (1, 64)
with FlopCounterMode(display=False) as counter:
    attention_maps(model, window)
print(f"PyTorch counts {counter.get_total_flops() // 2:,}")
assert counter.get_total_flops() // 2 == full

# %% [markdown]
# ### The past does not change
#
# May we leave the old tokens out? The newest query needs their keys and values, in
# every layer. But the mask is causal: no token ever sees a later one. So what the
# model has computed for a token stays as it is, whatever comes after. Look at the keys
# of the *last* block, which has everything below it in them, for ten characters alone
# and for the same ten at the beginning of 64. (A hook, as in lesson
# [07](07_multi_head_attention.ipynb), keeps what a layer puts out.)


# %%
@torch.no_grad()
def last_keys(ids):
    kept = []
    layer = model.blocks[-1].attention.k_proj
    hook = layer.register_forward_hook(lambda *call: kept.append(call[-1]))
    model(ids)
    hook.remove()
    return kept[0]  # (B, T, D)


alone, within = last_keys(window[:, :10]), last_keys(window)[:, :10]
print("the same keys:", torch.allclose(alone, within, atol=1e-4))
moved = last_keys(window[:, 1:])[:, :9]
print("one place earlier:", torch.allclose(alone[:, 1:], moved, atol=1e-4))
assert torch.allclose(alone, within, atol=1e-4)
assert not torch.allclose(alone[:, 1:], moved, atol=0.1)

# %% [markdown]
# The keys of a token depend on what came before it and on its position, and on nothing
# after it. **So compute them once, and keep them.** The last line is a warning: when
# the first character goes, all others move to another position, and nothing that was
# kept is right any more.

# %% [markdown]
# ### The cache
#
# A [KV cache](../book/glossary.md#kv-cache) keeps the keys and values of one attention.
# It makes room for a whole context when the first tokens come (`new_empty`: memory of
# that shape, not filled yet), writes each new token behind the last, and returns what
# is filled. (`narrow(2, start, n)` is the slice `[:, :, start : start + n]`, and quicker
# to get.) `require_like` refuses what does not fit its place: another batch, other
# heads or another number format cannot continue the rows that are kept.

# %% tags=["lib:attention.KVCache"]
from lib.shapes import require_like


class KVCache:
    def __init__(self, context_length: int) -> None:
        require_sizes(context_length=context_length)
        self.context_length, self.length = context_length, 0
        self.keys = self.values = torch.empty(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        start, n_new = self.length, k.size(2)
        length = start + n_new
        if length > self.context_length:
            raise ValueError(f"{length=} is more than {self.context_length=}")
        if start == 0:
            room = (*k.shape[:2], self.context_length, k.size(3))
            self.keys, self.values = k.new_empty(room), v.new_empty(room)
        new_keys = self.keys.narrow(2, start, n_new)
        new_values = self.values.narrow(2, start, n_new)
        require_like(k, new_keys, "k")
        require_like(v, new_values, "v")
        new_keys.copy_(k)
        new_values.copy_(v)
        self.length = length
        return self.keys.narrow(2, 0, length), self.values.narrow(2, 0, length)


# %%
cache = KVCache(context_length=4)
for value in (1.0, 2.0, 3.0):
    new = torch.full((1, 1, 1, 1), value)  # (B, H, T, Dh)
    k, v = cache.append(new, -new)
    print(f"length {cache.length}: keys {k.flatten().tolist()}")
print("room for", cache.keys.size(2))

# %% [markdown]
# ### An attention that remembers
#
# This is the multi-head attention of lesson [07](07_multi_head_attention.ipynb) without its
# mask, its memory and `need_weights`; `is_causal=True` stands for the causal mask, as in
# lesson [10](10_gpt.ipynb). It gets one new step: it appends its keys and values to a cache,
# if there is one, and goes on with all that is in it.
#
# What else is new is for an option. With fewer key and value heads than query heads
# (`n_kv_heads`), several query heads share one: the cache becomes smaller, and
# `repeat_interleave` lends each shared head to its readers.

# %% tags=["grows:attention.MultiHeadAttention"]
from lib.attention import scaled_dot_product_attention


class MultiHeadAttention(nn.Module):
    def __init__(self, d_model, n_heads, *, bias=True, n_kv_heads=None):
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        self.d_head, self.n_shared = d_model // n_heads, n_heads // n_kv_heads
        self.q_proj = nn.Linear(d_model, d_model, bias=bias)
        self.k_proj = nn.Linear(d_model, n_kv_heads * self.d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, n_kv_heads * self.d_head, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)

    def forward(self, x, *, is_causal=False, cache=None):
        wide = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        q, k, v = (w.unflatten(-1, (-1, self.d_head)).transpose(1, 2) for w in wide)
        if cache is not None:
            k, v = cache.append(k, v)  # now (B, H_kv, T_k, Dh)
        if self.n_shared > 1:
            k, v = (w.repeat_interleave(self.n_shared, dim=1) for w in (k, v))
        mixed, weights = scaled_dot_product_attention(q, k, v, is_causal=is_causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), weights


# %% [markdown]
# Give it six vectors at once, with a causal mask (`is_causal`, as in lesson
# [10](10_gpt.ipynb)), and then one after the other with a cache. A single newest token
# needs no mask: it may look at everything that is there.

# %%
torch.manual_seed(0)
x = torch.randn(2, 6, 128)  # (B, T, D)
sizes = {}
for n_kv_heads in (4, 2, 1):
    attention, cache = MultiHeadAttention(128, 4, n_kv_heads=n_kv_heads), KVCache(64)
    at_once = attention(x, is_causal=True)[0]
    steps = [attention(x[:, [t]], cache=cache)[0] for t in range(6)]
    same = torch.allclose(torch.cat(steps, dim=1), at_once, atol=1e-5)
    sizes[n_kv_heads] = cache.keys.nbytes + cache.values.nbytes
    print(f"key heads: {n_kv_heads}, same: {same}, cache: {sizes[n_kv_heads]:,} bytes")
    assert same
assert sizes[4] == 4 * sizes[1] == 2 * 2 * 4 * 32 * 64 * 4

# %% [markdown]
# The same output, and the cache shrinks with the number of key and value heads. The
# library's class has the same parts, so it takes our weights. Here both read two vectors,
# and then the other four. (With more keys than queries, `is_causal` takes the queries for
# the *last* of the positions: the mask has the rows of the new tokens only.)

# %% tags=["same:attention.MultiHeadAttention", "proof"]
from lib import attention as library

for n_kv_heads in (4, 2, 1):
    ours = MultiHeadAttention(128, 4, n_kv_heads=n_kv_heads)
    theirs = library.MultiHeadAttention(128, 4, n_kv_heads=n_kv_heads)
    theirs.load_state_dict(ours.state_dict())
    pairs = (ours, KVCache(64)), (theirs, library.KVCache(64))
    for part in (x[:, :2], x[:, 2:]):
        both = (module(part, is_causal=True, cache=own)[0] for module, own in pairs)
        assert torch.allclose(*both, atol=1e-6)
print("the library's attention gives the same outputs")

# %% [markdown]
# The size of a cache is easy to count: keys *and* values, for each sequence, head and
# position $D_h$ numbers of 4 bytes, and that in every layer.
#
# $$\text{bytes} = 2 \cdot L \cdot B \cdot H_{kv} \cdot D_h \cdot T_{\max} \cdot 4$$
#
# (Here $L$ is the number of layers, $H_{kv}$ that of key and value heads, and $T_{\max}$
# the context. Our model shares no heads: $H_{kv} \cdot D_h = D$.) `new_cache` of lesson [10](10_gpt.ipynb) makes one
# cache for each block. Hold the formula against the tensors, then ask what the smallest
# GPT-2 needs for its 1,024 tokens.

# %%
from lib.models.presets import preset_config

caches = model.new_cache()
with torch.no_grad():
    model(window[:, :10], caches)
counted = sum(cache.keys.nbytes + cache.values.nbytes for cache in caches)
print(f"our model: {counted:,} bytes")
assert counted == 2 * config.n_layers * 1 * config.d_model * config.context_length * 4

gpt2 = preset_config("gpt2")
one_text = 2 * gpt2.n_layers * gpt2.d_model * gpt2.context_length * 4
print(f"gpt2:      {one_text:,} bytes for one text of {gpt2.context_length:,} tokens")

# %% [markdown]
# 75 MB for a single text. A server that writes a thousand texts at once needs a
# thousand times that, more than for the weights. That is why models of today share key
# and value heads.

# %% [markdown]
# ### A GPT that reads one token
#
# The rest is in `GPT.forward` of lesson [10](10_gpt.ipynb). Three lines of it are for
# the cache:
#
# ```python
# start = 0 if cache is None else cache[0].length   # what is already there
# x = self.positions(x, start)                      # the new ones stand behind it
# x = block(x, is_causal=True, cache=own)           # and look at it, and at themselves
# ```
#
# Read ten characters into a cache, then the eleventh alone. Compare with one pass over
# all eleven.

# %%
caches = model.new_cache()
with torch.no_grad():
    model(window[:, :10], caches)
    from_cache = model(window[:, 10:11], caches)[:, -1]
    from_all = model(window[:, :11])[:, -1]
print("the same logits:", torch.allclose(from_cache, from_all, atol=1e-4))
assert torch.allclose(from_cache, from_all, atol=1e-4)

# %% [markdown]
# ### When the window is full
#
# The model has 64 positions. To write the 65th character it must let go of the first.
# `sample` moves its window by one each time, and then every token has a new position.
# You saw above what that does to the keys: with a cache, we would have to compute
# everything again *each time*, and nothing would be saved.
# <!-- from: when-the-window-is-full "for length in" -->
#
# So move rarely, and far: by a quarter of the context. After a move the model reads 49
# characters anew; the next steps are cheap. (`-(-a // b)` is $a / b$ rounded up.)
# <!-- from: when-the-window-is-full "65 characters" -->


# %% tags=["lib:generate.window_start"]
def window_start(length: int, context_length: int) -> int:
    step = max(1, context_length // 4)
    return -(-max(0, length - context_length) // step) * step  # rounded up


# %%
for length in (1, 64, 65, 80, 81, 96, 97):
    start = window_start(length, 64)
    print(f"{length:2} characters: reads from {start:2} on, {length - start} of them")
    assert 48 < length - start <= 64 or start == 0

# %% [markdown]
# The price: just after a move the model sees 49 characters instead of 64. Without a
# cache we keep to the same rule, so that both write the same text. (Beyond 64
# characters, `sample` reads other windows and may write something else.)

# %% [markdown]
# ### The generator
#
# A function with `yield` is a *generator*: it hands out a token, waits until it is asked
# for the next, and goes on after the `yield`. So you can show each character as it comes.
#
# As a rule only the newest token is read. When the window has moved, or without a
# cache, the whole window is. `in_mode` of lesson [02](02_bigram.ipynb) switches
# [dropout](../book/glossary.md#dropout) off while that goes on; afterwards the model is
# as it was, whatever happens.


# %% tags=["naive:generate.stream"]
@torch.no_grad()
def stream(model, ids, n_new, use_cache=True, **options):
    start, cache = -1, None
    with in_mode(model, training=False):
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
            yield chosen


# %% [markdown]
# `generate` collects what comes.


# %% tags=["lib:generate.generate"]
def generate(model: nn.Module, ids: Tensor, n_new: int, **options) -> Tensor:
    return torch.cat([ids, *stream(model, ids, n_new, **options)], dim=1)


# %% [markdown]
# Write with the cache, and once more without.


# %% tags=["sample"]
how = {"temperature": 0.8, "top_p": 0.9}
for use_cache in (True, False):
    generator = torch.Generator().manual_seed(1)
    written = generate(
        model, encode("ROMEO:\n"), 150, use_cache=use_cache, generator=generator, **how
    )
    print(f"use_cache={use_cache}: {tokenizer.decode(written[0, 7:])!r}\n")

# %% [markdown]
# Twice the same text. That is what a cache has to do: nothing that you can see.
#
# The library's `stream` writes the same. (It also takes models without `new_cache`, such
# as the bigram model, and refuses an empty prompt.) For a single token, what Python does
# around the products can take as long as the products. So the library's models, which you
# use here too, save some of it: one token alone gets no mask, and `lib.module.Module`
# finds the parts of a model without a search and, in a part without hooks, does not ask
# for them where no gradients are wanted.

# %% [markdown]
# ### Text, and where to stop
#
# For a reader we want strings, and an end: a speech ends at an empty line, which is
# `"\n\n"`. The stop must not be shown, not even its first half. So `_pieces` holds back
# as many characters as could be the beginning of a stop. It also holds back `\ufffd`,
# the sign for half a character: the tokens of lesson 14 can end in the middle of one.


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
# `stream_text` encodes the prompt and hands the tokens on. (`yield from` passes on all that
# another generator yields.)


# %% tags=["lib:generate.stream_text"]
def stream_text(
    model: nn.Module, tokenizer: CharTokenizer | BPETokenizer, prompt: str, n_new: int,
    stop: str | None = None, **options,
) -> Iterator[str]:  # fmt: skip
    if not prompt:
        raise ValueError("prompt='' is empty; give the model something to go on from")
    if stop == "":
        raise ValueError("stop='' is in every text; give a string, or None")
    device = next(model.parameters()).device
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    yield from _pieces(tokenizer, stream(model, ids, n_new, **options), stop)


# %% tags=["sample"]
generator = torch.Generator().manual_seed(3)
pieces = list(
    stream_text(
        model, tokenizer, "JULIET:\n", 400, stop="\n\n", generator=generator, **how
    )
)
print("".join(pieces))
print("\nthe first pieces:", pieces[:6])
assert "\n\n" not in "".join(pieces)

# %% [markdown]
# Juliet speaks, and is silent when her speech is over. `python -m lib.generate` prints
# these pieces as they come.

# %% [markdown]
# ## Check
#
# ### With a cache = without
#
# Read a window one character at a time. At all 64 places the probabilities must be
# those of a single pass. Rounding differs a little, because the products are made in
# another order. So try it once more with numbers of twice the digits (`double`), where
# the difference must all but vanish.

# %%
import copy

for writer, limit in ((model, 1e-5), (copy.deepcopy(model).double(), 1e-12)):
    caches = writer.new_cache()
    with torch.no_grad():
        steps = [writer(window[:, [t]], caches) for t in range(64)]
        one_by_one, at_once = torch.cat(steps, dim=1), writer(window)
    difference = (one_by_one.softmax(-1) - at_once.softmax(-1)).abs().max().item()
    print(f"{at_once.dtype}: probabilities agree to {limit}:", difference < limit)
    assert difference < limit

# %% [markdown]
# Then the text: three prompts side by side, 150 characters, which is many moves of the
# window. And the library's own `generate`, too.

# %% tags=["same:generate.stream", "proof"]
from lib import generate as library

openings = ("ROMEO:\nI ", "GREMIO:\nO", "My lord, ")
prompts = torch.cat([encode(text) for text in openings])  # (3, 9)
cached = generate(model, prompts, 150, temperature=0)
uncached = generate(model, prompts, 150, use_cache=False, temperature=0)
moves = {window_start(length, 64) for length in range(9, 159)} - {0}
claim(torch.equal(cached, uncached), "with a cache it writes what it writes without")
print("the same text over", len(moves), "moves")
assert torch.equal(library.generate(model, prompts, 150, temperature=0), cached)

# %% [markdown]
# ### Top-p keeps the smallest set
#
# A slow version that nobody can doubt: take the sizes 1, 2, 3, ... and stop at the first
# whose likeliest tokens reach `p`. Compare on random rows, from flat to peaked.


# %%
def smallest_set(row, p):
    likeliest = row.softmax(dim=-1).sort(descending=True)
    for size in range(1, len(row) + 1):
        if likeliest.values[:size].sum() >= p:
            break
    return set(likeliest.indices[:size].tolist())


generator, n_rows = torch.Generator().manual_seed(0), 0
for p in (0.1, 0.5, 0.9, 0.99):
    for spread in (0.1, 1, 10):
        rows = spread * torch.randn(50, 20, generator=generator)
        for row, kept in zip(rows, keep_top_p(rows, p).isfinite()):
            assert set(kept.nonzero().flatten().tolist()) == smallest_set(row, p)
            n_rows += 1
print("the smallest set on", n_rows, "rows")

# %% [markdown]
# ### The classic bug: the position of the newest token
#
# With a cache the model no longer sees how long the past is: somebody has to tell it.
# It is easy to be wrong by one. Ask the cache for its length *after* the new token was
# appended, and each token stands one place too far on; take the last position for the
# length, and it is one too few. Or forget `start` altogether: each token stands at
# position 0. Nothing crashes, until the window is full. Put a false `start` into the
# model, and read the speech one character at a time.


# %%
class WrongPositions(nn.Module):
    def __init__(self, positions, change):
        super().__init__()
        self.positions, self.change = positions, change

    def forward(self, x, start=0):
        return self.positions(x, self.change(start))


@torch.no_grad()
def read_with_cache(ids, change):
    right, model.positions = model.positions, WrongPositions(model.positions, change)
    caches = model.new_cache()
    try:
        logits = [model(ids[:, [t]], caches) for t in range(ids.size(1))]
    finally:
        model.positions = right
    return torch.cat(logits, dim=1)  # (B, T, V)


# %% [markdown]
# Cut the speech into windows of 63 characters, one below the context: one place too far
# on, the last character of a full window would have no position.
# (Other windows, and the last characters are left out: so the right loss is not quite
# that of the beginning.) Each bug is a function of `start`.

# %%
from lib.evaluate.losses import cross_entropy

n_windows = (len(speech) - 1) // 63
inputs = speech[: n_windows * 63].view(-1, 63)
targets = speech[1 : n_windows * 63 + 1].view(-1, 63)
changes = {
    "right": lambda start: start,
    "one too few": lambda start: max(start - 1, 0),
    "one too many": lambda start: start + 1,
    "always 0": lambda start: 0,
}

# %%
bug_losses = {}
for name, change in changes.items():
    read = read_with_cache(inputs, change)
    bug_losses[name] = cross_entropy(read, targets).item()
    same = torch.allclose(read, model(inputs), atol=1e-4)
    cost = bug_losses[name] - bug_losses["right"]
    print(f"{name:13} {bug_losses[name]:.2f} nats ({cost:+.3f}), same logits: {same}")
    assert same == (name == "right")
right, *by_one, always_0 = bug_losses.values()
claim(always_0 > right + 0.3, "position 0 for all costs much")
claim(max(abs(loss - right) for loss in by_one) < 0.1, "wrong by one costs little")

# %% [markdown]
# The comparison with the right logits finds each of the three at once. The loss finds
# only the last, which costs a whole nat. Being wrong by one costs a few hundredths:
# text that stands one place further on is still text. You would not see that
# in a curve, nor in what the model writes. **So hold a cache against the model without
# it.**
#
# ### The second bug: an empty set
#
# It is tempting to write top-p with the sum itself: drop what lies at or beyond `p`.


# %%
def wrong_top_p(logits, p):
    order = logits.argsort(dim=-1, descending=True, stable=True)
    sums = logits.gather(1, order).softmax(dim=-1).cumsum(dim=-1)
    drop = torch.zeros_like(sums, dtype=torch.bool).scatter(1, order, sums >= p)
    return logits.masked_fill(drop, -math.inf)


show("right, p = 0.9", keep_top_p(logits, 0.9))
show("wrong, p = 0.9", wrong_top_p(logits, 0.9))
show("wrong, p = 0.4", wrong_top_p(logits, 0.4))
assert wrong_top_p(logits, 0.4).softmax(-1).isnan().all()

# %% [markdown]
# With 0.9 the text would be a little too tame: the token that reaches `p` is missing.
# With 0.4 the first token reaches it alone, nothing is left, and the softmax of an empty
# set is NaN, "not a number". How often does that happen to a real model?

# %%
with torch.no_grad():
    read = model(inputs).flatten(0, 1)  # (N, V)
empty = wrong_top_p(read, 0.9).isinf().all(dim=-1).float().mean().item()
print(f"nothing left at {empty:.0%} of the characters of the speech")
claim(empty > 0.03, "the set is empty far too often")

# %% [markdown]
# Far too often: at each place where the model is more than nine tenths sure. A short test on
# flat random logits would never show it.

# %% [markdown]
# ## Look
#
# ### What the settings do to one prediction
#
# The twelve likeliest characters after `My lord, I `, one row for each setting.

# %% mystnb={"image": {"alt": "Heat map with five rows, one per setting, and twelve characters as columns. As it is: blue cells that fade to the right. Temperature 0.5: the first cells darker, the last pale. Temperature 2: all of a middle blue and nearly equal. Top-k 3: three dark cells, then white. Top-p 0.6: a few dark cells, then white."}}
from lib.show import plot

z = next_logits("My lord, I ")
settings = {
    "as it is": z,
    "temperature 0.5": z / 0.5,
    "temperature 2": z / 2,
    "top-k 3": keep_top_k(z, 3),
    "top-p 0.6": keep_top_p(z, 0.6),
}
top = z[0].argsort(descending=True)[:12]
rows = torch.stack([changed.softmax(-1)[0, top] for changed in settings.values()])
characters = plot.visible(list(tokenizer.decode(top.tolist())))
assert (rows[:3] > 0).all() and (rows[3:, -1] == 0).all()
axes = ("next character", "")
plot.heat_map(rows, [*settings], characters, *axes, size=(7.5, 3.2), gamma=0.4)

# %% [markdown]
# *Temperature changes all probabilities and sets none to 0. Top-k and top-p cut off the
# tail (only 0 is white), and share it out among those that stay.*

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider


def draw(temperature):
    heights = (z / temperature).softmax(-1)[0, top].tolist()
    bars = dict(zip(characters, heights))
    return plot.bar_chart(bars, "next character", "probability", top=1)


def describe(temperature):
    best = (z / temperature).softmax(-1).max()
    return f"At temperature {temperature} the likeliest character has {best:.0%}."


coldest, hottest = ((z / t).softmax(-1)[0, top] for t in (0.1, 4.0))
claim(coldest[0] > 0.9, "near 0 one bar has almost everything")
claim(max(hottest) < min(0.1, 2 * min(hottest)), "at 4 all are low and nearly equal")
temperatures = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0]
slider(draw, temperatures, "temperature", alt=describe, start=4)

# %% [markdown]
# *Move the slider: near 0 one bar has almost everything, which is nearly greedy; at 4
# all are low, and the first is less than twice as high as the twelfth.*
#
# ### What a text costs
#
# The work for each character of a text of 200, counted. Without a cache the whole
# window is read each time. With one, the newest token alone, and the window after a
# move.

# %%
work = {"without a cache": [], "with a cache": []}
last, n_characters = 0, 200
for length in range(1, n_characters + 1):
    start = window_start(length, 64)
    n_read = length - start
    work["without a cache"].append(multiply_adds(n_read, n_read))
    n_new = 1 if start == last else n_read
    work["with a cache"].append(multiply_adds(n_new, n_read))
    last = start
total = {name: sum(counts) for name, counts in work.items()}
saving = total["without a cache"] / total["with a cache"]
print(f"in all: {saving:.1f} times less work with a cache")
assert saving > 8

# %% mystnb={"image": {"alt": "Two lines over 200 characters, logarithmic axis. Without a cache the work climbs to about forty million multiply-adds and then moves in saw teeth just below. With a cache it stays near six hundred thousand, with a narrow peak at every move of the window, 16 characters apart."}}
places = range(1, n_characters + 1)
figure = plot.line_chart(work, "character number", "multiply-adds", x=places, log=True)
figure.axes[0].set(ylim=(3e5, 4e8))
figure

# %% [markdown]
# *With a cache each character costs about as much as the first one. The peaks are the
# moves of the window, where all that was kept is lost.*

# %% [markdown]
# ## Experiment: how much faster
#
# Work is not time: a processor multiplies a large matrix better than many small ones,
# and Python takes its share for every token. So count first, and then measure.
#
# A text is written from one move of the window to the next. With a cache that takes
# one reading of a window and then single characters, without one a reading of the whole
# window for each. Count both at context 64, then at 256.


# %%
def work_saved(context_length):
    c = preset_config("mini", context_length=context_length)
    lengths = range(context_length * 3 // 4 + 1, context_length + 1)  # 49 to 64
    slow = sum(multiply_adds(n, n, c) for n in lengths)
    fast = [multiply_adds(lengths[0] if n == lengths[0] else 1, n, c) for n in lengths]
    return slow / sum(fast)


saved = {context_length: work_saved(context_length) for context_length in (64, 256)}
for context_length, times in saved.items():
    print(f"context {context_length}: {times:.1f} times less work")
assert saved[256] > saved[64]

# %% [markdown]
# How much of that do you expect in time? Measure it on *your* machine. The weights are
# random: the time does not depend on them. The first steps are slow, so they are not
# counted. `measure` returns how many times as fast it is with a cache as without.

# %%
import time

from lib.models.gpt import GPT


@torch.no_grad()
def measure(context_length):
    writer = GPT(preset_config("mini", context_length=context_length)).eval()
    ids = torch.zeros(1, context_length * 3 // 4 + 1, dtype=torch.long)
    seconds = []
    for use_cache in (False, True):
        generate(writer, ids, 2, use_cache=use_cache, temperature=0)
        start = time.perf_counter()  # then up to the next move of the window
        generate(writer, ids, context_length // 4, use_cache=use_cache, temperature=0)
        seconds.append(time.perf_counter() - start)
    slow, fast = seconds
    return slow / fast


# %%
ratios = {context_length: measure(context_length) for context_length in saved}

# %% [markdown]
# The numbers of your machine are in `ratios`: print them. (This page does not: they are
# others on each machine, and at each run.) Expect two things. The saving in time is much
# smaller than the saving in work, because a model as small as ours spends most of its
# time on other things than multiplying. And the longer the context, the more it saves.
# The [benchmarks](../book/benchmarks.md) measure it with care, on a larger model.

# %% [markdown]
# ## Experiment: likely text and good text
#
# Which setting writes best? There is no single number for that, but two numbers say a
# lot. How *surprised* is the model by a text: its loss on it. And how *varied* is a
# text: the share of its pieces of four characters that are different from each other.
# Measure both on the speech from *Hamlet*, then on what the model writes, in eight
# texts of the same length for each setting.


# %%
def variety(ids, n=4):
    pieces = ids.unfold(0, n, 1)  # (N - n + 1, n): all pieces of n tokens
    return len(pieces.unique(dim=0)) / len(pieces)


starts = torch.cat([encode("\n" + letter) for letter in "ABCGHKLM"])
SETTINGS = {
    "greedy": {"temperature": 0},
    "greedy, penalty 1.3": {"temperature": 0, "repetition_penalty": 1.3},
    "temperature 0.5": {"temperature": 0.5},
    "temperature 1": {},
    "temperature 1.5": {"temperature": 1.5},
    "top-k 5": {"top_k": 5},
    "top-p 0.9": {"top_p": 0.9},
}


# %% tags=["measured"]
table, examples = {"Shakespeare": (speech_loss, variety(speech))}, {}
for name, how in SETTINGS.items():
    generator = torch.Generator().manual_seed(0)
    texts = generate(model, starts, len(speech) - 2, generator=generator, **how)
    losses = [estimate_loss(model, text, 64) for text in texts]
    table[name] = (sum(losses) / 8, sum(variety(text) for text in texts) / 8)
    examples[name] = tokenizer.decode(texts[7, :90])
for name, (loss, share) in table.items():
    print(f"{name:20} surprise {loss:.2f} nats, variety {share:.2f}")

# %% [markdown]
# Compare each line with the first. The greedy text is much likelier than
# Shakespeare's, and far less varied. **Likely text is not good text**:
# nobody says the likeliest thing all the time, for that would tell nobody anything. Hot
# text fails on the other side. Nearest to Shakespeare's surprise is temperature 1, where
# the model says what it believes, unchanged.
#
# The penalty helps the greedy text, but not enough. It was made for
# vocabularies of many thousand pieces of words. Here the tokens are characters: after a
# few lines nearly every letter was there before. And a penalty on *all* tokens leaves
# their order as it is: greedy choice takes what it would take without.
#
# These are the relations. Then read what the numbers cannot say: whether the words are
# words.

# %%
surprise, varied = ({name: row[i] for name, row in table.items()} for i in (0, 1))
people, likely = surprise["Shakespeare"], surprise["greedy"]
claim(likely < people - 0.3, "greedy text is much likelier than Shakespeare's")
claim(varied["greedy"] < varied["Shakespeare"] - 0.3, "and far less varied")
claim(surprise["temperature 1.5"] > people + 0.3, "hot text is too surprising")
helped = varied["greedy"] < varied["greedy, penalty 1.3"] < varied["Shakespeare"] - 0.2
claim(helped, "the penalty helps the greedy text, but not enough")
gaps = {name: abs(surprise[name] - people) for name in SETTINGS}
claim(min(gaps, key=gaps.get) == "temperature 1", "temperature 1 comes nearest")

# %% [markdown]
# And top-p, top-k, and the penalty on all tokens:

# %%
between = likely < surprise["top-p 0.9"] < surprise["temperature 1"]
claim(between, "top-p is less surprising than temperature 1")
near = all(abs(a - b) < 0.1 for a, b in zip(table["top-p 0.9"], table["top-k 5"]))
claim(near, "these two numbers do not separate top-k and top-p")
every = torch.arange(config.vocab_size).expand_as(read)
assert penalize_repetition(read, every, 1.3).argmax(-1).equal(read.argmax(-1))

# %% tags=["sample"]
for name in ("greedy", "temperature 0.5", "top-p 0.9", "temperature 1.5"):
    print(f"{name}: {examples[name]!r}\n")

# %% [markdown]
# Which of them to take is a matter of what you want: cold for spelling, warm for ideas.
# Top-p lies between: its text is less surprising than that of temperature 1, because the
# tail is gone, and about as varied as Shakespeare's. So is that of top-k: these two
# numbers do not separate the two rules here.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You set <code>top_k=1</code> and a temperature of 5. What does the model write?</summary>
#
# What greedy writes. Only one token is left, and heat cannot change the order: it
# divides all logits by the same number.
#
# </details>
#
# <details><summary>Someone adds 10 to all logits. Temperature, top-k, top-p, penalty: which of the four gives another distribution than before?</summary>
#
# Only the penalty. The softmax does not notice a constant, and neither do differences
# and orders. But the penalty divides or multiplies, depending on the sign of the logit,
# and that depends on where zero is, which means nothing to the model. It is a rule of thumb.
#
# </details>
#
# <details><summary>You double the context. What happens to the cache, and to the work for one new token?</summary>
#
# The cache doubles. The work grows by a few percent only: with $D = 128$ most of it is
# in the matrices, which do not care about the past. The next cell counts.
# <!-- from: the-question "128 wide" -->
#
# </details>
#
# <details><summary>Does <code>top_p=1.0</code> change anything?</summary>
#
# Nothing. All tokens are needed to reach 1, so `keep_top_p` gives the logits back as they
# are. (Otherwise rounding could drop a very unlikely one.)
#
# </details>

# %%
prompt = encode("ROMEO:\n")
hot = generate(model, prompt, 100, temperature=5.0, top_k=1)
assert torch.equal(hot, generate(model, prompt, 100, temperature=0))
print("top-k 1 at temperature 5 is greedy")

seen = torch.tensor([[0]])
changes = {
    "temperature": lambda z: z / 2,
    "top-k": lambda z: keep_top_k(z, 2),
    "top-p": lambda z: keep_top_p(z, 0.9),
    "penalty": lambda z: penalize_repetition(z, seen, 2.0),
}
for name, rule in changes.items():
    before, after = rule(logits).softmax(-1), rule(logits + 10).softmax(-1)
    print(f"{name:12} the same after adding 10: {torch.allclose(before, after)}")
    assert torch.allclose(before, after) == (name != "penalty")

# %%
growth = multiply_adds(1, 128) / multiply_adds(1, 64) - 1
print(f"work for one token, context 128 instead of 64: {growth:+.1%}")
print("top-p 1.0 drops", keep_top_p(read, 1.0).isinf().sum().item(), "tokens")
assert growth < 0.1 and torch.equal(keep_top_p(read, 1.0), read)

# %% [markdown]
# ## Exercises

# %%
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
# Given `probabilities` of shape `(B, V)`, each row with a sum of 1 in any order, and
# `p` above 0 and below 1, return how many tokens top-p keeps in each row (a sum equal
# to `p` is enough): an integer tensor of shape `(B,)`.
#
# <details><summary>Hint</summary>
#
# Sort each row, largest first, and add up. How many of the sums are still below `p`?
# One more token than that is needed.
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
# *Min-p* is a younger rule. It keeps a token if its probability is at least `min_p`
# times that of the likeliest token of its row. Where the model is sure the bar is high,
# where it is not the bar is low. Given `logits` of shape `(B, V)` and `min_p` above 0
# and at most 1, return new logits `(B, V)`: minus infinity for what falls away, the rest
# unchanged. Leave the given logits as they are.
#
# <details><summary>Hint</summary>
#
# The softmax of each row, and its largest entry with `keepdim=True`. `masked_fill`
# takes a mask that is True where the value shall be replaced.
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
# A server has `n_bytes` of memory left for caches, and writes texts side by side, each
# up to the full context. Given a `GPTConfig` (its `n_kv_heads` may be None, which means
# as many as `n_heads`) and the bytes of one number (4 for float32, 2 for bfloat16),
# return how many whole texts fit: an integer, perhaps 0.
#
# <details><summary>Hint</summary>
#
# The formula for the bytes of a cache, for one text. A head has
# `config.d_model // config.n_heads` numbers, however many heads share them.
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
# A batch of texts does not end all at once. Write on greedily from `ids`, shape
# `(B, T)`. When a row has chosen the token `stop_id`, it is done: from then on it gets
# `stop_id` again and again. A `stop_id` in the prompt does not count. Stop when all rows
# are done, or after `n_new` tokens. Return prompts and new tokens: `(B, T + n)`, where
# $n$ is the number of steps that were needed, at most `n_new`. Feed each token to the
# model only once: use `model.new_cache()`. You may assume that `T + n_new` fits into the
# context, and that `n_new` is at least 1.
#
# <details><summary>Hint</summary>
#
# Keep a bool tensor `done` of shape `(B, 1)`. `torch.where(done, stop_id, chosen)`
# replaces what finished rows have chosen. Read the whole prompt first; from
# then on give the model only the column of tokens that you have just appended.
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
# - You built the **rules of choice**: greedy, temperature, top-k, top-p and a penalty.
#   By hand top-p kept three of five words; behind `My lord, I wil` it keeps 1 character
#   of 65.
#   <!-- from: top-p "it keeps" -->
# - You saw **greedy choice run in a circle**. Its text is likelier than Shakespeare's,
#   and far less varied.
# - You built a **cache of keys and values**. With it the newest character costs 64
#   times less work in a full window, and a text of 200 characters 15.5 times less. In
#   time it saves less, and more the longer the context. It writes the same text, over 6
#   moves of the window.
#   <!-- from: why-it-is-slow "assert full" -->
#   <!-- from: what-a-text-costs "n_characters = 0" -->
#   <!-- from: what-a-text-costs "in all" -->
# - You saw its **price**: memory that grows with the context, 75 MB for one text of
#   the smallest GPT-2. Shared key and value heads make it smaller.
#   <!-- from: an-attention-that-remembers "gpt2:" -->
# - You saw two **bugs**: a position that is wrong by one, which the loss hardly sees and
#   the comparison without a cache finds at once; and a top-p that drops the token which
#   reaches `p`, until nothing is left.
#
# What is still wrong: it reads and writes one character at a time. 64 characters are
# about twelve words, so after two lines the model has forgotten who is speaking. And it
# spends most of its steps inside words, where there is less to decide. It should read
# larger pieces: lesson 14.
# <!-- from: the-question "characters of context" -->
#
# The library entries of what you built:
# [keep_top_k, keep_top_p, penalize_repetition, sharpen and choose_next](../book/api.md#generatesampling),
# [KVCache and MultiHeadAttention](../book/api.md#attention),
# [window_start, stream, generate and stream_text](../book/api.md#generate).

# %% [markdown]
# ## To read
#
# - Holtzman et al. (2020), *The Curious Case of Neural Text Degeneration*, sections 3
#   and 4: why the likeliest text is a bad text, and top-p. Look at the figure that
#   compares the probabilities of people's words with those of a machine's.
# - Fan, Lewis and Dauphin (2018), *Hierarchical Neural Story Generation*, section 5.4:
#   top-k, in one paragraph.
# - Keskar et al. (2019), *CTRL*, section 4.1: the penalty.
# - Shazeer (2019), *Fast Transformer Decoding: One Write-Head is All You Need*, section
#   2.4: what reading one token at a time costs; section 3: keys and values that heads
#   share.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
