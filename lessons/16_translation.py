# %% [markdown]
# # 16 · Translation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/16_translation.ipynb)
#
# You train the original Transformer for the job that it was invented for, and see which English word
# it looks at when it writes a French one.
#
# - **You will build** batches of pairs, the paper's smoothed loss and warm-up, BLEU, and beam search.
# - **You will see** French words find their places, and where smoothing, beams and warm-up pay.
# - **Needs** lesson [15](15_encoder_decoder.ipynb).
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
# The encoder-decoder of lesson [15](15_encoder_decoder.ipynb) has not done yet what it was made for.
# Can it translate? And when a sentence has *several* right translations, how do you train for that,
# how do you choose one, and how do you score it?

# %% [markdown]
# ## The machine
#
# The model is that of lesson 15. What stands around it, in colour, is new.

# %% mystnb={"image": {"alt": "Two rows. Training: a pair goes into the Transformer of lesson 15, then into a smoothed loss, which sends gradients back by a rate with warm-up. In use: an English sentence goes into the Transformer, beam search writes French, and BLEU compares it with a reference."}}
from lib.show import diagrams

diagrams.translator()

# %% [markdown]
# ## By hand
#
# Begin with a dictionary: look up each word, write down what it says, go on. 

# %%
english = "the small boy does not see the black cats"
french = "le petit garçon ne voit pas les chats noirs"
dictionary = dict(the="le", small="petit", boy="garçon", does="fait", see="voit")
dictionary |= {"not": "pas", "black": "noir", "cats": "chats"}
looked_up = " ".join(dictionary[word] for word in english.split())
print("looked up:", looked_up)
print("French:   ", french)

# %% [markdown]
# Three kinds of mistakes. **Order**: the colour follows its noun. **Agreement**: to write `les` you must
# have seen `cats`, two words later. **Words without a partner**: `does` vanishes, `not` becomes
# two words around the verb.
#
# Our sentences come from a small grammar that writes both languages. Who does what to
# whom is drawn by chance: a model cannot guess what cats usually do, it must read.

# %%
from lib.tasks.english_french import translation_data

data = translation_data(20_000)
for piece in (" noirs", "l' ", " la voit", "pas de "):
    pairs = [pair for pair in data.train if piece in pair.french]
    pair = min(pairs, key=lambda pair: len(pair.english))
    print(f"{pair.english:26} {pair.french}")
print(f"{len(data.train):,} pairs for training", end=", ")
print(f"{len(data.unseen)} unseen and {len(data.held_out)} held-out ones")

# %% [markdown]
# (A shortened word such as `l'` stands alone here.) **Unseen** test sentences are new.
# **Held-out** ones are harder: an adjective meets a noun that it never stands beside in training.
#
# Real sentences have many translations. The grammar can do that too: synonyms, two places for an adverb, `tu` or `vous`.

# %%
from lib.tasks.english_french import ambiguous_data

questions = ambiguous_data(n_train=1, n_test=400).unseen
question = next(q for q in questions if len(q.answers) == 4)
print(question.english)
for text, share in question.answers.items():
    print(f"{share:.2f}  {text}")

