# %% [markdown]
# # 23 · In-context learning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/23_in_context_learning.ipynb)
#
# You train a small model until it learns to look back, and find the heads that do it.
#
# - **You will build** rows that repeat, two scores that find heads, and a switch that leaves a
#   head out.
# - **You will see** an ability appear within a few dozen steps, and fall to almost nothing without
#   one head of four.
# - **Needs** lessons [07](07_multi_head_attention.ipynb) and [11](11_training.ipynb).
# - **Takes** about 75 minutes, without exercise 4; the notebook runs in under 45 s.

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
# A scaling law knows only of a loss that falls slowly (lesson [22](22_scaling.ipynb)). But a model
# can also do things that it could not do at all a little earlier. One of them is used every day:
# you put a few examples into the prompt, and a model whose weights do not change continues the
# series. That is [in-context learning](../book/glossary.md#in-context-learning). How can a model
# learn from its own input?

# %% [markdown]
# ## The machine
#
# The smallest case is a text that repeats. Whoever looks back can tell what comes next. It takes
# two heads, one above the other:

# %% mystnb={"image": {"alt": "Six letters, m r p k m r. In layer 1 each position takes the letter before it. In layer 2 the last position, an r, looks for a position before which an r stood, finds the p, and predicts p."}}
from lib.show import diagrams

diagrams.induction()

# %% [markdown]
# The first is a [previous-token head](../book/glossary.md#previous-token-head), the second an
# [induction head](../book/glossary.md#induction-head). You will see both come into being.

# %% [markdown]
# ## By hand
#
# What the two heads do together is a look-up in five lines: find the earliest place where the last
# letter stood before, and say what followed it. With `n` = 2 the last *two* letters have to agree.


# %%
def look_up(text, n=1):
    tail = text[-n:]
    for end in range(n, len(text)):
        if text[end - n : end] == tail:
            return text[end]


for text in ("mrpkmr", "abcxbdxb"):
    print(f"{text}  one letter: {look_up(text)}, two: {look_up(text, n=2)}")

# %% [markdown]
# In `mrpkmr` the last letter is an `r`. It stood before, and a `p` followed. Two letters find the
# same place. In `abcxbdxb` a `b` stood twice before, and only two letters tell which `b` is meant.
#
# ### Why one look-up is not enough
#
# [Attention](../book/glossary.md#attention) compares the query of a position with the key of
# another. In the first layer a key knows the letter of its own position. So the last `r` can find
# the earlier `r`. But what it wants is the `p` *beside* it, and the key of that position says only
# "I am a `p`". Write beside each letter what stood before it:

# %%
text = "mrpkmr"
for letter, before in zip(text, "-" + text):
    print(f"letter {letter}, before it {before}")

# %% [markdown]
# Now a search in the second column finds the right row at once, and its first column is the answer.
# Somebody has to write that second column first. That is a look-up too, by place: "take the one to my
# left". So two attentions have to work one after the other: in a single layer no head can use what
# another has found.

# %% [markdown]
# ## The formula
#
# Leave out norms and positions. After layer 1 the vector of position $j$ holds its own letter,
# and what the previous-token head wrote:
#
# $$x'_j = x_j + W_O W_V\, x_{j-1}$$
#
# $x_j$ has $D$ numbers, $W_V$ is $(D_h, D)$ and $W_O$ is $(D, D_h)$. One part of the score of layer
# 2, of position $i$ for position $j$, is then
#
# $$(W_Q\, x_i) \cdot (W_K\, W_O W_V\, x_{j-1})$$
#
# It compares the letter at $i$ with the letter *before* $j$. It is large where both are the same if
# training makes the product of these matrices so. The head then hands on what stands at $j$, the letter
# that followed. Elhage et al. (2021) call this K-composition: the keys of one head are made of what
# another one wrote.

# %% [markdown]
# ## Build
#
# ### Rows that repeat
#
# Each row is random letters, repeated with a period of its own. Random letters cannot be predicted
# from what usually follows; only the row itself tells. `gather(1, places)` picks from each row the
# letters at these places.

# %% tags=["naive:tasks.repeats.draw_repeats"]
import torch


def draw_repeats(n_rows, length, vocab_size, periods, generator=None):
    low, high = periods
    period = torch.randint(low, high + 1, (n_rows, 1), generator=generator)
    ids = torch.randint(vocab_size, (n_rows, length), generator=generator)
    return ids.gather(1, torch.arange(length) % period), period


# %% [markdown]
# A task makes [batches](../book/glossary.md#batch) of them, and says which targets *count*. In the
# first period nothing can be known, and neither can the first letter of the second: it is not yet
# clear that the row repeats.

