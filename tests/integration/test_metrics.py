"""GET /metrics: what a question leaves there, what the database tells, and who may read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from functions.query.metrics import Metrics
from functions.query.settings import QuerySettings
from shared import store
from shared.embedding.embedder import Embedder
from shared.errors import DatabaseUnavailable
from shared.store import Backlog, Connection, Pool, read_backlog
from shared.values import ObjectVersion
from tests.support.asking import index_document, make_client

MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make(database_url: str, model_dir: Path, pool: Pool, connection: Connection) -> MakeClient:
    embedder = Embedder(model_dir, threads=1)
    text = ["The gate code of building seven is QX-7714."]
    index_document(connection, embedder, "tenants/acme.txt", text)

    def client(read: Callable[[], Backlog] | None = None, **settings: object) -> FlaskClient:
        def read_from_database() -> Backlog:
            return read_backlog(connection)

        fields = {"database_url": database_url, "model_dir": model_dir, **settings}
        return make_client(
            QuerySettings.model_validate(fields),
            pool=pool,
            embedder=embedder,
            metrics=Metrics(read or read_from_database),
        )

    return client


def samples(client: FlaskClient) -> dict[str, float]:
    text = client.get("/metrics").get_data(as_text=True)
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_when_questions_were_asked(make: MakeClient) -> None:
    """Requests, answers and the time of each part are counted; no name is told."""
    client = make()
    asked = {"question": "What is the gate code of building seven?"}
    assert client.post("/query", json=asked).get_json()["grounded"]
    assert not client.post("/query", json={"question": "Wer malte xyzzy?"}).get_json()["grounded"]
    client.post("/retrieve", json=asked)
    seen = samples(client)
    assert seen["kaydang_answers_total grounded"] == 1
    assert seen["kaydang_answers_total refused"] == 1
    assert seen["kaydang_requests_total POST /query 200"] == 2
    assert seen["kaydang_stage_seconds_count retrieve"] == 3
    assert seen["kaydang_stage_seconds_count generate"] == 2
    assert "acme" not in client.get("/metrics").get_data(as_text=True)


def test_metrics_of_the_index(make: MakeClient, connection: Connection) -> None:
    """Documents by state, what waits and since when come from the database."""
    queued = ObjectVersion(bucket="documents", name="b.txt", generation=1, size=1)
    store.begin_build(connection, queued, config_hash="", lease_seconds=60, max_attempts=10)
    store.record_dead_letter(connection, message_id="1", subscription="s", data=b"", attributes={})
    seen = samples(make())
    assert seen["kaydang_documents ready"] == 1
    assert seen["kaydang_documents indexing"] == 1
    assert seen["kaydang_builds_waiting"] == 1
    assert seen["kaydang_oldest_build_seconds"] > 0
    assert seen["kaydang_batches_waiting"] == 0
    assert seen["kaydang_dead_letters"] == 1


def test_metrics_when_asked_as_the_query_role(reader: Connection, make: MakeClient) -> None:
    """The role that sees no dead letter may know how many there are."""
    make()
    assert read_backlog(reader).documents == {"ready": 1}
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT FROM dead_letters")


def test_metrics_when_the_database_is_away(make: MakeClient) -> None:
    """What the process counted is told; it asks the database once in a while, not each time."""
    asked = 0

    def read() -> Backlog:
        nonlocal asked
        asked += 1
        raise DatabaseUnavailable("away")

    client = make(read)
    client.get("/healthz")
    for _ in range(2):
        seen = samples(client)
    assert (asked, seen["kaydang_database_up"]) == (1, 0)
    assert seen["kaydang_requests_total GET /healthz 200"] == 1


def test_metrics_when_keys_are_needed(make: MakeClient) -> None:
    """Who may not ask may not read them either."""
    client = make(api_keys=hashlib.sha256(b"key").hexdigest())
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers={"X-API-Key": "key"}).status_code == 200


def test_metrics_when_disabled(
    database_url: str, model_dir: Path, pool: Pool, connection: Connection
) -> None:
    """Without METRICS_ENABLED there are none, and the answer says how to have them."""
    fields = {"database_url": database_url, "model_dir": model_dir}
    client = make_client(
        QuerySettings.model_validate(fields), pool=pool, embedder=Embedder(model_dir, threads=1)
    )
    response = client.get("/metrics")
    assert response.status_code == 404
    assert "METRICS_ENABLED" in response.get_json()["detail"]
