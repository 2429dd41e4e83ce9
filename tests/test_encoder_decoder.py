"""The encoder-decoder equals torch's Transformer, sees neither padding nor the future,
and writes the same with a cache as without.
"""

import math
import warnings
from dataclasses import asdict, replace

import pytest
import torch
from against_torch import (
    assert_gradient_near,
    assert_gradients_near,
    assert_near,
    block_by_torchs_names,
    few,
    gradients,
    random,
    random_weights,
    values,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.attention import causal_mask
from lib.checks.lesson_15 import check_sorter
from lib.generate.targets import generate_targets
from lib.models import build_model, config_from_dict, config_to_dict, count_parameters
from lib.models.encoder_decoder import (
    Decoder,
    Encoder,
    MultiHeadAttention,
    Transformer,
    TransformerConfig,
)
from lib.position import SinusoidalPositions
from lib.text.tokenizer import pad_batch

PAD, BOS, EOS = 0, 1, 2
SMALL = {"d_model": 12, "n_heads": 3, "d_ff": 20, "context_length": 16, "dropout": 0.0}
SMALL |= {"n_encoder_layers": 2, "n_decoder_layers": 2}
either_norm = pytest.mark.parametrize("pre_norm", [True, False])
length = st.integers(1, 6)


def make_model(vocab_size: int = 9, **changes) -> Transformer:
    model = Transformer(TransformerConfig(vocab_size, vocab_size, **(SMALL | changes)))
    random_weights(model)
    return model.eval()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_ids(batch: int, t: int, vocab_size: int = 9, seed: int = 0) -> Tensor:
    """Words only, no special tokens."""
    return torch.randint(3, vocab_size, (batch, t), generator=seeded(seed))


def source(batch: int = 3, vocab_size: int = 9, seed: int = 0) -> Tensor:
    """Rows of 1, 2, ... words, filled up."""
    rows = some_ids(batch, batch, vocab_size, seed)
    return rows.tril()


# Against torch


def by_torchs_names(model: Transformer, read=values) -> dict[str, Tensor]:
    named = {}
    for side in ("encoder", "decoder"):
        stack = getattr(model, side)
        for i, block in enumerate(stack.blocks):
            for name, tensor in block_by_torchs_names(block, read).items():
                named[f"{side}.layers.{i}.{name}"] = tensor
        if model.config.pre_norm:
            named[f"{side}.norm.weight"] = read(stack.final_norm.gain)
            named[f"{side}.norm.bias"] = read(stack.final_norm.bias)
    return named


def torchs_twin(model: Transformer) -> nn.Transformer:
    """Torch's Transformer with the weights of a model, in float64."""
    c = model.config
    sizes = (c.d_model, c.n_heads, c.n_encoder_layers, c.n_decoder_layers, c.d_ff)
    how = {"dropout": 0.0, "batch_first": True, "norm_first": c.pre_norm}
    with warnings.catch_warnings(action="ignore"):  # nested tensors cannot be used
        twin = nn.Transformer(*sizes, **how).double()
    if not c.pre_norm:  # the paper has no further norm after the last block
        twin.encoder.norm = twin.decoder.norm = None
    twin.load_state_dict(by_torchs_names(model))
    return twin


@settings(few, max_examples=8)
@given(st.integers(1, 3), st.integers(1, 3), length, length, st.booleans())
def test_equals_torchs_transformer(n_encoder, n_decoder, n_source, t, pre_norm):
    layers = {"n_encoder_layers": n_encoder, "n_decoder_layers": n_decoder}
    model = make_model(pre_norm=pre_norm, attention_bias=True, **layers)
    twin = torchs_twin(model)
    src, tgt = some_ids(2, n_source), some_ids(2, t, seed=1)
    src[-1, max(1, n_source - 2) :] = PAD
    tables = [model.source, model.target]
    theirs = [table.weight.detach().double().requires_grad_() for table in tables]
    positions = SinusoidalPositions(16, 12)
    x, y = (
        positions(weight[ids] * math.sqrt(12))
        for weight, ids in zip(theirs, (src, tgt))
    )
    padded = {f"{kind}_key_padding_mask": src == PAD for kind in ("src", "memory")}
    expected = twin(x, y, tgt_mask=~causal_mask(t), **padded) @ theirs[1].T
    logits = model(src, tgt)
    assert_near(logits, expected, atol=1e-5)
    signs = random(*logits.shape, seed=9).sign() / logits.numel()
    logits.backward(signs)
    expected.backward(signs.double())
    assert_gradients_near(by_torchs_names(model, gradients), twin)
    for table, weight in zip(tables, theirs):
        assert_gradient_near(table.weight.grad, weight.grad)


def test_the_paper_has_no_bias_in_the_attention_and_scales_the_embeddings():
    model = make_model()
    names = [name for name, _ in model.named_parameters() if "_proj" in name]
    assert len(names) == 2 * 4 + 2 * 8 and all(n.endswith("weight") for n in names)
    read = []
    model.encoder.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    ids = some_ids(1, 5)
    model.encode(ids)
    expected = model.source.weight[ids] * 12**0.5 + model.positions.table[:5]
    assert_near(read[0], expected)


# What looks where


@either_norm
def test_padding_changes_nothing(pre_norm):
    model, src, tgt = make_model(pre_norm=pre_norm), source(), some_ids(3, 4)
    more = torch.full((3, 2), PAD)
    longer = model(torch.cat([src, more], 1), torch.cat([tgt, more], 1))
    assert_near(longer[:, :4], model(src, tgt))
    for row, n in enumerate((1, 2, 3)):
        alone = model(src[row : row + 1, :n], tgt[row : row + 1])
        assert_near(model(src, tgt)[row : row + 1], alone)


@either_norm
@pytest.mark.parametrize("t", range(1, 5))
def test_the_decoder_does_not_see_the_future(pre_norm, t):
    model, src, tgt = make_model(pre_norm=pre_norm), source(), some_ids(3, 5)
    changed = tgt.clone()
    changed[:, t:] = 3 + (changed[:, t:] - 2) % 6  # another word each
    before, after = model(src, tgt), model(src, changed)
    assert torch.equal(before[:, :t], after[:, :t])
    assert (before != after).any(-1)[:, t:].all()


@either_norm
def test_the_encoder_reads_both_ways(pre_norm):
    model, src = make_model(pre_norm=pre_norm), some_ids(2, 5)
    before, _ = model.encode(src)
    for place in range(5):
        changed = src.clone()
        changed[:, place] = 3 + (changed[:, place] - 2) % 6
        assert (model.encode(changed)[0] != before).any(-1).all()


@either_norm
def test_every_target_token_sees_every_source_token(pre_norm):
    model, src, tgt = make_model(pre_norm=pre_norm), some_ids(2, 4), some_ids(2, 3)
    before = model(src, tgt)
    for place in range(4):
        changed = src.clone()
        changed[:, place] = 3 + (changed[:, place] - 2) % 6
        assert (model(changed, tgt) != before).any(-1).all()


def test_a_source_without_a_token_gives_no_nan():
    logits = make_model()(torch.full((1, 3), PAD), some_ids(1, 2))
    assert logits.isfinite().all()


# With a cache as without


@settings(few, max_examples=10)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=5), st.booleans())
def test_the_cache_changes_nothing(pieces, pre_norm):
    model, src, t = make_model(pre_norm=pre_norm), source(), sum(pieces)
    tgt = some_ids(3, t)
    memory, mask, cache = model.begin(src, t)
    piece_by_piece = [
        model.decode(piece, memory, mask, cache) for piece in tgt.split(pieces, dim=1)
    ]
    assert_near(torch.cat(piece_by_piece, dim=1), model(src, tgt), atol=1e-5)


