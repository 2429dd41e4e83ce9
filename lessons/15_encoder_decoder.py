# %% [markdown]
# # 15 · Encoder and decoder
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/15_encoder_decoder.ipynb)
#
# Build the Transformer of the paper that started it all.
#
# - **You will build** the encoder, the decoder, the cross-attention between them, and
#   the whole model of "Attention Is All You Need".
# - **You will see** a small one learn to write words backwards, and the line of its
#   attention that runs from corner to corner.
# - **Needs** lessons [07](07_multi_head_attention.ipynb),
#   [09](09_transformer_block.ipynb) and [13](13_generation.ipynb).
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
# You have all of GPT-2, and with lesson [14](14_tokenization.ipynb) its tokens, too. It
# does one thing: it goes on. Every position sees its past and nothing else, because in a
# text that is being written the future does not exist yet.
#
# Many tasks are different. *Turn this sequence into that one*: an English sentence into
# a French one, a question into an answer, a word into the same word backwards. Here the
# input is **complete** before you write the first letter of the output. Nothing in it
# has to be hidden: its first token may look at its last. The output is still written
# from left to right, and it has a length of its own.
#
# So two different readers are needed, and a bridge between them. (A GPT can do such
# tasks, too, if you put the input in front of the output. Then it reads the input from
# left to right only. Exercise 2 is about the way in between.)

# %% [markdown]
# ## By hand
#
# ### Looking at another sequence
#
# The bridge is [cross-attention](../book/glossary.md#cross-attention): the queries come
# from the sequence that is written, the *target*; the keys and values come from the one
# that was read, the *source*. Two target positions, three source positions, and all
# vectors have a single number, so that you can compute on paper. The queries are
# $-\ln 2$ and $\ln 2$, the keys 0, 1, 2, the values 7, 14, 21.
#
# The score of a query and a key is their product, and $e^{\ln 2 \cdot k} = 2^k$. The
# second query therefore gives the three keys the weights 1, 2, 4, and their sum is 7.
# The first gives them 1, 1/2, 1/4. Its mix is $(4 \cdot 7 + 2 \cdot 14 + 1 \cdot 21) / 7
# = 11$. Do the other one, then look.

# %%
import math

import torch
from torch import Tensor, nn

from lib.attention import attention_weights

q = torch.tensor([[-math.log(2)], [math.log(2)]])  # (T, 1): two queries
k = torch.tensor([[0.0], [1.0], [2.0]])  # (S, 1): three keys
v = torch.tensor([[7.0], [14.0], [21.0]])  # (S, 1)
weights = attention_weights(q, k)  # (T, S)
print("weights times 7:", [[round(7 * w) for w in row] for row in weights.tolist()])
print("mixes:", [round(mix) for mix in (weights @ v).flatten().tolist()])
assert torch.allclose(weights @ v, torch.tensor([[11.0], [17.0]]))

# %% [markdown]
# The weights have two rows and three columns: one row for each target position, one
# column for each source position. Each row sums to 1. There is no causal mask: both
# rows see all three columns.
#
# ### The target, twice
#
# To train the part that writes, you need the target twice: once to read and once to
# predict, **shifted by one**. Three [special
# tokens](../book/glossary.md#special-token) help: `<bos>` (beginning of sequence) is
# what the writer reads before it has written anything, `<eos>` (end of sequence) is how
# it says that it is done, and `<pad>` fills short rows up.

# %%
PAD, BOS, EOS = 0, 1, 2
source = ["d", "o", "t", "<eos>"]
target = ["<bos>", "t", "o", "d", "<eos>"]
print("the encoder reads:   ", *source)
print("the decoder reads:   ", *[f"{token:6}" for token in target[:-1]])
print("it shall predict:    ", *[f"{token:6}" for token in target[1:]])

# %% [markdown]
# Read the last two lines column by column: after `<bos>` comes `t`, after `t` comes
# `o`, after `d` comes the end. It is the shift that you know from language models, with
# a start and an end. The decoder gets the *right* beginning, whatever it would have
# written itself. This is called [teacher
# forcing](../book/glossary.md#teacher-forcing), and because of it all columns can be
# trained at once.

# %% [markdown]
# ## The formula
#
# The **[encoder](../book/glossary.md#encoder)** turns the source into the *memory* $M$,
# one vector per token. Cross-attention in the
# **[decoder](../book/glossary.md#decoder)** takes its queries from the decoder's own
# vectors $x$, and keys and values from $M$:
#
# $$q = x W_q \qquad k = M W_k \qquad v = M W_v$$
#
# $$\text{CrossAttention}(x, M) = \operatorname{softmax}\!\left(\frac{q k^\top}{\sqrt{D_h}}\right) v \, W_o$$
#
# Source and target tokens become vectors by tables of their own, multiplied by
# $\sqrt{D}$, plus positions:
#
# $$x_t = \sqrt{D} \, E[\text{token}_t] + P_t$$
#
# The decoder predicts each target token $y_t$ from those before it and from the whole
# source $s$. The loss is the mean over all tokens that are not padding, $N$ in all:
#
# $$L = -\frac{1}{N} \sum_{t} \ln p(y_t \mid y_0, \ldots, y_{t-1}, s)$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $s$ | `(B, S)` | source tokens, S in a row |
# | $y$ | `(B, T)` | target tokens; $y_0$ is `<bos>` |
# | $M$ | `(B, S, D)` | the memory: what the encoder made of the source |
# | $q$ | `(B, H, T, Dh)` | queries, from the target |
# | $k$, $v$ | `(B, H, S, Dh)` | keys and values, from the memory |
# | weights | `(B, H, T, S)` | how much each target position takes from each source position |
# | $E$ | `(V, D)` | the table of token vectors, one for the source, one for the target |
# | $P$ | `(T, D)` or `(S, D)` | the sines of lesson [05](05_positions.ipynb) |
#
# (Here $T$ counts the tokens that the decoder is given. In training it is given the
# target without its last token: one less.)
#
# Where it stands in Vaswani et al. (2017): encoder and decoder in section 3.1, the three
# uses of attention in section 3.2.3, $\sqrt{D}$ and the tied head in section 3.4,
# figure 1 for the whole.
#
# Why $\sqrt{D}$? The paper gives no reason; here is one. The table of the target is also
# the head (it is *tied*), and a head is drawn with small numbers, of size
# $1 / \sqrt{D}$, so that the first logits are small. The sines have a size near 1.
# Without the factor the positions would drown the tokens. (The table of the source is
# no head. It is drawn in the same way.)

# %% [markdown]
# ## Build
#
# ### The task: words backwards
#
# Ten letters, words of three to eight of them, drawn at random. `stone` shall become
# `enots`. The task is small enough for seconds of training, and it needs all of the
# machine: to write the first letter the model must have seen where the word ends.

# %%
LETTERS = "adeilnorst"
TOKENS = ["<pad>", "<bos>", "<eos>", *LETTERS]
V = len(TOKENS)


def encode(word):
    return [TOKENS.index(letter) for letter in word] + [EOS]


def decode(ids):
    return "".join(TOKENS[i] for i in ids if i not in (PAD, BOS, EOS))


