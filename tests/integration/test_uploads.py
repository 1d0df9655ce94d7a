"""Upload, delete and retry, by the real storage client against the storage emulator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import requests
from flask.testing import FlaskClient
from google.cloud import storage

from functions.query.settings import QuerySettings
from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.embedder import Embedder
from shared.store import Connection, Pool
from shared.values import ObjectVersion
from tests.support.asking import BUCKET, make_client


@pytest.fixture
def client(
    bucket: storage.Bucket, database_url: str, model_dir: Path, pool: Pool
) -> Iterator[FlaskClient]:
    settings = QuerySettings.model_validate(
        {
            "database_url": database_url,
            "model_dir": model_dir,
            "uploads_enabled": True,
            "documents_bucket": bucket.name,
            "google_cloud_project": "test",
            "max_file_bytes": 1000,
            "cors_allowed_origins": "https://docs.example",
        }
    )
    uploads = DocumentBucket(bucket.name, project="test")
    yield make_client(
        settings,
        pool=pool,
        embedder=Embedder(model_dir, threads=1),
        make_uploads=lambda: uploads,
    )
    uploads.close()


def record(connection: Connection, blob: storage.Blob) -> UUID:
    """Let the database know the object's present generation, and return the document's id."""
    version = ObjectVersion(bucket=blob.bucket.name, name=blob.name, generation=blob.generation)
    store.begin_build(connection, version, config_hash="test", lease_seconds=60, max_attempts=10)
    documents, _ = store.list_documents(connection, store.Selection(prefix=blob.name))
    return documents[0].id


def test_upload_when_a_session_is_begun(client: FlaskClient, bucket: storage.Bucket) -> None:
    """The URL returned takes the bytes, and nothing but the bytes, of one object."""
    asked = {"name": "guides/ä b.txt", "size": 5, "content_type": "text/plain"}
    response = client.post("/documents", json=asked, headers={"Origin": "https://docs.example"})
    assert response.status_code == 201
    session = response.get_json()
    assert session["uri"] == f"gs://{BUCKET}/guides/ä b.txt"
    sent = requests.put(
        session["upload_url"], data=b"hello", headers=session["headers"], timeout=10
    )
    assert sent.status_code == 200
    blob = bucket.get_blob("guides/ä b.txt")
    assert blob is not None
    assert blob.download_as_bytes() == b"hello"
    assert blob.content_type == "text/plain"


def test_upload_when_too_large(client: FlaskClient) -> None:
    """A size over the limit is refused before anything is sent."""
    response = client.post("/documents", json={"name": "a.txt", "size": 1001})
    assert response.status_code == 400
    assert response.get_json()["errors"][0]["field"] == "size"


def test_delete_when_the_object_is_there(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """The object is deleted; its event brings the change to the index."""
    blob = bucket.blob("a.txt")
    blob.upload_from_string(b"one")
    document_id = record(connection, blob)
    response = client.delete(f"/documents/{document_id}")
    assert response.status_code == 202
    assert response.get_json() == {"id": str(document_id), "state": "accepted"}
    assert bucket.get_blob("a.txt") is None
    assert client.delete(f"/documents/{document_id}").status_code == 409


def test_delete_when_the_object_was_overwritten(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """What is newer than what the caller saw is not deleted."""
    blob = bucket.blob("a.txt")
    blob.upload_from_string(b"one")
    document_id = record(connection, blob)
    bucket.blob("a.txt").upload_from_string(b"two")
    response = client.delete(f"/documents/{document_id}")
    assert response.status_code == 409
    assert response.get_json()["code"] == "object_changed"
    assert bucket.get_blob("a.txt") is not None


def test_retry_when_the_object_is_there(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """The object gets a new generation with the same bytes, type and metadata."""
    blob = bucket.blob("a.txt")
    blob.metadata = {"team": "x"}
    blob.upload_from_string(b"one", content_type="text/markdown")
    document_id = record(connection, blob)
    assert client.post(f"/documents/{document_id}/retry").status_code == 202
    renewed = bucket.get_blob("a.txt")
    assert renewed is not None
    assert renewed.generation > blob.generation
    assert renewed.download_as_bytes() == b"one"
    assert renewed.content_type == "text/markdown"
    assert renewed.metadata == {"team": "x"}


def test_policy_when_uploads_are_on(client: FlaskClient) -> None:
    """The page may send files to the storage's origin, and the service says that it can."""
    policy = client.get("/healthz").headers["Content-Security-Policy"]
    assert f"connect-src 'self' {os.environ['STORAGE_EMULATOR_HOST']};" in policy
    assert client.get("/readyz").get_json()["uploads"] is True


def test_changes_when_storage_is_away(
    database_url: str,
    model_dir: Path,
    pool: Pool,
    connection: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without its bucket the service says when to try again."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    settings = QuerySettings.model_validate({"database_url": database_url, "model_dir": model_dir})
    client = make_client(
        settings,
        pool=pool,
        embedder=Embedder(model_dir, threads=1),
        make_uploads=lambda: DocumentBucket(BUCKET, project="test", retry_seconds=0.1),
    )
    response = client.post("/documents", json={"name": "a.txt", "size": 1})
    assert response.status_code == 503
    assert response.get_json()["code"] == "storage_unavailable"
    assert response.headers["Retry-After"]
