# %% [markdown]
# # 16 · Translation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/16_translation.ipynb)
#
# Translate English into French, and watch which words it looks at.
#
# - **You will build** a tokenizer of words, batches of sentence pairs, the loss and the
#   warm-up of the original paper, the score BLEU, and a search that follows several
#   translations at once.
# - **You will see** a model that puts French words where they belong, what it looks at
#   for nouns and adjectives, and a rate that it survives only with a warm-up.
# - **Needs** lesson 15.
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
# In lesson 15 you built the original [Transformer](../book/glossary.md#transformer): an
# encoder that reads, a decoder that writes and looks at what was read. It was made for
# one job, and it has not done it yet. Can it translate? And can you *see* it translate:
# which English word does it look at when it writes a French one?

# %% [markdown]
# ## By hand
#
# Begin with a dictionary. Look up each word, write down what it says, go on. Read the
# result, even if your French is rusty: what is wrong with it?

# %%
from lib.tasks.english_french import Pair, translation_data

english = "the small boy does not see the black cats"
french = "le petit garçon ne voit pas les chats noirs"
dictionary = {
    "the": "le", "small": "petit", "boy": "garçon", "does": "fait", "not": "pas",
    "see": "voit", "black": "noir", "cats": "chats",
}  # fmt: skip
looked_up = " ".join(dictionary[word] for word in english.split())
print("looked up:", looked_up)
print("French:   ", french)

# %% [markdown]
# Three kinds of mistakes. **Order**: the colour comes after its noun, `chats noirs`.
# **Agreement**: the article and the adjective follow the noun, and `cats` are several:
# `les` instead of `le`, `noirs` instead of `noir`. **Words that have no partner**:
# `does` is not translated at all, and `not` becomes two words around the verb, `ne` and
# `pas`. No larger dictionary helps. To choose `les` you must have seen `cats`, two
# words later.
#
# The sentences of this lesson come from a small grammar that makes both languages at
# once. It knows about such difficulties. Here is one short example of each:

# %%
data = translation_data(20_000)
DIFFICULTIES = {
    "adjective after the noun": " noirs",
    "shortened before a vowel": "l' ",
    "another form before a vowel": "vieil ",
    "pronoun before the verb": " la voit",
    "two words for not": " ne ",
    "de for un/une/des after not": "pas de ",
}
for name, piece in DIFFICULTIES.items():
    pairs = [pair for pair in data.train if piece in pair.french]
    pair = min(pairs, key=lambda pair: len(pair.english))
    print(f"{name:28} {pair.english:32} {pair.french}")

# %% [markdown]
# (A shortened word such as `l'` stands alone here, with a space after it.) The
# sentences make no sense, and that is useful: a model cannot guess a word from what
# cats usually do. It must read.
#
# The grammar also knows which words belong together. For each French noun and adjective
# it notes the place of the English word that it translates. These *links* are never
# shown to the model. You will need them at the end, to see whether it found them out.
#
# 20,000 pairs are drawn; those of the unseen test are left out, and some come twice.

# %%
from lib.tasks import english_french as grammar

pair = data.train[14]
words, translated = pair.english.split(), pair.french.split()
print(pair.english)
print(pair.french)
print([f"{translated[f]} <- {words[e]}" for f, e in pair.links])
n_different = len({pair.english for pair in data.train})
print(f"{len(data.train):,} pairs to train with, {n_different:,} of them different")
print(f"{len(data.unseen)} unseen sentences, {len(data.held_out)} held-out ones")
kinds = [n.kind in a.kinds for a in grammar.ADJECTIVES for n in grammar.NOUNS]
n_held_out = len(grammar.HELD_OUT)
print(f"held out: {n_held_out} of {sum(kinds)} pairs of an adjective and a noun")

# %% [markdown]
# There are two tests. **Unseen** sentences are new as a whole. **Held-out** sentences
# are harder: each has a pair of an adjective and a noun that never stand together in
# the training sentences, 30 of the 275 that make sense. If the model writes `grand
# chat` for the first time in its life, and in the right order, it has learned *how* to
# combine.

# %% [markdown]
# ## The formula
#
# A source sentence $x$ of $S$ tokens, a target sentence $y_0, \ldots, y_T$. The model
# gives a probability to each target token after $y_0$, and so to the whole translation:
#
# $$p(y \mid x) = \prod_{t=1}^{T} p(y_t \mid y_0, \ldots, y_{t-1}, x)$$
#
# Training makes the mean of $-\ln p(y_t \mid \ldots)$ over all target tokens small,
# translation looks for the $y$ with a large $p(y \mid x)$.
#
# | symbol | shape | what it is |
# |---|---|---|
# | $x$ | `(B, S)` | ids of the source, `<eos>` at the end |
# | $y$ | `(B, T + 1)` | ids of the target; $y_0$ is `<bos>`, $y_T$ is `<eos>` |
# | $D$ | number | width of the model |
# | $V$ | number | size of the target's vocabulary |
# | $\epsilon$ | number | share of a target that is spread over all words |
# | $s$, $w$ | numbers | step, counted from 1; number of warm-up steps |
# | $p_n$, $\text{BP}$ | numbers | BLEU: shares of matching runs of words; punishment of short texts |
# | $K$, $\alpha$ | numbers | beams; strength of the length penalty |
#
# Vaswani et al. (2017) describe the loss in section 5.4, the rate in section 5.3,
# equation (3), and the search in section 6.1. BLEU is section 2.3 of Papineni et al.
# (2002), the length penalty equation (14) of Wu et al. (2016). Each formula comes
# shortly before its code. (In the code the `T` of a target counts `<bos>`, too.)

# %% [markdown]
# ## Build
#
# ### Words to numbers
#
# One token per word, one vocabulary per language. Three
# [special tokens](../book/glossary.md#special-token) come first: `<pad>` fills rows up,
# `<bos>` starts a target, `<eos>` ends a sentence. Otherwise it is the tokenizer of lesson
# [01](01_text_and_tokens.ipynb), for words. Look at `decode`: it stops at the first
# `<eos>`.

# %% tags=["naive:text.tokenizer.WordTokenizer"]
SPECIAL_WORDS = ["<pad>", "<bos>", "<eos>"]  # ids 0, 1, 2: filling, start, end


class WordTokenizer:
    def __init__(self, sentences):
        words = {word for sentence in sentences for word in sentence.split()}
        self.words = SPECIAL_WORDS + sorted(words)
        self.ids = {word: i for i, word in enumerate(self.words)}

    @property
    def vocab_size(self):
        return len(self.words)

    def encode(self, sentence):
        return [self.ids[word] for word in sentence.split()]

    def decode(self, ids):
        ids = [*map(int, ids), 2]  # 2 is <eos>
        return " ".join(self.words[i] for i in ids[: ids.index(2)] if i > 2)


# %%
source = WordTokenizer(pair.english for pair in data.train)
target = WordTokenizer(pair.french for pair in data.train)
print(source.vocab_size, "English and", target.vocab_size, "French words")
ids = target.encode("les chats noirs")
print(ids, "->", target.decode([1, *ids, 2, 0, 0]))