# %% [markdown]
# ## The formula
#
# A source $x$ of $S$ tokens, a target $y_0, \ldots, y_T$. The model gives a probability to each target
# token after $y_0$, and so, by the chain rule, to a whole translation:
#
# $$p(y \mid x) = \prod_{t=1}^{T} p(y_t \mid y_0, \ldots, y_{t-1}, x)$$
#
# Training lowers the mean of $-\ln p(y_t \mid \ldots)$. Translating looks for a $y$ with a large
# $p(y \mid x)$.
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(B, S)` | ids of the source, `<eos>` at the end |
# | $y$ | `(B, T + 1)` | ids of the target, from `<bos>` to `<eos>` |
# | $V$, $\epsilon$ | numbers | size of the target's vocabulary; share of a target that is spread |
# | $D$, $s$, $w$ | numbers | size of the vectors; the step, from 1 on; steps of warm-up |
# | $K$, $\alpha$ | numbers | beams; strength of the length penalty |
#
# Vaswani et al. (2017), sections 5.3 to 5.4 and 6.1; BLEU: Papineni et al. (2002), section 2.3; length
# penalty: Wu et al. (2016), equation (14).

# %% [markdown]
# ## Build
#
# ### Words to numbers
#
# One token per word, one vocabulary per language. Three [special
# tokens](../book/glossary.md#special-token) come first: `<pad>` fills rows up, `<bos>` starts a
# target, `<eos>` ends a sentence. `decode` stops at the first `<eos>`.

# %% tags=["naive:text.tokenizer.WordTokenizer"]
class WordTokenizer:
    def __init__(self, sentences):
        words = {word for sentence in sentences for word in sentence.split()}
        self.words = ["<pad>", "<bos>", "<eos>"] + sorted(words)  # ids 0, 1, 2, ...
        self.ids = {word: i for i, word in enumerate(self.words)}
        self.vocab_size = len(self.words)

    def encode(self, sentence):
        return [self.ids[word] for word in sentence.split()]

    def decode(self, ids):
        ids = [*map(int, ids), 2]
        return " ".join(self.words[i] for i in ids[: ids.index(2)] if i > 2)


# %%
source = WordTokenizer(pair.english for pair in data.train)
target = WordTokenizer(pair.french for pair in data.train)
print(source.vocab_size, "English and", target.vocab_size, "French tokens")
ids = target.encode("les chats noirs")
print(ids, "->", target.decode([1, *ids, 2, 0, 0]))

# %% [markdown]
# Whole pairs: both end with `<eos>`, and the decoder needs a `<bos>` to read before the first word.

# %% tags=["naive:translate.encode_pairs"]
def encode_pairs(pairs, source, target):
    sources = [[*source.encode(pair.english), 2] for pair in pairs]
    targets = [[1, *target.encode(pair.french), 2] for pair in pairs]
    return sources, targets


# %% [markdown]
# A batch draws pairs at random and fills both sides up to their longest row, with `pad_batch` of
# lesson 15. How much of the target is filling?

# %% tags=["naive:translate.PairBatches"]
import torch

from lib.text.tokenizer import pad_batch


class PairBatches:
    def __init__(self, sources, targets, batch_size, generator):
        self.sides = sources, targets
        self.size, self.generator = (batch_size,), generator

    def __call__(self):
        n = len(self.sides[0])
        rows = torch.randint(n, self.size, generator=self.generator).tolist()
        return tuple(pad_batch([side[row] for row in rows]) for side in self.sides)


# %%
rows = encode_pairs(data.train, source, target)
src, tgt = PairBatches(*rows, 64, torch.Generator().manual_seed(0))()
padding = (tgt[:, 1:] == 0).float().mean().item()
print("source", tuple(src.shape), "target", tuple(tgt.shape))
print(f"share of padding among the targets: {padding:.0%}")

# %% [markdown]
# Nearly half: the loss must leave it out.
#
# ### A loss that leaves room for doubt
#
# [Cross-entropy](../book/glossary.md#cross-entropy) wants the probability 1 for the word that came.
# [Label smoothing](../book/glossary.md#label-smoothing) takes the share $\epsilon$ from it and spreads
# it evenly over all $V$ words, the right one included.
#
# $$L = (1 - \epsilon) \, (-\ln p_{y}) + \epsilon \cdot \frac{1}{V} \sum_{i=1}^{V} (-\ln p_i)$$
#
# Small numbers: four words with the probabilities 1/2, 1/4, 1/8, 1/8. Their surprises are 1, 2, 3, 3
# bits, 9/4 on average. The first word is right, $\epsilon$ is 0.2:

# %%
p = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8])
bits = -p.log2()
print("bits:", bits.tolist(), "mean:", bits.mean().item())
print(f"0.8 * 1 + 0.2 * 9/4 = {0.8 * bits[0] + 0.2 * bits.mean():.2f} bits")

# %% [markdown]
# In code, for logits of any shape. Padding counts neither in the sum nor in its divisor.

# %% tags=["naive:evaluate.losses.label_smoothing_loss"]
def label_smoothing_loss(logits, targets, smoothing=0.0, pad_id=-1):
    surprise = -logits.log_softmax(dim=-1)  # (..., V), in nats
    losses = surprise.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (...)
    losses = (1 - smoothing) * losses + smoothing * surprise.mean(dim=-1)
    counts = targets != pad_id
    return (losses * counts).sum() / counts.sum()


# %%
loss = label_smoothing_loss(p.log(), torch.tensor(0), smoothing=0.2)
print(f"{loss:.4f} nats = {loss / torch.tensor(2.0).log():.2f} bits")

# %% [markdown]
# The same. A translator reads the target without its last token and predicts it without its first.

# %% tags=["naive:translate.translation_loss"]
def translation_loss(model, src, tgt, smoothing=0.0):
    logits = model(src, tgt[:, :-1])  # (B, T, V)
    return label_smoothing_loss(logits, tgt[:, 1:], smoothing, model.config.pad_id)


# %% [markdown]
# ### The paper's warm-up
#
# The [learning rate](../book/glossary.md#learning-rate) rises in a straight line for $w$ steps, then
# falls with the root of the step: the *Noam* schedule, named after an author.
#
# $$\text{rate} = D^{-1/2} \cdot \min\!\left(s^{-1/2},\; s \cdot w^{-3/2}\right)$$
#
# It is highest at $s = w$. Divided by that height it is a factor, as in lesson [11](11_training.ipynb).

# %% tags=["naive:train.schedule.noam_schedule"]
def noam_schedule(step, n_steps, n_warmup):  # n_steps: as in lesson 11
    risen = (step + 1) / n_warmup
    return min(risen, risen**-0.5)


# %% [markdown]
# Beside the linear schedule of lesson 11:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two factors over 400 steps. Both rise on the same straight line to 1 in the first 100 steps. The linear one stays there for a while, then falls in a straight line to 0. Noam falls at once, then more and more slowly, and is at one half at the end."}}
# @title The picture
from lib.show import plot
from lib.train.schedule import SCHEDULES

N_STEPS, N_WARMUP = 400, 100
both = {"Noam": noam_schedule, "linear": SCHEDULES["linear"]}
factors = {
    name: [schedule(step, N_STEPS, N_WARMUP) for step in range(N_STEPS)]
    for name, schedule in both.items()
}
print("at the end:", {name: f"{line[-1]:.2f}" for name, line in factors.items()})
plot.line_chart(factors, "step", "factor for the rate")

# %% [markdown]
# *At the end Noam still has half of its highest rate.* For the paper's 100,000 steps, with [4,000 of
# warm-up](https://arxiv.org/abs/1706.03762), that is fine. A short run should come to rest: we take the
# linear one.
#
# ### Train
#
# Like the paper, much smaller: [post-norm](../book/glossary.md#post-norm) blocks,
# [ReLU](../book/glossary.md#relu), 0.98 for Adam's second beta; no dropout, and no smoothing, as
# each sentence here has one right translation. The rate of 0.006 is high.

# %%
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.train import Training, train
from lib.train.settings import TrainConfig
from lib.translate import PairBatches as Batches  # as you built it; see Check
from lib.translate import translation_loss as library_loss  # and this one

sizes = dict(d_model=64, n_heads=4, n_encoder_layers=3, n_decoder_layers=3, d_ff=256)
sizes |= dict(dropout=0.0, context_length=64, pre_norm=False, tie_weights=False)
recipe = dict(learning_rate=0.006, betas=(0.9, 0.98))
recipe |= dict(schedule="linear", n_warmup=N_WARMUP)
print(recipe)

# %% [markdown]
# The losses:

# %% tags=["measured"]
import math

from lib.checks.claims import claim

torch.manual_seed(0)
config = TransformerConfig(source.vocab_size, target.vocab_size, **sizes)
settings = TrainConfig(N_STEPS, **recipe)
training = Training(Transformer(config), settings, library_loss)
losses = train(training, Batches(*rows, 64, torch.Generator().manual_seed(0)))
model = training.model.eval()
n_parameters = sum(parameter.numel() for parameter in model.parameters())
print(f"{n_parameters:,} parameters, ln V = {math.log(target.vocab_size):.2f}")
print(f"first loss {losses[0]:.2f} nats per token, last {losses[-1]:.2f}")
claim(losses[-1] < 0.1, "the loss comes down to almost nothing")

# %% [markdown]
# From a little above $\ln V$, which is ignorance, to nearly 0. But is a *sentence* right? The loss asks for the next word after a perfect past. A translator
# has only its own words to go on.
#
# ### Translate

# %% tags=["naive:translate.translate"]
from lib.generate.targets import generate_targets


def translate(model, source, target, sentences):
    src = pad_batch([[*source.encode(sentence), 2] for sentence in sentences])
    ids = generate_targets(model, src, temperature=0.0)  # greedy, as in lesson 15
    return [target.decode(row) for row in ids]


# %% tags=["sample"]
unseen = translate(model, source, target, [pair.english for pair in data.unseen])
held_out = translate(model, source, target, [pair.english for pair in data.held_out])
for pair, text in list(zip(data.unseen, unseen))[:2]:
    print(f"{pair.english}\n    {text}")

# %% [markdown]
# **Exact match** is the share of sentences in which every word is right.

# %% tags=["measured"]
def exact_match(texts, pairs):
    return sum(text == pair.french for text, pair in zip(texts, pairs)) / len(pairs)


right = exact_match(unseen, data.unseen), exact_match(held_out, data.held_out)
print(f"right word for word: unseen {right[0]:.1%}, held-out {right[1]:.1%}")
claim(min(right) >= 0.97, "nearly every translation is right word for word")

# %% [markdown]
# Nearly all, even where an adjective meets a new noun: it learned words and rules.
#
# ### BLEU: almost right is not wrong
#
# Exact match punishes a synonym as hard as nonsense. [BLEU](../book/glossary.md#bleu) asks instead: how
# many runs of 1 to 4 words does a text share with a right one?
#
# $$\text{BLEU} = 100 \cdot \min(1, e^{1 - r/c}) \cdot (p_1 \, p_2 \, p_3 \, p_4)^{1/4}$$
# <!-- from: bleu-almost-right-is-not-wrong "return 100" -->
#
# $p_n$ is the share of the written runs of $n$ words that stand in the reference too. The factor
# before it punishes texts that are too short: $c$ words were written, the references have $r$.
#
# In code a `Counter` holds the runs of a text. `&` takes the smaller count of each: nobody gets two
# points for writing `le` twice where the reference has it once. Count these two on paper first:

# %%
from collections import Counter


def runs(text, n):
    words = text.split()
    return Counter(zip(*(words[i:] for i in range(n))))


candidates = ["le petit garçon voit les noirs chats", "elle la voit"]
references = ["le petit garçon voit les chats noirs", "elle ne la voit pas"]
for n in (1, 2, 3, 4):
    pairs = [(runs(c, n), runs(r, n)) for c, r in zip(candidates, references)]
    found = [(written & wanted).total() for written, wanted in pairs]
    print(f"{n}: {found} of {[written.total() for written, _ in pairs]} runs match")

# %% [markdown]
# (`zip` walks through copies of the text that start one word later each.) Both sentences together have
# 10 of 10, 5 of 8, 3 of 6 and 2 of 4: sum over *all* sentences first, then divide.

# %% tags=["naive:evaluate.bleu.bleu"]
def bleu(candidates, references):
    shares = []
    for n in (1, 2, 3, 4):
        pairs = [(runs(c, n), runs(r, n)) for c, r in zip(candidates, references)]
        found = sum((written & wanted).total() for written, wanted in pairs)
        shares.append(found / sum(written.total() for written, _ in pairs))
    n_written, n_wanted = (len(" ".join(t).split()) for t in (candidates, references))
    brevity = min(1, math.exp(1 - n_wanted / n_written))
    return 100 * brevity * math.prod(shares) ** (1 / 4)


# %% tags=["measured"]
by_hand = 100 * math.exp(1 - 12 / 10) * (10 / 10 * 5 / 8 * 3 / 6 * 2 / 4) ** (1 / 4)
print(f"by hand {by_hand:.1f}, by the code {bleu(candidates, references):.1f}")
score = bleu(unseen, [pair.french for pair in data.unseen])
print(f"your translator, unseen sentences: {score:.1f}")

# %% [markdown]
# What does a *perfect* translator score? Draw five right answers to each ambiguous
# sentence: one plays the translator, the others are references. (The library's
# `bleu` takes several: see Exercise 2.)

# %%
import random

from lib.evaluate.bleu import bleu as library_bleu


def drawn(seed):
    draw = random.Random(seed).choices
    return [draw(list(q.answers), list(q.answers.values()))[0] for q in questions]


person, *others = (drawn(seed) for seed in range(5))
print(f"against one other person: {bleu(person, others[0]):.0f}")
print(f"against four: {library_bleu(person, list(zip(*others))):.0f}")

# %% [markdown]
# All these sentences are right, yet neither score is full, and one reference gives far less. BLEU
# compares systems on the *same* test; alone it says little.
#
# ### Beam search
#
# [Greedy](../book/glossary.md#greedy) takes the likeliest word, and must live with it. In *the friend
# follows him today* that is `aujourd'hui`. After it two words for the friend still share the
# probability: the best answer begins otherwise. [Beam search](../book/glossary.md#beam-search) keeps the
# $K$ likeliest beginnings. Here $K$ is 2:

