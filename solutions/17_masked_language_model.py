# %% [markdown]
# # Solutions 17 · Masked language model
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/17_masked_language_model.ipynb)
#
# One way to solve each exercise of lesson
# [17](../lessons/17_masked_language_model.ipynb), and what to learn from it.

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
import torch

from lib.checks.lesson_17 import (
    check_corrupt,
    check_count_losses,
    check_fill_in,
    check_scores,
)
from lib.text.corpus import load_corpus
from lib.text.batches import random_batch, split_text
from lib.models.masked_lm import MaskedLM, MaskedLMConfig, mask_tokens
from lib.evaluate.losses import masked_loss
from lib.text.tokenizer import CharTokenizer
from lib.train.settings import TrainConfig
from lib.train import Training
from lib.train import train as run_training

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
BLANK = V
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
windows = validation[torch.arange(0, 111_000, 370).unsqueeze(1) + torch.arange(16)]
print(f"{corpus.name}: {len(windows)} windows of {windows.size(1)} characters")

# %% [markdown]
# ## Exercise 1: Count the losses
#
# [Exercise](../lessons/17_masked_language_model.ipynb#exercise-1-count-the-losses)


# %%
def count_losses(n_steps, batch_size, context_length, share):
    per_row = max(1, round(share * context_length))
    return n_steps * batch_size * per_row


# %% tags=["exercise"]
check_count_losses(count_losses)

# %% [markdown]
# How long would the model of the lesson have to train for as many losses as its rival?

# %%
blanks, positions = count_losses(270, 64, 16, 0.3), count_losses(270, 64, 16, 1.0)
print(f"{blanks:,} at blanks, {positions:,} from the left")
print(f"as many after {270 * positions / blanks:.0f} steps")

# %% [markdown]
# 864 steps, not 270. Models with blanks pay in steps for what they see on the right.

# %% [markdown]
# ## Exercise 2: What BERT does
#
# [Exercise](../lessons/17_masked_language_model.ipynb#exercise-2-what-bert-does)
#
# One number decides for each place: below 0.8 a blank, from 0.8 to 0.9 a random token,
# above that nothing.


# %%
def corrupt(ids, hidden, mask_id, vocab_size, generator=None):
    draws = torch.rand(ids.shape, generator=generator)
    others = torch.randint(vocab_size, ids.shape, generator=generator)
    inputs = torch.where(hidden & (draws < 0.9), others, ids)
    return inputs.masked_fill(hidden & (draws < 0.8), mask_id)


# %% tags=["exercise"]
check_corrupt(corrupt)

# %% [markdown]
# What is it good for? The lesson's model often did not give back a visible character.
# Train two models for 100 steps, one with blanks only and one with `corrupt`, and ask
# each what stands at visible places.


# %%
def train_model(bert):
    generator = torch.Generator().manual_seed(0)

    def next_batch():
        ids, _ = random_batch(train, 64, 16, generator)
        inputs, hidden = mask_tokens(ids, BLANK, 0.3, generator)
        if bert:
            inputs = corrupt(ids, hidden, BLANK, V, generator)
        return inputs, ids, hidden

    torch.manual_seed(0)
    model = MaskedLM(MaskedLMConfig(V, 64, 4, 2, 256, 16))
    config = TrainConfig(
        n_steps=100, learning_rate=0.01, optimizer="muon", muon_learning_rate=0.02,
        schedule="linear", n_warmup=20,
    )  # fmt: skip
    run_training(Training(model, config, masked_loss), next_batch)
    return model


# %% tags=["corpus", "measured:wide"]
from lib.checks.claims import claim

copied, lost = {}, {}
inputs, hidden = mask_tokens(windows, BLANK, 0.3, torch.Generator().manual_seed(0))
for name, bert in (("blanks only", False), ("as in BERT", True)):
    model = train_model(bert)
    with torch.no_grad():
        copied[name] = (model(windows).argmax(-1) == windows).float().mean().item()
        lost[name] = masked_loss(model, inputs, windows, hidden).item()
    print(f"{name}: copies {copied[name]:.0%}, {lost[name]:.2f} nats at blanks")
claim(copied["as in BERT"] > copied["blanks only"] + 0.3, "BERT's way it copies more")
claim(abs(lost["as in BERT"] - lost["blanks only"]) < 0.3, "at blanks both are as good")

# %% [markdown]
# The model with blanks only seldom gives back a visible character: nobody asked it. The
# other one knows that what it sees is mostly right, and gives it back mostly. At the
# blanks the two are about equal.

# %% [markdown]
# ## Exercise 3: One blank after the other
#
# [Exercise](../lessons/17_masked_language_model.ipynb#exercise-3-one-blank-after-the-other)


# %%
def fill_in(model, ids):
    ids = ids.clone()
    while (ids == model.mask_id).any():
        with torch.no_grad():
            sure, guess = model(ids.unsqueeze(0))[0].softmax(dim=-1).max(dim=-1)
        place = sure.masked_fill(ids != model.mask_id, -1).argmax()
        ids[place] = guess[place]
    return ids


# %% tags=["exercise"]
check_fill_in(fill_in)

# %% [markdown]
# Does it pay? Hide every second character of a hundred windows, and fill them at once
# and one after the other. (`model` is the one trained as in BERT.)

# %% tags=["corpus", "measured:wide"]
some = windows[:100]
inputs = some.clone()
inputs[:, ::2] = BLANK
with torch.no_grad():
    at_once = model(inputs).argmax(dim=-1)[:, ::2]
one_by_one = torch.stack([fill_in(model, ids) for ids in inputs])[:, ::2]
rights = []
for name, filled in (("at once", at_once), ("one by one", one_by_one)):
    rights.append((filled == some[:, ::2]).float().mean().item())
    print(f"{name}: {rights[-1]:.0%} right")
claim(abs(rights[0] - rights[1]) < 0.06, "the order makes no difference to speak of")

# %% [markdown]
# There is no difference to speak of. Between every two blanks stands a visible character,
# and this model, after a hundred steps, looks little further than that. So the blanks are
# nearly independent for it, and the order does not matter.

# %% [markdown]
# ## Exercise 4: Find the misprint
#
# [Exercise](../lessons/17_masked_language_model.ipynb#exercise-4-find-the-misprint)


# %%
def scores(model, ids):
    places = torch.arange(len(ids))
    inputs = ids.repeat(len(ids), 1)  # (T, T): one copy for each position
    inputs[places, places] = model.mask_id
    with torch.no_grad():
        logits = model(inputs)[places, places]  # (T, V)
    return logits.log_softmax(dim=-1)[places, ids]


# %% tags=["exercise"]
check_scores(scores)

# %% [markdown]
# Now the misprints: in each window one character, at a random place, becomes a random
# lower-case letter.

# %% tags=["corpus", "measured:wide"]
generator = torch.Generator().manual_seed(0)
letters = torch.tensor(tokenizer.encode("abcdefghijklmnopqrstuvwxyz"))
found = 0
tested = windows[:200]
for ids in tested:
    place = torch.randint(16, (), generator=generator)
    other = letters[letters != ids[place]]
    wrong = ids.clone()
    wrong[place] = other[torch.randint(len(other), (), generator=generator)]
    found += (scores(model, wrong).argmin() == place).item()
print(f"found {found / len(tested):.0%} of the misprints, by chance {1 / 16:.0%}")
claim(found / len(tested) > 3 / 16, "it finds three times as many as chance would")

# %% [markdown]
# Several times as many as by chance. The others it misses for two reasons: some wrong
# letters look fine, and some right ones are rarer than a misprint. A model that knows
# more words finds more.
