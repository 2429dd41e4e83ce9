# %% [markdown]
# # 29 · Instruction tuning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/29_instruction_tuning.ipynb)
#
# You turn a model that continues text into one that does what it is asked.
#
# - **You will build** rows of conversations in which only answers count, the tuning, and two
#   measures: right answers, and answers that end.
# - **You will see** a model that gets no answer right get most of them right after a short tuning,
#   and a larger model that cannot be tuned so.
# - **Needs** lessons [13](13_generation.ipynb) and [17](17_masked_language_model.ipynb).
# - **Takes** about 60 minutes, and fifty minutes for the exercises; the notebook runs in under 45 s.

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
# A language model goes on with a text. Ask it something, and it has no reason to answer: after a question
# another question may come, or a line of a play. Here is such a model, a
# [base](../book/glossary.md#base-model). It was trained on three texts: Tiny Shakespeare, random letters that come
# again, and a workbook of plain statements. Look at a few lines of the workbook.

# %%
import random

from lib.tasks.instructions import draw_statement

rng = random.Random(2)
for _ in range(6):
    print(draw_statement(rng), end="")

# %% [markdown]
# No line asks for anything. Yet to predict such lines well, a model would have to know how a word is
# spelled, how long it is, and what is in it. Does it also answer when you ask?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "Above, a base model goes through tuning and becomes a tuned model. Below, the row that it learns from: the question, Q: Shout king, and the opening A: are read and have no loss; the answer KING and the end of its line, the stop, are learned."}}
from lib.show import diagrams

diagrams.tuned_row()

# %% [markdown]
# The machine stays the same: the same blocks, the same next-token loss, the same optimiser. New are the
# rows: questions with their answers. [Instruction tuning](../book/glossary.md#instruction-tuning), or
# supervised fine-tuning (SFT), is training on such rows, with a loss on what is the model's to
# write. The end of the line is part of that. It is the model's way to say that it is done.

# %% [markdown]
# ## By hand
#
# A conversation is a list of messages. Lesson 28's template writes it as one text, and
# `encode_messages` gives its tokens, each with True where the model is to write it. Look at the marks:
# a `^` stands below what counts, and the sign ↵ for the end of a line.

# %%
from lib.tasks.instructions import Instructions
from lib.text.chat import QUESTIONS, encode_messages

tokenizer = Instructions().tokenizer
conversation = [
    {"role": "user", "content": 'Shout "king".'},
    {"role": "assistant", "content": "KING"},
]
ids, own = encode_messages(tokenizer, conversation)
print(tokenizer.decode(ids).replace("\n", "↵"))
print("".join("^" if mark else " " for mark in own))

# %% [markdown]
# Five tokens count, four letters and the stop. Say a model gives them these probabilities. Its
# loss is the mean of their surprises, and nothing else in the row has a part in it:

# %%
from math import log

probabilities = {"K": 0.5, "I": 0.8, "N": 0.8, "G": 0.9, "↵": 0.25}
surprises = [-log(p) for p in probabilities.values()]
print(" ".join(f"{sign} {s:.2f}" for sign, s in zip(probabilities, surprises)))
print(f"loss {sum(surprises) / len(surprises):.3f}")

# %% [markdown]
# The stop costs most: this model would often go on after `KING`.

# %% [markdown]
# ## The formula
#
# For a row $x_1 \dots x_T$ with the set $A$ of places that the model is to write,
#
# $$L = -\frac{1}{|A|} \sum_{t \in A} \ln p(x_t \mid x_1, \dots, x_{t-1})$$
#
# In a batch, $A$ holds the places of all rows: each token that counts has one share, whether its answer
# is long or short. Ouyang et al. (2022), section 3.5, begin with such a tuning; it is the first of their
# three steps.

# %% [markdown]
# ## Build
#
# ### Rows of conversations
#
# Several conversations become one batch. They have different lengths, so the shorter ones are filled up at the end.
# Targets are the inputs, one token later, and the marks move with them.

# %% tags=["naive:tune.sft.conversation_rows"]
import torch

from lib.tasks.task import Rows
from lib.text.tokenizer import pad_batch


