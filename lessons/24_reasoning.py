# %% [markdown]
# # 24 · Reasoning
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/24_reasoning.ipynb)
#
# You teach a model to add by showing its work, and find out where it fails.
#
# - **You will build** worked examples of which only the answers count, a calculator that the
#   model calls, a vote among samples, and a choice by a verifier.
# - **You will see** one model add numbers that it never met, and another one, with the same
#   examples but without their steps, fail.
# - **Needs** lessons [11](11_training.ipynb) and [13](13_generation.ipynb).
# - **Takes** about 70 minutes, and fifty for the exercises; the notebook runs in under 45 s.

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
# A GPT does the same work for each token: the blocks, once. For a comma that is plenty. For the
# first digit of a sum it is little, because a carry may run through all other digits. A child who
# adds large numbers does not say the result at once. It writes something down for each place, and
# looks at what it wrote. Does that help a model too?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "A model of two blocks, twice. Left, it answers at once: a token passes two blocks, and the answer is there. Right, it writes two steps first. Each step goes back in as the next input, so the answer comes after six blocks in a row."}}
from lib.show import diagrams

diagrams.serial_steps()

# %% [markdown]
# On the left two blocks compute the answer. On the right the model first writes two steps. Each
# token that it writes is read again, as always in generation, and passes the blocks too: the answer
# comes after three times as many blocks in a row. Steps that a model writes before its answer are
# called a [chain of thought](../book/glossary.md#chain-of-thought). **Each token of it is more
# computation, and the text is its memory.**

# %% [markdown]
# ## By hand
#
# How does one add on paper? From the right, digit by digit, with a carry. `divmod` gives both
# parts of a number at once: how many tens, and what is left.

# %%
carry = 0
for x, y in ((7, 8), (5, 6)):  # 57 + 68, the units first
    total = x + y + carry
    carry, digit = divmod(total, 10)
    print(f"total {total}, carry {carry}, write {digit}")

# %% [markdown]
# Each line needs two digits of the question, and the carry of the line above. The model shall write
# a line as two characters and a semicolon, then `>`, the result, and a full stop:

# %% mystnb={"image": {"alt": "A sum with its steps, as characters, with arrows. The units need the units of both numbers. The tens need both tens and the carry that the first step wrote. The digits of the result only copy from the steps."}}
diagrams.written_steps()

# %% [markdown]
# With the steps, **no character needs more than three earlier ones**. Without them the first digit of the
# result needs all four digits of the question, and the carry between them.

# %% [markdown]
# ## The formula
#
# A model with $n$ blocks that writes $k$ tokens before its answer passes
#
# $$(k + 1)\, n$$
#
# blocks one after the other before the answer's first token is there. The probability of an answer
# $y$ to a question $x$ is a sum over all steps $s$ that it could write:
#
# $$p(y \mid x) = \sum_s p(s \mid x)\; p(y \mid x, s)$$
#
# This sum is far too long to compute. Greedy generation takes one $s$, the one that grows from the
# likeliest tokens. Several samples come closer to the sum; that is
# section 2 of Wang et al. (2022), and it comes [below](#more-samples).

# %% [markdown]
# ## Build
#
# ### A worked example
#
# A sum becomes a question and its answer, in one of three styles: `plain`; `reversed`, with the units
# first; and `steps`. Zeros fill the numbers up, so that each place stands at the same position.

# %% tags=["naive:tasks.arithmetic.write_sum"]
from lib.tasks.task import Example


def write_sum(a, b, digits, style="plain"):
    left, right = f"{a:0{digits}}", f"{b:0{digits}}"
    result, steps, carry = f"{a + b:0{digits + 1}}", "", 0
    for x, y in zip(reversed(left), reversed(right)):
        carry, digit = divmod(int(x) + int(y) + carry, 10)
        steps += f"{carry}{digit};"
    answers = {"plain": result, "reversed": result[::-1], "steps": f"{steps}>{result}"}
    return Example(f"{left}+{right}=", answers[style] + ".")


for style in ("plain", "reversed", "steps"):
    print(f"{style:9}", *write_sum(123, 456, digits=3, style=style)[:2])

