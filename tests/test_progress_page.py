"""Ticks for what was read and solved: kept in the browser, saved to a file and back."""

import json
from pathlib import Path

import pytest
from chromium import (  # noqa: F401
    Browser,
    Page,
    address,
    browser,
    launch,
    open_page,
    site,
)

pytestmark = pytest.mark.browser

LESSON = "lessons/06_attention.html"
PAGE = "book/progress.html"
NONE, ONE = "0 of 32 lessons read, 0 exercises", "1 of 32 lessons read, 1 exercises"


def said(page: "Page") -> str:
    return page.locator("[data-progress] [role=status]").inner_text()


def test_ticks_are_kept_saved_removed_and_read(
    browser: "Browser", address: str, tmp_path: Path
) -> None:
    page, heard = open_page(browser, address)
    page.goto(address + PAGE)
    assert said(page).startswith(NONE)
    page.goto(address + LESSON)
    assert (
        page.locator(".tick").count()
        == 1 + page.locator("section > h3").filter(has_text="Exercise ").count()
    )
    page.get_by_label("I have read this lesson").check()
    page.locator("section:has(> h3:has-text('Exercise 1')) .tick input").check()
    page.reload()
    assert page.get_by_label("I have read this lesson").is_checked()
    page.goto(address + PAGE)
    assert said(page).startswith(ONE)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    kept = tmp_path / "ticks.json"
    download.value.save_as(kept)
    names = json.loads(kept.read_text("utf-8"))
    assert len(names) == 2 and names[0] == "lessons/06_attention"
    page.get_by_role("button", name="Remove all ticks").click()
    assert said(page).startswith(NONE)
    wrong = tmp_path / "wrong.json"
    for text in ('["<b>x</b>"]', "{}", "no json"):
        wrong.write_text(text, "utf-8")
        page.get_by_label("A file with ticks").set_input_files(wrong)
        page.get_by_text("This file cannot be read").wait_for()
    page.get_by_label("A file with ticks").set_input_files(kept)
    page.get_by_text(ONE).wait_for()
    assert page.locator(".done-mark").count() == 1
    assert heard == []
    page.close()


def test_a_broken_store_counts_as_empty(browser: "Browser", address: str) -> None:
    page, heard = open_page(browser, address)
    page.goto(address + PAGE)
    for text in ("{", '{"a": 1}', "[1, 2]"):
        page.evaluate(
            "t => localStorage.setItem('from-bigram-to-transformer', t)", text
        )
        page.reload()
        assert said(page).startswith(NONE)
    assert heard == []
    page.close()


def test_a_quiz_counts_what_was_opened_first(browser: "Browser", address: str) -> None:
    from playwright.sync_api import expect  # it waits until the event has come

    page, heard = open_page(browser, address)
    page.goto(address + "book/quizzes.html")
    quiz = page.locator("#quiz-ii")
    status = quiz.locator("[role=status]")
    questions = quiz.locator(".quiz-question")
    n = questions.count()
    questions.nth(0).locator("details.right summary").click()
    expect(status).to_have_text(f"1 of {n} answered, 1 right at the first try.")
    questions.nth(1).locator("details.wrong summary").first.click()
    questions.nth(1).locator("details.right summary").click()  # too late
    expect(status).to_have_text(f"2 of {n} answered, 1 right at the first try.")
    page.reload()
    expect(status).to_have_text(f"2 of {n} answered, 1 right at the first try.")
    quiz.get_by_role("button", name="Start again").click()
    expect(status).to_have_text("")
    assert quiz.locator("details.option[open]").count() == 0
    questions.nth(1).locator("details.right summary").focus()
    page.keyboard.press("Enter")
    expect(status).to_have_text(f"1 of {n} answered, 1 right at the first try.")
    assert heard == []
    page.close()
