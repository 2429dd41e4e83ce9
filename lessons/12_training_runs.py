# %% [markdown]
# # 12 · Training runs
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/12_training_runs.ipynb)
#
# You stop a training run, resume it so that it equals the unbroken one to the last digit, and learn
# what its log tells you.
#
# - **You will build** checkpoints: one file that holds a whole run, written at once or not at all.
# - **You will see** a resumed run that equals the unbroken one, a bug that the first loss does not
#   show, and how far apart two runs end that differ by nothing but chance.
# - **Needs** lesson [11](11_training.ipynb).
# - **Takes** about 75 minutes without exercise 4; the notebook runs in under 45 s.

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
# The recipe of lesson [11](11_training.ipynb) gets below 1.88 nats in seconds. Larger models train
# for days, and computers crash. What must be on the disk so that a run goes on as if nothing had
# happened? And when two runs end at different losses, is one recipe better, or was it luck?
# <!-- from: 11_training#experiment-2-the-fast-recipe "limit =" -->

# %% tags=["corpus", "hide-input"]
# @title The text
import torch
from torch import Tensor, nn

from lib.checks.claims import claim
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train_tokens, validation_tokens = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train_tokens):,} + {len(validation_tokens):,} tokens")

# %% [markdown]
# All runs on this page train a GPT of one block, small enough for seconds.

# %%
from lib.models.presets import preset_config

one_block = preset_config("block", vocab_size=V, init="fan_in")

# %% [markdown]
# ## The machine
#
# A run is more than its weights. All that the next step depends on goes into one file, a
# [checkpoint](../book/glossary.md#checkpoint), and out of the file into a new process.

# %% mystnb={"image": {"alt": "Diagram: on the left a process with four boxes: weights, optimiser, step, generators of random numbers. Arrows lead from each to a file in the middle, and from there to the same four boxes of a new process on the right."}}
from lib.show import diagrams

diagrams.run_state()

# %% [markdown]
# ## By hand
#
# Take one parameter `w` and an optimiser with [momentum](../book/glossary.md#momentum): it moves by
# a running mean `m` of the gradients. Let the gradient always be 4. The mean starts at 0, and at each
# step it moves half of the way to the gradient.


# %%
def descend(w, m, n_steps):
    path = []
    for _ in range(n_steps):
        m = (m + 4) / 2  # half old mean, half new gradient
        w = w - m
        path.append(w)
    return path, m


path, m = descend(w=20, m=0, n_steps=3)
print("w:", path, "and then m:", m)

# %% [markdown]
# Do it on paper: `m` is 2, 3, 3.5, so `w` goes from 20 to 18, 15, 11.5. Now the computer stops. You
# saved `w`. Did you save `m` too?

# %%
print("with m:   ", descend(w=11.5, m=3.5, n_steps=3)[0])
print("without m:", descend(w=11.5, m=0, n_steps=3)[0])

# %% [markdown]
# Both start from the same weight, so at that moment their losses are the same. Yet one run keeps its
# speed, and the other must pick it up again. **The weights are not the run.**

# %% [markdown]
# ## The formula
#
# One step makes the next state $S_{t+1}$ of a run out of the one before, $S_t$:
#
# $$S_{t+1} = f(S_t) \qquad\qquad S_t = (\theta_t, \; m_t, \; v_t, \; t, \; r_t)$$
#
# | symbol | shape | what it is |
# |---|---|---|
# | $\theta$ | that of each parameter | the weights |
# | $m$, $v$ | the same | the running means of AdamW; Muon has only $m$ |
# | $t$ | a number | the step; the schedule needs it |
# | $r$ | bytes | where the random numbers stand |
#
# The text and the settings are part of $f$: they must be the same again. Whoever has
# $S_t$ needs nothing else.

# %% [markdown]
# ## Build
#
# ### Where the random numbers stand
#
# Random numbers decide which batches are drawn, and what [dropout](../book/glossary.md#dropout) sets
# to 0. A generator computes them from a state. It changes with each number, and you can read it and put
# it back.