# %% [markdown]
# An `Example` has a `prompt` and an `answer`. *Tokens are
# what an answer costs*, in time and in money.

# %% tags=["same:tasks.arithmetic.write_sum", "proof"]
# @title Proof: the library writes the same
from lib.tasks import arithmetic

for a, b in ((0, 0), (7, 95), (99, 99), (50, 50)):
    for style in ("plain", "reversed", "steps"):
        assert write_sum(a, b, 2, style) == arithmetic.write_sum(a, b, 2, style)
print("the same examples")

# %% [markdown]
# ### Rows in which only answers count
#
# The model reads question and answer as one row, and predicts each next token, as always. But the
# digits of a question are random: nobody can predict them. So the loss counts the tokens of
# the answer only. `own` marks them. (An example may also say which places of its answer are `given`
# by somebody else. The calculator will need that.)

# %% tags=["naive:tasks.task.encode_examples"]
import torch

from lib.tasks.task import Rows
from lib.text.tokenizer import CharTokenizer, pad_batch


def encode_examples(tokenizer, examples):
    rows, counted = [], []
    for prompt, answer, given in examples:
        rows.append(tokenizer.encode(prompt + answer))
        own = [0] * len(prompt) + [1] * len(answer)
        for first, last in given:
            for place in range(first, last):
                own[len(prompt) + place] = 0
        counted.append(own)
    ids, own = pad_batch(rows), pad_batch(counted).bool()  # (B, T + 1), then zeros
    return Rows(inputs=ids[:, :-1], targets=ids[:, 1:], counted=own[:, 1:])


# %% [markdown]
# Targets are the inputs, one token later, and the marks move with them. Look at which targets
# count:

# %%
characters = CharTokenizer("0123456789+=;>.")
rows = encode_examples(characters, [write_sum(57, 68, 2, "steps")])
marks = "".join("^" if own else " " for own in rows.counted[0])
print("input ", characters.decode(rows.inputs[0]))
print("target", characters.decode(rows.targets[0]))
print("counts", marks)

# %% [markdown]
# From the input `=` on, all targets count, **the full stop included**. The loss of such rows is lesson
# [17](17_masked_language_model.ipynb)'s `masked_loss`: the mean over the targets that count.

# %% tags=["same:tasks.task.encode_examples", "proof"]
# @title Proof: the library's rows are the same, also of several lengths
from lib.tasks import task as library

some = [write_sum(1, 2, 1), write_sum(57, 68, 2, "steps")]
some.append(Example("1+2=", "3;3.", given=((0, 2),)))
both = [encode_examples(characters, some), library.encode_examples(characters, some)]
assert all(torch.equal(a, b) for a, b in zip(*both))
print("the same rows")

# %% [markdown]
# ### How many answers are right?
#
# An answer is right if all of it is. You need not let the model write: one reading of the right
# answers is enough. If each target is the likeliest token after the right ones before it, greedy
# generation writes exactly this row. If one is not, it leaves the row there.

# %% tags=["naive:evaluate.exact_match.exact_match"]
@torch.no_grad()
def exact_match(model, inputs, targets, counted):
    hits = model.eval()(inputs).argmax(dim=-1) == targets  # (B, T)
    return (hits | ~counted).all(dim=1).double().mean().item()


# %% [markdown]
# `hits | ~counted` is true where a target was hit or does not count; `all` asks that of a whole row.
# A stand-in for a model, which misses one token of the second row:

# %%
targets = torch.tensor([[1, 2, 0], [1, 2, 0]])
said = torch.tensor([[0, 2, 0], [0, 1, 0]])
counted = torch.tensor([[False, True, True], [False, True, True]])
knows = torch.nn.Module()
knows.forward = lambda ids: torch.nn.functional.one_hot(said, 3)
print("answers right:", exact_match(knows, targets, targets, counted))
print("tokens right: ", (said == targets)[counted].double().mean().item())

# %% [markdown]
# Half of the answers, but three quarters of the tokens: always ask which of the two somebody reports.

# %% tags=["same:evaluate.exact_match.exact_match", "proof"]
# @title Proof: the library finds the same share
from lib.evaluate import exact_match as library_file

