"""What a reader does on the page, for the tests of it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def ask(page: Page, question: str, *, collection: str = "") -> Locator:
    """Ask in a collection, wait for the whole answer and return its sheet."""
    begin(page, question, collection=collection)
    sheet = page.locator(".answer").last
    expect(sheet).to_have_attribute("aria-busy", "false")
    return sheet


def begin(page: Page, question: str, *, collection: str = "") -> None:
    """Ask in a collection and wait for nothing."""
    # First what only this view has: the view of documents, which may still be there, has a
    # field of collections too.
    page.get_by_role("textbox", name="Your question").fill(question)
    page.get_by_role("combobox", name="Collection").fill(collection)
    page.get_by_role("button", name="Ask", exact=True).click()


def document(page: Page, name: str) -> Locator:
    """Return a document's place in the list."""
    return page.locator("#document-list > li").filter(has=page.get_by_text(name, exact=True))


def is_wider_than_the_window(page: Page) -> bool:
    """Return whether a reader must scroll sideways."""
    return bool(
        page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    )
