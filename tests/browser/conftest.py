"""Chromium, the page in it, and the query functions that it is opened on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from local.system import System
from tests.browser.browsers import open_browser, require_chromium, run_query
from tests.support.gemini_stand_in import ANSWERS, GeminiStandIn, gemini_stand_in

KEY = "a key for the tests"
# The machine may be busy; nothing waits this long where all is well.
expect.set_options(timeout=20_000)

OpenPage = Callable[..., Page]


@pytest.fixture(scope="session", autouse=True)
def chromium() -> None:
    """Leave the tests out before anything is started for them."""
    require_chromium()


# Not for the session: while Playwright runs, no other test could run an event loop of its own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run one Chromium for the tests of a file."""
    with open_browser() as running:
        yield running


@pytest.fixture(scope="session")
def gemini() -> Iterator[GeminiStandIn]:
    """Run Gemini's stand-in for all tests."""
    with gemini_stand_in() as running:
        yield running


@pytest.fixture(scope="session")
def gemini_url(system: System, gemini: GeminiStandIn) -> Iterator[str]:
    """Run a query function whose answers the stand-in writes."""
    variables = {"GEMINI_API_KEY": "any", "GOOGLE_GEMINI_BASE_URL": gemini.url}
    with run_query(system, "query_gemini", variables) as url:
        yield url


@pytest.fixture
def stand_in(gemini: GeminiStandIn) -> GeminiStandIn:
    """Return the stand-in, answering as it does at first."""
    gemini.plan(ANSWERS)
    return gemini


@pytest.fixture(scope="module")
def guarded_url(system: System) -> Iterator[str]:
    """Run a query function that wants a key, may not write and takes no ratings."""
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    variables = {"API_KEYS": digest, "UPLOADS_ENABLED": "false", "FEEDBACK_ENABLED": "false"}
    with run_query(system, "query_guarded", variables) as url:
        yield url


@pytest.fixture
def open_page(browser: Browser, system: System) -> Iterator[OpenPage]:
    """
    Return what opens the page in a context of its own.

    At the end nothing may have been asked of another origin, no error thrown, no policy broken.
    """
    requested: list[str] = []
    said: list[str] = []
    contexts = []
    own = {urlsplit(system.environment["STORAGE_EMULATOR_HOST"]).netloc}

    def open_one(url: str = system.query_url, *, path: str = "/", **options: Any) -> Page:
        context = browser.new_context(**{"locale": "en-GB", "reduced_motion": "reduce", **options})
        contexts.append(context)
        own.add(urlsplit(url).netloc)
        page = context.new_page()
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: said.append(f"thrown: {error}"))
        page.on(
            "console",
            lambda message: said.append(message.text) if message.type == "error" else None,
        )
        page.goto(url + path)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [url for url in requested if urlsplit(url).netloc not in own] == []
    # Chromium itself reports an answer of 401 or 409 as an error.
    assert [text for text in said if not text.startswith("Failed to load resource")] == []
