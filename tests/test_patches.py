"""Patches are torch's convolution with a stride as wide as its kernel."""

import pytest
import torch
from against_torch import assert_gradient_near, assert_near, few, random, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from lib.embedding import PatchEmbedding


@few
@given(*(st.integers(1, 4) for _ in range(5)))
def test_equals_torchs_convolution(b, n_rows, patch_size, d_model, n_channels):
    patches = PatchEmbedding(n_rows * patch_size, patch_size, d_model, n_channels)
    random_weights(patches)
    images = random(b, n_channels, *[n_rows * patch_size] * 2).requires_grad_()
    same = images.detach().double().requires_grad_()
    weight, bias = (p.detach().double() for p in patches.project.parameters())
    weight = weight.view(d_model, n_channels, patch_size, patch_size)
    expected = F.conv2d(same, weight, bias, stride=patch_size)  # (B, D, rows, columns)
    expected = expected.flatten(2).transpose(1, 2)
    output = patches(images)
    assert output.shape == (b, patches.n_patches, d_model)
    assert_near(output, expected)
    signs = random(*output.shape, seed=9).sign()
    output.backward(signs)
    expected.backward(signs.double())
    assert_gradient_near(images.grad, same.grad)


def test_patches_stand_row_by_row_from_the_top_left():
    patches = PatchEmbedding(4, 2, 4)
    patches.project.weight.data = torch.eye(4)
    patches.project.bias.data.zero_()
    image = torch.arange(16.0).view(1, 1, 4, 4)
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert patches(image)[0].tolist() == expected


def test_a_pixel_changes_its_own_patch_only():
    patches, image = PatchEmbedding(6, 2, 5, 3), random(1, 3, 6, 6)
    changed = image.clone()
    changed[0, 1, 2, 5] += 1  # row 1, column 2 of the patches
    different = (patches(image) != patches(changed)).any(-1)[0]
    assert different.nonzero().flatten().tolist() == [5]


@pytest.mark.parametrize(
    "sizes, message",
    [
        ((8, 3, 4), "patch_size=3 does not divide image_size=8"),
        ((0, 1, 4), "image_size=0 must be at least 1"),
        ((8, 0, 4), "patch_size=0 must be at least 1"),
        ((8, 2, 0), "d_model=0 must be at least 1"),
        ((8, 2, 4, 0), "n_channels=0 must be at least 1"),
    ],
)
def test_sizes_that_do_not_fit(sizes, message):
    with pytest.raises(ValueError, match=message):
        PatchEmbedding(*sizes)


@pytest.mark.parametrize("shape", [(2, 1, 8, 6), (2, 3, 8, 8), (1, 8, 8), (8, 8)])
def test_pictures_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match=r"images has shape .* \(B, 1, 8, 8\)") as e:
        PatchEmbedding(8, 2, 4)(random(*shape))
    assert str(shape) in str(e.value)
