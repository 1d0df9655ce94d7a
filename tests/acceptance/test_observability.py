"""
Traces and the doctor, over the whole system as processes.

One trace from the upload to the ready document, one for each question; and what the doctor says of
a deployment that is well, and of one with something taken away.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest
import requests
from google.cloud import pubsub_v1
from pydantic import SecretStr

from admin import doctor
from admin.migrate import read_migrations
from local.processes import free_port
from local.setup import Settings as SetupSettings
from local.setup import set_up
from local.system import PROJECT, System, run_system, wait_until
from shared.settings import load
from tests.conftest import create_database, drop_database
from tests.support.collector import Collector, Received, collect_traces
from tests.support.gemini_stand_in import ANSWERS, GeminiStandIn, answering, gemini_stand_in

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
        names = {(span.service, span.name) for span in spans}
        ends = {("kaydang-ingest", "ingest"), ("kaydang-embed-worker", "embed_chunks")}
        return spans if ends <= names and is_connected(spans) else []

    spans = wait_until(whole, what="the trace of the upload is whole")
    assert {(span.service, span.name) for span in spans} == {
        ("kaydang-query", "POST /documents"),
        *(("kaydang-ingest", name) for name in ("ingest", "download", "parse", "stage", "publish")),
        *(
            ("kaydang-embed-worker", name)
            # The last tells others that the document is ready.
            for name in ("embed_chunks", "lease", "embed", "finish", "publish")
        ),
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
        ["embed", "search", "expand", "prompt", "gemini"], asked.id
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
    system.variables["query2"] = system.variables["query"] | {
        "OTEL_BSP_SCHEDULE_DELAY": "600000",
        "OTEL_SERVICE_NAME": "another-query",
    }
    system.start("query2")
    url = f"http://127.0.0.1:{system.ports['query2']}/documents"
    requests.get(url, timeout=30).raise_for_status()
    system.stop("query2")
    sent = [span.name for span in observed.collector.spans if span.service == "another-query"]
    assert sent == ["GET /documents"]


@pytest.fixture
def patient(observed: Observed, monkeypatch: pytest.MonkeyPatch) -> doctor.Settings:
    """Return the doctor's settings for the running system."""
    for name, value in observed.system.environment.items():
        # The process of the tests would go on recording after this file.
        if name != "TRACE_EXPORTER":
            monkeypatch.setenv(name, value)
    load.cache_clear()
    settings: doctor.Settings = load(doctor.Settings)
    return settings


def faults(settings: doctor.Settings, *, probe_seconds: float | None = None) -> dict[str, str]:
    """Return what the doctor finds wrong, by what it looked at."""
    findings = doctor.examine(settings, gemini=False, probe_seconds=probe_seconds)
    return {one.check: one.message for one in findings if one.state == "fault"}


def set_up_again() -> None:
    """Make what was taken away, as an operator does."""
    for _ in set_up(SetupSettings(database_url=None)):  # type: ignore[call-arg]
        pass


def test_doctor_when_all_is_well(observed: Observed) -> None:
    """Nothing is wrong, and a document goes all the way, up to its end."""
    observed.gemini.plan(ANSWERS)
    done = observed.system.run("admin", "doctor", "--probe", "--json")
    report = json.loads(done.stdout)
    seen = {finding["check"]: finding["state"] for finding in report["findings"]}
    assert (done.returncode, report["faults"]) == (0, 0), report
    assert {check for check, state in seen.items() if state not in ("ok", "hint")} == set()
    assert {"migrations", "model", "notification", "embed_worker", "gemini", "probe"} <= set(seen)
    assert "kaydang-doctor/" not in repr(list(observed.system.bucket().list_blobs()))


def test_doctor_when_the_embed_worker_is_away(observed: Observed, patient: doctor.Settings) -> None:
    """The function is named, and the probe says where it got stuck."""
    observed.system.stop("embed_worker")
    try:
        found = faults(patient, probe_seconds=2)
    finally:
        observed.system.start("embed_worker")
    assert "is embed_worker running" in found.pop("embed_worker")
    assert "log of embed_worker" in found.pop("probe")
    assert found == {}


