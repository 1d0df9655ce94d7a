"""What an answer looks like: Markdown as elements, how it was understood, its sources."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from local.system import System
from tests.browser.asking import ask
from tests.browser.conftest import OpenPage
from tests.support.gemini_stand_in import GeminiStandIn, answering

SHELF = "browser-answers"
QUESTION = "How is the greenhouse watered?"
FIRST = "The greenhouse is watered at six."
SECOND = "The pump needs forty litres."
NOTE = f"{FIRST} {SECOND} Call set_level(3*4) with readings[0] before.\n"
ANSWER = f"""{FIRST} [1] It takes **three steps**, *in this order*:

1. Open `valve_a`
2. Start the pump
   - forty litres
   - ten minutes
3. Close it

| Step | Litres |
|------|-------:|
| pump | 40 [1] |
| a\\|b | 2 |

```sh
pump --litres 40 | tee log
```

Then 5 * 3 * 2 and snake_case_name stay, [9] too.
"""


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index the documents that the answers are about."""
    system.wait_for(f"{SHELF}/note.md", generation=system.upload(f"{SHELF}/note.md", NOTE))


@pytest.fixture
def sheet(open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn) -> Locator:
    """Show the answer, which quotes one document twice."""
    stand_in.plan(answering(ANSWER, [(1, FIRST), (1, SECOND)]))
    return ask(open_page(gemini_url), QUESTION, collection=SHELF)


def test_answer_is_shown_with_its_structure(sheet: Locator) -> None:
    """Lists, tables, code and emphasis are elements; what is none of them stays as it was."""
    text = sheet.locator(".answer-text")
    expect(text.locator("strong")).to_have_text("three steps")
    expect(text.locator("em")).to_have_text("in this order")
    expect(text.locator("ol > li")).to_have_count(3)
    expect(text.locator("ol > li ul > li")).to_have_text(["forty litres", "ten minutes"])
    expect(text.locator("ol code")).to_have_text("valve_a")
    expect(text.locator("thead th")).to_have_text(["Step", "Litres"])
    expect(text.locator("tbody tr").first.locator("td").last).to_have_class("numeric")
    expect(text.locator("tbody tr").last.locator("td")).to_have_text(["a|b", "2"])
    expect(text.locator("pre code")).to_have_text("pump --litres 40 | tee log")
    expect(text).to_contain_text("Then 5 * 3 * 2 and snake_case_name stay")


def test_mark_inside_a_table_opens_its_passage(sheet: Locator) -> None:
    """It is a button wherever it stands."""
    sheet.locator("td").get_by_role("button", name="Open passage 1").click()
    expect(sheet.page.get_by_role("dialog").locator("mark")).to_have_text(FIRST)


def test_quotes_of_one_document_stand_together(sheet: Locator) -> None:
    """Its name is read once, the quotes below it."""
    source = sheet.locator(".source")
    expect(source).to_have_count(1)
    expect(source.locator(".name")).to_have_text(f"{SHELF}/note.md")
    expect(source.locator(".where").first).to_contain_text("2 quotes")
    expect(source.locator(".quote")).to_have_text([f"“{FIRST}”", f"“{SECOND}”"])


def test_unverified_mark_is_told_apart_in_the_text(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn
) -> None:
    """A mark whose quote stands in no document says so, to a screen reader too."""
    stand_in.plan(answering("It is watered at noon. [1]", [(1, "watered at noon exactly")]))
    sheet = ask(open_page(gemini_url), QUESTION, collection=SHELF)
    expect(sheet.locator(".unverified")).to_have_count(1)
    mark = sheet.locator(".answer-text").get_by_role("button")
    if mark.count():  # the server may have taken it away
        expect(mark.first).to_have_attribute(
            "aria-label", f"Open passage 1 of {SHELF}/note.md: quote not found in the document"
        )


def test_page_says_how_a_question_was_understood(open_page: OpenPage) -> None:
    """Where it was changed, and only there."""
    page = open_page()
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet.locator(".understood")).to_be_hidden()
    sheet = ask(page, "And what does it need?", collection=SHELF)
    expect(sheet.locator(".understood")).to_contain_text("Understood as: ")
    expect(sheet.locator(".understood")).to_contain_text("greenhouse")


def test_page_says_how_gemini_is_switched_on(open_page: OpenPage) -> None:
    """Under an answer that no model wrote."""
    page = open_page()
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet.locator(".facts")).to_contain_text("word for word")
    sheet.get_by_role("button", name="Let Gemini write answers").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("GEMINI_API_KEY=")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
