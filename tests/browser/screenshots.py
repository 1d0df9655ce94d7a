"""
Make the pictures of the page in docs/images: python -m tests.browser.screenshots.

Everything runs as in the browser tests, on documents that are invented here; Gemini is its
stand-in, so that the pictures are the same without a key.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import psycopg
from playwright.sync_api import Browser, Page, expect

from local.checkout import remove
from local.postgres import start_postgres
from local.system import ROOT, System, run_system
from tests.browser.browsers import open_browser, run_query
from tests.conftest import MODEL_DIR, prepare_database, with_database
from tests.support.documents import make_pdf, pdf_lines
from tests.support.gemini_stand_in import GeminiStandIn, answering, gemini_stand_in

IMAGES = ROOT / "docs" / "images"
# As in the tests: the machine may be busy.
expect.set_options(timeout=20_000)

_DESKTOP = {"width": 1280, "height": 760}
_PHONE = {"width": 390, "height": 844}

_HANDBOOK = """# Staff handbook

## Leave

Every member of staff has 28 days of paid leave a year. Leave that is not taken by 31 March of the
following year lapses, unless the office asked you to postpone it.

Ask for leave in the calendar at least two weeks ahead. A day for moving house is free.

## Remote work

You may work from home up to three days a week. Tell your team by Friday which days these are.
"""
_TRAVEL = [
    ["Travel policy", "", "Trains before planes: a journey of up to six hours is made by train."],
    [
        "Expenses",
        "",
        "Hand in receipts within 30 days. Meals are paid up to 45 euros a day.",
        "A hotel room may cost up to 140 euros a night, breakfast included.",
        "Taxis are paid between 22:00 and 06:00 only.",
    ],
    [],
]
_MEMO = "The office in Hanoi moves to 12 Hang Bai street on 1 December. Keys: see reception.\n"
_RECIPE = "Bánh mì 🥖: bread, pickled carrots, coriander, chilli. Serves four on a busy Friday.\n"

_QUESTION = "How much may a hotel room cost, and until when do I hand in receipts?"
_ANSWER = """A hotel room may cost **up to 140 euros a night**, breakfast included [1].

