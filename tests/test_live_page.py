"""The live translator and tokenizer in Chromium: what they compute is Python's."""

import base64
import json
import re
from pathlib import Path

import pytest
from built_site import ROOT, page_names
from chromium import (  # noqa: F401
    WIDTHS,
    Browser,
    Page,
    address,
    axe_problems,
    browser,
    launch,
    open_page,
    site,
)

from lib.show.playground import source

pytestmark = pytest.mark.browser

RECORDS = ROOT / "tests" / "playground" / "live"
PAGE = "book/playground.html"
TRANSLATORS = ("translator", "tiny-post", "tiny-pre")
TRANSLATOR = source("translator", until="translation.js")
TOKENIZER = source("tokenizer", until="tokens.js")
SHOW = "\nwindow.engine = {%s};"
# Reads each target in two parts, and says how far logits and weights are from
# PyTorch's; then translates all sentences, and tells what their words look at.
COMPARE = """([encoded, record]) => {
  const bytes = Uint8Array.from(atob(encoded), c => c.charCodeAt(0)).buffer;
  const {readCheckpoint, Translation} = window.engine;
  const translation = new Translation(readCheckpoint(bytes)), {model} = translation;
  const {encoder, decoder, config: {context_length: C, n_decoder_layers: L}} = model;
  const far = {logits: 0, maps: 0, alignments: 0};
  const compare = (name, ours, theirs) => theirs.forEach((value, i) => {
    const distance = Math.abs(ours[i] - value);
    far[name] = Math.max(far[name], Number.isFinite(distance) ? distance : 1e9);
  });
  for (const {src, tgt, logits, maps} of record.passes) {
    const half = Math.ceil(tgt.length / 2);
    model.read(src);
    const written = [tgt.slice(0, half), tgt.slice(half)].map(ids => model.write(ids));
    compare("logits", written.flatMap(part => [...part]), logits.flat());
    const attentions = [...encoder.blocks.map(block => block.attention),
      ...decoder.blocks.flatMap(block => [block.attention, block.cross])];
    maps.forEach((heads, i) => heads.forEach((rows, h) => rows.forEach((row, t) =>
      compare("maps", attentions[i].maps[h].subarray(t * C), row))));
  }
  const wrong = [], words = [];
  record.pairs.forEach(([english, french], i) => {
    translation.start(english);
    while (!translation.isDone) translation.step();
    const ours = translation.french.decode(translation.ids);
    if (ours !== french) wrong.push([english, ours, french]);
    (record.alignments[i] ?? []).forEach(([word, looked, share], t) => {
      const weights = translation.weights(t, L - 1, null), most = Math.max(...weights);
      compare("alignments", [most], [share]);
      const seen = translation.sourceWords[weights.indexOf(most)];
      if (seen !== looked || translation.written[t] !== word) words.push([word, seen]);
    });
  });
  return {...far, wrong, words};
}"""
# One change each, as a reader or a porter might make it.
MISTAKES = {
    "queries of the cross-attention from the memory": (
        "    for (const { cross } of", "    this.memory = x.slice();\n"
        "    for (const { cross } of", "this.look(cross, y, start",
        "this.look(cross, (y.set(this.memory.subarray(0, T * D)), y), start",
        "const T = ids.length, start", "const T = ids.length, D = 16, start",
    ),
    "a causal mask in the encoder": (
        "y, 0, S, () => [0, S - 1]", "y, 0, S, (place) => [0, place]",
    ),
    "no mask in the decoder": ("(place) => [0, place]", "() => [0, start + T - 1]"),
    "the newest token sees itself too late": ("(place) => [0, place]",
        "(place) => [0, Math.max(0, place - 1)]"),
    "one source token too few": ("[0, this.nSource - 1]", "[0, this.nSource - 2]"),
    "the start token is read as another": ("this.next(bos)", "this.next(eos)"),
    "no end token in the source": ("slice(0, C - 1), eos]", "slice(0, C - 1)]"),
    "the filling may be written": (
        "[this.model.config.pad_id] = -Infinity", "[0] += 0",
    ),
    "the norm at the other place": ("pre_norm: isFirst } = this.config;",
        "pre_norm } = this.config, isFirst = !pre_norm;"),
    "no last norm": ("if (finalNorm)", "if (false)"),
    "the memory before its norm": ("this.finish(this.encoder, S);", ""),
    "positions start at 0": ("(start + t) * D + i]", "t * D + i]"),
    "positions start at 1": ("(start + t) * D + i]", "(start + t + 1) * D + i]"),
    "one block's memory for all": ("this.look(cross, y", "this.look("
        "this.decoder.blocks[0].cross, y"),
    "the target's words in the source": ("embed(this.source", "embed(this.target"),
    "tokens are not scaled": ("scale = Math.sqrt(D)", "scale = 1"),
    "scores are divided too much": ("/ Math.sqrt(Dh);", "/ Math.sqrt(Dh * H);"),
    "heads take turns": ("(head / (H / K))", "((head + 1) % H / (H / K))"),
    "another activation": ('`${name}.ffn`, "relu"', '`${name}.ffn`, "gelu"'),
    "the past is overwritten": ("this.nTarget = start + T;", "this.nTarget = T;"),
    "the past of the last sentence": ("    this.nTarget = 0;\n",
        "    this.nTarget ??= 0;\n"),
    "no bias": ("`${name}.${end}`, D, D, hasBias", "`${name}.${end}`, D, D, false"),
    "a head of its own for all": ("c.tie_weights ? this.target", "c.tie_weights ? "
        "this.target.map((w) => -w)"),
    "values are keys": ('part("v_proj")', 'part("k_proj")'),
}  # fmt: skip
PIECES = """([values, record]) => {
  const tokenizer = new window.engine.BPETokenizer(values), wrong = [];
  record.texts.forEach((text, i) => {
    const steps = tokenizer.steps(text), said = JSON.stringify(text);
    const {ids} = tokenizer.encode(text), all = record.after[768][i];
    const words = text.match(window.engine.BPETokenizer.SPLIT) ?? [];
    if (words.join("|") !== record.words[i].join("|")) wrong.push(["words", said]);
    if (ids.join() !== all.join()) wrong.push(["all", said]);
    if (tokenizer.decode(ids) !== text) wrong.push([said]);
    for (const [k, theirs] of Object.entries(record.after)) {
      if (steps.after(Number(k)).join() !== theirs[i].join()) wrong.push([k, said]);
    }
    const merges = record.changes[text];
    if (merges && merges.join() !== steps.merges.join()) wrong.push(["steps", said]);
  });
  return wrong;
}"""
TOKENIZER_MISTAKES = {
    "any pair is merged": ("}`) === best;", "}`) >= best;"),
    "JavaScript's white space": (r"String.raw`\p{White_Space}`", r"String.raw`\s`"),
    "a space stays with its word": (r"\s+(?!\S)|", ""),
    "letters of one alphabet": (r" ?\p{L}+", " ?[a-zA-Z]+"),
    "one merge too many": ("merge < 256 + k", "merge <= 256 + k"),
    "only the first of a pair": ("if (joined) i++;", ""),
    "merges in the order of the text": ("best = Math.min(best, ",
        "best = Math.min(best < Infinity ? best : Infinity, best < Infinity ? best : "),
}  # fmt: skip