def conversation_rows(tokenizer, conversations, template=QUESTIONS):
    pairs = [encode_messages(tokenizer, each, template) for each in conversations]
    ids = pad_batch([ids for ids, _ in pairs])  # (B, T + 1)
    own = pad_batch([own for _, own in pairs]).bool()
    return Rows(inputs=ids[:, :-1], targets=ids[:, 1:], counted=own[:, 1:])


# %% [markdown]
# A conversation may have several turns. Look at what counts in one with two answers:

# %%
more = [
    {"role": "user", "content": "And backwards?"},
    {"role": "assistant", "content": "gnik"},
]
rows = conversation_rows(tokenizer, [conversation, conversation + more])
for targets, counted in zip(rows.targets, rows.counted):
    print(repr(tokenizer.decode(targets[counted])), f"of {len(targets)} targets")

# %% [markdown]
# Both answers count, each with its stop, and each is learned with all before it as its context. The
# filling of the first row counts nowhere.

# %% tags=["same:tune.sft.conversation_rows", "proof"]
# @title Proof: the library makes the same rows
from lib.tune import sft

talks = [conversation, conversation + more]
both = conversation_rows(tokenizer, talks), sft.conversation_rows(tokenizer, talks)
assert all(torch.equal(a, b) for a, b in zip(*both))
print("the same rows")

# %% [markdown]
# ### Asking
#
# To ask, write the conversation up to where the answer begins, and let the model go on until its stop.
# `rollout` of lesson 25 does this for many prompts at once.

# %% tags=["naive:tune.sft.ask"]
from lib.generate.rollouts import rollout


def ask(model, tokenizer, conversations, n_new=32):
    opening = tokenizer.encode(QUESTIONS.assistant[0])  # "A: "
    prompts = [encode_messages(tokenizer, each)[0] + opening for each in conversations]
    stop_id = tokenizer.ids[QUESTIONS.stop]
    return rollout(model, prompts, n_new, stop_id, temperature=0)


# %% [markdown]
# The prompt is made of the same pieces as a row, so that the model meets in use what it meets in
# training. What does the base say?

# %% tags=["sample"]
from pathlib import Path

import lib
from lib.train.checkpoint import load_checkpoint

data = Path(lib.__file__).parents[1] / "data"
base = load_checkpoint(data / "base-workbook.safetensors").model


def say(model, *questions):
    talks = [[{"role": "user", "content": question}] for question in questions]
    for question, ids in zip(questions, ask(model, tokenizer, talks).answers()):
        print(question, "->", repr(tokenizer.decode(ids)))


QUIZ = ['Shout the word "avoid".', 'Spell "angels" out.', 'How long is the word "are"?']
say(base, *QUIZ)

# %% [markdown]
# It goes on as if this were a line of its texts. It is not wrong: nobody told it what follows an `A:`.

# %% [markdown]
# ### Tuning
#
# The settings are those of any training, and a few more. The tuning itself is lesson
# [11](11_training.ipynb)'s `Training`, with lesson 17's `masked_loss`, on rows that `draw` returns.

# %% tags=["naive:tune.sft.SFTConfig"]
from dataclasses import dataclass

from lib.train import Training, train
from lib.train.settings import TrainConfig


@dataclass(frozen=True)
class SFTConfig(TrainConfig):
    n_steps: int = 600
    batch_size: int = 16
    n_replay: int = 0
    answers_only: bool = True
    schedule: str = "linear"
    n_warmup: int = 20
    seed: int = 0


# %% tags=["naive:tune.sft.fine_tune"]
from lib.evaluate.losses import masked_loss


def fine_tune(model, draw, config):
    generator = torch.Generator().manual_seed(config.seed)
    next_batch = lambda: draw(config.batch_size, generator)
    return train(Training(model, config, masked_loss), next_batch)


# %% [markdown]
# The model is changed in place. (`n_replay` and `answers_only` come further down.)

# %% [markdown]
# ### Two measures
#
# Each answer is right or wrong as a whole, so lesson 24's `exact_match` counts it, for each skill on its own.
# And how many answers end with their stop, within the room that they have?

# %% tags=["lib:tune.sft.share_right"]
from collections.abc import Sequence