# %% tags=["hide-input"] mystnb={"image": {"alt": "A tree of beginnings. aujourd'hui has 0.40, l' 0.36, le 0.24. Greedy takes aujourd'hui and can reach 0.24 at most. The second beam, l', must go on with ami and stays at 0.36: the winner. le is dropped."}}
# @title The tree
answers = {
    "l' ami le suit aujourd'hui": 0.36,
    "aujourd'hui l' ami le suit": 0.24,
    "le copain le suit aujourd'hui": 0.24,
    "aujourd'hui le copain le suit": 0.16,
}
for first in ("aujourd'hui", "l'", "le"):
    total = sum(p for text, p in answers.items() if text.split()[0] == first)
    print(f"{first:12} {total:.2f}")
diagrams.beam_tree()

# %% [markdown]
# A longer text multiplies more numbers below 1, so likely texts tend to be short. Wu et al. divide the
# log probability by a **length penalty** for $n$ tokens:
#
# $$\left(\frac{5 + n}{6}\right)^{\alpha}$$

# %% tags=["naive:generate.beam.length_penalty"]
def length_penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


# %%
for alpha in (0.0, 0.6):
    short, long = (-2.0 / length_penalty(4, alpha), -2.4 / length_penalty(8, alpha))
    print(f"alpha {alpha}: 4 tokens {short:.2f}, 8 tokens {long:.2f}")