library_share = library_file.exact_match(knows, targets, targets, counted)
assert library_share == exact_match(knows, targets, targets, counted)
print("the same share")

# %% [markdown]
# ## Check
#
# ### The classic bug: the mask that stayed behind
#
# Move the targets by one, and forget to move the marks. No shape is wrong, and the loss falls:

# %%
ids = torch.tensor([characters.encode("57+68=125.")])
own = torch.tensor([[False] * 6 + [True] * 4])
for name, counted in (("moved", own[:, 1:]), ("not moved", own[:, :-1])):
    print(f"{name:9} the loss sees {characters.decode(ids[:, 1:][counted])!r}")

# %% [markdown]
# The first digit of the answer is never learnt. A mask that ends too early loses the full stop, and the
# model **never stops**. Print what the loss sees, as text, before you train.

# %% [markdown]
# ## Experiment: a thousand sums
#
# Two models, of equal size but for their table of positions, learn from a thousand sums, of the million
# that two numbers of three digits make. They see each many times. Then they get others that they never
# saw. One learns to answer at once, the other to write steps.

# %% tags=["hide-input"]
# @title The recorded runs, with the settings of all models
import json

import lib

record_file = Path(lib.__file__).parents[1] / "data" / "reasoning.json"
record = json.loads(record_file.read_text("utf-8"))
parts = record["parts"]
print("recorded:", ", ".join(parts))

# %%
from lib.evaluate.losses import masked_loss
from lib.models.gpt import GPT, GPTConfig
from lib.train import Training, train
from lib.train.settings import TrainConfig


def learn(task, n_steps=300, batch_size=128):
    torch.manual_seed(0)
    sizes = dict(vocab_size=task.tokenizer.vocab_size)
    sizes |= dict(context_length=task.context_length)
    model = GPT(GPTConfig(**record["base"], **sizes))
    generator = torch.Generator().manual_seed(0)
    next_batch = lambda: task.batch(batch_size, generator)
    recipe = TrainConfig(**(record["recipe"] | dict(n_steps=n_steps)))
    train(Training(model, recipe, masked_loss), next_batch)
    return model


# %% [markdown]
# A task of the library draws examples, and keeps those for the test apart. How many of them does each
# model get right, of the sums it learnt from and of the new ones?

# %% tags=["measured"]
from lib.generate.rollouts import rollout
from lib.tasks import make_task

tasks, models, shares = {}, {}, {}
for style in ("plain", "steps"):
    task = make_task(f"addition:style={style},n_examples=1000")
    tasks[style], models[style] = task, learn(task)
    learnt = encode_examples(task.tokenizer, task.examples)
    shares[style] = [exact_match(models[style], *rows) for rows in (learnt, task.test)]
    print(f"{style:6} learnt {shares[style][0]:.2f}, new {shares[style][1]:.2f}")

# %% tags=["proof"]
# @title Proof: what the text says, and that greedy writing gives the same share
from lib.checks.claims import claim

claim(shares["plain"][1] <= 0.3, "answers at once are mostly wrong on new sums")
claim(shares["steps"][1] >= 0.85, "with steps new sums are right")
claim(shares["steps"][0] >= 0.95, "with steps the learnt sums are right")
for style, task in tasks.items():
    tokenizer, stop = task.tokenizer, task.tokenizer.ids["."]
    prompts = [tokenizer.encode(example.prompt) for example in task.test_examples]
    n_new = task.context_length - len(prompts[0])
    written = rollout(models[style], prompts, n_new, stop, temperature=0).answers()
    known = [tokenizer.encode(example.answer) for example in task.test_examples]
    right = [ids == other for ids, other in zip(written, known)]
    claim(abs(sum(right) / len(right) - shares[style][1]) <= 0.01, "both agree")

# %% [markdown]
# On new sums the model with steps is nearly always right and the other one mostly wrong. Look at what
# both write:

# %% tags=["sample"]
def answers(style, questions, **options):
    task = tasks[style]
    prompts = [task.tokenizer.encode(question) for question in questions]
    n_new = task.context_length - len(prompts[0])
    stop = task.tokenizer.ids["."]
    written = rollout(models[style], prompts, n_new, stop, **options)
    return [task.tokenizer.decode(ids) for ids in written.answers()]


