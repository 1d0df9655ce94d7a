"""How the page looks and speaks: languages, colours, accessibility."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from local.system import System
from tests.browser.asking import ask, is_wider_than_the_window, open_view, search
from tests.browser.conftest import OpenPage
from tests.support.documents import make_pdf, pdf_lines

SHELF = "browser-appearance"


@pytest.fixture(scope="module", autouse=True)
def shelf(system: System) -> None:
    """Index one document that is ready and one that fails."""
    page = pdf_lines(["The clock in the hall is nine minutes slow."])
    system.upload(f"{SHELF}/slow.pdf", make_pdf([page]), "application/pdf")
    system.upload(f"{SHELF}/broken.pdf", b"%PDF-1.7\nbroken", "application/pdf")
    assert system.wait_for(f"{SHELF}/slow.pdf")["state"] == "ready"
    assert system.wait_for(f"{SHELF}/broken.pdf")["state"] == "failed"


@pytest.mark.parametrize(
    ("locale", "language", "send"),
    [
        ("de-AT", "de", "Fragen"),
        ("vi-VN", "vi", "Hỏi"),
        ("es-MX", "es", "Preguntar"),
        ("fr-FR", "fr", "Demander"),
        ("en-US", "en", "Ask"),
        ("ja-JP", "en", "Ask"),
    ],
)
def test_page_speaks_the_language_of_the_browser(
    open_page: OpenPage, locale: str, language: str, send: str
) -> None:
    """German, Spanish, French, Vietnamese, and English for all others."""
    page = open_page(locale=locale)
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator("#send")).to_have_text(send)
    expect(page).to_have_title(f"{send} · KaydangPT")


def test_every_language_says_everything(open_page: OpenPage) -> None:
    """The same texts with the same places; each form of a text that its language counts with."""
    page = open_page()
    texts: dict[str, dict[str, Any]] = page.evaluate(
        """async () => {
          const { LANGUAGES } = await import("/web/texts.js");
          const texts = {};
          for (const name of Object.keys(LANGUAGES)) {
            texts[name] = (await import(`/web/texts/${name}.js`)).default;
          }
          return texts;
        }"""
    )
    assert set(texts) == {"en", "de", "es", "fr", "vi"}
    for language, own in texts.items():
        assert _places(own) == _places(texts["en"]), language
        categories = page.evaluate(
            "(language) => new Intl.PluralRules(language).resolvedOptions().pluralCategories",
            language,
        )
        for name, text in own.items():
            if isinstance(text, dict):
                assert set(text) == set(categories), f"{language} {name}"
    used = page.evaluate(
        """() => [...document.querySelectorAll("[data-text], [data-label], [data-placeholder]")]
          .flatMap((one) => Object.values(one.dataset))"""
    )
    assert set(used) <= texts["en"].keys()


def _places(texts: dict[str, Any]) -> dict[str, set[str]]:
    """Return the {places} of each text, which a translation must keep."""
    places = {}
    for name, text in texts.items():
        whole = text if isinstance(text, str) else text["other"]
        places[name] = {part.partition("}")[0] for part in whole.split("{")[1:]}
    return places


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_has_no_known_fault(open_page: OpenPage, scheme: str) -> None:
    """axe-core finds nothing (roles, names, contrast) in either view, with a dialog open too."""
    page = open_page(color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(244, 245, 248)", "dark": "rgb(15, 19, 26)"}[scheme]
    assert faults(page) == []
    sheet = ask(page, "How slow is the clock in the hall?", collection=SHELF)
    sheet.locator("summary").click()
    assert faults(page) == []
    sheet.locator(".citation").filter(has_text="slow.pdf").first.click()
    expect(page.locator(".page-mark")).to_be_visible()
    assert faults(page) == []
    page.get_by_text("Text", exact=True).click()
    expect(page.locator("#passage-text mark")).not_to_be_empty()
    assert faults(page) == []
    for opens in ("Let Gemini write answers", "Conversations"):
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.get_by_role("button", name=opens, exact=True).click()
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == []
    page.keyboard.press("Escape")
    open_view(page, "Documents")
    search(page, f"{SHELF}/")
    expect(page.locator("#document-list > li")).to_have_count(2)
    page.get_by_label("Select all shown").check()
    page.locator("#document-list summary").click()
    assert faults(page) == []


def test_failures_are_said_in_the_readers_language(open_page: OpenPage) -> None:
    """What the service refuses, and why a document failed; its own words stand beside that."""
    page = open_page(locale="de-DE", path="/#documents")
    search(page, f"{SHELF}/broken")
    item = page.locator("#document-list > li")
    expect(item.locator(".reason")).to_contain_text("Die Datei ist beschädigt")
    item.locator("summary").click()
    expect(item.locator("details")).to_contain_text("cannot be opened")
    page.route(
        "**/query",
        lambda route: route.fulfill(
            status=503,
            content_type="application/problem+json",
            json={"code": "overloaded", "detail": "Too many requests", "status": 503},
        ),
    )
    page.get_by_role("link", name="Fragen").click()
    page.locator("#question").fill("Wie geht die Uhr?")
    page.locator("#send").click()
    expect(page.locator(".warning")).to_contain_text("Der Dienst ist ausgelastet")
    expect(page.get_by_role("button", name="Noch einmal fragen")).to_be_visible()


@pytest.mark.parametrize("locale", ["en-GB", "de-DE", "es-ES", "vi-VN"])
def test_narrow_window_cuts_no_word(open_page: OpenPage, locale: str) -> None:
    """On the narrowest phones every button, field and choice shows the whole of its text."""
    page = open_page(viewport={"width": 320, "height": 640}, locale=locale)
    page.route("**/query", lambda route: route.abort())
    page.locator("#question").fill("?")
    page.locator("#send").click()
    expect(page.locator("#forget")).to_be_visible()
    for view in ("ask", "documents"):
        page.locator(f"nav a[href='#{view}']").click()
        assert not is_wider_than_the_window(page)
        assert (
            page.evaluate(
                """() => [...document.querySelectorAll("button, .button, input, select, nav a")]
                  .filter((one) => one.checkVisibility() && !one.matches(".skip, .visually-hidden"))
                  .filter((one) => {
                    const ruler = document.createElement("canvas").getContext("2d");
                    ruler.font = getComputedStyle(one).font;
                    const text = one.placeholder ?? one.selectedOptions?.[0].text ?? "";
                    return one.scrollWidth > one.clientWidth + 1
                      || ruler.measureText(text).width > one.clientWidth - 12;
                  })
                  .map((one) => one.id || one.textContent)"""
            )
            == []
        )


def test_page_of_a_pdf_can_be_read_on_a_phone(open_page: OpenPage) -> None:
    """The page is wider than the window, which does not grow with it; the mark is in sight."""
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    sheet = ask(page, "How slow is the clock in the hall?", collection=SHELF)
    sheet.locator(".citation").filter(has_text="slow.pdf").first.tap()
    expect(page.locator(".page-mark")).to_be_in_viewport()
    assert page.locator(".sheet").evaluate("one => one.clientWidth") > 500
    assert not is_wider_than_the_window(page)
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Documents").tap()
    expect(page.locator("#document-list > li").first).to_be_visible()
    assert not is_wider_than_the_window(page)


def faults(page: Page) -> list[str]:
    """Return what axe-core has against the page as it stands."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def test_language_is_chosen_and_kept(open_page: OpenPage) -> None:
    """The choice counts more than the browser's languages, after a reload too."""
    page = open_page(locale="fr-FR")
    page.get_by_label("Langue").select_option("Deutsch")
    expect(page.locator("#send")).to_have_text("Fragen")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_label("Sprache")).to_have_value("de")


def test_skip_link_leads_past_the_head(open_page: OpenPage) -> None:
    """It is the first stop of the keyboard and is shown then."""
    page = open_page(path="/#documents")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    assert (skip.bounding_box() or {"width": 0})["width"] > 20