# %% [markdown]
# By probability the short text wins; with an $\alpha$ of 0.6 (that of Vaswani et al.), the long one.
#
# The search, for one source. `next_log_p` gives the log probability of each next token. Each beam is
# continued by its best $K$ words, and the best $K$ of all go on. Those that end are put aside with
# their score, and their places stay empty.

# %% tags=["naive:generate.beam.beam_search"]
def beam_search(next_log_p, n_beams=4, max_len=50, alpha=0.6):
    beams, found = [([1], 0.0)], []  # <bos>
    for length in range(1, max_len + 1):
        longer = []
        for ids, total in beams:
            log_p, words = next_log_p(ids).topk(n_beams)
            for p, word in zip(log_p.tolist(), words.tolist()):
                longer.append(([*ids, word], total + p))
        longer = sorted(longer, key=lambda beam: beam[1], reverse=True)[:n_beams]
        penalty = length_penalty(length, alpha)
        found += [(t / penalty, ids[1:]) for ids, t in longer if ids[-1] == 2]
        beams = [beam for beam in longer if beam[0][-1] != 2]
    found += [(t / penalty, ids[1:]) for ids, t in beams]  # not ended
    score, ids = max(found)
    return ids, score


# %% [markdown]
# Try it with a *perfect* model of the friend's four answers: each next word gets its share of the
# answers that begin so.

# %%
words = WordTokenizer(answers)


def perfect(ids):
    shares = torch.zeros(words.vocab_size)
    for text, p in answers.items():
        row = [1, *words.encode(text), 2]
        if row[: len(ids)] == ids:
            shares[row[len(ids)]] += p
    return (shares / shares.sum()).log()


for n_beams in (1, 2):
    ids, log_p = beam_search(perfect, n_beams, max_len=6, alpha=0.0)
    print(f"{n_beams}: {words.decode(ids)} ({math.exp(log_p):.2f})")

# %% [markdown]
# One beam is greedy; two find the best answer. The library follows all beams of a batch at once, with
# the [cache](../book/glossary.md#kv-cache) of lesson [13](13_generation.ipynb), and encodes each source
# once.

# %% [markdown]
# ## Check
#
# Your functions give the library's numbers, and the loss PyTorch's.

# %% tags=["same:text.tokenizer.WordTokenizer", "same:translate.encode_pairs", "same:translate.PairBatches", "proof"]
# @title Proof: tokenizer, pairs and batches equal the library's
from lib import translate as library
from lib.text import tokenizer as library_tokenizer

sides = [pair.english for pair in data.train], [pair.french for pair in data.train]
theirs = [library_tokenizer.WordTokenizer(side) for side in sides]
assert [t.words for t in theirs] == [source.words, target.words]
assert theirs[1].decode([1, 40, 41, 2, 0]) == target.decode([1, 40, 41, 2, 0])
assert library.encode_pairs(data.train, *theirs) == rows
for kind in (PairBatches, library.PairBatches):
    batch = kind(*rows, 64, torch.Generator().manual_seed(0))()
    assert torch.equal(batch[0], src) and torch.equal(batch[1], tgt)
print("the same words, ids and batches")

# %% tags=["same:evaluate.losses.label_smoothing_loss", "proof"]
# @title Proof: the loss equals the library's and PyTorch's, and so do gradients
from torch.nn import functional as F

from lib.evaluate import losses as library_losses