def test_what_cross_attention_read_is_the_memory():
    cross, x, memory = (
        MultiHeadAttention(12, 3),
        random(2, 4, 12),
        random(2, 5, 12, seed=1),
    )
    random_weights(cross)
    mask = (torch.arange(5) < torch.tensor([[5], [3]]))[:, None, None]
    expected, weights = cross(x, mask, memory=memory, need_weights=True)
    kept = cross.read(memory)
    assert [k.shape for k in kept] == [(2, 3, 5, 4)] * 2
    output, same_weights = cross(x, mask, memory=kept, need_weights=True)
    assert_near(output, expected)
    assert_near(same_weights, weights)
    assert cross(x, mask, memory=kept)[1] is None


def test_the_source_is_read_once_while_it_writes():
    model, calls = make_model(), []
    model.encoder.register_forward_hook(lambda *_: calls.append("encoder"))
    for block in model.decoder.blocks:
        block.cross_attention.k_proj.register_forward_hook(lambda *_: calls.append("k"))
    assert generate_targets(model, source(), 8, temperature=0).size(1) > 1
    assert calls == ["encoder", "k", "k"]


# Writing


@torch.no_grad()
def one_by_one(model: Transformer, src: list[int], max_len: int) -> list[int]:
    """Write greedily the slow way: one source without padding, all anew each time."""
    tgt = [BOS]
    while len(tgt) <= max_len and tgt[-1] != EOS:
        logits = model(torch.tensor([src]), torch.tensor([tgt]))[0, -1]
        logits[PAD] = -math.inf
        tgt.append(logits.argmax().item())
    return tgt[1:]