# %% tags=["naive:tasks.repeats.Repeats"]
from lib.tasks.task import Rows


class Repeats:
    length, vocab_size, periods = 65, 50, (8, 32)

    def batch(self, batch_size, generator):
        sizes = (batch_size, self.length, self.vocab_size, self.periods)
        ids, period = draw_repeats(*sizes, generator)
        counted = torch.arange(1, self.length) > period  # (B, T)
        return Rows(ids[:, :-1], ids[:, 1:], counted)


# %% tags=["same:tasks.repeats.draw_repeats", "same:tasks.repeats.Repeats", "proof"]
# @title Proof: the library draws the same rows
from lib.tasks import repeats as library

ours, theirs = (
    draw(5, 20, 9, (3, 6), torch.Generator().manual_seed(1))
    for draw in (draw_repeats, library.draw_repeats)
)
assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
ours, theirs = (
    task.batch(4, torch.Generator().manual_seed(1))
    for task in (Repeats(), library.Repeats())
)
assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
print("the same rows")

# %% [markdown]
# How good are the two rules on test rows? (The library's `Repeats` has such rows, always the
# same.)

# %%
from lib.tasks.repeats import Repeats

task = Repeats()
letters = [task.tokenizer.decode(row) for row in task.test.inputs]
answers = [task.tokenizer.decode(row) for row in task.test.targets]
places = task.test.counted.nonzero().tolist()
rules = {}
for n in (1, 2):
    found = [look_up(letters[b][: t + 1], n) == answers[b][t] for b, t in places]
    rules[n] = sum(found) / len(found)
    print(f"{len(found):,} targets, rule of {n}: {rules[n]:.3f} right")

# %% [markdown]
# The rule of one letter is often wrong: a letter may stand in the period twice. Two letters
# in a row hardly ever do, but for the first letter that counts only one agrees.
#
# ### A model of attention only
#
# To see the heads and nothing else, leave out the feed-forward networks: `ffn="none"`. The model
# has two layers with two heads each. Its control has *one* layer with all four heads, each as
# large, and so the same number of parameters, less one norm.

# %%
from lib.models import count_parameters
from lib.models.gpt import GPT, GPTConfig

base = dict(vocab_size=50, context_length=64, d_model=64, ffn="none", init="normal")
base |= dict(attention_bias=False, tie_weights=False)
two_layers = GPTConfig(**base, n_layers=2, n_heads=2)
one_layer = GPTConfig(**base, n_layers=1, n_heads=4, d_head=32)
for config in (two_layers, one_layer):
    print(config.n_layers, "layers:", f"{count_parameters(GPT(config)):,} parameters")

# %% [markdown]
# ### Two scores
#
# `attention_maps` of lesson 07 gives the weights `(B, H, T, T)` of each layer. A previous-token head
# has its weight just below the diagonal: $w_{i,\,i-1}$, on average over all positions but the first.

# %% tags=["naive:evaluate.induction.previous_token_score"]
def previous_token_score(weights):
    before = weights.diagonal(-1, dim1=-2, dim2=-1)  # (B, H, T - 1)
    return before.mean(dim=(0, 2))  # (H,)


# %% [markdown]
# An induction head at position $i$ of a row with period $p$ looks at $i - p + 1$: at what followed
# its letter one period ago. Two periods ago serves as well, $i - 2p + 1$, and so on. The score adds
# up the weight on these places, on average over all $i \ge p$. Place 0 follows nothing, so it does
# not count.

# %% tags=["naive:evaluate.induction.induction_score"]
def induction_score(weights, period):
    places = torch.arange(weights.size(-1))
    back = places[:, None] - places  # (T, T): how far it is from i to j
    period = period[:, None]  # (B, 1, 1)
    followed = (back >= 0) & ((back + 1) % period == 0) & (places > 0)  # (B, T, T)
    found = (weights * followed[:, None]).sum(dim=-1)  # (B, H, T)
    repeats = places >= period.squeeze(1)  # (B, T)
    return (found * repeats[:, None]).sum(dim=(0, 2)) / repeats.sum()


# %% [markdown]
# The scores of a model that has learned nothing yet:

# %%
from lib.evaluate.attention_maps import attention_maps

generator = torch.Generator().manual_seed(77)
ids, period = draw_repeats(128, 65, 50, (8, 32), generator)
assert torch.equal(ids[:, :-1], task.test.inputs)  # so these are the test rows


def scores(model):
    first, second = attention_maps(model, task.test.inputs)
    return previous_token_score(first), induction_score(second, period)


torch.manual_seed(0)
for name, values in zip(("previous", "induction"), scores(GPT(two_layers))):
    print(name, [round(value, 2) for value in values.tolist()])

