"""The originals of documents: who gets a link, and what a link gives."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from google.cloud import storage

from functions.query.settings import QuerySettings
from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.embedder import Embedder
from shared.store import Connection, Pool
from shared.values import ObjectVersion
from tests.support.asking import make_client

FINANCE = {"X-API-Key": "finance's key"}
STRANGER = {"X-API-Key": "another key"}
DATA = bytes(range(256)) * 9_000


def digest(headers: dict[str, str]) -> str:
    return hashlib.sha256(headers["X-API-Key"].encode()).hexdigest()


@pytest.fixture
def client(bucket: storage.Bucket, database_url: str, model_dir: Any, pool: Pool) -> FlaskClient:
    settings = QuerySettings.model_validate(
        {
            "database_url": database_url,
            "model_dir": model_dir,
            "documents_bucket": bucket.name,
            "google_cloud_project": "test",
            "api_keys": f"finance={digest(FINANCE)},{digest(STRANGER)}",
        }
    )
    originals = DocumentBucket(bucket.name, project="test")
    return make_client(
        settings,
        pool=pool,
        embedder=Embedder(model_dir, threads=1),
        make_originals=lambda: originals,
    )


def put(
    bucket: storage.Bucket, connection: Connection, name: str, data: bytes = DATA, **fields: Any
) -> UUID:
    """Upload an object that the database knows, and return the document's id."""
    blob = bucket.blob(name)
    for field, value in fields.items():
        setattr(blob, field, value)
    blob.upload_from_string(data, content_type="application/pdf")
    version = ObjectVersion(
        bucket=bucket.name,
        name=name,
        generation=blob.generation,
        size=len(data),
        content_type="application/pdf",
    )
    store.begin_build(connection, version, config_hash="test", lease_seconds=60, max_attempts=10)
    documents, _ = store.list_documents(connection, store.Selection(prefix=name))
    return documents[0].id


def link(client: FlaskClient, document_id: UUID) -> str:
    response = client.get(f"/documents/{document_id}/original", headers=FINANCE)
    assert response.status_code == 200
    url: str = response.get_json()["url"]
    return url


def test_link_gives_the_file_to_who_has_it(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """Without a key, as a download in which no browser runs anything."""
    url = link(client, put(bucket, connection, "finance/Überblick 2026.pdf"))
    response = client.get(url)
    assert response.data == DATA
    headers = response.headers
    assert headers["Content-Type"] == "application/pdf"
    assert headers["Content-Length"] == str(len(DATA))
    assert headers["Content-Disposition"] == (
        "attachment; filename*=UTF-8''%C3%9Cberblick%202026.pdf"
    )
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["Cache-Control"] == "private, no-store"
    assert headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=100-2000000", 100, 2_000_000),
        ("bytes=2303900-", 2_303_900, len(DATA) - 1),
        ("bytes=-5", len(DATA) - 5, len(DATA) - 1),
        ("bytes=5-99999999", 5, len(DATA) - 1),
    ],
)
def test_range_gives_these_bytes(
    client: FlaskClient,
    bucket: storage.Bucket,
    connection: Connection,
    asked: str,
    first: int,
    last: int,
) -> None:
    """Over the borders of the pieces that are read as well."""
    url = link(client, put(bucket, connection, "finance/a.pdf"))
    response = client.get(url, headers={"Range": asked})
    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert response.data == DATA[first : last + 1]


def test_range_outside_is_refused(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """What cannot be read as a range is answered with the whole, as RFC 9110 allows."""
    url = link(client, put(bucket, connection, "finance/a.pdf"))
    response = client.get(url, headers={"Range": f"bytes={len(DATA)}-"})
    assert response.status_code == 416
    assert response.get_json()["code"] == "range_not_satisfiable"
    assert client.get(url, headers={"Range": "lines=1-2"}).data == DATA


def test_file_that_could_run_is_sent_as_bytes(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """Its own content type says nothing; an empty file is one."""
    document_id = put(bucket, connection, "finance/page.html", b"")
    connection.execute("UPDATE builds SET content_type = 'text/html'")
    connection.commit()
    response = client.get(link(client, document_id))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.data == b""


def test_compressed_file_is_sent_as_it_is_stored(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """The browser decompresses it; no ranges are offered."""
    stored = gzip.compress(DATA)
    document_id = put(bucket, connection, "finance/a.pdf", stored, content_encoding="gzip")
    response = client.get(link(client, document_id), headers={"Range": "bytes=0-5"})
    assert (response.status_code, response.headers["Content-Encoding"]) == (200, "gzip")
    assert gzip.decompress(response.data) == DATA


def test_link_is_for_who_may_read_the_document(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """A closed collection's document does not exist for others, its marks neither."""
    document_id = put(bucket, connection, "finance/a.pdf")
    store.set_collection(connection, "finance", closed=True)
    store.grant_collection(connection, principal="key:finance", collection="finance")
    connection.commit()
    assert client.get(link(client, document_id)).status_code == 200
    for path in ("original", "marks?generation=1&char_start=0&char_end=9"):
        url = f"/documents/{document_id}/{path}"
        assert client.get(url, headers=STRANGER).status_code == 404
        assert client.get(url).status_code == 401


def test_made_up_link_is_refused(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """One sign changed is enough."""
    url = link(client, put(bucket, connection, "finance/a.pdf"))
    changed = url[:-3] + ("A" if url[-3] != "A" else "B") + url[-2:]
    for bad in (changed, "/originals/abc", "/originals/abc.def"):
        response = client.get(bad)
        assert (response.status_code, response.get_json()["code"]) == (403, "link_expired")


def test_link_gives_the_generation_that_it_was_made_for(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """An overwritten file is not taken for the one that was cited."""
    url = link(client, put(bucket, connection, "finance/a.pdf"))
    bucket.blob("finance/a.pdf").upload_from_string(b"other")
    response = client.get(url)
    assert (response.status_code, response.get_json()["code"]) == (404, "object_gone")


def test_original_of_another_bucket_is_not_handed_out(
    client: FlaskClient, bucket: storage.Bucket, connection: Connection
) -> None:
    """The service reads its own bucket alone."""
    version = ObjectVersion(bucket="elsewhere", name="finance/b.pdf", generation=1)
    store.begin_build(connection, version, config_hash="test", lease_seconds=60, max_attempts=10)
    documents, _ = store.list_documents(connection, store.Selection(prefix="finance/b.pdf"))
    connection.commit()
    response = client.get(f"/documents/{documents[0].id}/original", headers=FINANCE)
    assert (response.status_code, response.get_json()["code"]) == (404, "original_unavailable")