for style in ("plain", "steps"):
    for question in ("123+456=", "987+345="):
        answer = answers(style, [question], temperature=0)[0]
        print(f"the model with the style {style} writes:", question, answer)

# %% [markdown]
# (`rollout` answers many questions at once; lesson [25](25_reinforcement_learning.ipynb) builds it.)
# You can check every step of the second model by eye. Three seeds, recorded with `python book/_tools/reasoning.py`, and
# `reversed` too:

# %%
def table(runs, key="accuracies"):
    for name, found in runs.items():
        shares = "  ".join(f"{share:.3f}" for share in found[key])
        print(f"{name:20}  {shares}")


table(parts["addition"])

# %% [markdown]
# To turn the digits round does not help. Each digit then needs only one carry, but that carry stands
# nowhere: it has to be found again. With new examples at each step, and twice as many steps, `reversed`
# learns it, as the next table shows: steps are the way that needs few examples.

# %% [markdown]
# ### Longer sums
#
# Does such a model *know how to add*? These learn from new three-digit sums at every step. Then they
# get three digits, and four. In the style `hints` a letter before each digit names its place,
# `c1b2a3+c4b5a6=a9b7c5d0.`, with a random first letter, so that the model can find digits that belong
# together at any distance; this model has rotary positions.

# %%
print("three digits")
table(parts["longer"], "as trained")
print("four digits")
table(parts["longer"])

# %% tags=["proof"]
# @title Proof: what the text says about the recorded sums
for name, most in (("plain", 0.1), ("reversed", 0.1)):
    assert max(parts["addition"][name]["accuracies"]) <= most
assert min(parts["addition"]["steps"]["accuracies"]) >= 0.95
longer = parts["longer"]
assert min(longer["steps"]["as trained"] + longer["reversed"]["as trained"]) >= 0.95
assert max(max(found["accuracies"]) for found in longer.values()) == 0
print("so it stands in the tables")

# %% [markdown]
# **Not one four-digit sum is right**, in any of these styles. The models have learnt a procedure for
# three places. With learned positions the places beyond were never trained. With letters and rotary
# positions the model does not go on to a fourth place either, perhaps because its sums all had one
# length. Larger models, trained on sums of many lengths, get further (Zhou et al. 2024). *Right on new questions* is not
# *right on longer questions*.

# %% [markdown]
# ## New combinations
#
# Whoever knows *jump* and *walk twice* understands *jump twice*. SCAN (Lake and Baroni 2018) tests
# that. A command is turned into actions:

# %%
from lib.tasks.commands import all_commands

for example in make_task("commands").test_examples[:3]:
    print(example.prompt, example.answer)
print(f"{len(all_commands()):,} commands")

# %% [markdown]
# There are 10,440 commands (ours leave out *around*). *Random*: some are kept for the test. *Jump*: the test has commands in
# which `jump` is combined with other words. The model learns all commands without `jump`, `jump` alone,
# often, and 0, 8, 32 or 200 combinations:

# %%
table(parts["commands"])

# %% [markdown]
# The same as bars, on average over the seeds:

# %% mystnb={"image": {"alt": "Bar chart: the share of right answers against the number of combinations with jump that the model learnt from. It is zero without any, nearly half with eight, high with 32, and nearly one with 200."}}
from lib.show import plot

heights = {
    f"{name}": sum(found["accuracies"]) / 3
    for name, found in parts["commands"].items()
    if name != "random"
}
plot.bar_chart(heights, "combinations with jump to learn from", "right", top=1)

# %% tags=["proof"]
# @title Proof: what the text says about commands
found = {name: run["accuracies"] for name, run in parts["commands"].items()}
assert min(found["random"]) >= 0.97 and max(found["0"]) <= 0.1
assert min(found["32"]) >= 0.75 and min(found["200"]) >= 0.9
print("so it stands in the table")