# %% [markdown]
# 110 and 157 words, the special ones included. French has more, because it has more
# forms. With pieces of words, as in lesson [14](14_tokenization.ipynb), no word would
# be unknown; here every sentence comes from the grammar, and whole words are easier to
# look at.
#
# The library's tokenizer gives the same ids. It can also be saved, it refuses sentences
# with a special word in them, and an unknown word is an error that names it. So we go on
# with that one.

# %% tags=["same:text.tokenizer.WordTokenizer", "proof"]
from lib.text import tokenizer as library

ours = source, target
source = library.WordTokenizer(pair.english for pair in data.train)
target = library.WordTokenizer(pair.french for pair in data.train)
for a, b, text in zip(ours, (source, target), (english, french)):
    assert a.words == b.words and a.encode(text) == b.encode(text)
    assert a.decode([1, *a.encode(text), 2, 0]) == b.decode([1, *b.encode(text), 2, 0])
try:
    source.encode("the small giraffe")
except ValueError as error:
    print(error)

# %% [markdown]
# Now whole pairs. The source ends with `<eos>`. The target also gets a `<bos>`, since
# the decoder needs something to stand on when it predicts the first word.

# %% tags=["lib:translate.encode_pairs"]
from collections.abc import Sequence


def encode_pairs(
    pairs: Sequence[Pair], source: WordTokenizer, target: WordTokenizer
) -> tuple[list[list[int]], list[list[int]]]:
    bos, end = target.ids["<bos>"], target.ids["<eos>"]
    sources = [source.encode(pair.english) + [source.ids["<eos>"]] for pair in pairs]
    targets = [[bos, *target.encode(pair.french), end] for pair in pairs]
    return sources, targets


# %% [markdown]
# A batch takes pairs at random and fills both sides up to their longest row, with
# `pad_batch` of lesson 15.

# %% tags=["lib:translate.PairBatches"]
import torch
from torch import Tensor

from lib.shapes import require_sizes
from lib.text.tokenizer import pad_batch


class PairBatches:
    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        batch_size: int,
        generator: torch.Generator,
    ) -> None:
        require_sizes(batch_size=batch_size)
        if not sources or len(sources) != len(targets):
            raise ValueError(
                f"{len(sources)} sources for {len(targets)} targets; there must be as "
                "many, and one or more"
            )
        self.sources, self.targets = sources, targets
        self.batch_size, self.generator = batch_size, generator

    def __call__(self) -> tuple[Tensor, Tensor]:
        size = (self.batch_size,)
        rows = torch.randint(len(self.sources), size, generator=self.generator).tolist()
        return (
            pad_batch([self.sources[row] for row in rows]),
            pad_batch([self.targets[row] for row in rows]),
        )


# %%
rows = encode_pairs(data.train, source, target)
src, tgt = PairBatches(*rows, 64, torch.Generator().manual_seed(0))()
padding = (tgt[:, 1:] == 0).float().mean().item()
print("source", tuple(src.shape), "target", tuple(tgt.shape))
print(f"share of padding among the targets: {padding:.0%}")
print(tgt[0].tolist())

# %% [markdown]
# Remember the share of padding. It will matter for the loss.

# %% [markdown]
# ### A loss that leaves room for doubt
#
# The [cross-entropy](../book/glossary.md#cross-entropy) wants the right word to have a
# probability of 1. A model can only come close by making logits larger and larger.
# The paper asks for a little less: take the share $\epsilon$ from the target and
# spread it evenly over all $V$ words, the right one included. That is
# [label smoothing](../book/glossary.md#label-smoothing):
#
# $$L = (1 - \epsilon) \, (-\ln p_{y}) + \epsilon \cdot \frac{1}{V} \sum_{i=1}^{V} (-\ln p_i)$$
#
# Small numbers first. Four words with the probabilities 1/2, 1/4, 1/8 and 1/8, so the
# surprises are 1, 2, 3 and 3 times $\ln 2$. The first word is right, and $\epsilon$ is
# 0.2.

# %%
p = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 8])
surprise = -p.log()  # in nats; divided by ln 2 they are 1, 2, 3, 3
by_hand = 0.8 * surprise[0] + 0.2 * surprise.mean()
print([round(number, 2) for number in (surprise / surprise[0]).tolist()])
print(f"0.8 * 1 + 0.2 * 9/4 = {by_hand / surprise[0]:.2f} times ln 2")

# %% [markdown]
# The code does that for logits of any shape. `surprise` is $-\ln p$ of all words, and
# `gather` picks that of the target, as in lesson [02](02_bigram.ipynb). New are the
# `counts`: targets that are padding do not count, neither in the sum nor in the number
# by which it is divided. (`places` replaces the padding's id by 0, for it may be one
# that no column has.)

# %% tags=["lib:evaluate.losses.label_smoothing_loss"]
from lib.device import at_least_float32


def label_smoothing_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0,
                         pad_id: int | None = None) -> Tensor:  # fmt: skip
    if logits.shape[:-1] != targets.shape:
        raise ValueError(f"targets has shape {tuple(targets.shape)}; with logits of "
      f"shape {tuple(logits.shape)} it must be {tuple(logits.shape[:-1])}")  # fmt: skip
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing={smoothing} must lie in [0, 1]")
    counts = targets != (-1 if pad_id is None else pad_id)  # no token has the id -1
    places = targets.masked_fill(~counts, 0).unsqueeze(-1)  # (..., 1)
    surprise = -at_least_float32(logits).log_softmax(dim=-1)  # -ln p: (..., V)
    losses = surprise.gather(-1, places).squeeze(-1)  # (...)
    if smoothing > 0:
        losses = (1 - smoothing) * losses + smoothing * surprise.mean(dim=-1)
    return losses.masked_fill(~counts, 0.0).sum() / counts.sum().clamp(min=1)


# %%
smoothed = label_smoothing_loss(p.log().unsqueeze(0), torch.tensor([0]), 0.2)
print(f"{smoothed:.4f} nats, by hand {by_hand:.4f}")
assert torch.allclose(smoothed, by_hand)

# %% [markdown]
# The loss of a translator is one line more. The decoder reads the target without its
# last token and predicts it without its first, as in lesson 15. With `smoothing=0`, it
# is the plain cross-entropy, and that is what this lesson trains with. The paper
# smooths a little; but a loss that can come down to 0 is easier to read. (`mean_over`
# of lesson [11](11_training.ipynb) says which targets count, should a batch be cut.)

# %% tags=["lib:translate.translation_loss"]
from lib.evaluate.losses import mean_over
from lib.models.encoder_decoder import Transformer


@mean_over(lambda model, src, tgt: tgt[:, 1:] != model.config.pad_id)
def translation_loss(
    model: Transformer, src: Tensor, tgt: Tensor, smoothing: float = 0.0
) -> Tensor:
    logits = model(src, tgt[:, :-1])  # (B, T - 1, V)
    return label_smoothing_loss(logits, tgt[:, 1:], smoothing, model.config.pad_id)


