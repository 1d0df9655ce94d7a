"""Names of objects are data: none leaves its place, none writes a header of an answer."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from functions.query.settings import QuerySettings
from shared.bucket import DocumentBucket
from shared.embedding.embedder import Embedder
from shared.store import Pool
from tests.support.asking import BUCKET, make_client
from tests.support.emulators import Emulator, running_storage

_REFUSED = [
    "",
    ".",
    "..",
    "...",
    "a\r\nX-Evil: 1",
    "a\nb",
    "a\x00b",
    "a\x1b[31mb",
    "a\x7fb",
    "a" * 901,
    "日" * 500,
]
_TAKEN = [
    "../escaped.txt",
    "../../../../../../tmp/escaped.txt",
    "/etc/escaped",
    "//escaped//x",
    "a/../../escaped.txt",
    "..\\..\\escaped.txt",
    "%2e%2e%2fescaped.txt",
    "%00escaped",
    "%0d%0aX-Evil: 1",
    "a?generation=1&b=c",
    "a#b",
    "a;filename=x.exe",
    'a"; filename="x.exe',
    "~/.ssh/authorized_keys",
    "file:///etc/escaped",
    "CON",
    "con.txt.",
    "a\u202etxt.exe",
    "‥/‥/escaped",
    "．．／escaped",
    "a\u2028b",
    "🎉 ñ/日本",
    "-rf",
    "$(touch escaped)",
    "`touch escaped`",
    "{{7*7}}",
    "<img src=x onerror=alert(1)>.txt",
    "a" * 200 + "/" + "b" * 200,
]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run the storage emulator in a folder of its own."""
    with running_storage(tmp_path_factory.mktemp("outer") / "inner" / "state") as running:
        yield running


@pytest.fixture(scope="module")
def bucket(emulator: Emulator) -> Iterator[storage.Bucket]:
    """Return the bucket by the real client."""
    before = os.environ.get("STORAGE_EMULATOR_HOST")
    os.environ["STORAGE_EMULATOR_HOST"] = emulator.url
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = storage.Client(project="test", credentials=credentials)
    yield client.create_bucket(BUCKET)
    client.close()
    os.environ.pop("STORAGE_EMULATOR_HOST")
    if before is not None:
        os.environ["STORAGE_EMULATOR_HOST"] = before


@pytest.fixture
def client(
    bucket: storage.Bucket, database_url: str, model_dir: Path, pool: Pool
) -> Iterator[FlaskClient]:
    """Return a client of a service that may write to the bucket."""
    settings = QuerySettings.model_validate(
        {
            "database_url": database_url,
            "model_dir": model_dir,
            "uploads_enabled": True,
            "documents_bucket": bucket.name,
            "google_cloud_project": "test",
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


def outside(emulator: Emulator) -> set[Path]:
    """Return what lies around the emulator's state, and in the places that names point to."""
    inner = emulator.log.parent
    around = {path for path in inner.parent.rglob("*") if path.is_file()}
    return {path for path in around if "state" not in path.relative_to(inner.parent).as_posix()} | {
        path for path in (Path("/tmp/escaped.txt"), Path("/etc/escaped")) if path.exists()
    }


def test_upload_when_its_name_is_hostile(
    client: FlaskClient, bucket: storage.Bucket, emulator: Emulator
) -> None:
    """A name is refused with its field named, or is the object's name to the letter."""
    before = outside(emulator)
    for name in _REFUSED:
        response = client.post("/documents", json={"name": name, "size": 2})
        assert response.status_code == 400, name
        assert response.get_json()["errors"][0]["field"] == "name"
    for name in _TAKEN:
        response = client.post("/documents", json={"name": name, "size": 2})
        assert response.status_code == 201, name
        session = response.get_json()
        assert session["name"] == name
        assert session["uri"] == f"gs://{BUCKET}/{name}"
        address = urlsplit(session["upload_url"])
        assert f"{address.scheme}://{address.netloc}" == emulator.url
        headers = session["headers"]
        sent = requests.put(session["upload_url"], data=b"ok", headers=headers, timeout=10)
        assert sent.status_code == 200
        assert "X-Evil" not in {**response.headers, **sent.headers}
    assert {blob.name for blob in bucket.list_blobs()} >= set(_TAKEN)
    assert outside(emulator) == before


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain\r\nX-Evil: 1"},
        {"content_type": "text/plain; a=b\nX-Evil: 1"},
        {"content_type": "text/html, x"},
        {"content_type": "text"},
    ],
)
def test_upload_when_its_type_is_hostile(client: FlaskClient, headers: dict[str, str]) -> None:
    """A content type that would write a header is refused before storage hears of it."""
    response = client.post("/documents", json={"name": "a", "size": 2, **headers})
    assert response.status_code == 400
    assert response.get_json()["errors"][0]["field"] == "content_type"


