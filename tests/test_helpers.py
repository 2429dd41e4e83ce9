"""The helpers around the lessons: pictures, sliders, exercises, the ladder's rungs."""

import base64
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from matplotlib import rc_params_from_file
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import imread

from lib.checks import Mistake, exercise, expect, hint_for
from lib.show import plot
from lib.show.frames import slider
from lib.show.ladder import rung

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def draw(value):
    figure, axes = plt.subplots(figsize=(2, 1))
    axes.bar([0], [value])
    return figure


def test_a_slider_holds_one_picture_per_value():
    out = slider(draw, [1, 2, 3], "height", alt=lambda v: f"a bar of {v}", start=1).data
    frames = json.loads(re.search(r"const frames = (\[.*?\]), root", out).group(1))
    assert [frame["name"] for frame in frames] == ["1", "2", "3"]
    assert len({frame["picture"] for frame in frames}) == 3
    for frame in frames:
        picture = base64.b64decode(frame["picture"].split(",")[1])
        assert imread(io.BytesIO(picture)).size > 0
    assert frames[1]["picture"] in out.split("<script>")[0]  # shown without a script
    assert 'alt="a bar of 2"' in out and 'max="2"' in out and 'value="1"' in out
    assert not plt.get_fignums()  # every figure was closed


def test_the_same_slider_has_the_same_id_and_another_has_another():
    def frame_id(label):
        out = slider(draw, [1, 2], label, alt=str).data
        return re.search(r'id="(frames-[^"]+)"', out).group(1)

    assert frame_id("height") == frame_id("height") != frame_id("width")


def test_texts_of_a_slider_cannot_end_the_script_or_the_attribute():
    out = slider(draw, [1], "</script><b>", alt=lambda v: '"</script>').data
    assert out.count("</script>") == 1
    assert 'alt="&quot;&lt;/script&gt;"' in out


def test_a_slider_that_starts_nowhere():
    with pytest.raises(ValueError, match=r"start=2 must be 0 \.\. 1"):
        slider(draw, [1, 2], "height", alt=str, start=2)


def test_pictures_look_as_seaborn_would_have_them():
    import seaborn as sns

    path = Path(plot.__file__).with_suffix(".mplstyle")
    ours = plt.rcParamsDefault | rc_params_from_file(path, use_default_template=False)
    theirs = sns.axes_style("whitegrid") | sns.plotting_context(font_scale=0.9)
    del theirs["image.cmap"]  # each picture names its own
    for name, value in theirs.items():
        assert ours[name] == value or to_rgb(ours[name]) == to_rgb(value), name
    colours = [to_hex(c) for c in ours["axes.prop_cycle"].by_key()["color"]]
    assert colours == sns.color_palette("colorblind").as_hex()


def test_seaborn_is_loaded_for_heat_maps_alone():
    lines = "from lib.show import plot", "plot.line_chart({'a': [1, 2]}, 'x', 'y')"
    check = "import sys; assert not {'seaborn', 'pandas'} & {*sys.modules}"
    heat = "import torch; plot.heat_map(torch.ones(1, 1), 'a', 'b', 'x', 'y')"
    code = "\n".join([*lines, check, heat, "assert 'seaborn' in sys.modules"])
    environment = {**os.environ, "MPLBACKEND": "agg"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)


def test_pictures_have_labelled_axes():
    weights = [torch.eye(3).expand(2, 3, 3)]
    figures = [
        plot.loss_curve({"a": [2.0, 1.0], "b": [3.0, 2.0]}, {"level": 1.5}),
        plot.heat_map(torch.rand(2, 3), list("ab"), list("xyz"), "next", "read"),
        plot.bar_chart({"a": 1.0, "b": 2.0}, "character", "share"),
        plot.attention_maps(weights, list("abc")),
    ]
    for figure in figures:
        axes = figure.axes[0]
        assert axes.get_xlabel() or figure.get_supxlabel()
        assert axes.get_ylabel() or figure.get_supylabel()


def test_a_heat_map_with_labels_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(2, 3\) but there are 3 row and 2 column"):
        plot.heat_map(torch.rand(2, 3), list("abc"), list("xy"), "x", "y")


def test_a_line_with_too_few_heights():
    with pytest.raises(ValueError, match="'a' has 2 heights for 3 places"):
        plot.line_chart({"a": [1.0, 2.0]}, "x", "y", x=[0, 1, 2])


def test_a_line_chart_stands_where_it_is_told_on_a_log_axis():
    figure = plot.line_chart({"a": [1.0, 10.0]}, "block", "norm", x=[3, 7], log=True)
    axes = figure.axes[0]
    assert axes.lines[0].get_xdata().tolist() == [3, 7]
    assert axes.get_yscale() == "log" and axes.get_legend() is None


def test_negative_entries_get_another_colour_of_equal_strength():
    mixed = plot.heat_map(torch.tensor([[-2.0, 1.0]]), ["r"], list("ab"), "x", "y")
    assert mixed.axes[0].collections[0].get_clim() == (-2.0, 2.0)
    positive = plot.heat_map(torch.tensor([[0.5, 1.0]]), ["r"], list("ab"), "x", "y")
    assert positive.axes[0].collections[0].get_clim() == (0.0, 1.0)


def test_space_and_newline_can_be_seen():
    assert plot.visible([" ", "\n", "a"]) == ["␣", "↵", "a"]


@exercise
def check_even(number) -> str:
    """Takes an even number."""
    expect(number % 2 == 0, "That is odd; try the number after it.")
    return "Even."


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (4, "check_even: correct. Even."),
        (3, "check_even: not yet. That is odd; try the number after it."),
        (..., "check_even: not attempted yet"),
        ("4", "check_even: not yet. Your code raised TypeError: not all arguments"),
    ],
)
def test_a_check_prints_one_line(answer, line, capsys):
    assert check_even(answer) is None
    assert capsys.readouterr().out.startswith(line)


def test_expect_and_hints():
    expect(True, "never said")
    with pytest.raises(Mistake, match="said"):
        expect(False, "said")
    assert hint_for(0.50001, {0.5: "half"}, "else") == "half"
    assert hint_for(0.6, {0.5: "half"}, "else") == "else"


def test_a_rung_is_printed_without_its_time_and_recorded_with_it(
    capsys, monkeypatch, tmp_path
):
    monkeypatch.delenv("COURSE_RUNGS", raising=False)
    rung("Bigram", 4_225, 2.48189, cpu_seconds=0.123, sample="to be")
    line = "Ladder | Bigram | 4,225 parameters | 2.4819 nats per character\n"
    assert capsys.readouterr().out == line + "  'to be'\n"
    monkeypatch.setenv("COURSE_RUNGS", str(tmp_path / "rungs"))
    rung("Bigram", 4_225, 2.48189, cpu_seconds=0.123, sample="to be")
    assert capsys.readouterr().out == line + "  'to be'\n"
    assert json.loads((tmp_path / "rungs").read_text("utf-8")) == {
        "name": "Bigram",
        "parameters": 4225,
        "cpu_seconds": 0.12,
        "seeds": 1,
        "validation_loss": 2.4819,
        "sample": "to be",
    }
