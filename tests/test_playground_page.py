"""The live model in Chromium: its numbers are PyTorch's, and its panel works."""

import base64
import json
from contextlib import closing
from pathlib import Path

import pytest
from built_site import ROOT, page_names
from chromium import (  # noqa: F401
    Browser,
    Page,
    address,
    axe_problems,
    browser,
    launch,
    open_page,
    site,
)

from lib.show.playground import source, widget_module

pytestmark = pytest.mark.browser

RECORDS = ROOT / "tests" / "playground"
MODELS = [path.stem for path in sorted(RECORDS.glob("*.json"))]
PAGE = "book/playground.html"
ENGINE = source("playground", until="engine.js")
SHOW = "\nwindow.engine = {readCheckpoint, GPT, makeTokenizer, windowStart};"
# Reads each text in two parts, the second with the cache, and says how far its numbers
# are from PyTorch's; then writes the likeliest tokens.
COMPARE = """([encoded, record, nGreedy]) => {
  const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0)).buffer;
  const {readCheckpoint, GPT, makeTokenizer, windowStart} = window.engine;
  const checkpoint = readCheckpoint(bytes), model = new GPT(checkpoint);
  const tokenizer = makeTokenizer(checkpoint.tokenizer);
  const {n_heads: H, n_layers: L, context_length: C, d_model: D} = model.config;
  const far = {logits: 0, blocks: 0, maps: 0};
  const compare = (name, ours, theirs) => theirs.forEach((value, i) => {
    const distance = Math.abs(ours[i] - value);
    far[name] = Math.max(far[name], Number.isFinite(distance) ? distance : 1e9);
  });
  for (const one of record.passes) {
    const ids = one.ids.slice(windowStart(one.ids.length, C)), last = ids.length - 1;
    if (last) model.forward(ids.slice(0, Math.ceil(last / 2)));
    compare("logits", model.forward(ids), one.logits);
    for (let i = 0; one.maps && i < L * H; i++) {
      const map = model.blocks[Math.floor(i / H)].maps[i % H];
      compare("maps", map.subarray(last * C), one.maps[Math.floor(i / H)][i % H]);
    }
    if (one.blocks) {
      const vectors = [];
      for (const _ of model.read(ids, true)) {
        vectors.push(model.room.x.slice(last * D, (last + 1) * D));
      }
      one.blocks.forEach((vector, i) => compare("blocks", vectors[2 * i + 1], vector));
    }
  }
  let {ids} = tokenizer.encode(record.prompt);
  for (let i = 0; i < nGreedy; i++) {
    const logits = model.forward(ids.slice(windowStart(ids.length, C)));
    ids.push(logits.indexOf(Math.max(...logits)));
  }
  const isCutRight = tokenizer.encode(record.text).ids.join() === record.ids.join();
  return {...far, isCutRight, written: tokenizer.decode(ids)};
}"""
# One change each, as a reader or a porter might make it.
MISTAKES = {
    "the other GELU": ("\n  gelu,\n", "\n  gelu: (x) => ACTIVATIONS.gelu_tanh(x),\n"),
    "another epsilon": ("eps: this.config.norm_eps", "eps: 1e-3"),
    "the other variance": ("square / n + eps", "square / (n - 1) + eps"),
    "RMSNorm takes the mean away": ("if (!isRms)", "if (true)"),
    "no mask": ("window + 1), place]", "window + 1), start + T - 1]"),
    "a stale cache": (" && this.ids[start] === ids[start]", ""),
    "queries are keys": ('"q_proj", D, wide', '"k_proj", D, wide'),
    "scores divided too much": ("/ Math.sqrt(Dh);", "/ Math.sqrt(Dh * H);"),
    "shared heads in turn": ("Math.floor(head / (H / K))", "head % K"),
    "pairs turned backwards": ("cos[row + i] + a * sin", "cos[row + i] - a * sin"),
    "rotation starts at 0": ("row = (start + t) * half", "row = t * half"),
    "positions start at 0": ("place = (start + t) * D", "place = t * D"),
    "a window of one more": ("place - block.window + 1", "place - block.window"),
    "no norm of the keys": ("if (block.kNorm)", "if (false)"),
    "the gate is a sigmoid": ("x / (1 + Math.exp(-x))", "1 / (1 + Math.exp(-x))"),
    "sines and cosines change places": ("i % 2 ? Math.cos", "i % 2 === 0 ? Math.cos"),
    "no bias in the head": ("this.headBias, V, logits", "null, V, logits"),
    "the window moves by half": ("contextLength / 4)", "contextLength / 2)"),
    "any pair is merged": ("}`) === best;", "}`) >= best;"),
}  # fmt: skip