from lib.evaluate.exact_match import exact_match
from lib.generate.rollouts import Rollouts
from lib.models.gpt import GPT
from lib.tasks.task import Example, encode_examples
from lib.text.vocabulary import Tokenizer


def share_right(
    model: GPT, tokenizer: Tokenizer, questions: dict[str, Sequence[Example]]
) -> dict[str, float]:
    return {
        name: exact_match(model, *encode_examples(tokenizer, examples))
        for name, examples in questions.items()
    }


# %% tags=["lib:tune.sft.stop_rate"]
def stop_rate(rollouts: Rollouts, stop_id: int) -> float:
    last = [answer[-1] == stop_id for answer in rollouts.answers()]
    return sum(last) / len(last)


# %% [markdown]
# Two answers of up to three tokens, with 0 as the stop. One ends, one is cut off:

# %%
ids_written = torch.tensor([[7, 4, 0, 0], [7, 4, 4, 4]])
marks = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 1]]).bool()
two = Rollouts(ids_written, marks)
print(two.answers(), "stop rate", stop_rate(two, stop_id=0))

# %% tags=["same:tune.sft.ask", "same:tune.sft.SFTConfig", "same:tune.sft.fine_tune", "proof"]
# @title Proof: the library asks and tunes in the same way
from dataclasses import asdict

talks = [conversation[:1], (conversation + more)[:3]]
answers = sft.ask(base, tokenizer, talks).answers()
assert answers == ask(base, tokenizer, talks).answers()
assert asdict(SFTConfig()) == asdict(sft.SFTConfig())
losses = []
for tune, settings in ((fine_tune, SFTConfig), (sft.fine_tune, sft.SFTConfig)):
    copy = GPT(base.config)
    copy.load_state_dict(base.state_dict())
    losses.append(tune(copy, Instructions().batch, settings(n_steps=2)))
assert all(abs(a - b) < 1e-5 for a, b in zip(*losses))
print("the same answers, settings and losses")

# %% [markdown]
# ### The data, and what is kept for the tests
#
# There are ten skills. Each has eight wordings to learn with and two that are kept back. Words are kept back
# too. So are some pairs of numbers, from the questions only: the workbook has them all. Look at some rows.

# %%
from lib.tasks.instructions import SKILLS

for example in (Instructions().draw(rng) for _ in range(6)):
    print(repr(example.prompt), "->", repr(example.answer))

# %% mystnb={"image": {"alt": "A table. Columns: known wordings, unseen wordings. Rows: known words, unseen words. Tuning uses known words in known wordings. The first test has unseen words in known wordings, the second one unseen words in unseen wordings."}}
diagrams.held_out_grid()

# %% [markdown]
# The first test asks whether the model learned the skill, or the words. The second, with unseen words as
# well, asks whether it learned what is meant, or the sentence. The workbook was made with known words only, so neither stage has
# seen a word of the tests in a statement or a question. (They do occur in Shakespeare's text.)

# %% [markdown]
# ## Check
#
# ### The classic bug: a stop that is not learned
#
# It is easy to lose the stop: it is cut off with the white space, or lies outside of the mask, or
# is taken for filling because both have the same id. Always print what the loss sees:

# %%
rows = conversation_rows(tokenizer, [conversation])
wrong = rows.counted & (rows.targets != tokenizer.ids["\n"])
for name, counted in (("right", rows.counted), ("wrong", wrong)):
    print(f"{name}: the loss sees {tokenizer.decode(rows.targets[counted])!r}")

# %% [markdown]
# With the second mask no shape is wrong, and the loss falls as usual. Recorded runs
# (`python book/_tools/instructions.py`) were tuned with both.

# %% tags=["hide-input"]
# @title The recorded runs
import json

record = json.loads((data / "instructions.json").read_text("utf-8"))
runs = record["runs"]


def table(*names, columns=("words", "wordings", "stops")):
    print(f"{'':12} seeds", *(f"{column:>13}" for column in columns))
    for name in names:
        found = [runs[name][column] for column in columns]
        spans = (f"{min(each):.2f} .. {max(each):.2f}" for each in found)
        label = {"base": "tuned"}.get(name, name)
        print(f"{label:12} {len(found[0]):5}", *(f"{span:>13}" for span in spans))