def record(name: str) -> dict:
    """What Python computes."""
    return json.loads((RECORDS / f"{name}.json").read_text("utf-8"))


def changed(text: str, *pairs: str) -> str:
    """A script with one mistake: each old text of it with a new one in its place."""
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new)
    return text


def evaluated(browser: "Browser", engine: str, names: str, what: list) -> list:
    """What functions of a script make of their arguments, each a pair of both."""
    page = browser.new_page()
    page.add_script_tag(content=engine + SHOW % names, type="module")
    page.wait_for_function("window.engine")
    found = [page.evaluate(function, arguments) for function, arguments in what]
    page.close()
    return found


# The engines


@pytest.fixture(scope="module")
def translators() -> list:
    """For each translator its file as base64, and what PyTorch computes from it."""
    files = [RECORDS / f"{name}.safetensors" for name in TRANSLATORS]
    files[0] = ROOT / "data" / "translator.safetensors"
    encoded = [base64.b64encode(path.read_bytes()).decode() for path in files]
    return [
        (COMPARE, [text, record(name)])
        for text, name in zip(encoded, TRANSLATORS, strict=True)
    ]


def is_right(found: dict) -> bool:
    """Whether logits, weights, translations and alignments are PyTorch's."""
    near = found["logits"] < 1e-4 and found["maps"] < 1e-5
    near = near and found["alignments"] < 1e-5
    return near and found["wrong"] == found["words"] == []