@pytest.fixture(scope="module")
def models() -> dict[str, tuple[str, dict]]:
    """Each model as base64, and what PyTorch computes from it."""
    found = {}
    for name in MODELS:
        path = RECORDS / f"{name}.safetensors"
        path = path if path.exists() else ROOT / "data" / path.name
        record = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
        found[name] = base64.b64encode(path.read_bytes()).decode(), record
    return found


def compared(browser: "Browser", engine: str, models: dict, n_greedy: int) -> dict:
    """What an engine computes, model by model: distances, and the text it writes."""
    with closing(browser.new_page()) as page:
        page.add_script_tag(content=engine + SHOW, type="module")
        page.wait_for_function("window.engine")
        return {
            name: page.evaluate(COMPARE, [bytes_, record, n_greedy])
            for name, (bytes_, record) in models.items()
        }


def is_right(found: dict, record: dict) -> bool:
    """Whether numbers and text are PyTorch's."""
    near = found["logits"] < 1e-4 and found["blocks"] < 1e-4 and found["maps"] < 1e-5
    return (
        near and found["isCutRight"] and record["written"].startswith(found["written"])
    )


def test_the_engine_computes_what_pytorch_computes(
    browser: "Browser", models: dict
) -> None:
    assert len(models) == 6
    for name, found in compared(browser, ENGINE, models, 200).items():
        record = models[name][1]
        assert is_right(found, record), (name, found)
        assert found["written"] == record["written"]


def test_planted_mistakes_are_found(browser: "Browser", models: dict) -> None:
    tiny = {m: pair for m, pair in models.items() if m.startswith("tiny")}
    for name, (old, new) in MISTAKES.items():
        assert old in ENGINE, name
        try:
            found = compared(browser, ENGINE.replace(old, new), tiny, 60)
        except Exception as error:  # a mistake may end in an error, too
            assert "Error" in str(error)
            continue
        assert not all(is_right(found[m], models[m][1]) for m in found), name


# The panel


def panel(browser: "Browser", base: str) -> tuple["Page", list[str]]:
    """The playground's page with its panel ready, and the list of what is heard."""
    page, heard = open_page(browser, base)
    page.goto(base + PAGE)
    page.wait_for_selector("[data-ready]")
    return page, heard


def written(page: "Page") -> str:
    return page.locator("[aria-label='The text']").inner_text()


def wait_for_tokens(page: "Page", n: int) -> None:
    page.wait_for_function(
        f"document.querySelector('[data-tokens]').dataset.tokens >= {n}"
    )


def test_it_writes_the_same_text_again(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address)
    texts = []
    for _ in range(2):
        page.get_by_role("button", name="Start over").click()
        for n in range(1, 13):
            page.get_by_role("button", name="One token").click()
            wait_for_tokens(page, n)
        texts.append(written(page))
    assert texts[0] == texts[1] and texts[0].startswith("ROMEO:")
    assert len(texts[0]) == len("ROMEO:") + 12
    page.get_by_label("Seed").fill("7")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Write").click()
    wait_for_tokens(page, 12)
    page.get_by_role("button", name="Stop").click()
    assert written(page)[: len(texts[0])] != texts[0]
    assert heard == []
    page.close()


HURRY = """() => {
  const host = document.querySelector("[data-playground]");
  const press = name => [...host.shadowRoot.querySelectorAll("button")]
    .find(button => button.textContent === name).click();
  for (let n = 0; n < 5; n++) { press("Write"); press("Stop"); press("One token"); }
  press("Write");
  return new Promise(done => setTimeout(() => {
    for (let n = 0; n < 5; n++) { press("Stop"); press("Write"); }
    done();
  }, 300));
}"""


