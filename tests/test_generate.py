"""Writing: with a cache as without, within the context, by pieces, up to a stop."""

import inspect

import pytest
import torch
from against_torch import few, random_weights
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lib.attention import MultiHeadAttention
from lib.block import Block
from lib.ffn import SwiGLU
from lib.generate import generate, sample, stream, stream_text, window_start
from lib.models.bigram import BigramConfig, BigramLM
from lib.models.gpt import GPT
from lib.models.language_model import LanguageModel
from lib.models.presets import preset_config
from lib.text.bpe import BPETokenizer
from lib.text.tokenizer import CharTokenizer


def make_gpt(**changes) -> GPT:
    model = GPT(preset_config("demo", **({"context_length": 8} | changes))).eval()
    random_weights(model)
    return model


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def prompt(batch: int = 1, length: int = 3) -> Tensor:
    return torch.randint(10, (batch, length), generator=seeded(1))


class Writer(nn.Module):
    """A model that writes given tokens, whatever it reads; it counts its calls."""

    context_length = 1_000

    def __init__(self, new: list[int], vocab_size: int, n_prompt: int = 1) -> None:
        super().__init__()
        self.new, self.vocab_size, self.n_prompt = new, vocab_size, n_prompt
        self.weight, self.calls = nn.Parameter(torch.zeros(1)), 0

    def forward(self, ids: Tensor) -> Tensor:
        self.calls += 1
        logits = torch.zeros(*ids.shape, self.vocab_size)
        logits[:, -1, self.new[ids.size(1) - self.n_prompt]] = 1.0
        return logits


# The window