logits = torch.randn(4, 9, 30, requires_grad=True)
targets = torch.randint(1, 30, (4, 9))
targets[1:, 5:] = 0  # padding
for smoothing in (0.0, 0.1, 1.0):
    ours = label_smoothing_loss(logits, targets, smoothing, 0)
    theirs = library_losses.label_smoothing_loss(logits, targets, smoothing, 0)
    how = dict(label_smoothing=smoothing, ignore_index=0)
    torchs = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **how)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, torchs)]
    assert torch.allclose(ours, torchs, atol=1e-5)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.allclose(*gradients, atol=1e-7)
print("the same losses and gradients")

# %% [markdown]
# A translator's loss and the schedule, then the texts:

# %% tags=["same:translate.translation_loss", "same:train.schedule.noam_schedule", "proof"]
# @title Proof: the translator's loss and the schedule equal the library's
from lib.train import schedule

for smoothing in (0.0, 0.1):
    ours = translation_loss(model, src, tgt, smoothing)
    assert torch.allclose(ours, library_loss(model, src, tgt, smoothing), atol=1e-5)
for step in range(9):
    assert math.isclose(noam_schedule(step, 9, 4), schedule.noam_schedule(step, 9, 4))
print("the same losses and factors")

# %% tags=["same:translate.translate", "same:evaluate.bleu.bleu", "same:generate.beam.length_penalty", "same:generate.beam.beam_search", "proof"]
# @title Proof: translations, BLEU and beams equal the library's
from lib.generate import beam as library_beam

texts = [pair.english for pair in data.unseen]
assert library.translate(model, source, target, texts) == unseen
wanted = [pair.french for pair in data.unseen]
assert math.isclose(library_bleu(unseen, wanted), bleu(unseen, wanted))
for text in texts[:3]:
    one = torch.tensor([[*source.encode(text), 2]])
    next_log_p = lambda ids: model(one, torch.tensor([ids]))[0, -1].log_softmax(dim=-1)
    for n_beams, alpha in ((1, 0.0), (3, 0.6)):
        with torch.no_grad():
            ours, score = beam_search(next_log_p, n_beams, 20, alpha)
        theirs, their_score = library_beam.beam_search(model, one, n_beams, 20, alpha)
        assert theirs[0].tolist() == ours and abs(their_score.item() - score) < 1e-3
assert length_penalty(7, 0.6) == library_beam.length_penalty(7, 0.6)
print("the same texts and scores")

# %% [markdown]
# ### The classic bug: padding counts
#
# Forget `pad_id`, and the mean runs over all places, the empty ones included. Take a
# model that knows no word, but knows where the padding is:

# %%
targets = tgt[:, 1:]
logits = torch.zeros(*targets.shape, target.vocab_size)
logits[targets == 0, 0] = 100.0  # sure of padding, and of nothing else
with_bug = label_smoothing_loss(logits, targets)
correct = label_smoothing_loss(logits, targets, pad_id=0)
print(f"with the bug {with_bug:.2f} nats, correct {correct:.2f}")

# %% [markdown]
# The right loss is $\ln V$, ignorance. With the bug nearly half of the places are gifts, and one long
# sentence adds padding to every row, so that each real word gets a smaller gradient.
#
# The test: **the loss of a sentence must not depend on its company.** Compare a short
# and a long sentence in one batch with both alone.

# %%
short, long = ([[side[i]] for side in rows] for i in (31, 21))
together = [a + b for a, b in zip(short, long)]
n_tokens = [len(pair[1][0]) - 1 for pair in (short, long)]


@torch.no_grad()
def company(pad_id):
    def loss_of(pairs):
        src, tgt = map(pad_batch, pairs)
        return label_smoothing_loss(model(src, tgt[:, :-1]), tgt[:, 1:], pad_id=pad_id)

    alone = sum(n * loss_of(pair) for n, pair in zip(n_tokens, (short, long)))
    return torch.isclose(loss_of(together), alone / sum(n_tokens), rtol=1e-3).item()


# %%
print("independent of company:", {"correct": company(0), "with the bug": company(-1)})
assert company(0) and not company(-1)

# %% [markdown]
# ## Look
#
# A row of [cross-attention](../book/glossary.md#cross-attention) has one weight for each English word.
# Word $f$ is predicted by row $f$, since `<bos>` stands in row 0. Take the mean of the last block's
# heads.

# %%
from lib.evaluate.attention_maps import attention_maps
from lib.tasks.english_french import Pair


def look(pairs):
    src, tgt = map(pad_batch, encode_pairs(pairs, source, target))
    return attention_maps(model, src, tgt[:, :-1])[-1].mean(dim=1)  # (B, T, S)


# %% [markdown]
# Where do the dark cells cross?

# %% tags=["hide-input"] mystnb={"image": {"alt": "Heat map, French words from top to bottom, English words from left to right. Nouns and adjectives have a dark cell at their English word. At the end the cells of chats and noirs cross, since the English words stand in the other order."}}
# @title The picture
def draw(sentence, translation):
    weights = look([Pair(sentence, translation, ())])[0]
    columns, names = ([*text.split(), "<eos>"] for text in (sentence, translation))
    axes = "English word that it looks at", "French word that it writes"
    label = "attention weight"
    return plot.heat_map(
        weights, names, columns, *axes, size=(7.6, 6), top=1, label=label
    )


draw(english, french)

# %% [markdown]
# *At the end the dark cells cross: the noun that comes first in French stands last in English.*
#
# The grammar knows which English word each noun and adjective
# translates; the model was never told. How often is the darkest cell the right one, in all test
# sentences? To compare: "take the same place".

