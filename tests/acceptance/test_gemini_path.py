"""With Gemini configured: answers by the model, and pages without text read by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from local.system import System
from tests.support.documents import make_pdf, pdf_lines
from tests.support.gemini_stand_in import (
    GeminiStandIn,
    Scenario,
    answering,
    gemini_stand_in,
    prompt_of,
)
from tests.support.pictures import chart, docx_of, packed


@pytest.fixture
def gemini() -> Iterator[GeminiStandIn]:
    with gemini_stand_in() as stand_in:
        yield stand_in


def _quote_chart(request: dict[str, Any]) -> list[str]:
    """Answer from the passage that describes the chart, whichever it is."""
    passages = prompt_of(request).split("BEGIN PASSAGE ")[1:]
    number = next(int(each.split()[0]) for each in passages if "P-88" in each)
    answer = {
        "grounded": True,
        "answer": f"Pump P-88 moves 730 litres a minute [{number}].",
        "quotes": [{"passage": number, "quote": "pump P-88 moves 730 litres a minute"}],
    }
    return [json.dumps(answer)]


def test_scanned_page_is_read_and_answers(
    start_system: Callable[..., System], gemini: GeminiStandIn
) -> None:
    """A page without a text layer goes to Gemini as a picture; its text is marked as such."""
    system = start_system(
        variables={
            "GEMINI_API_KEY": "key",
            "GEMINI_MODEL": "gemini-test",
            "GOOGLE_GEMINI_BASE_URL": gemini.url,
            "OCR_PAGE_BUDGET": "5",
        }
    )
    # The first page has text, the second nothing but a filled rectangle.
    scan = make_pdf(
        [pdf_lines(["The pump house was built in 1912."]), "0.5 g 100 100 300 300 re f"]
    )
    gemini.plan(Scenario(pieces=["The spare valve is numbered V-7731."]))
    system.upload("scans/pump.pdf", scan, "application/pdf")
    document = system.wait_for("scans/pump.pdf")
    assert (document["state"], document["pages"]) == ("ready", 2)
    assert document["pages_without_text"] == []
    gemini.plan(answering("The spare valve is V-7731 [1]."))
    answer = system.post("/query", {"question": "Which number has the spare valve?"})
    assert answer["model"] == "gemini-test"
    sources = {passage["text"]: passage["source"] for passage in answer["passages"]}
    assert sources["The spare valve is numbered V-7731."] == "ocr"

    # The same system: a picture within a document is described, and never proves anything.
    gemini.plan(Scenario(pieces=["A bar chart of pumps: pump P-88 moves 730 litres a minute."]))
    picture = packed(chart())
    system.upload("charts/pumps.docx", docx_of([(picture, "Pumps", "")] * 2), "application/zip")
    document = system.wait_for("charts/pumps.docx")
    assert (document["state"], document["notices"]) == ("ready", [])
    assert {name: document["figures"][name] for name in ("asked", "described", "bytes")} == {
        "asked": 1,
        "described": 1,
        "bytes": len(picture),
    }
    assert len(gemini.requests) == 1
    gemini.plan(Scenario(pieces=_quote_chart))
    answer = system.post("/query", {"question": "How much does pump P-88 move?"})
    assert answer["grounded"]
    (citation,) = answer["citations"]
    assert (citation["verified"], citation["description"]) == (False, True)
    assert answer["passages"][citation["number"] - 1]["source"] == "figure"
    assert "description of a picture" in prompt_of(gemini.requests[-1])
    # The next version has the same picture, and pays nothing for it.
    gemini.plan(Scenario(pieces=["Not asked."]))
    more = docx_of([(picture, "Pumps", ""), (packed(chart(2).resize((30, 30))), "", "")])
    generation = system.upload("charts/pumps.docx", more, "application/zip")
    document = system.wait_for("charts/pumps.docx", generation=generation)
    assert (document["figures"]["asked"], document["figures"]["described"]) == (0, 1)
    assert gemini.requests == []
