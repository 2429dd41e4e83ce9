"""Which command uses which model: a checkpoint for another one is refused by name."""

from __future__ import annotations

import shlex
from pathlib import Path

from torch import nn

from lib.models import LANGUAGE_MODELS
from lib.models.encoder_decoder import Transformer, TransformerConfig
from lib.text.vocabulary import Tokenizer
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
    sizes, tokenizers = _vocabularies(checkpoint)
    if None in tokenizers or len(tokenizers) != len(sizes):
        raise ValueError(f"path={str(path)!r} holds no vocabulary of its {name}")
    for size, tokenizer in zip(sizes, tokenizers):
        if tokenizer.vocab_size > size:
            raise ValueError(
                f"path={str(path)!r} has a vocabulary of {tokenizer.vocab_size} for a "
                f"model of {size} tokens"
            )
    return checkpoint


def _use_of(model: nn.Module, path: Path) -> str:
    """Say what a model is, and which command uses it."""
    for command, (kinds, name, options) in USES.items():
        if isinstance(model, kinds):
            words = options.format(shlex.quote(str(path)))
            return f"a {name}: python -m lib.{command} {words}"
    return f"a {type(model).__name__}: no command uses it"


def _vocabularies(checkpoint: Checkpoint) -> tuple[list[int], list[Tokenizer | None]]:
    """Return the sizes that a model is built for, and as many tokenizers or fewer."""
    c, tokenizer = checkpoint.model.config, checkpoint.tokenizer
    if isinstance(c, TransformerConfig):
        sizes = [c.src_vocab_size, c.tgt_vocab_size]
    else:
        sizes = [c.vocab_size]
    return sizes, [*tokenizer] if isinstance(tokenizer, tuple) else [tokenizer]
