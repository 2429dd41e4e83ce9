# %% [markdown]
# # Bug museum, room 3: Losses and gradients
#
# [![Open in Colab](../_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/book/museum/03_losses.ipynb)
#
# The loss falls in all five of these trainings. None of them is the training that was meant.
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
# ## It is right, and gets no credit
#
# *Where: [Transformers, pull request 37830](https://github.com/huggingface/transformers/pull/37830). To read: lesson [11](../../lessons/11_training.ipynb).*
#
# The data loader gives inputs and targets, and target t is the token after input t. The loss
# falls and stays well above what others reach. What the model writes looks like text of which
# every other letter is missing.
#
# Below is a model that predicts every next token, and is sure of it.

# %%
def next_token_loss(logits, targets):
    """Nats, from logits (B, T, V); targets[:, t] is the token after input t."""
    logits, targets = logits[:, :-1], targets[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

# %%
text = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
targets = text[:, 1:]
perfect = 20.0 * F.one_hot(targets, 10)  # logits: certain, and right
print(f"a perfect model: {next_token_loss(perfect, targets).item():.1f} nats")

# %% [markdown]
# The hunt: mend `next_token_loss` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("next-token-loss", next_token_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Who moves the targets by one: the data loader, the loss, or both?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Both did. The targets were already one token ahead, and the loss moved them once more, so the
# model was trained to predict the token after the next. It can be done, just not as well, which
# is why the loss falls at all. One place must be responsible for the shift; here it is the one
# that makes the targets.
#
# ```diff
# -    logits, targets = logits[:, :-1], targets[:, 1:]
# ```
#
# Planted in this course's `lib/train/__init__.py` it makes `test_the_loss_is_that_of_the_whole_batch_before_the_update`
# fail, in `tests/test_train.py`.
#
# </details>

# %% [markdown]
# ## The loss that cannot fall
#
# *Where: a classic of the field. To read: lesson [02](../../lessons/02_bigram.ipynb).*
#
# The model gets better and better at naming the right token. Its loss goes down a little and
# stops at a value that does not look special. A larger model, a longer run and another rate all
# end at the same number.

# %%
def token_loss(logits, targets):
    """The mean of -ln p(target), with p = softmax(logits): (N, V) and (N,)."""
    probabilities = logits.softmax(dim=-1)
    return F.cross_entropy(probabilities, targets)

# %%
for score in (0.0, 5.0, 50.0):
    logits = torch.tensor([[score, 0.0, 0.0, 0.0]])
    loss = token_loss(logits, torch.tensor([0]))
    print(f"{score:4} for the right token, 0 for the others: {loss:.3f} nats")

# %% [markdown]
# The hunt: mend `token_loss` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("token-loss", token_loss)

# %% [markdown]
# <details><summary>Hint</summary>
#
# What does `F.cross_entropy` expect: logits or probabilities?
#
# </details>
#
# <details><summary>Answer</summary>
#
# `F.cross_entropy` takes logits, and does the softmax itself. Given probabilities it takes a
# softmax of them: numbers between 0 and 1 are nearly equal as logits, and even certainty is not
# rewarded. The gradient gets small as well, so learning is slow and looks like a hard problem. Taking
# the logarithm of the probabilities instead would overflow where the logits are large.
#
# ```diff
# -    probabilities = logits.softmax(dim=-1)
# -    return F.cross_entropy(probabilities, targets)
# +    return F.cross_entropy(logits, targets)
# ```
#
# Planted in this course's `lib/evaluate/losses.py` it makes `test_cross_entropy_equals_torch`
# fail, in `tests/test_bigram.py`.
#
# </details>

# %% [markdown]
# ## Less memory, another model
#
# *Where: [Transformers, pull request 34191](https://github.com/huggingface/transformers/pull/34191). To read: lesson [11](../../lessons/11_training.ipynb).*
#
# The batch does not fit into memory, so it comes in parts, and the gradients are added up before
# the update. On texts cut into equal rows the losses agree with those of the batch in one piece.
# On questions and answers, where only some targets count, they do not. A target of -100 does not
# count; `F.cross_entropy` leaves it out of its mean.

# %%
def backward_in_parts(model, loss_of, parts):
    """Add up the gradients of a batch that comes in parts: [(inputs, targets), ...].

    loss_of is the mean over the targets of a part that are not -100, which do not
    count. Returns the loss of the whole batch.
    """
    total = 0.0
    for inputs, targets in parts:
        loss = loss_of(model(inputs), targets) / len(parts)
        loss.backward()
        total += loss.item()
    return total

# %%
rows = torch.tensor([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
targets = torch.tensor([0, -100, 0, 0])  # the second does not count
for sizes in ([4], [2, 2], [3, 1]):
    logits = rows.clone().requires_grad_()
    parts = [*zip(logits.split(sizes), targets.split(sizes))]
    loss = backward_in_parts(nn.Identity(), F.cross_entropy, parts)
    print(f"parts of {sizes} rows: a loss of {loss:.2f}")

# %% [markdown]
# The hunt: mend `backward_in_parts` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("parts-of-a-batch", backward_in_parts)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Two parts with 90 and with 10 targets that count. How much should each of the 90 weigh in the
# mean over all 100, and how much does it weigh here?
#
# </details>
#
# <details><summary>Answer</summary>
#
# A mean of means is the mean only where all parts are equally large. Here each part got the same
# say, however many of its targets count, so a target in a part with few others weighed more. Each part
# has to be weighted by its counted targets, divided by those of the whole batch. Large
# libraries did it so for a long time, because on rows of equal length nothing shows.
#
# ```diff
# -    total = 0.0
# +    total, counted = 0.0, sum((t != -100).sum() for _, t in parts)
# -        loss = loss_of(model(inputs), targets) / len(parts)
# +        loss = loss_of(model(inputs), targets) * (targets != -100).sum() / counted
# ```
#
# Planted in this course's `lib/train/parallel.py` it makes `test_parts_give_the_loss_and_gradients_of_the_whole`
# fail, in `tests/test_counted_targets.py`.
#
# </details>

# %% [markdown]
# ## Every step goes a little sideways
#
# *Where: [Transformers, issue 581](https://github.com/huggingface/transformers/issues/581). To read: lesson [11](../../lessons/11_training.ipynb).*
#
# Now and then a gradient is far too long, so it is clipped: if it is longer than a limit, it is
# made shorter. Its direction should stay. The runs do not blow up any more, but those with a low
# limit end worse than those without one, as if they went somewhere else.

# %%
def clip_gradients(parameters, limit):
    """Shorten the gradient of a list of parameters to the length `limit`."""
    for p in parameters:
        length = p.grad.norm()
        if length > limit:
            p.grad *= limit / length

# %%
a, b = (nn.Parameter(torch.zeros(1)) for _ in range(2))
a.grad, b.grad = torch.tensor([30.0]), torch.tensor([0.3])
clip_gradients([a, b], limit=1.0)
print(f"the step before: 100 to 1; now {a.grad.item() / b.grad.item():.1f} to 1")

# %% [markdown]
# The hunt: mend `clip_gradients` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("clipping", clip_gradients)

# %% [markdown]
# <details><summary>Hint</summary>
#
# The gradient of a model is *one* long vector. Whose length is compared with the limit?
#
# </details>
#
# <details><summary>Answer</summary>
#
# Each parameter was clipped for itself. Large gradients became 1, small ones stayed, and their
# proportion, which is the direction of the step, was lost. The length belongs to all gradients
# together: the root of the sum of all squares, one factor for all.
#
# ```diff
# +    squares = sum(p.grad.square().sum() for p in parameters)
# +    length = squares.sqrt()
# -        length = p.grad.norm()
# ```
#
# Planted in this course's `lib/train/__init__.py` it makes `test_all_gradients_together_are_clipped`
# fail, in `tests/test_train.py`.
#
# </details>

# %% [markdown]
# ## Eight processes, one opinion
#
# *Where: [PyTorch, issue 5059](https://github.com/pytorch/pytorch/issues/5059). To read: lesson [12](../../lessons/12_training_runs.ipynb).*
#
# Eight processes train one model, each on its own rows. Everything is seeded, so that a run that
# was stopped can be repeated. The gain from more processes is smaller than expected. Somebody prints
# what dropout drops in each of them.

# %%
def dropout_mask(shape, seed, rank, step):
    """What process `rank` drops at a step; a run that is started again repeats it."""
    generator = torch.Generator().manual_seed(seed + step)
    return torch.rand(shape, generator=generator) < 0.1

# %%
for rank, step in ((0, 5), (1, 5), (0, 6)):
    dropped = dropout_mask((40,), seed=1, rank=rank, step=step)
    same = dropped.equal(dropout_mask((40,), seed=1, rank=0, step=5))
    print(f"process {rank}, step {step}: as process 0 at step 5? {same}")

# %% [markdown]
# The hunt: mend `dropout_mask` above, run its cell, and then this one.

# %% tags=["exercise"]
hunt("dropout-mask", dropout_mask)

# %% [markdown]
# <details><summary>Hint</summary>
#
# Which of the three numbers does the seed not depend on? Mind what happens if you simply add it.
#
# </details>
#
# <details><summary>Answer</summary>
#
# The seed did not depend on the process. All drew the same numbers, on different rows. Adding the
# rank does not mend it: process 1 at step 5 would then draw what process 0 draws at step 6. Seed,
# rank and step must be mixed so that no two of them give the same, for example by a hash.
#
# ```diff
# -    generator = torch.Generator().manual_seed(seed + step)
# +    generator = torch.Generator().manual_seed(hash((seed, rank, step)))
# ```
#
# Planted in this course's `lib/train/parallel.py` it makes `test_no_two_processes_and_no_two_steps_draw_the_same`
# fail, in `tests/test_parallel.py`.
#
# </details>