def test_greedy_is_one_by_one_for_each_row_of_a_batch():
    model = make_model(pre_norm=True, tie_weights=False)
    for block in model.decoder.blocks:  # so that each source has its own text
        block.cross_attention.q_proj.weight.data *= 10
        block.cross_attention.out_proj.weight.data *= 10
    model.source.weight.data *= 10
    rows = [row[: 1 + i % 5].tolist() for i, row in enumerate(some_ids(12, 5))]
    written = generate_targets(model, pad_batch(rows), 7, temperature=0)
    expected = [one_by_one(model, row, 7) for row in rows]
    assert {len(text) for text in expected} > {1, 7}  # some end early, some never
    assert len({tuple(text) for text in expected}) > 4
    assert torch.equal(written, pad_batch(expected))


def test_each_row_ends_with_eos_and_padding_follows():
    src = source(6).repeat(10, 1)
    written = generate_targets(make_model(), src, 9, 1.0, generator=seeded())
    assert written.shape == (60, 9)
    n_ended = 0
    for row in written.tolist():
        text = row[: row.index(EOS) + 1] if EOS in row else row
        assert PAD not in text and row == text + [PAD] * (9 - len(text))
        n_ended += EOS in row
    assert 5 < n_ended < 60


def with_a_bias(model: Transformer, **biases: float) -> Transformer:
    """Let the head prefer some of the special tokens."""
    model.head.bias = nn.Parameter(torch.zeros(model.config.tgt_vocab_size))
    for name, bias in biases.items():
        model.head.bias.data[getattr(model.config, name)] = bias
    return model


def test_it_stops_when_all_rows_have_ended():
    model = with_a_bias(make_model(), eos_id=1e4)
    assert generate_targets(model, source(), 9).tolist() == [[EOS]] * 3
    model = with_a_bias(make_model(), eos_id=-1e4)
    assert generate_targets(model, source(), 9).shape == (3, 9)


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_padding_is_never_chosen(temperature):
    model = with_a_bias(make_model(), pad_id=1e4, eos_id=-1e4)
    assert (generate_targets(model, source(), 9, temperature) != PAD).all()


def test_the_special_ids_are_those_of_the_configuration():
    ids = {"pad_id": 8, "bos_id": 7, "eos_id": 6}
    model, read = make_model(**ids), []
    model.decoder.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    src = torch.tensor([[3, 4, 8], [3, 4, 5]])
    assert model.encode(src)[1].tolist() == [[[[1, 1, 0]]], [[[1, 1, 1]]]]
    written = generate_targets(with_a_bias(model, eos_id=1e4), src, 9)
    assert written.tolist() == [[6], [6]]
    begin = model.target.weight[7] * 12**0.5 + model.positions.table[0]
    assert_near(read[0], begin.expand(2, 1, 12))