# %% [markdown]
# Look at the smallest and the largest share of answers that stop, over all seeds. (*Tuned* is the right mask.)

# %%
table("base", "no stop", columns=("stops", "last loss"))

# %% tags=["proof"]
# @title Proof: what the text says about the stop
assert min(runs["base"]["stops"]) >= 0.99 and max(runs["no stop"]["stops"]) <= 0.2
print("so it stands in the table")

# %% [markdown]
# Every answer of the first stops, and hardly any of the second, whose loss ends nearly as low. It goes on until a line end
# comes by chance, or until it has no room left.

# %% [markdown]
# ## Experiment: four hundred steps
#
# First the base, before any tuning: the share of right answers, on average over the skills, in both tests.

# %% tags=["measured"]
tests = {kind: Instructions(unseen=kind) for kind in ("words", "wordings")}


def shares_of(model):
    return {k: share_right(model, tokenizer, t.questions) for k, t in tests.items()}


def mean(shares):
    return sum(shares.values()) / len(shares)


before = shares_of(base)
print({kind: f"{mean(shares):.2f}" for kind, shares in before.items()})

# %% [markdown]
# It gets nothing right. Now the tuning, on a copy, which is short beside the training of the base. Every step draws its
# questions anew.

# %% tags=["measured:wide"]
model = GPT(base.config)
model.load_state_dict(base.state_dict())
losses = fine_tune(model, Instructions().batch, SFTConfig(n_steps=400))
first, last = sum(losses[:10]) / 10, sum(losses[-10:]) / 10
print(f"loss {first:.2f} at first, {last:.2f} at last")

# %% [markdown]
# And after it? First both tests, on average over the skills:

# %% tags=["measured:wide"]
after = shares_of(model)
print({kind: f"{mean(shares):.2f}" for kind, shares in after.items()})

# %% [markdown]
# From nothing to most of the answers. Now each skill on its own. Look at those that fall behind.

# %% mystnb={"image": {"alt": "Bars: the share of right answers after tuning for each of ten skills, on unseen words. Copying, spelling and capitals are high; sums and reversing are lower."}}
from lib.show import plot

plot.bar_chart(after["words"], "skill", "right, unseen words", top=1)

# %% [markdown]
# And in wordings that no question of the tuning had:

# %% mystnb={"image": {"alt": "Bars: the same skills in unseen wordings. Copying, spelling and capitals are high again; counting and the last letter are lower."}}
plot.bar_chart(after["wordings"], "skill", "right, unseen wordings", top=1)

# %% tags=["proof"]
# @title Proof: what the text says about the two tests
from lib.checks.claims import claim

claim(max(mean(shares) for shares in before.values()) <= 0.05, "before: none right")
claim(mean(after["words"]) >= 0.5, "most questions about unseen words are right")
claim(mean(after["wordings"]) >= 0.4, "unseen wordings are often understood")
copies = [after["words"][name] for name in ("repeat", "spell", "copy")]
claim(min(copies) >= 0.6, "copying is mostly right")
claim(after["words"]["contains"] <= 0.8, "yes or no stays near chance")
claim(after["words"]["sum"] <= 0.5, "sums that were never asked are mostly wrong")
talks = [
    [{"role": "user", "content": example.prompt[3:-4]}]
    for example in tests["words"].test_examples[::4]
]
stops = stop_rate(ask(model, tokenizer, talks), tokenizer.ids["\n"])
claim(stops >= 0.95, "nearly every answer ends with its stop")
print("so it is in this run")

# %% [markdown]
# Most answers about words that it never saw are right, and for most skills eight wordings are enough to understand
# two new ones. What it cannot do tells as much. `sum` asks for pairs of numbers that no question of the tuning had, and it fails
# at others too (see 3 plus 4 below). Yet the workbook states all sums. Does the base know them? Let it complete the
# statements:

# %% tags=["measured:wide"]
pairs = [(a, b) for a in range(10) for b in range(10)]
begun = [tokenizer.encode(f"We know that {a} and {b} make ") for a, b in pairs]
made = rollout(base, begun, 4, tokenizer.ids["\n"], temperature=0).answers()
wanted = [f"{a + b}.\n" for a, b in pairs]
knows = sum(tokenizer.decode(ids) == text for ids, text in zip(made, wanted))
print(f"the base completes {knows} of {len(pairs)} sums rightly")