def test_download_when_its_fields_are_hostile(bucket: storage.Bucket, emulator: Emulator) -> None:
    """What an uploader wrote into an object's fields makes one header each, and no other."""
    blob = bucket.blob("fields.txt")
    blob.content_disposition = 'attachment; filename="a\r\nX-Evil: 1"'
    blob.content_language = "en\r\nX-Evil: 1\r\n\r\n<html>"
    blob.cache_control = "no-store\nX-Evil: 1"
    blob.metadata = {"note": "a\r\nX-Evil: 1", "ключ": "значение"}
    blob.upload_from_string(b"ok", content_type="text/plain")
    blob.content_type = "text/plain\r\nX-Evil: 1"
    blob.patch()
    for path in (
        f"/storage/v1/b/{BUCKET}/o/fields.txt?alt=media",
        f"/download/storage/v1/b/{BUCKET}/o/fields.txt?alt=media",
    ):
        answer = requests.get(emulator.url + path, timeout=10)
        assert answer.content == b"ok"
        assert "X-Evil" not in answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/{bucket}/../../../../etc/passwd",
        "/{bucket}/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/{bucket}/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/{bucket}/....//....//etc/passwd",
        "/{bucket}//etc/passwd",
        "/storage/v1/b/{bucket}/o/..%2F..%2Fstate?alt=media",
        "/storage/v1/b/..%2F..%2Fetc/o/passwd?alt=media",
        "/download/storage/v1/b/{bucket}/o/%2Fetc%2Fpasswd?alt=media",
        "/upload/storage/v1/b/{bucket}/o?upload_id=../../../../etc/passwd",
        "/upload/storage/v1/b/{bucket}/o?upload_id=%2e%2e%2fstate",
    ],
)
def test_emulator_when_a_path_climbs(bucket: storage.Bucket, emulator: Emulator, path: str) -> None:
    """A path that climbs names an object that is not there; no file answers in its place."""
    # requests would take the dots out before it sends.
    connection = http.client.HTTPConnection("127.0.0.1", emulator.port, timeout=10)
    method = "PUT" if "upload_id" in path else "GET"
    connection.request(
        method, path.format(bucket=bucket.name), body=b"x" if method == "PUT" else None
    )
    answer = connection.getresponse()
    # 501: what is no path of the JSON API.
    assert answer.status in (400, 404, 501)
    assert b"root:" not in answer.read()
    connection.close()


@pytest.mark.parametrize(
    "path",
    [
        "/web/../api.py",
        "/web/..%2fapi.py",
        "/web/%2e%2e/api.py",
        "/web/....//api.py",
        "/web//etc/passwd",
        "/web/%2fetc%2fpasswd",
        "/web/app.js%00.html",
        "/web/..\\api.py",
        "/web/.",
        "/web/%252e%252e/api.py",
    ],
)
def test_page_when_a_path_climbs(client: FlaskClient, path: str) -> None:
    """The page's folder is all that is served of the disk."""
    answer = client.get(path)
    assert answer.status_code in (308, 404)
    assert b"import" not in answer.data
    assert b"root:" not in answer.data


@pytest.mark.parametrize("origin", ["https://a\x0b.example", "null", "https://docs.example" * 50])
def test_origin_when_it_is_hostile(client: FlaskClient, origin: str) -> None:
    """The page's origin is handed to storage as one header, and never back to the caller."""
    answer = client.post(
        "/documents", json={"name": quote(origin)[:200], "size": 2}, headers={"Origin": origin}
    )
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers
