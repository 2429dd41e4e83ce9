"""The command ``python -m lib.tune``: tune a model on examples of your own."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from typer import Option

from lib import stopping
from lib.command_line import Given, run_command, with_settings
from lib.device import choose_device, require_file
from lib.generate.chat import TEMPLATES
from lib.text.corpus import read_text
from lib.text.files import naming, read_regular
from lib.train.checkpoint import Checkpoint, save_checkpoint
from lib.train.lock import one_writer
from lib.train.memory import require_memory
from lib.train.settings import TrainConfig
from lib.train.tensor_file import checkpoint_path
from lib.train.uses import load_for_command
from lib.tune.adapter_files import save_adapter
from lib.tune.dpo import DPOConfig, tune_on_pairs
from lib.tune.lora import LoRAConfig, add_lora, merge, remove_lora
from lib.tune.pairs import encode_pairs
from lib.tune.rows import read_conversations, read_pairs
from lib.tune.sft import Conversations, SFTConfig, fine_tune

Base = Annotated[Path, Given(help="Folder of a run, or a checkpoint file.")]
Data = Annotated[Path, Given(help="Examples, one JSON object in each line.")]
Out = Annotated[Path, Given(help="Folder for the tuned model.")]
Words = Annotated[str, Option(help="What stands around them: questions or chatml.")]
Replay = Annotated[
    Path | None, Given(help="A text that the model comes from; needs --replay.")
]
Device = Annotated[str, Option(help="auto, cpu, cuda, mps, ...")]


@dataclass(frozen=True)
class LoRASettings(SFTConfig):
    """How an adapter is tuned; see also `SFTConfig`.

    Attributes:
        rank: Numbers in the middle of each product.
        alpha: Strength of the product: it is multiplied by alpha / rank.
        targets: Layers, by the ends of their names, with commas; or all.
    """

    learning_rate: float = 4e-3
    rank: int = 8
    alpha: float = 16.0
    targets: str = "all"

    def adapter(self) -> LoRAConfig:
        """Return what the adapter is made of."""
        layers = "all" if self.targets == "all" else (*self.targets.split(","),)
        return LoRAConfig(rank=self.rank, alpha=self.alpha, targets=layers)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.adapter()  # which refuses what there is not


@dataclass(frozen=True)
class DPOSettings(DPOConfig, TrainConfig):
    """How a model is tuned on preferences; see `DPOConfig` and `TrainConfig`.

    Attributes:
        n_steps: Number of updates.
        batch_size: Pairs per update.
        seed: Of batches.
    """

    n_steps: int = 60
    learning_rate: float = 1e-4
    schedule: str = "constant"
    n_warmup: int = 10
    batch_size: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)
        DPOConfig.__post_init__(self)


@with_settings(SFTConfig)
def sft_command(
    base: Base,
    data: Data,
    out: Out,
    template: Words = "questions",
    replay_text: Replay = None,
    device: Device = "auto",
    **settings,
) -> None:
    """Tune a model on conversations: prompt and answer, or messages.

    Example: python -m lib.tune sft --base data/base-workbook.safetensors
    --data my.jsonl --out runs/mine
    """
    chosen = SFTConfig(**settings)
    with one_writer(out):
        tuning = Tuning("sft", base, data, out, template, device, chosen)
        tuning.save(chosen, _on_conversations(tuning, chosen, replay_text))


@with_settings(LoRASettings)
def lora_command(
    base: Base,
    data: Data,
    out: Out,
    template: Words = "questions",
    replay_text: Replay = None,
    device: Device = "auto",
    **settings,
) -> None:
    """Tune an adapter on conversations; keep it alone, and merged into the model.

    Example: python -m lib.tune lora --base data/base-workbook.safetensors
    --data my.jsonl --out runs/mine --rank 4
    """
    chosen = LoRASettings(**settings)
    _require_room(out)
    with one_writer(out):
        tuning = Tuning("lora", base, data, out, template, device, chosen)
        _require_thin(tuning.model, chosen.rank)
        add_lora(tuning.model, chosen.adapter())
        losses = _on_conversations(tuning, chosen, replay_text)
        with stopping.finish_first():
            save_adapter(out / "adapter", tuning.model)
            merge(tuning.model)
            remove_lora(tuning.model)
            tuning.save(chosen, losses)


@with_settings(DPOSettings)
def dpo_command(
    base: Base,
    data: Data,
    out: Out,
    template: Words = "questions",
    device: Device = "auto",
    **settings,
) -> None:
    """Tune a model on preferences: prompt, chosen and rejected.

    Example: python -m lib.tune dpo --base runs/mine --data pairs.jsonl
    --out runs/better
    """
    chosen = DPOSettings(**settings)
    recipe, loss = (_part(chosen, kind) for kind in (TrainConfig, DPOConfig))
    with one_writer(out):
        tuning = Tuning("dpo", base, data, out, template, device, chosen)
        rows, _ = encode_pairs(tuning.read(read_pairs))
        generator = torch.Generator().manual_seed(chosen.seed)
        options = chosen.batch_size, generator
        training = tune_on_pairs(tuning.model, rows, loss, recipe, *options)
        tuning.save(chosen, training.losses)


def _require_room(out: Path) -> None:
    """Refuse a place where an adapter and a model cannot go, both in one folder."""
    if checkpoint_path(out) == out:
        raise ValueError(f"out={str(out)!r} must be a folder: an adapter goes into it")
    if (out / "adapter").exists():
        raise ValueError(f"{out / 'adapter'} is there already: move it")


def _require_thin(model: nn.Module, rank: int) -> None:
    """Refuse a rank that no layer has: it would cost more than the layers."""
    sizes = [min(p.weight.shape) for p in model.modules() if isinstance(p, nn.Linear)]
    if rank > max(sizes):
        raise ValueError(f"rank={rank} is more than any layer has: {max(sizes)}")


class Tuning:
    """A model to be tuned, and where everything comes from and goes to.

    Raises:
        ValueError: for a folder that holds a model already, an unknown template, or a
            base that is no language model.
    """

    def __init__(
        self,
        method: str,
        base: Path,
        data: Path,
        out: Path,
        template: str,
        device: str,
        settings: TrainConfig,
    ) -> None:
        self.method, self.data, self.out = method, data, out
        if checkpoint_path(out).exists():
            raise ValueError(f"{checkpoint_path(out)} is there already: move it")
        if template not in TEMPLATES:
            names = ", ".join(TEMPLATES)
            raise ValueError(f"template={template!r} must be one of {names}")
        where = choose_device(device)
        self.checkpoint: Checkpoint = load_for_command("generate", base)
        require_memory(self.checkpoint.model.config, settings, where)
        self.tokenizer = self.checkpoint.tokenizer
        self.model = self.checkpoint.model.to(where)
        self.notes = {"base": base.name, "template": template, "data": data.name}

    def read(self, reader: Callable) -> list:
        """Return the examples; note what they were."""
        with naming(f"data={str(self.data)!r}"):
            require_file(self.data)
            data = read_regular(self.data)
        self.notes["data_sha256"] = hashlib.sha256(data).hexdigest()
        length, template = self.model.context_length, TEMPLATES[self.notes["template"]]
        return reader(self.data, self.tokenizer, length, template)

    def save(self, settings: TrainConfig, losses: list[float]) -> None:
        """Write the tuned model, and say how to talk to it."""
        command = f"python -m lib.tune {shlex.join(sys.argv[1:])}"
        notes = self.notes | {"command": command, "settings": asdict(settings)}
        path = checkpoint_path(self.out)
        with stopping.finish_first():
            save_checkpoint(path, self.model, self.tokenizer, **notes)
        first, last, place = losses[0], losses[-1], shlex.quote(str(self.out))
        typer.echo(
            f"{self.method}: loss {first:.4f}, after {len(losses)} steps {last:.4f}"
        )
        typer.echo(f"talk to it: python -m lib.generate {place} --chat")


def _on_conversations(
    tuning: Tuning, settings: SFTConfig, replay_text: Path | None
) -> list[float]:
    """Tune on the conversations of a file; return the losses."""
    conversations, replay = tuning.read(read_conversations), None
    template = TEMPLATES[tuning.notes["template"]]
    tuning.notes["n_turns"] = max(len(one) // 2 for one in conversations)
    if replay_text is not None:
        replay = torch.tensor(tuning.tokenizer.encode(read_text(replay_text)))
    rows = Conversations(tuning.tokenizer, conversations, template)
    return fine_tune(tuning.model, rows.batch, settings, replay)


def _part(settings: TrainConfig, kind: type) -> TrainConfig | DPOConfig:
    """Return those of the settings that another class has."""
    names = [field.name for field in fields(kind)]
    return kind(**{name: getattr(settings, name) for name in names})


if __name__ == "__main__":
    run_command(sft_command, lora_command, dpo_command)