print("stone:", encode("stone"), "->", decode(encode("stone")))
print("vocabulary:", V, "tokens")

# %% [markdown]
# Random words, from a generator. 500 of them are set aside, doubles count once; training
# will never see them.

# %%
generator = torch.Generator().manual_seed(1)


def random_words(n_words, generator):
    lengths = torch.randint(3, 9, (n_words,), generator=generator).tolist()
    rows = [torch.randint(10, (length,), generator=generator) for length in lengths]
    return ["".join(LETTERS[i] for i in row.tolist()) for row in rows]


unseen = sorted(set(random_words(500, generator)))
print(len(unseen), "words set aside:", *unseen[::100])

# %% [markdown]
# ### Rows of unequal length
#
# A batch is a box. An optional section of lesson [07](07_multi_head_attention.ipynb)
# built the mask that keeps attention away from [padding](../book/glossary.md#padding);
# here is the function that puts the padding in. `torch.full` makes a tensor of one
# value, and the loop writes each row over its beginning.

# %% tags=["lib:text.tokenizer.pad_batch"]
from collections.abc import Sequence


def pad_batch(rows: Sequence[Sequence[int]], pad_id: int = 0) -> Tensor:
    if not rows:
        raise ValueError("rows=[] is empty; a batch needs one row or more")
    batch = torch.full((len(rows), max(map(len, rows))), pad_id)
    for filled, row in zip(batch, rows):
        filled[: len(row)] = torch.tensor(row, dtype=torch.long)
    return batch


# %%
print(pad_batch([encode("dot"), encode("stone")]))


def make_batch(words):
    sources = [encode(word) for word in words]
    targets = [[BOS, *encode(word[::-1])] for word in words]
    return pad_batch(sources), pad_batch(targets)


# %% [markdown]
# Every row of a source ends with `<eos>`, then comes padding. `make_batch` gives sources
# `(B, S)` and targets `(B, T)`; `word[::-1]` is the word backwards. Here $T$ is $S + 1$,
# but nothing in the model will need that.
#
# ### The encoder
#
# The encoder is a stack of blocks as in lesson [09](09_transformer_block.ipynb). What
# makes it an encoder is what is *not* there: no causal mask. The only mask that it gets
# is for the padding.
#
# Two details. With `pre_norm=False` each block normalises after adding, as the paper
# does, and there is no norm at the end: `nn.Identity` hands on what it gets. (A stack
# that is used alone is pre-norm by default.) And `F.relu` is the bend of the paper; GELU
# came later.
#
# Encoder and decoder are made of the same blocks, so `_Stack` makes them for both. Only
# a decoder has a memory to look at; its blocks get a second attention, `cross`, which
# comes further down. An encoder leaves that slot of the block empty.

# %% tags=["lib:models.encoder_decoder._Stack"]
from torch.nn import functional as F

from lib.attention import MultiHeadAttention
from lib.block import Block
from lib.ffn import FeedForward
from lib.norm import LayerNorm
from lib.shapes import require_sizes


class _Stack(nn.Module):
    has_memory = False  # whether the blocks look at what an encoder read

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_ff: int,
        dropout: float = 0.0,
        pre_norm: bool = True,
        attention_bias: bool = False,
    ) -> None:
        super().__init__()
        require_sizes(d_model=d_model, n_layers=n_layers)
        blocks = []
        for _ in range(n_layers):
            attention = MultiHeadAttention(d_model, n_heads, bias=attention_bias)
            cross = None
            if self.has_memory:
                cross = MultiHeadAttention(d_model, n_heads, bias=attention_bias)
            ffn = FeedForward(d_model, d_ff, F.relu)
            blocks.append(Block(attention, ffn, cross, pre_norm, dropout=dropout))
        self.blocks = nn.ModuleList(blocks)
        self.final_norm = LayerNorm(d_model) if pre_norm else nn.Identity()


# %% tags=["lib:models.encoder_decoder.Encoder"]
class Encoder(_Stack):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.final_norm(x)


# %% [markdown]
# Change the *last* vector of five. How many of the five outputs notice? Once without a
# mask, once with the causal mask of a GPT.

# %%
from lib.attention import causal_mask

torch.manual_seed(0)
encoder = Encoder(d_model=16, n_heads=2, n_layers=1, d_ff=32)
x = torch.randn(1, 5, 16)
changed = x.clone()
changed[0, 4] = torch.randn(16)
for name, mask in (("no mask", None), ("causal mask", causal_mask(5))):
    difference = (encoder(x, mask) - encoder(changed, mask)).abs().amax(dim=-1)[0]
    print(f"{name:12} outputs that notice: {(difference > 1e-5).int().tolist()}")
    assert (difference > 1e-5).sum() == (5 if mask is None else 1)

# %% [markdown]
# In an encoder everyone hears of it. With the causal mask, only the last one.
#
# ### Cross-attention
#
# The library's `MultiHeadAttention` can do it: pass a `memory`, and keys and values come
# from there. While the decoder writes, `x` changes at every step, but the memory does
# not. Its keys and values need to be computed **once**: that is `read`. You may pass what
# it returns in place of the memory: a tensor is projected, a pair of keys and values is
# used as it is.

# %%
cross = MultiHeadAttention(d_model=16, n_heads=2)
x, memory = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
fresh, weights = cross(x, memory=memory, need_weights=True)
kept, _ = cross(x, memory=cross.read(memory))
print("output", tuple(fresh.shape), "weights", tuple(weights.shape))
print("read once, the same output:", torch.allclose(fresh, kept, atol=1e-6))
assert torch.allclose(fresh, kept, atol=1e-6)

# %% [markdown]
# Three target positions, five source positions: weights `(1, 2, 3, 5)`, for each of the
# two heads a table like the one by hand.
#
# ### The decoder
#
# A block of the decoder has **three** parts. Lesson [09](09_transformer_block.ipynb)
# left a slot open for the one in the middle:
#
# ```
# x --> self-attention --> cross-attention --> feed-forward --> x
#       (its own past)     (the memory)        (on its own)
# ```
#
# `has_memory = True` puts it there. Look at `forward`. `is_causal=True` stands for a causal
# mask in the self-attention, for the decoder writes from left to right. With a
# [cache](../book/glossary.md#kv-cache) for each block, `x` goes on where the cache ends.
# The `memory_mask` hides the padding of the source. `Pairs` is the type of what `read`
# returns: keys and values, for each block.

# %% tags=["lib:models.encoder_decoder.Decoder"]
from lib.attention import KVCache

Pairs = list[tuple[Tensor, Tensor]]  # keys and values of a source, for each block


class Decoder(_Stack):
    has_memory = True

    def forward(
        self,
        x: Tensor,
        memory: Tensor | Pairs,
        memory_mask: Tensor | None = None,
        cache: list[KVCache] | None = None,
    ) -> Tensor:
        n_layers = len(self.blocks)
        memories = [memory] * n_layers if isinstance(memory, Tensor) else memory
        caches = [None] * n_layers if cache is None else cache
        for block, source, own in zip(self.blocks, memories, caches, strict=True):
            x = block(x, None, source, memory_mask, is_causal=True, cache=own)
        return self.final_norm(x)

    def read(self, memory: Tensor) -> Pairs:
        return [block.cross_attention.read(memory) for block in self.blocks]

    def new_cache(self, context_length: int) -> list[KVCache]:
        return [KVCache(context_length) for _ in self.blocks]


