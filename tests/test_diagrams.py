"""The diagrams: well-formed, readable on a phone, in both colour schemes, and right.

What is readable is estimated without a browser: a letter of the monospace font is 0.6
of the font's size wide, another one 0.55, a bold one 0.62.
"""

import base64
import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
import torch
from cells import expect_none
from notebooks import ROOT
from safetensors import safe_open

from lib.attention import causal_mask, padding_mask
from lib.models import count_parameters
from lib.models.encoder_decoder import Transformer
from lib.models.gpt import GPT
from lib.models.presets import preset_config
from lib.show import diagrams
from lib.show.diagrams.core import Diagram
from lib.show.diagrams.encoder_decoder import SOURCE, TARGET, allowed
from lib.show.diagrams.gpt import COUNTS, ROWS
from lib.show.diagrams.residual import STAGES
from lib.show.diagrams.runs import PARTS
from lib.show.diagrams.scheme import DARK, LIGHT
from lib.train import Training
from lib.train.checkpoint import save_checkpoint
from lib.train.settings import TrainConfig

# The merges that make " brother", as lesson 14 learns them, without those between.
BROTHER = [("h", "e"), (" ", "b"), ("o", "t"), ("he", "r"), ("ot", "her")]
BROTHER += [(" b", "r"), (" br", "other")]
CALLS = [
    *("life_of_a_model()", "shifted_windows()", "shifted_windows('abc')"),
    *("shifted_windows('<to be>')", "bigram_table()"),
    *("computation_graph()", "shared_node()", "embedding_lookup()"),
    *("clock_hands()", "clock_hands((7,))", "clock_hands((0, 1, 12, 64, 99))"),
    *(f"stream({stage!r})" for stage in STAGES),
    *("qkv()", "attention_grid()", "attention_grid(mask=False)"),
    *("attention_grid('ab')", "attention_grid(['a', '&', '<', ' ', 'b'] + ['c'] * 3)"),
    *(f"heads({n})" for n in range(2, 7)),
    *("wrong_split()", "corners('and')", "corners('xor')", "widen()"),
    *("layer_norm()", "layer_norm((-100.0, 1.0))", "layer_norm((0.1, 0.2, 0.4))"),
    "norm_places()",
    *(f"depth_paths({n})" for n in range(1, 5)),
    *("gpt_names()", "gpt2_parameters()", "gpt2_file()"),
    *("training_ring()", "rate_schedule()", "equal_stretch()"),
    "run_state()",
    *("writing_loop()", "cache_step()", "prefill_decode()", "speculation()"),
    *("encoder_decoder()", "decoder_inputs()", "pad_masks()"),
    "tokenizer_path()",
    f"merge_tree(' brother', {BROTHER})",
    *("merge_tree('<&>a', [('<', '&')])", "merge_tree('of', [])"),
    "merge_tree('aaaaaaaa', [('a', 'a'), ('aa', 'aa'), ('aaaa', 'aaaa')])",
    *("both_directions()", "filled_blank()", "frozen_encoder()"),
    "replaced_parts()",
    "rotation()",
    "blockwise()",
    "ring_cache()",
    "routed()",
    "places()",
    "induction()",
    *("shared_memory()", "recomputed()"),
    *("serial_steps()", "written_steps()", "tool_loop()", "sample_tree()"),
    *("reward_loop()", "answer_group()", "clipped_ratio()"),
    *("packed_row()", "signature_bands()", "sliding_windows()"),
    *("frozen_parts()", "adapter()"),
    *("patch_encoder()", "square_patches()", "caption_decoder()"),
    *("tuned_row()", "held_out_grid()"),
    *("four_numbers()", "reward_head()"),
    *("translator()", "beam_tree()"),
]
SVG = "{http://www.w3.org/2000/svg}"
SMALLEST = 15  # of 480 units: 10.7 pixels where a phone shows the drawing at 343
EDGE = 8  # units that texts keep from the drawing's edge
SCHEMES = ("light", "dark")


def draw(call: str) -> Diagram:
    """The diagram that a call in words returns."""
    return eval(call, vars(diagrams))


def parse(svg: str) -> ElementTree.Element:
    """The drawing as a tree."""
    return ElementTree.fromstring(svg)


