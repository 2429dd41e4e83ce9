# %% [markdown]
# # 28 · Data preparation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/lessons/28_data_preparation.ipynb)
#
# You prepare examples for fine-tuning, so that a model learns what you mean, and a test tells the truth.
#
# - **You will build** conversations as one text, rows that hold several documents, a search for near
#   duplicates, and a split without leaks.
# - **You will see** a model get nine tenths of a test right, although its answers were drawn at random.
# - **Needs** lessons [07](07_multi_head_attention.ipynb) and [17](17_masked_language_model.ipynb).
# - **Takes** about 70 minutes, and half an hour for the exercises; the notebook runs in under 25 s.

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
# To fine-tune a model you need examples: what somebody asks, and what the model should answer. So
# far a corpus was one long text, cut into rows anywhere. Examples have a beginning and an end, a part that is
# the model's to write, and lengths from ten tokens to a thousand. Many come from the same source,
# and resemble each other. What has to happen to them before a model reads them, and how do you test
# it fairly?

# %% [markdown]
# ## The machine

# %% mystnb={"image": {"alt": "One row of nine tokens that holds three documents, A, B and C. Positions start at 0 in each. A table of who may look at whom has three triangles along its diagonal, one for each document."}}
from lib.show import diagrams

diagrams.packed_row()

# %% [markdown]
# This is what the model reads in the end: a row that holds several documents, one after the other. Each
# token may look at the earlier ones of *its own* document, and positions start anew. To fill rows in this
# way is called [packing](../book/glossary.md#packing).

# %% [markdown]
# ## By hand
#
# You have five documents, of 5, 4, 3, 6 and 2 tokens, and rows of 8. (For now a token takes one place.) With one document in each row you need
# five rows. Now put each into the first row with enough room:
#
# - 5 goes into row 0, where 3 places are left.
# - 4 finds no room there, and opens row 1.
# - 3 fits into row 0, which is now full.
# - 6 opens row 2, and 2 goes into row 1.
#
# Three rows instead of five. How much of them is filling?

# %%
lengths, room = [5, 4, 3, 6, 2], 8
for n_rows in (5, 3):
    empty = 1 - sum(lengths) / (n_rows * room)
    print(f"{n_rows} rows: {empty:.0%} filling")

# %% [markdown]
# Half of the places were empty; now it is one in six. 

# %% [markdown]
# ## The formula
#
# Let $m_t$ be 1 where target $t$ is the model's to write, and 0 elsewhere. The loss of all rows is
#
# $$L = \frac{\sum_t m_t \left(-\ln p(x_t \mid \text{earlier tokens of the same document})\right)}{\sum_t m_t}$$
#
# With a mask between documents and positions that start anew, it does not depend on how documents were put into rows, if it is taken over all rows at once. For two texts with sets of word runs $A$
# and $B$, the *Jaccard similarity* says how alike they are (Broder, 1997, section 2):
#
# $$J(A, B) = \frac{|A \cap B|}{|A \cup B|}$$

# %% [markdown]
# ## Build
#
# ### A conversation as one text
#
# A conversation is a list of messages, each with a *role* and a *content*. A
# [template](../book/glossary.md#template) says what stands before and after the words of each role. Look at two of
# them: a plain one, and ChatML, the one that many open models use.

# %% tags=["lib:text.chat.Template"]
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    separator: str = ""
    marks: tuple[str, ...] = ()

    @property
    def stop(self) -> str:
        return self.assistant[1]