def test_the_same_seed_writes_the_same():
    model = make_model()
    one, same, other = (
        generate_targets(model, source(), 9, 1.0, generator=seeded(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_settings_of_the_choice_go_on_to_it():
    model = make_model()
    greedy = generate_targets(model, source(), 9, 0)
    assert torch.equal(generate_targets(model, source(), 9, 2.0, top_k=1), greedy)
    assert torch.equal(generate_targets(model, source(), 9, 2.0, top_p=1e-9), greedy)
    with pytest.raises(TypeError, match="colour"):
        generate_targets(model, source(), 9, colour="red")


def test_dropout_is_off_while_it_writes_and_on_again_after():
    model = make_model(dropout=0.5)
    expected = generate_targets(model, source(), 9, 0)
    assert not model.training
    model.train()
    assert torch.equal(generate_targets(model, source(), 9, 0), expected)
    assert all(m.training for m in model.modules())
    with pytest.raises(ValueError, match="temperature=-1"):
        generate_targets(model, source(), 9, -1)
    assert all(m.training for m in model.modules())
    assert not torch.equal(model(source(), source()), model(source(), source()))


def test_writing_keeps_no_gradients_and_the_caller_keeps_his():
    model = make_model()
    assert (
        not generate_targets(model, source(), 3).requires_grad
        and torch.is_grad_enabled()
    )


# Sizes


def meta(*sizes: int, **options) -> Transformer:
    """A model that takes no memory."""
    with torch.device("meta"):
        return Transformer(TransformerConfig(*sizes, **options))


def test_the_papers_base_model_counted():
    model = meta(20_000, 20_000)
    assert count_parameters(model) == 64_581_632
    assert count_parameters(model.encoder) == 18_902_016
    assert count_parameters(model.decoder) == 25_199_616


def test_the_defaults_are_the_papers_base_model():
    config = {"src_vocab_size": 10_000, "tgt_vocab_size": 10_000, "d_model": 512}
    config |= {"n_heads": 8, "n_encoder_layers": 6, "n_decoder_layers": 6}
    config |= {"d_ff": 2048, "dropout": 0.1, "pre_norm": False, "tie_weights": True}
    assert asdict(TransformerConfig()).items() >= config.items()
    assert meta().config == TransformerConfig()


def test_a_tied_head_is_the_target_table():
    tied, own = make_model(), make_model(tie_weights=False)
    assert tied.head.weight is tied.target.weight
    assert own.head.weight is not own.target.weight
    assert count_parameters(own) - count_parameters(tied) == 9 * 12
    assert tied.source.weight is not tied.target.weight


def test_pre_norm_ends_with_one_more_norm():
    for kind in (Encoder, Decoder):
        after, before = (kind(12, 3, 2, 20, pre_norm=p) for p in (False, True))
        assert count_parameters(before) - count_parameters(after) == 2 * 12


def test_new_weights_are_drawn_as_usual():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(300, 200, d_model=64, n_heads=4, d_ff=128))
    for table in (model.source, model.target):
        assert table.weight.std().item() == pytest.approx(64**-0.5, rel=0.03)
    up = model.encoder.blocks[0].ffn.up
    assert up.weight.abs().max() <= (6 / (64 + 128)) ** 0.5
    assert up.weight.std().item() == pytest.approx((2 / (64 + 128)) ** 0.5, rel=0.03)
    assert not up.bias.any()
    gain = model.decoder.blocks[0].cross_norm.gain
    assert torch.equal(gain, torch.ones(64))


def test_the_model_trains_every_weight():
    model = make_model(attention_bias=True, pre_norm=True, tie_weights=False)
    model(source(), some_ids(3, 4)).square().sum().backward()
    without = {n for n, p in model.named_parameters() if not p.grad.any()}
    assert not without


def test_a_configuration_comes_back():
    config = TransformerConfig(30, 20, **SMALL, eos_id=5)
    written = config_to_dict(config)
    assert written["model"] == "transformer" and config_from_dict(written) == config
    model = build_model(config)
    assert type(model) is Transformer and model.config == config
    with pytest.raises(ValueError, match="does not fit.*n_wings"):
        config_from_dict(written | {"n_wings": 2})


# Bad input


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_heads": 5}, "n_heads=5 does not divide d_model=512"),
        ({"d_model": 9, "n_heads": 3}, "d_model=9 must be even"),
        ({"n_encoder_layers": 0}, "n_encoder_layers=0 must be at least 1"),
        ({"n_decoder_layers": -1}, "n_decoder_layers=-1 must be at least 1"),
        ({"d_ff": 0}, "d_ff=0 must be at least 1"),
        ({"src_vocab_size": 0}, "src_vocab_size=0 must be at least 1"),
        ({"context_length": 0}, "context_length=0 must be at least 1"),
        ({"dropout": 1}, r"dropout=1 must lie in \[0, 1\)"),
        ({"pad_id": 50, "src_vocab_size": 50}, r"pad_id=50 must be 0 \.\. 49"),
        ({"bos_id": -1}, r"bos_id=-1 must be 0 \.\. 9999"),
        ({"tgt_vocab_size": 2}, r"eos_id=2 must be 0 \.\. 1"),
    ],
)
def test_sizes_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        meta(**options)


def test_an_option_that_does_not_exist():
    with pytest.raises(TypeError, match="n_wings"):
        Transformer(TransformerConfig(n_wings=2))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: m(some_ids(1, 17), some_ids(1, 2)), "length=17 is more than .*=16"),
        (lambda m: m(some_ids(1, 2), some_ids(1, 17)), "length=17 is more than .*=16"),
        (lambda m: m(some_ids(2, 3), some_ids(3, 3)), "batch of 3 but memory of 2"),
        (lambda m: m(some_ids(2, 3)[0], some_ids(2, 3)), r"ids has shape \(3,\)"),
        (lambda m: generate_targets(m, source(), 0), r"max_len=0 must be 1 \.\. 16"),
        (lambda m: generate_targets(m, source(), 17), r"max_len=17 must be 1 \.\. 16"),
    ],
)
def test_inputs_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call(make_model())