# %% [markdown]
# All are small: such heads spread their weight over everything before them.
#
# ### Leaving a head out
#
# What a head found goes through its own columns of the matrix `out_proj` into the
# [residual stream](../book/glossary.md#residual-stream). Set these columns to 0, and the head writes
# nothing. This is called [ablation](../book/glossary.md#ablation). The forward pass stays as it is,
# and `finally` puts the numbers back, also after an error.

# %% tags=["naive:evaluate.induction.without_head"]
from contextlib import contextmanager


@contextmanager
def without_head(model, layer, head):
    attention = model.blocks[layer].attention
    size = attention.d_head
    columns = attention.out_proj.weight.detach()[:, head * size : (head + 1) * size]
    kept = columns.clone()
    columns.zero_()
    try:
        yield
    finally:
        columns.copy_(kept)


# %% tags=["same:evaluate.induction.previous_token_score", "same:evaluate.induction.induction_score", "same:evaluate.induction.without_head", "proof"]
# @title Proof: the library's scores and its switch give the same numbers
from lib.evaluate import induction as library

torch.manual_seed(0)
model = GPT(two_layers)
weights = attention_maps(model, task.test.inputs)[0]
assert torch.equal(previous_token_score(weights), library.previous_token_score(weights))
ours, theirs = (f(weights, period) for f in (induction_score, library.induction_score))
assert torch.allclose(ours, theirs)
logits = []
for switch in (without_head, library.without_head):
    with switch(model, 1, 0):
        logits.append(model(ids[:4, :-1]))
assert torch.equal(*logits) and not torch.equal(model(ids[:4, :-1]), logits[0])
print("the same numbers")

# %% [markdown]
# ## Experiment: when does it begin?
#
# Train the model of two layers, and look at the test rows every 20 steps. `masked_loss` of lesson
# [17](17_masked_language_model.ipynb) is the loss at the counted places only. (The control comes
# below.)

# %% tags=["hide-input"]
# @title Training, and the accuracy on the letters of the repetition
from lib.evaluate.losses import masked_loss
from lib.train import Training, train
from lib.train.settings import TrainConfig


@torch.no_grad()
def accuracy(model, rows=task.test):
    hits = model.eval()(rows.inputs).argmax(dim=-1) == rows.targets
    return hits[rows.counted].double().mean().item()


def train_on(model, task, look, **recipe):
    recipe = dict(learning_rate=0.003, optimizer="adamw", n_warmup=50) | recipe
    training = Training(model, TrainConfig(**recipe), masked_loss)
    generator = torch.Generator().manual_seed(0)
    train(training, lambda: task.batch(32, generator), 20, lambda: look(model))


# %%
recipe = dict(n_steps=700, schedule="constant")
torch.manual_seed(0)
model, history = GPT(two_layers), []


def look(model):
    before, after = (values.max().item() for values in scores(model))
    first = attention_maps(model, task.test.inputs)[0]
    two_back = first.diagonal(-2, 2, 3).mean(dim=(0, 2)).max().item()
    with torch.no_grad():
        loss = masked_loss(model, *task.test).item()
    history.append((loss, accuracy(model), after, before, two_back))
    return loss


train_on(model, task, look, **recipe)

# %% [markdown]
# The loss falls, and scores rise: the largest of the heads of layer 2 for induction, and of layer 1
# the largest mean weight on the letter one back, and two back. (The loss is drawn as a share of
# $\ln 50$, the loss of a blind guess.)

# %% mystnb={"image": {"alt": "Five lines over 700 steps. The loss falls little at first, then steeply. Accuracy jumps most of the way, rests there, and later climbs to almost one. The induction score rises with the jump. The weight one back grows slowly during the rest, and comes near one only with the second climb, when the weight two back rises too."}}
import math

from lib.show import plot

columns = [torch.tensor(column) for column in zip(*history)]
names = ("loss, share of ln 50", "accuracy", "induction", "one back", "two back")
columns[0] = columns[0] / math.log(50)
lines = {name: column.tolist() for name, column in zip(names, columns)}
steps = [20 * n for n in range(1, len(history) + 1)]
plot.line_chart(lines, "step", "share", steps)

# %% [markdown]
# In numbers:

# %% tags=["measured:wide"]
learned = columns[1]
for goal in (0.5, 0.85, 0.95):
    step = steps[(learned > goal).nonzero()[0].item()]
    there = step // 20 - 1
    looks = f"one back {columns[3][there]:.2f}, two back {columns[4][there]:.2f}"
    print(f"accuracy above {goal:.2f} after {step} steps: {looks}")