# %% [markdown]
# ### The paper's warm-up
#
# The paper lets the [learning rate](../book/glossary.md#learning-rate) rise in a
# straight line for $w$ steps, then fall with the root of the step:
#
# $$\text{rate} = D^{-1/2} \cdot \min\!\left(s^{-1/2},\; s \cdot w^{-3/2}\right)$$
#
# Both are equal at $s = w$, where the rate is at its highest, $(D w)^{-1/2}$. Divide by
# that, and it is a factor between 0 and 1, as all schedules of lesson
# [11](11_training.ipynb) are. People call it the *Noam* schedule, after one of the
# authors.


# %% tags=["lib:train.schedule.noam_schedule"]
def noam_schedule(step: int, n_steps: int, n_warmup: int) -> float:
    require_sizes(n_warmup=n_warmup)
    risen = (step + 1) / n_warmup
    return min(risen**-0.5, risen)


# %% [markdown]
# Beside the others, over the number of steps that this lesson has time for. Look at the
# right end.

# %% mystnb={"image": {"alt": "Three factors over 400 steps. All rise on the same straight line to 1 in the first 100 steps. The cosine then falls in a gentle S to 0.1. The linear one stays for a while longer and falls in a straight line to 0. Noam falls at once, then more and more slowly, and is at one half at the end."}}
from lib.show import plot
from lib.train.schedule import SCHEDULES

N_STEPS, N_WARMUP = 400, 100
SCHEDULES["noam"] = noam_schedule
factors = {
    name: [schedule(step, N_STEPS, N_WARMUP) for step in range(N_STEPS)]
    for name, schedule in SCHEDULES.items()
    if name != "constant"
}
assert len({f"{line[50]:.4f}" for line in factors.values()}) == 1
print("at the end:", {name: f"{line[-1]:.2f}" for name, line in factors.items()})
print(f"the paper's peak with D = 512, w = 4,000: {(512 * 4_000) ** -0.5:.4f}")
print(f"with D = 64, w = {N_WARMUP}: {(64 * N_WARMUP) ** -0.5:.4f}")
plot.line_chart(factors, "step", "factor for the rate")

# %% [markdown]
# *All three warm up on one and the same line. After so few steps Noam still has half of
# its highest rate.*
#
# Noam never looks at the end: it falls as $1/\sqrt{s}$ however long the training lasts.
# The paper had 100,000 steps with [4,000 of warm-up](https://arxiv.org/abs/1706.03762),
# and for a long run that is fine. A short one should come to rest, as you saw in lesson
# [11](11_training.ipynb). So the warm-up is the paper's, and the way down is the
# straight line.

# %% [markdown]
# ### Train
#
# Otherwise like the paper, much smaller: each block normalises *after* the addition
# ([post-norm](../book/glossary.md#post-norm)), the activation is
# [ReLU](../book/glossary.md#relu), the second beta of Adam is 0.98. Left out: dropout,
# tied tables, label smoothing. The rate of 0.006 is about half of the paper's peak for
# our sizes, and far above that of the paper's model.
#
# A function makes the run, since it will be needed once more without the warm-up.

# %%
from lib.models.encoder_decoder import TransformerConfig
from lib.train import Training, train
from lib.train.settings import TrainConfig

SIZES = TransformerConfig(
    source.vocab_size, target.vocab_size, d_model=64, n_heads=4, n_encoder_layers=3,
    n_decoder_layers=3, d_ff=256, dropout=0.0, context_length=64, pre_norm=False,
    tie_weights=False,
)  # fmt: skip


def new_training(n_warmup, rate=0.006):
    torch.manual_seed(0)
    how = {"betas": (0.9, 0.98), "schedule": "linear", "n_warmup": n_warmup}
    config = TrainConfig(N_STEPS, rate, **how)
    return Training(Transformer(SIZES), config, translation_loss)


# %% [markdown]
# The loss is that of the French words, with the right past given. It begins a little
# above the logarithm of the number of French words: the model knows nothing. (This cell
# takes more than half of the notebook's running time.)

# %% tags=["measured"]
import math

from lib.checks.claims import claim

training = new_training(N_WARMUP)
model = training.model
n_parameters = sum(parameter.numel() for parameter in model.parameters())
batches = PairBatches(*rows, 64, torch.Generator().manual_seed(0))
losses = train(training, batches)
model.eval()
print(f"{n_parameters:,} parameters, ln V = {math.log(target.vocab_size):.2f}")
for step in (0, N_STEPS - 1):
    print(f"step {step + 1:3}: loss {losses[step]:.2f} nats per token")
claim(0 < losses[0] - math.log(target.vocab_size) < 1, "it starts a little above ln V")
claim(losses[-1] < 0.1, "the loss comes down to almost nothing")

# %% [markdown]
# A loss of almost nothing. But is a sentence *right*? The loss asks for the next word
# after a perfect past. A translator has only its own words to go on.

# %% [markdown]
# ### Translate
#
# `translate` takes whole sentences: encode, write, decode. With one beam it is the
# greedy `generate_targets` of lesson 15. What beams are comes after that.

# %% tags=["lib:translate.translate"]
from lib.generate.beam import beam_search
from lib.generate.targets import generate_targets


def translate(model: Transformer, source: WordTokenizer, target: WordTokenizer,
              sentences: Sequence[str], n_beams: int = 1) -> list[str]:  # fmt: skip
    src = pad_batch([source.encode(s) + [source.ids["<eos>"]] for s in sentences])
    src = src.to(model.head.weight.device)
    max_len = min(50, model.config.context_length)
    if n_beams == 1:
        ids = generate_targets(model, src, max_len, temperature=0.0)
    else:
        ids, _ = beam_search(model, src, n_beams, max_len)
    return [target.decode(row) for row in ids]


# %% tags=["sample"]
written = translate(model, source, target, [english])[0]
print(written)
claim(written == french, "the first sentence is right, word for word")
unseen = translate(model, source, target, [pair.english for pair in data.unseen])
for pair, text in list(zip(data.unseen, unseen))[:6]:
    print(f"{pair.english}\n    {text}")

# %% [markdown]
# The first sentence is right, word for word, where the dictionary failed. (`je suis`
# may also mean *I am*; here it is *I follow*, from `suivre`.) How good are
# the others, all of them? The strictest score is **exact match**: the share of
# sentences in which every word is right.

# %% tags=["measured"]
from lib.translate.translator import exact_match

held_out = translate(model, source, target, [pair.english for pair in data.held_out])
right = exact_match(unseen, data.unseen), exact_match(held_out, data.held_out)
print(f"right word for word: unseen {right[0]:.1%}, held-out {right[1]:.1%}")
claim(min(right) > 0.95, "nearly every translation is right word for word")