# %% [markdown]
# The same test as for the encoder. Change the last of three target vectors, then the
# last of five memory vectors. Which outputs notice?

# %%
decoder = Decoder(d_model=16, n_heads=2, n_layers=1, d_ff=32)
x_last, memory_last = x.clone(), memory.clone()
x_last[0, 2] = torch.randn(16)
memory_last[0, 4] = torch.randn(16)
noticed = []
for name, inputs in (("target", (x_last, memory)), ("source", (x, memory_last))):
    difference = (decoder(x, memory) - decoder(*inputs)).abs().amax(dim=-1)[0]
    noticed.append((difference > 1e-5).int().tolist())
    print(f"last {name} changed, outputs that notice: {noticed[-1]}")
assert noticed == [[0, 0, 1], [1, 1, 1]]

# %% [markdown]
# The target is read from left to right, the source all at once.
#
# ### The configuration
#
# A dataclass as in lesson [10](10_gpt.ipynb). The defaults are the paper's *base* model,
# except the vocabularies and the context length.
# The odd line in `__post_init__` takes all fields that are whole numbers, except the
# three ids: these may be 0. Each id must exist in the vocabulary of the target, the
# padding also in that of the source, and the three must differ. (`require_between`
# refuses a number outside two bounds.)

# %% tags=["lib:models.encoder_decoder.TransformerConfig"]
from dataclasses import dataclass

from lib.shapes import require_between


@dataclass(frozen=True)
class TransformerConfig:
    src_vocab_size: int = 10_000
    tgt_vocab_size: int = 10_000
    d_model: int = 512
    n_heads: int = 8
    n_encoder_layers: int = 6
    n_decoder_layers: int = 6
    d_ff: int = 2048
    dropout: float = 0.1
    context_length: int = 512
    pre_norm: bool = False
    attention_bias: bool = False
    tie_weights: bool = True
    pad_id: int = 0
    bos_id: int = 1
    eos_id: int = 2

    def __post_init__(self) -> None:
        ids = ("pad_id", "bos_id", "eos_id")
        sizes = {n: v for n, v in vars(self).items() if type(v) is int and n not in ids}
        require_sizes(**sizes)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout} must lie in [0, 1)")
        for name in ids:
            largest = self.tgt_vocab_size - 1
            if name == "pad_id":
                largest = min(largest, self.src_vocab_size - 1)
            require_between(0, largest, **{name: getattr(self, name)})
        special = {name: getattr(self, name) for name in ids}
        if len(set(special.values())) < len(ids):
            raise ValueError(f"the special tokens {special} must differ")


# %%
for wrong in (dict(n_heads=0), dict(src_vocab_size=5, pad_id=5)):
    try:
        TransformerConfig(**wrong)
    except ValueError as error:
        print("ValueError:", error)

# %% [markdown]
# ### The Transformer
#
# Everything is there. `encode` reads the source and says where it holds tokens, `decode`
# gives the logits after each target token, `forward` does one after the other. `_embed`
# is the formula for $x_t$. The paper uses one matrix for both vocabularies and the head.
# Here the two vocabularies may differ, so only the target's table and the head are tied.
#
# The last method is for writing, which comes below: `begin` prepares what `decode` needs.
# `_initialise`, the last line of `__init__`, follows at once.

# %% tags=["lib:models.encoder_decoder.Transformer"]
from lib.attention import padding_mask
from lib.position import SinusoidalPositions


