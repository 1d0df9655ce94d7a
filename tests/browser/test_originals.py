"""A citation opens its original: the page of the PDF, the picture, the text with its structure."""

from __future__ import annotations

import io
from typing import Any

import pypdf
import pytest
import xlsxwriter
from PIL import Image, ImageDraw, ImageFont, TiffImagePlugin
from playwright.sync_api import Page, expect

from local.system import System
from tests.browser.asking import ask, open_view
from tests.browser.conftest import OpenPage
from tests.support.documents import make_pdf, pdf_lines

SHELF = "browser-originals"
FACT = "The turbine hall is heated by the river."
QUESTION = "What is the turbine hall heated by?"
PAGES = [
    ["This report has three pages."],
    ["The second page begins here.", "", FACT, "", "Nobody swims in winter."],
    ["The end."],
]


SCAN = [
    "Harbour timetable, valid from March.",
    "The ferry leaves at seven from pier four.",
    "Bicycles travel free of charge.",
]
SCAN_FONT = ImageFont.load_default(size=40)
SCANNED = (1100, 330)


def turned_pdf() -> bytes:
    """Return a PDF whose pages are cropped, turned and scaled: a mark must follow them."""
    writer = pypdf.PdfWriter(io.BytesIO(make_pdf([pdf_lines(page) for page in PAGES])))
    for page in writer.pages:
        page.cropbox = pypdf.generic.RectangleObject((30, 60, 560, 830))
        page.rotate(90)
        page[pypdf.generic.NameObject("/UserUnit")] = pypdf.generic.FloatObject(1.5)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def workbook() -> bytes:
    """Return a workbook of two sheets."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheets: dict[str, list[list[str | int]]] = {
            "Staff": [["Name", "Office"], ["Mira Holt", "Bremen"]],
            "Pumps": [["Pump", "Litres"], ["North pump", 41], ["South pump", 97]],
        }
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return out.getvalue()


def scan(kind: str) -> bytes:
    """Return a picture of sentences, as a picture or as the page of a PDF."""
    picture = Image.new("L", SCANNED, "white")
    for number, line in enumerate(SCAN):
        ImageDraw.Draw(picture).text((40, 50 + 90 * number), line, "black", SCAN_FONT)
    out = io.BytesIO()
    options: dict[str, Any] = {"resolution": 150} if kind == "PDF" else {"dpi": (300, 300)}
    if kind == "TIFF":
        # The second page, behind one without text and a small copy of it, lying on its side.
        small = TiffImagePlugin.ImageFileDirectory_v2()
        small[254] = 1
        turned = TiffImagePlugin.ImageFileDirectory_v2()
        turned[274] = 6
        pages = [(Image.new("1", SCANNED, "white"), None), (Image.new("L", (110, 33)), small)]
        pages.append((picture.transpose(Image.Transpose.ROTATE_90), turned))
        with TiffImagePlugin.AppendingTiffWriter(out) as writer:
            for image, info in pages:
                compression = "group4" if image.mode == "1" else "tiff_adobe_deflate"
                options = {} if info is None else {"tiffinfo": info}
                image.save(writer, "TIFF", compression=compression, dpi=(300, 300), **options)
                writer.newFrame()
        return out.getvalue()
    picture.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index the documents that the questions are about."""
    documents: dict[str, tuple[bytes, str]] = {
        f"{SHELF}/plain.pdf": (make_pdf([pdf_lines(page) for page in PAGES]), "application/pdf"),
        f"{SHELF}-turned/turned.pdf": (turned_pdf(), "application/pdf"),
        f"{SHELF}-pumps/pumps.xlsx": (workbook(), ""),
        f"{SHELF}-ferry/ferry.png": (scan("PNG"), "image/png"),
        f"{SHELF}-pier/pier.pdf": (scan("PDF"), "application/pdf"),
        f"{SHELF}-quay/quay.tiff": (scan("TIFF"), "image/tiff"),
    }
    for name, (data, content_type) in documents.items():
        system.upload(name, data, content_type or "application/octet-stream")
    for name in documents:
        assert system.wait_for(name)["state"] == "ready"


