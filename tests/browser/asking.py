"""What a reader does on the page, for the tests of it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def ask(page: Page, question: str, *, collection: str = "") -> Locator:
    """Ask in a collection, wait for the whole answer and return its sheet."""
    turns = page.locator(".turn")
    # Only then are the turns shown that the browser has kept.
    expect(page.locator("#send")).to_be_enabled()
    before = turns.count()
    begin(page, question, collection=collection)
    # The sheet of the question before is whole, too.
    expect(turns).to_have_count(before + 1)
    sheet = turns.last.locator(".answer")
    expect(sheet).to_have_attribute("aria-busy", "false")
    return sheet


def begin(page: Page, question: str, *, collection: str = "") -> None:
    """Ask in a collection and wait for nothing."""
    # By their ids: the view of documents, which may still be there, has fields of such names too,
    # and these are acted on only when they can be seen.
    page.locator("#question").fill(question)
    page.locator("#collection").fill(collection)
    page.locator("#send").click()


def open_view(page: Page, name: str) -> None:
    """Go to a view by its link, and wait until it is there alone."""
    page.locator("nav").get_by_role("link", name=name, exact=True).click()
    expect(page.locator("nav a[aria-current]")).to_have_text(name)
    expect(page.locator("main > section:visible")).to_have_count(1)


def search(page: Page, words: str, **choices: str) -> None:
    """List the documents that have *words* in their names, and further choices by their ids."""
    page.locator("#search").fill(words)
    for field, choice in choices.items():
        page.locator(f"#{field}").select_option(choice)
    expect_list(page)


def expect_list(page: Page) -> None:
    """Wait until the list of documents is the one that was asked for last."""
    expect(page.locator("#document-list")).to_have_attribute("aria-busy", "false")


def document(page: Page, name: str) -> Locator:
    """Return a document's place in the list."""
    return page.locator("#document-list > li").filter(has=page.get_by_text(name, exact=True))


def is_wider_than_the_window(page: Page) -> bool:
    """Return whether a reader must scroll sideways."""
    return bool(
        page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    )