# %% [markdown]
# Only a part of them. What the base does not hold, so short a tuning does not bring out. `contains` stays near half, which is
# chance for a yes or a no: the base never learned that, though many lines of
# the workbook say it. `last` and `reverse` are still weak after so few steps.
# %% [markdown]
# Now chat with it. Change the questions; they must be in the style of the skills, it knows nothing
# else.

# %% tags=["sample"]
say(model, *QUIZ, "What is 3 plus 4?", 'Tell me the last letter of "apply".')
say(model, "Who are you?")

# %% [markdown]
# Not all answers are right, as the bars say. The last question is outside of all skills. It answers all the same, in the form that it learned: nothing
# in the rows ever said that one may not know.

# %% [markdown]
# ## What the base must contain
#
# Is this base needed at all? The same tuning, recorded for three models, with more steps than above: this base; the
# `base` of lesson [12](12_training_runs.ipynb), which is larger and has read nothing but
# Shakespeare; and a new model that has read nothing. (The second one does not know the digits and some signs. It
# got new rows for them in its tables.) *text* is the loss on Shakespeare's validation text before tuning.

# %%
print(f"{'':12} {'parameters':>10}  text")
names = {"base": "workbook", "Shakespeare": "Shakespeare", "no base": "none"}
for name, base_name in names.items():
    size, text = record["parameters"][base_name], record["before"][base_name]["text"]
    print(f"{name:12} {size:10,}  {text:.2f}")

# %% [markdown]
# The second base is the better one, if you ask for Shakespeare. And after tuning?

# %%
table(*names)

# %% [markdown]
# The same as a picture, on average over the seeds:

# %% mystnb={"image": {"alt": "Three bars: the share of right answers on unseen words, on average over the seeds. The base with the workbook is far above the larger base that has read only Shakespeare, and above the model that has read nothing."}}
bars = {name: sum(runs[name]["words"]) / len(runs[name]["words"]) for name in names}
plot.bar_chart(bars, "what is tuned", "right, unseen words", top=1)

# %% tags=["proof"]
# @title Proof: what the text says about the bases
assert min(runs["base"]["words"]) >= 0.7
assert min(runs["base"]["wordings"]) >= 0.4
assert min(runs["base"]["stops"]) >= 0.99
for name in ("Shakespeare", "no base"):
    assert max(runs[name]["words"]) < min(runs["base"]["words"]) - 0.2
    assert min(runs[name]["stops"]) >= 0.95
    for skills in runs[name]["words by skill"]:
        assert max(skills[skill] for skill in ("copy", "reverse")) <= 0.1
        assert skills["spell"] <= 0.4 and skills["first"] >= 0.5
assert max(each["words"] for each in record["before"].values()) <= 0.05
print("so it stands in the table")

# %% [markdown]
# The same questions, the same number of steps. Without the workbook most answers are wrong, though both models
# have learned the form: nearly all their answers end with a stop. A little the tuning does teach: most first
# letters are right, and the larger model spells a third of the words. But copying and reversing stay near 0 in
# both. So the first model hardly learned them from the questions. It learned what a question wants, and the rest
# was there. **Tuning brings out what the base contains, and in so few steps adds little to it.** (Which of its
# texts did it, the workbook or the random letters that come again, these runs do not separate.) Zhou et al.
# (2023) found the same of a large model: a thousand chosen conversations were enough to make it answer nearly as
# well as models that were tuned on far more.

# %% [markdown]
# ## What is lost
#
# The base could also write plays. Let both models go on with a name.

# %% tags=["sample"]
from lib.generate import generate

for name, each in (("base", base), ("tuned", model)):
    start = torch.tensor([tokenizer.encode("ROMEO:\n")])
    torch.manual_seed(0)
    ids = generate(each, start, 90, temperature=0.7)[0]
    print(f"{name:6}", tokenizer.decode(ids).replace("\n", "↵"))

# %% [markdown]
# The tuned model has lost its English: it writes what look like answers, line after line. That is
# [forgetting](../book/glossary.md#forgetting): the
# weights move to where the new rows want them, and no row says anything about the old text. The remedy is as
# plain: go on showing the old text. [Replay](../book/glossary.md#replay) adds a few rows of it to each
# batch.

