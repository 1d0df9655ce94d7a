"""Pages read by Gemini, spoken to by the real client."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest

from functions.ingest.ocr import PageReader
from shared.errors import GenerationUnavailable
from shared.settings import GeminiSettings
from tests.support.gemini_stand_in import GeminiStandIn, Scenario, failing, gemini_stand_in

PNG = b"\x89PNG\r\n\x1a\n picture"


@pytest.fixture
def gemini() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def reader(gemini: GeminiStandIn) -> Iterator[PageReader]:
    reader = PageReader(
        GeminiSettings.model_validate(
            {
                "gemini_api_key": "key",
                "google_gemini_base_url": gemini.url,
                "gemini_timeout_seconds": 2.0,
            }
        )
    )
    yield reader
    reader.close()


def test_page_is_read(gemini: GeminiStandIn, reader: PageReader) -> None:
    """The picture goes to Gemini as PNG, its text comes back."""
    gemini.plan(Scenario(pieces=["Valve V-7 is open.\n"]))
    assert reader.read_page(PNG) == "Valve V-7 is open."
    parts = gemini.requests[0]["contents"][0]["parts"]
    pictures = [part["inlineData"] for part in parts if "inlineData" in part]
    assert [(p["mime_type"], base64.b64decode(p["data"])) for p in pictures] == [("image/png", PNG)]


def test_page_when_nothing_is_on_it(gemini: GeminiStandIn, reader: PageReader) -> None:
    """A page without text has none."""
    gemini.plan(Scenario(pieces=["NONE"]))
    assert reader.read_page(PNG) == ""


@pytest.mark.parametrize(
    "scenario", [Scenario(finish_reason="SAFETY"), Scenario(block_reason="OTHER")]
)
def test_page_when_blocked(gemini: GeminiStandIn, reader: PageReader, scenario: Scenario) -> None:
    """A page that Gemini declines stays without text."""
    gemini.plan(scenario)
    assert reader.read_page(PNG) == ""


def test_page_when_gemini_stumbles(gemini: GeminiStandIn, reader: PageReader) -> None:
    """A short failure is tried again."""
    gemini.plan(failing(503), Scenario(pieces=["text"]))
    assert reader.read_page(PNG) == "text"


@pytest.mark.parametrize(
    "scenario",
    [
        failing(503),
        failing(400),
        Scenario(hang=True),
        Scenario(pieces=["a" * 400], drip_seconds=0.05),
    ],
)
def test_page_when_gemini_is_away(
    gemini: GeminiStandIn, reader: PageReader, scenario: Scenario
) -> None:
    """A lasting failure is told within the deadline, for another try of the document."""
    gemini.plan(*[scenario] * 8)
    began = time.monotonic()
    with pytest.raises(GenerationUnavailable):
        reader.read_page(PNG)
    assert time.monotonic() - began < 15