class Transformer(nn.Module):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c = self.config = config
        self.source = nn.Embedding(c.src_vocab_size, c.d_model)
        self.target = nn.Embedding(c.tgt_vocab_size, c.d_model)
        self.positions = SinusoidalPositions(c.context_length, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        parts = (c.d_ff, c.dropout, c.pre_norm, c.attention_bias)
        self.encoder = Encoder(c.d_model, c.n_heads, c.n_encoder_layers, *parts)
        self.decoder = Decoder(c.d_model, c.n_heads, c.n_decoder_layers, *parts)
        self.head = nn.Linear(c.d_model, c.tgt_vocab_size, bias=False)
        if c.tie_weights:
            self.head.weight = self.target.weight
        _initialise(self)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        return self.decode(tgt, *self.encode(src))

    def encode(self, src: Tensor) -> tuple[Tensor, Tensor]:
        mask = padding_mask(src, self.config.pad_id)  # (B, 1, 1, S)
        return self.encoder(self._embed(self.source, src), mask), mask

    def decode(
        self, tgt: Tensor, memory: Tensor | Pairs, memory_mask: Tensor,
        cache: list[KVCache] | None = None,
    ) -> Tensor:  # fmt: skip
        x = self._embed(self.target, tgt, 0 if cache is None else cache[0].length)
        return self.head(self.decoder(x, memory, memory_mask, cache))

    def _embed(self, table: nn.Embedding, ids: Tensor, start: int = 0) -> Tensor:
        x = table(ids) * math.sqrt(self.config.d_model)
        return self.dropout(self.positions(x, start))

    def begin(self, src: Tensor, max_len: int) -> tuple[Pairs, Tensor, list[KVCache]]:
        require_between(1, self.config.context_length, max_len=max_len)
        memory, mask = self.encode(src)
        return self.decoder.read(memory), mask, self.decoder.new_cache(max_len)


# %% [markdown]
# ### The first weights
#
# Tables are drawn with a spread of $1 / \sqrt{D}$, which the factor $\sqrt{D}$ brings
# back to 1. All other matrices get *Xavier* weights: equally likely between two bounds
# that depend on the number of inputs and outputs, so that the size of the vectors stays
# about the same. (The paper does not say how it drew them. `torch.nn.Transformer` draws
# its matrices nearly so.)


# %% tags=["lib:models.encoder_decoder._initialise"]
@torch.no_grad()
def _initialise(model: Transformer) -> None:
    tables = {id(model.source.weight), id(model.target.weight)}
    for name, weight in model.named_parameters():
        if id(weight) in tables:
            nn.init.normal_(weight, std=model.config.d_model**-0.5)
        elif weight.dim() > 1:
            nn.init.xavier_uniform_(weight)
        elif name.endswith("bias"):
            nn.init.zeros_(weight)


# %% [markdown]
# Padding in the *target* needs no mask: it stands at the end, and the causal mask keeps
# everyone from looking ahead. The loss must leave it out, and will.
#
# ### Writing
#
# The source is read once: `begin` runs the encoder and keeps, for each block of the
# decoder, the keys and values of the source. Then one token at a time, as in lesson
# [13](13_generation.ipynb): the newest token goes in (`ids[:, -1:]`), the cache remembers
# the others. A row that has written `<eos>` gets padding from then on, and when all rows
# have ended, it is over. (`in_mode` of lesson [02](02_bigram.ipynb) puts the model into
# evaluation mode for a while.)

# %%
from lib.generate.sampling import choose_next
from lib.module import in_mode


# %% tags=["lib:generate.targets.generate_targets"]
@torch.no_grad()
def generate_targets(model: Transformer, src: Tensor, max_len: int = 50,
                     temperature: float = 0.8, **options) -> Tensor:  # fmt: skip
    c = model.config
    with in_mode(model, training=False):
        memory, mask, cache = model.begin(src, max_len)
        ids = src.new_full((len(src), 1), c.bos_id)
        ended = torch.zeros_like(ids, dtype=torch.bool)
        while ids.size(1) <= max_len and not ended.all():
            logits = model.decode(ids[:, -1:], memory, mask, cache)[:, -1]  # (B, V)
            logits[:, c.pad_id] = -math.inf  # it stands after the end only
            chosen = choose_next(logits, ids, temperature, **options)
            chosen = chosen.masked_fill(ended, c.pad_id)
            ids, ended = torch.cat([ids, chosen], dim=1), ended | (chosen == c.eos_id)
    return ids[:, 1:]


# %% [markdown]
# ### The paper's base model, counted
#
# On the device `meta` tensors have shapes and no numbers, so the large model costs
# nothing. Two vocabularies of 20,000 tokens. Without biases in the attention, a block of
# the encoder has $4 D^2$ numbers in its four projections, $2 D D_{ff} + D_{ff} + D$ in the
# feed-forward network and $2 \cdot 2 D$ in the two norms. Compare with the count.


# %%
def n_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


with torch.device("meta"):
    base = Transformer(TransformerConfig(20_000, 20_000))
D, d_ff = 512, 2048
encoder_block = 4 * D**2 + (2 * D * d_ff + d_ff + D) + 2 * 2 * D
print(f"one block of the encoder by the formula {encoder_block:,}")
print(f"six of them {6 * encoder_block:,}, counted {n_parameters(base.encoder):,}")
assert 6 * encoder_block == n_parameters(base.encoder) == 18_902_016

# %%
tables = 2 * 20_000 * D
print(f"decoder {n_parameters(base.decoder):,}, two tables {tables:,}")
print(f"all together {n_parameters(base):,}")
stacks = n_parameters(base.encoder) + n_parameters(base.decoder)
shared = stacks + 37_000 * D
print(f"both stacks {stacks:,}, with one table of 37,000: {shared:,}")
print(f"the paper's 65 million: about {(65_000_000 - shared) / 1e6:.0f} million more")
assert n_parameters(base) == stacks + tables == 64_581_632

# %% [markdown]
# 64,581,632 parameters. A block of the decoder is larger than one of the encoder: it has
# a second attention and a third norm. (Exercise 1 counts it.)
#
# The paper's table 3 says 65 million. That is not quite the same count: it had one
# vocabulary of about 37,000 tokens for both languages and one table for it. With our two
# stacks this makes 63,045,632. The paper does not say where the
# other 2 million or so are; 65 and 37,000 are rounded.

# %% [markdown]
# ### Teach it
#
# A tiny one, otherwise as in the paper: vectors of 32 numbers, one block of encoder, two
# of decoder, one head in each attention, so that there is one map to look at. The loss is the shifted one from
# above: the decoder reads `tgt[:, :-1]` and predicts `tgt[:, 1:]`. `F.cross_entropy`
# wants the vocabulary in dimension 1, hence `transpose`; `ignore_index` leaves the
# padding out of the mean.

# %%
SIZES = TransformerConfig(
    V, V, d_model=32, n_heads=1, n_encoder_layers=1, n_decoder_layers=2, d_ff=64,
    dropout=0.0, context_length=64,
)  # fmt: skip


def sequence_loss(model, src, tgt):
    logits = model(src, tgt[:, :-1])  # (B, T - 1, V)
    return F.cross_entropy(logits.transpose(1, 2), tgt[:, 1:], ignore_index=PAD)


class NextBatch:
    def __init__(self):
        self.generator, self.held_out = torch.Generator().manual_seed(0), set(unseen)

    def __call__(self):
        words = random_words(64, self.generator)
        return make_batch([word for word in words if word not in self.held_out])


# %% [markdown]
# While it trains, four numbers are kept for later, on the words set aside: the share of
# tokens that are right when the decoder reads the right beginning (`forced`) and when it
# reads what it has written itself (`free`), always taking the likeliest token; and in
# both ways the share of whole words without a mistake. (As in writing, `<pad>` is never
# chosen.)

# %%
src, tgt = make_batch(unseen)
tokens = tgt[:, 1:] != PAD  # (B, T - 1): where a token is asked for


@torch.no_grad()
def shares_right(model):
    logits = model(src, tgt[:, :-1])  # (B, T - 1, V)
    logits[..., PAD] = -math.inf
    forced = logits.argmax(dim=-1) == tgt[:, 1:]
    written = generate_targets(model, src, max_len=tokens.size(1), temperature=0)
    written = F.pad(written, (0, tokens.size(1) - written.size(1)))  # all as wide
    found = {"forced": forced, "free": written == tgt[:, 1:]}
    shares = {name: right[tokens] for name, right in found.items()}
    for name, right in found.items():
        shares[f"words, {name}"] = (right | ~tokens).all(dim=1)  # (B,)
    return {name: right.float().mean().item() for name, right in shares.items()}


# %% [markdown]
# (`F.pad` adds columns of zeros at the right.) Now 350 steps with the training loop of
# lesson [11](11_training.ipynb). Every 25 steps it calls `keep`, which returns the share
# of *wrong* words: the loop expects something that falls, such as a loss.

# %% tags=["measured"]
from lib.checks.claims import claim
from lib.train.settings import TrainConfig
from lib.train import Training, train

torch.manual_seed(0)
model = Transformer(SIZES)
how = {"learning_rate": 5e-3, "betas": (0.9, 0.98), "schedule": "linear"}
training = Training(model, TrainConfig(350, n_warmup=30, **how), sequence_loss)
history = []


def keep():
    history.append(shares_right(model))
    return 1 - history[-1]["words, free"]


losses = train(training, NextBatch(), every=25, evaluate=keep)
print(f"{n_parameters(model):,} parameters")
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} nats, ln {V} = {math.log(V):.2f}")
claim(abs(losses[0] - math.log(V)) < 1, "the first loss is near that of no opinion")

# %% tags=["measured"]
share = history[-1]["words, free"]
print(f"backwards without a mistake: {share:.1%} of the words set aside")
claim(share > 0.95, "nearly every word set aside comes out backwards")

# %% [markdown]
# Three words, of three lengths, in one batch:

# %% tags=["sample"]
words = ["tone", "lesson", "rotation"]
sources = pad_batch([encode(word) for word in words])
for word, row in zip(words, generate_targets(model, sources, temperature=0)):
    print(f"{word} -> {decode(row)}")

# %% [markdown]
# It works: nearly every word that it never saw comes out backwards. Short and long ones
# go through in one batch, and nearly each ends where it should. The `<eos>` of the
# source says where the word ends; when to stop writing it had to learn.
#
# (The first loss is near $\ln 13$, the loss of a model without any opinion, and not equal
# to it. The first logits have a size near 1, not 0: opinions, drawn at random.)
# <!-- from: teach-it "ln 13 =" -->