print(f"at the end {learned[-1]:.3f}")

# %% tags=["proof"]
# @title Proof: what the text says about the curve
from lib.checks.claims import claim

claim(learned[-1] >= 0.97, "at the end nearly all letters of the repetition are right")
claim(learned[-1] > rules[2], "more than with the rule of two letters")
claim(learned[2] < 0.25, "after 60 steps it still guesses")
rise = (learned > 0.8).nonzero()[0] - (learned > 0.25).nonzero()[0]
claim(rise <= 5, "from .25 to .80 takes at most 100 steps")
plateau = ((learned > 0.86) & (learned < 0.92)).sum()
claim(plateau >= 5, "it rests near .9 for 100 steps or more")
jump, climb = ((learned > goal).nonzero()[0] for goal in (0.8, 0.95))
claim(columns[3][jump] < 0.6 < columns[3][climb], "one back is sharp only later")
claim(columns[4][jump] < 0.2 < columns[4][-1], "two back comes with the second step")

# %% [markdown]
# For a while there is little. Then, within a hundred steps, most letters are right: a
# [phase change](../book/glossary.md#phase-change). After the jump the curve rests, and climbs once more. In the jump the heads of layer 1 begin to look
# one back, not sharply yet: a little is enough. In the second climb they *divide the work*: one looks
# sharply at the letter before, and the other moves two back. What for? Look at the heads one by one.
#
# ### Who does it?
#
# First the maps of one row with a short period. Thin red dots mark the diagonal just below the main
# one, in layer 1, and in layer 2 the stripes where the next letter stood one and two periods ago.

# %% mystnb={"image": {"alt": "Four maps of attention, two heads in each of two layers, over 24 letters with period 8. In layer 1 one head follows the marked diagonal, and the other a diagonal further back. In layer 2 both heads follow the marked stripes once the row repeats."}}
row, _ = draw_repeats(1, 24, 50, (8, 8), torch.Generator().manual_seed(3))
maps = [weights[0] for weights in attention_maps(model, row)]
figure = plot.attention_maps(maps, task.tokenizer.decode(row[0]))
for axes, marked in zip(figure.axes, ((1,), (1,), (7, 15), (7, 15))):
    for back in marked:
        looks = torch.arange(back + 1, 24)
        axes.plot(looks - back, looks, ".", color="C3", markersize=2)
figure

# %% [markdown]
# Now the scores of all heads (`1.2` is the second of layer 1), and what is left of the accuracy
# without each of them:

# %% tags=["measured:wide"]
heads = [(layer, head) for layer in (0, 1) for head in (0, 1)]
weights = attention_maps(model, task.test.inputs)
left = {}
for layer, head in heads:
    before = previous_token_score(weights[layer])[head]
    after = induction_score(weights[layer], period)[head]
    with without_head(model, layer, head):
        left[layer, head] = accuracy(model)
    text = f"previous {before:.2f}, induction {after:.2f}"
    print(f"{layer + 1}.{head + 1}: {text}, without it {left[layer, head]:.2f} right")

# %% tags=["proof"]
# @title Proof: what the text says about the heads
before, after = scores(model)
finder = before.argmax().item()
claim(before[finder] >= 0.8, "one head of layer 1 is a previous-token head")
claim(before[1 - finder] <= 0.3, "the other is none")
claim(after.min() >= 0.7, "both heads of layer 2 are induction heads")
claim(left[0, finder] <= 0.2, "without the previous-token head little is left")
claim(min(left[head] for head in heads if head != (0, finder)) >= 0.7, "others: .7")
claim(min(left[1, 0], left[1, 1]) >= 0.9, "one induction head is enough")
with without_head(model, 1, 0), without_head(model, 1, 1):
    neither = accuracy(model)
claim(neither <= 0.1, "without both nothing is left")

# %% [markdown]
# - **Without the previous-token head almost nothing is left.** It is one of four heads.
# - **Without one of the two induction heads nearly nothing is missing.** Both do the same work, and
#   each can stand in for the other. A head that is not missed may still matter.
# - **Without the other head of layer 1 most is left**, and a part is missing. Which one?
#
# Look where the heads of layer 1 look: the mean weight at each distance.

# %% tags=["measured:wide"]
for head in range(2):
    near = [weights[0].diagonal(-back, 2, 3)[:, head].mean() for back in range(5)]
    print("0 to 4 back:", [round(share.item(), 2) for share in near])

# %% tags=["proof"]
# @title Proof: what the text says about the second step
other = 1 - finder
two_back = weights[0].diagonal(-2, 2, 3)[:, other].mean()
claim(two_back >= 0.25, "the other head looks two back")
claim(abs(left[0, other] - 0.87) < 0.06, "without it the first step is left")

