"""However a training is spread over processes, it is the training of one process.

Two processes start once and do everything; each result is compared with that of a
single process: losses, checkpoints, memory, and what happens when one of them dies.
"""

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from processes import begin_process, in_two_processes
from torch import Tensor, distributed, nn

from lib.command_line import run_command
from lib.evaluate.losses import cross_entropy, mean_over
from lib.models.gpt import GPT, GPTConfig
from lib.models.presets import preset_config
from lib.text.batches import random_batch
from lib.train import Training, parallel
from lib.train.__main__ import train_command
from lib.train.checkpoint import load_checkpoint
from lib.train.parallel import n_processes, rank
from lib.train.processes import in_processes
from lib.train.recompute import recompute_blocks
from lib.train.run import Run
from lib.train.run_settings import RunSettings
from lib.train.settings import TrainConfig
from lib.train.spread import PARALLEL, spread_training
from lib.train.zero import ShardedOptimizer, share_out

TOKENS = torch.arange(400) ** 2 % 10
CONFIG = GPTConfig(10, 16, 2, 2, 32, 8)  # tied
STEPS, HALF = 6, 2
EXPERTS = GPTConfig(  # whose balance does not depend on how rows are shared out
    10, 16, 2, 2, 32, 8, n_experts=3, balance_weight=0.0, bias_rate=0.05
)
LONELY = dataclasses.replace(EXPERTS, n_experts=1)  # one process has no row of it
OTHERS = ["bigram", "single-head", "block"]
CASES = {  # how it is trained; the last value is how it is spread
    "adamw": {"accumulation": 2},
    "muon": {"optimizer": "muon", "clip": 0.1},
    "recomputed": {"accumulation": 2, "optimizer": "muon"},
}


@mean_over(lambda model, inputs, targets: targets != 0)
def counted_loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """A mean over targets that are spread unevenly over rows."""
    return cross_entropy(model(inputs)[targets != 0], targets[targets != 0])


def losses_of(case: str, way: str | None, loss_of=None, config=CONFIG) -> list[float]:
    """The losses of a short training, always on the same batches."""
    torch.manual_seed(0)
    settings = TrainConfig(STEPS, n_warmup=2, weight_decay=0.1, **CASES[case])
    training = spread_training(GPT(config), settings, way, case == "recomputed")
    if loss_of is not None:
        training.loss_of = loss_of
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        training.step(random_batch(TOKENS, 8, 8, generator))
    return training.losses


def settings(folder: str, **changes) -> RunSettings:
    values = {"preset": "demo", "batch_size": 4, "n_steps": STEPS, "n_warmup": 2}
    values |= {"dtype": "float32", "text": f"{folder}/text.txt"}
    return RunSettings(**(values | changes))


def begin(folder: str, name: str, way: str | None, **changes) -> Run:
    return Run.new(f"{folder}/{name}", settings(folder, **changes), "cpu", parallel=way)


def train_some(run: Run, n_steps: int) -> None:
    """Go on for some steps and save, as a run that is stopped does."""
    for _ in range(n_steps):
        run.training.step(run.next_batch())
    run.save()


def to_its_end(run: Run) -> list[float]:
    """The losses of a run that goes on to its last step."""
    while run.training.n_done < STEPS:
        run.training.step(run.next_batch())
    return run.training.losses


def write_the_text(folder: str) -> None:
    words = "To be, or not to be: that is the question.\n" * 45
    Path(folder, "text.txt").write_text(words, "utf-8")


def state_bytes(training: Training) -> int:
    """The bytes of optimiser state that this process keeps."""
    inner = [getattr(o, "optimizer", o) for o in training.optimizers]
    states = [each for o in inner for each in o.state.values()]
    tensors = [t for each in states for t in each.values() if t.numel() > 1]
    parts = [t.to_local() if hasattr(t, "to_local") else t for t in tensors]
    return sum(part.nbytes for part in parts)


# What each of two processes does