def test_the_translator_computes_what_pytorch_computes(
    browser: "Browser", translators: list
) -> None:
    names = "readCheckpoint, Translation"
    found = evaluated(browser, TRANSLATOR, names, translators)
    for name, one in zip(TRANSLATORS, found, strict=True):
        assert is_right(one), (name, one)
    assert len(record("translator")["pairs"]) == 90


def test_planted_mistakes_of_the_translator_are_found(
    browser: "Browser", translators: list
) -> None:
    for name, pairs in MISTAKES.items():
        engine = changed(TRANSLATOR, *pairs)
        try:
            tiny = evaluated(
                browser, engine, "readCheckpoint, Translation", translators[1:]
            )
        except Exception as error:  # a mistake may end in an error, too
            assert "Error" in str(error)
            continue
        assert not all(map(is_right, tiny)), name


@pytest.fixture(scope="module")
def pieces() -> tuple[str, list]:
    """The merges, and what Python's tokenizer makes of many texts."""
    merges = json.loads((ROOT / "data" / "bpe-1024.json").read_text("utf-8"))
    return PIECES, [merges, record("tokenizer")]


def test_the_tokenizer_does_what_python_does(browser: "Browser", pieces: tuple) -> None:
    assert len(pieces[1][1]["texts"]) >= 60
    assert evaluated(browser, TOKENIZER, "BPETokenizer", [pieces]) == [[]]


def test_planted_mistakes_of_the_tokenizer_are_found(
    browser: "Browser", pieces: tuple
) -> None:
    for name, pairs in TOKENIZER_MISTAKES.items():
        engine = changed(TOKENIZER, *pairs)
        assert evaluated(browser, engine, "BPETokenizer", [pieces]) != [[]], name


# The panels


def panel(
    browser: "Browser", base: str, kind: str, width: int = 1280
) -> tuple["Page", list[str]]:
    """The page with one of its panels ready, and the list of what is heard."""
    page, heard = open_page(browser, base)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(base + PAGE)
    page.locator(f"[data-{kind}]").scroll_into_view_if_needed()
    page.wait_for_selector(f"[data-{kind}][data-ready]")
    return page, heard


def test_it_translates_word_by_word(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address, "translator")
    host = page.locator("[data-translator]")
    english = record("translator")["pairs"][0][0]
    rows = record("translator")["alignments"][0]
    host.get_by_label("An English sentence").fill(english.upper() + " .")
    for n, (word, looked, share) in enumerate(rows, start=1):
        likeliest = host.locator("tbody tr").first
        assert word in likeliest.inner_text() and "%" in likeliest.inner_text()
        host.get_by_role("button", name="One word").click()
        page.wait_for_selector(f"[data-words='{n}']")
        said = host.get_by_label("Attention as text").locator("li").last.inner_text()
        start = f"“{word}” looks at “{looked}” ("
        assert said.startswith(start)
        assert abs(int(said[len(start) :].split()[0]) - 100 * share) <= 0.51
    host.get_by_role("button", name="Translate").click()
    page.wait_for_selector(f"[data-words='{len(rows) + 1}']")
    french = " ".join(row[0] for row in rows).replace("' ", "'")
    assert host.locator("[lang=fr]").first.inner_text() == french
    picture = host.get_by_label("Attention as a picture")
    assert picture.locator("tbody tr").count() == len(rows) + 1
    assert picture.locator("thead th").count() == len(english.split()) + 1
    assert heard == []
    page.close()


STOP_AT_2 = """host => new Promise(done => {
  const go = host.shadowRoot.querySelector("button.main"), begun = go.textContent;
  new MutationObserver((changes, observer) => {
    if (host.dataset.words !== "2") return;
    observer.disconnect();
    const playing = go.textContent;
    go.click();
    done([begun, playing, go.textContent]);
  }).observe(host, {attributes: true, attributeFilter: ["data-words"]});
  go.click();
})"""


