"""Which parameters of a model go on learning, and which are frozen."""

from __future__ import annotations

from torch import nn

__all__ = ["train_only", "trainable_parameters"]


def train_only(model: nn.Module, *parts: str) -> None:
    """Freeze a model but for some of its parts.

    A frozen parameter gets no gradient, so no optimizer of the course moves it, not
    even by weight decay.

    Args:
        model: changed in place.
        parts: names of parameters, or of the parts that hold them, such as ``"head"``
            or ``"blocks.3"``. Without any, all is frozen.

    Raises:
        ValueError: for a name that the model does not have; nothing is changed then.

    Home lesson: 26_fine_tuning
    """
    chosen = set()
    for part in parts:
        own = {
            parameter
            for name, parameter in model.named_parameters(remove_duplicate=False)
            if f"{name}.".startswith(f"{part}.")
        }
        if not own:
            known = [name for name, _ in model.named_children()]
            raise ValueError(f"parts={part!r} has no parameters; the model has {known}")
        chosen |= own
    for parameter in model.parameters():
        parameter.requires_grad_(parameter in chosen)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are not frozen, by name; tied ones once.

    Home lesson: 26_fine_tuning
    """
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