| What | How much | Until when |
|---|---:|---|
| Hotel | 140 € a night | receipts within 30 days [1] |
| Meals | 45 € a day | receipts within 30 days [1] |
"""
_QUOTES = [
    (1, "A hotel room may cost up to 140 euros a night, breakfast included."),
    (1, "Hand in receipts within 30 days."),
]


def upload_documents(system: System) -> None:
    """Put the documents into the bucket and wait until each is ready or failed."""
    travel = make_pdf([pdf_lines(page) for page in _TRAVEL])
    system.upload("handbook/staff.md", _HANDBOOK, "text/markdown")
    system.upload("handbook/travel.pdf", travel, "application/pdf")
    system.upload("memos/2026/hanoi-move.txt", _MEMO)
    system.upload("memos/bánh-mì.txt", _RECIPE)
    system.upload("memos/scan-of-contract.pdf", b"%PDF-1.7\nnothing follows", "application/pdf")
    for name in ("handbook/staff.md", "handbook/travel.pdf", "memos/2026/hanoi-move.txt"):
        system.wait_for(name)
    for name in ("memos/bánh-mì.txt", "memos/scan-of-contract.pdf"):
        system.wait_for(name)


def take_all(browser: Browser, url: str, stand_in: GeminiStandIn, *, folder: Path) -> None:
    """Take every picture into *folder*."""
    with open_page(browser, url, viewport=_DESKTOP) as page:
        ask(page, stand_in)
        page.screenshot(path=folder / "table.png")
        open_citation(page)
        page.screenshot(path=folder / "answer.png")
    with open_page(browser, url, viewport=_DESKTOP, color_scheme="dark") as page:
        ask(page, stand_in)
        page.screenshot(path=folder / "dark.png")
    with open_page(browser, url, viewport=_PHONE, device_scale_factor=2) as page:
        ask(page, stand_in)
        page.screenshot(path=folder / "phone.png")
    with open_page(browser, f"{url}/#documents", viewport=_DESKTOP) as page:
        expect(page.locator(".state.failed")).to_be_visible()
        expect(page.locator("#totals")).not_to_be_empty()
        page.screenshot(path=folder / "documents.png")


def take_to_look_at(browser: Browser, url: str, stand_in: GeminiStandIn, *, folder: Path) -> None:
    """Take further pictures, for the eyes of who changes the page."""
    for language in ("de", "vi"):
        with open_page(browser, url, viewport=_DESKTOP, language=language) as page:
            page.screenshot(path=folder / f"{language}-empty.png")
            ask(page, stand_in)
            page.screenshot(path=folder / f"{language}-answer.png")
            page.goto(f"{url}/#documents")
            expect(page.locator(".state.failed")).to_be_visible()
            expect(page.locator("#totals")).not_to_be_empty()
            page.screenshot(path=folder / f"{language}-documents.png")
    with open_page(browser, url, viewport=_DESKTOP, color_scheme="dark") as page:
        ask(page, stand_in)
        open_citation(page)
        page.screenshot(path=folder / "dark-page.png")
        page.keyboard.press("Escape")
        page.locator("#show-conversations").click()
        page.screenshot(path=folder / "dark-conversations.png")
    with open_page(browser, url, viewport=_PHONE, device_scale_factor=2) as page:
        page.screenshot(path=folder / "phone-empty.png")
        ask(page, stand_in)
        open_citation(page)
        page.screenshot(path=folder / "phone-page.png")
        page.get_by_text("Text", exact=True).click()
        page.screenshot(path=folder / "phone-text.png")
        page.keyboard.press("Escape")
        page.goto(f"{url}/#documents")
        expect(page.locator(".state.failed")).to_be_visible()
        page.screenshot(path=folder / "phone-documents.png")


@contextmanager
def open_page(
    browser: Browser, url: str, *, language: str = "en-GB", **options: Any
) -> Iterator[Page]:
    """Open the page in a context of its own."""
    context = browser.new_context(locale=language, reduced_motion="reduce", **options)
    page = context.new_page()
    page.goto(url)
    yield page
    context.close()


def ask(page: Page, stand_in: GeminiStandIn) -> None:
    """Ask the question and wait for the whole answer."""
    stand_in.plan(answering(_ANSWER, _QUOTES))
    page.locator("#question").fill(_QUESTION)
    page.locator("#send").click()
    expect(page.locator(".citation")).to_have_count(2)


def open_citation(page: Page) -> None:
    """Open the first citation in its context."""
    page.locator(".citation").first.click()
    expect(page.locator(".page-mark").first).to_be_visible()


@click.command()
@click.option("--all", "everything", type=click.Path(path_type=Path), help="Folder for many more.")
def main(everything: Path | None) -> None:
    """Start everything, take the pictures, stop everything."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        server = start_postgres(folder / "postgres")
        try:
            with psycopg.connect(server.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE pictures")
            url = with_database(server.url, "pictures")
            prepare_database(url, model_dir=MODEL_DIR)
            with (
                gemini_stand_in() as stand_in,
                run_system(folder=folder, database_url=url, model_dir=MODEL_DIR) as system,
                open_browser() as browser,
            ):
                upload_documents(system)
                variables = {
                    "GEMINI_API_KEY": "any",
                    "GOOGLE_GEMINI_BASE_URL": stand_in.url,
                    "UPLOADS_ENABLED": "true",
                }
                with run_query(system, "query_gemini", variables) as query_url:
                    take_all(browser, query_url, stand_in, folder=IMAGES)
                    if everything is not None:
                        everything.mkdir(parents=True, exist_ok=True)
                        take_to_look_at(browser, query_url, stand_in, folder=everything)
        finally:
            server.stop()
            remove(server.data_dir)


if __name__ == "__main__":
    main()