# %% [markdown]
# With the random split it seems that the model understands. The other split shows that it does not
# combine `jump` by itself: nothing told it that `jump` behaves as `walk` does. A few dozen combinations
# tell it for most. **The split decides what a test tells you.**

# %% [markdown]
# ## A tool
#
# Products are harder than sums. A calculator has them at once. So let the model write a *call*, in square
# brackets. A loop watches what it writes; when a call is complete, the calculator's result is put behind
# it, and the model goes on.

# %% mystnb={"image": {"alt": "A loop. The model writes a call, a sum in square brackets. The calculator returns the result, which is put behind the call with a semicolon. The model reads both and writes the next call."}}
diagrams.tool_loop()

# %% [markdown]
# The calculator first. A model may write anything. **Never run it as a program**: `eval` would.
# This one takes whole numbers with `+`, `-`, `*` between them, of six digits at most, and refuses all else.
# `fullmatch` asks whether a whole text has a form, `findall` takes it apart.

# %% tags=["naive:generate.tools.calculate"]
import re


def calculate(expression):
    number = "-?[0-9]{1,6}"
    if not re.fullmatch(f"{number}([-+*]{number})*", expression):
        raise ValueError(f"expression={expression!r} must be numbers with + - *")
    first, *rest = re.findall(r"(?<![0-9])-?[0-9]+|[-+*]", expression)
    total, product = 0, int(first)
    for sign, other in zip(rest[::2], map(int, rest[1::2])):
        if sign == "*":
            product *= other
        else:
            total, product = total + product, (other if sign == "+" else -other)
    return total + product


# %% [markdown]
# (`(?<![0-9])`: no digit stands before. A minus after a digit is a sign of its own.)

# %%
print(calculate("12+34"), calculate("2+3*-4"), calculate("7-2*3-1"))
try:
    calculate("__import__('os')")
except ValueError as error:
    print(error)

# %% [markdown]
# Now the loop. Look at `except`: a bad call must not stop the generation. It gets a `?`.

# %% tags=["naive:generate.tools.answer_with_tool"]
@torch.no_grad()
def answer_with_tool(model, tokenizer, prompt, n_new, tool=calculate):
    answer = ""
    while len(answer) < n_new and not answer.endswith("."):
        ids = torch.tensor([tokenizer.encode(prompt + answer)])
        answer += tokenizer.decode(model(ids)[0, -1:].argmax(dim=-1))
        if call := re.search(r"\[([^\[\]]*)\]$", answer):
            try:
                result = tool(call[1])
            except ValueError:
                result = "?"
            answer += f"{result};"
    return answer


# %% [markdown]
# In the examples to learn from, the results are there, and marked as `given`: the model reads them, but
# has no loss on them. Else it would have to learn the calculator's work:

# %%
calculation = make_task("calculation:style=tool,digits=1,n_examples=300")
example = calculation.examples[0]
rows = encode_examples(calculation.tokenizer, [example])
print(example.prompt, example.answer)
print("the loss sees", calculation.tokenizer.decode(rows.targets[rows.counted]))

# %% [markdown]
# Train on it, for a short while, with one-digit numbers. The last question is one in a form that it never saw.

# %% tags=["sample"]
caller = learn(calculation, n_steps=200, batch_size=32)
for prompt in (calculation.test_examples[0].prompt, "(7+8)*9=", "7+8="):
    answer = answer_with_tool(caller, calculation.tokenizer, prompt, n_new=23)
    print("the model and its calculator write:", prompt, answer)

# %% tags=["same:generate.tools.calculate", "same:generate.tools.answer_with_tool", "proof"]
# @title Proof: the library's calculator and its loop, with a cache, do the same
from lib.generate import tools

for expression in ("1", "-7", "12+34", "2+3*-4", "7-2*3-1", "10*10*10"):
    assert calculate(expression) == tools.calculate(expression)
arguments = caller.eval(), calculation.tokenizer
for example in calculation.test_examples[:10]:
    answer = answer_with_tool(*arguments, example.prompt, 23)
    assert answer == tools.answer_with_tool(*arguments, example.prompt, 23)
found = exact_match(caller, *calculation.test)
claim(found >= 0.8, "it calls the calculator as it should")
print("the same answers")