class Box(NamedTuple):
    """A text, or an area, with its estimated edges."""

    words: str
    left: float
    top: float
    right: float
    bottom: float

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is inside."""
        return self.left < x < self.right and self.top < y < self.bottom


def number(element: ElementTree.Element, key: str) -> float:
    """An attribute's number; 0 where it is missing."""
    return float(element.get(key, 0))


def text_box(text: ElementTree.Element) -> Box:
    """The estimated place of a text."""
    size, mono = number(text, "font-size"), "mono" in text.get("font-family", "")
    letter = 0.6 if mono else 0.62 if text.get("font-weight") else 0.55
    width = letter * size * len(text.text)
    shift = {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")]
    left, base = number(text, "x") - shift * width, number(text, "y")
    return Box(text.text, left, base - 0.75 * size, left + width, base + 0.2 * size)


def text_problems(svg: str) -> list[str]:
    """Texts that are too small, leave the drawing, or lie over each other."""
    root = parse(svg)
    width, height = (float(value) for value in root.get("viewBox").split()[2:])
    problems, boxes = [], []
    for text in root.iter(f"{SVG}text"):
        box = text_box(text)
        if number(text, "font-size") < SMALLEST:
            problems.append(f"{box.words!r} is too small")
        inside = box.left >= EDGE and box.right <= width - EDGE
        if not (inside and box.top >= EDGE and box.bottom <= height - EDGE):
            problems.append(f"{box.words!r} leaves the drawing")
        boxes.append(box)
    for a, b in itertools.combinations(boxes, 2):
        beside = a.right <= b.left or b.right <= a.left
        if not (beside or a.bottom <= b.top or b.bottom <= a.top):
            problems.append(f"{a.words!r} lies over {b.words!r}")
    return problems


def colours(svg: str) -> dict[str, dict[str, str]]:
    """Scheme -> tone -> colour, as the drawing's own style sheet declares them."""
    style = parse(svg).find(f"{SVG}style").text
    light, dark = re.fullmatch(
        r"\s*\.d-diagram\{(.*?)\}\s*"
        r"@media screen and \(prefers-color-scheme: dark\)\{\.d-diagram\{(.*?)\}\}.*",
        style,
        re.DOTALL,
    ).groups()
    return {
        scheme: dict(re.findall(r"--d-([a-z-]+):(#[0-9a-f]{6});", declared))
        for scheme, declared in zip(SCHEMES, (light, dark), strict=True)
    }


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def tones(element: ElementTree.Element) -> dict[str, str]:
    """Attribute -> tone, from an element's classes."""
    return {
        "stroke" if name.endswith("-line") else "fill": name[2:].removesuffix("-line")
        for name in element.get("class", "").split()
        if name not in ("d-diagram", "d-mono")
    }


def grounds(svg: str) -> Iterator[tuple[str, str, str]]:
    """Each text, its tone, and the tone of the area that it stands on."""
    areas: list[tuple[Box, str]] = []
    for element in parse(svg):
        tone = tones(element).get("fill")
        if element.tag == f"{SVG}rect" and tone:
            x, y = number(element, "x"), number(element, "y")
            right, bottom = x + number(element, "width"), y + number(element, "height")
            areas.append((Box("", x, y, right, bottom), tone))
        if element.tag == f"{SVG}text":
            box = text_box(element)
            middle = (box.left + box.right) / 2, (box.top + box.bottom) / 2
            yield box.words, tone, [t for a, t in areas if a.holds(*middle)][-1]


def contrast_problems(svg: str) -> list[str]:
    """Texts that are hard to read, in either scheme."""
    return [
        f"{words!r}: {tone} on {ground} in the {name} scheme"
        for words, tone, ground in grounds(svg)
        for name, scheme in colours(svg).items()
        if contrast(scheme[tone], scheme[ground]) < 4.5
    ]


@pytest.mark.parametrize("call", CALLS)
def test_a_diagram_can_be_read(call: str) -> None:
    expect_none(text_problems(draw(call).svg()))


@pytest.mark.parametrize("call", CALLS)
def test_texts_have_contrast_in_both_schemes(call: str) -> None:
    expect_none(contrast_problems(draw(call).svg()))


@pytest.mark.parametrize("call", CALLS)
def test_a_diagram_says_in_words_what_it_shows(call: str) -> None:
    diagram = draw(call)
    root = parse(diagram.svg())
    names = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("role") == "img"
    assert [names[key] for key in root.get("aria-labelledby").split()] == [
        diagram.title,
        diagram.description,
    ]
    assert diagram.alt == f"{diagram.title}. {diagram.description}"
    assert len(diagram.title) >= 10 and len(diagram.description) >= 60


@pytest.mark.parametrize("call", CALLS)
def test_without_its_style_sheet_a_diagram_is_light(call: str) -> None:
    """Previews of notebooks take style sheets away: the attributes are enough."""
    root = parse(draw(call).svg())
    light = colours(draw(call).svg())["light"]
    for element in root.iter():
        for attribute, tone in tones(element).items():
            assert element.get(attribute) == light[tone]
    for element in root.iter(f"{SVG}path"):
        assert element.get("fill")  # it would be black


@pytest.mark.parametrize("call", CALLS)
def test_a_diagram_fits_a_page(call: str) -> None:
    root = parse(draw(call).svg())
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert root.get("width") == "480" and number(root, "height") <= 780
    assert root.get("style") == "max-width:100%;height:auto"
    assert len(draw(call).svg()) <= 24_000


def test_each_diagram_has_ids_of_its_own() -> None:
    """Several may stand in one page."""
    found = [re.findall(r' id="([^"]+)"', draw(call).svg()) for call in CALLS]
    names = list(itertools.chain(*found))
    assert len(names) == len(set(names)) == 2 * len(CALLS)
    assert all(re.fullmatch(r"d-[a-z0-9.-]+", name) for name in names)


def test_each_public_function_is_looked_at() -> None:
    functions = {name for name in diagrams.__all__ if callable(getattr(diagrams, name))}
    assert functions == {call.split("(")[0] for call in CALLS} | {"Diagram"}


def test_a_diagram_is_the_same_every_time() -> None:
    code = (
        "import sys\nfrom lib.show import diagrams\n"
        f"for call in {CALLS!r}:\n"
        "    svg = eval(call, vars(diagrams)).svg()\n"
        "    sys.stdout.buffer.write(svg.encode())"
    )
    here = "".join(draw(call).svg() for call in CALLS).encode()
    for seed in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        assert there.stdout == here


def test_a_notebook_shows_the_drawing_and_a_terminal_its_title() -> None:
    diagram = diagrams.qkv()
    assert diagram._repr_mimebundle_(include=None, exclude=None) == {
        "image/svg+xml": diagram.svg(),
        "text/html": diagram.html(),
        "text/plain": "One head of attention",
    }


def test_as_an_image_in_html_it_is_the_same_drawing_with_its_words() -> None:
    diagram = diagrams.qkv()
    image = ElementTree.fromstring(diagram.html().rstrip(">\n") + "/>")
    kind, source = image.get("src", "").split(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(source).decode("utf-8") == diagram.svg()
    assert image.get("alt") == diagram.alt


def test_both_schemes_declare_the_same_tones() -> None:
    light, dark = colours(diagrams.qkv().svg()).values()
    assert light == LIGHT and dark == DARK and list(light) == list(dark)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
def test_lines_can_be_seen_and_words_read_on_soft_areas(scheme) -> None:
    for tone, ground in itertools.product(
        ["edge", "accent", "new"], ["panel", "paper"]
    ):
        assert contrast(scheme[tone], scheme[ground]) >= 3
    for tone, ground in itertools.product(
        ["ink", "quiet"], ["accent-soft", "new-soft"]
    ):
        assert contrast(scheme[tone], scheme[ground]) >= 4.5


# What is wrong is named


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("shifted_windows('ab')", "text='ab' must be of 3 to 7 characters"),
        ("shifted_windows('abcdefgh')", "text='abcdefgh' must be of 3 to 7 characters"),
        ("clock_hands(())", "positions=() must be 1 to 5 numbers from 0 to 99"),
        ("clock_hands((1, 100))", "positions=(1, 100) must be 1 to 5 numbers from 0 "),
        ("clock_hands((1, -1))", "positions=(1, -1) must be 1 to 5 numbers from 0 to"),
        ("clock_hands(range(6))", "positions=range(0, 6) must be 1 to 5 numbers"),
        ("stream('norm')", "stage='norm' must be one of embeddings, positions, atten"),
        ("attention_grid('a')", "labels='a' must be 2 to 8 single characters"),
        ("attention_grid(['ab', 'c'])", "labels=['ab', 'c'] must be 2 to 8 single"),
        ("heads(1)", "n_heads=1 must be 2 to 6"),
        ("heads(7)", "n_heads=7 must be 2 to 6"),
        ("corners('or')", 'kind=\'or\' must be "and" or "xor"'),
        ("layer_norm((1.0, 1.0))", "values=(1.0, 1.0) must be 2 to 4 numbers that"),
        ("layer_norm((1.0,))", "values=(1.0,) must be 2 to 4 numbers that are not"),
        ("layer_norm(range(5))", "values=range(0, 5) must be 2 to 4 numbers that"),
        ("depth_paths(0)", "n_layers=0 must be 1 to 4"),
        ("depth_paths(5)", "n_layers=5 must be 1 to 4"),
        ("merge_tree('a', [])", "word='a' must be 2 to 8 letters without accents"),
        ("merge_tree('é' * 2, [])", "word='éé' must be 2 to 8 letters"),
        ("merge_tree('a' * 9, [])", "word='aaaaaaaaa' must be 2 to 8 letters"),
    ],
)
def test_what_cannot_be_drawn_is_named(call: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        draw(call)


# What the drawings say is right


def words_of(diagram: Diagram) -> list[str]:
    """The texts of a drawing, in the order in which they were written."""
    return [text.text for text in parse(diagram.svg()).iter(f"{SVG}text")]


def test_a_merge_tree_is_what_encoding_does() -> None:
    """The tokens and the numbers in it are those of the merges, in their order."""
    others = [("x", "y"), *BROTHER[:3], ("r", "o"), *BROTHER[3:]]
    for merges in (BROTHER, others):
        words = words_of(draw(f"merge_tree(' brother', {merges})"))
        shown = words[:-1]  # the last line says what the numbers are
        assert shown[:8] == [*"␣brother"]
        tokens = dict(zip(shown[8::2], map(int, shown[9::2]), strict=True))
        assert tokens == {
            (a + b).replace(" ", "␣"): merges.index((a, b)) + 1 for a, b in BROTHER
        }
    words = words_of(draw("merge_tree('aaa', [('a', 'a')])"))
    assert words[3:5] == ["aa", "1"]  # the first two, and one is left


def as_numbers(words: list[str]) -> list[float]:
    """The texts that are numbers."""
    plain = [word.replace("−", "-") for word in words]
    return [float(word) for word in plain if re.fullmatch(r"-?\d*\.?\d+", word)]


def test_the_stream_keeps_its_places_while_it_grows() -> None:
    """What an earlier stage shows stands at the same place in each later one."""

    def places(stage: str) -> set[tuple[str, ...]]:
        rects = list(parse(diagrams.stream(stage).svg()).iter(f"{SVG}rect"))[1:]
        sizes = ("x", "y", "width", "height")
        return {tuple(rect.get(key) for key in sizes) for rect in rects}

    for before, after in itertools.pairwise(STAGES):
        assert places(before) <= places(after)
    assert len(places("gpt")) > 2 * len(places("embeddings"))


def test_only_what_is_new_has_the_second_colour() -> None:
    """The highest box in the second colour is the highest that the stage adds."""
    tops = {"embeddings": 78, "positions": 184, "attention": 318, "heads": 306}
    tops |= {"feed_forward": 492, "block": 246, "gpt": 626}
    for stage in STAGES:
        rects = parse(diagrams.stream(stage).svg()).iter(f"{SVG}rect")
        new = [number(rect, "y") for rect in rects if "new" in tones(rect).values()]
        assert min(new) == tops[stage]


def test_the_gradients_in_the_graph_are_those_of_torch() -> None:
    w, x, b, target = leaves = [
        torch.tensor(value, requires_grad=True) for value in (2.0, 3.0, 1.0, 5.0)
    ]
    (w * x + b - target).square().backward()
    words = words_of(diagrams.computation_graph())
    for name, leaf in zip(["w", "x", "b", "target"], leaves, strict=True):
        place = words.index(name)
        card = words[place - 1], words[place + 1]
        assert as_numbers(list(card)) == [leaf.item(), leaf.grad.item()]


def test_the_gradients_of_a_shared_node_add_up() -> None:
    a = torch.tensor(3.0, requires_grad=True)
    ((2 * a) * (a + 1)).backward()
    assert f"8 + 6 = {a.grad.item():g}" in words_of(diagrams.shared_node())


def test_the_bars_of_the_bigram_are_a_softmax() -> None:
    numbers = as_numbers(words_of(diagrams.bigram_table()))
    logits, shares = torch.tensor(numbers[:5]), torch.tensor(numbers[5:])
    torch.testing.assert_close(logits.softmax(dim=0), shares, atol=0.005, rtol=0)
    assert round(shares.sum().item(), 2) == 1.00  # as a reader adds them up


def test_the_norm_is_that_of_torch() -> None:
    numbers = as_numbers(words_of(diagrams.layer_norm()))
    x, centered, scaled, moved = torch.tensor(numbers).view(4, 4)
    torch.testing.assert_close(centered, x - x.mean())
    ours = torch.nn.functional.layer_norm(x, (4,))
    torch.testing.assert_close(scaled, ours, atol=0.006, rtol=0)
    gain, bias = torch.tensor([1.0, 3.0, 0.5, 2.0]), torch.tensor([1.0, 0.0, 0.0, -0.5])
    torch.testing.assert_close(moved, ours * gain + bias, atol=0.006, rtol=0)


def test_the_splits_are_those_of_torch() -> None:
    numbers = torch.tensor(as_numbers(words_of(diagrams.wrong_split())))
    x = numbers[:12].view(3, 4)
    torch.testing.assert_close(
        numbers[12:24].view(2, 3, 2), x.view(3, 2, 2).transpose(0, 1)
    )
    torch.testing.assert_close(numbers[24:].view(2, 3, 2), x.view(2, 3, 2))


def test_the_hands_stand_where_their_turns_put_them() -> None:
    svg = diagrams.clock_hands((0, 1, 2, 8)).svg()
    hands = re.findall(
        r'd="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)" class="d-new-line"', svg
    )
    moved = [(float(x) - float(a), float(y) - float(b)) for a, b, x, y in hands]
    assert moved[::4] == [(0, -20), (20, 0), (0, 20), (0, -20)]  # a turn in 4 positions
    assert moved[-4:] == [(0, -20), (0, -20), (0, 20), (20, 0)]  # all, at position 8


def test_the_first_square_and_the_first_strip_are_those_of_the_code() -> None:
    picture = torch.arange(16).view(1, 1, 4, 4)
    square = picture.unfold(2, 2, 2).unfold(3, 2, 2)[0, 0, 0, 0].flatten()
    strip = picture.reshape(4, 4)[0]
    words = words_of(diagrams.square_patches())
    for pixels in (square, strip):
        assert ", ".join(map(str, pixels.tolist())) in words


@pytest.mark.parametrize("n", range(1, 5))
def test_each_path_is_drawn_once(n: int) -> None:
    svg = diagrams.depth_paths(n).svg()
    lines = re.findall(r'd="M96 ([\d.]+) L384 \1"', svg)
    assert len(set(lines)) == len(lines) == 2**n
    assert len(list(parse(svg).iter(f"{SVG}rect"))) - 1 == n * 2**n / 2


def test_the_names_in_the_picture_are_those_of_the_model() -> None:
    model = GPT(preset_config("demo", final_norm=True))
    for name, kind, _, _ in ROWS:
        part = getattr(model, name, None) or getattr(model.blocks[0], name)
        assert kind.removeprefix("nn.") in type(part).__name__


def test_the_areas_are_the_parameters_of_gpt2() -> None:
    with torch.device("meta"):
        model = GPT(preset_config("gpt2"))
    block = model.blocks[0]
    assert COUNTS["tokens"] == model.tokens.weight.numel()
    assert COUNTS["positions"] == count_parameters(model.positions)
    assert COUNTS["attention"] == 12 * count_parameters(block.attention)
    assert COUNTS["feed-forward"] == 12 * count_parameters(block.ffn)
    assert sum(COUNTS.values()) == count_parameters(model)


def test_a_run_consists_of_what_its_checkpoint_holds(tmp_path) -> None:
    """Each tensor in the file belongs to one part, and no part is without any."""
    training = Training(GPT(preset_config("demo")), TrainConfig(1, optimizer="muon"))
    training.step((torch.ones(1, 4, dtype=torch.long),) * 2)
    path, generator = tmp_path / "run.safetensors", torch.Generator()
    save_checkpoint(path, training.model, None, training, generator)
    with safe_open(path, "pt") as file:
        names = list(file.keys())
    prefixes = [prefix for _, _, each in PARTS for prefix in each]
    found = {p: [name for name in names if name.startswith(p)] for p in prefixes}
    assert all(found.values())
    assert sorted(itertools.chain(*found.values())) == sorted(names)
    words = {word.rstrip("*") for word in words_of(diagrams.run_state())}
    assert set(prefixes) <= words


def test_the_transformer_is_drawn_with_the_names_of_its_classes() -> None:
    model = Transformer(src_vocab_size=9, tgt_vocab_size=9, d_model=8, n_heads=2)
    kinds = {type(module).__name__ for module in model.modules()}
    words = " ".join(words_of(diagrams.encoder_decoder())).split()
    assert kinds - {"Transformer", "ModuleList", "Block", "Dropout"} <= {
        *words,
        "Identity",
    }


def test_the_masks_drawn_are_those_of_the_model() -> None:
    ids = {"_": 0, "<": 1, ">": 2, "d": 3, "o": 4, "t": 5}
    source, target = (
        torch.tensor([[ids[token] for token in word]]) for word in (SOURCE, TARGET)
    )
    seen = padding_mask(source, 0)[0, 0].expand(5, 5)
    own = causal_mask(5) & padding_mask(target, 0)[0, 0]
    for rows, columns, mask in (
        (SOURCE, SOURCE, seen),
        (TARGET, TARGET, own),
        (TARGET, SOURCE, seen),
    ):
        assert allowed(rows, columns) == mask.tolist()


# The rules' own test: drawings that are broken


def small() -> Diagram:
    """A drawing that is in order."""
    diagram = Diagram("small", "A small drawing", "It has one text.", 100)
    diagram.text(240, 50, "here", size=16)
    return diagram


def test_a_drawing_in_order_is_accepted() -> None:
    assert not text_problems(small().svg()) + contrast_problems(small().svg())


@pytest.mark.parametrize(
    ("x", "y", "words", "size", "problem"),
    [
        (250, 55, "there", 16, "'here' lies over 'there'"),
        (290, 50, "a longer text", 15, "'here' lies over 'a longer text'"),
        (470, 20, "out", 16, "'out' leaves the drawing"),
        (240, 96, "below", 16, "'below' leaves the drawing"),
        (240, 20, "small", 14, "'small' is too small"),
    ],
)
def test_a_text_that_cannot_be_read_is_found(x, y, words, size, problem) -> None:
    diagram = small()
    diagram.text(x, y, words, size=size)
    assert text_problems(diagram.svg()) == [problem]


def test_a_text_without_contrast_is_found() -> None:
    diagram = small()
    diagram.rect(20, 60, 100, 30, "accent")
    diagram.text(70, 75, "dark", "ink")
    found = contrast_problems(diagram.svg())
    assert found == [
        "'dark': ink on accent in the light scheme",
        "'dark': ink on accent in the dark scheme",
    ]


def test_words_cannot_end_an_element() -> None:
    diagram = Diagram("marks", "a < b", "a & </desc>", 60)
    diagram.text(240, 30, "</text>&")
    assert words_of(diagram) == ["</text>&"]
    assert parse(diagram.svg()).find(f"{SVG}desc").text == "a & </desc>"