# %% [markdown]
# ## Check
#
# ### Equal to `torch.nn.Transformer`
#
# PyTorch has the two stacks, without tables and head. Its attention keeps queries, keys
# and values in one tall matrix, so the weights have to be copied by hand.


# %%
def copy_attention(ours, theirs):
    inputs = (ours.q_proj, ours.k_proj, ours.v_proj)
    theirs.in_proj_weight.data = torch.cat([linear.weight.data for linear in inputs])
    theirs.in_proj_bias.data = torch.cat([linear.bias.data for linear in inputs])
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


def copy_norm(ours, theirs):
    theirs.weight.data, theirs.bias.data = ours.gain.data, ours.bias.data


# %%
def copy_block(block, layer):
    copy_attention(block.attention, layer.self_attn)
    norms = [block.attention_norm, block.ffn_norm]
    if block.cross_attention is not None:
        copy_attention(block.cross_attention, layer.multihead_attn)
        norms.insert(1, block.cross_norm)
    for norm, theirs in zip(norms, ("norm1", "norm2", "norm3")):
        copy_norm(norm, getattr(layer, theirs))
    layer.linear1.load_state_dict(block.ffn.up.state_dict())
    layer.linear2.load_state_dict(block.ffn.down.state_dict())


def copy_stack(ours, theirs):
    for block, layer in zip(ours.blocks, theirs.layers):
        copy_block(block, layer)
    if theirs.norm is not None:
        copy_norm(ours.final_norm, theirs.norm)


# %% [markdown]
# PyTorch's `nn.Transformer` puts a norm at the end of each stack, post-norm or not. The
# paper has none there. So the stacks are made one by one, with that norm only for
# pre-norm, and handed over.

# %%
width, H, N, inner = 16, 2, 2, 32
sizes = {"d_model": width, "n_heads": H, "n_encoder_layers": N, "n_decoder_layers": N}
sizes |= {"d_ff": inner, "dropout": 0.0, "attention_bias": True, "tie_weights": False}


def torchs_transformer(pre_norm):
    sizes = (width, H, inner, 0.0)  # the last is dropout
    options = {"norm_first": pre_norm, "batch_first": True}
    norms = [nn.LayerNorm(width) if pre_norm else None for _ in range(2)]
    layer = nn.TransformerEncoderLayer(*sizes, **options)
    encoder = nn.TransformerEncoder(layer, N, norms[0], enable_nested_tensor=False)
    layer = nn.TransformerDecoderLayer(*sizes, **options)
    decoder = nn.TransformerDecoder(layer, N, norms[1])
    parts = {"custom_encoder": encoder, "custom_decoder": decoder}
    return nn.Transformer(width, H, batch_first=True, **parts).double()


# %% [markdown]
# All weights random, also gains and biases; sources with padding; `double`, so that
# rounding plays no part. PyTorch's masks say where looking is *forbidden*, hence `~`.

# %%
hidden = ("src_key_padding_mask", "memory_key_padding_mask")
some_src, some_tgt = make_batch(["dot", "stone", "listen"])
for pre_norm in (True, False):
    ours = Transformer(TransformerConfig(V, V, pre_norm=pre_norm, **sizes)).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs = torchs_transformer(pre_norm)
    copy_stack(ours.encoder, theirs.encoder)
    copy_stack(ours.decoder, theirs.decoder)
    vectors = ours._embed(ours.source, some_src), ours._embed(ours.target, some_tgt)
    masks = {"tgt_mask": ~causal_mask(some_tgt.size(1))}
    masks |= dict.fromkeys(hidden, some_src == PAD)
    difference = ours.head(theirs(*vectors, **masks)) - ours(some_src, some_tgt)
    print(f"pre_norm={pre_norm}: same logits:", difference.abs().max().item() < 1e-10)
    assert difference.abs().max() < 1e-10

# %% [markdown]
# ### Padding changes nothing
#
# The same words alone, one by one, and side by side in one batch. The probabilities must
# agree to 0.000001 wherever a token is asked for. (`model` is the trained one.)


# %%
@torch.no_grad()
def difference_by_padding(model, words):
    together = model(*make_batch(words)).softmax(dim=-1)
    worst = 0.0
    for word, row in zip(words, together):
        alone = model(*make_batch([word])).softmax(dim=-1)[0]
        worst = max(worst, (alone - row[: len(alone)]).abs().max().item())
    return worst


difference = difference_by_padding(model, unseen[:50])
print("alone and in a batch agree to 0.000001:", difference < 1e-6)
assert difference < 1e-6

# %% [markdown]
# ### With a cache = without
#
# Let the model write with its cache. Then give it all that it has written at once,
# without a cache, and ask at each position for the likeliest token. It must be the one
# that it wrote. And count how often the encoder runs while it writes:
# `register_forward_hook` calls a function after each run of a module.

# %%
runs = []
hook = model.encoder.register_forward_hook(lambda *_: runs.append(1))
written = generate_targets(model, src, max_len=12, temperature=0)  # (B, L)
hook.remove()
beginnings = F.pad(written, (1, -1), value=BOS)  # shifted by one
with torch.no_grad():
    at_once = model(src, beginnings).argmax(dim=-1)
same = (at_once == written) | (written == PAD)
print(f"same tokens: {same.all()}, encoder runs: {len(runs)}")
assert same.all() and len(runs) == 1

# %% [markdown]
# ### The classic bug: the target is not shifted
#
# Somebody forgets the shift: the decoder reads `tgt[:, :-1]` and shall predict
# `tgt[:, :-1]`. Each position is asked for the token that it was just given.


# %% tags=["measured:wide"]
def unshifted_loss(model, src, tgt):
    logits = model(src, tgt[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), tgt[:, :-1], ignore_index=PAD)


torch.manual_seed(0)
copier = Transformer(SIZES)
bug = Training(copier, TrainConfig(80, n_warmup=10, **how), unshifted_loss)
bug_losses = train(bug, NextBatch())
print(f"after 80 steps: bug {bug_losses[-1]:.2f} nats, right {losses[79]:.2f} nats")
written = generate_targets(copier, sources[:1], max_len=6, temperature=0)[0]
print("it writes:", *[TOKENS[i] for i in written])
claim(bug_losses[-1] < 0.05 < losses[79], "the bug has a far better loss")
claim((written == BOS).all(), "and the model only repeats what it reads")

# %% [markdown]
# The loss falls to nearly nothing, in a fraction of the time: a triumph, if you only
# look at the curve. But the model has learned to copy its input. Give it `<bos>` and it
# writes `<bos>`, for ever. **A loss that is too good is a bug until proven otherwise.**
#
# ### The other classic bug: padding is attended
#
# The second one is quieter. Take the trained model and let it forget the padding mask:
# everything is visible. Then ask for the same four-letter words, alone and in a batch
# with one long word.


# %%
class Forgetful(Transformer):
    def encode(self, src):
        mask = torch.ones_like(src, dtype=torch.bool)[:, None, None, :]
        return self.encoder(self._embed(self.source, src), mask), mask