# %% [markdown]
# The calls come with the right numbers in them, and the second call uses the result of the first. The
# question in an unknown form is not refused: the model calls with wrong numbers. Two-digit numbers, a
# thousand examples, three seeds:

# %%
table(parts["calculation"])

# %% tags=["proof"]
# @title Proof: what the text says about the calculator
assert max(parts["calculation"]["plain"]["accuracies"]) <= 0.05
assert min(parts["calculation"]["tool"]["accuracies"]) >= 0.9
print("so it stands in the table")

# %% [markdown]
# ## More samples
#
# Another way to spend more computation is to sample several answers, and to take one. Which?

# %% mystnb={"image": {"alt": "One question and five sampled answers, three of which agree. A vote takes these, the most frequent. A verifier looks at each answer and takes the one with the best score."}}
diagrams.sample_tree()

# %% [markdown]
# A vote takes the answer that comes most often, whatever steps led to it: *self-consistency*. A
# [verifier](../book/glossary.md#verifier) is anything that looks at one answer and gives it a score:
# a program that runs the tests, a rule, another model.

# %% tags=["naive:generate.voting.majority_vote"]
from collections import Counter


def majority_vote(answers):
    votes = Counter(answer for answer in answers if answer is not None)
    return max(votes, key=votes.get, default=None)


# %% tags=["naive:generate.voting.best_of_n"]
def best_of_n(candidates, score):
    scores = [float(score(candidate)) for candidate in candidates]
    return candidates[scores.index(max(scores))]


# %% [markdown]
# `Counter` counts; `max` with a `key` takes the first of the largest. An answer that never ended is
# `None`, and has no vote.

# %%
texts = ["12;10;>102.", "12;00;>002.", "12;10;>102.", "12;10;1"]
numbers = [text[:-1].split(">")[1] if text[-1] == "." else None for text in texts]
print(numbers, "vote:", majority_vote(numbers))
print("best:", best_of_n(texts, score=lambda text: text.endswith("102.")))

# %% tags=["same:generate.voting.best_of_n", "same:generate.voting.majority_vote", "proof"]
# @title Proof: the library's choice is the same
from lib.generate import voting

for candidates in ("abc", "bca", ["aa", "b"], [""]):
    assert best_of_n(candidates, len) == voting.best_of_n(candidates, len)
    assert majority_vote(candidates) == voting.majority_vote(candidates)
print("the same choices")

# %% [markdown]
# Now the measurement: models trained for fewer steps, which are often wrong, and up to sixteen samples
# for each sum, at a temperature of 0.6. An answer is right if its result is. The verifier passes an
# answer if each of its steps holds; all that it knows are sums of two single digits. The *judge at
# random* gives random scores, *one sample* takes the first without looking. *Greedy* is one answer
# without chance. On average over three models:

# %%
samples = parts["samples"]
mean = {
    name: [sum(column) / 3 for column in zip(*lines)]
    for name, lines in samples["lines"].items()
}
print(f"temperature {samples['temperature']}")
print("samples         ", *(f"{n:5}" for n in samples["counts"]))
for name, line in mean.items():
    print(f"{name:16}", *(f"{share:5.2f}" for share in line))

# %% [markdown]
# The same as lines. Look at which of them rise:

# %% mystnb={"image": {"alt": "Lines: the share of right answers against 1 to 16 samples. With the verifier it rises steeply. The vote rises slowly to a little below the greedy answer. One sample, and the judge at random, stay flat."}}
plot.line_chart(mean, "samples for each question", "right", x=samples["counts"])

# %% tags=["proof"]
# @title Proof: what the text says about the samples
names = ("verifier", "vote", "judge at random", "one sample")
for verifier, vote, judge, one in zip(*(samples["lines"][name] for name in names)):
    assert all(a < b for a, b in zip(verifier, verifier[1:]))
    assert verifier[-1] > vote[-1] > vote[0] + 0.02
    assert max(judge) - min(judge) < 0.05 and max(one) - min(one) < 0.05
assert abs(mean["vote"][-1] - mean["greedy"][-1]) < 0.1 < mean["verifier"][-1] / 3
print("so it stands in the table")

