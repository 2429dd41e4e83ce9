# %% [markdown]
# # 17 · Masked language model
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/17_masked_language_model.ipynb)
#
# Fill in the blanks with a model that reads in both directions.
#
# - **You will build** the blanks, an encoder that fills them, and a loss that counts
#   only there: the task of BERT, on characters.
# - **You will see** the same parts, trained twice, once with a causal mask and once
#   without; how much the right side is worth; and a loss that looks splendid because
#   most places are copied.
# - **Needs** lessons [06](06_attention.ipynb), [07](07_multi_head_attention.ipynb),
#   [11](11_training.ipynb) and [15](15_encoder_decoder.ipynb).
# - **Takes** about two hours to read and do; the notebook runs in under 60 s.

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
# All models on the [ladder](../book/ladder.md) read from left to right. The causal mask
# sees to it: a model that writes must not look at what it has yet to write.
#
# But not every task is writing. Somebody has spilled ink on the page, and you read
# `my l■rd the king`. You know the letter at once, and you know it from *both* sides.
# The encoder of lesson [15](15_encoder_decoder.ipynb) reads like that, without a causal
# mask. There it worked for a decoder. What can it learn alone?

# %% [markdown]
# ## By hand
#
# Take the line of lesson [02](02_bigram.ipynb) and hide a character that stands after a
# `t`. What could it be? Count once with the left neighbour alone, once with both.

# %%
from collections import Counter

line = "to be or not to be"
triples = list(zip(line, line[1:], line[2:]))
after_t = Counter(middle for left, middle, _ in triples if left == "t")
between = Counter(m for left, m, right in triples if left == "t" and right == " ")
print("after 't':           ", dict(after_t))
print("between 't' and ' ': ", dict(between))

# %% [markdown]
# The left side alone leaves a doubt: two of three are an `o`. With a space on the right
# the doubt is gone. Now the whole text, first with one pair of neighbours.

# %% tags=["corpus"]
import torch
from torch import Tensor, nn

from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
numbers = (train[:-2] * V + train[1:-1]) * V + train[2:]  # one number per triple
counts = numbers.bincount(minlength=V**3).view(V, V, V).double()
print(f"{corpus.name}: {counts.sum():,.0f} triples of characters")

# %% [markdown]
# `counts[i, j, k]` says how often the three characters $i$, $j$, $k$ stand side by
# side. What stands after an `m`? And what between an `m` and a `k`?


# %%
def show(name, shares):
    best = shares.topk(3)
    names = tokenizer.decode(best.indices.tolist())
    said = ", ".join(f"{c!r} {p:.2f}" for c, p in zip(names, best.values.tolist()))
    print(f"{name}: {said}")


# %% tags=["corpus"]
m, k = tokenizer.encode("mk")
left_only = counts[m].sum(dim=1)  # (V,): the right neighbour may be anything
both = counts[m, :, k]
show("after 'm'           ", left_only / left_only.sum())
show("between 'm' and 'k' ", both / both.sum())
assert (both / both.sum()).max() > (left_only / left_only.sum()).max()

# %% [markdown]
# One example proves nothing. So take the mean doubt over all triples: the
# [entropy](../book/glossary.md#entropy) of the hidden character when you know its
# context. It is the entropy of context and character together, minus that of the
# context alone. To be fair, also ask somebody who knows *two* characters, both on the
# left.


# %%
from lib.evaluate.losses import entropy


def entropy_of(table):
    shares = table.flatten() / table.sum()
    return entropy(shares).item()


# %% tags=["corpus"]
neighbours, one_apart = counts.sum(dim=2), counts.sum(dim=1)  # (V, V): ij and ik
one_left = entropy_of(neighbours) - entropy_of(counts.sum(dim=(1, 2)))
two_left = entropy_of(counts) - entropy_of(neighbours)
each_side = entropy_of(counts) - entropy_of(one_apart)
print(f"knowing one character on the left:  {one_left:.3f} nats of doubt")
print(f"knowing two characters on the left: {two_left:.3f}")
print(f"knowing one on each side:           {each_side:.3f}")
assert each_side < two_left < one_left

# %% [markdown]
# The second and the third know two characters each, and yet one on each side leaves
# less doubt: 1.473 nats against 1.903. The two lines of code show why. They differ only
# in what is subtracted, the entropy of a pair of neighbours or of a pair with one
# character between. Neighbours are tied more closely, so their pair has less entropy.
# **Near characters say more than far ones, and half of the near ones stand on the
# right.** No model was needed to see that. (Counted on the text itself; on new text a
# table does worse.)