# %% tags=["lib:tune.sft.with_replay"]
from torch import Tensor

from lib.text.batches import random_batch


def with_replay(
    rows: Rows, text: Tensor, n_rows: int, generator: torch.Generator | None = None
) -> Rows:
    inputs, targets = random_batch(text, n_rows, rows.inputs.size(1), generator)
    replayed = Rows(inputs, targets, torch.ones_like(inputs, dtype=torch.bool))
    return Rows(*map(torch.cat, zip(rows, replayed)))


# %% [markdown]
# Its windows are as wide as the rows of the batch, and in them every token counts. Look at the shapes, and at how many
# targets of each kind the mean is over:

# %%
rows = Instructions().batch(16, torch.Generator().manual_seed(0))
mixed = with_replay(rows, torch.arange(90), n_rows=2)
print(tuple(rows.inputs.shape), "->", tuple(mixed.inputs.shape))
print(f"{rows.counted.sum()} targets in answers, {mixed.counted[16:].sum()} in replay")

# %% [markdown]
# Few rows are enough, because answers are short: the two rows have more than half of the weight. Recorded, with two
# such rows in each batch; *text* is the loss on Shakespeare's validation text:

# %%
print(f"text before tuning {record['before']['workbook']['text']:.2f}")
table("base", "replay", columns=("words", "wordings", "text"))

# %% tags=["proof"]
# @title Proof: what the text says about forgetting
start = record["before"]["workbook"]["text"]
assert min(runs["base"]["text"]) > start + 1 > max(runs["replay"]["text"]) + 0.5
assert 0.5 < max(runs["replay"]["words"]) < min(runs["base"]["words"])
assert min(runs["base"]["text"]) > log(tokenizer.vocab_size)
print("so it stands in the table")

# %% [markdown]
# Without replay the loss on the old text is far above where it began, above even that of a blind guess among all the signs that the
# model knows. With replay it hardly moves. That is not free: after the same number of steps fewer answers are right.

# %% [markdown]
# ## Loss on everything?
#
# Why not let the questions count too? Then the model also learns to write questions, from the same
# steps. This function marks all but the filling: a place counts if it, or a later one, counted before.

# %% tags=["lib:tune.sft.with_prompts"]
def with_prompts(rows: Rows) -> Rows:
    still_to_come = rows.counted.flip(1).cumsum(dim=1).flip(1)  # (B, T)
    return rows._replace(counted=still_to_come > 0)


# %% [markdown]
# `cumsum` adds up from the left; flipped before and after, from the right. A small example, then the recorded
# runs:

# %%
small = Rows(torch.zeros(1, 6), torch.zeros(1, 6), torch.tensor([[0, 0, 1, 0, 1, 0]]))
print(with_prompts(small).counted.int().tolist())
table("base", "all tokens", columns=("words", "wordings", "text"))

# %% tags=["same:tune.sft.fine_tune", "proof"]
# @title Proof: the library's options do what these functions do
generator = torch.Generator().manual_seed(0)
drawn = with_prompts(Instructions().batch(16, generator))
drawn = with_replay(drawn, torch.arange(200) % 90, 2, generator)
copy = GPT(base.config)
copy.load_state_dict(base.state_dict())
first = masked_loss(copy, *drawn).item()
options = SFTConfig(n_steps=1, n_replay=2, answers_only=False)
found = sft.fine_tune(copy, Instructions().batch, options, torch.arange(200) % 90)
assert abs(found[0] - first) < 1e-4
print("the same loss")

# %% [markdown]
# Here it costs answers, probably because most tokens of a row are now the question's, and what the question wants gets a small
# share of each gradient. It forgets less, since there is more text to predict. With long questions, short answers
# and few rows it can help (Shi et al. 2024). Which of the two is better is a question to measure.