# %% [markdown]
# ### BLEU: almost right is not wrong
#
# Exact match works here because the grammar knows one translation for each sentence: it
# writes `ils` for every `they` and `ami` for every `friend`, and its `not ... some` is
# the `not ... any` of real English. Real sentences have many good ones, and a single
# synonym would count as a total failure. So the field uses a softer score,
# [BLEU](../book/glossary.md#bleu): how many runs of 1, 2, 3 and 4 words does a
# translation share with a correct one?
#
# $$\text{BLEU} = \text{BP} \cdot (p_1 \, p_2 \, p_3 \, p_4)^{1/4}, \qquad \text{BP} = \min(1, e^{1 - r/c})$$
#
# $p_n$ is the share of the written runs of $n$ words that also stand in the reference.
# $\text{BP}$ punishes texts that are too short: $c$ words were written, $r$ the
# references have. All counts are summed over *all* sentences before anything is
# divided, and the score is given times a hundred.
#
# Two sentences, on paper:
#
# | written | reference | 1 word | 2 words | 3 words | 4 words |
# |---|---|---|---|---|---|
# | `le petit garçon voit les noirs chats` | `le petit garçon voit les chats noirs` | 7 of 7 | 4 of 6 | 3 of 5 | 2 of 4 |
# | `elle la voit` | `elle ne la voit pas` | 3 of 3 | 1 of 2 | 0 of 1 | none |
# | both | | 10 of 10 | 5 of 8 | 3 of 6 | 2 of 4 |
#
# 10 words were written and 12 were wanted, so $\text{BP} = e^{1 - 12/10} = 0.82$. The
# product of the four shares is $5/32$, its fourth root 0.63: together 51.5.
# <!-- from: bleu-almost-right-is-not-wrong "BP =" -->
# <!-- from: bleu-almost-right-is-not-wrong "BLEU by hand" -->
#
# For the code, each sentence becomes a `Counter` of its runs. The operator `&` of two
# counters takes the smaller count of each run: nobody gets two points for writing `le`
# twice where the reference has it once.

# %% tags=["lib:evaluate.bleu._matches"]
from collections import Counter


def _matches(pairs: list[tuple[list[str], list[str]]], n: int) -> tuple[int, int]:
    found = total = 0
    for candidate, reference in pairs:
        runs, wanted = (
            Counter(zip(*(words[i:] for i in range(n))))
            for words in (candidate, reference)
        )
        found += (runs & wanted).total()
        total += runs.total()
    return found, total


# %% [markdown]
# `zip(*(words[i:] ...))` walks through the words and through copies of them that start
# one, two, three words later: all runs of $n$ words.
#
# One rule is missing. Without a single match of four words $p_4$ would be 0, and so
# would BLEU. `sacrebleu`, the program by which papers are compared, then counts half a
# match; at the next such $n$ a quarter. So do we. Without one common word there is
# nothing to save, and BLEU is 0.


# %% tags=["lib:evaluate.bleu.bleu"]
def bleu(candidates: Sequence[str], references: Sequence[str]) -> float:
    if not candidates or len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates for {len(references)} "
            "references; there must be as many, and one or more")  # fmt: skip
    pairs = [(c.split(), r.split()) for c, r in zip(candidates, references)]
    n_written, n_wanted = (sum(len(pair[i]) for pair in pairs) for i in (0, 1))
    found, total = zip(*(_matches(pairs, n) for n in (1, 2, 3, 4)))
    if not found[0] or not total[3]:
        return 0.0
    shares, nothing = [], 1.0
    for matches, n_runs in zip(found, total):
        nothing = nothing if matches else nothing / 2
        shares.append((matches or nothing) / n_runs)
    brevity = min(1.0, math.exp(1 - n_wanted / n_written))
    return 100 * brevity * math.prod(shares) ** 0.25


# %%
candidates = ["le petit garçon voit les noirs chats", "elle la voit"]
references = ["le petit garçon voit les chats noirs", "elle ne la voit pas"]
pairs = [(c.split(), r.split()) for c, r in zip(candidates, references)]
print("matches:", [_matches(pairs, n) for n in (1, 2, 3, 4)])
print(f"BP = {math.exp(1 - 12 / 10):.2f}, root {(5 / 32) ** 0.25:.2f}")
print(f"BLEU by hand {100 * math.exp(-0.2) * (5 / 32) ** 0.25:.1f}, ", end="")
print(f"by the code {bleu(candidates, references):.1f}")
assert math.isclose(bleu(candidates, references), 51.5, abs_tol=0.05)

# %% [markdown]
# Now the dictionary on its one sentence, and the translator on both tests.

# %%
print(f"the dictionary: {bleu([looked_up], [french]):.1f}")

# %% tags=["measured:wide"]
scores = (
    bleu(unseen, [pair.french for pair in data.unseen]),
    bleu(held_out, [pair.french for pair in data.held_out]),
)
print(f"BLEU: unseen {scores[0]:.1f}, held-out {scores[1]:.1f}")
claim(min(scores) > 95, "the translator's BLEU is near 100")

# %% [markdown]
# Nearly 100. On real sentences numbers like this do not exist: the paper reached [41.8
# from English into French](https://arxiv.org/abs/1706.03762). There a sentence has many
# good translations, and even a very good one shares only a part of its words with the
# reference. BLEU compares systems on the *same* test; it says little about how good a
# text is.

# %% [markdown]
# ### Beam search
#
# Greedy writing takes the likeliest word, and then it must live with it. Say the first
# word may be `un` with 0.6 or `une` with 0.4. After `un` the model is unsure: its best
# word has 0.4. After `une` it is sure: 0.9.

# %%
for first, then in ((0.6, 0.4), (0.4, 0.9)):
    print(f"{first} * {then} = {first * then:.2f}")

# %% [markdown]
# The greedy choice ends at 0.24; the better beginning was the unlikely one. To try
# *all* translations is hopeless. [Beam search](../book/glossary.md#beam-search) keeps
# the $K$ likeliest beginnings. At each step every one of them is continued by all $V$
# words, and the best $K$ of these $K \cdot V$ live on.
#
# Probabilities are multiplied, so their logarithms are added: `totals`. The rows of one
# sentence are laid side by side, $K \cdot V$ numbers, and `topk` chooses among them. A
# place in that long row says both things: `place // V` is the beam that it goes on
# from, `place % V` is the new word.