@contextmanager
def patched(place: object, name: str, value: object) -> Iterator[None]:
    """What pytest's monkeypatch does, in a process without it."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def in_a_process(number: int, folder: str) -> None:
    torch.set_num_threads(1)
    import lib.train.optimizer

    lib.train.optimizer.has_bfloat16 = lambda device: False  # it would round
    found = {}
    for way in PARALLEL:
        for case in CASES:
            found[way, case] = losses_of(case, way)
        found[way, "counted"] = losses_of("adamw", way, counted_loss)
        found[way, "experts"] = losses_of("adamw", way, config=EXPERTS)
        found[way, "one expert"] = losses_of("muon", way, config=LONELY)
        found[way, "bytes"] = everybody(weigh(way))
        found[way, "seen"] = everybody(masks_of(folder, way))
        found[way, "presets"] = [two_steps(folder, way, name) for name in OTHERS]
    found["mutants"] = mutants()
    found["refused"] = refused()
    checkpoints(folder, found)
    if number == 0:
        torch.save(found, f"{folder}/found")


def everybody(value: object) -> list:
    """The value of each process."""
    values = [None] * n_processes()
    distributed.all_gather_object(values, value)
    return values


def two_steps(folder: str, way: str | None, name: str) -> list[float]:
    """The losses of another kind of model, and what it reaches."""
    options = {"preset": name, "n_steps": 2, "n_warmup": 0, "context_length": 8}
    run = begin(folder, f"{name}-{way}", way, **options)
    run.train()
    return [*run.training.losses, run.training.validation[-1][1]]


def weigh(way: str) -> tuple[int, int]:
    """The bytes of weights and of optimiser state that this process keeps."""
    training = spread_training(GPT(CONFIG), TrainConfig(1), way)
    training.step((TOKENS[:16].view(2, 8), TOKENS[1:17].view(2, 8)))
    parameters = training.model.parameters()
    weights = [p.to_local() if way == "fsdp" else p for p in parameters]
    return sum(w.nbytes for w in weights), state_bytes(training)


def masks_of(folder: str, way: str) -> list[bool]:
    """Which numbers the first dropout of a run keeps, in this process."""
    run, seen = begin(folder, f"masks-{way}", way, dropout=0.5), []
    inner = run.training.model.dropout
    inner.register_forward_hook(lambda m, x, y: seen.append(y.flatten() != 0))
    run.training.step(run.next_batch())
    return seen[0].tolist()


def checkpoints(folder: str, found: dict) -> None:
    """Each way begins a run, each way goes on with each, with dropout as well."""
    for way in PARALLEL:
        for dropout in (0.0, 0.2):
            begun = begin(folder, f"{way}-{dropout}", way, dropout=dropout)
            train_some(begun, HALF)
        found[way, "validation"] = begun.evaluate()
    for way in PARALLEL:
        for name in PARALLEL:
            resumed = Run.resume(f"{folder}/{name}-0.0", "cpu", parallel=way)
            found[way, name] = to_its_end(resumed)
        go_on = partial(Run.resume, f"{folder}/{way}-0.2", "cpu", parallel=way)
        anew = partial(begin, folder, f"{way}-whole", way, dropout=0.2)
        found[way, "dropout"] = [to_its_end(make()) for make in (go_on, anew)]


def wait_wrongly(runner: nn.Module, waiting: bool):
    """The last part is kept back in place of the others."""
    return nullcontext() if waiting else runner.no_sync()


def never_exchange(runner: nn.Module, waiting: bool):
    return runner.no_sync()


def by_part(loss_of, model, parts) -> list[float]:
    """Each part counts the same, however few targets it has."""
    return [1 / len(parts)] * len(parts)


class SendsNothing(ShardedOptimizer):
    """Updates its own share and keeps it to itself."""

    def step(self) -> None:
        for p, owner in zip(self.parameters, self.owners):
            p.grad = p.grad if owner == rank() else None
        self.optimizer.step()


class Forgets(ShardedOptimizer):
    """Gives the state of its own share as if it were all."""

    def state_dict(self) -> dict:
        return self.optimizer.state_dict()


def same_share(batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What processes train on whose samplers have the same seed."""
    return tuple(t[: len(t) // n_processes()] for t in batch)


def mutants() -> dict[str, list[float]]:
    """The losses of trainings with a known mistake."""
    import lib.train as train
    import lib.train.spread as spread

    found = {}
    for name, place, what, wrong in (
        ("no_sync on the wrong part", train, "without_exchange", wait_wrongly),
        ("no exchange at all", train, "without_exchange", never_exchange),
        ("the same rows in every process", train, "share_of", same_share),
    ):
        with patched(place, what, wrong):
            found[name] = losses_of("adamw", "ddp")
    with patched(train, "part_weights", by_part):
        found["a mean per part"] = losses_of("adamw", "ddp", counted_loss)
    with patched(spread, "ShardedOptimizer", SendsNothing):
        found["nothing sent"] = losses_of("adamw", "zero1")
    return found


def refused() -> list[str]:
    """What is said of optimisers whose state cannot be shared out."""
    said = []
    cut = spread_training(GPT(CONFIG), TrainConfig(1), "fsdp")
    lbfgs = torch.optim.LBFGS(GPT(CONFIG).parameters())
    for optimizer in (lbfgs, cut.optimizers[0]):
        try:
            ShardedOptimizer(optimizer)
        except (TypeError, ValueError) as error:
            said.append(str(error))
    return said


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> dict:
    folder = str(tmp_path_factory.mktemp("pair"))
    write_the_text(folder)
    train_some(begin(folder, "alone-0.0", None, dropout=0.0), HALF)
    in_two_processes(in_a_process, folder)
    return torch.load(f"{folder}/found", weights_only=False) | {"folder": folder}


@pytest.fixture(autouse=True)
def no_bfloat16(monkeypatch) -> None:
    monkeypatch.setattr("lib.train.optimizer.has_bfloat16", lambda device: False)


def near(expected: list[float], atol: float = 1e-6) -> object:
    return pytest.approx(expected, abs=atol, rel=0)


def alone(folder: Path, **changes) -> list[float]:
    """The losses of the same run in one process."""
    write_the_text(str(folder))
    return to_its_end(begin(str(folder), "whole", None, **changes))


# Losses


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("way", PARALLEL)
def test_two_processes_have_the_losses_of_one(pair, way, case) -> None:
    expected = losses_of(case, None)
    assert pair[way, case] == near(expected)
    assert expected[-1] < expected[0] - 0.01  # it has learned something


@pytest.mark.parametrize("way", PARALLEL)
def test_also_where_targets_are_spread_unevenly(pair, way) -> None:
    expected = losses_of("adamw", None, counted_loss)
    assert pair[way, "counted"] == near(expected)


@pytest.mark.parametrize("way", PARALLEL)
def test_the_validation_loss_is_that_of_one_process(pair, way) -> None:
    run = Run.resume(f"{pair['folder']}/{way}-0.2", "cpu")
    assert pair[way, "validation"] == near(run.evaluate())


@pytest.mark.parametrize("way", PARALLEL)
def test_other_kinds_of_models_are_spread_too(pair, tmp_path, way) -> None:
    write_the_text(str(tmp_path))
    for name, found in zip(OTHERS, pair[way, "presets"], strict=True):
        assert found == near(two_steps(str(tmp_path), None, name))


@pytest.mark.parametrize("way", PARALLEL)
def test_experts_and_their_biases_are_those_of_one_process(pair, way) -> None:
    assert pair[way, "experts"] == near(losses_of("adamw", None, config=EXPERTS))
    assert pair[way, "one expert"] == near(losses_of("muon", None, config=LONELY))


@pytest.mark.parametrize("way", PARALLEL)
def test_each_process_drops_other_numbers(pair, way) -> None:
    one, other = pair[way, "seen"]
    same = sum(a == b for a, b in zip(one, other, strict=True)) / len(one)
    assert 0.4 < same < 0.6


def test_no_two_processes_and_no_two_steps_draw_the_same(monkeypatch) -> None:
    drawn = set()
    with torch.random.fork_rng(devices=[]):
        for place in range(1, 5):  # the first process goes on with the seed of the run
            monkeypatch.setattr(parallel, "rank", lambda place=place: place)
            for step in range(5):
                parallel.seed_by_place(0, step)
                drawn.add(tuple(torch.randint(1000, (8,)).tolist()))
    assert len(drawn) == 4 * 5


# Memory


def test_what_is_shared_out_is_kept_once(pair) -> None:
    weights = sum(p.nbytes for p in GPT(CONFIG).parameters())
    assert pair["ddp", "bytes"] == [(weights, 2 * weights)] * 2
    zero = pair["zero1", "bytes"]
    assert [w for w, _ in zero] == [weights] * 2
    assert sum(s for _, s in zero) == 2 * weights
    assert max(s for _, s in zero) < 1.1 * weights
    for w, s in pair["fsdp", "bytes"]:
        assert 0.5 * weights <= w < 0.6 * weights and s == 2 * w


def test_shares_are_even() -> None:
    assert share_out([5, 1, 1, 3], 2) == [0, 1, 1, 1]
    assert share_out([2, 2, 2, 2, 2], 2) == [0, 1, 0, 1, 0]
    assert share_out([], 3) == [] and share_out([7], 3) == [0]
    sizes = [p.numel() for p in GPT(preset_config("mini")).parameters()]
    totals = [0, 0, 0]
    for size, owner in zip(sizes, share_out(sizes, 3), strict=True):
        totals[owner] += size
    assert max(totals) - min(totals) < 0.02 * sum(totals)
    with pytest.raises(ValueError, match="n_shares=0 must be at least 1"):
        share_out([1], 0)


def test_in_one_process_a_sharded_optimizer_is_the_optimizer() -> None:
    expected = losses_of("muon", None)
    torch.manual_seed(0)
    config = TrainConfig(STEPS, n_warmup=2, weight_decay=0.1, **CASES["muon"])
    training = Training(GPT(CONFIG), config)
    training.optimizers = [ShardedOptimizer(o) for o in training.optimizers]
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        training.step(random_batch(TOKENS, 8, 8, generator))
    assert training.losses == expected


# Checkpoints


@pytest.mark.parametrize("name", PARALLEL)
@pytest.mark.parametrize("way", [*PARALLEL, None])
def test_each_goes_on_with_what_another_has_written(pair, tmp_path, way, name) -> None:
    expected = alone(tmp_path)
    if way is None:
        run = Run.resume(f"{pair['folder']}/{name}-0.0", "cpu")
        assert to_its_end(run) == near(expected)
    else:
        assert pair[way, name] == near(expected)


@pytest.mark.parametrize("way", PARALLEL)
def test_a_stop_changes_nothing_with_dropout_either(pair, way) -> None:
    resumed, whole = pair[way, "dropout"]
    assert resumed == near(whole)


@pytest.mark.parametrize("way", PARALLEL)
def test_the_file_is_that_of_one_process(pair, way) -> None:
    folder = Path(pair["folder"], f"{way}-0.0")
    assert os.listdir(folder) == ["checkpoint.safetensors"]
    ours = load_checkpoint(folder)
    one = load_checkpoint(Path(pair["folder"], "alone-0.0"))
    assert ours.run.keys() == one.run.keys()
    assert ours.notes == one.notes and type(ours.model) is type(one.model)
    for name, tensor in one.run.items():
        torch.testing.assert_close(ours.run[name], tensor, atol=1e-5, rtol=1e-4)


def test_a_state_that_is_not_gathered_is_noticed() -> None:
    """What a process writes that gives its own share as if it were all."""
    model = GPT(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters())
    loss = model(TOKENS[None, :8]).square().mean()
    loss.backward()
    wrong = Forgets(optimizer)
    wrong.owners = share_out([p.numel() for p in wrong.parameters], 2)
    wrong.step()
    right = ShardedOptimizer(optimizer)
    assert len(wrong.state_dict()["state"]) < len(right.parameters)


# What cannot be


@pytest.mark.parametrize("way", PARALLEL)
def test_a_process_that_is_alone_has_nobody_to_share_with(way) -> None:
    with pytest.raises(ValueError, match=f"parallel='{way}' needs several processes"):
        spread_training(GPT(CONFIG), TrainConfig(1), way)
    with pytest.raises(ValueError, match="parallel='zero' must be in .'ddp', 'zero1'"):
        spread_training(GPT(CONFIG), TrainConfig(1), "zero")


def test_optimizers_that_cannot_be_shared_out_are_named(pair) -> None:
    lbfgs, cut = pair["refused"]
    assert "optimizer is a LBFGS; it must be one of AdamW, Adam, SGD, Muon" in lbfgs
    assert "FSDP has cut up already" in cut


# Functions of a notebook in several processes


class Doubles:
    def of(self, x: int) -> int:
        return 2 * x


def sum_of_ranks() -> tuple[int, int]:
    total = torch.tensor(rank() + 4.0)
    distributed.all_reduce(total)
    return Doubles().of(int(total)), rank()


def too_few() -> None:
    raise ValueError(f"{n_processes()} is too few")


def test_functions_run_in_processes_of_their_own() -> None:
    assert in_processes(sum_of_ranks, Doubles, n=1) == [(8, 0)]


def test_a_process_that_fails_says_so() -> None:
    with pytest.raises(RuntimeError, match="failed: .*ValueError: 1 is too few"):
        in_processes(too_few, n=1)
    with pytest.raises(ValueError, match="the code of partial cannot be found"):
        in_processes(sum_of_ranks, type("partial", (), {"f": test_shares_are_even}))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def as_of_torchrun(number: int, port: int, folder: str, words: list[str]) -> None:
    """Be one of two processes of the command; its errors go into a file."""
    shared = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "COURSE_QUIET": 1}
    os.environ |= {name: str(value) for name, value in shared.items()}
    sys.argv = ["lib.train", *words]
    sys.stdout = open(os.devnull, "w", encoding="utf-8")
    sys.stderr = open(f"{folder}/error{number}", "w", 1, encoding="utf-8")
    os.dup2(sys.stderr.fileno(), 2)  # of what is not Python, too
    run_command(train_command)


@pytest.mark.parametrize("way", ["fsdp"])
def test_a_process_that_dies_ends_the_other_in_one_line(tmp_path, way) -> None:
    write_the_text(str(tmp_path))
    words = "--preset demo --steps 100000 --batch-size 4 --device cpu --every 5"
    words = [*words.split(), "--text", f"{tmp_path}/text.txt", "--parallel", way]
    words += ["--out", f"{tmp_path}/run"]
    path, port = tmp_path / "run" / "checkpoint.safetensors", free_port()
    rest = port, str(tmp_path), words
    pair = [begin_process(as_of_torchrun, n, *rest) for n in (0, 1)]
    said = tmp_path / "error0"
    try:
        while not path.exists() or not len(load_checkpoint(path).run["run.losses"]):
            assert pair[0].is_alive(), said.read_text("utf-8")
            time.sleep(0.05)
        pair[1].kill()
        pair[0].join(timeout=60)
        assert pair[0].exitcode == 1
    finally:
        for process in pair:
            process.kill()
            process.join()
    (error,) = said.read_text("utf-8").splitlines()
    assert error.startswith("error: another process has ended: the training stops")
    assert os.listdir(path.parent) == [path.name]
    run = Run.resume(path.parent, "cpu")
    run.training.step(run.next_batch())
    assert run.training.n_done % 5 == 1


# Recomputed activations


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_gradients_are_the_same_bit_for_bit(dtype, dropout) -> None:
    config = GPTConfig(10, 16, 2, 3, 32, 8, dropout=dropout)
    ids, found = TOKENS[:16].view(2, 8), []
    for recompute in (False, True):
        torch.manual_seed(0)
        model = GPT(config)
        if recompute:
            recompute_blocks(model)
            recompute_blocks(model)  # which changes nothing
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = cross_entropy(model(ids), ids)
        loss.backward()
        found.append((loss, [p.grad for p in model.parameters()]))
        model.eval()
        found[-1] += (model(ids[:, :5]),)
    (loss, gradients, logits), (again, others, same) = found
    assert loss.item() == again.item() and torch.equal(logits, same)
    assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))


