"""Weights that FSDP cuts into shares, and what brings them back into one piece."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from lib.block import Block
from lib.models import build_model
from lib.train import Training
from lib.train.optimizer import optimizer_tensors
from lib.train.parallel import cut_like, is_cut, n_processes, rank, whole

__all__ = ["cut_up", "keep_state_whole", "put_together", "take_weights", "whole_model"]


def cut_up(model: nn.Module) -> None:
    """Cut each weight of a model into one share for each process (PyTorch's FSDP2).

    A block gathers its weights before it computes, and gives them back after it.

    Source: Rajbhandari et al. (2020), section 5.3; Zhao et al. (2023).
    """
    from torch.distributed.device_mesh import init_device_mesh  # slow to import
    from torch.distributed.fsdp import fully_shard

    # Nothing here changes logits in place, which it warns of.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (n_processes(),))
    fixed = {p for p in model.parameters() if not p.requires_grad}  # stay whole
    for part in [m for m in model.modules() if isinstance(m, Block)]:
        fully_shard(part, mesh=mesh, ignored_params=fixed)
    fully_shard(model, mesh=mesh, ignored_params=fixed)


def whole_model(model: nn.Module) -> nn.Module:
    """Return a model in one piece: itself, or a copy of one that is cut.

    Of a model that is cut all processes must ask together.
    """
    if not is_cut(model):
        return model
    with torch.random.fork_rng(devices=[]):  # the weights that it draws are replaced
        copy = build_model(model.config)
    weights = {name: whole(w).cpu() for name, w in model.state_dict().items()}
    copy.load_state_dict(weights)
    return copy


def put_together(training: Training) -> nn.Module | None:
    """Return the model of a training in one piece, in the first process only.

    All processes call it: they also help the first one to its optimisers' whole state,
    which it asks for when it saves.
    """
    model = whole_model(training.model)
    if rank() == 0:
        return model
    optimizer_tensors(training.optimizers)
    return None


@torch.no_grad()
def take_weights(model: nn.Module, other: nn.Module) -> None:
    """Give a model, also one that is cut, the weights of another of its kind."""
    weights = other.state_dict()
    for name, own in model.state_dict().items():
        own.copy_(cut_like(weights[name], own))


def keep_state_whole(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser of weights that are cut give and take whole tensors."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def gather(_: torch.optim.Optimizer, saved: dict) -> dict:
        state = {
            place: {name: whole(t).cpu() for name, t in each.items()}
            for place, each in saved["state"].items()
        }
        return saved | {"state": state}

    def cut(_: torch.optim.Optimizer, saved: dict) -> dict:
        state = {
            place: {name: cut_like(t, parameters[place]) for name, t in each.items()}
            for place, each in saved["state"].items()
        }
        return saved | {"state": state}

    optimizer.register_state_dict_post_hook(gather)
    optimizer.register_load_state_dict_pre_hook(cut)