# %% [markdown]
# The other head looks *two* back. With the letter before and the one before that in the stream,
# layer 2 compares two letters at once. That is the rule of two letters, learned by training. Without
# this head the accuracy falls back to that of the rule of one letter, a little below where the curve
# rested.
#
# Move the slider to leave out one head after the other. The bars show the accuracy on the first
# letter that counts, on the second, and on later ones.

# %%
from lib.show import frames

nth = torch.arange(1, 65) - period  # 1 for the first letter that counts
groups = {"first": nth == 1, "second": nth == 2, "third": nth == 3, "later": nth > 3}


@torch.no_grad()
def bars():
    hits = model(task.test.inputs).argmax(dim=-1) == task.test.targets
    return {name: hits[where].double().mean().item() for name, where in groups.items()}


# %% tags=["hide-input", "sample"]
# @title The slider
everything = bars()
states = {"no head": everything}
for layer, head in heads:
    with without_head(model, layer, head):
        states[f"{layer + 1}.{head + 1}"] = bars()
draw = lambda name: plot.bar_chart(
    states[name], f"letter of the repetition; left out: {name}", "accuracy", top=1.0
)
says = lambda name: f"Left out: {name}. " + ", ".join(
    f"{group} {share:.2f}" for group, share in states[name].items()
)
frames.slider(draw, [*states], "left out (layer.head)", says)

# %% [markdown]
# The first letter that counts has only one letter to go by. The rule of two misses it; the model still
# goes by one.
#
# ### Five seeds, and the controls
#
# `python book/_tools/induction.py` trained five of each, with the same recipe.
# The last row is a usual GPT of two layers, with feed-forward networks.

# %%
import json

import lib

record_file = Path(lib.__file__).parents[1] / "data" / "induction.json"
runs = json.loads(record_file.read_text("utf-8"))["runs"]
for name in ("two layers", "one layer", "with feed-forward"):
    last = [curve[-1] for curve in runs[name]["accuracy"]]
    print(f"{name:17} {runs[name]['parameters']:,} parameters: {last}")

# %% [markdown]
# And of the two layers: the best previous-token score, the accuracy without that head, and the
# lowest accuracy without another one.

# %%
table = runs["two layers"]
for previous, without in zip(table["previous"], table["without"]):
    best = max(range(2), key=lambda head: previous[0][head])
    others = [without[0][1 - best], *without[1]]
    print(previous[0][best], "without it", without[0][best], "others", min(others))

# %% tags=["proof"]
# @title Proof: what the list says about the recorded runs
last = {n: [c[-1] for c in run["accuracy"]] for n, run in runs.items()}
assert min(last["two layers"]) >= 0.97 and max(last["one layer"]) <= 0.3
assert sum(share > 0.95 for share in last["with feed-forward"]) == 1
for previous, without in zip(table["previous"], table["without"]):
    best = max(range(2), key=lambda head: previous[0][head])
    assert previous[0][best] >= 0.8 and without[0][best] <= 0.2
    assert min(without[0][1 - best], *without[1]) >= 0.7
print("so it stands in the table")

# %% [markdown]
# - **Two layers learn it with every seed, one layer never does**, though it has as many heads and
#   parameters.
# - **With feed-forward networks four of five models stop at the first step.** More parameters do not
#   help here. Whether these would get there later was not tried.

# %% [markdown]
# ## Check
#
# ### The classic bug: one period for all
#
# Suppose all rows had the same period. The right place is then always equally far back, and can be
# found by position. A single layer will do. Train the control so, and test it on rows of the same
# kind, and on rows with other periods.

# %% tags=["measured:wide"]
fixed = Repeats(shortest=16, longest=16)
torch.manual_seed(0)
shortcut = GPT(one_layer)
train_on(shortcut, fixed, lambda model: 1.0, n_steps=300)
same, others = accuracy(shortcut, fixed.test), accuracy(shortcut)
print(f"period 16: {same:.2f}, other periods: {others:.2f}")

# %% tags=["proof"]
# @title Proof: what the text says about the shortcut
claim(same >= 0.95, "one layer learns a fixed period")
claim(others <= 0.3, "and does not look back by content")

# %% [markdown]
# The test rows are new, and the score on them is almost perfect. Yet the model never compares
# letters. Held-out rows do not help if they share the shortcut.

# %% [markdown]
# ## Experiment: a rule from examples
#
# Copying is not all. Let a row hold solved examples, called [shots](../book/glossary.md#few-shot):
# a capital letter, and its label. Capitals are of two kinds by turns: `A`, `C`, `E` and so on are of
# one, `B`, `D`, `F` of the other. The labels of the two kinds are drawn anew for each row, so only
# the row tells them. The last capital may be one that no shot has shown.