def test_a_block_runs_twice_in_training_and_once_in_evaluation() -> None:
    model, calls = GPT(CONFIG), []
    model.blocks[0].attention.register_forward_hook(lambda *_: calls.append(1))
    recompute_blocks(model)
    model(TOKENS[None, :8]).sum().backward()
    assert len(calls) == 2
    with torch.no_grad():
        cache = model.new_cache()
        model(TOKENS[None, :4], cache)
        model(TOKENS[None, 4:5], cache)
    assert len(calls) == 4 and cache[0].length == 5


def test_a_model_without_blocks_has_nothing_to_recompute() -> None:
    with pytest.raises(ValueError, match="model is a Linear without blocks"):
        recompute_blocks(nn.Linear(2, 2))


def test_masks_that_are_drawn_anew_are_noticed(monkeypatch) -> None:
    """A recomputation that does not put the random state back has other masks."""
    import lib.train.recompute as recompute

    careless = partial(recompute.checkpoint, preserve_rng_state=False)
    monkeypatch.setattr(recompute, "checkpoint", careless)
    with pytest.raises(AssertionError):
        test_recomputed_gradients_are_the_same_bit_for_bit(torch.float32, 0.3)


# What is known to go wrong


@pytest.mark.parametrize(
    "name",
    [
        "no_sync on the wrong part",
        "no exchange at all",
        "the same rows in every process",
        "nothing sent",
    ],
)
def test_a_known_mistake_changes_the_losses(pair, name) -> None:
    expected = losses_of("adamw", None)
    with pytest.raises(AssertionError):
        assert pair["mutants"][name] == near(expected)


def test_a_mean_per_part_is_noticed(pair) -> None:
    expected = losses_of("adamw", None, counted_loss)
    with pytest.raises(AssertionError):
        assert pair["mutants"]["a mean per part"] == near(expected)


def test_the_same_seed_in_every_process_is_noticed(pair) -> None:
    one, _ = pair["ddp", "seen"]
    with pytest.raises(AssertionError):
        test_each_process_drops_other_numbers({("ddp", "seen"): [one, one]}, "ddp")
