"""A model that was just trained, live in a notebook."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import anywidget
import torch
import traitlets
from IPython.display import HTML

from lib import is_quiet
from lib.models.gpt import GPT
from lib.show.playground import place, widget_module
from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer
from lib.train.checkpoint import save_checkpoint

__all__ = ["playground"]

LARGEST = 4 * 2**20  # bytes, as in engine.js
REFUSED = ("kv_rank", "n_experts", "rotary_scaling", "smear", "bigrams")
OPTIONS = ("temperature", "top_k", "top_p", "seed", "speed")


class _Playground(anywidget.AnyWidget):
    _esm = widget_module()
    checkpoint = traitlets.Bytes().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)


def playground(
    model: GPT,
    tokenizer: CharTokenizer | BPETokenizer,
    prompt: str = "ROMEO:",
    on_page: str | None = None,
    **options: float,
) -> anywidget.AnyWidget | HTML:
    """Show a model at work: it writes in the browser, from a copy of its weights.

    Args:
        model: a `GPT` with at most 4 MB of weights as float16, without experts, latent
            keys or a scaling of its rotations.
        tokenizer: its vocabulary.
        prompt: the text to begin with.
        on_page: the name that the course's site has for this model. Where notebooks are
            executed for the site (``COURSE_QUIET``), the cell then holds only a place,
            which the page fills.
        options: ``temperature``, ``top_k``, ``top_p``, ``seed`` and ``speed`` in tokens
            a second, to begin with.

    Returns:
        A widget, to be the last line of a cell. Nothing of it is kept in the notebook.

    Raises:
        TypeError: for another model or tokenizer, or an unknown option.
        ValueError: for a model that is too large, or has a part that is not shown.
    """
    if not isinstance(model, GPT):
        raise TypeError(f"model is a {type(model).__name__}; it must be a GPT")
    if not isinstance(tokenizer, CharTokenizer | BPETokenizer):
        raise TypeError(
            f"tokenizer is a {type(tokenizer).__name__}; it must be a CharTokenizer or "
            "a BPETokenizer"
        )
    for name in options.keys() - set(OPTIONS):
        raise TypeError(f"option {name!r} is unknown; there are {', '.join(OPTIONS)}")
    for name in REFUSED:
        if value := getattr(model.config, name):
            raise ValueError(f"model has {name}={value}; that part is not shown here")
    shown = {"prompt": prompt, **options}
    if on_page is not None and is_quiet():
        return HTML(place("../_static/playground/", [on_page], shown))
    return _Playground(checkpoint=_as_bytes(model, tokenizer), options=shown)


def _as_bytes(model: GPT, tokenizer: CharTokenizer | BPETokenizer) -> bytes:
    """Return a checkpoint in float16, as the file would hold it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save_checkpoint(path, model, tokenizer, dtype=torch.float16)
        content = path.read_bytes()
    if len(content) > LARGEST:
        size = len(content) / 2**20
        raise ValueError(f"model takes {size:.1f} MB as float16; 4 MB is the most")
    return content
