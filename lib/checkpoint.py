"""Checkpoints: a model, its vocabulary and its training run in one safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.bigram import BigramLM
from lib.bpe import BPETokenizer
from lib.encoder_decoder import Transformer, TransformerConfig
from lib.language_model import LanguageModel
from lib.presets import CONFIGS, Config, build_model, config_from_dict, config_to_dict
from lib.tokenizer import CharTokenizer, WordTokenizer
from lib.train import Training

__all__ = ["Checkpoint", "save_checkpoint", "load_checkpoint"]

COURSE = "From Bigram to Transformer"
Tokenizer = CharTokenizer | BPETokenizer | WordTokenizer
FORMAT = 1  # a file of a later format says so, and is refused
USES = {  # what a command needs, what that is, and how it is called
    "generate": ((LanguageModel, BigramLM), "language model", '{} --prompt "..."'),
    "translate": (Transformer, "translator", '--model {} --say "..."'),
}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        model: with its weights, in evaluation mode.
        tokenizer: its vocabulary, a pair of them for a translator; None if it was saved
            without.
        notes: what was noted when it was saved: command, seed, sha256 of the data, ...
        run: the state of a training run by name, empty if it was saved without.

    Home lesson: 09_training
    """

    model: nn.Module
    tokenizer: Tokenizer | tuple[Tokenizer, Tokenizer] | None
    notes: dict
    run: dict[str, Tensor]

    def resume(self, training: Training, generator: torch.Generator) -> None:
        """Put a run where it was: weights, optimisers, curves and random numbers.

        Raises:
            ValueError: if the checkpoint holds no run, or one of another training.
        """
        if "run.generator" not in self.run:
            raise ValueError("the checkpoint holds weights only; it cannot be resumed")
        if self.notes["config"] != json.loads(json.dumps(asdict(training.config))):
            raise ValueError("the checkpoint comes from a training with other settings")
        if self.model.config != training.model.config:
            raise ValueError("the checkpoint holds another model than the training")
        training.model.load_state_dict(self.model.state_dict())
        for number, optimizer in enumerate(training.optimizers):
            _load_optimizer(optimizer, f"optimizer.{number}.", self.run)
        training.losses[:] = self.run["run.losses"].tolist()
        training.n_done = len(training.losses)
        training.validation[:] = [tuple(pair) for pair in self.notes["validation"]]
        generator.set_state(self.run["run.generator"])
        torch.set_rng_state(self.run["run.torch"])
        if "run.cuda" in self.run:
            torch.cuda.set_rng_state(self.run["run.cuda"])


