"""Between the library and a reader's own part: the same call, the same answer.

A reader's class is not changed: what the library builds is a class derived from it, so
its weights keep their names. The adapter hands over what the part knows, and does for
it what can be done from outside: ``is_causal`` becomes a mask, biases are added to the
projections, dropout follows a block's parts, a start shifts positions, a cache goes
past a block to its attention, and where an attention knows none, its inputs are kept
in the cache and read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.attention import KVCache, causal_mask
from lib.norm import LayerNorm
from lib.own.options import Options
from lib.own.tests.near import Unknown, expect

__all__ = [
    "adapt_attend",
    "adapt_attention",
    "adapt_block",
    "adapt_function",
    "adapt_module",
    "adapt_positions",
    "adapt_rule",
]


class _Kind(type):
    """The class of adapted classes: the library's own parts count as theirs, too.

    Once it has somebody to tell, the library's part stands in where a model asks for an
    option that the reader's does not know.
    """

    _tell: Callable[[str], object] | None = None
    _told: frozenset[str] = frozenset()

    def __call__(cls, *args, **kwargs) -> object:
        try:
            return super().__call__(*args, **kwargs)
        except Unknown as error:
            if cls._tell is None:
                raise
            words = str(error).partition(";")[0]
            if words not in cls._told:
                cls._told |= {words}
                cls._tell(f"own code: {words}; there the library's own stands in")
            return cls.library(*args, **kwargs)

    def __instancecheck__(cls, part: object) -> bool:
        return super().__instancecheck__(part) or isinstance(part, cls.library)


class _Adapted:
    """What stands in front of a reader's own module."""

    part: str
    library: type
    making: Options
    running: Options

    def __init__(self, *args, **kwargs) -> None:
        given = self.making.bind(args, kwargs)
        with torch.random.fork_rng(devices=[]):
            self._make(given)
        self.library(**given)  # the random numbers that come next stay the same

    def _make(self, given: dict[str, object]) -> None:
        self.making.call(super().__init__, given)

    def _run(self, **given) -> object:
        return self.running.call(super().forward, given)

    def forward(self, *args, **kwargs) -> object:
        """Return what the reader's own module computes."""
        return self._run(**self.running.bind(args, kwargs))


def adapt_module(
    name: str, thing: type, library: type, front: type = _Adapted
) -> type[nn.Module]:
    """Return a class that the library can use in the place of its own.

    Args:
        name: of the part, such as ``norm.LayerNorm``.
        thing: the reader's class.
        library: the library's class.
        front: what stands in front of the reader's class.

    Raises:
        Wrong: if it is no `nn.Module`, or cannot be called as the library calls it.
    """
    is_module = isinstance(thing, type) and issubclass(thing, nn.Module)
    expect(is_module, f"{thing!r} is no class of modules: class ...(nn.Module)")
    expect("forward" in dir(thing), "your class has no method `forward`")
    theirs = library.forward if front is _Adapted else front.forward
    body = {
        "part": name,
        "library": library,
        "making": Options(name, library, thing),
        "running": Options(name, theirs, thing.forward, "the forward"),
        "__module__": thing.__module__,
        "__doc__": thing.__doc__,
    }
    return _Kind(library.__name__, (front, thing), body)


def adapt_function(name: str, thing: Callable, library: Callable) -> Callable:
    """Return a function that the library can call in the place of its own.

    Raises:
        Wrong: if it is no function, or cannot be called as the library calls it.
    """
    is_function = callable(thing) and not isinstance(thing, type)
    expect(is_function, f"{thing!r} is no function: def ...")
    options = Options(name, library, thing)

    @functools.wraps(library)
    def adapted(*args, **kwargs) -> object:
        return options.call(thing, options.bind(args, kwargs))

    return adapted


def adapt_rule(name: str, thing: Callable, library: Callable) -> Callable:
    """Return a sampler's rule; the library still refuses settings out of range."""
    options, inner = Options(name, library, thing), adapt_function(name, thing, library)

    @functools.wraps(library)
    def adapted(*args, **kwargs) -> Tensor:
        given = options.bind(args, kwargs)
        tiny = {"logits": torch.zeros(1, 1), "ids": torch.zeros(1, 1, dtype=torch.long)}
        tiny["generator"] = torch.Generator()
        library(**given | {n: x for n, x in tiny.items() if n in given})
        return inner(*args, **kwargs)

    return adapted


