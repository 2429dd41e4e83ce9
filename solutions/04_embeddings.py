# %% [markdown]
# # Solutions 04 · Embeddings
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/04_embeddings.ipynb)
#
# One way to solve each exercise of lesson [04](../lessons/04_embeddings.ipynb), and what to
# learn from it.

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
from torch import nn
from torch.nn import functional as F

from lib.checks.claims import claim
from lib.checks.lesson_04 import check_bag, check_mean_cosines, check_neural_lm
from lib.evaluate.losses import cross_entropy
from lib.models.bigram import BigramConfig, BigramLM
from lib.text.batches import random_batch, split_text
from lib.text.corpus import load_corpus
from lib.text.tokenizer import CharTokenizer
from lib.train import fit

corpus = load_corpus()
tokenizer = CharTokenizer(corpus.text)
V = tokenizer.vocab_size
train, validation = (
    torch.tensor(tokenizer.encode(text)) for text in split_text(corpus.text)
)
print(f"{corpus.name}: {len(train):,} + {len(validation):,} tokens, {V} different")

# %% [markdown]
# ## Exercise 1: What a sum still knows
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-1-what-a-sum-still-knows)


# %%
def bag(ids, vocab_size):
    return F.one_hot(ids, vocab_size).sum(dim=1).float()  # (B, T, V) -> (B, V)


# %% tags=["exercise"]
check_bag(bag)

# %% [markdown]
# The sum of one-hot rows counts. Multiply the counts with the table, and you have the sum of the
# vectors. So whatever the adding model does, it does with these counts alone.

# %%
ids = torch.tensor([tokenizer.encode("to be or"), tokenizer.encode("or be to")])
embed = nn.Embedding(V, 32)
counts = bag(ids, V)
print("the same bag for both texts:", torch.equal(*counts))
assert torch.allclose(counts @ embed.weight, embed(ids).sum(dim=1), atol=1e-5)

# %% [markdown]
# ## Exercise 2: How similar are two groups?
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-2-how-similar-are-two-groups)


# %%
def mean_cosines(vectors, groups):
    unit = F.normalize(vectors, dim=-1)
    cosines = unit @ unit.T  # (V, V)
    different = 1 - torch.eye(len(vectors))
    member = F.one_hot(groups).float()  # (V, G)
    sums = member.T @ (cosines * different) @ member  # (G, G)
    return sums / (member.T @ different @ member)


# %% tags=["exercise"]
check_mean_cosines(mean_cosines)

# %% [markdown]
# Two products with the one-hot groups add up the blocks: the first adds the rows of each group,
# the second the columns. The same products over `different` count the pairs. Now the vectors of a
# bigram model, small letters (group 0) and capitals (group 1), before and after training.

# %% tags=["corpus", "measured:wide"]
torch.manual_seed(0)
model = BigramLM(BigramConfig(V, d_model=32))
generator = torch.Generator().manual_seed(0)
letters = [i for i in range(V) if tokenizer.characters[i].isalpha()]
groups = torch.tensor([int(tokenizer.characters[i].isupper()) for i in letters])
for n_steps in (0, 300):
    fit(model, lambda: random_batch(train, 256, 8, generator), n_steps, 0.01)
    means = mean_cosines(model.logits[0].weight.detach()[letters], groups)
    small, mixed, capital = means[0, 0], means[0, 1], means[1, 1]
    print(f"{n_steps:3} steps: small {small:z.2f}, capital {capital:z.2f}", end="")
    print(f", mixed {mixed:z.2f}")  # z: no minus sign before a zero
claim(min(small, capital) > mixed + 0.03, "each group is similar to itself")

# %% [markdown]
# Before training all three are close to 0. After it, small letters are similar to small letters and
# capitals to capitals. Had you counted each vector with itself, the groups would look similar even
# before training.

# %% [markdown]
# ## Exercise 3: Two ways to the logits
#
# [Exercise](../lessons/04_embeddings.ipynb#exercise-3-two-ways-to-the-logits)


# %%
class NeuralLM(nn.Module):
    def __init__(self, vocab_size, context_length, d_model, d_hidden):
        super().__init__()
        wide = context_length * d_model
        self.embed = nn.Embedding(vocab_size, d_model)
        self.hidden = nn.Linear(wide, d_hidden)  # H and d
        self.head = nn.Linear(d_hidden, vocab_size)  # U and b
        self.direct = nn.Linear(wide, vocab_size, bias=False)  # W

    def forward(self, ids):
        x = self.embed(ids).flatten(1)  # (B, T) -> (B, T * D)
        return self.head(torch.tanh(self.hidden(x))) + self.direct(x)  # (B, V)


# %% tags=["exercise"]
check_neural_lm(NeuralLM)

# %% [markdown]
# Does the direct way help? Train with it and without it, three seeds each, as in the lesson.
# Without it means: its weights are 0 and stay 0.


# %%
def train_and_measure(direct, seed):
    torch.manual_seed(seed)
    model = NeuralLM(V, context_length=8, d_model=32, d_hidden=128)
    if not direct:
        nn.init.zeros_(model.direct.weight).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)

    def next_batch():
        inputs, targets = random_batch(train, 256, 8, generator)
        return inputs, targets[:, -1]

    fit(model, next_batch, n_steps=300, learning_rate=0.005)
    windows = torch.cat([train[-7:], validation]).unfold(0, 9, 1)
    with torch.no_grad():
        return cross_entropy(model(windows[:, :-1]), windows[:, -1]).item()


# %% tags=["corpus", "measured"]
losses = {}
for direct in (True, False):
    losses[direct] = [train_and_measure(direct, seed) for seed in range(3)]
    mean, each = sum(losses[direct]) / 3, [f"{loss:.2f}" for loss in losses[direct]]
    print(f"direct way {direct!s:5}: mean {mean:.2f} nats {each}")
claim(
    sum(losses[True]) / 3 > sum(losses[False]) / 3 + 0.02,
    "in so few steps the direct way does not help",
)

# %% [markdown]
# It does not, in 300 steps: the direct way has more weights to learn, and the loss stays higher.
# Nor could it ever do what the hidden layer does, since $W x$ is a sum of one part per place. What
# one place says there cannot depend on another. <!-- from: exercise-3-two-ways-to-the-logits "n_steps=300" -->
