# %% [markdown]
# # Solutions 28 · Data preparation
#
# [![Open in Colab](../book/_static/colab-badge.svg)](https://colab.research.google.com/github/from-bigram-to-transformer/course/blob/main/solutions/28_data_preparation.ipynb)
#
# One way to solve each exercise of lesson [28](../lessons/28_data_preparation.ipynb), and what
# to learn from it.

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
import torch

from lib.checks.lesson_28 import check_fewest_bands, check_last_answer, check_stream

# %% [markdown]
# ## Exercise 1: Only the last answer
#
# [Exercise](../lessons/28_data_preparation.ipynb#exercise-1-only-the-last-answer)


# %%
def last_answer(own):
    end = len(own)
    while end and not own[end - 1]:
        end -= 1
    start = end
    while start and own[start - 1]:
        start -= 1
    return [start <= place < end for place in range(len(own))]


# %% tags=["exercise"]
check_last_answer(last_answer)

# %% [markdown]
# Behind the last stop there may be a token that is not the model's, as the newline in ChatML. So the search
# goes back to the first True, and only then to its beginning.

# %% [markdown]
# ## Exercise 2: Documents in a stream
#
# [Exercise](../lessons/28_data_preparation.ipynb#exercise-2-documents-in-a-stream)


# %%
def stream(ids, end_id):
    is_end = (ids == end_id).long()
    documents = is_end.cumsum(dim=1) - is_end
    places = torch.arange(ids.size(1)).expand_as(ids)
    starts = torch.zeros_like(ids)
    starts[:, 1:] = (is_end * (places + 1))[:, :-1].cummax(dim=1).values
    return documents, places - starts


# %% tags=["exercise"]
check_stream(stream)

# %% [markdown]
# Subtracting `is_end` leaves each end in its own document. A document that was cut at the end of a row goes on
# in the next row as if it began there: its tokens have lost what stood before them. That is the price of
# filling every row to the last place.

# %% [markdown]
# ## Exercise 3: How many bands?
#
# [Exercise](../lessons/28_data_preparation.ipynb#exercise-3-how-many-bands)


# %%
def fewest_bands(similarity, n_hashes, least):
    for n_bands in range(1, n_hashes + 1):
        if n_hashes % n_bands == 0:
            n_rows = n_hashes // n_bands
            if 1 - (1 - similarity**n_rows) ** n_bands >= least:
                return n_bands
    return None


# %% tags=["exercise"]
check_fewest_bands(fewest_bands)

# %% [markdown]
# The smallest number costs the fewest comparisons of pairs that turn out to be different. For the pairs of the
# lesson, whose similarity is about .4 with runs of two words:

# %%
print(fewest_bands(similarity=0.4, n_hashes=128, least=0.95), "bands of 128 hashes")

# %% [markdown]
# That is the number of bands of the loose search.