# %% [markdown]
# - **With a verifier more samples help, again and again**: one right answer among sixteen is enough, if
#   somebody can tell.
# - **A vote helps less.** It finds what the model says most often, and where that is wrong, more samples
#   make it surely wrong. Here sixteen votes end a little below the one greedy answer.
# - **The judge at random is the control.** To choose without knowledge gives nothing.
#
# And sixteen samples are sixteen times the tokens. This verifier could add the numbers itself; verifiers
# matter where checking is easier than solving, as with programs and proofs.

# %% [markdown]
# ## What this is not
#
# This model did not find out how to add. It was shown the steps, and carries out a procedure. A large
# model's chain of thought need not be what decided its answer either (Turpin et al. 2023). What is solid
# is this: **steps are more computation, with a memory that the next step can read.**

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A verifier lets all answers pass, right or wrong. What does best of sixteen give?</summary>
#
# What one sample gives: all scores are equal, and the first is taken.
#
# </details>
#
# <details><summary>A model is right with probability .4 for a question, and else gives always the same wrong number. What does a vote among very many samples give? And if the wrong answers are all different?</summary>
#
# In the first case it is surely wrong; in the second surely right, since .4 is then the most
# frequent.
#
# </details>
#
# <details><summary>Instead of the steps, you train the model to write as many dots before its answer. Has it as many blocks in a row?</summary>
#
# No. It does read more tokens, and each passes the blocks. But a dot is the same whatever
# was computed: nothing of what one pass found comes in at the bottom of the next. Only
# attention passes something on, from block to block, and there are $n$ of these.
#
# </details>

# %% tags=["answer"]
# @title Answers: two votes
import random

rng = random.Random(0)
for name, wrong in (("alike", lambda: "7"), ("different", lambda: str(rng.random()))):
    drawn = ["42" if rng.random() < 0.4 else wrong() for _ in range(1_000)]
    print(f"wrong answers {name}: the vote says {majority_vote(drawn)}")

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_24 import (
    check_brackets,
    check_difference,
    check_erring_verifier,
    check_own_targets,
    check_weighted_vote,
)

# %% [markdown]
# ### Exercise 1: The steps of a difference
#
# *warm-up · 10 minutes* · [Solution](../solutions/24_reasoning.ipynb#exercise-1-the-steps-of-a-difference)
#
# Return the answer of `a - b` with steps, as a text, for `a` at least `b`. From the right: what is borrowed,
# 0 or 1, what is written, and a semicolon. Then `>`, the result with `digits` digits, and a full stop.
# For 11 - 9 with two digits: `12;00;>02.`
#
# <details><summary>Hint</summary>
#
# `divmod(x - y - borrow, 10)` gives -1 where a ten must be borrowed.
#
# </details>


# %%
def difference_steps(a, b, digits):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_difference(difference_steps)

# %% [markdown]
# ### Exercise 2: What counts beside a tool
#
# *core · 15 minutes* · [Solution](../solutions/24_reasoning.ipynb#exercise-2-what-counts-beside-a-tool)
#
# For a row `prompt + answer`, return a list of booleans, one for each *target*: True where it is
# the model's to write. In the answer, what follows a `]` up to the next `;`, that one included, came
# from the tool. There may be any number of calls; the last result may have been cut off. Brackets in the prompt
# are no calls.
#
# <details><summary>Hint</summary>
#
# Go through the answer with a switch `given`: a `]` turns it on for what follows, a `;` turns it off
# after itself. Then put `len(prompt) - 1` times False before it: the first token is no target.
#
# </details>


# %%
def own_targets(prompt, answer):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_own_targets(own_targets)

# %% [markdown]
# ### Exercise 3: A vote with weights
#
# *core · 10 minutes* · [Solution](../solutions/24_reasoning.ipynb#exercise-3-a-vote-with-weights)
#
# Each answer votes with a weight, which may be negative. Return the answer whose weights have the largest
# sum; of several, the one that came first. `None` does not vote. If there is nothing else, return `None`.
#
# <details><summary>Hint</summary>
#
# A dictionary from answer to sum remembers who came first.
#
# </details>


