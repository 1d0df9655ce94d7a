"""Conversations that last: reloads, lost connections, links; one document asked by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Page, Route, expect

from local.system import System
from tests.browser.asking import ask, begin, document, open_view, search
from tests.browser.conftest import KEY, OpenPage
from tests.support.gemini_stand_in import GeminiStandIn, answering

SHELF = "browser-conversations"
QUESTION = "When does the library open?"
FACT = "The library opens at ten."


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index the documents that the conversations are about."""
    documents = {
        f"{SHELF}/library.md": f"# Library\n\n## Opening hours\n\n{FACT}\n",
        f"{SHELF}/annex/library.md": "# Annex\n\n## Lending rules\n\nThe annex opens at noon.\n",
    }
    for name, data in documents.items():
        system.wait_for(name, generation=system.upload(name, data, "text/markdown"))


def test_conversation_survives_a_reload(open_page: OpenPage) -> None:
    """Answers, citations and what is being typed; the next question goes on from it."""
    page = open_page()
    ask(page, QUESTION, collection=SHELF)
    page.get_by_label("Your question").fill("half a ques")
    page.reload()
    expect(page.locator(".asked")).to_have_text(QUESTION)
    expect(page.locator(".answer-text")).to_contain_text(FACT)
    expect(page.get_by_label("Your question")).to_have_value("half a ques")
    page.locator(".citation").first.click()
    expect(page.locator("#passage-text mark")).to_have_text(FACT)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    with page.expect_request("**/query") as asked:
        ask(page, "And on Sundays?", collection=SHELF)
    assert json.loads(asked.value.post_data or "")["history"][0]["content"] == QUESTION


def test_conversations_are_listed_renamed_and_deleted(open_page: OpenPage) -> None:
    """Each is one click away; a new one begins empty."""
    page = open_page()
    ask(page, QUESTION, collection=SHELF)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator(".turn")).to_have_count(0)
    ask(page, "What are the lending rules?", collection=SHELF)
    page.get_by_role("button", name="Conversations", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".name")).to_have_text(["What are the lending rules?", QUESTION])
    dialog.get_by_role("button", name=f"Rename: {QUESTION}").click()
    dialog.get_by_label("New name").fill("Opening hours")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name=re.compile("^Opening hours")).click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".asked")).to_have_text([QUESTION])
    page.get_by_role("button", name="Conversations", exact=True).click()
    page.get_by_role("button", name="Delete: Opening hours").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#conversation-list .name")).to_have_text(["What are the lending rules?"])
    expect(page.locator(".turn")).to_have_count(0)


def test_question_is_kept_when_the_network_fails(open_page: OpenPage) -> None:
    """It can be asked again, after a reload too."""
    page = open_page()
    page.route("**/query", lambda route: route.abort())
    begin(page, QUESTION, collection=SHELF)
    expect(page.locator(".warning")).to_contain_text("cannot be reached")
    page.unroute("**/query")
    page.reload()
    expect(page.locator(".asked")).to_have_text(QUESTION)
    page.get_by_role("button", name="Ask again").click()
    expect(page.locator(".answer-text")).to_contain_text(FACT)
    expect(page.locator(".turn")).to_have_count(1)
    expect(page.locator(".warning")).to_have_count(0)


def broken_once() -> tuple[Callable[[Route], None], list[int]]:
    """Return what breaks the first answer off, and how often it was asked."""
    asked: list[int] = []

    def answer(route: Route) -> None:
        asked.append(1)
        if len(asked) > 1:
            route.continue_()
            return
        body = 'event: token\ndata: {"text": "The lib"}\n\n'
        route.fulfill(content_type="text/event-stream", body=body)

    return answer, asked


def test_stream_that_broke_is_asked_again(open_page: OpenPage) -> None:
    """The reader sees a whole answer."""
    page = open_page()
    answer, asked = broken_once()
    page.route("**/query", answer)
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet.locator(".answer-text")).to_contain_text(FACT)
    expect(sheet.locator(".warning")).to_have_count(0)
    assert len(asked) == 2


def test_answer_is_made_again(
    open_page: OpenPage, gemini_url: str, stand_in: GeminiStandIn
) -> None:
    """The new one takes the place of the old."""
    page = open_page(gemini_url)
    stand_in.plan(answering(f"{FACT} [1]", [(1, FACT)]))
    ask(page, QUESTION, collection=SHELF)
    stand_in.plan(answering(f"At ten: {FACT} [1]", [(1, FACT)]))
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator(".answer-text")).to_contain_text("At ten:")
    expect(page.locator(".turn")).to_have_count(1)
    assert kept(page)[0]["turns"][0]["response"]["answer"].startswith("At ten:")


