"""The search finds what learners type, also where the course has other words for it."""

import re
from pathlib import Path

import pytest
from built_site import ROOT
from chromium import (  # noqa: F401
    Browser,
    address,
    browser,
    launch,
    open_page,
    site,
)
from course_data import Lesson, read_course
from search_data import lesson_words, read_words, spellings

GLOSSARY = (ROOT / "book" / "glossary.md").read_text("utf-8")
TERMS = re.findall(r"^### (.+)$", GLOSSARY, re.MULTILINE)
# What is typed -> where one of the first three results leads: a term of the glossary,
# or a lesson.
ASKED = {
    "rope": "#rotary-positions",
    "rotary embedding": "#rotary-positions",
    "kv cache": "#kv-cache",
    "KV-cache": "#kv-cache",
    "layernorm": "#layer-norm",
    "layer normalization": "#layer-norm",
    "self attention": "#self-attention",
    "attention": "06_attention",
    "scaled dot product attention": "06_attention",
    "causal mask": "#causal-mask",
    "gelu": "#gelu",
    "swiglu": "#swiglu",
    "mlp": "08_feed_forward",
    "bpe": "14_tokenization",
    "subword": "#byte-pair-encoding",
    "tokenizer": "#tokenizer",
    "lora": "27_lora",
    "qlora": "27_lora",
    "seq2seq": "15_encoder_decoder",
    "teacher forcing": "#teacher-forcing",
    "softmax temperature": "#temperature",
    "temperature": "#temperature",
    "nucleus sampling": "#top-p",
    "perplexity": "#perplexity",
    "fine tuning": "26_fine_tuning",
    "finetuning": "26_fine_tuning",
    "sft": "29_instruction_tuning",
    "rlhf": "30_preference_tuning",
    "dpo": "30_preference_tuning",
    "ppo": "25_reinforcement_learning",
    "moe": "21_mixture_of_experts",
    "backprop": "03_gradients",
    "backpropagation": "03_gradients",
    "autograd": "03_gradients",
    "positional encoding": "05_positions",
    "skip connection": "09_transformer_block",
    "bert": "17_masked_language_model",
    "vision transformer": "18_beyond_text",
    "gqa": "#grouped-query-attention",
    "flash attention": "#flash-attention",
    "gradient clipping": "#gradient-norm",
    "adam": "#adamw",
    "learning rate warmup": "#warm-up",
    "scaling laws": "22_scaling",
    "quantization": "#quantisation",
    "chain of thought": "24_reasoning",
    "beam search": "#beam-search",
    "n-gram": "02_bigram",
    "word embeddings": "#embedding",
    "checkpoint": "12_training_runs",
    "benchmark": "31_evaluation",
}


# The texts of pages are fetched after all; names of the library have a span instead.
FIRST_TEXTS = """() => [...document.querySelectorAll('#search-results li')].slice(0, 3)
  .every(item => item.querySelector('.context, span'))"""


def results(page: object, base: str, words: str) -> list[tuple[str, str, str]]:
    """Address, name and text of what the search page shows, from the top."""
    page.goto(f"{base}search.html?q={words.replace(' ', '+')}")
    page.locator(".search-summary:has-text('found')").wait_for()
    items = page.locator("#search-results li")
    if base.startswith("http"):
        page.wait_for_function(FIRST_TEXTS)
    return items.evaluate_all(
        "all => all.map(item => [item.querySelector('a').getAttribute('href'), "
        "item.querySelector('a').textContent, "
        "item.querySelector('.context')?.textContent ?? ''])"
    )


def is_first(place: str, found: list) -> bool:
    """Whether one of the first three results leads to a place."""
    best = [address for address, *_ in found[:3]]
    if place.startswith("#"):
        return "book/glossary.html" + place in best
    return any(one.startswith(f"lessons/{place}.html") for one in best)


@pytest.mark.browser
@pytest.mark.parametrize("part", range(4))
def test_what_learners_type_is_found(browser: Browser, address: str, part: int) -> None:
    page, heard = open_page(browser, address)
    lost = {}
    for words, place in list(ASKED.items())[part::4]:
        found = results(page, address, words)
        if not is_first(place, found):
            lost[words] = found[:3]
    assert lost == {}
    assert heard == []
    page.close()


@pytest.mark.browser
def test_a_result_shows_the_text_of_its_place(browser: Browser, address: str) -> None:
    page, heard = open_page(browser, address)
    found = {address: text for address, _, text in results(page, address, "rope")}
    assert found["book/glossary.html#rotary-positions"].startswith("Rotary positions")
    name = results(page, address, "perplexity")[0][1]
    assert name == "Glossary > Perplexity"
    for _, _, text in results(page, address, "shakespeare")[:3]:
        assert len(text) > 50
        assert not re.search(r"Contents|Download|Print to PDF|Binder", text)
    assert heard == []
    page.close()


@pytest.mark.browser
def test_the_search_works_from_disk(browser: Browser, site: Path) -> None:
    base = site.resolve().as_uri() + "/"
    page, heard = open_page(browser, base)
    assert is_first("#rotary-positions", results(page, base, "rope"))
    assert heard == []
    page.close()


def test_every_word_leads_to_a_term_or_a_lesson() -> None:
    words = read_words()
    assert set(words) == {"glossary", "lessons"}
    assert set(words["glossary"]) <= set(TERMS)
    slugs = {lesson.slug for lesson in read_course().lessons}
    assert {place.split("#")[0] for place in words["lessons"]} <= slugs
    for places in words.values():
        for place, typed in places.items():
            assert typed and len(set(typed)) == len(typed), place
            assert all(word == word.lower().strip() for word in typed), place


def test_a_word_is_found_however_it_is_spelled() -> None:
    assert spellings("KV cache") == {"kv cache", "kv-cache", "kvcache"}
    assert spellings("next-token prediction") >= {"next token prediction"}
    assert spellings("rope") == {"rope"}


def test_words_of_a_lesson_and_of_its_sections() -> None:
    lesson = Lesson(7, "gpt", "GPT", "III", "", 45)
    words = {"lessons": {"gpt": ["gpt-2"], "gpt#files": ["npz"], "bert": ["mlm"]}}
    assert lesson_words(lesson, words) == {"": ["GPT", "gpt-2"], "files": ["npz"]}