# %% tags=["lib:text.chat.QUESTIONS", "lib:text.chat.CHATML"]
QUESTIONS = Template(system=("S: ", "\n"), user=("Q: ", "\n"), assistant=("A: ", "\n"))
CHATML = Template(
    system=("<|im_start|>system\n", "<|im_end|>"),
    user=("<|im_start|>user\n", "<|im_end|>"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>"),
    separator="\n",
    marks=("<|im_start|>", "<|im_end|>"),
)

# %% [markdown]
# What ends the model's answer is the *stop*: when the model writes it, generation ends. In the plain template
# that is the end of the line. Now the text:

# %% tags=["naive:text.chat.render"]
def render(messages, template=QUESTIONS):
    text = ""
    for message in messages:
        before, after = getattr(template, message["role"])
        text += before + message["content"] + after + template.separator
    return text


# %%
talk = [
    {"role": "user", "content": "Is it late?"},
    {"role": "assistant", "content": "Yes."},
]
print(render(talk), render(talk, CHATML), sep="---\n")

# %% [markdown]
# The model has no idea of roles. It reads one text, and the marks in it. **A template is part of the model:**
# asked in another one, it has never seen such a text.
#
# ### What the model writes
#
# Which tokens should the loss count? Those that the model will have to write: its words, *and the stop*. The user's
# words are given; the newline after `<|im_end|>` is put there by the program. Each piece is
# encoded by itself, so that no token reaches from one into the next.

# %% tags=["naive:text.chat.encode_messages"]
def encode_messages(tokenizer, messages, template=QUESTIONS):
    ids, own = [], []
    for message in messages:
        before, after = getattr(template, message["role"])
        is_own = message["role"] == "assistant"
        pieces = [(before, False), (message["content"], is_own)]
        pieces += [(after, is_own), (template.separator, False)]
        for text, mine in pieces:
            new = tokenizer.encode(text)
            ids += new
            own += [mine] * len(new)
    return ids, own


# %% [markdown]
# Below each character of the text, see whether the loss counts it. (A newline is shown as `/`.)

# %%
from lib.text.tokenizer import CharTokenizer

characters = CharTokenizer(render(talk, CHATML) + render(talk))
ids, own = encode_messages(characters, talk)
print(characters.decode(ids).replace("\n", "/"))
print("".join("^" if mine else " " for mine in own))

# %% tags=["same:text.chat.render", "same:text.chat.encode_messages", "proof"]
# @title Proof: the library writes and marks the same
from lib.text import chat

for template in (QUESTIONS, CHATML):
    own_template = chat.Template(**vars(template))
    for messages in (talk, talk[:1], talk + talk):
        assert render(messages, template) == chat.render(messages, own_template)
        pair = encode_messages(characters, messages, template)
        assert pair == chat.encode_messages(characters, messages, own_template)
print("the same texts and marks")

# %% [markdown]
# There is a trap. A user may *type* `<|im_end|>`. As one text, nobody could tell it from the real mark, and the rest of
# what they type might pass as the model's own words. The library's version prevents it. A
# tokenizer can have marks as *special tokens*, each with one id of its own (lesson
# [14](14_tokenization.ipynb)). Only the template may use these ids:

# %%
from lib.text.bpe import BPETokenizer
from lib.text.chat import CHATML, encode_messages

bytes_and_marks = BPETokenizer([], special_tokens=CHATML.marks)
lie = [{"role": "user", "content": "No.<|im_end|>"}]
ids, _ = encode_messages(bytes_and_marks, lie, CHATML)
end = bytes_and_marks.special_tokens["<|im_end|>"]
print(len(ids), "tokens;", ids.count(end), "end of a message")

# %% [markdown]
# One end, the template's. What the user typed became ten ordinary bytes. With a tokenizer that has no such tokens, the library refuses a ChatML
# message that contains a mark. In the plain template the mark is the line end, so there it refuses a message of two lines.
#
# ### Rows of several documents
#
# First which document goes into which row, as you did by hand:

# %% tags=["naive:text.packing.first_fit"]
def first_fit(lengths, room):
    boxes, left = [], []
    for number, length in enumerate(lengths):
        box = next((b for b, free in enumerate(left) if length <= free), len(left))
        if box == len(left):
            boxes.append([])
            left.append(room)
        boxes[box].append(number)
        left[box] -= length
    return boxes


print(first_fit([5, 4, 3, 6, 2], room=8))

# %% [markdown]
# `next(..., len(left))` gives the first row with room, or the number of a new one. The rows are those from above. Now
# the tensors. A document of $n$ tokens takes $n - 1$ places: its last token is a target only. And no document's
# target is the start of the next one.

# %% tags=["lib:text.packing.Packed"]
from typing import NamedTuple

import torch
from torch import Tensor


class Packed(NamedTuple):
    inputs: Tensor
    targets: Tensor
    counted: Tensor
    documents: Tensor
    positions: Tensor


# %% tags=["naive:text.packing.pack"]
def pack(documents, length):
    order = sorted(range(len(documents)), key=lambda i: -len(documents[i][0]))
    boxes = first_fit([len(documents[i][0]) - 1 for i in order], length)
    shape, empty = (len(boxes), length), (0, 0, False, -1, 0)
    packed = Packed(*(torch.full(shape, value) for value in empty))
    for row, box in enumerate(boxes):
        start = 0
        for number, place in enumerate(box):
            ids, own = map(torch.tensor, documents[order[place]])
            end = start + len(ids) - 1
            values = ids[:-1], ids[1:], own[1:], number, torch.arange(end - start)
            for tensor, value in zip(packed, values):
                tensor[row, start:end] = value
            start = end
    return packed


# %% [markdown]
# Longest first (by hand we kept the order): small documents then fill the gaps. Each document must fit into a row; cut longer ones before, or leave
# them out. Filling belongs to a document with the number -1. Look at three documents in a row of ten:

# %%
known = [([1, 2, 3], [False, True, True]), ([4, 5, 6, 7, 8], [True] * 5)]
packed = pack(known + [([9, 9, 9], [True] * 3)], length=10)
for name, tensor in packed._asdict().items():
    print(f"{name:10}", *(f"{int(value):2}" for value in tensor[0]))

# %% [markdown]
# The row `documents` is all that the mask needs: two tokens belong together where their numbers are equal. The
# model adds the causal mask to it.

# %% tags=["naive:attention.document_mask", "naive:evaluate.losses.packed_loss"]
from lib.evaluate.losses import cross_entropy


def document_mask(documents):
    return (documents[:, :, None] == documents[:, None, :]).unsqueeze(1)


def packed_loss(model, inputs, targets, counted, documents, positions):
    logits = model(inputs, positions=positions, mask=document_mask(documents))
    return cross_entropy(logits[counted], targets[counted])


# %% tags=["same:text.packing.first_fit", "same:text.packing.pack", "proof"]
# @title Proof: the library packs the same
import random

from lib.text import packing

rng = random.Random(0)
documents = []
for _ in range(20):
    ids = [rng.randrange(1, 30) for _ in range(rng.randint(2, 12))]
    documents.append((ids, [rng.random() < 0.7 for _ in ids[1:]] + [True]))
lengths = [len(ids) for ids, _ in documents]
assert first_fit(lengths, 16) == packing.first_fit(lengths, 16)
packed, other = pack(documents, 16), packing.pack(documents, 16)
assert all(torch.equal(a, b) for a, b in zip(packed, other))
print("the same rows")

# %% [markdown]
# The same for the mask and the loss, with a small GPT that was never trained:

# %% tags=["same:attention.document_mask", "same:evaluate.losses.packed_loss", "proof"]
# @title Proof: the library's mask and loss are the same
from lib import attention
from lib.evaluate import losses as library_losses
from lib.models.gpt import GPT, GPTConfig

masks = document_mask(packed.documents), attention.document_mask(packed.documents)
assert torch.equal(*masks)
config = dict(vocab_size=30, d_model=16, n_heads=2, n_layers=2, d_ff=32)
model = GPT(GPTConfig(**config, context_length=16, position="rotary"))
own_loss = packed_loss(model, *packed)
assert torch.equal(own_loss, library_losses.packed_loss(model, *packed))
print("the same mask and loss")

# %% [markdown]
# ## Check
#
# Is a packed row really as good as separate rows? Two tests. First, the loss: all documents in packed rows, and each one in a row
# of its own. (`model` is that small GPT, `documents` are twenty lists of random tokens.)

# %%
def loss_alone(model, documents):
    total, n_counted = 0.0, 0
    for document in documents:
        single = pack([document], length=16)
        n = single.counted.sum()
        total, n_counted = total + n * packed_loss(model, *single), n_counted + n
    return total / n_counted


# %%
with torch.no_grad():
    gap = packed_loss(model, *pack(documents, 16)) - loss_alone(model, documents)
print("same loss to 1e-6:", abs(gap.item()) < 1e-6)

# %% [markdown]
# Second, exchange document A, and look at what becomes of B's logits:

# %%
@torch.no_grad()
def change_in_b(forward):
    b, logits = ([7, 8, 9], [True] * 3), []
    for a in ([1, 2, 3, 4], [5, 5, 6, 6]):
        packed = pack([(a, [True] * 4), b], length=8)
        logits.append(forward(packed)[packed.documents == 1])
    return (logits[0] - logits[1]).abs().max().item()



# %% [markdown]
# ### The classic bug: positions, but no mask
#
# "Positions start anew, so the model knows that a new document begins." That is a common belief. Three
# ways to read a packed row:

# %%
ways = {
    "mask and positions": lambda p: model(
        p.inputs, positions=p.positions, mask=document_mask(p.documents)
    ),
    "positions only": lambda p: model(p.inputs, positions=p.positions),
    "neither": lambda p: model(p.inputs),
}
for name, forward in ways.items():
    change = change_in_b(forward)
    print(f"{name:19} B depends on A: {change > 0}")
assert change_in_b(ways["mask and positions"]) == 0

# %% [markdown]
# With the mask the difference is exactly 0: B gets zero times whatever A holds. **Positions stop no leak.** They
# only say where a token stands. (Many models are trained without such a mask, as yours were until now. They learn to ignore what stands before a
# beginning, more or less. For short examples, packed by the dozen, it matters.)
#
# ### The other classic bug: it never stops
#
# Somebody marks the model's words, and forgets the stop after them. What does the loss see?

# %%
ids, own = encode_messages(characters, talk)
seen = [i for i, mine in zip(ids, own) if mine]
print("right:", repr(characters.decode(seen)))
print("wrong:", repr(characters.decode(seen[:-1])))

# %% [markdown]
# For a model trained the wrong way the stop is never a target: each step only makes it less likely. It writes its answer, and goes on: perhaps with the next question.
# The loss shows nothing. *Print what the loss sees, as text: its last token must be the stop.* (A section [at the end](#deeper-a-model-that-never-stops) trains both.)

# %% [markdown]
# ## Near copies
#
# Web pages, forum posts, made-up examples: much of a data set is there twice, with a few words changed. A model that
# has one copy to learn from, and gets the other one in the test, need not understand anything.
#
# To find such pairs, cut each text into runs of a few words, called *shingles*, and compare the sets:

# %% tags=["naive:text.duplicates.shingles", "naive:text.duplicates.jaccard"]
import re


def shingles(text, n=3):
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + n]) for i in range(max(len(words) - n, 0) + 1)}