# %%
generator = torch.Generator().manual_seed(0)
state = generator.get_state()
first = torch.rand(3, generator=generator)
generator.set_state(state)
again = torch.rand(3, generator=generator)
print(f"{len(state):,} numbers, {state.dtype}; equal: {torch.equal(first, again)}")

# %% [markdown]
# With the same state come the same numbers. A run has two such states: the generator of its batches,
# and PyTorch's own (`torch.get_rng_state`), which dropout uses.
#
# ### One flat list
#
# What does an optimiser keep? Make one step with AdamW, and look into its `state_dict`.

# %%
layer = nn.Linear(2, 1)
adamw = torch.optim.AdamW(layer.parameters())
layer(torch.ones(1, 2)).sum().backward()
adamw.step()
for place, state in adamw.state_dict()["state"].items():
    print(place, {name: tuple(tensor.shape) for name, tensor in state.items()})

# %% [markdown]
# For each parameter, by number: a step counter, and two means of its shape. That is a dictionary in a
# dictionary. A file wants one flat list of tensors, so each gets a long name.


# %% tags=["lib:train.optimizer.optimizer_tensors"]
def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    return {
        f"optimizer.{number}.{place}.{name}": tensor
        for number, optimizer in enumerate(optimizers)
        for place, state in optimizer.state_dict()["state"].items()
        for name, tensor in state.items()
    }


# %%
print(*optimizer_tensors([adamw]), sep="\n")

# %% [markdown]
# First the optimiser, then the parameter, then what it is. On the way back the names are taken apart
# at the dots. (The rates are not kept: the settings say them. `clone`, since the optimiser changes its
# means in place.)


# %% tags=["lib:train.optimizer.load_optimizers"]
from collections import defaultdict


def load_optimizers(
    optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    for number, optimizer in enumerate(optimizers):
        prefix, state = f"optimizer.{number}.", defaultdict(dict)
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                place, key = name.removeprefix(prefix).split(".")
                state[int(place)][key] = tensor.clone()
        optimizer.load_state_dict(optimizer.state_dict() | {"state": dict(state)})


# %% [markdown]
# ### The whole run
#
# A `Training` of lesson 11 holds `model`, `config`, `optimizers`, `losses`, `validation` and `n_done`, the
# steps done. Add the two random states, and the losses so far (how many there are is the step), in Python's own
# number format, `float64`.


# %%
def run_tensors(training, generator):
    own = {
        "run.losses": torch.tensor(training.losses, dtype=torch.float64),
        "run.generator": generator.get_state(),
        "run.torch": torch.get_rng_state(),
    }
    return own | optimizer_tensors(training.optimizers)


# %% [markdown]
# A `Checkpoint` is what is read from a file. Its `resume` puts a new `Training` where the old one
# was. Compare its lines with the four boxes of the picture. (The validation losses are in no box: nothing
# depends on them.)

# %% tags=["naive:train.checkpoint.Checkpoint"]
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Checkpoint:
    model: nn.Module
    tokenizer: CharTokenizer
    notes: dict  # settings, validation losses, and what you want to remember
    run: dict[str, Tensor]

    def resume(self, training, generator):
        training.model.load_state_dict(self.model.state_dict())
        load_optimizers(training.optimizers, self.run)
        training.losses[:] = self.run["run.losses"].tolist()
        training.n_done = len(training.losses)
        training.validation[:] = [tuple(pair) for pair in self.notes["validation"]]
        generator.set_state(self.run["run.generator"])
        torch.set_rng_state(self.run["run.torch"])


# %% [markdown]
# ### The file
#
# The format is *safetensors*: names, numbers, and some text about them. (Python's own format, pickle,
# can run any program while it is read. A stranger's checkpoint should not be able to.) Write a small
# one, and look at what lies between its first 8 bytes and its last 12.

# %%
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

folder = TemporaryDirectory()
example = Path(folder.name, "example.safetensors")
save_file({"x": torch.arange(3.0)}, example, {"note": "three numbers"})
print(example.read_bytes()[8:-12].decode())

# %% [markdown]
# After eight bytes for its length comes a table of contents, and then the twelve bytes of three
# numbers. Nothing in it can run.
#
# What if the power fails *while* a file is written? Half a new file has replaced a good old one, and
# all is lost. So write **next to** the old file, wait until all of it is on the disk (`fsync`), and let
# the new one take the old one's place. A file system does this move at once or not at all: it is
# *atomic*.

# %%
import json


def write_whole(path, tensors, words):
    half = path.with_name(f"{path.name}.tmp")
    save_file(tensors, half, {name: json.dumps(words[name]) for name in words})
    with open(half, "rb+") as file:
        os.fsync(file.fileno())
    half.replace(path)


# %% [markdown]
# Now collect: the weights, the run, and as text what is needed to understand them: the configuration
# of the model, the vocabulary, the settings, your notes.

# %% tags=["naive:train.checkpoint.save_checkpoint"]
from lib.models import build_model, config_from_dict, config_to_dict


def save_checkpoint(path, model, tokenizer, training, generator, **notes):
    tensors = {f"model.{name}": w.detach() for name, w in model.named_parameters()}
    tensors |= run_tensors(training, generator)
    notes["config"] = asdict(training.config)
    notes["validation"] = training.validation
    words = {"model": config_to_dict(model.config), "notes": notes}
    words["tokenizer"] = tokenizer.to_dict()
    write_whole(path, tensors, words)


# %% [markdown]
# Reading goes the other way: build a model as the text says, and fill it with the weights. What is
# left over is the run.

# %% tags=["naive:train.checkpoint.load_checkpoint"]
from safetensors import safe_open


def load_checkpoint(path):
    with safe_open(path, "pt") as file:
        words = {name: json.loads(text) for name, text in file.metadata().items()}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    model = build_model(config_from_dict(words["model"]))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors.pop(f"model.{name}"))
    tokenizer = CharTokenizer.from_dict(words["tokenizer"])
    return Checkpoint(model.eval(), tokenizer, words["notes"], tensors)