def kept(page: Page) -> Any:
    """Return what the browser keeps."""
    return page.evaluate("JSON.parse(localStorage.getItem('kaydangpt-conversations'))")


def test_answer_stays_where_none_can_be_made_again(open_page: OpenPage) -> None:
    """A failure costs the new answer, not the old one."""
    page = open_page()
    ask(page, QUESTION, collection=SHELF)
    page.route("**/query", lambda route: route.abort())
    page.get_by_role("button", name="Answer again").click()
    expect(page.locator("#notice")).to_contain_text("cannot be reached")
    expect(page.locator(".answer-text")).to_contain_text(FACT)
    expect(page.locator(".warning")).to_have_count(0)
    page.reload()
    expect(page.locator(".answer-text")).to_contain_text(FACT)


def test_conversation_in_two_tabs(open_page: OpenPage) -> None:
    """What one adds the other shows; what both add at once is kept as two conversations."""
    page = open_page()
    ask(page, QUESTION, collection=SHELF)
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Conversations", exact=True).click()
    other.get_by_role("button", name=re.compile(f"^{re.escape(QUESTION)}")).click()
    expect(other.locator(".turn")).to_have_count(1)
    ask(other, "And on Sundays?", collection=SHELF)
    expect(page.locator(".turn")).to_have_count(2)
    # While the one waits for its answer, the other asks.
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/query", hold)
    begin(page, "Who may enter?", collection=SHELF)
    expect(page.locator(".turn")).to_have_count(3)
    ask(other, "Who may borrow?", collection=SHELF)
    held[0].continue_()
    expect(page.locator(".answer").last).to_have_attribute("aria-busy", "false")
    last = sorted(one["turns"][-1]["asked"] for one in kept(page))
    assert last == ["Who may borrow?", "Who may enter?"]