# %% tags=["proof"]
# @title Proof: what the text says about the loss on everything
assert max(runs["all tokens"]["words"]) < min(runs["base"]["words"])
assert max(runs["all tokens"]["wordings"]) < min(runs["base"]["wordings"])
assert max(runs["all tokens"]["text"]) < min(runs["base"]["text"])
print("so it stands in the table")

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A batch has one long answer of 27 tokens and fifteen of 2. How much weight in the loss has the long answer?</summary>
#
# Nearly half: 27 of 57 tokens that count. The mean is over tokens, not over answers. Long answers get more weight,
# and a data set with few long ones can be about them.
#
# </details>
#
# <details><summary>You ask the tuned model with "Q: ...", a line end, and "A:", without the space. What may happen?</summary>
#
# It never saw that. The tokens after `A:` began with a space that was given, so it may now write the space first, or
# go wrong at once. Prompts in use must be made as the rows were.
#
# </details>
#
# <details><summary>All answers in your data begin with "Sure! ". What does the tuned model learn from these six tokens?</summary>
#
# To write them always. After that their loss is near 0, and the mean looks better than the answers are:
# compare only losses over the same targets.
#
# </details>

# %% tags=["answer"]
# @title Answers: the share of the long answer
print(f"27 of {27 + 15 * 2} tokens: {27 / (27 + 15 * 2):.0%}")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_29 import (
    check_two_rows,
    check_replay_rows,
    check_stop_report,
    check_marked,
)

# %% [markdown]
# ### Exercise 1: A template with its mask
#
# *warm-up · 10 minutes* · [Solution](../solutions/29_instruction_tuning.ipynb#exercise-1-a-template-with-its-mask)
#
# Another template: a question is written as `"### Question\n"`, its words and `"\n\n"`; an answer as
# `"### Answer\n"`, its words and `"\n\n"`, which is the stop. Return the whole text, and a list
# with one boolean for each *character*: True where the model is to write it.
#
# <details><summary>Hint</summary>
#
# Two pieces are enough: all that is given, and all that the model writes. Do not search for the answer in
# the text; the question may hold the same words.
#
# </details>


# %%
def marked(question, answer):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_marked(marked)

# %% [markdown]
# ### Exercise 2: A batch of two conversations
#
# *core · 15 minutes* · [Solution](../solutions/29_instruction_tuning.ipynb#exercise-2-a-batch-of-two-conversations)
#
# Each row is a pair: a list of ids, and a list of marks of the same length. Return a tuple of three tensors:
# `inputs`, `targets` and `counted`, each of two rows. Fill the shorter one up with 0 at its end. The tensors
# of ids are int64, the last one bool. Leave the lists as they are, and use `torch` only, without `pad_batch`.
#
# <details><summary>Hint</summary>
#
# Fill first, cut then: from ids of the full width take `[:, :-1]` and `[:, 1:]`. The marks belong to the
# targets.
#
# </details>


# %%
def batch_of(first, second):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_two_rows(batch_of)

# %% [markdown]
# ### Exercise 3: How often it stops, and how much it says
#
# *core · 10 minutes* · [Solution](../solutions/29_instruction_tuning.ipynb#exercise-3-how-often-it-stops-and-how-much-it-says)
#
# From a list of answers, each a list of ids with one token or more, return a pair of two floats: first the share that ends with
# `stop_id`, then the mean number of tokens without that stop at the end. Some answers were cut off; they count too.
#
# <details><summary>Hint</summary>
#
# Only the last token of an answer can be its stop. For an answer that was cut off nothing is taken away.
#
# </details>


# %%
def stop_report(answers, stop_id):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_stop_report(stop_report)

# %% [markdown]
# ### Exercise 4: How many rows to replay
#
# *stretch · 15 minutes* · [Solution](../solutions/29_instruction_tuning.ipynb#exercise-4-how-many-rows-to-replay)
#
# A batch has `n_answers` tokens that count in its answers. A row of replay has `width` of them. Return the
# smallest number of rows with which at least `percent` percent of all targets that count are replay. `percent`
# is a whole number, 0 or more and below a hundred; compute in whole numbers, so that nothing is rounded.
#
# <details><summary>Hint</summary>
#
# With the share $s$, $n w / (n w + a) \ge s$ gives $n \ge s\, a / ((1 - s)\, w)$. Multiply both parts of that
# fraction by a hundred, and they are whole numbers. `-(-x // y)` divides and rounds up.
#
# </details>


# %%
def replay_rows(n_answers, width, percent):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_replay_rows(replay_rows)

# %% [markdown]
# ## Recap
#
# - You built **rows of conversations in which only answers and their stops count**, and tuned a model on
#   them with the training that you have.
# - You built **two measures**, right answers and answers that end, on words and on wordings that were kept back.
# - You saw that **tuning brings out what the base contains**, and that a base without it learns the form only.
# - You saw **forgetting**, and that a little replay prevents most of it.
#
# What is still wrong: each question had one right answer. Of two polite letters, which is better? Nobody
# can write down the right one, but many can say which of two they like more. That is lesson 30.
#
# The library's entries: [the tuning](../book/api.md#tunesft) and [the
# instructions](../book/api.md#tasksinstructions).

# %% [markdown]
# ## To read
#
# - Ouyang et al. (2022), *Training Language Models to Follow Instructions with Human Feedback*, sections 3.1 to
#   3.5: the recipe of InstructGPT; step 1 is this lesson.
# - Wei et al. (2021), *Finetuned Language Models Are Zero-Shot Learners*, section 2: many tasks, each in ten
#   wordings, whole tasks kept back.
# - Zhou et al. (2023), *LIMA: Less Is More for Alignment*, sections 2 and 4.
# - Shi et al. (2024), *Instruction Tuning With Loss Over Instructions*: when the questions should count too.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: conversations of your own
#
# For rows of your own you need what draws them. Here is all of it:

# %% tags=["lib:tune.sft.Conversations"]
from lib.text.chat import Template


@dataclass(frozen=True)
class Conversations:
    tokenizer: Tokenizer
    conversations: Sequence[Sequence[dict]]
    template: Template = QUESTIONS

    def batch(self, batch_size: int, generator: torch.Generator) -> Rows:
        n = len(self.conversations)
        if not n:
            raise ValueError("conversations=[] is empty; a batch needs one or more")
        drawn = torch.randint(n, (batch_size,), generator=generator).tolist()
        chosen = [self.conversations[i] for i in drawn]
        return conversation_rows(self.tokenizer, chosen, self.template)


# %% [markdown]
# Write a handful of questions and answers; the tuned model learns them in a few steps. Then ask one in other words:

# %% tags=["sample"]
def talk(question, answer):
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]


own_talks = [talk("Who are you?", "a GPT"), talk("What can you do?", "words")]
OLD = ['Shout the word "king".', 'Spell "king" out.']
say(model, *OLD)
fine_tune(model, Conversations(tokenizer, own_talks).batch, SFTConfig(n_steps=30))
say(model, "Who are you?", "What can you do?", "What are you?", *OLD)

# %% [markdown]
# Compare the last two answers with the first two: thirty steps on two rows may cost old skills. That is the forgetting from above, and
# replay helps here as well.

# %% [markdown]
# ## Deeper: more steps
#
# The run above is short, so that you need not wait. Recorded runs with more steps:

# %%
for name in ("short", "base", "long"):
    steps = runs[name]["options"].get("n_steps", record["recipe"]["n_steps"])
    print(f"{name:12} {steps:5} steps")
table("short", "base", "long", columns=("words", "wordings", "text"))

# %% tags=["proof"]
# @title Proof: what the text says about more steps
means = [sum(runs[name]["words"]) / 3 for name in ("short", "base", "long")]
assert means == sorted(means)
assert min(runs["long"]["text"]) > max(runs["short"]["text"])
print("so it stands in the table")

# %% [markdown]
# On average more answers are right after more steps, and more of the old text is forgotten.

# %% [markdown]
# ## Deeper: a second question
#
# Every row of the tuning had one question. Does the model answer a second one, with a first one and its
# answer before it? Recorded, on questions that come after `Shout the word ...`:

# %%
table("base", columns=("words", "second turn"))

# %% tags=["proof"]
# @title Proof: what the text says about the second turn
pairs = zip(runs["base"]["words"], runs["base"]["second turn"])
assert all(second < first for first, second in pairs)
print("so it stands in the table")

# %% [markdown]
# Often, but less often: no row of the tuning had a question before its question. If you want conversations of
# several turns, tune on them; `conversation_rows` is ready for that.