def test_it_plays_and_stops_and_starts_again(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address, "translator")
    host = page.locator("[data-translator]")
    host.get_by_label("Example").select_option("she does not sell a white flower")
    assert host.evaluate(STOP_AT_2) == ["Translate", "Stop", "Translate"]
    assert host.locator("[lang=fr]").first.inner_text() == "elle ne"
    host.get_by_role("button", name="Start over").click()
    page.wait_for_selector("[data-words='0']")
    host.get_by_label("An English sentence").press("Enter")
    host.get_by_text("elle ne vend pas de fleur blanche").wait_for()
    host.get_by_role("button", name="Translate").wait_for()  # no longer "Stop"
    assert heard == []
    page.close()


def test_it_names_the_words_that_it_does_not_know(
    browser: "Browser", address: str
) -> None:
    page, heard = panel(browser, address, "translator")
    host = page.locator("[data-translator]")
    host.get_by_text("The words that it knows").click()
    assert "apple, apples, bad" in host.locator("details").inner_text()
    sentence = host.get_by_label("An English sentence")
    sentence.fill("The wolf sees <pad> the cat!")
    host.get_by_text("the model does not know them: wolf <pad>.").wait_for()
    host.get_by_role("button", name="One word").click()
    page.wait_for_selector("[data-words='1']")
    picture = host.get_by_label("Attention as a picture")
    words = picture.locator("thead").inner_text().split()
    assert words == ["the", "sees", "the", "cat", "<eos>"]
    sentence.fill("wolf")
    host.get_by_text("Type some words that it knows.").wait_for()
    host.get_by_role("button", name="One word").click()
    assert host.get_attribute("data-words") == "0"
    sentence.fill(" ".join(["cat"] * 70))
    host.get_by_text("The last 7 words are too many.").wait_for()
    assert heard == []
    page.close()


def test_each_head_and_the_means_are_shown(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address, "translator")
    host = page.locator("[data-translator]")
    host.get_by_label("An English sentence").fill("I see the white house")
    for n in range(1, 4):
        host.get_by_role("button", name="One word").click()
        page.wait_for_selector(f"[data-words='{n}']")
    choice, seen = host.get_by_label("Show"), set()
    options = choice.locator("option").all_inner_texts()
    assert len(options) == 2 * (1 + 4) + 1
    for name in options:
        choice.select_option(name)
        shares = host.get_by_label("Attention as a picture").locator("td[title]")
        titles = shares.evaluate_all("cells => cells.map(cell => parseInt(cell.title))")
        rows = [titles[i : i + 6] for i in range(0, len(titles), 6)]
        assert len(rows) == 3 and all(abs(sum(row) - 100) <= 3 for row in rows)
        seen.add(tuple(titles))
    assert len(seen) == len(options)
    choice.focus()
    page.keyboard.press("Home")
    assert choice.locator("option:checked").inner_text() == options[0]
    assert heard == []
    page.close()


def texts_of(page: "Page") -> list[str]:
    """The pieces of the tokenizer's panel."""
    return page.locator("[data-tokenizer] .piece b").all_inner_texts()


def test_the_tokenizer_merges_step_by_step(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address, "tokenizer")
    host = page.locator("[data-tokenizer]")
    shown = host.locator(".panel")
    host.get_by_label("Text", exact=True).fill("the thee")
    assert texts_of(page) == ["the", "␣thee"]
    assert "2 tokens for 8 characters (8 bytes), 4.00" in shown.inner_text()
    host.get_by_role("button", name="No merge").click()
    page.wait_for_selector("[data-step='0']")
    assert texts_of(page) == [*"the␣thee"]
    host.get_by_label("Merges of this text").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("[data-step='1']")
    said = host.get_by_role("status").inner_text()
    assert "Merge 1 of 768: “␣” and “t” become “␣t”, number 256, in 1 place." in said
    assert texts_of(page) == [*"the", "␣t", *"hee"]
    host.get_by_role("button", name="One merge", exact=True).click()
    page.wait_for_selector("[data-step='2']")
    assert "“h” and “e” become “he”, number 257, in 2 places." in shown.inner_text()
    host.get_by_role("button", name="One back").click()
    page.wait_for_selector("[data-step='1']")
    host.get_by_role("button", name="All merges").click()
    page.wait_for_selector("[data-tokenizer]:not([data-step='1'])")
    assert texts_of(page) == ["the", "␣thee"]
    assert heard == []
    page.close()