# %% tags=["lib:generate.beam._best_steps"]
def _best_steps(scores: Tensor, steps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (n_rows, n_beams), vocab_size = scores.shape, steps.size(1)
    totals = scores.view(-1, 1) + steps  # (B K, V)
    scores, places = totals.view(n_rows, -1).topk(n_beams)  # (B, K), of K V
    first = torch.arange(n_rows, device=places.device).unsqueeze(1) * n_beams  # (B, 1)
    rows = (first + places // vocab_size).flatten()
    return scores, rows, (places % vocab_size).view(-1, 1)


# %%
so_far = torch.tensor([[0.6, 0.4]]).log()  # one sentence, two beams: un, une
following = torch.tensor([[0.4, 0.3, 0.3], [0.05, 0.05, 0.9]]).log()  # three words
best, came_from, chosen = _best_steps(so_far, following)
print([round(number, 2) for number in best.exp()[0].tolist()])
print("from the beams", came_from.tolist(), "with the words", chosen.flatten().tolist())
assert came_from.tolist() == [1, 0]

# %% [markdown]
# The unlikely beginning has overtaken the likely one, and both live on.
#
# Which of two texts is the better one, if they differ in length? Each further word
# multiplies by a number below 1. So a longer translation is less likely just because it
# is longer, and a search that looks hard for the likeliest finds texts that are too
# short. Wu et al. divide the log probability by a **length penalty** that grows more
# slowly than the number of tokens $n$:
#
# $$\left(\frac{5 + n}{6}\right)^{\alpha}$$


# %% tags=["lib:generate.beam.length_penalty"]
def length_penalty(length: Tensor | int, alpha: float) -> Tensor | float:
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha={alpha} must be 0 or more, and finite")
    return ((5 + length) / 6) ** alpha


# %%
lengths, logs = torch.tensor([4, 8]), torch.tensor([-2.0, -2.4])
for alpha in (0.0, 0.6):
    scores_now = logs / length_penalty(lengths, alpha)
    print(f"alpha {alpha}:", [round(score, 2) for score in scores_now.tolist()])
assert scores_now.argmax() == 1

# %% [markdown]
# Two translations, of 4 and of 8 tokens. By probability the short one wins, by score
# the long one. ($\alpha = 0.6$ is Vaswani et al.'s.)
#
# Beams end at different steps. One that has written `<eos>` is complete: it is put
# aside with its score, where no beginning can push it out, and the other beams go on.
# `keep` lays the $K$ best complete texts and the new ones side by side, and takes the
# best $K$ of both. A log probability of minus infinity means "none": what has not ended
# is no complete text, and what has ended does not go on.
#
# At the start all $K$ beams are the same, so all but one get minus infinity; the first
# step then takes the $K$ best words of that one.
#
# When is the search over? A beginning can only become less likely. The penalty is the
# one thing that may still help it, and most at the greatest length. If even that is not
# enough to pass the best complete text, there is nothing left to find: `over`.

# %% tags=["lib:generate.beam._Beams"]
from torch.nn import functional as F


class _Beams:
    def __init__(self, src: Tensor, n_beams: int, max_len: int, alpha: float,
                 c: TransformerConfig) -> None:  # fmt: skip
        self.c, self.max_len, self.alpha = c, max_len, alpha
        self.ids = src.new_full((len(src) * n_beams, 1), c.bos_id)
        self.logs = torch.full((len(src), n_beams), -math.inf, device=src.device)
        self.found = src.new_full((len(src), n_beams, max_len), c.pad_id)
        self.scores = self.logs.clone()
        self.logs[:, 0] = 0.0  # all K start alike: one of them may go on, in K ways

    def step(self, logits: Tensor) -> Tensor:
        steps = at_least_float32(logits).log_softmax(dim=-1)
        steps[:, self.c.pad_id] = -math.inf  # it stands after the end only
        logs, rows, chosen = _best_steps(self.logs, steps)
        self.ids = torch.cat([self.ids[rows], chosen], dim=1)
        ended = chosen.view_as(logs) == self.c.eos_id
        self.keep(logs.masked_fill(~ended, -math.inf))
        self.logs = logs.masked_fill(ended, -math.inf)
        return rows

    def keep(self, logs: Tensor) -> None:
        n = self.ids.size(1) - 1
        texts = F.pad(self.ids[:, 1:], (0, self.max_len - n), value=self.c.pad_id)
        texts = torch.cat([self.found, texts.view_as(self.found)], dim=1)  # (B, 2 K, L)
        scores = torch.cat([self.scores, logs / length_penalty(n, self.alpha)], dim=1)
        self.scores, places = scores.topk(logs.size(1))
        self.found = texts.gather(1, places.unsqueeze(2).expand_as(self.found))

    def over(self) -> Tensor:
        hope = self.logs.amax(dim=1) / length_penalty(self.max_len, self.alpha)
        return hope <= self.scores[:, 0]


# %% [markdown]
# The loop holds it together. Each source stands $K$ times in the batch. When beams
# change places, their keys and values in the
# [cache](../book/glossary.md#kv-cache) must follow them.


# %% tags=["lib:generate.beam._search"]
def _search(model: Transformer, src: Tensor, n_beams: int, max_len: int, alpha: float
            ) -> tuple[Tensor, Tensor]:  # fmt: skip
    memory, mask, cache = model.begin(src.repeat_interleave(n_beams, dim=0), max_len)
    beams = _Beams(src, n_beams, max_len, alpha, model.config)
    while beams.ids.size(1) <= max_len and not beams.over().all():
        logits = model.decode(beams.ids[:, -1:], memory, mask, cache)[:, -1]  # (B K, V)
        rows = beams.step(logits)
        for layer in cache:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
    beams.keep(beams.logs)
    return beams.found, beams.scores


# %% [markdown]
# Now the whole search; `in_mode` puts the model into evaluation mode for a while.

# %% tags=["lib:generate.beam.beam_search"]
from lib.module import in_mode
from lib.shapes import require_between


@torch.no_grad()
def beam_search(model: Transformer, src: Tensor, n_beams: int = 4, max_len: int = 50,
                alpha: float = 0.6) -> tuple[Tensor, Tensor]:  # fmt: skip
    c = model.config
    require_between(1, c.tgt_vocab_size, n_beams=n_beams)
    with in_mode(model, training=False):
        ids, scores = _search(model, src, n_beams, max_len, alpha)
    if not scores[:, 0].isfinite().all():
        raise ValueError("the model's logits are not numbers: its weights are damaged")
    n_tokens = (ids[:, 0] != c.pad_id).sum(dim=-1)  # (B,)
    return ids[:, 0, : n_tokens.max()], scores[:, 0]


# %% [markdown]
# Look at the four beams of one sentence. What does the model consider besides its
# choice, and how likely does it find it? With $\alpha = 0$ the score is the log
# probability.

# %% tags=["sample"]
src = torch.tensor([source.encode(english) + [source.ids["<eos>"]]])
with torch.no_grad():
    ids, log_p = _search(model, src, 4, 50, alpha=0.0)
for row, value in zip(ids[0], log_p[0]):
    print(f"{value.exp():.4f}  {target.decode(row)}")
best = target.decode(beam_search(model, src)[0][0])
claim(best == french, "the search finds the right translation")
claim(log_p[0, 0].exp() > 0.8, "one beam has nearly all of the probability")

# %% [markdown]
# One beam has nearly all of the probability.

# %% [markdown]
# ## Check
#
# ### Equal to PyTorch's own
#
# `F.cross_entropy` also knows label smoothing, and calls the padding `ignore_index`.
# The losses must agree, and so must the gradients.

# %%
generator = torch.Generator().manual_seed(0)
logits = torch.randn(4, 9, 157, generator=generator, requires_grad=True)
targets = torch.randint(157, (4, 9), generator=generator)
targets[1:, 5:] = 0  # padding
for smoothing in (0.0, 0.1, 1.0):
    ours = label_smoothing_loss(logits, targets, smoothing, pad_id=0)
    how = {"label_smoothing": smoothing, "ignore_index": 0}
    torchs = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **how)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (ours, torchs)]
    assert torch.allclose(ours, torchs, atol=1e-5)
    assert torch.allclose(*gradients, atol=1e-7)
print("the same losses and gradients as PyTorch's")

# %% [markdown]
# ### BLEU in another way
#
# The tests of the course hold `bleu` against `sacrebleu`. Here, count matches without
# any `Counter`: go through the written runs, and strike each one that is found from
# those of the reference.