def test_a_hurried_reader_gets_the_same_text(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address)
    page.get_by_label("Tokens a second").fill("60")
    page.get_by_role("button", name="Write").click()
    wait_for_tokens(page, 30)
    page.get_by_role("button", name="Stop").click()
    text = written(page)
    page.get_by_role("button", name="Start over").click()
    wait_for_tokens(page, 0)
    page.evaluate(HURRY)
    wait_for_tokens(page, 30)
    page.get_by_role("button", name="Stop").click()
    n = min(len(text), len(written(page))) - 2  # the last may be under way
    assert n >= 30 and written(page)[:n] == text[:n]
    assert heard == []
    page.close()


def test_it_names_what_it_does_not_know(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address)
    page.get_by_label("Prompt").fill("Straße #1")
    page.get_by_text("Left out").wait_for()
    assert "ß # 1" in page.get_by_role("status").first.inner_text()
    page.wait_for_function(
        "document.querySelector('[data-playground]').panel.text.innerText === 'Strae '"
    )
    assert heard == []
    page.close()


def test_heads_are_chosen_with_keys_and_switched_off(
    browser: "Browser", address: str
) -> None:
    page, heard = panel(browser, address)
    page.get_by_role("radio", name="Block 1, head 1").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_text("Block 1, head 2: ").first.wait_for()
    page.get_by_label("Switch this head off").check()
    page.get_by_text("Without this head the model finds the text").wait_for()
    page.get_by_label("Switch this head off").uncheck()
    page.get_by_text("All heads are on").wait_for()
    page.get_by_label("Position that reads").fill("2")
    page.get_by_text("“M” at 2 reads").wait_for()
    assert heard == []
    page.close()


def test_a_checkpoint_of_ones_own_and_a_damaged_one(
    browser: "Browser", address: str, tmp_path: Path
) -> None:
    page, heard = panel(browser, address)
    good = RECORDS / "tiny-modern.safetensors"
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(good.read_bytes()[:-8])
    wrong = {damaged: "does not fill its place", Path(__file__): "no safetensors file"}
    for path, words in wrong.items():
        page.get_by_label("Use my checkpoint").set_input_files(path)
        page.get_by_text(words).wait_for()
    page.get_by_label("Use my checkpoint").set_input_files(good)
    page.get_by_text("3 blocks, 4 heads, vectors of 24 numbers").wait_for()
    page.get_by_label("Temperature").fill("0")
    page.get_by_role("button", name="Write").click()
    wait_for_tokens(page, 30)
    page.get_by_role("button", name="Stop").click()
    record = json.loads((RECORDS / "tiny-modern.json").read_text("utf-8"))
    assert record["written"].startswith(written(page).rstrip("\n")[:30])
    assert heard == []
    page.close()


def test_a_model_beside_it(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address)
    page.get_by_label("Compare with").select_option("the same, before training")
    other = page.get_by_label("The other model's text")
    other.get_by_text("ROMEO:", exact=True).wait_for()  # loaded: both begin anew
    page.get_by_role("button", name="One token").click()
    wait_for_tokens(page, 1)
    assert len(other.inner_text()) == len("ROMEO:") + 1
    page.evaluate("window.scrollTo(0, 0)")
    assert axe_problems(page) == []
    assert heard == []
    page.close()


def test_the_widget_of_a_notebook_starts(browser: "Browser", models: dict) -> None:
    page = browser.new_page()
    start = """
      const bytes = Uint8Array.from(atob(window.encoded), c => c.charCodeAt(0));
      const values = {checkpoint: new DataView(bytes.buffer), options: {prompt: "ROM"}};
      const el = document.body.appendChild(document.createElement("div"));
      window.stop = render({model: {get: name => values[name]}, el});"""
    page.evaluate("text => { window.encoded = text; }", models["tiny-plain"][0])
    page.add_script_tag(content=widget_module() + start, type="module")
    page.wait_for_selector("[data-ready]")
    page.get_by_role("button", name="One token").click()
    wait_for_tokens(page, 1)
    page.evaluate("window.stop()")
    page.close()


def test_other_pages_load_nothing_of_it(site: Path) -> None:
    with_script = [
        name
        for name in page_names(site)
        if "playground.js" in (site / name).read_text("utf-8")
    ]
    assert PAGE in with_script
    for name in with_script:
        assert "data-playground" in (site / name).read_text("utf-8"), name