def save_checkpoint(
    path: str | Path,
    model: nn.Module,
    tokenizer: Tokenizer | tuple[Tokenizer, Tokenizer] | None = None,
    training: Training | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    **notes,
) -> None:
    """Write a checkpoint; whatever happens, the old file or the new one is there whole.

    Args:
        path: the file, ``.safetensors``.
        model: has the ``config`` that it was built from: a `GPT`, `Transformer` or
            `MaskedLM`, or what `build_model` returns.
        tokenizer: its vocabulary, or a pair of them.
        training: the run to go on with later; needs ``generator``.
        generator: draws the batches of the run.
        dtype: number format of the weights; None for their own.
        notes: plain values to keep with it.

    Raises:
        ValueError: if a training is given without a generator, or a model that cannot
            be built again.
        TypeError: for a tokenizer or a note that cannot be kept.
        OSError: if the file cannot be written; the old one is still there.

    Source: safetensors, the format of Hugging Face: no code in it, unlike pickle.

    Home lesson: 09_training
    """
    run, progress = _run_state(training, generator)
    tensors = _to_store(_weights(model, dtype) | run)
    metadata = _about(model, tokenizer, notes | progress)
    metadata["sha256"] = _sum(tensors, metadata)
    _write_whole(Path(path), tensors, metadata)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint that `save_checkpoint` wrote, and check every bit of it.

    Args:
        path: the file, or the folder of a run of ``lib.train``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is damaged, of another kind or of a later format, or
            whose weights do not fit its model.

    Home lesson: 09_training
    """
    path = Path(path)
    path = path / "checkpoint.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"path={str(path)!r}: there is no such checkpoint")
    tensors, about = _read_file(path)
    model = build_model(about["model"])
    weights = {n[6:]: t for n, t in tensors.items() if n.startswith("model.")}
    _load_weights(path, model, weights)
    run = {n: t for n, t in tensors.items() if not n.startswith("model.")}
    return Checkpoint(model.eval(), about["tokenizer"], about["notes"], run)


def load_for(command: str, path: Path) -> Checkpoint:
    """Read the checkpoint that a command asks for, and check that it can use it.

    Raises:
        ValueError: for a model, or a vocabulary, that is for another command.
    """
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


def load_run(path: Path) -> Checkpoint:
    """Read the checkpoint of a run of ``lib.train`` that is to go on.

    Raises:
        ValueError: for a checkpoint of something else.
    """
    checkpoint = load_checkpoint(path)
    needed = {"settings", "config", "validation", "data_sha256", "command"}
    if not needed <= checkpoint.notes.keys() or not checkpoint.run:
        raise ValueError(f"path={str(path)!r} holds no run of lib.train to go on with")
    return checkpoint


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors of a checkpoint, and what its metadata say."""
    before = path.stat().st_mtime_ns
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, _read_metadata(path, tensors, metadata)
    except (SafetensorError, OSError, ValueError) as error:
        if path.stat().st_mtime_ns != before:  # a run saved meanwhile: read that
            return _read_file(path)
        if isinstance(error, ValueError):
            raise
        raise ValueError(f"path={str(path)!r} is damaged: {error}") from error