# %% tags=["naive:tasks.patterns.draw_patterns"]
def draw_patterns(n_rows, shots, n_items, n_labels, held_out=False, generator=None):
    rules = [(a, b) for a in range(n_labels) for b in range(n_labels) if a != b]
    rules = torch.tensor([r for r in rules if (sum(r) % 5 == 0) == held_out])
    drawn = rules[torch.randint(len(rules), (n_rows,), generator=generator)]  # (B, 2)
    items = torch.randint(n_items, (n_rows, shots + 1), generator=generator)
    labels = n_items + drawn.gather(1, items % 2)
    return torch.stack([items, labels], dim=-1).flatten(1), items % 2


# %% [markdown]
# One rule in five is kept for the test. A model that has learned pairs of labels by heart fails
# there. All labels count: the first is a guess, the second has one shot before it.

# %% tags=["naive:tasks.patterns.Patterns"]
class Patterns:
    sizes = dict(shots=8, n_items=16, n_labels=20)

    def batch(self, batch_size, generator):
        ids, _ = draw_patterns(batch_size, **self.sizes, generator=generator)
        counted = torch.arange(ids.size(1) - 1) % 2 == 0  # after an item comes a label
        return Rows(ids[:, :-1], ids[:, 1:], counted.expand(batch_size, -1))


# %% tags=["same:tasks.patterns.draw_patterns", "same:tasks.patterns.Patterns", "proof"]
# @title Proof: the library draws the same rows
from lib.tasks import patterns as library

