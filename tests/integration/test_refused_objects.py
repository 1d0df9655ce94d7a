"""One object that Cloud Storage does not hand over as it should, by the real client."""

from __future__ import annotations

import base64
import gzip
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import google_crc32c
import pytest
from pydantic import SecretStr

from functions.ingest.indexing import Resources, handle
from functions.ingest.settings import Settings
from shared import store
from shared.bucket import DocumentBucket
from shared.embedding.tokenizer import TOKENIZER_FILE, read_model_info
from shared.errors import NotPermitted, Unreadable
from shared.messaging.publisher import Publisher
from shared.runtime.slots import WorkSlots
from shared.store import Connection, Pool
from shared.values import ObjectEvent, ObjectVersion

VERSION = ObjectVersion("documents", "a.txt", 7)
TEXT = b"The canteen closes at quarter past four."

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def storage_that_answers(download: Answer, *, permissions: list[str] | None) -> Iterator[str]:
    """
    Serve one object.

    Args:
        permissions: What the account may do to the bucket; None if Storage does not say.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/iam/testPermissions" in self.path:
                found = {} if permissions is None else {"permissions": permissions}
                status = 501 if permissions is None else 200
                self.reply(status, {"Content-Type": "application/json"}, json.dumps(found).encode())
            else:
                self.reply(*download)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bytes]:
    """Download the object from a Storage that answers so."""

    def fetch(download: Answer, *, permissions: list[str] | None = None) -> bytes:
        with storage_that_answers(download, permissions=permissions) as url:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
            file = io.BytesIO()
            bucket = DocumentBucket("documents", project="test", retry_seconds=0.1)
            bucket.download(VERSION, file, max_bytes=10_000)
            return file.getvalue()

    return fetch


def encoded(body: bytes, encoding: str) -> Answer:
    checksum: Any = google_crc32c  # it ships no annotations
    digest = base64.b64encode(checksum.Checksum(body).digest()).decode()
    return 200, {"Content-Encoding": encoding, "X-Goog-Hash": f"crc32c={digest}"}, body


def refused(status: int, reason: str) -> Answer:
    problem = {"error": {"code": status, "message": "no", "errors": [{"reason": reason}]}}
    return status, {"Content-Type": "application/json"}, json.dumps(problem).encode()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
def test_plain_bytes_that_claim_a_compression(fetch: Callable[..., bytes], encoding: str) -> None:
    """They are read as they are."""
    assert fetch(encoded(TEXT, encoding)) == TEXT


def test_compressed_bytes(fetch: Callable[..., bytes]) -> None:
    """They are read uncompressed."""
    assert fetch(encoded(gzip.compress(TEXT), "gzip")) == TEXT


def test_damaged_compressed_bytes(fetch: Callable[..., bytes]) -> None:
    """The reason names the header."""
    damaged = bytearray(gzip.compress(TEXT * 50))
    damaged[10:14] = b"\xff" * 4
    with pytest.raises(Unreadable, match="Content-Encoding") as failure:
        fetch(encoded(bytes(damaged), "gzip"))
    assert failure.value.code == "corrupt"


@pytest.mark.parametrize(
    ("answer", "permissions", "match"),
    [
        (refused(400, "customerEncryptionKeyIsRequired"), None, "400.*key of your own"),
        (refused(403, "forbidden"), ["storage.objects.get"], "403.*access list"),
        (refused(403, "forbidden"), None, "403"),
    ],
)
def test_object_that_is_refused(
    fetch: Callable[..., bytes], answer: Answer, permissions: list[str] | None, match: str
) -> None:
    """It fails at once and by name: asking again would not help."""
    with pytest.raises(Unreadable, match=match) as failure:
        fetch(answer, permissions=permissions)
    assert failure.value.code == "access_denied"


def test_object_whose_metadata_no_database_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it says of itself is read without NUL and halves of characters."""
    resource = {
        **{"name": "a.txt", "bucket": "documents", "generation": "7"},
        "contentType": "text/plain\0; a",
        "metadata": {"read\0ers": "ann@a.example\0", "half": "\ud83d!", "none": None},
    }
    answer = (200, {"Content-Type": "application/json"}, json.dumps(resource).encode())
    with storage_that_answers(answer, permissions=None) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        found = DocumentBucket("documents", project="test", retry_seconds=0.1).look("a.txt")
    assert found is not None
    assert found.content_type == "text/plain; a"
    assert found.metadata == {"readers": "ann@a.example", "half": "?!", "none": ""}


def test_event_of_an_object_that_is_refused(
    connection: Connection, worker_pool: Pool, worker_url: str, model_dir: Path, monkeypatch: Any
) -> None:
    """Its document has failed by name at the first try, although nothing of it can be looked at."""
    settings = Settings(
        database_url=SecretStr(worker_url),
        google_cloud_project="test-project",
        documents_bucket=VERSION.bucket,
        model_dir=model_dir,
    )
    denied = refused(403, "forbidden")
    with storage_that_answers(denied, permissions=["storage.objects.get"]) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        resources = Resources(
            settings=settings,
            pool=worker_pool,
            bucket=DocumentBucket(VERSION.bucket, project="test", retry_seconds=0.1),
            publisher=cast("Publisher", None),  # nothing comes so far
            model=read_model_info(model_dir),
            tokenizer=model_dir / TOKENIZER_FILE,
            announce=None,
            pages=None,
            figures=None,
            parse_slots=WorkSlots(1),
        )
        handle(ObjectEvent(kind="finalized", object=VERSION), resources)
    (document,), _ = store.list_documents(connection)
    assert (document.state, document.reason_code) == ("failed", "access_denied")


def test_bucket_that_may_not_be_read(fetch: Callable[..., bytes]) -> None:
    """No document is at fault: its event waits until an operator has granted the permission."""
    with pytest.raises(NotPermitted, match=r"storage\.objects\.get"):
        fetch(refused(403, "forbidden"), permissions=[])