def test_what_is_not_ascii_shows_its_bytes(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address, "tokenizer")
    field = page.locator("[data-tokenizer]").get_by_label("Text", exact=True)
    for text, pieces in (
        ("é\n\t", ["C3", "A9", "⏎", "⇥"]), ("🎭", ["F0", "9F", "8E", "AD"]), ("", []),
    ):  # fmt: skip
        field.fill(text)
        assert texts_of(page) == pieces
        n = len(pieces)
        said = page.locator("[data-tokenizer] .panel").inner_text()
        assert f"{n} tokens for {len(text)} character" in said
        assert "No merge fits this text" in said
    assert heard == []
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", ["translator", "tokenizer"])
def test_it_is_accessible_and_fits(
    browser: "Browser", site: Path, kind: str, width: int
) -> None:
    page, heard = panel(browser, site.resolve().as_uri() + "/", kind, width)
    if kind == "translator":
        page.get_by_role("button", name="One word").click()
        page.wait_for_selector("[data-words='1']")
    scroller = "document.scrollingElement"
    assert page.evaluate(f"{scroller}.scrollWidth <= {scroller}.clientWidth")
    page.evaluate("window.scrollTo(0, 0)")
    assert axe_problems(page) == []
    assert heard == []
    page.close()


SHIFTS = """new PerformanceObserver(list => {
  for (const entry of list.getEntries()) {
    window.moved = (window.moved ?? 0) + (entry.hadRecentInput ? 0 : entry.value);
  }
}).observe({type: "layout-shift", buffered: true})"""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_moves_when_they_start(
    browser: "Browser", address: str, width: int
) -> None:
    page, heard = open_page(browser, address)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address + PAGE)
    page.evaluate(SHIFTS)
    page.wait_for_selector("[data-playground][data-ready]")
    for kind in ("translator", "tokenizer"):
        host = page.locator(f"[data-{kind}]")
        before = host.evaluate("host => host.offsetHeight")
        host.scroll_into_view_if_needed()
        page.wait_for_selector(f"[data-{kind}][data-ready]")
        assert host.evaluate("host => host.offsetHeight") == before
        inner = host.evaluate("host => host.shadowRoot.lastChild.offsetHeight")
        assert 0 <= before - inner <= 30
    assert page.evaluate("window.moved ?? 0") < 0.005
    assert heard == []
    page.close()


def test_what_cannot_be_loaded_is_said(browser: "Browser", address: str) -> None:
    page = browser.new_page()
    page.route("**/translator-model.js", lambda route: route.abort())
    page.goto(address + PAGE)
    host = page.locator("[data-translator]")
    host.scroll_into_view_if_needed()
    message = host.get_by_text("could not start: translator-model could not be loaded")
    message.wait_for(timeout=10_000)
    assert host.get_by_role("button").count() == 0
    page.close()


def test_nothing_moves_while_it_translates(browser: "Browser", address: str) -> None:
    page, heard = panel(browser, address, "translator", 375)
    page.evaluate(SHIFTS)
    page.wait_for_timeout(100)  # those of the start are told first
    page.evaluate("window.moved = 0")
    page.locator("[data-translator]").get_by_role("button", name="Translate").click()
    page.wait_for_selector("[data-words='10']")
    assert page.evaluate("window.moved") < 0.005
    assert heard == []
    page.close()


def test_what_they_show_is_loaded_when_they_come_into_view(
    browser: "Browser", address: str
) -> None:
    page, heard = open_page(browser, address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rsplit("/")[-1]))
    page.goto(address + PAGE)
    page.wait_for_selector("[data-playground][data-ready]")
    assert {"translator.js", "tokenizer.js"} <= set(asked)
    assert not {"translator-model.js", "bpe-1024.js"} & set(asked)
    page.locator("[data-tokenizer]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-tokenizer][data-ready]")
    assert "bpe-1024.js" in asked and heard == []
    page.close()


def test_without_a_script_a_sentence_says_so(site: Path) -> None:
    html = (site / PAGE).read_text("utf-8")
    for name in ("translator", "tokenizer"):
        place = rf"<div data-{name} [^>]*>(?:(?!</div>).)*</div>"
        assert re.search(rf"{place}<noscript>The {name} needs JavaScript", html)


def test_other_pages_load_nothing_of_them(site: Path) -> None:
    for name in page_names(site):
        text = (site / name).read_text("utf-8")
        for kind in ("translator", "tokenizer"):
            holds = f"<div data-{kind} " in text
            assert (f"playground/{kind}.js" in text) == holds == (name == PAGE), name