# %% [markdown]
# ### Stop, and go on
#
# Train 20 steps with Muon, dropout and a warm-up, so that everything has a state. Keep a file of
# step 10, as if the computer had died right then.

# %%
from lib.models.gpt import GPT
from lib.train import Training, next_token_loss, train
from lib.train.settings import TrainConfig

short = TrainConfig(n_steps=20, learning_rate=0.01, optimizer="muon", n_warmup=5)


def new_training(settings, seed, dropout=0.0):
    torch.manual_seed(seed)
    return Training(GPT(replace(one_block, dropout=dropout)), settings)


# %%
def batches(generator):
    return lambda: random_batch(train_tokens, 16, 32, generator)


def keep_step_10():
    if training.n_done == 10:
        save_checkpoint(at_10, training.model, tokenizer, training, generator, seed=0)


# %% [markdown]
# `train` of lesson [11](11_training.ipynb) calls `save` after every tenth step.

# %% tags=["corpus"]
at_10 = Path(folder.name, "at_10.safetensors")
training = new_training(short, seed=0, dropout=0.1)
generator = torch.Generator().manual_seed(0)
unbroken = train(training, batches(generator), every=10, save=keep_step_10)
print(f"{at_10.name}: {at_10.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# Now forget all but the settings and the text. Make a new model with *another* seed, load the file,
# and go on.

# %% tags=["corpus", "measured"]
training = new_training(short, seed=99, dropout=0.1)
generator = torch.Generator().manual_seed(99)
load_checkpoint(at_10).resume(training, generator)
resumed = train(training, batches(generator))
print("unbroken:", [round(loss, 4) for loss in unbroken[-4:]])
print("resumed: ", [round(loss, 4) for loss in resumed[-4:]])
assert resumed == unbroken

# %% [markdown]
# The first ten losses come out of the file. The ten that were computed again are *equal* to those of
# the unbroken run, not just close. (On another processor than the first, a last digit may differ.)
#
# ### A text of your own
#
# All of this is also a command. It wants a file of plain text. (Some editors put a mark at the
# beginning, `\ufeff`; it is no part of the text.)


# %% tags=["naive:text.corpus.read_text"]
def read_text(path):
    return Path(path).read_bytes().decode("utf-8").removeprefix("\ufeff")


# %% [markdown]
# In a terminal, in the course's folder, the first line trains a small GPT on your text. Press Ctrl-C,
# and the second goes on where it stopped. The third lets the model write.
#
# ```
# python -m lib.train --preset mini --text my.txt --epochs 10 --out runs/mine
# python -m lib.train --out runs/mine --resume
# python -m lib.generate runs/mine --prompt "Once"
# ```
#
# An *epoch* is as many tokens as the training text has, drawn at random: some come twice, some never.
# Most other options are the settings of lesson [11](11_training.ipynb); `--help` lists all.

# %% [markdown]
# ## Check
#
# The library's functions write the same tensors and notes. They also refuse to resume with other
# settings, and keep a checksum (sha256) in the file, so that they notice when even *one bit* has flipped.

# %% tags=["same:train.checkpoint.save_checkpoint", "same:train.checkpoint.load_checkpoint", "same:train.checkpoint.Checkpoint", "proof", "corpus"]
# @title Proof: the library writes and reads the same
from lib.train import checkpoint as library

state, ends = (training.model, tokenizer, training, generator), []
for number, save in enumerate((save_checkpoint, library.save_checkpoint)):
    save(Path(folder.name, f"{number}.safetensors"), *state, seed=0)
for number, load in enumerate((load_checkpoint, library.load_checkpoint)):
    kept = load(Path(folder.name, f"{number}.safetensors"))
    again = new_training(short, seed=len(ends), dropout=0.1)
    kept.resume(again, torch.Generator())
    tensors = kept.run | optimizer_tensors(again.optimizers)
    ends.append((tensors | again.model.state_dict(), kept.notes, again.losses))
(ours, *words), (theirs, *their_words) = ends
assert words == their_words and ours.keys() == theirs.keys()
assert all(torch.equal(ours[name], theirs[name]) for name in ours)
print(f"{len(ours)} tensors, all the same")

# %% tags=["same:text.corpus.read_text", "proof"]
# @title Proof: the library reads the same text, and refuses one that is too short
from lib.text import corpus as library_corpus

text_file = Path(folder.name, "text.txt")
text_file.write_bytes(b"\xef\xbb\xbf" + "Ma vie, déjà vu.\r\n".encode() * 100)
assert read_text(text_file) == library_corpus.read_text(text_file)
text_file.write_text("To be", "utf-8")
try:
    library_corpus.read_text(text_file)
except ValueError as error:
    print(str(error).split(text_file.name)[1])

# %% [markdown]
# Now flip one bit in such a file:

# %% tags=["corpus"]
from lib.train import checkpoint as library

latest = Path(folder.name, "latest.safetensors")
library.save_checkpoint(latest, training.model, tokenizer, training, generator)
damaged = bytearray(latest.read_bytes())
damaged[len(damaged) // 2] ^= 1
latest.write_bytes(damaged)
try:
    library.load_checkpoint(latest)
except ValueError as error:
    print(str(error).split(latest.name)[1])

# %% [markdown]
# ### The classic bug: going on without the optimiser
#
# Weights are saved, weights are loaded, the loss is where it was. What is missing? The running means,
# as by hand. AdamW makes it worse: its step counter is 0 again, so it corrects its means as at a start, and
# the first update moves nearly every parameter by the full rate.
#
# Train 60 steps. Then go on twice with the same batches: with the old optimiser, and with the weights
# alone. (At a constant rate only the optimiser differs.)

# %% tags=["corpus"]
import copy

steady = TrainConfig(n_steps=90, learning_rate=0.01, schedule="constant")
training = new_training(steady, seed=0)
next_batch = batches(torch.Generator().manual_seed(0))
for _ in range(60):
    training.step(next_batch())
weights_only = Training(copy.deepcopy(training.model), steady)
following = [next_batch() for _ in range(30)]
right, wrong = ([t.step(b) for b in following] for t in (training, weights_only))

# %% tags=["corpus", "measured"]
differences = torch.tensor(wrong) - torch.tensor(right)
bump, rest = differences[1:11].mean(), differences[-10:].mean()
print(f"first loss: {differences[0]:+.2f} nats")
print(f"losses 2 to 11: {bump:+.2f} nats on average")
print(f"losses 21 to 30: {rest:+.2f} nats on average")
assert differences[0] == 0
claim(bump > 0.03, "without the optimiser's state there is a bump")
claim(rest < bump, "the bump gets smaller")

# %% [markdown]
# The first loss is exactly the same, so a look at the loaded model shows nothing. In this run a bump
# follows that gets smaller. In a long run it is easily missed. To catch it, compare the losses after the stop
# with those of an unbroken run, to the last digit.

# %% [markdown]
# ## Look
#
# A run leaves a log. Train for 300 steps on a text "of your own", here the first 60,000 characters of
# the corpus. This is what the command does:

# %% tags=["corpus"]
from lib.train.run import Run
from lib.train.run_settings import RunSettings

place = TemporaryDirectory()
mine = Path(place.name, "my.txt")
mine.write_text(corpus.text[:60_000], "utf-8")
settings = RunSettings(
    preset="block", text=str(mine), n_steps=300, n_warmup=30, dtype="float32"
)
run = Run.new(place.name, settings, device="cpu")
run.train(every=15)

# %% [markdown]
# Its folder holds one file besides the text. The losses below are read from it. (Given a folder,
# the library's `load_checkpoint` reads the file in it.)

# %% tags=["corpus", "measured"]
saved = library.load_checkpoint(place.name)
log = saved.run["run.losses"]
steps, validation = zip(*saved.notes["validation"])
print("notes:", *saved.notes)
claim(log[-15:].std() > 0.03, "single batches jump about")
claim(abs(validation[-1] - log[-15:].mean()) < 0.25, "the curves stay close")

# %% [markdown]
# The notes hold the settings, the seed, the text's name and its checksum. The losses of single
# batches jump about: some lines are harder than others. So draw the mean of 15 at a time, beside the
# validation loss, which is always taken on the same text.

# %% mystnb={"image": {"alt": "Two curves over 300 steps. Training loss, as means of 15 steps, and validation loss fall together, steeply at first, then more and more gently, and stay close to each other."}} tags=["corpus"]
from lib.show import plot

curves = {"training": log.view(-1, 15).mean(dim=1), "validation": validation}
plot.line_chart(curves, "step", "loss (nats per token)", x=steps)

# %% [markdown]
# *Steep, then gentle. (At first validation lies lower: it comes after the 15 steps of which training
# shows the mean.) From then on the two stay close: nothing is learned by heart yet.*
#
# The notes also name the schedule, which gives the factor of both rates:

# %% mystnb={"image": {"alt": "The rate over 300 steps, as a share of the highest. It rises in a straight line to 1 in the first 30 steps, stays there until step 120, and then falls in a straight line to 0."}}
from lib.train.schedule import linear_schedule

c = saved.notes["config"]
rates = [linear_schedule(i, c["n_steps"], c["n_warmup"]) for i in range(300)]
at = {step: round(rates[step], 3) for step in (0, 29, 120, 299)}
print(f"{c['schedule']}, warm-up {c['n_warmup']}, factor at steps {at}")
plot.line_chart({"rate": rates}, "step", "share of the highest rate")

# %% [markdown]
# *Read a loss curve with the rate beside it: a bend in the loss may come from a bend in the rate.*
#
# | what you see | what it may be |
# |---|---|
# | the loss leaps up and stays there | rate too high, warm-up too short |
# | validation rises, training falls | overfitting: stop, or find more text |
# | a bump right after a stop | the optimiser was not saved |
# | the loss stays at its first value | no gradient arrives; rate far too low |
# | the loss is too good to be true | the model sees its targets |

# %% [markdown]
# ## Experiment: how much is luck?
#
# Without dropout, chance decides two things: the weights at the start, and the batches. Change one at a time. Each run
# has 150 steps, and is judged on the same 4,096 characters.

# %%
from lib.train import estimate_loss

some = validation_tokens[:4_096]
base = TrainConfig(150, learning_rate=0.005, optimizer="muon", schedule="linear")


def end_of_run(start, order, settings=base):
    training = new_training(settings, seed=start)
    train(training, batches(torch.Generator().manual_seed(order)))
    return estimate_loss(training.model, some, 32)


# %% tags=["corpus", "measured"]
first = end_of_run(start=0, order=0)
ends = {
    "the same again": [first, end_of_run(start=0, order=0)],
    "other batches": [first, end_of_run(0, 1), end_of_run(0, 2)],
    "other start": [first, end_of_run(1, 0), end_of_run(2, 0)],
}
for name, losses in ends.items():
    each = ", ".join(f"{loss:.3f}" for loss in losses)
    print(f"{name:14} {each}; spread {max(losses) - min(losses):.3f}")
assert len(set(ends["the same again"])) == 1

# %% [markdown]
# The same seeds give the same loss to the last digit. In this run another start, or other batches,
# move the end by hundredths of a nat. That is luck: no recipe was better.
#
# So a comparison needs several seeds on **both** sides. A rough rule: believe a difference of two
# means if it exceeds the larger of the two spreads, largest minus smallest. Here are
# three groups of three new runs. The second group has the recipe of the first, so whatever lies
# between these two is luck. The third has a fifth of both rates, Muon's and AdamW's.

# %% tags=["corpus", "measured"]
slow = replace(base, muon_learning_rate=0.004, learning_rate=0.001)
groups = {
    "as it is": [end_of_run(seed, seed) for seed in (3, 4, 5)],
    "the same": [end_of_run(seed, seed) for seed in (6, 7, 8)],
    "slower": [end_of_run(seed, seed, slow) for seed in (9, 10, 11)],
}
means = {name: sum(losses) / 3 for name, losses in groups.items()}
for name, losses in groups.items():
    print(f"{name:8} mean {means[name]:.3f}:", *(f"{loss:.3f}" for loss in losses))
gap = min(groups["slower"]) - max(groups["as it is"] + groups["the same"])
claim(gap > 0.1, "the lower rate is worse, whatever the seed")

# %% [markdown]
# Six runs of one recipe, and their two means differ: luck. With the lower rate each run is worse than each of the six, and the
# difference of the means exceeds every spread. That is a result.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>How many numbers does a checkpoint hold for each weight, counting weights and running means alone, when the run uses AdamW? And with Muon for the matrices?</summary>
#
# AdamW alone: three, the weight and two means. With Muon: nearer to two, because Muon keeps one
# mean for each matrix.
#
# </details>
#
# <details><summary>Everything of the stopped run is resumed but the generator of the batches, which gets another seed. Which loss is the first that differs from the unbroken run?</summary>
#
# The very first one after the stop: the weights are right, but the batch is another. So this mistake
# is easy to see, if you have an unbroken run to compare with. If not, nothing shows it.
#
# </details>
#
# <details><summary>You resume that run with <code>n_steps=40</code>, twice as many as before. Its schedule is the cosine, and everything else is restored. Which loss is the first that differs?</summary>
#
# Not the first after the stop, which is measured before the update, but the second: the schedule
# gives another rate, since it has longer to go. The library refuses to resume with other settings.
#
# </details>

# %% tags=["answer", "corpus"]
# @title Answers: other batches, other settings
for settings, other in ((short, True), (replace(short, n_steps=40), False)):
    training = new_training(settings, seed=0, dropout=0.1)
    generator = torch.Generator()
    load_checkpoint(at_10).resume(training, generator)
    next_batch = batches(generator.manual_seed(7) if other else generator)
    losses = [training.step(next_batch()) for _ in range(2)]
    equal = [a == b for a, b in zip(losses, unbroken[10:])]
    print("other batches" if other else "other settings", "- equal losses:", equal)
    assert equal == ([False, False] if other else [True, False])

# %% tags=["answer", "corpus"]
# @title Answer: numbers per parameter
batch = next_batch()
for optimizer, low, high in (("adamw", 3, 3.01), ("muon", 2, 2.5)):
    training = new_training(TrainConfig(1, optimizer=optimizer), seed=0)
    training.step(batch)
    kept = [t for t in optimizer_tensors(training.optimizers).values() if t.dim() > 0]
    n_parameters = sum(p.numel() for p in training.model.parameters())
    share = 1 + sum(t.numel() for t in kept) / n_parameters
    print(f"{optimizer}: {share:.1f} numbers per parameter")
    assert low <= share < high

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_12 import (
    check_ShuffledBatches,
    check_compare,
    check_first_difference,
    check_replace_file,
)

# %% [markdown]
# ### Exercise 1: Where two runs part
#
# *warm-up · 5 minutes* · [Solution](../solutions/12_training_runs.ipynb#exercise-1-where-two-runs-part)
#
# You compare a resumed run with an unbroken one. Given two lists of losses, return the index,
# counted from 0, of the first step at which they are not *exactly* equal, or `None` if there is none.
# If one list is shorter, compare only as far as it goes.
#
# <details><summary>Hint</summary>
#
# `zip` goes through two lists together, as far as the shorter one. `enumerate` counts.
#
# </details>


# %%
def first_difference(one, other):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_first_difference(first_difference)

# %% [markdown]
# ### Exercise 2: More than luck?
#
# *core · 10 minutes* · [Solution](../solutions/12_training_runs.ipynb#exercise-2-more-than-luck)
#
# `ours` and `theirs` are lists of final losses, one for each seed; they may differ in length. Return a
# pair of numbers: by how much the mean of `ours` is *lower* than the mean of `theirs` (negative where it is
# higher), and the spread that this must exceed: the larger of the two spreads, each the largest loss
# of a list minus its smallest. Do not change the lists.
#
# <details><summary>Hint</summary>
#
# The spread of each list by itself: pooled together, the difference itself would count as luck.
#
# </details>


# %%
def compare(ours, theirs):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_compare(compare)

# %% [markdown]
# ### Exercise 3: Whole or not at all
#
# *core · 15 minutes* · [Solution](../solutions/12_training_runs.ipynb#exercise-3-whole-or-not-at-all)
#
# `write` is a function that writes a file to the path that it is given, and may fail with any error, even
# a Ctrl-C, half-way or at once. Write `replace_file`: it uses `write` to make a new version of the file
# `path` (a `Path`), so that `path` holds the old version, if there is one, until the new one is complete, and
# then the new one at once. If `write` fails, the old file must be
# untouched, nothing half-written may stay behind in the folder, and the caller must get the error.
# (Call `write` once. `fsync` is not asked for.)
#
# <details><summary>Hint</summary>
#
# Give `write` another path in the same folder: a move between two disks is not atomic. `try:` ...
# `finally:` runs in any case, and `unlink(missing_ok=True)` removes a file if it is there.
#
# </details>


# %%
def replace_file(path, write):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_replace_file(replace_file)

# %% [markdown]
# ### Exercise 4: Batches that can be resumed
#
# *stretch · 30 minutes* · [Solution](../solutions/12_training_runs.ipynb#exercise-4-batches-that-can-be-resumed)
#
# `random_batch` draws windows with replacement. Many programs shuffle instead: each epoch goes through all
# items once, in a new random order. Then a run can stop in the *middle* of an epoch. Write a class:
#
# - `ShuffledBatches(n_items, batch_size, seed)`: a generator of its own from `seed`. `batch_size`
#   divides `n_items`.
# - `next()`: a tensor `(batch_size,)` of your own making (whoever gets it may change it) with the indices of
#   the next items. At the start of each epoch a
#   new order of the numbers `0 ... n_items - 1` is drawn.
# - `state()`: a dictionary that holds all that is needed to go on (also before the first `next()`), and
#   does not change afterwards.
# - `load(state)`: bring this object, whatever its seed, to where the one that gave the state was when it gave
#   it. The dictionary stays as it is, and may be loaded again.
#
# <details><summary>Hint</summary>
#
# `torch.randperm(n, generator=generator)` draws an order. Which three things decide what comes next?
# A tensor that you hand out and then change in place changes in the dictionary, too.
#
# </details>


# %%
class ShuffledBatches:
    def __init__(self, n_items, batch_size, seed):
        raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_ShuffledBatches(ShuffledBatches)

# %% [markdown]
# ## Recap
#
# - **The state of a run** is its weights, the optimisers' running means, the step, and the random
#   states. You built a **checkpoint** that holds all of it, and is written whole or not at all.
# - You **stopped and went on**: all losses were equal to the last digit. Without the optimiser's state
#   the first loss is the same, and then comes a bump.
# - You can **read a log**: single losses jump, means show the way, the rate explains bends.
# - You know **how much is luck**: start and batches alone move the end, so a comparison
#   needs several seeds, and a difference of the means above the spread.
#
# What is still wrong: the model predicts, and it can draw one character after the other. But is
# drawing from the whole distribution the best way to write? And why does every new character cost a
# full pass over all the old ones? Lesson [13](13_generation.ipynb) makes it write.
#
# The library's entries:
# [Checkpoint, save_checkpoint and load_checkpoint](../book/api.md#traincheckpoint),
# [optimizer_tensors and load_optimizers](../book/api.md#trainoptimizer),
# [read_text](../book/api.md#textcorpus).

# %% [markdown]
# ## To read
#
# - Micikevicius et al. (2018), *Mixed Precision Training*, section 3: which numbers may be short, and
#   why a copy of the weights must not be.
# - Dodge et al. (2020), *Fine-Tuning Pretrained Language Models: Weight Initializations, Data Orders,
#   and Early Stopping*: the experiment of this page, on a large model.
# - Zhang et al. (2022), *OPT: Open Pre-trained Transformer Language Models*, section 2.5: what happens
#   in a run of months, and how often it was resumed.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: short numbers
#
# One option of the command is `--dtype`. Many processors multiply faster in
# [bfloat16](../book/glossary.md#bfloat16): numbers as large as those of `float32`, with two or three
# digits only. For what goes into a product of matrices that is enough (inside, its sums are kept
# longer). For a running sum it is not: add 0.01 a thousand times.

# %%
for dtype in (torch.float32, torch.bfloat16):
    total = torch.tensor(0.0, dtype=dtype)
    for _ in range(1_000):
        total += 0.01
    losses = torch.tensor([1.837, 1.839], dtype=dtype).tolist()
    print(f"{dtype}: sum {total.item():.2f}, two losses", *(f"{x:.4f}" for x in losses))

# %% [markdown]
# The sum must be 10. In `bfloat16` it stops at 4: there its numbers lie so far apart that 4 + 0.01 is
# rounded back to 4. Weights would stop in the same way, since a step adds little to them. And two
# different losses have become the same number.
#
# So only what goes into a product is short. Weights, means and losses stay in `float32`:

# %%
model, ids = GPT(one_block), torch.zeros(1, 8, dtype=torch.long)
with torch.autocast("cpu", torch.bfloat16):
    logits = model(ids)
    loss = next_token_loss(model, ids, ids)
print("logits", logits.dtype, "loss", loss.dtype, "weights", model.head.weight.dtype)

# %% [markdown]
# Inside `autocast` PyTorch shortens the numbers just for the products. The loss makes them long again
# before it takes logarithms and means.

# %% [markdown]
# ## Deeper: two processes
#
# A batch can be shared: two processes have the same weights, each takes half of the rows, and before
# the update they exchange their gradients and take the mean. So both make the same step and stay equal.
# This is called *data parallel*; PyTorch's class for it is `DistributedDataParallel`, DDP. Weights,
# means and batches are the same in both, so one of them writes the checkpoint, and any number of processes
# can read it. (Against one process, last digits of the losses may differ; so does dropout, which each draws
# for itself.)
#
# ```
# torchrun --nproc-per-node 2 -m lib.train --preset mini --text my.txt --out runs/two
# python -m lib.train --out runs/two --resume
# ```
#
# Why the mean of two halves is right, with equal halves:

# %% tags=["corpus"]
inputs, targets = batches(torch.Generator().manual_seed(0))()  # 16 rows
model = GPT(one_block)
gradients = []
for rows in (slice(0, 8), slice(8, 16), slice(0, 16)):
    model.zero_grad()
    next_token_loss(model, inputs[rows], targets[rows]).backward()
    gradients.append(model.head.weight.grad.clone())
half, other_half, whole = gradients
assert torch.allclose((half + other_half) / 2, whole, atol=1e-6)
print("mean of the two halves = gradient of the whole batch")

# %% [markdown]
# The mean of the gradients of two equal halves is the gradient of the whole batch. If one half has
# more targets that count, it must have more weight, as with the parts of lesson
# [11](11_training.ipynb). Lesson 22 builds it.