# %%
def weighted_vote(answers, weights):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_weighted_vote(weighted_vote)

# %% [markdown]
# ### Exercise 4: A verifier that errs
#
# *stretch · 20 minutes* · [Solution](../solutions/24_reasoning.ipynb#exercise-4-a-verifier-that-errs)
#
# For each question in `chances` a sample is right with that probability. A verifier passes every
# right answer, and a wrong one with probability `error`. Of `n` samples the first that passes is taken. (If
# none passes, the answer is wrong.) Return the expected share of right answers over all questions.
#
# <details><summary>Hint</summary>
#
# The sample number $k$ is taken and right if it is right and all before it were wrong and did not pass: $p\,
# ((1 - p)(1 - e))^{k - 1}$. Sum that for each question, then take the mean.
#
# </details>


# %%
def share_right(chances, error, n):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_erring_verifier(share_right)

# %% [markdown]
# ### Exercise 5: Brackets
#
# *stretch · 25 minutes* · [Solution](../solutions/24_reasoning.ipynb#exercise-5-brackets)
#
# Let the calculator read brackets: return the value of `(1+2)*(5-7)` as an integer. Raise a `ValueError`
# for all that is no such expression, and run nothing that a model wrote: no `eval`. Spaces are not
# allowed. A minus right before a bracket is not asked for, and numbers have six digits at most.
#
# <details><summary>Hint</summary>
#
# Replace an innermost pair of brackets, found with `re.search(r"\(([^()]*)\)", text)`, by what
# `calculate` makes of its inside, until there is none. What would become of `2(3)`?
#
# </details>


# %%
def with_brackets(expression):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_brackets(with_brackets)

# %% [markdown]
# ## Recap
#
# - You built **worked examples of which only the answers count**, and a measure of whole answers.
# - You saw **steps** turn a thousand examples into a procedure, and that it ends at the length that it
#   was trained on.
# - You saw that the **split** decides what a test tells: random commands nearly all right, new combinations none.
# - You built a **calculator** and the loop that calls it; what it returns is not the model's to learn.
# - You built a **vote** and a **choice by a verifier**, and saw which of them makes more samples pay.
#
# What is still wrong: somebody had to write all the steps to learn from. Often one can only say
# whether the result is right. Is that enough to learn from? That is lesson
# [25](25_reinforcement_learning.ipynb).
#
# The library's entries: [write_sum](../book/api.md#tasksarithmetic),
# [encode_examples](../book/api.md#taskstask),
# [exact_match](../book/api.md#evaluateexact_match), [the
# calculator](../book/api.md#generatetools) and [voting](../book/api.md#generatevoting).

# %% [markdown]
# ## To read
#
# - Nye et al. (2021), *Show Your Work*, section 3: sums with a scratchpad. Wei et al. (2022),
#   *Chain-of-Thought Prompting*, sections 2 and 3: steps in the prompt of a large model.
# - Wang et al. (2022), *Self-Consistency*, sections 2 and 3.
# - Cobbe et al. (2021), *Training Verifiers to Solve Math Word Problems*, section 4: a model as verifier.
# - Lake and Baroni (2018), *Generalization without Systematicity*, section 2: SCAN, section 4: the splits.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: logic
#
# Is it something about sums? Expressions of `T` and `F` with and `&`, or `|`, exclusive or `^`, not `!`, and
# brackets; a space stands where there is no `!`. A step is what one operator gives, from the innermost
# on:

# %%
for style in ("plain", "steps"):
    example = make_task(f"logic:style={style}").test_examples[0]
    print(f"{style:6}", example.prompt, example.answer)
table(parts["logic"])

# %% tags=["proof"]
# @title Proof: what the text says about logic
logic = parts["logic"]
assert min(logic["steps"]["accuracies"]) >= 0.95
assert 0.6 < min(logic["plain"]["accuracies"])
assert max(logic["plain"]["accuracies"]) < 0.85
print("so it stands in the table")

# %% [markdown]
# A coin would get half of these. The model that answers at once gets more: in one of three the outermost
# operator decides, as `F&` does, whatever stands in the bracket. With steps nearly all are right.