forgetful = Forgetful(SIZES)
forgetful.load_state_dict(model.state_dict())
short = [word for word in unseen if len(word) == 4]
companion = "rotation"


def share_right(model, words, with_companion):
    rows = [encode(word) for word in words + [companion] * with_companion]
    written = generate_targets(model, pad_batch(rows), max_len=12, temperature=0)
    right = [decode(row) == word[::-1] for word, row in zip(words, written)]
    return sum(right) / len(right)


# %% tags=["measured"]
for name, writer in (("with the mask", model), ("without", forgetful)):
    alone, beside = (share_right(writer, short, beside) for beside in (False, True))
    print(f"{name:14} alone {alone:.2f}, beside a long word {beside:.2f}")
    if writer is model:
        assert alone == beside
claim(alone > 0.9, "without padding the words come out right")
claim(beside < alone - 0.3, "beside a long word many do not")

# %% [markdown]
# What the forgetful model writes for `tone`, first alone, then beside the long word:

# %% tags=["sample"]
both = pad_batch([encode("tone"), encode(companion)])
for rows in (pad_batch([encode("tone")]), both):
    print(decode(generate_targets(forgetful, rows, temperature=0)[0]))

# %% [markdown]
# The same weights, the same words. Alone they come out right; beside a long word most do
# not, because padding has become part of them. **The same sentence gets another
# translation in another batch**: that is how you notice this bug. Would the loss have
# told? Now *train* with it, with the recipe from above.

# %% tags=["measured"]
torch.manual_seed(0)
needy = Forgetful(SIZES)
bug = Training(needy, TrainConfig(350, n_warmup=30, **how), sequence_loss)
bug_losses = train(bug, NextBatch())
alone, beside = (share_right(needy, short, beside) for beside in (False, True))
print(f"loss {bug_losses[-1]:.2f}; alone {alone:.2f}, beside a long word {beside:.2f}")
claim(bug_losses[-1] < 0.1 and beside > 0.9, "neither loss nor batch shows the bug")
claim(alone < beside - 0.5, "without padding the same words are lost")

# %% [markdown]
# The loss does not tell: trained with this bug the model reaches nearly 0 nats and still
# gets the padded batch right, because it has learned to need the padding. The same
# four-letter words without any padding: hardly any right.

# %% [markdown]
# ## Look
#
# What does the bridge carry? `attention_maps` of lesson
# [07](07_multi_head_attention.ipynb) returns the weights of all attentions in the order
# in which they ran. The last one is the cross-attention of the last block. Each row is a
# target position, labelled with the letter that it has to write; each column is a
# source position.

# %%
from lib.show import plot
from lib.evaluate.attention_maps import attention_maps


def cross_map(word, layer=-1):
    word_src, word_tgt = make_batch([word])
    maps = attention_maps(model, word_src, word_tgt[:, :-1])  # encoder, then 2 x 2
    return maps[layer][0, 0]  # (T - 1, S)


def draw_map(word, layer=-1, size=(5, 4.4)):
    rows, columns = [*word[::-1], "<eos>"], [*word, "<eos>"]
    axes = "source", "to write"
    return plot.heat_map(
        cross_map(word, layer), rows, columns, *axes, size, top=1.0, label="weight"
    )


# %% mystnb={"image": {"alt": "A table of nine by nine attention weights for the word rotation backwards. One dark square per row forms a line from the upper right to the lower left: the row of the first letter to write looks at the last letter of the source. The column of eos is nearly empty."}}
at_end = cross_map("rotation")[:-1, -1].max()
claim(at_end < 0.2, "no letter to write looks much at the end of the source")
draw_map("rotation", size=(5.6, 5))

# %% [markdown]
# *The letter to write first looks at the last letter of the source, and so on to the
# left: a line from corner to corner. It starts one column before the corner, because the
# column of `<eos>` stays nearly empty. Nobody told the model where to look.* (A column is
# a vector of the memory: its letter, already mixed with others by the encoder.)
#
# One picture can be luck. So measure, for all words set aside and both blocks of the
# decoder. In what share of the rows does the largest weight lie on the mirrored place?
# How much of the weight lies there or beside it? And how widely does a row look around?
# That is its [entropy](../book/glossary.md#entropy): $e$ to the entropy is the number of
# places that would have the same entropy with equal weights. The last line is for equal
# weights over the whole source.

# %%
from lib.evaluate.attention_maps import attention_entropy


def describe_rows(maps):
    """maps (B, T - 1, S): hits, weight near the mirrored place, width."""
    hits, near, widths = [], [], []
    for weights, word in zip(maps, unseen):
        rows = weights[: len(word)]  # one for each letter to write
        mirrored = torch.arange(len(word)).flip(0)[:, None]
        hits.append((rows.argmax(dim=-1, keepdim=True) == mirrored).float())
        is_near = (torch.arange(rows.size(1)) - mirrored).abs() <= 1
        near.append((rows * is_near).sum(dim=-1))
        widths.append(attention_entropy(rows))
    hits, near, widths = (torch.cat(x).mean().item() for x in (hits, near, widths))
    return hits, near, math.exp(widths)


# %% tags=["measured:wide"]
maps = attention_maps(model, src, tgt[:, :-1])
seen = (src != PAD).float()
equal = (seen / seen.sum(dim=1, keepdim=True))[:, None].expand(-1, tgt.size(1) - 1, -1)
found = {"first block": maps[-3][:, 0], "last block": maps[-1][:, 0]}
(_, low, wide), (hits, high, narrow) = map(describe_rows, found.values())
for name, of in (found | {"equal weights": equal}).items():
    a, b, c = describe_rows(of)
    hit = "" if of is equal else f"mirrored place {a:.2f}, "
    print(f"{name:14} {hit}it and its neighbours {b:.2f}, as wide as {c:.1f} places")
claim(hits > 0.8, "in the last block nearly every row looks most at its letter")
claim(high > 0.8, "nearly all of its weight lies there or beside it")
claim(low < high - 0.2, "the first block has less of its weight there")

# %% [markdown]
# The last block looks at a place: nearly all of its weight lies on the mirrored letter
# and its neighbours. In the first block there is no such line. Move the slider from
# short words to long ones, and watch the line of the last block.

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider

EXAMPLES = ["not", "tone", "stone", "listen", "iterate", "rotation"]


def describe(word):
    looked_at = cross_map(word)[: len(word)].argmax(dim=-1).tolist()
    letters = " ".join(word[i] if i < len(word) else "the end" for i in looked_at)
    return (
        f"Cross-attention of the last block for {word}. To write it backwards, the "
        f"rows look most at, one after the other: {letters}."
    )


slider(draw_map, EXAMPLES, "source", alt=describe, start=2)

# %% [markdown]
# *For every length here the line starts at the last letter and runs to the first. Within
# these lengths the model finds where the word ends. With longer words it often does not,
# as you will see.*

# %% [markdown]
# ## Experiment: the right beginning, and its own
#
# In training the decoder always reads the *right* beginning. In use there is nobody to
# give it one: it reads what it has written itself. How much does that cost? Here are the
# shares that were kept during the training.

