"""Which command uses which model: a checkpoint for another one is refused by name."""

from __future__ import annotations

import shlex
from pathlib import Path

from torch import nn

from lib.models import LANGUAGE_MODELS
from lib.models.encoder_decoder import Transformer
from lib.train.checked import vocab_sizes
from lib.train.checkpoint import Checkpoint, load_checkpoint
from lib.train.tensor_file import checkpoint_path

__all__ = ["load_for_command"]

USES = {  # what a command needs, what that is, and how it is called
    "generate": (LANGUAGE_MODELS, "language model", '{} --prompt "..."'),
    "translate": (Transformer, "translator", '--model {} --say "..."'),
}


def load_for_command(command: str, path: str | Path) -> Checkpoint:
    """Read the checkpoint that a command asks for, and check that it can use it.

    Raises:
        ValueError: for a model, or a vocabulary, that is for another command.
    """
    path = checkpoint_path(path)
    checkpoint = load_checkpoint(path)
    kinds, name, _ = USES[command]
    if not isinstance(checkpoint.model, kinds):
        use = _use_of(checkpoint.model, path)
        raise ValueError(f"path={str(path)!r} holds no {name} but {use}")
    n_needed = len(vocab_sizes(checkpoint.model.config))
    tokenizer = checkpoint.tokenizer
    given = tokenizer if isinstance(tokenizer, tuple) else (tokenizer,)
    if None in given or len(given) != n_needed:
        raise ValueError(f"path={str(path)!r} holds no vocabulary of its {name}")
    return checkpoint


def _use_of(model: nn.Module, path: Path) -> str:
    """Say what a model is, and which command uses it."""
    for command, (kinds, name, options) in USES.items():
        if isinstance(model, kinds):
            words = options.format(shlex.quote(str(path)))
            return f"a {name}: python -m lib.{command} {words}"
    return f"a {type(model).__name__}: no command uses it"
