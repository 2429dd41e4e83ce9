"""Makes this machine compute as another one would.

``COURSE_MACHINE`` holds settings such as ``bfloat16=off,jitter=1,seeds=1000``:

bfloat16  ``on`` or ``off``: whether the processor says that it multiplies bfloat16.
jitter    a number: all weights change by up to a millionth before the first update of
          an optimiser. Another machine's rounding grows into the same differences.
seeds     a number that is added to every seed.
"""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from weakref import WeakSet

JITTER = 1e-6


def install(settings: str) -> None:
    """Change PyTorch as soon as it has been imported as a whole.

    Raises:
        ValueError: for a setting that does not exist.
    """
    wanted = dict(part.split("=") for part in settings.split(",") if part)
    unknown = wanted.keys() - CHANGES.keys()
    if unknown:
        raise ValueError(f"COURSE_MACHINE={settings!r}: no setting {sorted(unknown)}")
    sys.meta_path.insert(0, AfterTorch(wanted))


class AfterTorch(MetaPathFinder, Loader):
    """Imports torch as it is, then changes it."""

    def __init__(self, wanted: dict[str, str]) -> None:
        self.wanted = wanted

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """Find torch, once; leave everything else to the others."""
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torch")
        if spec is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec):
        """Make the module as its own loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module) -> None:
        """Run the module, then make the changes."""
        self.loader.exec_module(module)
        module.__spec__.loader = module.__loader__ = self.loader
        for name, value in self.wanted.items():
            CHANGES[name](module, value)


def set_bfloat16(torch, value: str) -> None:
    """Let the processor say that it has bfloat16, or has not."""
    real = getattr(torch.cpu, "get_capabilities", dict)  # PyTorch 2.9 has none

    def get_capabilities() -> dict:
        names = ("avx512_bf16", "amx_bf16", "bf16")
        return real() | dict.fromkeys(names, {"on": True, "off": False}[value])

    torch.cpu.get_capabilities = get_capabilities


def set_jitter(torch, value: str) -> None:
    """Change the weights of every optimiser a little before its first step."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    seed = int(value)
    started = WeakSet()  # one that was resumed has a state, and weights that stay

    def shake(optimizer, args, kwargs) -> None:
        if optimizer in started or optimizer.state:
            return
        started.add(optimizer)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for group in optimizer.param_groups:
                for p in group["params"]:  # the same noise, whoever updates it
                    noise = torch.rand(p.shape, generator=generator).to(p.device)
                    factor = 1 + JITTER * (2 * noise - 1).to(p.dtype)
                    if p.grad is not None:
                        p.mul_(cut_like(factor, p))

    def cut_like(factor, p):
        if not hasattr(p, "full_tensor"):
            return factor
        from torch.distributed.tensor import distribute_tensor  # FSDP has cut p

        where = p.device_mesh, p.placements
        return distribute_tensor(factor, *where, src_data_rank=None)

    register_optimizer_step_pre_hook(shake)


def set_seeds(torch, value: str) -> None:
    """Add a number to every seed."""
    offset, seed_all = int(value), torch.manual_seed

    class Generator(torch.Generator):
        """A generator whose seeds are others."""

        def manual_seed(self, seed: int):
            """Seed it with another number."""
            return super().manual_seed(seed + offset)

    def manual_seed(seed: int):
        return seed_all(seed + offset)

    torch.Generator = Generator
    torch.manual_seed = torch.random.manual_seed = manual_seed


CHANGES = {"bfloat16": set_bfloat16, "jitter": set_jitter, "seeds": set_seeds}