# %% tags=["measured"]
hits, same_place = [], []
for pairs in (data.unseen, data.held_out):
    darkest = look(pairs).argmax(dim=-1).tolist()  # (B, T)
    for pair, places in zip(pairs, darkest):
        hits += [places[f] == e for f, e in pair.links]
        same_place += [f == e for f, e in pair.links]
shares = [sum(each) / len(each) for each in (hits, same_place)]
print(f"{len(hits):,} words: darkest {shares[0]:.0%}, same place {shares[1]:.0%}")
claim(shares[0] > 0.85, "nouns and adjectives look at their English words")

# %% [markdown]
# Other sentences:

# %% tags=["hide-input", "nbval-ignore-output"]
# @title The slider
from lib.show.frames import slider

sentences = ["she sees her", "the friend does not know them"]
sentences += ["he wants her white house", "I do not want an apple"]
texts = dict(zip(sentences, translate(model, source, target, sentences)))


def describe(sentence):
    row, words = texts[sentence].split(), [*sentence.split(), "<eos>"]
    places = look([Pair(sentence, texts[sentence], ())])[0].argmax(dim=-1)
    seen = [f"{word} looks at {words[i]}" for word, i in zip(row, places)]
    return f"{sentence}: {texts[sentence]}. " + ", ".join(seen) + "."


slider(lambda s: draw(s, texts[s]), sentences, "sentence", alt=describe, start=2)

# %% [markdown]
# *Darkest: what the last block looks at most.* Small words are less clear.
# Attention reads *vectors*, into which the encoder has mixed other words: a map shows where the model
# reads, not all that reaches it.

# %% [markdown]
# ## Experiment: where each of them pays
#
# Your translator is nearly certain of every word: nothing to do for smoothing and beams. Other, smaller,
# pre-norm models were trained with Muon (lesson 11) on ambiguous sentences. In a few pairs the French is
# *broken*: it stops too early, as in texts from the web. Three seeds each; `python book/_tools/translation.py` makes the record.

# %% tags=["hide-input"]
# @title The record
import json
from pathlib import Path
from statistics import mean

import lib

path = Path(lib.__file__).parents[1] / "data" / "translation.json"
record = json.loads(path.read_text("utf-8"))
kept = record["ambiguous"]
print(f"{kept['noise']:.0%} broken, {kept['n_test']} test sentences")
print("pairs to train with:", kept["amounts"], "steps:", kept["recipe"]["n_steps"])


def over_seeds(run, *keys):
    values = record["ambiguous"]["runs"][run]
    for key in keys:
        values = [value[key] for value in values]
    return values


def shown(values, digits=2):
    low, high = min(values), max(values)
    return f"{mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


# %% [markdown]
# ### Does smoothing pay?
#
# Each row: how many pairs, and $\epsilon$. *Nats* per token of the right answers: no model gets below the
# floor. *Error*: how far the confidence in the best word is from how often it is right (lesson
# [31](31_evaluation.ipynb)).

# %% tags=["hide-input"]
# @title Nats and calibration error
print(f"floor {over_seeds('many, 0.0', 'late', 'probabilities', 'floor')[0]:.2f} nats")
for run in kept["runs"]:
    how = run, "late", "probabilities"
    nats, error = over_seeds(*how, "nats"), over_seeds(*how, "calibration")
    print(f"{run:9} nats {shown(nats)}, error {shown(error)}")

# %% tags=["hide-input"]
# @title The same runs: right answers, greedy and drawn, and BLEU
for run in kept["runs"]:
    how = run, "late", "searches"
    greedy, draws = (over_seeds(*how, each, "right") for each in ("greedy", "drawn"))
    score = mean(over_seeds(*how, "greedy", "bleu4"))
    print(f"{run:9} greedy {shown(greedy)}, BLEU {score:.1f}, drawn {mean(draws):.2f}")

# %% [markdown]
# Smoothing costs in all our runs: worse nats, a model less sure than it should be, and far fewer right
# answers when each word is *drawn* by its probability. What it brings are better *best* words. With few pairs that gain exceeds the seeds' spread; with many the
# ranges overlap. 

# %% tags=["proof"]
# @title The claims, seed by seed
def late(amount, *keys):
    return [over_seeds(f"{amount}, {s}", "late", *keys) for s in ("0.0", "0.1")]


for amount in ("many", "few"):
    for key in ("nats", "calibration"):
        plain, smooth = late(amount, "probabilities", key)
        claim(max(plain) < min(smooth), f"smoothing costs {key}")
    plain, smooth = late(amount, "searches", "drawn", "right")
    claim(min(plain) > max(smooth) + 0.2, "drawn words suffer")
    plain, smooth = late(amount, "searches", "greedy", "right")
    claim(all(a < b for a, b in zip(plain, smooth)), "greedy gains, for every seed")
    apart = max(plain) < min(smooth)
    claim(apart == (amount == "few"), "with few pairs beyond the spread of the seeds")

# %% [markdown]
# ### Do beams pay?
#
# Without smoothing, after a third of the training and at its end. *Short* texts have fewer words than the
# shortest right answer. *Log p* is that of the text.

# %% tags=["hide-input"]
# @title Four searches, at two ages
for age, pairs in (("early", "many"), ("late", "many"), ("early", "few")):
    print(f"{age}, {pairs}:  short, right, BLEU against four references, log p")
    for search, (_, alpha) in kept["searches"].items():
        each = {
            name: mean(over_seeds(f"{pairs}, 0.0", age, "searches", search, name))
            for name in ("short", "right", "bleu4", *["log_p"] * (not alpha))
        }
        numbers = f"{each['short']:4.0%} {each['right']:6.1%} {each['bleu4']:6.1f}"
        log_p = f"{each['log_p']:6.2f}" if "log_p" in each else ""
        print(f"  {search:21} {numbers} {log_p}".rstrip())

