"""Make the files of this folder with Hugging Face's peft, which the tests do not need.

``pip install peft``, then ``python tests/peft_adapter/make.py``. They were made with
peft 0.21.2: a small GPT of the course with grouped heads, an adapter of peft beside
each of its matrices, as ``save_pretrained`` writes it, and in ``reference.safetensors``
the base's weights, some ids, peft's logits for them, and the gradients of the sum of
their squares.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from lib.models.gpt import GPT, GPTConfig  # noqa: E402

CONFIG = GPTConfig(
    20, 16, 4, 2, 24, 16, n_kv_heads=2, norm="rms", position="rotary", ffn="swiglu"
)
TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "gate", "up", "down"]


def main() -> None:
    """Write the three files."""
    torch.manual_seed(0)
    base = GPT(CONFIG).eval()
    for parameter in base.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    own = base.named_parameters()
    tensors = {f"base.{name}": p.detach().clone() for name, p in own}
    settings = LoraConfig(r=3, lora_alpha=12, lora_dropout=0.1, target_modules=TARGETS)
    theirs = get_peft_model(base, settings).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    ids = torch.randint(20, (3, 12))
    logits = theirs(ids)
    logits.square().sum().backward()
    tensors |= {"ids": ids, "logits": logits.detach()}
    for name, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            tensors[f"gradient.{name}"] = parameter.grad
    theirs.save_pretrained(HERE)
    (HERE / "README.md").unlink(missing_ok=True)
    save_file(tensors, HERE / "reference.safetensors")


if __name__ == "__main__":
    main()