def _read_metadata(path: Path, tensors: dict, metadata: dict) -> dict:
    """Return what the metadata say, after checking that they are ours and whole."""
    if metadata.get("course") != json.dumps(COURSE):
        raise ValueError(f"path={str(path)!r} is no checkpoint of this course")
    if metadata.get("format") != json.dumps(FORMAT):
        raise ValueError(
            f"path={str(path)!r} has format {metadata.get('format')}; this version of "
            f"the course reads format {FORMAT}: update the course"
        )
    expected = metadata.pop("sha256", None)
    if _sum(tensors, metadata) != expected:
        raise ValueError(f"path={str(path)!r} is damaged: its sha256 does not fit")
    try:
        about = {name: json.loads(value) for name, value in metadata.items()}
        about["model"] = config_from_dict(about["model"])
        about["tokenizer"] = _tokenizer_from_dict(about["tokenizer"])
        about["notes"] = dict(about["notes"])
    except KeyError as error:
        raise ValueError(f"path={str(path)!r} does not say its {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"path={str(path)!r}: {error}") from error
    return about


def _load_weights(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Put weights into a model; refuse a missing, unknown or misshapen one by name."""
    expected = _own_tensors(model)
    for name in expected.keys() | weights.keys():
        there = tuple(weights[name].shape) if name in weights else "missing"
        wanted = tuple(expected[name].shape) if name in expected else "no such weight"
        if there != wanted:
            raise ValueError(
                f"path={str(path)!r}: {name} is {there}, but the model has {wanted}"
            )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(weights[name])


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights by name; tied ones once, under their first name."""
    return dict(model.named_parameters())


def _weights(model: nn.Module, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Return the weights to store, in a number format."""
    tensors = _own_tensors(model)
    return {f"model.{name}": t.to(dtype or t.dtype) for name, t in tensors.items()}


def _to_store(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as a file can hold them."""
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}


def _about(model: nn.Module, tokenizer: object, notes: dict) -> dict[str, str]:
    """Return what a checkpoint says about itself, each value as JSON."""
    about = {
        "course": COURSE,
        "format": FORMAT,
        "model": config_to_dict(_config_of(model)),
        "tokenizer": _tokenizer_to_dict(tokenizer),
        "notes": notes,
    }
    return {name: json.dumps(value) for name, value in about.items()}


def _config_of(model: nn.Module) -> Config:
    """Return the configuration that a model can be built from again; refuse others."""
    config, kind = getattr(model, "config", None), type(model).__name__
    if not isinstance(config, tuple(CONFIGS.values())):
        raise ValueError(
            f"a {kind} without a configuration cannot be saved: take a GPT, a "
            "Transformer, a MaskedLM, or what build_model makes"
        )
    with torch.device("meta"):  # sizes without memory
        twin = build_model(config)
    built, own = (
        {name: tensor.shape for name, tensor in _own_tensors(m).items()}
        for m in (twin, model)
    )
    if type(twin) is not type(model) or built != own:
        differ = sorted(name for name, _ in built.items() ^ own.items())
        raise ValueError(
            f"this {kind} cannot be saved: its configuration builds a "
            f"{type(twin).__name__} with other weights {differ[:3]}"
        )
    return config


def _run_state(
    training: Training | None, generator: torch.Generator | None
) -> tuple[dict[str, Tensor], dict]:
    """Return the state of a run as tensors and as notes; nothing without a run."""
    if training is None:
        return {}, {}
    if generator is None:
        raise ValueError("generator=None: a training cannot go on without it")
    notes = {"config": asdict(training.config), "validation": training.validation}
    return _run_tensors(training, generator), notes


def _run_tensors(training: Training, generator: torch.Generator) -> dict[str, Tensor]:
    """Return the state of a run as tensors."""
    tensors = {
        "run.losses": torch.tensor(training.losses, dtype=torch.float64),
        "run.generator": generator.get_state(),
        "run.torch": torch.get_rng_state(),
    }
    if next(training.model.parameters()).is_cuda:
        tensors["run.cuda"] = torch.cuda.get_rng_state()
    for number, optimizer in enumerate(training.optimizers):
        for place, state in optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                tensors[f"optimizer.{number}.{place}.{name}"] = tensor
    return tensors


def _load_optimizer(optimizer: torch.optim.Optimizer, prefix: str, run: dict) -> None:
    """Give an optimiser the state that `_run_tensors` took from it."""
    state: dict[int, dict] = {}
    for name, tensor in run.items():
        if name.startswith(prefix):
            place, key = name.removeprefix(prefix).split(".")
            state.setdefault(int(place), {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _tokenizer_to_dict(tokenizer: object) -> dict | list | None:
    """Return a vocabulary, or several, as plain values."""
    match tokenizer:
        case CharTokenizer():
            return {"characters": tokenizer.characters}
        case WordTokenizer():
            return {"words": tokenizer.words}
        case BPETokenizer():
            marks = list(tokenizer.special_tokens)
            return {"bpe": [tokenizer.merges, marks, tokenizer.alphabet]}
        case (source, target):
            return [_tokenizer_to_dict(source), _tokenizer_to_dict(target)]
        case None:
            return None
    raise TypeError(
        f"tokenizer has the type {type(tokenizer).__name__}; it must be a "
        "CharTokenizer, a WordTokenizer, a BPETokenizer, a pair of them, or None"
    )


def _tokenizer_from_dict(values: dict | list | None) -> Tokenizer | tuple | None:
    """Return what `_tokenizer_to_dict` was given."""
    match values:
        case {"characters": characters}:
            return CharTokenizer("".join(characters))
        case {"words": [_, _, _, *words]}:  # without the special ones
            return WordTokenizer(words)
        case {"bpe": [merges, marks, alphabet]}:
            return BPETokenizer(merges, marks, alphabet)
        case [dict(source), dict(target)]:
            return _tokenizer_from_dict(source), _tokenizer_from_dict(target)
        case None:
            return None
    raise ValueError("its vocabulary is of no kind that the course knows")


def _sum(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Return the sha256 of all that a checkpoint says."""
    total = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _write_whole(path: Path, tensors: dict, metadata: dict) -> None:
    """Write next to the file, make sure that it is on the disk, then take its place."""
    half = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, half, metadata)
        half.chmod(0o644)  # safetensors lets nobody but the owner read
        with open(half, "rb+") as file:
            os.fsync(file.fileno())
        half.replace(path)
    except (OSError, SafetensorError) as error:
        try:
            half.unlink(missing_ok=True)
        except OSError:
            pass
        raise OSError(f"path={str(path)!r} cannot be written: {error}") from error