@given(st.integers(1, 200), st.integers(1, 40))
def test_the_window(length, context_length):
    start = window_start(length, context_length)
    read = length - start
    assert 0 <= start and 1 <= read <= context_length
    if length <= context_length:
        assert start == 0
    else:
        assert read >= 0.75 * context_length
    step = max(1, context_length // 4)
    assert start % step == 0
    assert window_start(length + 1, context_length) - start in (0, step)


def test_the_window_moves_once_in_a_quarter_of_the_context():
    moves = [window_start(n, 8) for n in range(1, 14)]
    assert moves == [0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 4, 4, 6]


# With a cache as without


@few
@given(
    st.sampled_from(["learned", "sinusoidal", "rotary"]),
    st.sampled_from([None, 1]),
    st.integers(1, 3),
    st.integers(1, 20),
    st.sampled_from([{"temperature": 0}, {}, {"top_k": 3}, {"top_p": 0.8}]),
)
def test_the_cache_changes_no_token(position, n_kv_heads, batch, length, how):
    model = make_gpt(position=position, n_kv_heads=n_kv_heads)
    with_cache, without = (
        generate(
            model, prompt(batch, length), 25, use_cache=c, generator=seeded(), **how
        )
        for c in (True, False)
    )
    assert torch.equal(with_cache, without)
    assert with_cache.shape == (batch, length + 25)
    assert torch.equal(with_cache[:, :length], prompt(batch, length))


PARTS = [
    {},
    {"attention_bias": True, "ffn": "gelu_tanh", "final_norm": True},
    {"norm": "rms", "position": "rotary", "ffn": "swiglu", "n_kv_heads": 1},
]


@pytest.mark.parametrize("parts", PARTS)
def test_reading_one_token_gives_the_logits_of_the_model(parts):
    model, ids = make_gpt(**parts), prompt(2, 6)
    cache, expected = model.new_cache(), model(ids)
    with torch.inference_mode():
        model(ids[:, :4], cache)
        for place in (4, 5):
            logits = model(ids[:, place : place + 1], cache)
            torch.testing.assert_close(logits[:, 0], expected[:, place])
    assert [layer.length for layer in cache] == [6, 6]


def test_parts_that_are_not_the_courses_own_are_called_as_they_are():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = make_gpt()
    wide = model.config.d_model
    model.blocks[0].attention.v_proj = Doubled(wide, wide)
    model.blocks[1].ffn.down = Doubled(model.config.d_ff, wide)
    with_cache, without = (
        generate(model, prompt(), 5, use_cache=c, temperature=0) for c in (True, False)
    )
    assert torch.equal(with_cache, without)


def test_without_a_cache_it_is_the_model_and_its_window():
    model, ids = make_gpt(), prompt(2, 5)
    written = generate(model, ids, 20, temperature=0)
    for _ in range(20):
        start = window_start(ids.size(1), 8)
        chosen = model(ids[:, start:])[:, -1].argmax(-1, keepdim=True)
        ids = torch.cat([ids, chosen], dim=1)
    assert torch.equal(written, ids)


def test_while_all_fits_it_writes_what_sample_writes():
    model = make_gpt(context_length=16)
    ours = generate(model, prompt(2), 13, temperature=0.7, generator=seeded())
    assert torch.equal(ours, sample(model, prompt(2), 13, 0.7, seeded()))


def test_the_cache_reads_each_token_once_while_the_window_stands():
    model, lengths = make_gpt(), []
    record = lambda _, args: lengths.append(args[0].size(1))  # noqa: E731
    model.tokens.register_forward_pre_hook(record)
    generate(model, prompt(1, 3), 10)
    assert lengths == [3, 1, 1, 1, 1, 1, 7, 1, 7, 1]  # it moved at 9 and at 11 tokens


def test_models_without_a_cache_write_too():
    blocks = [Block(MultiHeadAttention(8, 2), SwiGLU(8, 12))]
    models = [
        BigramLM(BigramConfig(10, 4)),
        BigramLM(BigramConfig(10)),
        LanguageModel(10, 8, 6, blocks),
    ]
    for model in models:
        random_weights(model)
        for how in ({"temperature": 0}, {"top_k": 4}):
            written = generate(model, prompt(2), 15, generator=seeded(), **how)
            expected = generate(
                model, prompt(2), 15, generator=seeded(), use_cache=False, **how
            )
            assert written.shape == (2, 18) and torch.equal(written, expected)


def test_rows_of_a_batch_are_written_apart():
    model, ids = make_gpt(position="rotary"), prompt(3, 5)
    together = generate(model, ids, 20, temperature=0)
    for row in range(3):
        alone = generate(model, ids[row : row + 1], 20, temperature=0)
        assert torch.equal(together[row : row + 1], alone)


def test_the_same_seed_writes_the_same():
    model = make_gpt()
    one, two, other = (
        generate(model, prompt(), 30, generator=seeded(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_dropout_is_off_while_it_writes_and_on_again_after():
    model = make_gpt(dropout=0.5)
    expected = generate(model, prompt(), 20, temperature=0)
    assert not model.training
    model.train()
    assert torch.equal(generate(model, prompt(), 20, temperature=0), expected)
    assert model.training and all(m.training for m in model.modules())


def test_after_an_error_the_model_is_in_training_again():
    model = make_gpt().train()
    with pytest.raises(ValueError, match="temperature=-1"):
        generate(model, prompt(), 3, temperature=-1)
    assert model.training


def test_a_stream_writes_without_dropout_and_gives_the_model_back():
    model = make_gpt(dropout=0.5)
    expected = list(stream(model, prompt(), 5, temperature=0))
    model.train()
    tokens = stream(model, prompt(), 5, temperature=0)
    assert model.training and torch.equal(next(tokens), expected[0])
    assert not model.training
    assert torch.equal(torch.cat(list(tokens)), torch.cat(expected[1:]))
    assert all(m.training for m in model.modules())


def test_a_stream_that_is_given_up_gives_the_model_back():
    model = make_gpt().train()
    tokens = stream(model, prompt(), 5)
    next(tokens)
    tokens.close()
    assert model.training
    new = chars.encode("bbabbb")
    writer = Writer(new, 4).train()
    assert "".join(stream_text(writer, chars, "a", 6, "a", temperature=0)) == "bb"
    assert writer.training


def test_no_gradients_are_kept_and_the_caller_keeps_his():
    tokens = stream(make_gpt(), prompt(), 3)
    assert not next(tokens).requires_grad and torch.is_grad_enabled()
    assert not generate(make_gpt(), prompt(), 3).requires_grad


def test_a_stream_works_only_when_it_is_asked():
    model = Writer([3, 1, 2], 5)
    tokens = stream(model, torch.zeros(1, 1).long(), 3, temperature=0)
    assert inspect.isgenerator(tokens) and model.calls == 0
    for n, expected in enumerate([3, 1, 2], start=1):
        assert next(tokens).tolist() == [[expected]] and model.calls == n
    assert list(tokens) == [] and model.calls == 3


def test_nothing_new():
    assert torch.equal(generate(make_gpt(), prompt(), 0), prompt())


@pytest.mark.parametrize(
    "ids, n_new, message",
    [
        (torch.zeros(1, 0).long(), 3, r"ids has shape \(1, 0\)"),
        (torch.zeros(4).long(), 3, r"ids has shape \(4,\)"),
        (torch.zeros(1, 2).long(), -1, "n_new=-1 must be 0 or more"),
    ],
)
def test_prompts_and_lengths_that_do_not_fit(ids, n_new, message):
    with pytest.raises(ValueError, match=message):
        generate(make_gpt(), ids, n_new)


# Text


def pieces(tokenizer, text: str, stop: str | None = None) -> list[str]:
    """What is shown, piece by piece, of a model that writes a text."""
    new = tokenizer.encode(text)
    first = text[0] if text else "a"
    model = Writer(new, tokenizer.vocab_size, len(tokenizer.encode(first)))
    return list(
        stream_text(model, tokenizer, first, len(new), stop=stop, temperature=0)
    )


chars = CharTokenizer("ab\n.")
bpe = BPETokenizer.train("naïve 東京 naïve 東京 🙂🙂 na na na na", 268)


@few
@given(st.text("ab\n.", max_size=12), st.sampled_from([None, "ab", "aab", ".\n", "a"]))
def test_the_pieces_are_the_text_up_to_the_stop(text, stop):
    shown = pieces(chars, text, stop)
    assert "".join(shown) == (text.split(stop)[0] if stop else text)
    if stop is None:
        assert [piece for piece in shown if piece] == list(text)


@few
@given(st.text("naï京🙂 ", max_size=10), st.sampled_from([None, "京", "ïn", "n "]))
def test_no_half_character_of_a_byte_tokenizer_is_shown(text, stop):
    shown = pieces(bpe, text, stop)
    assert "".join(shown) == (text.split(stop)[0] if stop else text)
    assert not any("\ufffd" in piece for piece in shown)


def test_half_a_character_at_the_very_end_is_shown_as_what_it_is():
    new = [*bpe.encode("na"), *"京".encode()[:2]]
    shown = stream_text(Writer(new, bpe.vocab_size), bpe, " ", len(new), temperature=0)
    assert "".join(shown) == "na\ufffd"


def test_nothing_of_a_stop_over_several_tokens_is_shown():
    shown = pieces(chars, "ba.\nab", stop=".\na")
    assert "".join(shown) == "ba" and "." not in "".join(shown)
    assert "".join(pieces(chars, "ba.\n.b", stop=".\na")) == "ba.\n.b"
    assert "".join(pieces(chars, "ba.\n", stop=".\na")) == "ba.\n"  # it did not come


def test_after_the_stop_the_model_is_not_asked_again():
    model = Writer(chars.encode("bbabbb"), 4)
    assert "".join(stream_text(model, chars, "a", 6, "a", temperature=0)) == "bb"
    assert model.calls == 3


def test_text_is_shown_as_soon_as_it_is_sure():
    model = Writer(chars.encode("bbbbbb"), 4)
    shown = stream_text(model, chars, "a", 6, stop="aaa", temperature=0)
    assert next(shown) == "b" and model.calls == 3  # two could begin the stop


def test_a_stop_in_the_prompt_does_not_count():
    model = Writer(chars.encode("bb"), 4, n_prompt=2)
    assert "".join(stream_text(model, chars, ".a", 2, ".a", temperature=0)) == "bb"


@pytest.mark.parametrize(
    "how, message",
    [
        ({"prompt": ""}, "prompt='' is empty"),
        ({"stop": ""}, "stop='' is in every text"),
        ({"prompt": "ax"}, r"text\[1\]='x' is not in the vocabulary"),
        ({"n_new": -2}, "n_new=-2 must be 0 or more"),
        ({"top_k": 0}, "k=0 must be at least 1"),
    ],
)
def test_settings_that_do_not_fit(how, message):
    settings = {"prompt": "a", "n_new": 3} | how
    with pytest.raises(ValueError, match=message):
        list(stream_text(Writer([1, 2, 3], 4), chars, **settings))
