"""Asking on the page: the answer as it comes, its citations, the conversation."""

from __future__ import annotations

import json
import unicodedata

import pytest
from playwright.sync_api import expect

from local.system import System, wait_until
from tests.browser.asking import ask, begin, is_wider_than_the_window
from tests.browser.conftest import OpenPage
from tests.support.documents import make_pdf, pdf_lines
from tests.support.gemini_stand_in import (
    BLOCKED,
    CUT,
    GeminiStandIn,
    Scenario,
    answering,
    prompt_of,
    quote_first_passage,
)

SHELF = "browser-shelf"
QUESTION = "What is the gate code of building seven?"
CODE = "The gate code of building seven is QX-7714."
# Characters of two UTF-16 units and letters of several code points stand before the quote.
NOTE = (
    "🗝️🚪 Chìa khoá của nhà số bảy 👩‍👩‍👧‍👦 ở chỗ 𝒜-𝟏, gọi cho chị Nguyễn.\n\n"
    f"{CODE} Đừng quên! 🎉\n"
)
STALLED = Scenario(pieces=quote_first_passage, drip_seconds=0.5)


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index the documents that the questions are about."""
    pages = [
        pdf_lines(["This report has three pages."]),
        pdf_lines(["The bridge over the Elbe carries eleven tons."]),
        "",
    ]
    documents: dict[str, bytes | str] = {
        f"{SHELF}/note.txt": NOTE,
        f"{SHELF}/report.pdf": make_pdf(pages),
        f"{SHELF}-north/office.txt": "The office of the north opens at nine.",
        f"{SHELF}-south/office.txt": "The office of the south opens at eleven.",
    }
    generations = {name: system.upload(name, data) for name, data in documents.items()}
    for name, generation in generations.items():
        assert system.wait_for(name, generation=generation)["state"] == "ready"


def test_question_is_answered_with_a_citation(open_page: OpenPage) -> None:
    """Without Gemini the answer is made of sentences, and says so."""
    sheet = ask(open_page(), QUESTION, collection=SHELF)
    expect(sheet.locator(".answer-text")).to_contain_text("QX-7714")
    expect(sheet.locator(".facts")).to_contain_text("no language model")
    citation = sheet.locator(".citation").first
    expect(citation).to_contain_text("note.txt")
    expect(citation.locator(".verified")).to_have_text("✓ quote found in the document")


def test_citation_opens_with_exactly_the_quote_marked(open_page: OpenPage) -> None:
    """Offsets count characters, also behind emoji and Vietnamese letters."""
    page = open_page()
    sheet = ask(page, QUESTION, collection=SHELF)
    quotes = sheet.locator(".citation").filter(has_text=CODE)
    quotes.first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nguyễn")
    expect(dialog.locator("mark")).to_have_text(CODE)
    assert unicodedata.normalize("NFC", NOTE).startswith(
        page.locator("#passage-text").evaluate("element => element.firstChild.textContent")
    )
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_page_number_is_shown_for_a_pdf(open_page: OpenPage) -> None:
    """Page 2 holds the sentence."""
    page = open_page()
    sheet = ask(page, "How many tons does the bridge over the Elbe carry?", collection=SHELF)
    citation = sheet.locator(".citation").filter(has_text="eleven tons").first
    expect(citation).to_contain_text("page 2")
    citation.click()
    expect(page.get_by_role("dialog").locator(".chip")).to_have_text("page 2")
    expect(page.locator("#passage-text mark")).to_contain_text("eleven tons")


def test_mark_in_the_answer_opens_its_passage(open_page: OpenPage) -> None:
    """[1] is a button, named by what it opens."""
    page = open_page()
    sheet = ask(page, QUESTION, collection=SHELF)
    sheet.get_by_role("button", name="Open passage 1 of").first.click()
    expect(page.get_by_role("dialog").locator("mark")).not_to_be_empty()


def test_follow_up_answer_is_in_sight(open_page: OpenPage) -> None:
    """The question stands at the top, its answer below it, not behind the field."""
    page = open_page(viewport={"width": 1024, "height": 700})
    for _ in range(3):
        ask(page, QUESTION, collection=SHELF)
    expect(page.locator(".asked").last).to_be_in_viewport()
    bottom = page.locator(".answer-text").last.evaluate("one => one.getBoundingClientRect().bottom")
    assert bottom < page.locator("#question").evaluate("one => one.getBoundingClientRect().top")


def test_passages_that_were_found_can_be_read(open_page: OpenPage) -> None:
    """What the answer did not use is shown as well."""
    page = open_page()
    sheet = ask(page, QUESTION, collection=SHELF)
    sheet.locator("summary").click()
    sheet.locator(".passage").filter(has_text="report.pdf").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("report.pdf")


def test_only_the_chosen_collection_answers(open_page: OpenPage) -> None:
    """The collections are offered, and the one chosen is the filter."""
    page = open_page()
    options = page.locator("#collections option")
    wait_until(
        lambda: (
            {f"{SHELF}-north", f"{SHELF}-south"}
            <= set(options.evaluate_all("options => options.map((one) => one.value)"))
        ),
        what="the collections are offered",
    )
    for collection, hour in ((f"{SHELF}-north", "nine"), (f"{SHELF}-south", "eleven")):
        sheet = ask(page, "When does the office open?", collection=collection)
        expect(sheet.locator(".answer-text")).to_contain_text(f"opens at {hour}")
        expect(sheet.locator(".citation")).to_have_count(1)


def test_answer_is_shown_while_it_comes(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn
) -> None:
    """What Gemini has written so far stands there; the whole answer goes on from it."""
    stand_in.plan(Scenario(pieces=quote_first_passage, hold_after=4))
    page = open_page(gemini_url)
    begin(page, QUESTION, collection=SHELF)
    sheet = page.locator(".answer")
    text = sheet.locator(".answer-text")
    expect(text).not_to_have_text("Searching …")
    expect(sheet).to_have_attribute("aria-busy", "true")
    begun = text.inner_text()
    stand_in.release()
    expect(sheet).to_have_attribute("aria-busy", "false")
    expect(sheet.locator(".facts")).to_have_text("Answered by gemini-3.5-flash-lite.")
    assert begun
    assert text.inner_text().startswith(begun)


def test_stop_ends_an_answer(open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn) -> None:
    """What was stopped is no part of the conversation."""
    stand_in.plan(STALLED)
    page = open_page(gemini_url)
    begin(page, QUESTION, collection=SHELF)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".warning")).to_have_text("Stopped.")
    stand_in.plan(answering("It is QX-7714 [1]."))
    with page.expect_request("**/query") as asked:
        ask(page, QUESTION, collection=SHELF)
    assert json.loads(asked.value.post_data or "")["history"] == []


def test_follow_up_question_is_asked_with_the_conversation(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn
) -> None:
    """The turns so far reach the model; a new conversation forgets them."""
    page = open_page(gemini_url)
    first = ask(page, QUESTION, collection=SHELF)
    answer = first.locator(".answer-text").inner_text()
    stand_in.plan(Scenario(pieces=quote_first_passage))
    with page.expect_request("**/query") as asked:
        ask(page, "And of building eight?", collection=SHELF)
    history = json.loads(asked.value.post_data or "")["history"]
    assert [turn["role"] for turn in history] == ["user", "assistant"]
    assert history[0]["content"] == QUESTION
    assert history[1]["content"].split("[")[0] == answer.split(" 1")[0] + " "
    assert QUESTION in prompt_of(stand_in.requests[0])
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    with page.expect_request("**/query") as asked:
        ask(page, QUESTION, collection=SHELF)
    assert json.loads(asked.value.post_data or "")["history"] == []


@pytest.mark.parametrize("scenario", [CUT, BLOCKED], ids=["cut", "blocked"])
def test_failure_of_gemini_is_told_and_sentences_are_shown(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn, scenario: Scenario
) -> None:
    """The tokens before a failure are void; the extractive answer stands in their place."""
    stand_in.plan(scenario)
    sheet = ask(open_page(gemini_url), QUESTION, collection=SHELF)
    expect(sheet.locator(".warning")).to_contain_text("Gemini gave no answer")
    expect(sheet.locator(".answer-text")).to_contain_text("QX-7714")
    expect(sheet.locator(".citation")).not_to_have_count(0)


def test_quote_that_no_document_holds_is_shown_as_such(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn
) -> None:
    """An invented quote is never shown as verified."""
    stand_in.plan(answering("It is ZZ-0000 [1].", [(1, "The gate code is ZZ-0000.")]))
    page = open_page(gemini_url)
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet.locator(".unverified")).to_have_text("✗ quote not found in the document")
    expect(sheet.locator(".verified")).to_have_count(0)
    sheet.locator(".citation").click()
    expect(page.locator("#passage-note")).to_have_text("quote not found in the document")


def test_answer_that_breaks_off_is_told(open_page: OpenPage) -> None:
    """A stream without an end is no answer."""
    page = open_page()
    page.route(
        "**/query",
        lambda route: route.fulfill(
            content_type="text/event-stream", body='event: token\ndata: {"text": "It is"}\n\n'
        ),
    )
    sheet = ask(page, QUESTION)
    expect(sheet.locator(".warning")).to_have_text("The answer broke off. Ask again.")


def test_document_that_changed_since_is_told(open_page: OpenPage, system: System) -> None:
    """The old quote is still shown as it was cited, not laid over the new text."""
    name = f"{SHELF}-changing/plan.txt"
    system.wait_for(name, generation=system.upload(name, "The tower has forty floors."))
    page = open_page()
    sheet = ask(page, "How many floors has the tower?", collection=f"{SHELF}-changing")
    expect(sheet.locator(".citation")).to_have_count(1)
    system.wait_for(name, generation=system.upload(name, "Now the tower has fifty floors."))
    sheet.locator(".citation").click()
    expect(page.locator("#passage-note")).to_have_text(
        "This document has changed since it was quoted."
    )
    expect(page.locator("#passage-text mark")).to_have_text("The tower has forty floors.")


def test_keyboard_alone_is_enough(open_page: OpenPage) -> None:
    """Ask, reach the first citation, read it, come back."""
    page = open_page()
    expect(page.get_by_role("textbox", name="Your question")).to_be_focused()
    page.keyboard.type(QUESTION)
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("Tell it exactly.")
    page.keyboard.press("Enter")
    expect(page.locator(".answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".asked")).to_contain_text("Tell it exactly.")
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.classList.contains('citation')"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.classList.contains('citation')")


def test_nothing_must_be_scrolled_sideways_on_a_phone(open_page: OpenPage) -> None:
    """A long word in a question, a name or a passage breaks."""
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert not is_wider_than_the_window(page)
    sheet = ask(page, f"{QUESTION} {'long' * 60}", collection=SHELF)
    assert not is_wider_than_the_window(page)
    sheet.locator(".citation").first.tap()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert not is_wider_than_the_window(page)