def open_fact(page: Page, *, collection: str) -> None:
    """Ask, and open the citation of the fact."""
    sheet = ask(page, QUESTION, collection=collection)
    sheet.locator(".citation").filter(has_text=FACT).first.click()
    expect(page.locator("#page-frame canvas")).to_be_visible()


def text_on_page(page: Page, *, number: int, words: str) -> dict[str, float]:
    """Return where PDF.js itself finds *words* on the page shown, in pixels of the sheet."""
    place: dict[str, float] = page.evaluate(
        """async ([number, words]) => {
          const base = "/web/vendor/pdfjs-6.5.438/";
          const pdfjs = await import(`${base}pdf.min.mjs`);
          const id = performance.getEntriesByType("resource")
            .map((one) => /originals\\/.*/.exec(one.name)?.[0]).filter(Boolean).at(-1);
          const opened = await pdfjs.getDocument({ url: `/${id}`, useWasm: false }).promise;
          const shown = await opened.getPage(number);
          const { items } = await shown.getTextContent();
          const item = items.find((one) => one.str.includes(words));
          const sheet = document.querySelector(".sheet").getBoundingClientRect();
          const scale = sheet.width / shown.getViewport({ scale: 1 }).width;
          const viewport = shown.getViewport({ scale });
          const [, , , , x, y] = item.transform;
          const [x1, y1] = viewport.convertToViewportPoint(x, y);
          const [x2, y2] = viewport.convertToViewportPoint(x + item.width, y + item.height);
          return { left: Math.min(x1, x2), top: Math.min(y1, y2),
                   right: Math.max(x1, x2), bottom: Math.max(y1, y2) };
        }""",
        [number, words],
    )
    return place


@pytest.mark.parametrize("collection", [SHELF, f"{SHELF}-turned"])
def test_citation_opens_its_page_with_the_quote_marked(
    open_page: OpenPage, collection: str
) -> None:
    """The mark lies where PDF.js itself says that the sentence is, on a turned page too."""
    page = open_page()
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url))
    sheet = ask(page, QUESTION, collection=collection)
    assert not [url for url in loaded if "pdfjs" in url]
    sheet.locator(".citation").filter(has_text=FACT).first.click()
    expect(page.locator("#page-place")).to_have_text("Page 2 of 3")
    mark = page.locator(".page-mark")
    expect(mark).to_have_count(1)
    box: dict[str, Any] = mark.evaluate(
        """(one) => ({ left: one.offsetLeft, top: one.offsetTop,
          right: one.offsetLeft + one.offsetWidth, bottom: one.offsetTop + one.offsetHeight })"""
    )
    place = text_on_page(page, number=2, words=FACT)
    for side, expected in place.items():
        assert box[side] == pytest.approx(expected, abs=8), side
    expect(page.locator("#page-frame canvas")).to_have_attribute("role", "img")


def test_pages_are_turned_and_the_text_is_there_too(open_page: OpenPage) -> None:
    """Page and text are two views of one passage."""
    page = open_page()
    open_fact(page, collection=SHELF)
    page.get_by_role("button", name="Next page").click()
    expect(page.locator("#page-place")).to_have_text("Page 3 of 3")
    expect(page.locator(".page-mark")).to_have_count(0)
    expect(page.get_by_role("button", name="Next page")).to_be_disabled()
    page.get_by_text("Text", exact=True).click()
    expect(page.locator("#passage-text mark")).to_have_text(FACT)
    expect(page.locator("#page-frame")).to_be_hidden()


def test_original_is_downloaded(open_page: OpenPage, system: System) -> None:
    """The very bytes, under the file's own name."""
    page = open_page()
    open_fact(page, collection=SHELF)
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download the original").click()
    assert downloading.value.suggested_filename == "plain.pdf"
    blob = system.bucket().blob(f"{SHELF}/plain.pdf")
    assert downloading.value.path().read_bytes() == blob.download_as_bytes()