def test_special_tokens_differ():
    with pytest.raises(ValueError, match="'pad_id': 2.*must differ"):
        TransformerConfig(pad_id=2)


# Sizes by name, and writing as a method


def test_sizes_by_name_make_the_configuration():
    sizes = {"src_vocab_size": 30, "tgt_vocab_size": 20, **SMALL}
    model = Transformer(**sizes)
    assert model.config == TransformerConfig(**sizes)
    with torch.device("meta"):
        assert Transformer().config == TransformerConfig()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Transformer(30), "config=30 must be a TransformerConfig; sizes are"),
        (lambda: Transformer(TransformerConfig(), d_ff=9), "was given, and d_ff too"),
        (lambda: Transformer(n_wings=2), "n_wings"),
    ],
)
def test_a_configuration_of_another_kind(call, message):
    with pytest.raises(TypeError, match=message):
        call()


@pytest.mark.parametrize("temperature", [0, 1e-40, 0.5, 0.8, 2.0])
def test_the_method_writes_what_the_function_writes(temperature):
    model, drawn = make_model(), {}
    for write in (Transformer.generate, generate_targets):
        options = {"generator": seeded(3)}
        drawn[write] = write(model, source(), 9, temperature, **options)
    one, other = drawn.values()
    assert torch.equal(one, other) and one.dtype == torch.int64


def test_the_method_draws_with_the_probabilities_of_the_model():
    model = with_a_bias(make_model(), eos_id=-1e4)
    src = source()[:1].repeat(4_000, 1)
    written = model.generate(src, 1, 0.5, generator=seeded())
    logits = model(src[:1], torch.tensor([[BOS]]))[0, -1].detach()
    logits[PAD] = -math.inf
    expected = (logits / 0.5).softmax(dim=-1)
    shares = written.flatten().bincount(minlength=9) / len(src)
    assert_near(shares, expected, atol=0.04)


def test_another_choice_may_replace_the_draw():
    model, seen = make_model(), []

    def choose(logits, ids):
        seen.append((tuple(logits.shape), ids.size(1)))
        assert (logits[:, PAD] == -math.inf).all()
        return torch.full((len(logits), 1), 4)

    assert (model.generate(source(), 3, choose=choose) == 4).all()
    assert seen == [((3, 9), 1), ((3, 9), 2), ((3, 9), 3)]


@pytest.mark.parametrize("temperature", [-1, math.inf, math.nan])
def test_a_temperature_that_cannot_be(temperature):
    model = make_model().train()
    with pytest.raises(ValueError, match="temperature=.* must be 0 or more"):
        model.generate(source(), 3, temperature)
    assert model.training


def test_damaged_weights_are_named():
    model = make_model()
    model.decoder.blocks[0].ffn.down.weight.data[0, 0] = math.nan
    with pytest.raises(ValueError, match="its weights are damaged"):
        model.generate(source(), 3)


# What the check of the last exercise says of a trained model


SORTED = {
    "writes words backwards": lambda word: word[::-1],
    "copies the word": str,
    "end of the alphabet": lambda word: "".join(sorted(word, reverse=True)),
    "twice stay twice": lambda word: "".join(sorted(set(word))),
    "it does not end": lambda word: "".join(sorted(word)) + "?",
    "shifted by one": lambda word: "?",
    "train longer": lambda word: "".join(sorted(word[:5])) + word[5:],
    "your loss counts the padding": lambda word: "".join(sorted(word)),
}


@pytest.mark.parametrize("words", SORTED)
def test_a_model_that_does_not_sort_is_told_why(words, monkeypatch):
    model = Transformer(src_vocab_size=13, tgt_vocab_size=13, **SMALL | {"d_ff": 4})
    model.head.weight = nn.Parameter(torch.zeros(13, 12))
    model.config = replace(model.config, tie_weights=False)
    last = model.decoder.blocks[-1].ffn_norm
    nn.init.zeros_(last.gain)
    nn.init.ones_(last.bias)
    model.head.weight.data[PAD] = 1.0  # padding is likeliest everywhere
    monkeypatch.setattr(
        "lib.checks.lesson_15._written_texts",
        lambda _, texts: [SORTED[words](text) for text in texts],
    )
    verdict = check_sorter.run(model)
    assert verdict.status == "wrong" and words in verdict.message, verdict.message
    model.head.weight.data[PAD] = -1.0
    if words == "your loss counts the padding":
        assert check_sorter.run(model).status == "correct"