# %% tags=["measured:wide"]
steps = range(25, 351, 25)
for step in (50, 100, 200, 350):
    shares = history[steps.index(step)]
    shown = ", ".join(f"{name} {shares[name]:.2f}" for name in ("forced", "free"))
    print(f"step {step:3}: tokens {shown}; words {shares['words, free']:.2f}")
early, late = history[1], history[-1]
claim(early["forced"] > early["free"] + 0.05, "early its own beginnings cost it much")
claim(early["words, free"] < early["free"] - 0.1, "whole words come last")
claim(abs(late["forced"] - late["free"]) < 0.02, "at the end both are the same")

# %% mystnb={"image": {"alt": "Three lines over 350 training steps that rise from near 0 to 1. The tokens with the right beginning rise first, the tokens with the own beginning lie below them, the whole words rise last."}}
names = {"forced": "tokens, right beginning", "free": "tokens, own beginning"}
names |= {"words, free": "whole words"}
lines = {title: [shares[name] for shares in history] for name, title in names.items()}
plot.line_chart(lines, "training step", "share right", x=steps)

# %% [markdown]
# *While the model is weak, its own beginnings cost it dearly. Whole words come last:
# one wrong token is enough. When it makes no mistakes any more, the two ways of reading
# are the same.*
#
# A mistake makes the next one likelier. See it in the finished model:
# put one wrong letter into the beginning that it reads, and look at the letters after
# it. (Words of six letters or more.)


# %% tags=["measured:wide"]
@torch.no_grad()
def right_after_a_mistake(place):
    generator, wrong = torch.Generator().manual_seed(0), tgt.clone()
    others = torch.randint(1, 10, (len(tgt),), generator=generator)
    wrong[:, place] = (tgt[:, place] - 3 + others) % 10 + 3  # another letter
    right = model(src, wrong[:, :-1]).argmax(dim=-1) == tgt[:, 1:]
    long = tokens.sum(dim=1) > 6  # six letters and <eos>, or more
    return right[long].float().mean(dim=0)[place : place + 3].tolist()


after = {place: right_after_a_mistake(place) for place in (1, 2, 3)}
for place, shares in after.items():
    shown = ", ".join(f"{share:.2f}" for share in shares)
    print(f"letter {place} is wrong: the next three are right in {shown}")
first, _, third = map(min, zip(*after.values()))
claim(first < 0.85, "a wrong letter makes the next one wrong in many words")
claim(third > 0.7, "two letters later most words are right again")

# %% [markdown]
# The model that makes hardly a mistake stumbles when *you* make one: the letter after it
# is wrong in many words. (A guess among ten letters is right in one of ten.) In training
# no beginning was ever wrong, so nothing has taught the model what to do then. This
# difference, between what a model reads in training and in use, is called *exposure
# bias*. Here most rows find back after a letter or two. How much a wrong letter hurts
# differs from training to training.

# %% [markdown]
# ## Experiment: longer than ever
#
# The training words have three to eight letters. What happens with nine? With ten? (The
# words here are new ones. Training has met nearly all words of three letters, though:
# there are only so many.)


# %%
def written_backwards(length):
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(10, (200, length), generator=generator).tolist()
    words = ["".join(LETTERS[i] for i in row) for row in ids]
    rows = pad_batch([encode(word) for word in words])
    written = generate_targets(model, rows, temperature=0)
    return words, [decode(row) for row in written]


def share_backwards(length):
    right = [text == word[::-1] for word, text in zip(*written_backwards(length))]
    return sum(right) / len(right)


# %% tags=["measured:wide"]
by_length = {str(length): share_backwards(length) for length in range(3, 12)}
print({length: round(share, 2) for length, share in by_length.items()})
claim(min(by_length[str(n)] for n in range(3, 9)) > 0.9, "trained lengths are right")
claim(by_length["9"] < 0.4, "one letter more, and most words are wrong")
claim(max(by_length["10"], by_length["11"]) < 0.1, "longer ones hardly ever come out")

# %% [markdown]
# Two words that are too long, and a picture of all lengths:

# %% tags=["sample"]
for word in ("rotations", "translation"):
    rows = generate_targets(model, pad_batch([encode(word)]), 20, temperature=0)
    print(word, "->", *[TOKENS[i] for i in rows[0]])

# %% mystnb={"image": {"alt": "Bars for words of three to eleven letters. From three to eight letters nearly all are right. Nine, ten and eleven: hardly a bar."}}
plot.bar_chart(by_length, "letters in the word", "share right", top=1.0)

# %% [markdown]
# *From three to eight letters nearly all words are right. For nine, ten and eleven letters
# there is hardly a bar.*
#
# It has not learned what "backwards" means. It has learned to do it for words of these
# lengths, with the positions that it has met. What does it do with a word that is too
# long? Look at the first letter that it writes. It should be the last one of the word.

# %% tags=["measured:wide"]
for length in (10, 11):
    pairs = list(zip(*written_backwards(length)))
    last = sum(text[:1] == word[-1] for word, text in pairs) / len(pairs)
    eighth = sum(text[:1] == word[7] for word, text in pairs) / len(pairs)
    print(f"{length} letters: begins with the last {last:.2f}, the eighth {eighth:.2f}")
    claim(eighth > last + 0.1, "it begins with the eighth letter more often")

# %% [markdown]
# More often than with the last letter it begins with the eighth, where the longest words
# of its training ended.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You swap two letters in the middle of the source. Which rows of the memory change? And if you swap two letters in what the decoder reads (the source stays), which logits change?</summary>
#
# All rows of the memory: in the encoder everyone sees everyone. Of the logits only those
# from the first swapped place on: the decoder's past ends where it stands.
#
# </details>
#
# <details><summary>A model gets a share of the words right with the right beginnings (all tokens of the word are right). With its own beginnings, again taking the likeliest token, is the share smaller, equal or larger?</summary>
#
# Equal. If all tokens are right with the right beginning, the model writes just that
# beginning itself. And if it writes a word without a mistake, its own beginnings *were*
# the right ones. The two ways differ only after a first mistake.
#
# </details>
#
# <details><summary>The source vocabulary of the base model grows from 20,000 to 40,000 tokens. How many parameters come along, and which part grows?</summary> <!-- from: predict-then-run "larger = " -->
#
# The table of the source, by 20,000 rows of 512 numbers: 10,240,000. No block knows how
# large the vocabulary is, and the head belongs to the target.
# <!-- from: predict-then-run "20_000 * 512" -->
# <!-- from: predict-then-run "more parameters" -->
#
# </details>

# %%
with torch.no_grad():
    a, b = (make_batch([word]) for word in ("listen", "litsen"))
    rows = (model.encode(a[0])[0] - model.encode(b[0])[0]).abs().amax(dim=-1)[0]
    places = (model(*a) - model(a[0], b[1])).abs().amax(dim=-1)[0]
print("rows of the memory that change:", (rows > 1e-5).int().tolist())
print("decoder reads", *[TOKENS[i] for i in a[1][0]])
print("or           ", *[TOKENS[i] for i in b[1][0]])
print("logits that change:", (places > 1e-5).int().tolist())
assert (rows > 1e-5).all() and (places > 1e-5).tolist() == [False] * 3 + [True] * 5