def test_back_closes_a_passage(open_page: OpenPage) -> None:
    """As a phone's reader expects; another Back leaves nothing behind."""
    page = open_page(path="/#documents")
    open_view(page, "Ask")
    expect(page.locator("#ask-page")).to_be_visible()
    open_fact(page, collection=SHELF)
    page.go_back()
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#ask-page")).to_be_visible()
    page.locator(".citation").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.wait_for_function("!history.state?.passage")
    page.go_back()
    expect(page.locator("#documents-page")).to_be_visible()


def test_sheet_is_shown_as_a_table(open_page: OpenPage) -> None:
    """Cells in columns, the sheet named, the original to be downloaded."""
    page = open_page()
    sheet = ask(page, "How many litres has the South pump?", collection=f"{SHELF}-pumps")
    expect(sheet.locator(".citation").first).to_contain_text("sheet 2")
    sheet.locator(".citation").first.click()
    row = page.locator("#passage-text tr").filter(has_text="South pump")
    expect(row.locator("td")).to_have_text(["South pump", "97"])
    expect(page.get_by_role("button", name="Download the original")).to_be_visible()
    expect(page.locator("#passage-views")).to_be_hidden()


@pytest.mark.parametrize("shelf_of", ["ferry", "pier", "quay"], ids=["PNG", "PDF", "TIFF"])
def test_quote_is_marked_on_the_scan(open_page: OpenPage, shelf_of: str) -> None:
    """A reader can check what was read from it: the mark lies on the line, the whole of it."""
    page = open_page()
    sheet = ask(page, "When does the ferry leave?", collection=f"{SHELF}-{shelf_of}")
    sheet.locator(".citation").filter(has_text=SCAN[1]).first.click()
    mark = page.locator(".page-mark")
    expect(mark).to_have_count(1)
    box: list[float] = mark.evaluate(
        """(one) => {
          const scale = one.parentElement.clientWidth / 1100;
          const { offsetLeft, offsetTop, offsetWidth, offsetHeight } = one;
          return [offsetLeft, offsetTop, offsetLeft + offsetWidth, offsetTop + offsetHeight]
            .map((side) => side / scale);
        }"""
    )
    drawn = ImageDraw.Draw(Image.new("L", SCANNED))
    assert box == pytest.approx(drawn.textbbox((40, 140), SCAN[1], SCAN_FONT), abs=12)


def test_scan_without_places_says_so(open_page: OpenPage) -> None:
    """Where Gemini read the page, no place is known: the page is shown, and the text is marked."""
    page = open_page()
    page.route("**/marks?*", lambda route: route.fulfill(json={"marks": []}))
    sheet = ask(page, "When does the ferry leave?", collection=f"{SHELF}-quay")
    sheet.locator(".citation").filter(has_text=SCAN[1]).first.click()
    expect(page.locator("#page-place")).to_have_text("Page 2 of 2")
    expect(page.locator("#passage-note")).to_contain_text("It is marked in the text.")
    page.get_by_role("button", name="Previous page").click()
    expect(page.locator("#page-place")).to_have_text("Page 1 of 2")
    page.get_by_text("Text", exact=True).click()
    expect(page.locator("#passage-text mark")).to_have_text(SCAN[1])


def test_picture_is_made_larger(open_page: OpenPage) -> None:
    """It has no pages to turn."""
    page = open_page()
    sheet = ask(page, "When does the ferry leave?", collection=f"{SHELF}-ferry")
    sheet.locator(".citation").first.click()
    picture = page.locator("#page-frame img")
    expect(picture).to_be_visible()
    expect(page.get_by_role("button", name="Next page")).to_be_hidden()
    before = picture.evaluate("one => one.clientWidth")
    page.get_by_role("button", name="Larger").click()
    assert picture.evaluate("one => one.clientWidth") > before


def test_text_is_shown_where_the_original_is_away(open_page: OpenPage) -> None:
    """A file that cannot be fetched costs the page, not the quote."""
    page = open_page()
    page.route("**/originals/*", lambda route: route.abort())
    sheet = ask(page, QUESTION, collection=SHELF)
    sheet.locator(".citation").filter(has_text=FACT).first.click()
    expect(page.locator("#passage-note")).to_contain_text("The original cannot be shown.")
    expect(page.locator("#passage-text mark")).to_have_text(FACT)