def jaccard(a, b):
    return len(a & b) / len(a | b)


# %%
a, b = shingles("Where is the old bridge?", 2), shingles("Where is the new bridge?", 2)
print(sorted(a), sorted(b), round(jaccard(a, b), 2), sep="\n")

# %% [markdown]
# One changed word has changed two of four runs, and the similarity is only a third.
#
# A million texts have half a trillion pairs, too many to compare. *MinHash* makes a short signature of each set. A hash function gives each
# shingle a number, as if by chance. Take the smallest number of the set. When do two sets have the same smallest
# number? If the smallest of *both together* lies in what they share. Any element of $A \cup B$ is equally likely to be
# it, so
#
# $$P(\min h(A) = \min h(B)) = \frac{|A \cap B|}{|A \cup B|} = J(A, B)$$
#
# With many hash functions, the share of equal numbers estimates the similarity. The functions are $h_i(x) = (a_i x + b_i) \bmod p$, with a
# prime $p$:

# %%
import hashlib

PRIME = 2**31 - 1


def number_of(item):
    digest = hashlib.blake2b(item.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % PRIME


# %% tags=["naive:text.duplicates.minhash"]
def minhash(items, n_hashes=128, seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(1, PRIME, (n_hashes, 1), generator=generator)
    b = torch.randint(PRIME, (n_hashes, 1), generator=generator)
    x = torch.tensor([number_of(item) for item in items])
    return ((a * x + b) % PRIME).amin(dim=1)  # (n_hashes, items) -> (n_hashes,)


# %% [markdown]
# (Python's own `hash` of a text differs from process to process; `blake2b` is the same everywhere.) Look at how near the
# estimate comes for two sets that share a third of their items:

# %%
a, b = ({f"item {i}" for i in range(start, start + 40)} for start in (0, 20))
for n_hashes in (16, 128, 4096):
    same = (minhash(a, n_hashes) == minhash(b, n_hashes)).float().mean().item()
    print(f"{n_hashes:4} hashes: {same:.2f}, exactly {jaccard(a, b):.2f}")

# %% [markdown]
# The error falls as one over the square root of the number of hashes: thousands come within a hundredth or two, a hundred within
# a few hundredths.  But all pairs are still as many. So cut each signature into $b$
# *bands* of $r$ numbers:

# %% mystnb={"image": {"alt": "Two signatures of six numbers, cut into three bands of two. In the first band both have 7 and 3: they meet in one bucket, and are compared. The other bands differ."}}
diagrams.signature_bands()

# %% [markdown]
# Texts with the same band meet in one bucket of a dictionary, without any comparison. For a pair of similarity $s$ that happens in at least one band
# with the probability $1 - (1 - s^r)^b$.

# %% tags=["naive:text.duplicates.candidate_pairs"]
from collections import defaultdict
from itertools import combinations


def candidate_pairs(signatures, n_bands):
    buckets = defaultdict(list)
    for number, signature in enumerate(signatures):
        for band, piece in enumerate(signature.view(n_bands, -1).tolist()):
            buckets[band, *piece].append(number)
    return sorted({pair for same in buckets.values() for pair in combinations(same, 2)})


# %% [markdown]
# Of the pairs that met, the exact similarity decides:

# %% tags=["naive:text.duplicates.near_duplicates"]
def near_duplicates(texts, threshold=0.5, n=3, n_bands=32):
    sets = [shingles(text, n) for text in texts]
    pairs = candidate_pairs(torch.stack([minhash(s) for s in sets]), n_bands)
    return [(i, j) for i, j in pairs if jaccard(sets[i], sets[j]) >= threshold]


# %% tags=["same:text.duplicates.shingles", "same:text.duplicates.jaccard", "same:text.duplicates.minhash", "same:text.duplicates.candidate_pairs", "same:text.duplicates.near_duplicates", "proof"]
# @title Proof: the library finds the same pairs
from lib.tasks.copies import draw_copies
from lib.text import duplicates as library

texts = [copy.text for copy in draw_copies(n_groups=20, n_changes=1)]
first = shingles(texts[0])
for text in texts[:5]:
    runs = shingles(text)
    assert runs == library.shingles(text)
    assert torch.equal(minhash(runs), library.minhash(runs))
    assert jaccard(runs, first) == library.jaccard(runs, first)
signatures = torch.stack([minhash(shingles(text)) for text in texts])
assert candidate_pairs(signatures, 16) == library.candidate_pairs(signatures, 16)
assert near_duplicates(texts) == library.near_duplicates(texts)
print("the same pairs")

# %% [markdown]
# The number of bands decides who meets:

# %% mystnb={"image": {"alt": "Curves of the probability to meet against the similarity of two texts, for 128 hashes. With 64 bands of two numbers it rises early, at a similarity of about a tenth; with 32 bands of four near four tenths; with 8 bands of sixteen near nine tenths."}}
from lib.show import plot

places = [i / 50 for i in range(51)]
curves = {
    f"{b} bands of {128 // b}": [1 - (1 - s ** (128 // b)) ** b for s in places]
    for b in (64, 32, 8)
}
plot.line_chart(curves, "similarity", "probability to meet", x=places)

# %% [markdown]
# Few long bands let only close copies meet; many short ones let nearly everybody meet, and cost comparisons.
#
# Does it find what it should? That can be counted where the copies were planted. The library's `draw_copies` makes up 120
# texts of twenty words and returns three copies of each, every one with two words replaced at random. The originals are thrown away, so
# two copies differ in about four words. *Recall* is the share of the planted pairs that were found, *precision* the share of the found pairs that were planted.

# %%
from lib.text.duplicates import near_duplicates

copies = draw_copies(n_groups=120, n_copies=3, n_words=20, n_changes=2)
pairs_of = lambda same: {p for p in combinations(range(len(copies)), 2) if same(*p)}
planted = pairs_of(lambda i, j: copies[i].group == copies[j].group)
texts = [copy.text for copy in copies]
finders = {"strict": dict(threshold=0.5, n=3, n_bands=32)}
finders["loose"] = dict(threshold=0.2, n=2, n_bands=64)
pairs = {name: near_duplicates(texts, **how) for name, how in finders.items()}
for name, found in pairs.items():
    right = len(planted & {*found})
    recall, precision = right / len(planted), right / len(found)
    print(f"{name}: recall {recall:.2f}, precision {precision:.2f}")

# %% tags=["proof"]
# @title Proof: what the text says about both
from lib.checks.claims import claim

hits = {name: len(planted & {*found}) for name, found in pairs.items()}
claim(hits["strict"] < 0.5 * len(planted), "the strict search misses most")
shared = [len(shingles(texts[i]) & shingles(texts[j])) for i, j in planted]
claim(7 < sum(shared) / len(shared) < 11, "copies share about half of 18 runs")
claim(hits["loose"] > 0.97 * len(planted), "the loose one misses next to none")
claim(all(hits[k] == len(pairs[k]) for k in hits), "all that is found was planted")

# %% [markdown]
# The strict search, with runs of three words and a threshold of a half, is never wrong, and misses most of the pairs: four changed words of twenty break about half of
# the runs, and two sets that share half of their runs have a similarity of only a third. The loose one finds nearly all. With real texts, which share phrases, a loose search finds false
# pairs too. So look at pairs near the threshold before you trust it.

# %% [markdown]
# ## A split without leaks
#
# Copies of copies belong together too: pairs make *groups*. And all of a group goes to one side.

# %% tags=["naive:text.duplicates.group_numbers"]
def group_numbers(n_texts, pairs):
    group = list(range(n_texts))
    for i, j in pairs:
        low, high = sorted((group[i], group[j]))
        group = [low if g == high else g for g in group]
    return group


print(group_numbers(6, [(0, 3), (3, 4), (1, 5)]))

# %% [markdown]
# Draw groups for the test, until it has its share (sorted first, so that the seed alone
# decides; `s` is 0 for the side of the training and 1 for the test):

# %% tags=["naive:text.duplicates.split_groups"]
def split_groups(groups, test_share=0.2, seed=0):
    order, chosen, n_chosen = sorted({*groups}, key=str), set(), 0
    random.Random(seed).shuffle(order)
    for group in order:
        if n_chosen < test_share * len(groups):
            chosen.add(group)
            n_chosen += groups.count(group)
    sides = [[i for i, g in enumerate(groups) if (g in chosen) == s] for s in (0, 1)]
    return sides[0], sides[1]


print(split_groups(list("aabbbcd"), test_share=0.3))

# %% [markdown]
# No letter is on both sides. The same function serves
# wherever examples have a common source: all variants of one question, all pages of one author, all pictures of one patient.
# **Split first, by source; make variants afterwards.**
#
# A last leak comes with models that somebody else has trained: the *test's questions may stand in the training text*. This is
# [contamination](../book/glossary.md#contamination). The usual search: does a run of eight or more words of the question stand there?

# %% tags=["naive:text.duplicates.contaminated"]
def contaminated(questions, training, n=8):
    known = set().union(*(shingles(text, n) for text in training))
    return [i for i, asked in enumerate(questions) if shingles(asked, n) & known]


training = ["He said: to be, or not to be, that is the question. Then he left."]
questions = ["To be, or not to be: that is the question?"]
questions += ["Is that the question that we all should have asked him?"]
print("found in the training text:", contaminated(questions, training))

# %% tags=["same:text.duplicates.group_numbers", "same:text.duplicates.split_groups", "same:text.duplicates.contaminated", "proof"]
# @title Proof: the library groups, splits and finds the same
groups = group_numbers(len(texts), pairs["loose"])
assert groups == library.group_numbers(len(texts), pairs["loose"])
for seed in range(3):
    assert split_groups(groups, seed=seed) == library.split_groups(groups, seed=seed)
assert contaminated(questions, training) == library.contaminated(questions, training)
print("the same groups, splits and questions")

# %% [markdown]
# Question 0 is there. A question of fewer than `n` words is found in this way only if it is a whole training text; the library also finds it inside a longer
# one. And a reworded one passes unseen: the search finds copies, and never proves that there are none.

# %% [markdown]
# ## Experiment: what a leak is worth
#
# Each group of copies above has a label, one of four colours, *drawn at random*, and all its copies carry it. There is nothing to understand. On new texts every model is right
# one time in four on average; with so few test texts a single run may be off by a tenth. A small GPT learns the labels of four fifths of the texts, and is tested with the others, for
# several ways to split them. Recorded with `python book/_tools/leaks.py`; three seeds.

# %% tags=["hide-input"]
# @title The recorded runs
import json
from pathlib import Path

import lib

record_file = Path(lib.__file__).parents[1] / "data" / "leaks.json"
runs = json.loads(record_file.read_text("utf-8"))["runs"]
print("recorded:", ", ".join(runs))

# %% [markdown]
# *Seen* is the share of right answers on the texts that it learnt from.

# %%
for name, found in runs.items():
    shares = "  ".join(f"{share:.2f}" for share in found["test"])
    print(f"{name:14} seen {min(found['seen']):.2f}   test {shares}")

# %% tags=["proof"]
# @title Proof: what the text says about the recorded runs
assert min(min(found["seen"]) for found in runs.values()) > 0.99
assert min(runs["by text"]["test"]) > 0.85
assert min(runs["found, strict"]["test"]) > 0.7
for name in ("found, loose", "planted"):
    assert max(runs[name]["test"]) < 0.4
print("so it stands in the table")

# %% [markdown]
# - **Split text by text**, the model gets about nine tenths of the test right. Nothing of that is
#   understanding: it has seen copies of nearly every test question.
# - **A strict search for duplicates hardly helps**: it misses most pairs, and one copy on the other side is enough.
# - **The loose search gives the honest number**: chance, as where the groups are known (*planted*, the control).
#
# Removing exact copies would change nothing here: there are none. And on the texts that were seen, all are right, in each split:
# nothing in the training shows the leak.

# %% [markdown]
# ## Predict, then run
#
# <details><summary>A conversation has two questions and two answers. How many stops does the loss count? And what if the words of both answers counted, but only the last stop?</summary>
#
# Two, each answer's own. With the last one only, nothing would teach the model to end an early answer, and its
# words would push the stop out there. (Some train on the last answer alone, its words and its stop. Then conversations are cut behind each answer.)
#
# </details>
#
# <details><summary>You pack documents with a mask, and forget to restart the positions. The model has rotary positions. Is that an error?</summary>
#
# No: rotary positions only enter as differences, and inside a document these are the same. With learned positions it is one: documents in the middle
# of a row would get vectors that a question to the model, which begins at 0, never has.
#
# </details>
#
# <details><summary>Two texts have a similarity of one half. With 128 hashes, what is the probability to meet with 64 bands of two, and with 8 bands of sixteen?</summary>
#
# Practically 1, and about one in ten thousand.
#
# </details>

# %% tags=["answer"]
# @title Answers: shifted rotary positions, and two probabilities
with torch.no_grad():
    p = pack([([1, 2, 3, 4], [True] * 4), ([7, 8, 9], [True] * 3)], length=8)
    mask, running = document_mask(p.documents), torch.arange(8).expand(1, 8)
    a, b = (model(p.inputs, positions=q, mask=mask) for q in (p.positions, running))
print("rotary, same logits:", torch.allclose(a, b, atol=1e-4))
print([round(1 - (1 - 0.5 ** (128 // bands)) ** bands, 4) for bands in (64, 8)])

# %% [markdown]
# ## Exercises

# %% tags=["hide-input"]
# @title The checks
from lib.checks.lesson_28 import check_fewest_bands, check_last_answer, check_stream

# %% [markdown]
# ### Exercise 1: Only the last answer
#
# *warm-up · 10 minutes* · [Solution](../solutions/28_data_preparation.ipynb#exercise-1-only-the-last-answer)
#
# `own` is the list of marks of a conversation: False and True, one for each token. Return a new list in which only the *last* run of
# True is left. If there is none, all are False.
#
# <details><summary>Hint</summary>
#
# Go from the end: skip the False, keep the True, and stop at the next False.
#
# </details>


# %%
def last_answer(own):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_last_answer(last_answer)

# %% [markdown]
# ### Exercise 2: Documents in a stream
#
# *core · 15 minutes* · [Solution](../solutions/28_data_preparation.ipynb#exercise-2-documents-in-a-stream)
#
# Large corpora are packed more simply: all documents in one stream, each with the token `end_id` at its end, cut into rows anywhere. For
# `ids` `(B, T)` return two tensors of the same shape and type (int64), the number of the document of each token, from 0 on in each row, and its
# position in it. The token `end_id` is the last of its document. Each row stands alone: it begins with number 0 and position 0,
# even in the middle of a document.
#
# <details><summary>Hint</summary>
#
# `(ids == end_id).cumsum(dim=1)` counts the ends so far, and this token's own must not count yet. For the positions: where did the
# document begin? `cummax` carries the largest number so far along.
#
# </details>


# %%
def stream(ids, end_id):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_stream(stream)

# %% [markdown]
# ### Exercise 3: How many bands?
#
# *core · 10 minutes* · [Solution](../solutions/28_data_preparation.ipynb#exercise-3-how-many-bands)
#
# Return the smallest number of bands that divides `n_hashes`, and for which two texts of this `similarity` meet with a probability
# of at least `least`. If none is enough, return None.
#
# <details><summary>Hint</summary>
#
# Try the numbers from 1 to `n_hashes` in order. More bands are shorter bands.
#
# </details>


# %%
def fewest_bands(similarity, n_hashes, least):
    raise NotImplementedError("your code here")


# %% tags=["exercise"]
check_fewest_bands(fewest_bands)

# %% [markdown]
# ## Recap
#
# - You built **conversations as one text**, in which the model's words *and its stop* count; in the library's version no user can forge a mark.
# - You built **packed rows**: with a document mask they have the loss of separate rows, and B depends on nothing of A.
#   Positions alone do not do that.
# - You built **MinHash and bands**, and counted what they find and what they miss.
# - You saw **what a leak is worth**: nine tenths right where nothing can be known. Only a split by groups tells the truth.
#
# What is still wrong: the examples are ready, and no model has learnt from them yet. To follow instructions is
# lesson 29.
#
# The library's entries: [chat](../book/api.md#textchat), [packing](../book/api.md#textpacking),
# [duplicates](../book/api.md#textduplicates), [document_mask](../book/api.md#attention) and
# [packed_loss](../book/api.md#evaluatelosses).

# %% [markdown]
# ## To read
#
# - Krell et al. (2021), *Efficient Sequence Packing without Cross-contamination*, sections 2 and 3.
# - Broder (1997), *On the Resemblance and Containment of Documents*, sections 2 and 3: shingles and smallest numbers.
# - Lee et al. (2022), *Deduplicating Training Data Makes Language Models Better*, sections 4 and 6.
# - Brown et al. (2020), *Language Models are Few-Shot Learners*, appendix C: contamination, and a bug in its search.
# - All references with what to read in them: [bibliography](../book/bibliography.md).

# %% [markdown]
# ## Deeper: a model that never stops
#
# Train the classic bug once. The examples are small sums, packed into rows; one model has the stop in its loss, the other does not.

# %%
from lib.evaluate.losses import packed_loss
from lib.train import Training, train
from lib.train.settings import TrainConfig

sums = [(f"{a}+{b}?", str(a + b)) for a in range(6) for b in range(6)]
roles = ("user", "assistant")
talks = [[dict(role=r, content=c) for r, c in zip(roles, pair)] for pair in sums]
signs = CharTokenizer("".join(render(talk) for talk in talks))


# %% [markdown]
# Both are trained in the same way:

# %%
def learn_sums(with_stop):
    encoded = [encode_messages(signs, talk) for talk in talks]
    batch = tuple(pack([(i, own[:-1] + [with_stop]) for i, own in encoded], length=32))
    torch.manual_seed(0)
    config = dict(d_model=32, n_heads=2, n_layers=2, d_ff=64, context_length=32)
    model = GPT(GPTConfig(vocab_size=signs.vocab_size, **config))
    recipe = TrainConfig(n_steps=200, learning_rate=0.005)
    train(Training(model, recipe, packed_loss), lambda: batch)
    return model


# %% [markdown]
# Then ask both the questions that they were trained on, with room for eight characters. (`ask=True` adds what stands before an answer.) How many answers end?

# %% tags=["measured"]
from lib.generate.rollouts import rollout

asked = [encode_messages(signs, talk[:1], ask=True)[0] for talk in talks]
stop, written = signs.ids["\n"], {}
for with_stop in (True, False):
    rolls = rollout(learn_sums(with_stop), asked, 8, stop, temperature=0)
    written[with_stop] = [signs.decode(answer) for answer in rolls.answers()]
    ended = sum(text.endswith("\n") for text in written[with_stop])
    print(f"stop learnt: {with_stop}, {ended} of {len(asked)} answers end")

# %% tags=["proof"]
# @title Proof: what the text says about both
right = [[t.startswith(s) for t, (_, s) in zip(w, sums)] for w in written.values()]
claim(min(map(sum, right)) >= 34, "both begin with the right sum")
ended = [sum(text.endswith("\n") for text in texts) for texts in written.values()]
claim(ended[0] >= 34 and ended[1] == 0, "only the first model stops")

# %% [markdown]
# And what does the second model write?

# %% tags=["sample"]
question, answer = talks[20][0]["content"], written[False][20]
print(f"the model that never learnt its stop answers {question} with {answer}")

# %% [markdown]
# Both begin with the right sum. The second one then goes on with what it knows: digits.
# Its newline has never been a target, so every step has pushed it further down.

# %% [markdown]
# ## Deeper: filters
#
# Before all this, bad texts are thrown out by simple rules: too short, too many symbols, the same line again and again. Count
# what each rule removes, and read a sample of it: a filter is a decision about what the model will know.

# %%
lines = lambda text: text.split("\n")
rules = {
    "short": lambda text: len(text.split()) < 4,
    "symbols": lambda text: sum(map(str.isalnum, text)) < 0.5 * len(text),
    "repeats": lambda text: len({*lines(text)}) < 0.5 * len(lines(text)),
}
pages = ["The bridge is closed until noon.", "Click here!", "***!!!--- $$$ ### a b c d"]
pages += ["buy it now\n" * 4 + "buy it", "Kurz.", "Water boils at a hundred degrees."]
for page in pages:
    hits = [name for name, rule in rules.items() if rule(page)]
    print(f"{page[:24]!r:28}", "out: " + ", ".join(hits) if hits else "kept")

# %% [markdown]
# *Symbols* counts blanks too, and would also throw out much code and many lists. That is often how a model comes to know little of them.
