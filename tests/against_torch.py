"""Held against torch: random numbers, how near is equal, our weights in its layers.

The reference computes in float64, so a difference is an error of ours alone.
"""

from collections.abc import Callable

import torch
from hypothesis import settings
from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.block import Block

few = settings(derandomize=True, max_examples=20, deadline=None)
both_types = [torch.float32, torch.bfloat16]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_weights(module: nn.Module) -> None:
    """Draw every weight anew, also gains of one and biases of zero."""
    for seed, p in enumerate(module.parameters()):
        width = p.size(-1) if p.dim() == 2 else 4
        p.data.copy_(random(*p.shape, seed=seed) / width**0.5)


def size(x: Tensor) -> float:
    """How far the numbers of a tensor are from 0: their root mean square."""
    return x.square().mean().sqrt().item()


def assert_near(
    ours: Tensor, torchs: Tensor, atol: float = 1e-6, average: float = 0.02
) -> None:
    """Each number within `atol` and its last digits; bfloat16 only on average."""
    if ours.dtype == torch.bfloat16:
        assert ours.shape == torchs.shape
        assert size(ours.double() - torchs) <= average * (1 + size(torchs))
    else:
        torch.testing.assert_close(ours, torchs.to(ours.dtype), atol=atol, rtol=1e-5)


def assert_gradient_near(ours: Tensor, torchs: Tensor) -> None:
    """Gradients are sums over all positions, so more of the last digits are lost."""
    assert_near(ours, torchs, atol=1e-5, average=0.1)


def assert_gradients_near(ours: dict[str, Tensor], torchs: nn.Module) -> None:
    """Our gradients by torch's names against the ones of its layer."""
    expected = {name: p.grad for name, p in torchs.named_parameters()}
    assert ours.keys() == expected.keys()
    for name, gradient in ours.items():
        assert_gradient_near(gradient, expected[name])


def values(parameter: nn.Parameter) -> Tensor:
    return parameter.data


def gradients(parameter: nn.Parameter) -> Tensor:
    return parameter.grad


def attention_by_torchs_names(
    ours: MultiHeadAttention, read: Callable[[nn.Parameter], Tensor] = values
) -> dict[str, Tensor]:
    """The weights of ours as `nn.MultiheadAttention` packs them."""
    inputs = [ours.q_proj, ours.k_proj, ours.v_proj]
    named = {
        "in_proj_weight": torch.cat([read(p.weight) for p in inputs]),
        "out_proj.weight": read(ours.out_proj.weight),
    }
    if ours.q_proj.bias is not None:
        named["in_proj_bias"] = torch.cat([read(p.bias) for p in inputs])
        named["out_proj.bias"] = read(ours.out_proj.bias)
    return named


def block_by_torchs_names(
    ours: Block, read: Callable[[nn.Parameter], Tensor] = values
) -> dict[str, Tensor]:
    """The weights of ours as torch's encoder and decoder layers name them."""
    attentions = {"self_attn": ours.attention}
    norms = [ours.attention_norm, ours.ffn_norm]
    if ours.cross_attention is not None:
        attentions["multihead_attn"] = ours.cross_attention
        norms.insert(1, ours.cross_norm)
    named = {}
    for place, attention in attentions.items():
        for name, tensor in attention_by_torchs_names(attention, read).items():
            named[f"{place}.{name}"] = tensor
    for i, norm in enumerate(norms, start=1):
        named[f"norm{i}.weight"] = read(norm.gain)
        named[f"norm{i}.bias"] = read(norm.bias)
    for i, linear in enumerate([ours.ffn.up, ours.ffn.down], start=1):
        named[f"linear{i}.weight"] = read(linear.weight)
        named[f"linear{i}.bias"] = read(linear.bias)
    return named