for held_out in (False, True):
    ours, theirs = (
        draw(6, 3, 8, 10, held_out, torch.Generator().manual_seed(1))
        for draw in (draw_patterns, library.draw_patterns)
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
ours, theirs = (
    task_.batch(4, torch.Generator().manual_seed(1))
    for task_ in (Patterns(), library.Patterns())
)
assert all(torch.equal(a, b) for a, b in zip(ours, theirs))
print("the same rows")

# %% [markdown]
# Three rows of the test, each with its question at the end:

# %%
from lib.tasks.patterns import Patterns

puzzles = Patterns()
for row in puzzles.test.inputs[:3]:
    print(puzzles.tokenizer.decode(row), "?")

# %% [markdown]
# Solve the first one yourself.
#
# <details><summary>The answer</summary>
#
# `f`: `A` is of the kind of `O`, `G` and `I`, whose label is `f`.
#
# </details>
#
# What is the best that anyone can do after $k$ shots? With the share $1 - 1/2^k$ a shot has shown
# the label of this kind. Otherwise the other label is known not to be it, and one of 19 has to be
# guessed. Train a model like the one before, but with larger first weights (`fan_in`), a falling rate,
# and Muon of lesson [11](11_training.ipynb):

# %% tags=["measured"]
config = GPTConfig(**base | dict(vocab_size=36, init="fan_in"), n_heads=2, n_layers=2)
torch.manual_seed(0)
solver = GPT(config)
muon = dict(optimizer="muon", learning_rate=0.005, muon_learning_rate=0.01)
train_on(solver, puzzles, lambda model: 1.0, n_steps=300, schedule="linear", **muon)
with torch.no_grad():
    hits = solver.eval()(puzzles.test.inputs).argmax(dim=-1) == puzzles.test.targets
right = hits[:, ::2].double().mean(dim=0)  # by number of shots
best = [1 - 0.5**k + 0.5**k / (19 if k else 20) for k in range(9)]
for k in (0, 1, 2, 4, 8):
    print(f"{k} shots: {right[k]:.2f} right, at best {best[k]:.2f}")

# %% [markdown]
# As a picture, with a control that comes below:

# %% mystnb={"image": {"alt": "Two lines over the number of shots, from 0 to 8. The model's accuracy and the best possible one lie close together, from two shots on one on the other, and rise from nearly 0 over one half to nearly 1. A dashed line shows the accuracy after shots with shuffled labels, near one half."}}
shuffled = sum(runs["patterns"]["shuffled"]) / 5
lines = {"model": right.tolist(), "best possible": best}
plot.line_chart(lines, "shots", "accuracy", levels={"8 shots, shuffled": shuffled})

# %% tags=["proof"]
# @title Proof: what the text says about shots
gap = (right - torch.tensor(best)).abs()
claim(gap[2:].max() < 0.04, "it is as good as possible from two shots on")
claim(right[8] >= 0.95, "after eight shots nearly all are right")
claim(abs(right[1] - 0.5) < 0.08, "after one shot about half")

# %% [markdown]
# After one shot half are right, after eight nearly all, with rules that were never in the training
# rows. No weight changes between the first shot and the last. **From two shots on the model is as good
# as possible.**
#
# The dashed line is the control: the same labels, shuffled among the shots. If the model only noted
# which labels occur, it would not mind. These are the recorded runs of five seeds, after eight
# shots:

# %%
for name in ("patterns", "patterns, one layer", "patterns, as above"):
    right_after = [shots[8] for shots in runs[name]["by_shots"]]
    print(f"{name:19} {right_after}, shuffled {runs[name]['shuffled']}")

# %% tags=["proof"]
# @title Proof: what the text says about the recorded runs
eight = {n: [s[8] for s in r["by_shots"]] for n, r in runs.items() if "by_shots" in r}
assert min(eight["patterns"]) >= 0.95 and max(runs["patterns"]["shuffled"]) < 0.7
assert max(eight["patterns, one layer"]) < 0.7
assert sum(share > 0.95 for share in eight["patterns, as above"]) == 1
print("so it stands in the table")

# %% [markdown]
# - **Shuffled labels cost the answer**: about half are right, as by tossing a coin between the two.
#   (Large models mind less, Min et al. (2022): they know many tasks already. Here the shots are all
#   there is.)
# - **One layer fails again**, for the same reason: the label stands beside the item.
# - **The recipe of the first experiment fails with four of five seeds** (*as above*): the model finds
#   out which two labels occur, and gets no further. What a model *can* learn it need not learn.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You train the one-layer model on rows of period 16 only, and it gets all right. Which score of its heads is high: previous token, induction, both?</summary>
#
# Only the induction score. It asks where a head looks, and not why. The head always looks equally far
# back, by position. A high score alone does not make an induction head: test it on other periods.
#
# </details>
#
# <details><summary>What is the induction score of a head that looks at the earlier place of the *same* letter, one period back?</summary>
#
# 0. It is one place off: the score wants what followed.
#
# </details>
#
# <details><summary>The two induction heads stand in for each other. What do you expect if you leave out both?</summary>
#
# The accuracy of a guess. To measure what a group does, leave out the group.
#
# </details>

# %% tags=["answer", "measured:wide"]
# @title Answers: the shortcut's scores, the same letter, both induction heads
fixed_period = torch.full((128, 1), 16)
weights = attention_maps(shortcut, fixed.test.inputs)[0]
print(f"shortcut: previous {previous_token_score(weights).max():.2f}, ", end="")
print(f"induction {induction_score(weights, fixed_period).max():.2f}")
same_letter = torch.zeros(1, 1, 30, 30)
same_letter[0, 0, torch.arange(8, 30), torch.arange(22)] = 1
score = induction_score(same_letter, torch.tensor([[8]])).item()
print(f"same letter: {score:.2f}, without both: {neither:.2f}")
assert score == 0

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_23 import (
    check_damage,
    check_followers,
    check_longest_tail,
    check_looks_back,
)

# %% [markdown]
# ### Exercise 1: The longest tail
#
# *warm-up · 10 minutes* · [Solution](../solutions/23_in_context_learning.ipynb#exercise-1-the-longest-tail)
#
# The rule of two letters has no answer where only one agrees, and that of one letter is often
# wrong. Return what follows the earliest place of the *longest* tail that stood before, of at most
# `most` letters; `None` if not even the last letter did.
#
# <details><summary>Hint</summary>
#
# Try `look_up(text, n)` with `n` from `most` downwards.
#
# </details>


# %%
def longest_tail(text, most=3):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_longest_tail(longest_tail)

# %% [markdown]
# ### Exercise 2: How far back?
#
# *core · 15 minutes* · [Solution](../solutions/23_in_context_learning.ipynb#exercise-2-how-far-back)
#
# Return for each head its mean weight at each distance, `(H, n_back)`: column 0 for the
# position itself, column 1 for the one before, and so on. A mean at distance $d$ goes over those
# positions that have one so far back, in all rows. `weights` is `(B, H, T, T)`, `n_back` at most `T`.
#
# <details><summary>Hint</summary>
#
# `weights.diagonal(-d, dim1=-2, dim2=-1)` is `(B, H, T - d)`.
#
# </details>


# %%
def looks_back(weights, n_back):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_looks_back(looks_back)

# %% [markdown]
# ### Exercise 3: The damage
#
# *core · 15 minutes* · [Solution](../solutions/23_in_context_learning.ipynb#exercise-3-the-damage)
#
# `measure(model)` returns a number. Return a tensor `(L, H)`: by how much it *falls* without each
# head. Afterwards the model is as it was. Models differ in layers, heads, and the size of their
# heads.
#
# <details><summary>Hint</summary>
#
# `without_head`, and two loops. Measure the whole model first. A head has `attention.d_head` numbers,
# and `out_proj.in_features` is what all heads have together.
#
# </details>


# %%
def damage(model, measure):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_damage(damage)

# %% [markdown]
# ### Exercise 4: Two heads without training
#
# *stretch · 25 minutes* · [Solution](../solutions/23_in_context_learning.ipynb#exercise-4-two-heads-without-training)
#
# Set the weights by hand. `ids` is `(B, T)`. Return `(B, T, V)`: for each position the shares of
# the letters that have followed its letter so far in its row, its own place included. All places count alike; a position
# whose letter has not stood before gets zeros. Use two attentions: one hands each position the
# letter before it, the next compares. No loop over positions.
#
# <details><summary>Hint</summary>
#
# The letter before is `ids` moved by one; position 0 has none. `(ids[:, :, None] == before[:, None])`
# is a table `(B, T, T)`, to which a causal mask belongs. `one_hot` makes the values.
#
# </details>


# %%
def followers(ids, vocab_size):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_followers(followers)

# %% [markdown]
# ## Recap
#
# - You built **rows that repeat** with random periods, so that only a look back can tell the next
#   letter.
# - You built two **scores** that find heads by where they look, and a **switch** that leaves a head
#   out.
# - You saw a **phase change** in two steps, and the heads behind both: the letter before, then the
#   two before. Without the previous-token head almost nothing is left. One layer never learns it.
# - You saw a small model learn **a rule from shots** as well as anyone could, and a recipe with
#   which it mostly does not.
#
# What is still wrong: the answer has to stand in the prompt, beside something that is like the
# question. What about answers that have to be worked out, step by step? That is lesson
# [24](24_reasoning.ipynb).
#
# The library's entries: [scores and without_head](../book/api.md#evaluateinduction),
# [repeats](../book/api.md#tasksrepeats), [patterns](../book/api.md#taskspatterns).

# %% [markdown]
# ## To read
#
# - Olsson et al. (2022), *In-context Learning and Induction Heads*: the phase change in large
#   models too, "Argument 1"; the scores in "Head activation evaluators".
# - Elhage et al. (2021), *A Mathematical Framework for Transformer Circuits*: sections on one-layer
#   and two-layer attention-only models.
# - Michel, Levy and Neubig (2019), *Are Sixteen Heads Really Better than One?*, section 3: most
#   heads can be left out, one at a time.
# - Min et al. (2022), *Rethinking the Role of Demonstrations*, section 4: random labels in the
#   shots.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: rows that the model never saw
#
# The shortcut fails on rows with another period. So give the model of two layers rows of a new
# kind: periods below 8 and above 32, fewer letters, and letters of which a few are very frequent.

# %% tags=["sample"]
def unseen(periods, n_letters=50, skewed=False):
    generator = torch.Generator().manual_seed(5)
    ids, period = draw_repeats(256, 65, n_letters, periods, generator)
    if skewed:
        share = 1 / torch.arange(1.0, n_letters + 1)
        ids = torch.multinomial(share, 256 * 65, True, generator=generator)
        ids = ids.view(256, 65).gather(1, torch.arange(65) % period)
    nth = torch.arange(1, 65) - period
    rows = [Rows(ids[:, :-1], ids[:, 1:], where) for where in (nth == 1, nth > 1)]
    return [accuracy(model, each) for each in rows]


tests = {f"period {p}": unseen((p, p)) for p in (2, 4, 40, 48, 56)}
tests |= {f"{n} letters": unseen((8, 32), n) for n in (25, 10)}
tests["skewed"] = unseen((8, 32), skewed=True)
for name, (first, others) in tests.items():
    print(f"{name:10} first letter {first:.2f}, others {others:.2f}")

# %% tags=["proof"]
# @title Proof: what the text says about such rows
later = {name: others for name, (_, others) in tests.items()}
claim(min(later[f"period {p}"] for p in (2, 4)) >= 0.9, "short periods are no problem")
claim(min(later[f"period {p}"] for p in (40, 48, 56)) >= 0.9, "nor are long ones")
claim(max(tests[f"period {p}"][0] for p in (40, 48, 56)) < 0.7, "but the first letter")
claim(later["10 letters"] < later["25 letters"], "few letters are harder than many")

# %% [markdown]
# It mostly carries over, which the shortcut could not do. Longer periods cost only the first letter
# that counts: the model often misses a repetition that begins later than any did in training. With ten
# letters, even pairs of letters stand in a period twice, and no rule of two letters can tell them
# apart.
