"""One trace from the upload to the ready document, one for each question, over the processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.collector import Collector, Received, collect_traces
from tests.conftest import create_database, drop_database
from tests.emulators import free_port
from tests.gemini_stand_in import GeminiStandIn, answering, gemini_stand_in
from tests.system import System, run_system, wait_until

SECRET = "The spare valve is numbered V-7731."
QUESTION = "Which number has the spare valve?"


@dataclass(frozen=True, slots=True)
class Observed:
    system: System
    collector: Collector
    gemini: GeminiStandIn


@pytest.fixture(scope="module")
def observed(
    postgres_url: str,
    template_database: str,
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Observed]:
    """Run a system that sends its traces to a collector."""
    url = create_database(postgres_url, template=template_database)
    with collect_traces() as collector, gemini_stand_in() as gemini:
        try:
            with run_system(
                folder=tmp_path_factory.mktemp("observed"),
                database_url=url,
                model_dir=model_dir,
                variables={
                    "UPLOADS_ENABLED": "true",
                    "TRACE_EXPORTER": "otlp",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                    "OTEL_BSP_SCHEDULE_DELAY": "200",
                    "GEMINI_API_KEY": "key-of-nobody",
                    "GEMINI_MODEL": "gemini-test",
                    "GOOGLE_GEMINI_BASE_URL": gemini.url,
                },
            ) as system:
                yield Observed(system, collector, gemini)
        finally:
            drop_database(postgres_url, url)


def upload(system: System, name: str, text: str) -> None:
    """Upload as the page does: ask for a session, send the bytes."""
    data = text.encode()
    asked = {"name": name, "content_type": "text/plain", "size": len(data)}
    begun = system.post("/documents", asked)
    sent = requests.put(begun["upload_url"], data=data, headers=begun["headers"], timeout=30)
    sent.raise_for_status()


def is_connected(spans: list[Received]) -> bool:
    """Return whether each span but one has its parent among the others."""
    known = {span.id for span in spans}
    return sum(span.parent not in known for span in spans) == 1


def test_upload_is_one_trace(observed: Observed) -> None:
    """Request, notification, ingest, jobs and embedding are one tree of spans."""
    upload(observed.system, "traced/valve.txt", SECRET)
    observed.system.wait_for("traced/valve.txt")

    def whole() -> list[Received]:
        spans = observed.collector.trace_of("POST /documents")
        names = {span.name for span in spans}
        return spans if {"ingest", "embed_chunks"} <= names and is_connected(spans) else []

    spans = wait_until(whole, what="the trace of the upload is whole")
    assert {(span.service, span.name) for span in spans} == {
        ("kaydang-query", "POST /documents"),
        *(("kaydang-ingest", name) for name in ("ingest", "download", "parse", "stage", "publish")),
        *(("kaydang-embed-worker", name) for name in ("embed_chunks", "lease", "embed", "finish")),
    }
    assert [span.name for span in spans if span.failed] == []
    metadata = observed.system.documents(prefix="traced/valve.txt")["traced/valve.txt"]["metadata"]
    assert metadata == {}


def test_question_is_one_trace(observed: Observed) -> None:
    """Embedding, search, prompt and Gemini are steps of the question."""
    upload(observed.system, "traced/question.txt", SECRET)
    observed.system.wait_for("traced/question.txt")
    observed.gemini.plan(answering("The spare valve is V-7731 [1]."))
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    response = requests.post(
        f"{observed.system.query_url}/query",
        json={"question": QUESTION},
        headers={"traceparent": caller, "Accept": "text/event-stream"},
        timeout=60,
    )
    assert "event: done" in response.text
    spans = wait_until(
        lambda: observed.collector.trace_of("POST /query"),
        what="the trace of the question is there",
    )
    assert {span.trace for span in spans} == {"0af7651916cd43dd8448eb211c80319c"}
    by_name = {span.name: span for span in spans}
    asked = by_name.pop("POST /query")
    assert asked.parent == "b7ad6b7169203331"
    assert asked.attributes["http.response.status_code"] == 200
    assert {name: span.parent for name, span in by_name.items()} == dict.fromkeys(
        ["embed", "search", "prompt", "gemini"], asked.id
    )
    assert by_name["gemini"].attributes["gen_ai.usage.input_tokens"] > 0


def test_spans_when_read(observed: Observed) -> None:
    """Neither text, question, name nor key stands in a span."""
    told = repr(observed.collector.spans)
    assert observed.collector.spans
    for secret in (SECRET, "V-7731", QUESTION, "valve", "traced/", "key-of-nobody"):
        assert secret not in told


def test_spans_when_a_process_is_stopped(observed: Observed) -> None:
    """What a process has not sent yet it sends before it ends."""
    system = observed.system
    system.ports["query2"] = free_port()
    system.variables["query2"] = {
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_SERVICE_NAME": "another-query",
    }
    system.start("query2")
    url = f"http://127.0.0.1:{system.ports['query2']}/documents"
    requests.get(url, timeout=30).raise_for_status()
    system.stop("query2")
    sent = [span.name for span in observed.collector.spans if span.service == "another-query"]
    assert sent == ["GET /documents"]