def test_doctor_when_events_reach_nobody(observed: Observed, patient: doctor.Settings) -> None:
    """Without the notification nothing is noticed, without a subscription jobs are lost."""
    for notification in observed.system.bucket().list_notifications():
        notification.delete()
    with pubsub_v1.SubscriberClient() as subscriber:
        subscriber.delete_subscription(
            subscription=f"projects/{PROJECT}/subscriptions/chunk-jobs-embed"
        )
    try:
        found = faults(patient)
    finally:
        set_up_again()
    assert "no upload is noticed" in found.pop("notification")
    assert "does not exist" in found.pop("subscription chunk-jobs-embed")
    assert found == {}
    assert faults(patient) == {}


def test_doctor_when_names_are_wrong(patient: doctor.Settings, tmp_path: Path) -> None:
    """A wrong bucket, topic, address or model folder is told apart from a broken one."""
    wrong = patient.model_copy(
        update={
            "documents_bucket": "no-such-bucket",
            "chunk_jobs_topic": "no-such-topic",
            "query_url": f"http://127.0.0.1:{free_port()}",
            "model_dir": tmp_path,
        }
    )
    found = faults(wrong)
    assert "DOCUMENTS_BUCKET" in found["bucket"]
    assert "does not exist" in found["topic no-such-topic"]
    assert "QUERY_URL" in found["query"]
    assert "MODEL_DIR" in found["model"]


def test_doctor_when_the_model_is_another(patient: doctor.Settings, database_url: str) -> None:
    """The model in MODEL_DIR has to be the one that answers."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE models SET digest = %s", ["0" * 64])
    found = faults(patient.model_copy(update={"database_url": SecretStr(database_url)}))
    assert "answers with" in found["model"]
    assert "000000000000" in found["model"]


def test_doctor_when_the_database_is_old(
    patient: doctor.Settings, database_url: str, postgres_url: str
) -> None:
    """Tables of an older release, none at all, or no server: each is said."""
    last = read_migrations()[-1]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DELETE FROM migrations WHERE number = %s", [last.number])
    old = patient.model_copy(update={"database_url": SecretStr(database_url)})
    assert last.name in faults(old)["migrations"]
    empty = patient.model_copy(update={"database_url": SecretStr(postgres_url)})
    assert "no tables yet" in faults(empty)["migrations"]
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none?connect_timeout=1"
    away = patient.model_copy(update={"database_url": SecretStr(nowhere)})
    assert "nothing listens at port" in faults(away)["database"]


def test_doctor_when_work_waits(patient: doctor.Settings, database_url: str) -> None:
    """Old work and dead letters are told, with the command that heals them."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """
            WITH document AS (
                INSERT INTO documents (bucket, name, seen_generation)
                VALUES ('documents', 'old.txt', 1)
                RETURNING id
            )
            INSERT INTO builds (document_id, generation, epoch, state, created)
            SELECT id, 1, 0, 'queued', now() - interval '2 hours'
            FROM document
            """
        )
        connection.execute(
            "INSERT INTO dead_letters (message_id, data, attributes) VALUES ('1', '', '{}')"
        )
    found = faults(patient.model_copy(update={"database_url": SecretStr(database_url)}))
    assert "120 minutes" in found["backlog"]
    assert "replay" in found["dead letters"]


def test_doctor_when_an_index_is_due(
    observed: Observed, patient: doctor.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the size on where vectors are better searched by an index, the command is told."""

    def told() -> str:
        findings = doctor.examine(patient, gemini=False, probe_seconds=None)
        (found,) = [one for one in findings if one.check == "vector index"]
        return f"{found.state}: {found.message}"

    observed.system.upload("indexed/text.txt", "An index is due.")
    assert observed.system.wait_for("indexed/text.txt")["state"] == "ready"
    assert told().startswith("ok: ")
    monkeypatch.setattr("admin.database.INDEX_USEFUL_CHUNKS", 1)
    assert told().startswith("hint: ")
    assert told().endswith("kaydangpt index.")


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """Serve a place that lets nobody in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_doctor_when_not_permitted(
    patient: doctor.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may not be looked at is no fault; what is missing is named."""
    with refusing(403) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        findings = list(
            doctor.examine(
                patient.model_copy(update={"query_url": url}), gemini=False, probe_seconds=None
            )
        )
    denied = {one.check: one.message for one in findings if one.state == "not permitted"}
    assert set(denied) == {"bucket", "query"}
    assert "storage.buckets.get" in denied["bucket"]
    assert "QUERY_TOKEN" in denied["query"]
    assert [one for one in findings if one.state == "fault"] == []