# %% [markdown]
# ## The formula
#
# Hide the tokens at a random set $M$ of positions: $\tilde{x}$ is the text $x$ with a
# special token, the blank, in these places. The loss is the mean surprise at what was
# hidden, and at nothing else:
#
# $$L = -\frac{1}{|M|} \sum_{i \in M} \ln p(x_i \mid \tilde{x}_1, \ldots, \tilde{x}_T)$$
#
# Hold it against the loss of all models before,
# $-\frac{1}{T} \sum_t \ln p(x_{t+1} \mid x_1, \ldots, x_t)$. The prediction may now use
# the whole row, because the hidden tokens have been removed from it. The price is in the
# sum: it has $|M|$ terms, not $T$.
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(B, T)` | the tokens, in the code `targets` |
# | $M$ | `(B, T)` | where a token is hidden, in the code `hidden`, true or false |
# | $\tilde{x}$ | `(B, T)` | the tokens with the blanks, in the code `inputs` |
# | $p$ | `(B, T, V)` | probabilities of the token that stands *here*, not of the next |
#
# This is BERT's *masked language model*: Devlin et al. (2019), section 3.1, task 1.
# There the word *mask* means the blank. In this course a mask also says who may look at
# whom. So in this lesson: a [blank](../book/glossary.md#blank) hides a token, a
# [causal mask](../book/glossary.md#causal-mask) hides the future.

# %% [markdown]
# ## Build
#
# ### Blanks
#
# In each row a fixed share of the tokens is hidden, at places drawn anew for each
# batch. How does one draw places without drawing one twice? Give each place a random
# number and take the largest: `topk` says where they are. `scatter(1, places, True)`
# writes True at these places of each row, and `masked_fill` puts one value wherever a
# table is True.


# %% tags=["lib:models.masked_lm.mask_tokens"]
def mask_tokens(
    ids: Tensor,
    mask_id: int,
    share: float = 0.15,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    if not 0 < share <= 1:
        raise ValueError(f"share={share} must be above 0 and at most 1")
    n_hidden = max(1, round(share * ids.size(1)))
    draws = torch.rand(ids.shape, generator=generator).to(ids.device)
    places = draws.topk(n_hidden, dim=1).indices  # (B, n_hidden)
    hidden = torch.zeros_like(ids, dtype=torch.bool).scatter(1, places, True)
    return ids.masked_fill(hidden, mask_id), hidden


# %%
BLANK = V  # the first id that no character has
text = "my lord the king"
ids = torch.tensor([tokenizer.encode(text)] * 3)  # (3, 16)


def written(ids):
    return "".join("■" if i == BLANK else tokenizer.decode([i]) for i in ids.tolist())


inputs, hidden = mask_tokens(ids, BLANK, generator=torch.Generator().manual_seed(0))
for row in inputs:
    print(written(row))
assert torch.equal(hidden.sum(dim=1), torch.tensor([2, 2, 2]))
assert torch.equal(inputs[~hidden], ids[~hidden])

# %% [markdown]
# Fifteen per cent of sixteen characters are two, in each row other ones. (A fixed number
# gives each row the same number of questions, and no row is without a blank.) BERT does two
# more things with what it hides; they come below, and in Exercise 2.
#
# ### The model
#
# Token embedding, positions, the encoder of lesson 15, a head. The table of embeddings
# has one row more than there are characters, for the blank. The head has no such row:
# nothing to fill in is ever a blank. The weights start as random numbers, smaller ones
# where more inputs are added up; the tables use the same rule, by their width.
#
# The sizes stand in a `config`, as with all models, and the model keeps it: whoever loads
# its weights from a file needs the sizes to build it again.

# %% tags=["lib:models.masked_lm.MaskedLMConfig"]
from dataclasses import dataclass

from lib.shapes import require_sizes


@dataclass(frozen=True)
class MaskedLMConfig:
    vocab_size: int
    d_model: int
    n_heads: int
    n_layers: int
    d_ff: int
    context_length: int

    def __post_init__(self) -> None:
        require_sizes(**vars(self))


# %% [markdown]
# `forward` reads like the list of its parts: table and positions, encoder, head.

# %% tags=["lib:models.masked_lm.MaskedLM"]
import math

from lib.models.encoder_decoder import Encoder
from lib.position import LearnedPositions


class MaskedLM(nn.Module):
    def __init__(self, config: MaskedLMConfig) -> None:
        super().__init__()
        c = self.config = config
        self.context_length, self.mask_id = c.context_length, c.vocab_size
        self.tokens = nn.Embedding(c.vocab_size + 1, c.d_model)
        self.positions = LearnedPositions(c.context_length, c.d_model)
        self.encoder = Encoder(c.d_model, c.n_heads, c.n_layers, c.d_ff)
        self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        for weight in (p for p in self.parameters() if p.dim() > 1):
            nn.init.normal_(weight, std=0.7 / math.sqrt(weight.size(1)))

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.positions(self.tokens(ids))  # (B, T) -> (B, T, D)
        return self.head(self.encoder(x, mask))  # (B, T, D) -> (B, T, V)


# %%
SIZES = MaskedLMConfig(
    V, d_model=64, n_heads=4, n_layers=2, d_ff=256, context_length=16
)
torch.manual_seed(0)
model = MaskedLM(SIZES)
n_parameters = sum(parameter.numel() for parameter in model.parameters())
print(f"{n_parameters:,} parameters")
print("inputs", tuple(inputs.shape), "-> logits", tuple(model(inputs).shape))

# %% [markdown]
# `mask` stands in the signature for one reason. With a causal mask and shifted targets
# the *same* class is an ordinary GPT. That will be the rival in the experiment.
#
# ### The loss
#
# `model(inputs)[hidden]` picks the logits at all places where `hidden` is True, out of
# all rows, as one list `(n, V)`. `targets[hidden]` picks the characters in the same
# order. (`mean_over` of lesson [11](11_training.ipynb) says that only these count.)

# %% tags=["lib:evaluate.losses.masked_loss"]
from lib.evaluate.losses import cross_entropy, mean_over


@mean_over(lambda model, inputs, targets, hidden: hidden)
def masked_loss(
    model: nn.Module, inputs: Tensor, targets: Tensor, hidden: Tensor
) -> Tensor:
    return cross_entropy(model(inputs)[hidden], targets[hidden])


# %%
loss = masked_loss(model, inputs, ids, hidden)
print(f"untrained: {loss.item():.1f} nats, guessing blindly {math.log(V):.1f}")
assert abs(loss.item() - math.log(V)) < 1

# %% [markdown]
# ## Check
#
# ### Both directions
#
# Change the last character: do the logits at the first position move? And with a causal
# mask?

# %%
from lib.attention import causal_mask

other = ids.clone()
other[:, -1] = tokenizer.ids["!"]
with torch.no_grad():
    free = (model(ids) - model(other))[:, 0].abs().max().item()
    masked = (model(ids, causal_mask(16)) - model(other, causal_mask(16)))[:, :-1]
print("the first position sees the last:", free > 1e-3)
seen = masked.abs().max().item() > 1e-6
print("with a causal mask any earlier position sees it:", seen)
assert free > 1e-3 and masked.abs().max() < 1e-6

# %% [markdown]
# ### Nothing leaks
#
# A model that reads in both directions is in more danger of a
# [leak](../book/glossary.md#leak) than one with a causal mask: only the blank stands
# between it and the answer. The test: change the *true* characters at hidden places,
# hide the same places again, and compare the logits.


# %%
@torch.no_grad()
def sees_the_answer(hide):
    ids = torch.randint(V, (4, 16), generator=torch.Generator().manual_seed(1))
    inputs, hidden = hide(ids, BLANK, 0.3, torch.Generator().manual_seed(2))
    changed = torch.where(hidden, (ids + 1) % V, ids)
    again, _ = hide(changed, BLANK, 0.3, torch.Generator().manual_seed(2))
    return not torch.allclose(model(inputs), model(again))


def forgets_to_hide(ids, mask_id, share, generator):
    return ids, mask_tokens(ids, mask_id, share, generator)[1]


print("mask_tokens:", sees_the_answer(mask_tokens))
print("a batch without the blanks in it:", sees_the_answer(forgets_to_hide))
assert not sees_the_answer(mask_tokens) and sees_the_answer(forgets_to_hide)

# %% [markdown]
# The second one is a bug that happens: the right `hidden`, but the model gets `ids` and
# not `inputs`. Shapes, types and the loss function are all fine.
#
# ### Only the blanks count
#
# Other implementations, Hugging Face's BERT among them, keep all logits. They put the
# target $-100$ wherever nothing is hidden, and PyTorch's own loss skips these. Both
# must give the same number. And the gradient of the logits must be zero at each place
# that is not hidden.

# %%
from torch.nn import functional as F

logits = model(inputs)
logits.retain_grad()  # keep the gradient of something that is no parameter
labels = ids.masked_fill(~hidden, -100)
loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
assert torch.allclose(loss, masked_loss(model, inputs, ids, hidden))
loss.backward()
print("places with a gradient: ", (logits.grad.abs().sum(-1) > 0).sum().item())
print("hidden places:          ", hidden.sum().item())
assert torch.equal(logits.grad.abs().sum(dim=-1) > 0, hidden)

# %% [markdown]
# ### The classic bug: a loss at every position
#
# Leave out `[hidden]` on both sides, and you have the loss of lesson
# [02](02_bigram.ipynb), which looks so right. Train one model with each loss, with the
# optimiser of lesson [11](11_training.ipynb). The blanks here are 30 % of each row,
# twice as many as in BERT. That is a trade: more blanks give more losses to learn from,
# and leave less to read around each. In a short training the losses are what is scarce.

# %%
from lib.train import Training
from lib.train import train as run_training
from lib.train.settings import TrainConfig


def blank_batches(seed):
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        ids, _ = random_batch(train, 64, 16, generator)
        inputs, hidden = mask_tokens(ids, BLANK, 0.3, generator)
        return inputs, ids, hidden

    return next_batch


def fresh_model(seed=0):
    torch.manual_seed(seed)
    return MaskedLM(SIZES)


next_batch = blank_batches(0)
print("blanks per row:", next_batch()[2][0].sum().item(), "of 16")


# %% [markdown]
# The bug as a loss, and two models that start alike:


# %%
def loss_everywhere(model, inputs, targets, hidden):
    return cross_entropy(model(inputs), targets)


both_sides, copies = fresh_model(), fresh_model()
config = TrainConfig(
    n_steps=270, learning_rate=0.01, optimizer="muon", muon_learning_rate=0.02,
    schedule="linear", n_warmup=20,
)  # fmt: skip

# %% tags=["corpus", "measured"]
from lib.checks.claims import claim

curve = run_training(Training(both_sides, config, masked_loss), next_batch)
shown = run_training(Training(copies, config, loss_everywhere), blank_batches(0))
for name, losses in (("right loss", curve), ("bug", shown)):
    print(f"{name}, last 50 steps: {sum(losses[-50:]) / 50:.2f} nats")
claim(sum(shown[-50:]) < sum(curve[-50:]) / 2, "the bug shows a far lower loss")
early = [sum(losses[60:80]) / 20 for losses in (curve, shown)]
claim(early[1] * 16 / 5 > early[0] + 0.1, "and its blanks are learned later")

# %% [markdown]
# Now ask both the same: the blanks in 3,000 rows of the validation text.

# %% tags=["corpus", "measured"]
targets = validation[:48_000].view(3000, 16)
inputs, hidden = mask_tokens(targets, BLANK, 0.3, torch.Generator().manual_seed(0))
at_blanks, at_others = [], []
for name, trained in (("right loss", both_sides), ("bug", copies)):
    with torch.no_grad():
        at_blanks.append(masked_loss(trained, inputs, targets, hidden).item())
        at_others.append(masked_loss(trained, inputs, targets, ~hidden).item())
    print(f"{name}: at blanks {at_blanks[-1]:.2f} nats")
frequencies = train.bincount(minlength=V).double() / len(train)
unigram = entropy(frequencies).item()
print(f"knowing only how frequent each character is: {unigram:.2f}")
claim(max(at_blanks) < unigram - 0.5, "both losses teach the model to fill blanks")
claim(max(at_blanks) - min(at_blanks) < 0.3, "at the end nearly as well")

# %% tags=["corpus", "measured:wide"]
for name, loss in zip(("right loss", "bug"), at_others):
    print(f"{name}: elsewhere {loss:.2f} nats")
claim(at_others[1] < 0.1 < at_others[0], "with the bug the model copies what it sees")

# %% [markdown]
# With the bug the curve shows a loss that no model on the ladder ever had. But most of
# the places were never a question. Where a character is visible the answer stands in the
# input, the model copies it, and the loss is next to nothing. **The bug falsifies the
# number**: it is about 5/16 of the loss at the blanks, for the rest is copied. The
# blanks still teach. But at first they share the gradient with the easy places, and the
# model starts late. At the end it fills blanks nearly as well as the other one. The
# gradient check above finds this bug at once.
# <!-- from: the-classic-bug-a-loss-at-every-position "blanks per row" -->

# %% [markdown]
# ## Experiment: the same parts, with and without the right side
#
# Now compare. All take the same class, the same start, and the same schedule, on as
# many windows of 16 characters:
#
# - **both sides**: no causal mask, 30 % blanks, `masked_loss`. You have just trained it.
#   <!-- from: the-classic-bug-a-loss-at-every-position "mask_tokens(ids, BLANK, 0.3" -->
# - **from the left**: a causal mask, no blanks, the next character as the target.
#
# One thing is not equal. The second has a loss at each of its 16 positions, the first
# only at its blanks. So there is a third: **from the left, few**, which also reads from
# the left, but learns from as few positions as the first, drawn by the same rule.


# %%
def next_loss(model, inputs, targets, counted):
    logits = model(inputs, causal_mask(16))
    return cross_entropy(logits[counted], targets[counted])


def text_batches(seed, share):
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 64, 16, generator)
        return inputs, targets, mask_tokens(inputs, BLANK, share, generator)[1]

    return next_batch


# %%
rivals = {
    "from the left": (next_loss, text_batches(0, share=1.0)),
    "from the left, few": (next_loss, text_batches(0, share=0.3)),
}
for name, (_, batches) in rivals.items():
    print(f"{name}: {batches()[2][0].sum().item()} losses per row")

# %% [markdown]
# Train both for as many steps as the first.

# %% tags=["corpus", "measured"]
models, curves = {"both sides": both_sides}, {"both sides": curve}
for name, (loss_of, batches) in rivals.items():
    models[name] = fresh_model()
    curves[name] = run_training(Training(models[name], config, loss_of), batches)
for name, losses in curves.items():
    print(f"{name}, last 50 steps: {sum(losses[-50:]) / 50:.2f} nats")

# %% [markdown]
# Do not compare the three numbers: they are means over different places. The first
# model had five of sixteen characters hidden. The others were asked at the first
# positions too, where there is next to nothing to read. So ask all for **the same
# characters**: the six in the middle of 600 windows of the validation text. And let all
# see equally many others, fifteen. The first model sees those of the window, with one
# blank at a time; a model of the second kind sees those on the left, which begin before
# the window.


# %%
starts = torch.arange(16, 111_000, 185).unsqueeze(1)  # (600, 1)
windows = validation[starts + torch.arange(16)]  # (600, 16)
PLACES = range(5, 11)  # five characters or more on either side
print(len(windows), "windows, characters", [*PLACES], "of each")


@torch.no_grad()
def from_both(place, n_right=16):
    inputs = windows.clone()
    inputs[:, place] = BLANK
    inputs[:, place + 1 + n_right :] = BLANK  # nothing, unless n_right is small
    return both_sides(inputs)[:, place]  # (600, V)


@torch.no_grad()
def from_left(model, place, n_left=15):
    seen = validation[starts + place - n_left + torch.arange(n_left)]  # (600, n_left)
    return model(seen, causal_mask(n_left))[:, -1]  # (600, V)


# %% [markdown]
# `reduction="none"` gives one loss for each character, not their mean. So you can look
# at the differences, character by character, and at their standard error. (The six of
# one window are no independent draws, so each window gives one number, its mean.)


# %%
def ask(guess):
    logits = torch.stack([guess(place) for place in PLACES], 1)  # (600, 6, V)
    answers = windows[:, PLACES]  # (600, 6)
    losses = F.cross_entropy(logits.transpose(1, 2), answers, reduction="none")
    return losses.mean(dim=1), (logits.argmax(dim=-1) == answers).float().mean()


# %% tags=["corpus", "measured"]
results = {"both sides": ask(from_both)}
for name in rivals:
    results[name] = ask(lambda place: from_left(models[name], place))
for name, (losses, right) in results.items():
    print(f"{name}: {losses.mean():.2f} nats, {right:.0%} right")

# %% [markdown]
# How large is the lead, and how far could the choice of the windows move it?

# %% tags=["corpus", "measured:wide"]
for name in rivals:
    gaps = results[name][0] - results["both sides"][0]
    ahead, error = gaps.mean().item(), (gaps.std() / len(gaps) ** 0.5).item()
    print(f"ahead of '{name}' by {ahead:.2f} nats, give or take {error:.2f}")
    if name == "from the left, few":
        claim(ahead > 0.2, "two sides beat one with as many losses to learn from")
    else:
        wins = ahead > 0.1
        claim(wins != corpus.is_stand_in, "on Tiny Shakespeare also a rival with more")

# %% [markdown]
# With as many losses to learn from, two sides beat one by far. And they win, on Tiny
# Shakespeare, against a rival with three times as many. (The standard error covers the
# choice of the characters, not that of the seed.)
#
# These losses are not on the ladder. Each is conditioned on the other characters of the
# window, so their sum is not $-\ln p(\text{text})$. Compare them with the tables of the
# first section, on the same windows. (Two imagined characters, shared out by frequency,
# are added to each context: no probability is 0.)


# %% tags=["corpus"]
def table_loss(table, *steps):
    table = table + 2 * frequencies  # the last dimension is the hidden character
    table = table / table.sum(dim=-1, keepdim=True)
    places = torch.tensor([*PLACES])
    p = table[*(windows[:, places + step] for step in (*steps, 0))]
    return -p.log().mean().item()


two_left_new = table_loss(counts, -2, -1)
each_side_new = table_loss(counts.transpose(1, 2), -1, 1)
print(f"table, two on the left:  {two_left_new:.2f} nats")
print(f"table, one on each side: {each_side_new:.2f}")
assert each_side < each_side_new < two_left_new
gap = each_side_new - results["both sides"][0].mean().item()
claim(abs(gap) < 0.2 or corpus.is_stand_in, "the model is about as good as the table")

# %% [markdown]
# A table with one character on each side is about as good as our model after this short
# training. The model knows more characters, and has had little time to learn what to do
# with them.
#
# The fewer losses are a real price, too. On the stand-in play, the text that replaces
# Tiny Shakespeare where there is no network, the rival with all the losses is still
# ahead after so few steps, and so is the table. And the chart of the training shows
# where the steps go.

# %% mystnb={"image": {"alt": "Training losses over 260 steps, each point the mean of 20. Both models that read from the left fall steeply at first. The model with blanks falls more slowly, from above the dashed unigram line."}} tags=["corpus", "measured:wide"]
from lib.show import plot

thinned = {
    name: [sum(losses[i : i + 20]) / 20 for i in range(0, 260, 20)]
    for name, losses in curves.items()
}
steps = {name: 20 + 20 * sum(x > 2.8 for x in y) for name, y in thinned.items()}
for name, step in steps.items():
    print(f"{name}: below 2.8 nats by step {step}")
others = max(steps["from the left"], steps["from the left, few"])
claim(steps["both sides"] > others, "the model with blanks starts later")
levels = {"unigram": unigram}
plot.line_chart(
    thinned, "step", "loss (nats per token)", x=range(20, 261, 20), levels=levels
)

# %% [markdown]
# *The rivals fall below 2.8 nats soon, the model with the blanks much later. Compare the
# shapes, not the levels: the questions differ.*
#
# Imagine the attention away. A model that reads from the left still has its own
# character, and becomes a [bigram](../book/glossary.md#bigram) model. At a blank
# nothing at all would be left but the frequencies. So whatever a blank learns must come
# through the attention, which first has to find the neighbours.

# %% [markdown]
# ## Look
#
# ### What the right side is worth
#
# Hide not only the character, but everything to the right of it except the first few.
# How many does the model need?

# %% tags=["corpus", "measured"]
seen = [0, 1, 2, 3, 4, 5]
by_right = [ask(lambda p: from_both(p, n))[0].mean().item() for n in seen]
for n_right, loss in zip(seen, by_right):
    print(f"{n_right} on the right: {loss:.2f} nats")
rival = models["from the left"]
same = ask(lambda place: from_left(rival, place, n_left=place))[0].mean().item()
print(f"from the left, with the same characters as 0: {same:.2f} nats")
first, second = by_right[0] - by_right[1], by_right[1] - by_right[2]
claim(first > 3 * abs(second), "the first character on the right is worth most")
claim(abs(by_right[2] - by_right[5]) < 0.05, "after the second there is little to gain")
claim(by_right[0] > same + 0.2, "with none, it is worse than its rival")

# %% mystnb={"image": {"alt": "Loss of the two-sided model against the number of visible characters on the right, 0 to 5. With none it lies far above the dashed line of the model that reads from the left; it falls steeply to one, a little to two, and is flat from there."}} tags=["corpus"]
levels = {"from the left": same}
axes = "visible characters on the right", "loss (nats per token)"
plot.line_chart({"both sides": by_right}, *axes, x=seen, levels=levels)

# %% [markdown]
# *The first character on the right is worth most, the second a little, all others
# hardly anything. With none, the model is far worse than the one that reads from the
# left.*
#
# Look at the left end. There the model sees the same characters as its rival, and it is
# far worse. So it is not simply better. Here it faces six to eleven blanks in a row, and
# in training a whole row had five. **It is good at the question that it was asked in
# training.** So read the worth of the first character with care: that is for this model,
# which has never met so many blanks in a row. And that is why *this* model should not
# write. Trained with every share of blanks, up to all, such a model can.
#
# ### Fill in the blanks
#
# A text with blanks goes in, the probabilities for each place come out. Here are the
# three best guesses for each.


# %%
@torch.no_grad()
def fill(text, model=both_sides):
    ids = [BLANK if c == "■" else tokenizer.ids[c] for c in text]
    return model(torch.tensor([ids]))[0].softmax(dim=-1)  # (T, V)


# %% tags=["corpus", "sample"]
for text in ("my lo■d the king", "my l■rd the king", "my lord t■e king"):
    best = fill(text)[text.index("■")].topk(3).indices.tolist()
    print(text, "might be", *[text.replace("■", tokenizer.decode([i])) for i in best])

sure = fill("my lord t■e king")[9, tokenizer.ids["h"]].item()
vowels = fill("my l■rd the king")[4, tokenizer.encode("aeiou")].sum().item()
claim(sure > 0.7, "the h of the is nearly certain")
claim(vowels > 0.7, "between l and r the model expects a vowel")
claim(fill("my lo■d the king")[5].max() < 0.6, "between lo and d it is in doubt")

# %% [markdown]
# The `h` of `the` is nearly certain. In `my l■rd` the model expects a vowel. In `my lo■d`
# it is in doubt: it has learned which letters go together, and not yet which words there
# are.
#
# Move the slider to hide one character after the other.

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider

text = "my lord the king"
hides = [0, 1, 3, 4, 5, 6, 9, 12, 13]
blanked = {place: f"{text[:place]}■{text[place + 1 :]}" for place in hides}
best = {place: fill(blanked[place])[place].topk(6) for place in hides}


def named(place):
    names = plot.visible(tokenizer.decode(best[place].indices.tolist()))
    return dict(zip(names, best[place].values.tolist()))


def draw(place):
    right = plot.visible(text[place])[0]
    axes = f"guess for {blanked[place]} (it was {right})", "probability"
    return plot.bar_chart(named(place), *axes, top=1.0)


def describe(place):
    said = ", ".join(f"{name} {share:.2f}" for name, share in named(place).items())
    return f"Six best guesses for the blank in {blanked[place]}: {said}."


doubt = max(best[place].values[0] for place in (0, 3, 12))
claim(doubt < 0.6, "at the first letter of a word several guesses share")
slider(draw, hides, "blank", alt=describe, name=lambda place: blanked[place], start=6)

# %% [markdown]
# *At `t■e` one bar stands alone. Move to the first letters of `my`, `lord` and `king`:
# there several guesses share the probability, although the rest of the word is visible.*
#
# ### Where it looks
#
# In a model with a causal mask no weight at all lies on the right. What does this one
# do? `attention_maps` of lesson [07](07_multi_head_attention.ipynb) gives the
# [weights](../book/glossary.md#attention-weights). Take the blank at position 7, and
# ask how its row is shared out: `triu(1)` keeps what lies right of the diagonal,
# `tril(-1)` what lies left of it.

# %% tags=["corpus", "measured:wide"]
from lib.evaluate.attention_maps import attention_maps

inputs = windows.clone()
inputs[:, 7] = BLANK
weights = torch.stack(attention_maps(both_sides, inputs)).mean(dim=1)  # (2, 4, 16, 16)
row = weights[:, :, 7].flatten(0, 1)  # (8, 16): where the blank looks, for each head
rightward = weights.triu(1)[:, :, 7].sum(dim=-1)
leftward = weights.tril(-1)[:, :, 7].sum(dim=-1)
near = row[:4, [6, 8]].max(dim=0).values  # layer 1: one step left, one step right
print(f"layer 1, one step left {near[0]:.2f}, one step right {near[1]:.2f}")
print(f"mean of all heads: {leftward.mean():.0%} left, {rightward.mean():.0%} right")
claim(near.min() > 0.8, "in layer 1 a head looks one step left, a head one step right")
claim(row[4:].max() < 0.35, "no head of layer 2 looks at one place")
gap = (leftward.mean() - rightward.mean()).abs()
claim(gap < 0.2, "left and right get about as much")

# %% mystnb={"image": {"alt": "Heat map with eight rows, one per head, and sixteen columns, the positions. In layer 1 one head has a dark cell one step to the left of position 7, where the blank is, and one has it one step to the right. The rows of layer 2 are pale everywhere."}} tags=["corpus"]
heads = [f"{layer}.{head}" for layer in (1, 2) for head in (1, 2, 3, 4)]
labels = ["■" if place == 7 else str(place) for place in range(16)]
axes = "position looked at", "layer.head"
plot.heat_map(row, heads, labels, *axes, size=(7, 3.6), label="weight")

# %% [markdown]
# *In layer 1 one head has nearly all its weight one step to the left of the blank and
# another one step to the right. The heads of layer 2 spread theirs over the whole row.*
#
# Nobody told the model where its neighbours are. For this position it has divided the
# work. (Only position 7 was shown. What the other heads of layer 1 do differs from seed
# to seed: most look two steps away.) That fits the curve above, where a third character
# on the right brings nothing more. In the mean over all heads, left and right get about
# the same weight; the rest lies on the blank itself.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>The trained model gets a text with no blank in it. It never had a loss at a visible place. Does it give back the character that stands there?</summary>
#
# Often not. Nothing ever asked it to. In use that is a pity, for a text without blanks
# is what one wants to read with such a model. So BERT hides only eight in ten of the
# drawn tokens behind a blank. One in ten becomes a random token, and one in ten stays as
# it is, and all of them count in the loss. Then a visible token may be a question, too:
# Exercise 2.
#
# </details>
#
# <details><summary>Two neighbours are hidden, not one. Is the loss at the first of them the same as before?</summary>
#
# No, it is clearly larger: the nearest character on the right is gone. And the
# model answers for each blank by itself. The two best guesses need not fit each other.
# Exercise 3 fills one after the other.
#
# </details>
#
# <details><summary>More blanks give more losses per row. Why not hide 90 % of each row?</summary>
#
# Because next to nothing is left to read: 14 losses per row, and two visible characters.
# Nobody can guess much from these; the cell below asks our model. BERT hides 15 % and
# has few losses per row. It can afford that: its rows have up to 512 tokens, and it
# trains for a million steps ([bibliography](../book/bibliography.md), Devlin et al. 2019).
# <!-- from: blanks "share: float" -->
# <!-- from: predict-then-run "blanks per row" -->
#
# </details>

# %% tags=["corpus", "measured:wide"]
with torch.no_grad():
    copied = (both_sides(windows).argmax(dim=-1) == windows).float().mean().item()
print(f"gives back a visible character: {copied:.0%} of the time")
pair = windows.clone()
pair[:, 7:9] = BLANK
with torch.no_grad():
    loss_of_pair = F.cross_entropy(both_sides(pair)[:, 7], windows[:, 7]).item()
loss_alone = F.cross_entropy(from_both(7), windows[:, 7]).item()
print(f"position 7: {loss_alone:.2f} nats alone, {loss_of_pair:.2f} with 8 hidden too")
inputs, hidden = mask_tokens(windows, BLANK, 0.9, torch.Generator().manual_seed(0))
loss_of_many = masked_loss(both_sides, inputs, windows, hidden).item()
print(f"{hidden[0].sum().item()} blanks per row: {loss_of_many:.2f} nats")
claim(copied < 0.6, "it often does not give back what it sees")
claim(loss_of_pair > loss_alone + 0.2, "a blank beside a blank is harder")
claim(loss_of_many > unigram - 0.5, "with hardly anything to read it hardly knows more")

# %% [markdown]
# ## Exercises

# %%
from lib.checks.lesson_17 import (
    check_corrupt,
    check_count_losses,
    check_fill_in,
    check_scores,
)

# %% [markdown]
# ### Exercise 1: Count the losses
#
# *warm-up · 5 minutes* · [Solution](../solutions/17_masked_language_model.ipynb#exercise-1-count-the-losses)
#
# Each blank gives one loss to learn from. Return how many a model gets in its whole
# training, `n_steps` batches of `batch_size` rows of `context_length` tokens, with the
# blanks of `mask_tokens(ids, mask_id, share)`. An integer.
#
# <details><summary>Hint</summary>
#
# The line with `n_hidden` has the answer for one row. Mind what it does for short rows.
#
# </details>


# %%
def count_losses(n_steps, batch_size, context_length, share):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_count_losses(count_losses)

# %% [markdown]
# ### Exercise 2: What BERT does
#
# *core · 20 minutes* · [Solution](../solutions/17_masked_language_model.ipynb#exercise-2-what-bert-does)
#
# Of the tokens that are drawn, BERT replaces eight in ten by the blank and one in ten by
# a random token, and leaves one in ten as they are. Write it: `ids` is `(B, T)`,
# `hidden` bool `(B, T)`, the places that were drawn. Return the inputs `(B, T)`. Each
# drawn place decides by chance, independently of all others. A random token is any of 0
# to `vocab_size - 1`, each with the same chance (it may happen to be the right one).
# Places that were not drawn stay as they are, and so does `ids` itself. Take all random
# numbers from `generator`.
#
# <details><summary>Hint</summary>
#
# One number between 0 and 1 for each place is enough to decide between the three:
# `torch.rand(ids.shape, generator=generator)`. `torch.where(condition, a, b)` takes
# from `a` where the condition holds, and else from `b`.
#
# </details>


# %%
def corrupt(ids, hidden, mask_id, vocab_size, generator=None):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_corrupt(corrupt)

# %% [markdown]
# ### Exercise 3: One blank after the other
#
# *core · 20 minutes* · [Solution](../solutions/17_masked_language_model.ipynb#exercise-3-one-blank-after-the-other)
#
# A text has several blanks. Fill them one at a time: ask the model for all of them,
# find the blank whose best guess has the highest probability, write that guess there,
# and ask again, until none is left. `model` is a `MaskedLM`, `ids` has shape `(T,)` and
# holds `model.mask_id` where a blank is. Return the filled ids `(T,)`, and leave `ids`
# as it is.
#
# <details><summary>Hint</summary>
#
# `model(ids.unsqueeze(0))[0].softmax(dim=-1).max(dim=-1)` gives the probability of the
# best guess at each place, and which it is. Only the blanks may compete: set the
# probability to -1 elsewhere.
#
# </details>


# %%
def fill_in(model, ids):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_fill_in(fill_in)

# %% [markdown]
# ### Exercise 4: Find the misprint
#
# *stretch · 30 minutes* · [Solution](../solutions/17_masked_language_model.ipynb#exercise-4-find-the-misprint)
#
# One letter of a text is wrong. Which? Hide each character in turn, the others visible,
# and ask how well the model likes what stands there: for `ids` of shape `(T,)` return
# the tensor `(T,)` of $\ln p(x_i \mid \text{all others})$. The lowest is the suspect.
# (Their sum is called the *pseudo-log-likelihood* of the text. *Pseudo*: each term knows
# the other characters, so the sum is not $\ln p(\text{text})$.) Then plant a wrong letter
# in each of a few hundred windows, and count how often your suspect is right. By chance
# it would be one time in sixteen; expect at least three times as many.
#
# <details><summary>Hint</summary>
#
# One call of the model is enough: a batch of T copies of the text, in which row $i$ has
# its blank at position $i$. Of the logits `(T, T, V)` you need those at the blanks:
# index with `places, places`.
#
# </details>


# %%
def scores(model, ids):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_scores(scores)

# %% [markdown]
# ## Recap
#
# - You counted, without any model, that **one character on each side says more than two
#   on the left**: 1.473 nats of doubt against 1.903.
#   <!-- from: by-hand "knowing" -->
# - You built **blanks**, an **encoder that fills them**, and a **loss at the blanks
#   only**. What is hidden does not reach the logits, which a test holds.
# - You saw the **classic bug**, a loss at every position: a third of a loss is shown,
#   because most places are copied.
# - You saw the **same parts with and without the right side**, on the same characters:
#   two sides won. The first character on the right was worth most.
# - You saw the price: five losses per row and not sixteen, a slow start, and a model that
#   fails at a question it was never asked. Trained with few blanks, it should not
#   write.
# - You saw **heads that find the nearest characters**, one on each side.
#
# What such a model is for: it turns a whole text into vectors that know both sides, to
# classify it, to search, to mark names in it. BERT was trained on blanks once, and then
# a little more for each such task.
#
# Which leaves a question. Nothing in an encoder asks what a token *is*: it takes
# vectors with a position, and lets them look at each other. Must tokens be text? That is
# lesson 18.
#
# The library entries of what you built:
# [mask_tokens, MaskedLMConfig and MaskedLM](../book/api.md#modelsmasked_lm),
# [masked_loss](../book/api.md#evaluatelosses).

# %% [markdown]
# ## To read
#
# - Devlin et al. (2019), *BERT*, section 3.1, task 1: the blanks, and why not all of
#   them are blanks; appendix C.2: what happens with other shares of the three.
# - Taylor (1953), *"Cloze Procedure"*: the same game with people, as a measure of how
#   easily a text is read.
# - Wettig et al. (2023), *Should You Mask 15% in Masked Language Modeling?*: more is
#   often better.
# - Salazar et al. (2020), *Masked Language Model Scoring*, section 2: Exercise 4.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