# %%
pairs = [(shares["words, forced"], shares["words, free"]) for shares in history]
print("words, forced and free, equal each time:", all(a == b for a, b in pairs))
assert all(a == b for a, b in pairs)
with torch.device("meta"):
    larger = Transformer(TransformerConfig(40_000, 20_000))
print(f"more parameters: {n_parameters(larger) - n_parameters(base):,}")
assert n_parameters(larger) - n_parameters(base) == 20_000 * 512

# %% [markdown]
# ## Exercises

# %%
from lib.checks.lesson_15 import (
    check_decoder_block_parameters,
    check_prefix_mask,
    check_sorter,
    check_write_again,
)

# %% [markdown]
# ### Exercise 1: One block of the decoder
#
# *warm-up · 10 minutes* · [Solution](../solutions/15_encoder_decoder.ipynb#exercise-1-one-block-of-the-decoder)
#
# Return the number of parameters of one block of the `Decoder` above, by a formula in
# `d_model` and `d_ff`. With `attention_bias=True` each of the projections of the
# attentions has a bias as well. Build no model. (Six of them make the decoder of the
# base model; its count stands above.)
#
# <details><summary>Hint</summary>
#
# Take the formula for a block of the encoder. How many attentions are there now, and how
# many norms? A projection is a `nn.Linear(d_model, d_model)`.
#
# </details>


# %%
def decoder_block_parameters(d_model, d_ff, attention_bias):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_decoder_block_parameters(decoder_block_parameters)

# %% [markdown]
# ### Exercise 2: One stack instead of two
#
# *core · 20 minutes* · [Solution](../solutions/15_encoder_decoder.ipynb#exercise-2-one-stack-instead-of-two)
#
# A single stack of GPT blocks can read a source in both directions, too: write source
# and target one behind the other, and change the mask. Each row of `ids`, shape
# `(B, T)`, holds a source, then a target, then padding (`pad_id`). `n_source`, shape
# `(B,)`, says how many of its first tokens belong to the source. Everyone may look at
# the whole source of its own row; apart from that, at itself and at what stands before
# it; never at padding. Return a bool tensor `(B, 1, T, T)`, True where looking is
# allowed (row looks, column is looked at). What the rows of padded positions look at
# follows from the same rule.
#
# <details><summary>Hint</summary>
#
# Three masks: `causal_mask` of shape `(T, T)`, `padding_mask` of shape `(B, 1, 1, T)`,
# and one that says which columns belong to the source: `torch.arange(T)` compared with
# `n_source[:, None, None, None]`. Combine them with `|` and `&`.
#
# </details>


# %%
def prefix_mask(ids, n_source, pad_id):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_prefix_mask(prefix_mask)

# %% [markdown]
# ### Exercise 3: Write without a cache
#
# *core · 20 minutes* · [Solution](../solutions/15_encoder_decoder.ipynb#exercise-3-write-without-a-cache)
#
# Write greedily with `model.encode` and `model.decode`, without any cache: give the
# decoder the whole beginning at each step. Run the encoder only once. Return what
# `generate_targets(model, src, max_len, temperature=0)` returns, without calling it or
# `begin`: the tokens after the start token, `(B, L)`, with L at most `max_len`. Each row
# ends with `model.config.eos_id`, or where `max_len` is reached; after its end it holds
# `model.config.pad_id`, which is never chosen before. Stop as soon as all rows have
# ended. The model is in evaluation mode.
#
# <details><summary>Hint</summary>
#
# Start from a column of `model.config.bos_id`: `torch.full((len(src), 1), ...)`. Keep a
# bool tensor `ended` of shape `(B, 1)`. Only the logits of the last position matter.
# Which entry of them must never win?
#
# </details>


# %%
def write_again(model, src, max_len):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_write_again(write_again)

# %% [markdown]
# ### Exercise 4: Sort
#
# *stretch · 40 minutes* · [Solution](../solutions/15_encoder_decoder.ipynb#exercise-4-sort)
#
# Train a `Transformer` that writes the letters of a word in alphabetical order:
# `rotation` becomes `ainoortt`. Use the ids of this page (`TOKENS`, `encode`), words of
# three to eight letters, sources that end with `<eos>`, targets from `<bos>` to `<eos>`.
# The check gives your trained model two hundred words and wants nineteen in twenty of them
# without a mistake; it calls `generate_targets(sorter, src, max_len=12, temperature=0)`. A few
# hundred steps are enough. Then look at the cross-attention: is there still a line?
#
# <details><summary>Hint</summary>
#
# Only the target changes: `"".join(sorted(word))`. Everything else, from `SIZES` to
# `Training`, can be taken from above. `torch.manual_seed` before you make the model.
#
# </details>

# %%
sorter = ...  # your trained model

# %% tags=["exercise"]
check_sorter(sorter)

# %% [markdown]
# ## Recap
#
# - You built the **encoder**, in which everyone sees everyone, and the **decoder**, which
#   sees its own past and, through **cross-attention**, the whole source. Together they
#   are the original Transformer: equal to `torch.nn.Transformer`, pre-norm and post-norm.
# - You **counted** the base model: 64,581,632 parameters with two vocabularies of
#   20,000, against the paper's 65 million with one of 37,000.
#   <!-- from: the-papers-base-model-counted "the paper's" -->
#   <!-- from: the-papers-base-model-counted "one table of" -->
#   <!-- from: the-papers-base-model-counted "all together" -->
#   <!-- from: the-papers-base-model-counted "2 * 20_000" -->
# - You trained with a **shifted target** and wrote without one: the source is read once,
#   keys and values are kept, `<eos>` ends it.
# - You saw two **bugs**: the target that is not shifted, with a wonderful loss and
#   nothing learned; and padding that is attended, so that the same word has another
#   translation in another batch. A model trained with it even needs the padding.
# - You saw the **line from corner to corner** in the cross-attention of a tiny model that
#   writes nearly every unseen word backwards, and what it cannot do: longer words, and
#   recovering at once from a wrong letter.
#
# Random letters have no grammar and no meaning. What does the same machine
# do with a real task: sentences in two languages, where words change their order, agree
# with each other, and have no one-to-one partner? Lesson 16 translates.
#
# The library entries of what you built: [Encoder, Decoder,
# TransformerConfig and Transformer](../book/api.md#modelsencoder_decoder),
# [generate_targets](../book/api.md#generatetargets),
# [pad_batch](../book/api.md#texttokenizer).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, sections 3.1 to 3.5: you can now
#   read every sentence of it. Figure 1 is your `Transformer`.
# - Sutskever et al. (2014), *Sequence to Sequence Learning with Neural Networks*,
#   section 2: encoder and decoder before there was attention. Section 3.3 turns the
#   source around, because it helps.
# - Bahdanau et al. (2015), section 3: the first attention of a decoder to what an encoder
#   has read; the pictures in section 5.2 are the ones that you drew.
# - Bengio et al. (2015), *Scheduled Sampling for Sequence Prediction with Recurrent
#   Neural Networks*, sections 1 and 2: the right beginning in training, its own in use.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