# %%
def struck_matches(candidate, reference, n):
    runs, wanted = (
        [words[i : i + n] for i in range(len(words) - n + 1)]
        for words in (candidate.split(), reference.split())
    )
    found = 0
    for run in runs:
        if run in wanted:
            wanted.remove(run)
            found += 1
    return found


# %%
references = [pair.french for pair in data.unseen]
for wanted in (references, references[1:] + references[:1]):  # right and wrong ones
    pairs = [(c.split(), r.split()) for c, r in zip(unseen, wanted)]
    counted = [_matches(pairs, n)[0] for n in (1, 2, 3, 4)]
    struck = [
        sum(struck_matches(c, r, n) for c, r in zip(unseen, wanted))
        for n in (1, 2, 3, 4)
    ]
    assert struck == counted
print("the same matches, counted in another way")
assert math.isclose(bleu([french], [french]), 100.0)

# %% [markdown]
# ### One beam is greedy
#
# With $K = 1$ the search must write what `generate_targets` writes at temperature 0.

# %%
src = pad_batch(encode_pairs(data.unseen[:100], source, target)[0])
greedy = generate_targets(model, src, temperature=0.0)
searched, _ = beam_search(model, src, 1)
print("one beam is greedy:", torch.equal(searched, greedy))

# %% [markdown]
# ### The classic bug: padding counts
#
# Forget `pad_id`, and the mean runs over all places of the batch, the empty ones
# included. Nothing crashes. Take a model that knows no word at all, but knows where
# the padding is:

# %%
_, tgt = PairBatches(*rows, 64, torch.Generator().manual_seed(0))()
targets = tgt[:, 1:]
logits = torch.zeros(*targets.shape, target.vocab_size)
logits[targets == 0, 0] = 100.0  # it is sure of padding, and of nothing else
with_bug = label_smoothing_loss(logits, targets)
correct = label_smoothing_loss(logits, targets, pad_id=0)
print(f"with the bug {with_bug:.2f} nats, correct {correct:.2f}")
assert torch.allclose(correct, torch.tensor(157.0).log())
assert torch.allclose(with_bug, correct * (1 - padding))

# %% [markdown]
# The right loss is $\ln 157$, pure ignorance. The bug makes it look much better,
# because nearly half of the places are free gifts. In training that is worse than a
# wrong number. One long sentence adds padding to every other row, so each real word
# gets a smaller gradient.
#
# The test that finds it: **the loss of a sentence must not depend on its company.** Put
# a short and a long sentence into one batch, and compare with both alone.

# %%
sources, targets = ([r[i] for i in (31, 21)] for r in rows)  # 4 and 12 English words
n_tokens = [len(row) - 1 for row in targets]


@torch.no_grad()
def company(loss_of):
    alone = [loss_of(pad_batch([s]), pad_batch([t])) for s, t in zip(sources, targets)]
    together = loss_of(pad_batch(sources), pad_batch(targets))
    expected = sum(n * a for n, a in zip(n_tokens, alone)) / sum(n_tokens)
    return torch.isclose(together, expected, rtol=1e-3, atol=1e-5).item()


# %%
def loss_with_bug(src, tgt):
    return label_smoothing_loss(model(src, tgt[:, :-1]), tgt[:, 1:])


good = company(lambda src, tgt: translation_loss(model, src, tgt))
bad = company(loss_with_bug)
print(f"independent of its company: correct {good}, with the bug {bad}")
assert good and not bad

# %% [markdown]
# ## Look
#
# ### What it looks at
#
# Each French word was predicted by a row of
# [cross-attention](../book/glossary.md#cross-attention): one weight for each English
# word. Which row? The one that *predicts* the word: `<bos>` stands in row 0 and
# predicts word 0, so word $f$ belongs to row $f$. `attention_maps` of lesson
# [07](07_multi_head_attention.ipynb) returns all maps in the order in which they ran.
# The last one is the cross-attention of the last block. Take the mean of its heads.

# %%
from lib.evaluate.attention_maps import attention_maps


def look(sentence, translation):
    (src,), (tgt,) = encode_pairs([Pair(sentence, translation, ())], source, target)
    maps = attention_maps(model, torch.tensor([src]), torch.tensor([tgt[:-1]]))
    return maps[-1][0].mean(dim=0)  # (T, S): the mean of the heads


def draw(sentence, translation):
    weights = look(sentence, translation)
    columns, rows = ([*t.split(), "<eos>"] for t in (sentence, translation))
    return plot.heat_map(
        weights, rows, columns, "English word that it looks at",
        "French word that it writes", size=(7.6, 6), top=1, label="attention weight",
    )  # fmt: skip


# %% tags=["sample"] mystnb={"image": {"alt": "Heat map, French words from top to bottom, English words from left to right. garçon has its dark cell at boy. At the end chats and noirs have theirs at cats and black: these two cross, since the English words stand in the other order."}}
weights = look(english, french)
seen = [[*english.split(), "<eos>"][e] for e in weights.argmax(dim=1).tolist()]
print(", ".join(f"{word} <- {e}" for word, e in zip(french.split(), seen)))
claim(seen[2] == "boy" and seen[7] == "cats", "nouns look at their English words")
claim(seen[8] == "black", "the adjective looks at its English word, too")
draw(english, french)

# %% [markdown]
# *Nouns and adjectives look most at their own English words. At the end the dark cells
# cross: `chats` looks at the last word, `noirs` at the one before it.*
#
# By hand you had to see `cats` to choose `les`. Must the row of `les` look at `cats`,
# then? No. Attention reads the encoder's *vectors*, and three blocks have already mixed
# other words into each of them. Take the same sentence with `cat`. How much does the
# vector at the second `the` change, relative to its length?

# %% tags=["measured:wide"]
pairs = [Pair(text, french, ()) for text in (english, english.replace("cats", "cat"))]
sources, _ = encode_pairs(pairs, source, target)
with torch.no_grad():
    several, one = model.encode(torch.tensor(sources))[0]
change = ((several - one).norm(dim=-1) / several.norm(dim=-1))[6].item()
print(f"the vector at `the` changes by {change:.0%}")
claim(change > 0.1, "the vector at `the` depends on the noun two words later")

# %% [markdown]
# The vector at `the` depends on `cats`, too. So a map shows where the model reads, not
# everything that reaches it.
#
# Nobody told the model which words belong together. It found out, because looking at
# the right word is the easiest way to predict it.
#
# One picture proves little. Take the first 200 unseen sentences, and ask for each
# French noun and adjective whether the darkest cell is the linked English word. For
# comparison: how often would the rule "take the same place number" hit?

# %% tags=["measured"]
tested = data.unseen[:200]
sources, targets = encode_pairs(tested, source, target)
maps = attention_maps(model, pad_batch(sources), pad_batch(targets)[:, :-1])
places = maps[-1].mean(dim=1).argmax(dim=-1)  # (B, T)
links = [(i, f, e) for i, pair in enumerate(tested) for f, e in pair.links]
hits = sum(places[i, f].item() == e for i, f, e in links) / len(links)
same_place = sum(f == e for _, f, e in links) / len(links)
print(f"{len(links)} nouns and adjectives, same place number: {same_place:.1%}")
print(f"the darkest cell is the linked word: {hits:.1%}")
claim(hits > 0.85, "nouns and adjectives look at their English words")

