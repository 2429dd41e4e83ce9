"""The nearest neighbours of a vector are those with the largest cosine."""

import pytest
import torch
from against_torch import assert_near, few, random
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.embedding import nearest_neighbors


@few
@given(st.integers(2, 12), st.integers(1, 5), st.data())
def test_equals_torch_one_by_one(n, width, data):
    vectors = random(n, width, seed=data.draw(st.integers(0, 99)))
    index = data.draw(st.integers(0, n - 1))
    k = data.draw(st.integers(1, n - 1))
    cosines = {
        i: F.cosine_similarity(vectors[index], vectors[i], dim=0).item()
        for i in range(n)
        if i != index
    }
    rows, found = nearest_neighbors(vectors, index, k)
    assert len(set(rows)) == k and index not in rows
    assert_near(torch.tensor(found), torch.tensor([cosines[i] for i in rows]))
    assert_near(
        torch.tensor(found), torch.tensor(sorted(cosines.values()))[-k:].flip(0)
    )


def test_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [-1.0, 0.0]])
    rows, cosines = nearest_neighbors(vectors, 0, k=3)
    assert rows == [2, 1, 3]
    assert_near(torch.tensor(cosines), torch.tensor([0.5**0.5, 0, -1]))


def test_a_twin_is_a_neighbour_but_the_vector_itself_is_not():
    vectors = torch.ones(3, 4)
    rows, cosines = nearest_neighbors(vectors, 1, k=2)
    assert sorted(rows) == [0, 2]
    assert_near(torch.tensor(cosines), torch.ones(2))


@few
@given(st.integers(0, 7), st.lists(st.floats(0.01, 100), min_size=8, max_size=8))
def test_lengths_do_not_matter(index, lengths):
    vectors = random(8, 4)
    rows, cosines = nearest_neighbors(vectors, index)
    scaled = vectors * torch.tensor(lengths).unsqueeze(1)
    same_rows, same_cosines = nearest_neighbors(scaled, index)
    assert rows == same_rows
    assert_near(torch.tensor(cosines), torch.tensor(same_cosines))


def test_a_row_of_zeros_is_like_nothing():
    vectors = torch.tensor([[1.0, 1.0], [0.0, 0.0], [-1.0, 0.0]])
    rows, cosines = nearest_neighbors(vectors, 0, k=2)
    assert rows == [1, 2] and cosines[0] == 0
    assert nearest_neighbors(vectors, 1, k=2)[1] == [0, 0]


def test_the_weights_of_an_embedding_may_be_given_and_stay():
    table = torch.nn.Embedding(6, 3).weight
    before = table.detach().clone()
    rows, cosines = nearest_neighbors(table, 5)
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert all(type(c) is float for c in cosines)
    assert torch.equal(table, before) and table.grad is None


@pytest.mark.parametrize("shape", [(6,), (2, 3, 4), ()])
def test_vectors_that_are_not_rows(shape):
    with pytest.raises(ValueError, match="vectors has shape .*must be") as error:
        nearest_neighbors(torch.zeros(shape), 0)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("index", [-1, 6])
def test_a_row_that_is_not_there(index):
    with pytest.raises(ValueError, match=f"index={index} must be 0 .. 5"):
        nearest_neighbors(random(6, 3), index)


@pytest.mark.parametrize("k", [-1, 0, 6])
def test_more_neighbours_than_there_are(k):
    with pytest.raises(ValueError, match=f"k={k} must be 1 .. 5"):
        nearest_neighbors(random(6, 3), 2, k)