# %% [markdown]
# Beams find likelier texts. Better ones?
#
# - **Early**, with many pairs, four beams with the penalty gain BLEU. More beams without a
#   penalty find texts that are likelier, shorter, and have less BLEU. With few pairs even four beams lose
#   BLEU on average: the weakest models like short texts best.
# - **Late**, the model is sure of most words, and few texts are short. Four beams repair about one sentence in a hundred,
#   for four times the work.

# %% tags=["proof"]
# @title The claims, seed by seed
def beams(age, search, key):
    return over_seeds("many, 0.0", age, "searches", search, key)


wide = "16 beams, no penalty"
for age in ("early", "late"):
    pairs = zip(beams(age, "greedy", "log_p"), beams(age, wide, "log_p"))
    claim(all(w > g for g, w in pairs), "beams find likelier texts, for every seed")
early = [beams("early", search, "bleu4") for search in ("greedy", "4 beams", wide)]
claim(all(b > g + 1 for g, b, _ in zip(*early)), "early, four beams gain BLEU")
claim(all(w < g - 2 for g, _, w in zip(*early)), "early, wide beams lose BLEU")
short = beams("early", "greedy", "short"), beams("early", wide, "short")
claim(all(w > g + 0.1 for g, w in zip(*short)), "wide beams write short texts")
ends = zip(beams("late", "greedy", "right"), beams("late", "4 beams", "right"))
claim(all(0 <= b - g < 0.03 for g, b in ends), "late, beams hardly matter")
print("they hold for every seed")

# %% tags=["proof"]
# @title With few pairs
ways = ("greedy", "4 beams")
few = [over_seeds("few, 0.0", "early", "searches", way, "bleu4") for way in ways]
claim(mean(few[1]) < mean(few[0]), "early, even four beams lose on average")
late = [over_seeds("many, 0.0", "late", "searches", way, "short") for way in ways]
claim(max(map(max, late)) < 0.1, "late, few texts are short")
print("as the list says")

# %% [markdown]
# How varied are the texts?

# %% tags=["hide-input"]
# @title The words in use
people = kept["people"]["one"]["words"]
print(f"different words in 200 sentences: people {people}")
for search in ("drawn", "greedy", "4 beams"):
    words = over_seeds("many, 0.0", "late", "searches", search, "words")
    right = over_seeds("many, 0.0", "late", "searches", search, "right")
    print(f"{search:8} words {words}, right {shown(right)}")

# %% [markdown]
# Greedy and beams are *bland*: a search for the likeliest hardly ever uses the rarer synonym.
#
# ### Does the warm-up pay?
#
# Post-norm models like yours: with a warm-up, without, and without at half the rate.

# %% tags=["hide-input"]
# @title Three seeds each
warmups = record["warmup"]
n_steps, size = warmups["n_steps"], warmups["batch_size"]
print(f"{n_steps} steps of {size} pairs; the last loss, and right sentences")
for name, found in warmups["runs"].items():
    losses_of = " ".join(f"{run['loss']:.2f}" for run in found)
    rights = " ".join(f"{run['unseen']:4.0%}" for run in found)
    print(f"rate {name:15} {losses_of}  {rights}")
warm, cold, slow = warmups["runs"].values()
claim(max(run["unseen"] for run in cold) < 0.05, "at the high rate none learns")
claim(min(run["unseen"] for run in warm) > 0.3, "with the warm-up all do")
claim(max(run["loss"] for run in slow) < 3, "at half the rate all learn without it")

# %% [markdown]
# At half the rate the models learn without one, more slowly. So the warm-up **lets post-norm survive a
# rate that would otherwise kill it**. A likely reason, not tested here: the gradients of post-norm's last
# layers are large at the start (Xiong et al. 2020), and Adam's first step moves nearly every parameter
# by the full rate.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You give the model two sentences in a row, as one. How many of 100 such pairs come out right?</summary>
#
# Hardly any, though most are no longer than the longest training sentence. The model never saw a
# second subject and verb: it learned to combine words, not sentences.
#
# </details>
#
# <details><summary>You reverse the word order of all right translations. What is their BLEU?</summary>
#
# Close to 0: $p_1$ is 1, but hardly any run of two words survives, and the shares are multiplied.
#
# </details>
#
# <details><summary>You give it the English words in reverse order. How many translations are right?</summary>
#
# Hardly any. The encoder knows the places, and the grammar lives in the order: `black` belongs to the
# noun after it.
#
# </details>

# %% tags=["answer", "measured:wide"]
# @title Answers: two in a row, and English backwards
first_half, second_half = data.unseen[:100], data.unseen[100:200]
double = [
    Pair(f"{a.english} {b.english}", f"{a.french} {b.french}", ())
    for a, b in zip(first_half, second_half)
]
turned = lambda text: " ".join(reversed(text.split()))
backwards = [pair._replace(english=turned(pair.english)) for pair in first_half]
for name, pairs in (("two in a row", double), ("English backwards", backwards)):
    texts = translate(model, source, target, [pair.english for pair in pairs])
    share = exact_match(texts, pairs)
    print(f"{name}: {share:.0%} right")
    claim(share < 0.2, f"hardly any translation is right: {name}")

# %% tags=["answer"]
# @title Answers: how long two in a row are, and French backwards
longest = max(len(row) for row in rows[1])
short_enough = [len(row) <= longest for row in encode_pairs(double, source, target)[1]]
print(f"no longer than the longest training sentence: {mean(short_enough):.0%}")
correct = [pair.french for pair in data.unseen[:100]]
score = bleu([turned(text) for text in correct], correct)
print(f"French backwards: BLEU {score:.1f}")
assert score < 10

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_16 import (
    check_forbidden,
    check_log_probability,
    check_lowest_loss,
    check_run_matches,
)