# Attention


def adapt_attend(name: str, thing: Callable, library: Callable) -> Callable:
    """Return the attention function around a reader's ``(q, k, v, mask)``."""
    inner = adapt_function(name, thing, library)  # refuses what is no function
    options = Options(name, library, thing)

    @functools.wraps(inner)
    def adapted(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Tensor | None = None,
        need_weights: bool = False,
        *,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and not options.knows("is_causal"):
            mask, is_causal = _causal(q.size(-2), k.size(-2), q.device), False
        given = {"q": q, "k": k, "v": v, "mask": mask, "is_causal": is_causal}
        if options.knows("need_weights"):
            given["need_weights"] = need_weights
        return _pair(name, options.call(thing, given), need_weights)

    return adapted


def _causal(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """Return the causal mask of the last so many positions."""
    return causal_mask(n_keys)[n_keys - n_queries :].to(device)


def _pair(
    name: str, answer: object, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """Return an output, and the weights only if they are needed."""
    pair = isinstance(answer, tuple) and len(answer) == 2
    expect(pair, "it must return a pair: the output, and the weights or None")
    output, weights = answer
    if need_weights and weights is None:
        raise Unknown(f"your own {name} gave no weights, but need_weights=True")
    return output, weights if need_weights else None


def _inputs_so_far(cache: KVCache, x: Tensor) -> Tensor:
    """Keep vectors ``(B, T, D)`` where keys would be; return all of them."""
    if type(cache) is not KVCache:
        kind = type(cache).__name__
        raise Unknown(f"a {kind} needs a part that knows caches; your own does not")
    rows = x.unsqueeze(1)  # (B, 1, T, D): a single head
    return cache.append(rows, rows)[0].squeeze(1)


def _mask_so_far(mask: Tensor | None, n_new: int, length: int) -> Tensor | None:
    """Return a mask for all positions, where one for the last of them is given."""
    if mask is None or mask.size(-2) == 1 < n_new:
        return mask
    old = _causal(length, length, mask.device)[: length - n_new]
    return torch.cat([old.expand(*mask.shape[:-2], -1, -1), mask], dim=-2)


class _Attention(_Adapted):
    """What stands in front of a reader's attention of several heads."""

    def _make(self, given: dict[str, object]) -> None:
        given, known = _at_defaults(given), self.making.knows("bias")
        super()._make(given if known else given | {"bias": True})
        if not known:
            _set_biases(self, bool(given["bias"]))
        if not hasattr(self, "d_model"):
            self.d_model = given["d_model"]

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        *,
        is_causal: bool = False,
        memory: Tensor | tuple[Tensor, Tensor] | None = None,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Return what the reader's own attention gathers, and its weights."""
        n_new, knows = x.size(1), self.running.knows
        if cache is not None and not knows("cache"):
            x, cache = _inputs_so_far(cache, x), None
            mask = _mask_so_far(mask, n_new, x.size(1))
        n_keys = x.size(1) + (0 if cache is None else cache.length)
        if is_causal and not knows("is_causal"):
            mask, is_causal = _causal(x.size(1), n_keys, x.device), False
        given = {"mask": mask, "is_causal": is_causal, "memory": memory}
        given["cache"] = cache
        if self.making.knows("rotary"):  # nobody else asks where a token stands
            given["positions"] = positions
        if knows("need_weights"):
            given["need_weights"] = need_weights
        output, weights = _pair(self.part, self._run(x=x, **given), need_weights)
        last = None if weights is None else weights[..., -n_new:, :]
        return output[:, -n_new:], last

    def new_cache(self, context_length: int) -> KVCache:
        """Return an empty cache for a text of at most so many tokens."""
        own = getattr(super(), "new_cache", KVCache)
        return own(context_length)

    def read(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys and values of a memory, if the reader's part knows one."""
        own = getattr(super(), "read", None)
        if own is None:
            raise Unknown(self.running.refusal("memory", memory))
        return own(memory)


def _at_defaults(given: dict[str, object]) -> dict[str, object]:
    """Return sizes of an attention with None for those that are the usual ones."""
    heads, d_head = given["n_heads"], given["d_model"] // given["n_heads"]
    usual = {"n_kv_heads": heads, "d_head": d_head}
    return given | {n: None for n, value in usual.items() if given[n] == value}


def _set_biases(attention: nn.Module, bias: bool) -> None:
    """Give the four projections biases of zeros, or take them away."""
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        layer = getattr(attention, name, None)
        if isinstance(layer, nn.Linear):
            zeros = nn.Parameter(layer.weight.new_zeros(layer.out_features))
            layer.bias = (zeros if layer.bias is None else layer.bias) if bias else None


def adapt_attention(name: str, thing: type, library: type) -> type[nn.Module]:
    """Return a reader's attention of several heads for the library."""
    return adapt_module(name, thing, library, _Attention)


# The block


class _Block(_Adapted):
    """What stands in front of a reader's block."""

    def _make(self, given: dict[str, object]) -> None:
        if given["ffn"] is None:
            raise Unknown(self.making.refusal("ffn", None))
        if not self.making.knows("norm") and _is_plain(given["norm"]):
            given = given | {"norm": self.making.theirs["norm"].default}
        drop = 0.0 if self.making.knows("dropout") else given["dropout"]
        super()._make(given | {"dropout": 0.0} if drop else given)
        self._handed: dict[str, KVCache | None] = {}
        if not self.running.knows("cache"):
            hook = functools.partial(_handed_over, self._handed)
            given["attention"].register_forward_pre_hook(hook, with_kwargs=True)
        for part in (given["attention"], given["ffn"]) if drop else ():
            part.register_forward_hook(functools.partial(_dropped, drop))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        memory: Tensor | None = None,
        memory_mask: Tensor | None = None,
        is_causal: bool = False,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        need_weights: bool = False,
    ) -> Tensor:
        """Return what the reader's own block computes."""
        n_keys = x.size(1) + (0 if cache is None else cache.length)
        if is_causal and not self.running.knows("is_causal"):
            mask, is_causal = _causal(x.size(1), n_keys, x.device), False
        given = {"memory": memory, "memory_mask": memory_mask, "positions": positions}
        given |= {"is_causal": is_causal, "cache": cache, "need_weights": need_weights}
        if not self.running.knows("cache"):
            self._handed["cache"] = given.pop("cache")
        try:
            return self._run(x=x, mask=mask, **given)
        finally:
            self._handed.clear()


def _handed_over(options: dict, part: nn.Module, args: tuple, given: dict) -> tuple:
    """Add options to a call of a block's part that its block does not know."""
    return args, given | options


def _dropped(p: float, part: nn.Module, given: tuple, answer: object) -> object:
    """Set some numbers of what a part of a block gives to 0, in training."""
    if isinstance(answer, tuple):
        return F.dropout(answer[0], p, part.training), *answer[1:]
    return F.dropout(answer, p, part.training)


def _is_plain(norm: Callable) -> bool:
    """Whether a maker of norms makes the plain `LayerNorm`, a reader's or not."""
    kind, options = getattr(norm, "func", norm), getattr(norm, "keywords", {})
    same = LayerNorm in (kind, getattr(kind, "library", None))
    return same and options.get("eps", 1e-5) == 1e-5


def adapt_block(name: str, thing: type, library: type) -> type[nn.Module]:
    """Return a reader's block for the library."""
    return adapt_module(name, thing, library, _Block)


# Positions


class _Positions(_Adapted):
    """What stands in front of a reader's positions, which are added to the tokens."""

    def _make(self, given: dict[str, object]) -> None:
        super()._make(given)
        self.n_positions = given["context_length"]

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        """Return the vectors with their positions, from a start on."""
        if self.running.knows("start"):
            return self._run(x=x, start=start)
        each = isinstance(start, Tensor)
        last = start.max().item() if each else start + x.size(-2) - 1
        if last >= self.n_positions:
            length, context_length = last + 1, self.n_positions
            raise ValueError(f"{length=} is more than {context_length=}")
        if isinstance(start, Tensor):
            rows = self._run(x=x.new_zeros(1, last + 1, x.size(-1)))[0]
            return x + rows[start]  # (B, T, D)
        if start == 0:
            return self._run(x=x)
        before = x.new_zeros(*x.shape[:-2], start, x.size(-1))
        return self._run(x=torch.cat([before, x], dim=-2))[..., start:, :]


def adapt_positions(name: str, thing: type, library: type) -> type[nn.Module]:
    """Return a reader's positions for the library."""
    return adapt_module(name, thing, library, _Positions)