# %% [markdown]
# The last layer looks where it should nearly every time, far more often than the rule
# would.
#
# Look at other sentences. What does the second word of a negation look at? Where does
# `la` look, which stands before its verb? And what does `sa` look at, whose form
# depends on a word that comes later?

# %% tags=["hide-input", "nbval-ignore-output"]
from lib.show.frames import slider

SENTENCES = [
    "she sees her",
    "the friend does not know them",
    "he wants her white house",
    "I do not want an apple",
    "they look for the black horse behind my red car",
]
translations = dict(zip(SENTENCES, translate(model, source, target, SENTENCES)))


def describe(sentence):
    translation = translations[sentence]
    words, weights = [*sentence.split(), "<eos>"], look(sentence, translation)
    seen = [
        f"{word} looks at {words[row.argmax()]} with {row.max():.0%}"
        for word, row in zip(translation.split(), weights)
    ]
    return f"{sentence}: {translation}. " + ", ".join(seen) + "."


slider(
    lambda sentence: draw(sentence, translations[sentence]),
    SENTENCES, "sentence", alt=describe, start=2,
)  # fmt: skip

# %% [markdown]
# *Where a French adjective follows its noun, the dark cells cross: the English words
# stand in the other order.*
#
# Small words such as `la`, `sa` and `pas` are less clear. Where they look changes with the
# seed: `la` at its pronoun in one run, at the verb in the next. What decides their form may
# be mixed into several of the encoder's vectors, and the model can read it from any of
# them. And `pas` must come after `ne` and a verb anyway.
#
# You can ask the course's own translator on the command line, also with your own
# sentences, as long as you keep to its words. (It is another model than this one:
# pre-norm, with two blocks on each side.) Try
# `python -m lib.translate --say "the old king does not find her"`.

# %% [markdown]
# ## Experiment: words that never met
#
# The two numbers from above once more, with what is behind them. In a held-out sentence
# an adjective meets a noun that it never stood beside in training. A model that had
# learned *phrases* would fail there.

# %% tags=["measured"]
for name, share in zip(("unseen", "held-out"), right):
    print(f"{name}: {1 - share:.1%} wrong")
gap = abs(right[0] - right[1])
claim(gap < 0.04, "new combinations are about as good as known ones")

# %% tags=["sample"]
for pairs, written in ((data.unseen, unseen), (data.held_out, held_out)):
    wrong = [(p, text) for p, text in zip(pairs, written) if text != p.french]
    for pair, text in wrong[:3]:
        print(f"English {pair.english}\nwritten {text}\ncorrect {pair.french}\n")

# %% [markdown]
# New combinations are about as good as known ones. The model has learned words and
# rules, and puts them together. Above are some of its few mistakes. Compare the written
# line with the correct one: is it a noun that is wrong, the order, or one of the small
# words whose form hangs on how the *next* word begins, such as `de` and `d'`?

# %% [markdown]
# ## Experiment: no warm-up
#
# Lesson [11](11_training.ipynb) called a warm-up "safer". How much does it matter? The
# same weights at the start, the same batches, the same rate: but the full rate from the
# first step on. To save time this run stops after 80 steps, when the other one has not
# even reached its full rate.

# %% tags=["measured:wide"] mystnb={"image": {"alt": "Training loss over 80 steps. With warm-up it falls steadily from above five nats to about two. Without warm-up it drops to between four and five nats within a few steps and stays there in a flat line."}}
cold = new_training(n_warmup=0)
batches = PairBatches(*rows, 64, torch.Generator().manual_seed(0))
for _ in range(80):
    cold.step(batches())
last = sum(cold.losses[-10:]) / 10, sum(losses[70:80]) / 10
print(f"steps 71 to 80: no warm-up {last[0]:.2f} nats, with warm-up {last[1]:.2f}")
claim(last[0] > last[1] + 1, "without a warm-up the loss is far behind")
lines = {"with warm-up": losses[:80], "without": cold.losses}
plot.loss_curve(lines)

# %% [markdown]
# *Without a warm-up the loss gets stuck in the first steps, and is still there at the
# end of the run.*
#
# What has it learned? Compare it with a model that reads nothing, and only knows how
# frequent each French word is.

# %% tags=["measured"]
sentences = [pair.english for pair in data.unseen[:100]]
written = translate(cold.model, source, target, sentences)
cold_right = exact_match(written, data.unseen[:100])
print(f"right without warm-up: {cold_right:.1%}, with warm-up {right[0]:.1%}")
counts = Counter(i for row in rows[1] for i in row[1:])
shares = torch.tensor([n / counts.total() for n in counts.values()])
unigram = -(shares * shares.log()).sum().item()
print(f"a model that reads nothing: {unigram:.2f} nats")
claim(cold_right < 0.1, "without a warm-up hardly a sentence is right")
claim(abs(last[0] - unigram) < 0.5, "it is about as good as a model that reads nothing")

# %% [markdown]
# Not one translation is right. The model has learned little more than how frequent each
# French word is: its loss is about that of a model which reads neither the English
# sentence nor its own past.
#
# Is it just late? The whole training without warm-up takes as long as the one with it,
# so this page does not wait for the end. The site's page of
# [benchmarks](../book/benchmarks.md) did wait, for three seeds of each.
#
# So the warm-up lets a post-norm model survive a rate that would otherwise kill it. At
# half the rate the same model learns without one. (`new_training` takes a rate: try it.)
#
# Why does the high rate need a gentle start? Two explanations fit. A post-norm model is
# delicate at high rates: you saw one hardly learn in lesson
# [09](09_transformer_block.ipynb), and Xiong et al. (2020) show that the gradients of
# its last layers are large at the start. And the first step of AdamW moves *nearly
# every* parameter by the full rate, since the size of a gradient cancels: a large move,
# on the evidence of a single batch. The warm-up makes the first step a hundredth of
# that. (Neither explanation is tested here.)
#
# When a training does not start, people look for the mistake in the data or in the
# mask. Look at the first steps, too. (Or take pre-norm blocks, as GPT-2 and most models
# since then do.)

# %% [markdown]
# ## Experiment: does the search pay?
#
# Four beams cost about four times the work. On the first 100 sentences of each test:

# %% tags=["measured"]
for name, pairs, greedy in (
    ("unseen", data.unseen[:100], unseen),
    ("held-out", data.held_out[:100], held_out),
):
    searched = translate(model, source, target, [p.english for p in pairs], n_beams=4)
    changed = sum(a != b for a, b in zip(searched, greedy)) / 100
    shares = exact_match(greedy[:100], pairs), exact_match(searched, pairs)
    print(f"{name}: greedy {shares[0]:.0%}, four beams {shares[1]:.0%}, ", end="")
    print(f"{changed:.0%} changed")
    claim(changed < 0.08, "the search changes next to nothing")