# %% [markdown]
# ### Exercise 1: As low as it goes
#
# *warm-up · 10 minutes* · [Solution](../solutions/16_translation.ipynb#exercise-1-as-low-as-it-goes)
#
# With label smoothing even a perfect model has a loss above 0. Its best answer is exactly what the
# smoothed target says. For `smoothing` from 0 to 1 and a `vocab_size` of 2 or more, return the lowest
# possible loss per token, in nats, as a Python float.
#
# <details><summary>Hint</summary>
#
# The loss of a model that says exactly what the target says is the
# [entropy](../book/glossary.md#entropy) of the target. What is 0 times $\ln 0$?
#
# </details>
#
# <details><summary>Another hint</summary>
#
# The right word has $1 - \epsilon + \epsilon / V$, each of the others $\epsilon / V$.
#
# </details>


# %%
def lowest_loss(smoothing, vocab_size):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_lowest_loss(lowest_loss)

# %% [markdown]
# ### Exercise 2: More than one right answer
#
# *core · 15 minutes* · [Solution](../solutions/16_translation.ipynb#exercise-2-more-than-one-right-answer)
#
# With several references, a run of words may be counted as often as it stands in the reference that
# has it *most often*. For one `candidate` (a string of words), a list of `references` (strings) and
# `n`, return two integers: how many of the candidate's runs of `n` words match, and how many runs
# it has. Without references nothing matches.
#
# <details><summary>Hint</summary>
#
# `runs` from above, for each text. Of two counters, `a | b` takes the larger count of each run. Begin
# with an empty `Counter()`.
#
# </details>


# %%
def run_matches(candidate, references, n):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_run_matches(run_matches)

# %% [markdown]
# ### Exercise 3: How likely is this translation?
#
# *core · 20 minutes* · [Solution](../solutions/16_translation.ipynb#exercise-3-how-likely-is-this-translation)
#
# For a `model`, sources `src` `(B, S)` and targets `tgt` `(B, T + 1)`, return $\ln p(y \mid x)$ of each
# target, shape `(B,)`: the *sum* of the log probabilities of its tokens, `<bos>` and padding not included.
# Each target begins with `<bos>`; most end with `<eos>`, which counts, some are cut off before it; padding
# follows. The padding's id is
# `model.config.pad_id`; `model(src, ids)` returns logits.
#
# <details><summary>Hint</summary>
#
# Shift as in `translation_loss`. `log_softmax`, then `gather` the targets. Multiply by
# `targets != pad_id` before the sum over each row.
#
# </details>


# %%
def log_probability(model, src, tgt):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_log_probability(log_probability)

# %% [markdown]
# ### Exercise 4: Never say it twice
#
# *stretch · 30 minutes* · [Solution](../solutions/16_translation.ipynb#exercise-4-never-say-it-twice)
#
# A weak translator stutters. A remedy forbids any run of `n` tokens from coming twice. For `ids` `(B, T)`, what has been written so far, a `vocab_size`, and `n` of 1 or more, return
# a bool tensor `(B, V)`: True for each token that would complete a run of `n` tokens that the row has
# already. Special tokens count like all others. With `n=2` and the row 5 6 7 5, the token 6 is forbidden, since 5 6 was there. With `n=1`
# every token that was there is forbidden. If a row is shorter than `n`, nothing is.
#
# <details><summary>Hint</summary>
#
# The last `n - 1` tokens of a row begin the run that the next token completes. Where did the same
# tokens stand before? The token after each such place is forbidden. Loops are fine. For `n=1` the
# beginning is empty: careful with `row[-0:]`.
#
# </details>


# %%
def forbidden(ids, vocab_size, n):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_forbidden(forbidden)

# %% [markdown]
# ## Recap
#
# - You built a **translator**: nearly all sentences are right, and nouns and adjectives look at the
#   right English word, which nobody had shown.
# - You built **BLEU**. Even perfect translations do not get full marks.
# - You built **label smoothing**: it costs probabilities, and pays where pairs are few.
# - You built **beam search**: it gains a little in most of our runs; while a model is weak, wide beams without a penalty write short
#   texts.
# - You built the **warm-up**: it lets post-norm survive a high rate.
#
# What is still wrong: it needs pairs, and plain text is everywhere. What could an encoder *alone* learn
# from that? Lesson [17](17_masked_language_model.ipynb).
#
# The library's entries: [WordTokenizer](../book/api.md#texttokenizer),
# [encode_pairs, PairBatches, translation_loss and translate](../book/api.md#translate),
# [label_smoothing_loss](../book/api.md#evaluatelosses), [bleu](../book/api.md#evaluatebleu),
# [noam_schedule](../book/api.md#trainschedule),
# [length_penalty and beam_search](../book/api.md#generatebeam).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, sections 5 and 6.1: how the first Transformer was
#   trained, what smoothing costs and brings, what it scored.
# - Bahdanau, Cho and Bengio (2015), *Neural Machine Translation by Jointly Learning to Align and
#   Translate*, section 5.2: the first pictures like yours.
# - Papineni et al. (2002), *BLEU*, section 2: why matches are clipped.
# - Stahlberg and Byrne (2019), *On NMT Search Errors and Model Errors*: the likeliest translation of
#   all is often empty.
# - All references, among them Xiong et al. (2020) on post-norm and warm-up:
#   [bibliography](../book/bibliography.md).