def test_page_where_the_browser_keeps_nothing(open_page: OpenPage) -> None:
    """With site data blocked it answers all the same, and says that nothing is kept."""
    page = open_page(path="/healthz")
    page.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"]) {
          Object.defineProperty(window, name, { get() { throw new DOMException("denied"); } });
        }"""
    )
    page.goto(page.url.replace("/healthz", "/"))
    sheet = ask(page, QUESTION, collection=SHELF)
    expect(sheet.locator(".answer-text")).to_contain_text(FACT)
    expect(page.locator("#notice")).to_contain_text("does not let the page store anything")
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.locator("#conversation-list .name")).to_have_text([QUESTION])


def test_question_that_is_too_long(open_page: OpenPage) -> None:
    """What a field cuts off when it is pasted is said."""
    page = open_page()
    page.locator("#question").focus()
    page.keyboard.insert_text("Why? " * 1000)
    expect(page.locator("#notice")).to_contain_text("at most 4,000 characters")


def test_many_conversations(open_page: OpenPage) -> None:
    """Two hundred are kept and listed; where there is no room left the oldest gives way."""
    page = open_page()
    page.evaluate(
        """() => {
          const turn = { asked: "x".repeat(23_000), filter: {} };
          const all = Array.from({ length: 220 }, (_, number) =>
            ({ id: `${number}`, name: `Number ${number}`, turns: [turn], changed: 1e12 - number }));
          localStorage.setItem("kaydangpt-conversations", JSON.stringify(all));
        }"""
    )
    page.route("**/query", lambda route: route.abort())
    begin(page, "y" * 3900)
    expect(page.locator(".warning")).to_be_visible()
    assert kept(page)[0]["turns"][0]["asked"] == "y" * 3900
    page.get_by_role("button", name="Conversations", exact=True).click()
    expect(page.locator("#conversation-list > li")).to_have_count(200)


def test_answer_is_copied_and_question_shared(open_page: OpenPage) -> None:
    """With its sources; the link opens the page with the question, and asks nothing by itself."""
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask(page, QUESTION, collection=SHELF)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(FACT)
    assert copied.endswith(f"{SHELF}/library.md")
    page.get_by_role("button", name="Share").click()
    expect(page.locator("#notice")).to_contain_text("Link copied")
    link = page.evaluate("navigator.clipboard.readText()")
    other = page.context.browser.new_context(locale="en-GB").new_page()  # type: ignore[union-attr]
    other.goto(link)
    expect(other.get_by_label("Your question")).to_have_value(QUESTION)
    expect(other.locator("#collection")).to_have_value(SHELF)
    expect(other.locator(".turn")).to_have_count(0)
    # Pasted into the address of an open page, it asks within the same folder.
    other.evaluate("location.hash = '#ask?q=Which%20rules%3F&prefix=annex/'")
    expect(other.get_by_label("Your question")).to_have_value("Which rules?")
    expect(other.locator("#scope-name")).to_have_text("Only in annex/")
    other.context.close()


def ratings(system: System) -> list[tuple[str, str | None]]:
    """Return what is recorded, the last rating last."""
    with psycopg.connect(system.environment["DATABASE_URL"]) as connection:
        return connection.execute("SELECT rating, comment FROM feedback ORDER BY rated").fetchall()


def test_answer_is_rated(open_page: OpenPage, system: System) -> None:
    """With one click; a few words may follow, and the choice is still there after a reload."""
    page = open_page()
    ask(page, QUESTION, collection=SHELF)
    group = page.get_by_role("group", name="Was this answer helpful?")
    down = group.get_by_role("button", name="Not helpful")
    expect(down).to_have_attribute("aria-pressed", "false")
    down.click()
    expect(down).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("status").filter(has_text="Thank you.")).to_be_visible()
    assert ratings(system)[-1] == ("down", None)
    page.get_by_label("What is wrong or missing?").fill("It closes at noon on Fridays.")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".feedback-more form")).to_have_count(0)
    expect(down).to_be_focused()
    assert ratings(system)[-1] == ("down", "It closes at noon on Fridays.")
    page.reload()
    expect(down).to_have_attribute("aria-pressed", "true")
    count = len(ratings(system))
    # By the keyboard alone, and changing one's mind.
    up = group.get_by_role("button", name="Helpful", exact=True)
    up.focus()
    page.keyboard.press("Enter")
    expect(up).to_have_attribute("aria-pressed", "true")
    expect(down).to_have_attribute("aria-pressed", "false")
    assert ratings(system)[-1] == ("up", None)
    assert len(ratings(system)) == count


def test_rating_that_is_refused_is_told(open_page: OpenPage) -> None:
    """The choice is not shown as made."""
    page = open_page(locale="de-DE")
    ask(page, QUESTION, collection=SHELF)
    page.route(
        "**/feedback",
        lambda route: route.fulfill(
            status=404,
            content_type="application/problem+json",
            json={"code": "unknown_answer", "detail": "answer_id is none", "status": 404},
        ),
    )
    page.get_by_role("button", name="Hilfreich", exact=True).click()
    expect(page.locator(".feedback-more")).to_contain_text("kann nicht mehr bewertet werden")
    expect(page.get_by_role("button", name="Hilfreich", exact=True)).to_have_attribute(
        "aria-pressed", "false"
    )


def test_no_rating_is_offered_where_none_is_taken(open_page: OpenPage, guarded_url: str) -> None:
    """FEEDBACK_ENABLED=false."""
    page = open_page(guarded_url)
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    ask(page, QUESTION, collection=SHELF)
    expect(page.get_by_role("button", name="Copy")).to_be_visible()
    expect(page.locator(".feedback")).to_be_hidden()


def test_one_document_or_folder_is_asked(open_page: OpenPage) -> None:
    """From its place in the list; the chip says so, and takes it back."""
    page = open_page(path="/#documents")
    search(page, f"{SHELF}/")
    name = f"{SHELF}/annex/library.md"
    page.get_by_role("button", name=f"Ask about it: {name}").click()
    expect(page.locator("#scope-name")).to_have_text(f"Only in {name}")
    sheet = ask(page, "When does it open?")
    expect(sheet.locator(".source .name")).to_have_text([name])
    open_view(page, "Documents")
    document(page, name).get_by_role("button", name=f"Ask in this folder: {SHELF}/annex/").click()
    with page.expect_request("**/query") as asked:
        ask(page, "When does it open?")
    assert json.loads(asked.value.post_data or "")["filter"] == {"prefix": f"{SHELF}/annex/"}
    page.get_by_role("button", name="Ask all documents").click()
    expect(page.locator("#scope")).to_be_hidden()


def test_questions_are_suggested(open_page: OpenPage) -> None:
    """From headings of the documents, while nothing was asked; one click asks it."""
    page = open_page()
    suggested = page.locator("#suggestion-list button")
    expect(suggested.first).to_contain_text("What do the documents say about")
    asked = suggested.first.inner_text()
    suggested.first.click()
    expect(page.locator(".asked")).to_have_text(asked)
    expect(page.locator("#suggestions")).to_be_hidden()
