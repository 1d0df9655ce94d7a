"""The list of documents on the page: upload, state, reason, retry, delete."""

from __future__ import annotations

import re

import psycopg
import pytest
from playwright.sync_api import FilePayload, Page, Request, expect

from local.system import System, wait_until
from tests.browser.asking import (
    ask,
    document,
    expect_list,
    is_wider_than_the_window,
    open_view,
    search,
)
from tests.browser.conftest import KEY, OpenPage
from tests.support.documents import make_pdf, pdf_lines

SHELF = "browser-documents"
BROKEN = b"%PDF-1.7\nnothing of a document follows"


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index documents that are read and not changed."""
    scan = make_pdf([pdf_lines(["A page with text."]), "", ""])
    system.upload(f"{SHELF}/scan.pdf", scan, "application/pdf")
    system.upload(f"{SHELF}/broken.pdf", BROKEN, "application/pdf")
    assert system.wait_for(f"{SHELF}/scan.pdf")["state"] == "ready"
    assert system.wait_for(f"{SHELF}/broken.pdf")["state"] == "failed"


def choose(page: Page, name: str, data: bytes) -> None:
    """Choose a file as the chooser's user does, who can't before the page shows it."""
    expect(page.locator("#upload")).to_be_visible()
    file = FilePayload(name=name, mimeType="text/plain", buffer=data)
    page.get_by_label("Choose files").set_input_files(file)


def test_chosen_file_is_uploaded_and_becomes_ready(open_page: OpenPage) -> None:
    """From the file chooser to an answer, without a reload."""
    page = open_page(path="/#documents")
    page.get_by_label("Into the folder").fill(f"{SHELF}-chosen")
    choose(page, "Überblick & 100 %.txt", b"The lighthouse was built in 1871.")
    name = f"{SHELF}-chosen/Überblick & 100 %.txt"
    expect(page.locator("#notice")).to_contain_text("uploaded")
    search(page, f"{SHELF}-chosen/")
    expect(document(page, name).locator(".state")).to_have_text("ready")
    open_view(page, "Ask")
    sheet = ask(page, "When was the lighthouse built?", collection=f"{SHELF}-chosen")
    expect(sheet.locator(".answer-text")).to_contain_text("1871")


def test_dropped_files_are_uploaded(open_page: OpenPage) -> None:
    """A drop anywhere is taken, on the view of questions as well."""
    page = open_page()
    expect(page.get_by_label("Your question")).to_be_focused()
    transfer = page.evaluate_handle(
        """(folder) => {
          const transfer = new DataTransfer();
          for (const name of ["one.md", "two.md"]) {
            transfer.items.add(new File([`# ${name}\\n\\nDropped.`], `${folder}-${name}`));
          }
          return transfer;
        }""",
        f"{SHELF}-dropped",
    )
    page.dispatch_event("body", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.get_by_role("heading", name="Documents")).to_be_attached()
    search(page, f"{SHELF}-dropped")
    for name in ("one.md", "two.md"):
        expect(document(page, f"{SHELF}-dropped-{name}").locator(".state")).to_have_text("ready")
    expect(page.locator("#uploads")).to_be_hidden()


def test_upload_that_fails_says_why(open_page: OpenPage) -> None:
    """It stays in the list of uploads until it is closed."""
    page = open_page(path="/#documents")
    page.route("**/upload/**", lambda route: route.abort())
    choose(page, f"{SHELF}-lost.txt", b"lost")
    expect(page.get_by_role("alert").first).to_contain_text("The upload failed (no connection)")
    page.get_by_role("button", name=f"Close: {SHELF}-lost.txt").click()
    expect(page.locator("#uploads")).to_be_hidden()


def test_failed_document_says_why_and_what_to_do(open_page: OpenPage) -> None:
    """The reason stands below the name."""
    page = open_page(path="/#documents")
    search(page, f"{SHELF}/", state="failed")
    broken = document(page, f"{SHELF}/broken.pdf")
    expect(broken.locator(".state")).to_have_text("failed")
    expect(broken.locator(".reason")).to_contain_text("cannot be opened")
    expect(page.locator("#document-list > li")).to_have_count(1)


def test_pages_without_text_are_named(open_page: OpenPage) -> None:
    """A scan in a document is not passed over in silence."""
    page = open_page(path="/#documents")
    search(page, f"{SHELF}/")
    scan = document(page, f"{SHELF}/scan.pdf")
    expect(scan).to_contain_text("3 pages")
    expect(scan).to_contain_text("Pages without text: 2, 3")


def test_documents_are_listed_by_collection(open_page: OpenPage) -> None:
    """The other collections are hidden."""
    page = open_page(path="/#documents")
    page.locator("#shown-collection").fill(SHELF)
    expect_list(page)
    expect(page.locator("#document-list > li")).to_have_count(2)
    page.locator("#shown-collection").fill("no such collection")
    expect(page.locator("#no-documents")).to_be_visible()


def fail(system: System, name: str, *, code: str) -> int:
    """Let a document have failed for a reason that another try can mend."""
    generation = system.upload(name, BROKEN, "application/pdf")
    system.wait_for(name, generation=generation)
    with psycopg.connect(system.owner_url, autocommit=True) as connection:
        connection.execute(
            """
            UPDATE builds SET reason_code = %s FROM documents
            WHERE documents.id = document_id AND name = %s
            """,
            (code, name),
        )
    return generation


def test_retry_indexes_once_more(open_page: OpenPage, system: System) -> None:
    """The document gets a new generation, and its own reason; then a retry helps no more."""
    name = f"{SHELF}-retried/broken.pdf"
    before = fail(system, name, code="attempts_exhausted")
    page = open_page(path="/#documents")
    search(page, name)
    page.get_by_role("button", name=f"Retry: {name}").click()
    expect(page.locator("#notice")).to_have_text(f"{name} is being indexed again")
    wait_until(
        lambda: system.documents(prefix=name)[name]["generation"] > before,
        what="the new generation is known",
    )
    assert system.wait_for(name)["reason"]["code"] == "corrupt"
    expect(document(page, name).locator(".reason")).to_contain_text("damaged")
    expect(page.get_by_role("button", name=f"Retry: {name}")).to_have_count(0)


def test_many_are_changed_at_once(open_page: OpenPage, system: System) -> None:
    """What is selected is retried where that helps, and deleted after a question."""
    shelf = f"{SHELF}-many"
    names = [f"{shelf}/{number}.pdf" for number in range(3)]
    for name in names[:2]:
        fail(system, name, code="embedding_failed")
    system.wait_for(names[2], generation=system.upload(names[2], "A third."))
    page = open_page(path="/#documents")
    search(page, f"{shelf}/")
    expect(page.locator("#document-list > li")).to_have_count(3)
    expect(page.locator("#totals")).to_contain_text("3 documents")
    expect(page.locator("#totals")).to_contain_text("failed: 2")
    page.get_by_label("Select all shown").check()
    expect(page.locator("#selected")).to_have_text("3 selected")
    page.get_by_role("button", name="Retry the selected").click()
    expect(page.locator("#notice")).to_have_text("2 of 2 done")
    for name in names[:2]:
        expect(document(page, name).locator(".reason")).to_contain_text("damaged")
    page.get_by_label("Select all shown").check()
    page.get_by_role("button", name="Delete the selected").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 3 documents from the bucket?")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("#document-list > li")).to_have_count(0)
    assert list(system.bucket().list_blobs(prefix=f"{shelf}/")) == []


def test_documents_are_found_and_sorted(open_page: OpenPage) -> None:
    """By any part of the name, by type, the largest first."""
    page = open_page(path="/#documents")
    search(page, f"oken {SHELF}/")
    expect(page.locator("#document-list > li")).to_have_count(1)
    search(page, f"{SHELF}/", sort="largest first")
    names = page.locator("#document-list > li .name")
    expect(names).to_have_text([f"{SHELF}/scan.pdf", f"{SHELF}/broken.pdf"])
    search(page, f"{SHELF}/", sort="name")
    expect(names).to_have_text([f"{SHELF}/broken.pdf", f"{SHELF}/scan.pdf"])
    search(page, f"{SHELF}/", type="application/pdf")
    expect(page.locator("#document-list > li")).to_have_count(2)


def test_misspelt_collection_is_said(open_page: OpenPage) -> None:
    """In the list, and before a question is asked in it."""
    page = open_page(path="/#documents")
    page.locator("#shown-collection").fill("browser-documnets")
    expect(page.locator("#no-documents")).to_have_text(
        re.compile("There is no collection “browser-documnets”. Did you mean .*browser-documents")
    )
    open_view(page, "Ask")
    page.locator("#collection").fill("browser-documnets")
    page.get_by_label("Your question").fill("What has text?")
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("Did you mean")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.get_by_label("Your question")).to_have_value("What has text?")


def test_open_tab_asks_ever_less(open_page: OpenPage) -> None:
    """While nothing changes an instance can end: a dozen requests in the first hour, then none."""
    page = open_page(path="/#documents")
    expect(page.locator("#document-list > li").first).to_be_visible()
    page.clock.install()
    # A wait that began by the real clock would end in some hour or other of this one.
    page.reload()
    search(page, f"{SHELF}/")
    expect(page.locator("#document-list > li")).to_have_count(2)
    expect(page.locator("#totals")).to_contain_text("2 documents")
    # Nothing that was asked for before is counted.
    page.wait_for_load_state("networkidle")
    asked: list[Request] = []
    open_requests: set[Request] = set()
    page.on("request", lambda request: asked.append(request))
    page.on("request", lambda request: open_requests.add(request))
    page.on("requestfinished", lambda request: open_requests.discard(request))
    page.on("requestfailed", lambda request: open_requests.discard(request))
    # A window that gets the focus, as Chromium's may when others close, is a reader who is back.
    page.evaluate(
        """() => {
          window.backs = 0;
          for (const kind of ["focus", "visibilitychange"]) {
            addEventListener(kind, () => (window.backs += 1));
          }
        }"""
    )
    by_hour = []
    for _ in range(2):
        before = len(asked)
        for _minute in range(60):
            page.clock.run_for(60_000)
            # The next wait begins with the answer.
            wait_until(lambda: page.evaluate("1") and not open_requests, what="it is answered")
            expect_list(page)
        by_hour.append(len(asked) - before)
    assert 0 < by_hour[0] <= 12, by_hour
    assert by_hour[1] <= page.evaluate("window.backs")
    before = len(asked)
    page.keyboard.press("Shift")
    wait_until(lambda: page.evaluate("1") and len(asked) > before, what="the reader is back")


def test_ten_thousand_documents_stay_smooth(open_page: OpenPage, system: System) -> None:
    """All are listed, and only those in sight are laid out."""
    with psycopg.connect(system.owner_url, autocommit=True) as connection:
        # In another bucket, which the reconciler does not look into.
        connection.execute(
            """
            WITH made AS (
                INSERT INTO documents (bucket, name, collection, seen_generation)
                SELECT 'elsewhere', format('browser-shelves/%s.txt', number), 'browser-shelves', 1
                FROM generate_series(10001, 20000) AS number
                RETURNING id
            )
            INSERT INTO builds (document_id, generation, epoch, config_hash, state, collection)
            SELECT id, 1, 0, 'test', 'ready', 'browser-shelves' FROM made
            """
        )
    try:
        page = open_page(path="/#documents")
        search(page, "browser-shelves/")
        expect(page.locator("#totals")).to_contain_text("10,000 documents")
        items = page.locator("#document-list > li")
        while page.locator("#more").is_visible():
            count = items.count()
            page.locator("#more").evaluate("one => one.click()")
            page.wait_for_function(
                "count => document.querySelectorAll('#document-list > li').length > count",
                arg=count,
            )
        expect(items).to_have_count(10_000)
        shown = page.evaluate(
            """() => [...document.querySelectorAll("#document-list > li .facts")]
              .filter((one) => one.checkVisibility({ contentVisibilityAuto: true })).length"""
        )
        assert 0 < shown < 200
    finally:
        with psycopg.connect(system.owner_url, autocommit=True) as connection:
            connection.execute("DELETE FROM documents WHERE bucket = 'elsewhere'")


def test_delete_asks_and_removes_the_document(open_page: OpenPage, system: System) -> None:
    """Cancel keeps it; it is gone from the list and from the bucket afterwards."""
    name = f"{SHELF}-deleted/old.txt"
    system.wait_for(name, generation=system.upload(name, "An old text."))
    page = open_page(path="/#documents")
    search(page, name)
    delete = page.get_by_role("button", name=f"Delete: {name}")
    delete.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(name)
    dialog.get_by_role("button", name="Cancel").click()
    expect(document(page, name)).to_be_visible()
    delete.click()
    dialog.get_by_role("button", name="Delete").click()
    expect(document(page, name)).to_have_count(0)
    assert system.bucket().get_blob(name) is None


def test_focus_stays_when_the_list_changes(open_page: OpenPage, system: System) -> None:
    """A reader on a button is not thrown to the top by a refresh."""
    page = open_page(path="/#documents")
    search(page, SHELF)
    button = page.get_by_role("button", name=f"Delete: {SHELF}/scan.pdf")
    button.focus()
    system.wait_for(f"{SHELF}-new.txt", generation=system.upload(f"{SHELF}-new.txt", "New."))
    expect(document(page, f"{SHELF}-new.txt")).to_be_visible()
    expect(button).to_be_focused()


def test_key_is_asked_for_until_it_is_right(open_page: OpenPage, guarded_url: str) -> None:
    """A wrong key is refused in words; the right one lasts for the tab."""
    page = open_page(guarded_url, path="/#documents")
    dialog = page.get_by_role("dialog")
    key = dialog.get_by_label("Key", exact=True)
    key.fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog.get_by_role("alert")).to_have_text("That key was not accepted.")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    key.fill(KEY)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator("#document-list > li")).not_to_have_count(0)
    page.reload()
    expect(page.locator("#document-list > li")).not_to_have_count(0)
    expect(dialog).to_be_hidden()


def test_nothing_can_be_changed_where_the_service_may_not_write(
    open_page: OpenPage, guarded_url: str
) -> None:
    """UPLOADS_ENABLED=false: no upload, no delete, no retry, and a dropped file does nothing."""
    page = open_page(guarded_url, path="/#documents")
    page.get_by_label("Key", exact=True).fill(KEY)
    page.keyboard.press("Enter")
    search(page, f"{SHELF}/")
    expect(document(page, f"{SHELF}/broken.pdf")).to_be_visible()
    expect(page.get_by_label("Choose files")).to_be_hidden()
    changing = page.locator("#document-list").get_by_role("button", name=re.compile("Delete|Retry"))
    expect(changing).to_have_count(0)
    expect(page.get_by_role("checkbox")).to_have_count(0)
    transfer = page.evaluate_handle(
        "() => { const all = new DataTransfer(); all.items.add(new File(['a'], 'a')); return all; }"
    )
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    expect(page.locator("#uploads > li")).to_have_count(0)


def test_list_fits_a_phone(open_page: OpenPage, system: System) -> None:
    """A long name breaks."""
    name = f"{SHELF}/{'very-long-name' * 12}.txt"
    system.wait_for(name, generation=system.upload(name, "Long."))
    page = open_page(path="/#documents", viewport={"width": 360, "height": 740}, is_mobile=True)
    search(page, f"{SHELF}/")
    expect(document(page, name)).to_be_visible()
    assert not is_wider_than_the_window(page)