# %% [markdown]
# Nothing, or next to nothing: no effect. A model that is nearly certain of every word
# has nothing to search. Beams pay where a model is unsure: larger vocabularies, real
# sentences, less training.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>You give the model two sentences in a row, as one. How many of 100 such pairs come out right?</summary>
#
# Hardly any, though most are no longer than the longest training sentence. The model
# never saw a second subject and verb, nor French that goes on after a complete
# sentence. It learned to combine words; how to combine sentences was never asked of it.
#
# </details>
#
# <details><summary>You turn the words of all correct translations round, last word first. What is their BLEU?</summary>
#
# Close to 0, though every single word is right: $p_1$ is 1, but hardly any run of two
# words survives, and the four shares are multiplied.
#
# </details>
#
# <details><summary>You give it the English words in reverse order. How many translations are still right?</summary>
#
# Hardly any. A [bag of tokens](../book/glossary.md#bag-of-tokens) would not notice, but
# the encoder knows the places, and the grammar lives in the order: `black` belongs to
# the noun after it, and who comes first does what the verb says.
#
# </details>

# %%
first_half, second_half = data.unseen[:100], data.unseen[100:200]
double = [
    Pair(f"{a.english} {b.english}", f"{a.french} {b.french}", ())
    for a, b in zip(first_half, second_half)
]
longest = max(len(pair.english.split()) for pair in data.train)
n_short = sum(len(pair.english.split()) <= longest for pair in double)
print(f"longest training sentence: {longest} words; {n_short} pairs have no more")
assert n_short > 50

# %% tags=["measured"]
written = translate(model, source, target, [pair.english for pair in double])
share = exact_match(written, double)
print(f"two sentences in a row: {share:.0%} right")
claim(share < 0.06, "hardly any pair of sentences comes out right")

# %% [markdown]
# What does it make of the first pair?

# %% tags=["sample"]
print(f"{double[0].english}\n{written[0]}")

# %% [markdown]
# And the words in reverse order, first French ones, then English ones:


# %%
def backwards(text):
    return " ".join(reversed(text.split()))


correct = [pair.french for pair in tested]
score = bleu([backwards(text) for text in correct], correct)
print(f"French words backwards: BLEU {score:.1f}")
assert score < 10

# %% tags=["measured:wide"]
written = translate(model, source, target, [backwards(p.english) for p in tested])
share = exact_match(written, tested)
print(f"English words backwards: {share:.1%} right")
claim(share < 0.2, "with the English words backwards hardly any translation is right")

# %% [markdown]
# ## Exercises

# %%
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
# With label smoothing even a perfect model has a loss above 0. Its best answer is to
# say exactly what the smoothed target says. Given `smoothing` from 0 to 1 and a
# `vocab_size` of 2 or more, return the lowest possible loss per token, in nats, as a
# float.
#
# <details><summary>Hint</summary>
#
# The best probabilities are the target's own: one word has $1 - \epsilon + \epsilon /
# V$, each of the others $\epsilon / V$. The loss is then the
# [entropy](../book/glossary.md#entropy) of that distribution. What is 0 times $\ln 0$?
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
# BLEU was made for several references per sentence. A run of words may then be counted
# as often as it stands in the reference that has it *most often*. Given one `candidate`
# (a string of words), a list of `references` (strings) and `n`, return two integers:
# how many of the candidate's runs of `n` words match, and how many runs it has.
#
# <details><summary>Hint</summary>
#
# A `Counter` of the runs for each text. `a | b` takes the larger count of each run,
# `a & b` the smaller. Begin with an empty `Counter()`.
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
# Given a `model`, sources `src` of shape `(B, S)` and targets `tgt` of shape `(B, T)`,
# each from `<bos>` to `<eos>` and filled up with padding, return $\ln p(y \mid x)$ of
# each target, shape `(B,)`: the *sum* of the log probabilities of its tokens, `<eos>`
# included, `<bos>` and padding not. The padding's id is `model.config.pad_id`.
# `model(src, ids)` returns logits.
#
# <details><summary>Hint</summary>
#
# As in `translation_loss`: read without the last token, predict without the first.
# `log_softmax`, then `gather` the targets. Multiply by `targets != pad_id` before the
# sum over each row.
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
# A weak translator stutters: `de vieil d' vieil ami`. A common remedy forbids any run
# of `n` tokens to come twice. Given `ids` of shape `(B, T)`, what has been written so
# far, a `vocab_size`, and `n` of 1 or more, return a bool tensor `(B, V)`: True for
# each token that would complete a run of `n` tokens that the row has already. With
# `n=2` and the row 5 6 7 5, the token 6 is forbidden, since 5 6 was there. With `n=1`
# every token that was there is forbidden. If a row is shorter than `n`, nothing is.
#
# <details><summary>Hint</summary>
#
# The last `n - 1` tokens of a row are the beginning of the run that the next token
# completes. Look for all places where the same `n - 1` tokens stood before; the token
# after each of them is forbidden. Loops over rows and places are fine. For `n=1` the
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
# - You built a **translator**: words to ids, batches of pairs, and a loss that leaves
#   padding out. It translates nearly all unseen sentences word for word, and nearly all
#   of those in which an adjective meets a noun for the first time.
# - You built **BLEU** and counted it by hand for two sentences. The translator comes
#   close to 100. <!-- from: bleu-almost-right-is-not-wrong "return 100" -->
# - You *saw* it look: in the last layer, nouns and adjectives find the linked English
#   word nearly always, though nobody showed the links to the model.
# - You saw what a **warm-up** can do: it lets a post-norm model survive a high rate.
#   Without it the same model, on the same batches, learned how frequent words are, and
#   little else.
# - You built **label smoothing**, the **Noam schedule** and **beam search**. For this
#   model the search changes next to nothing: it is too sure of itself.
# - You saw the **classic bug**, a mean over padding, and the test that finds it: a
#   sentence's loss must not depend on its company.
#
# What is still wrong: it needs pairs. Somebody must write every sentence twice before
# the model can learn from it, and our model gives up at the first unknown word. Text
# without translations is everywhere. The encoder has read thousands of sentences here.
# What could an encoder *alone* learn from plain text? Lesson 17.
#
# The library entries of what you built: [WordTokenizer](../book/api.md#texttokenizer),
# [encode_pairs, PairBatches, translation_loss and translate](../book/api.md#translate),
# [label_smoothing_loss](../book/api.md#evaluatelosses), [bleu](../book/api.md#evaluatebleu),
# [noam_schedule](../book/api.md#trainschedule),
# [length_penalty and beam_search](../book/api.md#generatebeam).

# %% [markdown]
# ## To read
#
# - Vaswani et al. (2017), *Attention Is All You Need*, sections 5 and 6.1: how the
#   first one was trained, and what it scored. You have built the rate and the label
#   smoothing of section 5.
# - Bahdanau, Cho and Bengio (2015), *Neural Machine Translation by Jointly Learning to
#   Align and Translate*, section 5.2: the first pictures like those above, with French
#   adjectives that cross.
# - Papineni et al. (2002), *BLEU*, section 2: why matches are clipped, with the
#   translation "the the the the the the the". Post (2018) explains why BLEU scores of
#   two papers could not be compared.
# - Xiong et al. (2020), *On Layer Normalization in the Transformer Architecture*,
#   section 3: why post-norm needs a warm-up.
# - All references with what to read in them: [bibliography](../book/bibliography.md).
