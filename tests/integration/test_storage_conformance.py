"""Google's own Cloud Storage client, and a browser's requests, find what they expect."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from click import ClickException
from google.api_core.exceptions import (
    BadRequest,
    Conflict,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RequestRangeNotSatisfiable,
)
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1, storage

from local.emulators.objects import ObjectStore, Preconditions
from local.emulators.objects import PreconditionFailed as RefusedPrecondition
from local.emulators.state import hold_state
from tests.support.emulators import (
    ROOT,
    Emulator,
    running_pubsub,
    running_storage,
    wait_until,
)

PROJECT = "conformance"
CHUNK_BYTES = 256 * 1024
AWKWARD_NAMES = [
    "plain.txt",
    "folder/sub folder/file.txt",
    "/leading//double/",
    "percent%2Fencoded%20.txt",
    "a/../b/./c",
    "plus+and space&question?hash#semicolon;equals=colon:at@",
    "quotes'\"`<>\\|^~[]{}",
    "line\nbreak\r\ttab",
    "ünï-ç\u0301-日本語-🙂",
    "o/b/rewriteTo/b/x/o/y",
    "é" * 512,
]
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Our storage emulator, without Pub/Sub."""
    with running_storage(tmp_path_factory.mktemp("storage") / "state") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> Iterator[Any]:
    with connected(emulator) as client:
        yield client


@pytest.fixture
def bucket(client: Any) -> Any:
    """A new bucket without versioning."""
    return client.create_bucket(f"bucket-{next(_numbers)}")


@pytest.fixture
def versioned(client: Any) -> Any:
    """A new bucket that keeps old generations."""
    bucket = client.bucket(f"bucket-{next(_numbers)}")
    bucket.versioning_enabled = True
    return client.create_bucket(bucket)


@contextmanager
def connected(emulator: Emulator) -> Iterator[Any]:
    """Give a client that found the emulator as every client does, by STORAGE_EMULATOR_HOST."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call] # no annotations
        client = storage.Client(project=PROJECT, credentials=anonymous)
    try:
        yield client
    finally:
        client.close()


def put(bucket: Any, name: str, data: bytes = b"data", **options: Any) -> Any:
    blob = bucket.blob(name)
    blob.upload_from_string(data, **options)
    return blob


def names(listed: Any) -> list[str]:
    return [blob.name for blob in listed]


# Buckets


def test_create_bucket_when_it_exists(client: Any, bucket: Any) -> None:
    """A bucket is made once."""
    with pytest.raises(Conflict):
        client.create_bucket(bucket.name)


def test_get_bucket_when_missing(client: Any) -> None:
    """A bucket that nobody made is not found, nor are its objects."""
    with pytest.raises(NotFound):
        client.get_bucket("missing-bucket")
    with pytest.raises(NotFound):
        list(client.list_blobs("missing-bucket"))
    with pytest.raises(NotFound):
        put(client.bucket("missing-bucket"), "name")


def test_list_buckets_by_prefix(client: Any) -> None:
    """Buckets are listed by name."""
    for suffix in ("b", "a"):
        client.create_bucket(f"listed-{suffix}")
    assert [bucket.name for bucket in client.list_buckets(prefix="listed-")] == [
        "listed-a",
        "listed-b",
    ]


def test_patch_bucket(client: Any, bucket: Any) -> None:
    """Versioning, CORS and labels can be set later; metageneration counts it."""
    bucket.versioning_enabled = True
    bucket.labels = {"team": "search"}
    bucket.cors = [{"origin": ["http://page"], "method": ["GET"]}]
    bucket.patch()
    found = client.get_bucket(bucket.name)
    assert found.versioning_enabled
    assert found.labels == {"team": "search"}
    assert found.cors == [{"origin": ["http://page"], "method": ["GET"]}]
    assert found.metageneration == 2


def test_delete_bucket(client: Any, bucket: Any) -> None:
    """Only an empty bucket can be deleted."""
    blob = put(bucket, "name")
    with pytest.raises(Conflict):
        bucket.delete()
    blob.delete()
    bucket.delete()
    assert client.lookup_bucket(bucket.name) is None


# Uploads and downloads


@pytest.mark.parametrize("name", AWKWARD_NAMES)
def test_name_survives(bucket: Any, name: str) -> None:
    """Whatever the name, the object is stored, listed, read, changed and deleted under it."""
    data = name.encode()
    put(bucket, name, data)
    assert names(bucket.list_blobs()) == [name]
    found = bucket.get_blob(name)
    assert found.name == name
    assert found.download_as_bytes() == data
    assert bucket.blob(name).download_as_bytes() == data
    found.metadata = {"key": "value"}
    found.patch()
    copy = bucket.copy_blob(found, bucket, f"{name[:500]}-copy")
    assert copy.download_as_bytes() == data
    bucket.delete_blob(name)
    assert bucket.get_blob(name) is None


@pytest.mark.parametrize("name", [".", "..", "é" * 512 + "x"])
def test_name_when_not_allowed(emulator: Emulator, bucket: Any, name: str) -> None:
    """A name has at most 1,024 bytes and is not a dot or two."""
    with pytest.raises(BadRequest):
        put(bucket, name)


def test_upload_tells_what_was_stored(bucket: Any) -> None:
    """Size, hashes, type, times and generation come back, and again on reload."""
    before = time.time()
    blob = put(bucket, "name", b"data", content_type="text/plain")
    for current in (blob, bucket.get_blob("name")):
        assert current.size == 4
        assert current.md5_hash == base64.b64encode(hashlib.md5(b"data").digest()).decode()
        assert current.crc32c == "rth90Q=="
        assert current.content_type == "text/plain"
        assert current.metageneration == 1
        assert abs(current.generation / 1e6 - before) < 5
        assert abs(current.time_created.timestamp() - before) < 5
        assert current.updated == current.time_created
        assert current.etag


def test_upload_of_nothing(bucket: Any) -> None:
    """An object may be empty, uploaded at once or in chunks."""
    put(bucket, "at once", b"")
    chunked = bucket.blob("chunked", chunk_size=CHUNK_BYTES)
    chunked.upload_from_file(io.BytesIO(b""))
    assert [blob.size for blob in bucket.list_blobs()] == [0, 0]
    assert bucket.blob("at once").download_as_bytes() == b""
    assert chunked.download_as_bytes() == b""


@pytest.mark.parametrize(
    "byte_count",
    [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 5 * CHUNK_BYTES, 5 * CHUNK_BYTES + 7],
)
@pytest.mark.parametrize("chunk_bytes", [None, CHUNK_BYTES])
def test_upload_of_size(bucket: Any, byte_count: int, chunk_bytes: int | None) -> None:
    """One request or many chunks: the bytes are those that were sent."""
    data = os.urandom(byte_count)
    blob = bucket.blob("name", chunk_size=chunk_bytes)
    blob.upload_from_file(io.BytesIO(data), size=byte_count)
    assert bucket.blob("name").download_as_bytes() == data
    assert blob.size == byte_count


def test_upload_of_unknown_size(bucket: Any) -> None:
    """A stream whose length is not known ahead is uploaded in chunks."""
    data = os.urandom(3 * CHUNK_BYTES + 11)
    blob = bucket.blob("name", chunk_size=CHUNK_BYTES)
    with blob.open("wb") as file:
        file.write(data)
    assert bucket.blob("name").download_as_bytes() == data


def test_upload_that_looks_like_multipart(bucket: Any) -> None:
    """Content that resembles the boundary of its own request is kept."""
    data = b"\r\n--==0==\r\n\r\n--==" + b"=" * 70_000 + b"\r\n--"
    put(bucket, "name", data)
    assert bucket.blob("name").download_as_bytes() == data


@pytest.mark.parametrize("chunk_bytes", [None, CHUNK_BYTES])
def test_upload_keeps_metadata(bucket: Any, chunk_bytes: int | None) -> None:
    """Custom metadata and the standard headers travel with the upload."""
    blob = bucket.blob("name", chunk_size=chunk_bytes)
    blob.metadata = {"collection": "bücher"}
    blob.cache_control = "no-store"
    blob.content_language = "de"
    blob.upload_from_file(io.BytesIO(b"data"), content_type="text/plain; charset=utf-8")
    found = bucket.get_blob("name")
    assert found.metadata == {"collection": "bücher"}
    assert found.cache_control == "no-store"
    assert found.content_language == "de"
    assert found.content_type == "text/plain; charset=utf-8"


def test_upload_when_hash_is_wrong(emulator: Emulator, bucket: Any) -> None:
    """Content that is not what its hash says is refused, and nothing is stored."""
    blob = bucket.blob("name")
    blob.md5_hash = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    with pytest.raises(BadRequest):
        blob.upload_from_string(b"data")
    assert bucket.get_blob("name") is None


def test_upload_of_media(emulator: Emulator, bucket: Any) -> None:
    """The simplest upload is the bytes alone."""
    response = requests.post(
        f"{emulator.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "media", "name": "a/b"},
        data=b"data",
        headers={"Content-Type": "text/plain"},
        timeout=10,
    )
    assert response.json()["name"] == "a/b"
    assert bucket.blob("a/b").download_as_bytes() == b"data"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 3, b"0123"), (2, None, b"23456789"), (-3, None, b"789"), (8, 100, b"89")],
)
def test_download_of_range(bucket: Any, start: int, end: int | None, expected: bytes) -> None:
    """Both ends of a range are included; a negative start counts from the end."""
    blob = put(bucket, "name", b"0123456789")
    assert blob.download_as_bytes(start=start, end=end) == expected


def test_download_of_range_past_the_end(bucket: Any) -> None:
    """A range that begins after the end cannot be satisfied."""
    blob = put(bucket, "name", b"0123456789")
    with pytest.raises(RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10)


def test_download_in_chunks(bucket: Any) -> None:
    """A file object reads piece by piece, and can seek."""
    data = os.urandom(3 * CHUNK_BYTES)
    put(bucket, "name", data)
    with bucket.blob("name", chunk_size=CHUNK_BYTES).open("rb") as file:
        file.seek(CHUNK_BYTES - 5)
        assert file.read(10) == data[CHUNK_BYTES - 5 : CHUNK_BYTES + 5]


def test_download_when_missing(bucket: Any) -> None:
    """An object that nobody uploaded is not found."""
    with pytest.raises(NotFound):
        bucket.blob("missing").download_as_bytes()


def test_download_headers(emulator: Emulator, bucket: Any) -> None:
    """Generation, hashes and type stand in the headers."""
    blob = put(bucket, "name", b"data", content_type="text/plain")
    response = requests.get(
        f"{emulator.url}/storage/v1/b/{bucket.name}/o/name", params={"alt": "media"}, timeout=10
    )
    assert response.headers["x-goog-generation"] == str(blob.generation)
    assert response.headers["x-goog-metageneration"] == "1"
    assert response.headers["x-goog-hash"] == f"crc32c={blob.crc32c},md5={blob.md5_hash}"
    assert response.headers["content-type"] == "text/plain"
    assert response.headers["etag"] == blob.etag


@pytest.mark.parametrize(("accept", "raw"), [("gzip", True), ("identity", False)])
def test_download_of_gzip(emulator: Emulator, bucket: Any, accept: str, raw: bool) -> None:
    """What is stored as gzip is unpacked for a client that does not take gzip."""
    packed = gzip.compress(b"data" * 1000)
    blob = bucket.blob("name")
    blob.content_encoding = "gzip"
    blob.upload_from_string(packed)
    response = requests.get(
        f"{emulator.url}/download/storage/v1/b/{bucket.name}/o/name",
        headers={"Accept-Encoding": accept},
        stream=True,
        timeout=10,
    )
    assert response.raw.read() == (packed if raw else b"data" * 1000)
    assert blob.download_as_bytes() == b"data" * 1000


# Generations and preconditions


def test_generation_rises_with_each_upload(bucket: Any) -> None:
    """Generations rise strictly, whatever is deleted between."""
    generations = []
    for number in range(20):
        blob = put(bucket, "name", str(number).encode())
        generations.append(blob.generation)
        if number % 3 == 0:
            blob.delete()
    assert generations == sorted(set(generations))


def test_overwrite_without_versioning(bucket: Any) -> None:
    """The old generation is gone: it is not found by its number."""
    old = put(bucket, "name", b"old").generation
    put(bucket, "name", b"new")
    with pytest.raises(NotFound):
        bucket.blob("name", generation=old).download_as_bytes()
    assert bucket.get_blob("name", generation=old) is None


def test_overwrite_with_versioning(versioned: Any) -> None:
    """The old generation stays readable by its number and is listed among the versions."""
    old = put(versioned, "name", b"old").generation
    new = put(versioned, "name", b"new").generation
    assert versioned.blob("name", generation=old).download_as_bytes() == b"old"
    assert versioned.blob("name").download_as_bytes() == b"new"
    versions = list(versioned.list_blobs(versions=True))
    assert [blob.generation for blob in versions] == [old, new]
    assert [blob.time_deleted is None for blob in versions] == [False, True]
    assert [blob.generation for blob in versioned.list_blobs()] == [new]


def test_delete_with_versioning(versioned: Any) -> None:
    """Deleting the live object archives it; deleting a generation is for good."""
    generation = put(versioned, "name").generation
    versioned.delete_blob("name")
    assert versioned.get_blob("name") is None
    assert versioned.blob("name", generation=generation).download_as_bytes() == b"data"
    versioned.delete_blob("name", generation=generation)
    assert list(versioned.list_blobs(versions=True)) == []


def test_delete_when_missing(bucket: Any) -> None:
    """There is nothing to delete twice."""
    put(bucket, "name").delete()
    with pytest.raises(NotFound):
        bucket.delete_blob("name")


def test_upload_if_absent(bucket: Any) -> None:
    """if_generation_match=0 uploads only if there is no live object."""
    put(bucket, "name", b"first", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        put(bucket, "name", b"second", if_generation_match=0)
    assert bucket.blob("name").download_as_bytes() == b"first"
    bucket.delete_blob("name")
    put(bucket, "name", b"third", if_generation_match=0)


@pytest.mark.parametrize("chunk_bytes", [None, CHUNK_BYTES])
def test_upload_if_unchanged(bucket: Any, chunk_bytes: int | None) -> None:
    """An upload can demand that the live object is a certain one."""
    blob = put(bucket, "name", b"first")
    again = bucket.blob("name", chunk_size=chunk_bytes)
    with pytest.raises(PreconditionFailed):
        again.upload_from_file(io.BytesIO(b"second"), if_generation_match=blob.generation - 1)
    again.upload_from_file(io.BytesIO(b"third"), if_generation_match=blob.generation)
    assert bucket.blob("name").download_as_bytes() == b"third"


def test_download_with_preconditions(bucket: Any) -> None:
    """A read fails (412) or has nothing new (304), as its precondition says."""
    blob = put(bucket, "name")
    generation = blob.generation
    assert blob.download_as_bytes(if_generation_match=generation) == b"data"
    assert blob.download_as_bytes(if_generation_not_match=generation - 1) == b"data"
    with pytest.raises(PreconditionFailed):
        blob.download_as_bytes(if_generation_match=generation - 1)
    with pytest.raises(GoogleAPICallError) as not_modified:
        blob.download_as_bytes(if_generation_not_match=generation)
    assert not_modified.value.code == 304
    with pytest.raises(GoogleAPICallError) as not_modified:
        blob.reload(if_metageneration_not_match=1)
    assert not_modified.value.code == 304


def test_delete_if_unchanged(bucket: Any) -> None:
    """A delete can demand the generation that it means."""
    blob = put(bucket, "name")
    with pytest.raises(PreconditionFailed):
        bucket.delete_blob("name", if_generation_match=blob.generation - 1)
    bucket.delete_blob("name", if_generation_match=blob.generation)
    assert bucket.get_blob("name") is None


def test_concurrent_uploads_if_absent(bucket: Any) -> None:
    """Of many who create the same object one wins."""
    outcomes: list[str] = []

    def upload(number: int) -> None:
        try:
            put(bucket, "name", str(number).encode(), if_generation_match=0)
            outcomes.append("stored")
        except PreconditionFailed:
            outcomes.append("refused")

    threads = [threading.Thread(target=upload, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["stored"]


def test_read_while_overwritten(bucket: Any) -> None:
    """A reader gets one whole generation, never a mixture and never nothing."""
    put(bucket, "name", b"\0" * 100_000)
    stop = threading.Event()

    def overwrite() -> None:
        for number in itertools.cycle(range(256)):
            if stop.is_set():
                return
            put(bucket, "name", bytes([number]) * 100_000)

    thread = threading.Thread(target=overwrite)
    thread.start()
    try:
        for _ in range(40):
            data = bucket.blob("name").download_as_bytes()
            assert len(data) == 100_000
            assert len(set(data)) == 1
    finally:
        stop.set()
        thread.join()


# Metadata, copies


def test_patch_metadata(bucket: Any) -> None:
    """Metadata changes without a new generation; metageneration counts."""
    blob = put(bucket, "name")
    generation = blob.generation
    blob.metadata = {"kept": "1", "removed": "2"}
    blob.content_type = "text/markdown"
    blob.patch()
    blob.metadata = {"removed": None, "added": "3"}
    blob.patch()
    found = bucket.get_blob("name")
    assert found.metadata == {"kept": "1", "added": "3"}
    assert found.content_type == "text/markdown"
    assert found.generation == generation
    assert found.metageneration == 3
    with pytest.raises(PreconditionFailed):
        blob.patch(if_metageneration_match=1)


def test_metadata_when_too_large(bucket: Any) -> None:
    """Custom metadata has at most 8 KiB, on upload and on change."""
    blob = bucket.blob("name")
    blob.metadata = {"key": "x" * 9000}
    with pytest.raises(BadRequest):
        blob.upload_from_string(b"data")
    put(bucket, "name")
    with pytest.raises(BadRequest):
        blob.patch()


def test_update_metadata_replaces(bucket: Any) -> None:
    """An update forgets what it does not name."""
    blob = bucket.blob("name")
    blob.cache_control = "no-store"
    blob.metadata = {"key": "value"}
    blob.upload_from_string(b"data", content_type="text/plain")
    blob.cache_control = None
    blob.update()
    assert bucket.get_blob("name").cache_control is None


def test_copy_and_rewrite(bucket: Any, versioned: Any) -> None:
    """A copy has the content and metadata of its source, and a generation of its own."""
    source = bucket.blob("source")
    source.metadata = {"key": "value"}
    source.upload_from_string(b"data", content_type="text/plain")
    target = versioned.blob("target")
    token, written, total = target.rewrite(source)
    assert (token, written, total) == (None, 4, 4)
    source.delete()
    assert target.download_as_bytes() == b"data"
    assert target.metadata == {"key": "value"}
    assert target.content_type == "text/plain"
    assert target.generation > source.generation
    with pytest.raises(PreconditionFailed):
        versioned.copy_blob(target, versioned, "target", if_generation_match=0)


def test_rename(bucket: Any) -> None:
    """A renamed object is found under the new name only."""
    bucket.rename_blob(put(bucket, "old"), "new")
    assert names(bucket.list_blobs()) == ["new"]


def test_move(bucket: Any) -> None:
    """A moved object keeps its content and metadata, and its old name is gone."""
    source = bucket.blob("old")
    source.metadata = {"key": "value"}
    source.upload_from_string(b"data", content_type="text/plain")
    moved = bucket.move_blob(source, "folder/new")
    moved.reload()
    assert names(bucket.list_blobs()) == ["folder/new"]
    assert (moved.download_as_bytes(), moved.metadata) == (b"data", {"key": "value"})
    with pytest.raises(PreconditionFailed):
        bucket.move_blob(moved, "other", if_source_generation_match=1)


def test_compose(bucket: Any) -> None:
    """What gcloud uploads in parts becomes one object; the parts stay."""
    parts = [put(bucket, f"part{number}", b"%d" % number) for number in range(3)]
    whole = bucket.blob("whole")
    whole.content_type = "text/plain"
    whole.compose(parts)
    assert whole.download_as_bytes() == b"012"
    assert whole.content_type == "text/plain"
    assert names(bucket.list_blobs()) == ["part0", "part1", "part2", "whole"]
    with pytest.raises(PreconditionFailed):
        whole.compose(parts, if_generation_match=0)
    with pytest.raises(NotFound):
        whole.compose([*parts, bucket.blob("missing")])


# Listing


def test_list_by_prefix_and_delimiter(bucket: Any) -> None:
    """With a delimiter folders are told once each, beside the objects of this level."""
    for name in ("a.txt", "b/1", "b/2", "b/c/3", "d/4", "e"):
        put(bucket, name)
    top = bucket.list_blobs(delimiter="/")
    assert names(top) == ["a.txt", "e"]
    assert top.prefixes == {"b/", "d/"}
    below = bucket.list_blobs(prefix="b/", delimiter="/")
    assert names(below) == ["b/1", "b/2"]
    assert below.prefixes == {"b/c/"}
    assert names(bucket.list_blobs(prefix="b/")) == ["b/1", "b/2", "b/c/3"]


def test_list_between_names(bucket: Any) -> None:
    """The first name is among them, the last one is not, whatever they begin with."""
    for name in ("a", "a/b", "b", "ä"):
        bucket.blob(name).upload_from_string(b"x")
    listed = bucket.list_blobs(start_offset="a/b", end_offset="ä")
    assert [blob.name for blob in listed] == ["a/b", "b"]


@pytest.mark.parametrize("delimiter", [None, "/"])
@pytest.mark.parametrize("page_size", [1, 2, 3, 100])
def test_list_in_pages(bucket: Any, page_size: int, delimiter: str | None) -> None:
    """Pages of any size add up to the same listing."""
    stored = ["a", "b/1", "b/2", "b/3", "c", "d/1", "d/2", "é", "\U0001f642"]
    for name in stored:
        put(bucket, name)
    listed = bucket.list_blobs(page_size=page_size, delimiter=delimiter)
    found = names(listed)
    if delimiter is None:
        assert found == stored
    else:
        assert found == ["a", "c", "é", "\U0001f642"]
        assert listed.prefixes == {"b/", "d/"}


def test_list_versions_in_pages(versioned: Any) -> None:
    """Pages do not lose the generations of one name."""
    expected = [(name, put(versioned, name).generation) for name in ("a", "b") for _ in range(3)]
    listed = versioned.list_blobs(versions=True, page_size=2)
    assert [(blob.name, blob.generation) for blob in listed] == expected


def test_list_with_chosen_fields(bucket: Any) -> None:
    """What was not asked for is left out; the token of the next page has to be asked for too."""
    for name in ("a", "b", "c"):
        bucket.blob(name).upload_from_string(name)
    blobs = list(bucket.list_blobs(fields="nextPageToken,items(name,size)", page_size=2))
    assert [(blob.name, blob.size, blob.md5_hash) for blob in blobs] == [
        ("a", 1, None),
        ("b", 1, None),
        ("c", 1, None),
    ]
    assert len(list(bucket.list_blobs(fields="items(name)", page_size=2))) == 2
    for fields in ("items(name", "items(name))", "items(,)", ",", "a b"):
        with pytest.raises(BadRequest):
            list(bucket.list_blobs(fields=fields))


def test_list_is_in_order_of_utf8(bucket: Any) -> None:
    """Names are sorted by their bytes, not by UTF-16 or a language."""
    stored = ["B", "a", "\uffff", "\U00010000"]
    for name in reversed(stored):
        put(bucket, name)
    assert names(bucket.list_blobs()) == stored


def test_list_between_offsets(bucket: Any) -> None:
    """A listing can begin and end at a name."""
    for name in "abcd":
        put(bucket, name)
    assert names(bucket.list_blobs(start_offset="b", end_offset="d")) == ["b", "c"]


# Resumable uploads, as a browser or a broken connection makes them


def start_session(emulator: Emulator, bucket: Any, name: str, **query: str) -> str:
    response = requests.post(
        f"{emulator.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "resumable", "name": name, **query},
        json={"metadata": {"key": "value"}},
        headers={"X-Upload-Content-Type": "text/plain", "Origin": "http://page"},
        timeout=10,
    )
    assert response.status_code == 200
    return response.headers["Location"]


def send(session: str, data: bytes, content_range: str) -> requests.Response:
    return requests.put(session, data=data, headers={"Content-Range": content_range}, timeout=10)


def test_resumable_upload_step_by_step(emulator: Emulator, bucket: Any) -> None:
    """Each chunk is answered with 308 and what is there; the last with the object."""
    session = start_session(emulator, bucket, "name")
    empty = send(session, b"", "bytes */*")
    first = send(session, b"0123", "bytes 0-3/10")
    asked = send(session, b"", "bytes */10")
    repeated = send(session, b"23456", "bytes 2-6/10")
    last = send(session, b"789", "bytes 7-9/10")
    after = send(session, b"", "bytes */10")
    assert [response.status_code for response in (empty, first, asked, repeated, last, after)] == [
        308,
        308,
        308,
        308,
        200,
        200,
    ]
    assert "Range" not in empty.headers
    assert first.headers["Range"] == asked.headers["Range"] == "bytes=0-3"
    assert repeated.headers["Range"] == "bytes=0-6"
    assert last.json()["generation"] == after.json()["generation"]
    found = bucket.get_blob("name")
    assert found.download_as_bytes() == b"0123456789"
    assert found.metadata == {"key": "value"}
    assert found.content_type == "text/plain"


def test_resumable_upload_in_one_request(emulator: Emulator, bucket: Any) -> None:
    """A session takes the whole content without a Content-Range."""
    session = start_session(emulator, bucket, "name")
    assert requests.put(session, data=b"data", timeout=10).status_code == 200
    assert bucket.blob("name").download_as_bytes() == b"data"


def test_resumable_upload_with_a_gap(emulator: Emulator, bucket: Any) -> None:
    """A chunk that begins after the end is refused and changes nothing."""
    session = start_session(emulator, bucket, "name")
    send(session, b"0123", "bytes 0-3/10")
    assert send(session, b"89", "bytes 8-9/10").status_code == 400
    assert send(session, b"", "bytes */10").headers["Range"] == "bytes=0-3"


def test_resumable_upload_when_cancelled(emulator: Emulator, bucket: Any) -> None:
    """A cancelled session is gone."""
    session = start_session(emulator, bucket, "name")
    assert requests.delete(session, timeout=10).status_code == 499
    assert send(session, b"data", "bytes 0-3/4").status_code == 404
    assert bucket.get_blob("name") is None


def test_resumable_upload_when_overtaken(emulator: Emulator, bucket: Any) -> None:
    """The precondition holds at the end of the upload, not only at its start."""
    session = start_session(emulator, bucket, "name", ifGenerationMatch="0")
    put(bucket, "name", b"first")
    assert send(session, b"late", "bytes 0-3/4").status_code == 412
    assert send(session, b"", "bytes */4").status_code == 404
    assert bucket.blob("name").download_as_bytes() == b"first"


def test_resumable_upload_after_kill(tmp_path: Path) -> None:
    """An upload goes on where it was when the emulator is killed in its middle."""
    state = tmp_path / "state"
    data = os.urandom(4 * CHUNK_BYTES)
    with running_storage(state) as emulator, connected(emulator) as client:
        port = emulator.port
        bucket = client.create_bucket("kept")
        session = start_session(emulator, bucket, "name")
        send(session, data[:CHUNK_BYTES], f"bytes 0-{CHUNK_BYTES - 1}/{len(data)}")
        emulator.kill()
    with running_storage(state, port=port) as emulator, connected(emulator) as client:
        there = send(session, b"", f"bytes */{len(data)}").headers["Range"]
        offset = int(there.rpartition("-")[2]) + 1
        assert offset == CHUNK_BYTES
        last = send(session, data[offset:], f"bytes {offset}-{len(data) - 1}/{len(data)}")
        assert last.status_code == 200
        assert client.bucket("kept").blob("name").download_as_bytes() == data


def test_resumable_upload_when_killed_at_its_end(tmp_path: Path) -> None:
    """Killed after the bytes were put in place and before the commit, the upload is kept."""
    store = ObjectStore(tmp_path, notified=lambda: None)
    store.insert_bucket("kept", {})
    upload = store.start_upload("kept", "name", fields={}, preconditions=Preconditions(), origin="")
    store.upload_path(upload).write_bytes(b"data")
    store.keep_content(upload.id)
    store.close()
    store = ObjectStore(tmp_path, notified=lambda: None)
    assert store.upload_path(upload).read_bytes() == b"data"
    store.close()


def test_resumable_session_from_the_client(emulator: Emulator, bucket: Any) -> None:
    """The session that a server makes for a page's origin takes the page's upload."""
    session = bucket.blob("ünï/name").create_resumable_upload_session(
        content_type="text/plain", origin="http://page"
    )
    preflight = requests.options(
        session,
        headers={
            "Origin": "http://page",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type,content-range",
        },
        timeout=10,
    )
    response = requests.put(session, data=b"data", headers={"Origin": "http://page"}, timeout=10)
    assert preflight.ok
    assert preflight.headers["Access-Control-Allow-Origin"] == "http://page"
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    assert "content-range" in preflight.headers["Access-Control-Allow-Headers"]
    assert response.headers["Access-Control-Allow-Origin"] == "http://page"
    assert bucket.blob("ünï/name").download_as_bytes() == b"data"


def test_cors_of_bucket(emulator: Emulator, bucket: Any) -> None:
    """A bucket with a cors setting lets in the origins that it names, and no others."""
    bucket.cors = [
        {"origin": ["http://page"], "method": ["GET"], "responseHeader": ["Content-Type"]}
    ]
    bucket.patch()
    put(bucket, "name")
    url = f"{emulator.url}/storage/v1/b/{bucket.name}/o/name"
    allowed = requests.get(url, headers={"Origin": "http://page"}, timeout=10)
    other = requests.get(url, headers={"Origin": "http://localhost"}, timeout=10)
    assert allowed.headers["Access-Control-Allow-Origin"] == "http://page"
    assert allowed.headers["Access-Control-Expose-Headers"] == "Content-Type"
    assert other.status_code == 403
    assert "Access-Control-Allow-Origin" not in other.headers


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 200),
        ("http://127.0.0.1:1", 200),
        ("http://[::1]:80", 200),
        ("https://evil.example", 403),
        ("http://127.0.0.1:80.evil.example", 403),
        ("http://evil.example@localhost", 403),
        ("file://localhost", 403),
        ("null", 403),
    ],
)
def test_cors_by_default(emulator: Emulator, bucket: Any, origin: str, status: int) -> None:
    """Without a cors setting pages of this machine are let in; others cannot even write."""
    response = requests.post(
        f"{emulator.url}/upload/storage/v1/b/{bucket.name}/o",
        params={"uploadType": "media", "name": "name"},
        data=b"data",
        headers={"Origin": origin, "Content-Type": "text/plain"},
        timeout=10,
    )
    assert response.status_code == status
    assert (bucket.get_blob("name") is None) == (status == 403)
    assert response.headers.get("Access-Control-Allow-Origin") == (
        origin if status == 200 else None
    )


# Notifications


class Listener:
    """A bucket whose notifications are pulled from our Pub/Sub emulator."""

    def __init__(self, *, client: Any, publisher: Any, subscriber: Any) -> None:
        number = next(_numbers)
        self.client = client
        self.topic = publisher.topic_path(PROJECT, f"events-{number}")
        self._subscriber = subscriber
        self._subscription = subscriber.subscription_path(PROJECT, f"events-{number}")
        publisher.create_topic(name=self.topic)
        subscriber.create_subscription(name=self._subscription, topic=self.topic)
        self.bucket = client.create_bucket(f"notifying-{number}")

    def configure(self, **settings: Any) -> Any:
        notification = self.bucket.notification(
            topic_name=self.topic.rpartition("/")[2],
            topic_project=PROJECT,
            **{"payload_format": "JSON_API_V1", **settings},
        )
        notification.create()
        return notification

    def events(self, count: int) -> list[Any]:
        """Return *count* messages, in the order of eventTime."""
        received: list[Any] = []

        def pull() -> bool:
            response = self._subscriber.pull(
                subscription=self._subscription, max_messages=count, timeout=10
            )
            self._subscriber.acknowledge(
                subscription=self._subscription,
                ack_ids=[message.ack_id for message in response.received_messages],
            )
            received.extend(message.message for message in response.received_messages)
            return len(received) >= count

        wait_until(pull, seconds=20)
        return sorted(received, key=lambda message: str(message.attributes["eventTime"]))


@contextmanager
def listening(pubsub: Emulator, storage_emulator: Emulator) -> Iterator[Listener]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    with connected(storage_emulator) as client:
        yield Listener(client=client, publisher=publisher, subscriber=subscriber)
    publisher.stop()
    publisher.transport.close()
    subscriber.close()


@pytest.fixture(scope="module")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Emulator]]:
    """Both emulators, the storage one publishing to the other."""
    folder = tmp_path_factory.mktemp("notifications")
    with (
        running_pubsub(folder / "pubsub.sqlite") as pubsub,
        running_storage(folder / "storage", pubsub_host=pubsub.host) as storage_emulator,
    ):
        yield pubsub, storage_emulator


@pytest.fixture
def listener(emulators: tuple[Emulator, Emulator]) -> Iterator[Listener]:
    """A new bucket and topic, not yet joined."""
    with listening(*emulators) as listener:
        yield listener


def attributes(event: Any) -> dict[str, str]:
    """Return the attributes but for the time, which is checked to be one."""
    found = dict(event.attributes)
    assert found.pop("eventTime").endswith("Z")
    return found


def test_notification_configs(listener: Listener) -> None:
    """Notifications are made, listed, read and deleted."""
    created = listener.configure(
        event_types=["OBJECT_FINALIZE"], blob_name_prefix="in/", custom_attributes={"a": "b"}
    )
    (listed,) = listener.bucket.list_notifications()
    assert listed.notification_id == created.notification_id
    assert listed.topic_name == listener.topic.rpartition("/")[2]
    assert listed.event_types == ["OBJECT_FINALIZE"]
    assert listener.bucket.get_notification(created.notification_id).blob_name_prefix == "in/"
    created.delete()
    assert list(listener.bucket.list_notifications()) == []


def test_notification_of_upload_overwrite_and_delete(listener: Listener) -> None:
    """Without versioning an overwrite tells the new generation and the end of the old one."""
    configured = listener.configure()
    first = put(listener.bucket, "ünï name", b"1", content_type="text/plain").generation
    second = put(listener.bucket, "ünï name", b"22").generation
    listener.bucket.delete_blob("ünï name")
    events = listener.events(4)
    common = {
        "notificationConfig": (
            f"projects/_/buckets/{listener.bucket.name}"
            f"/notificationConfigs/{configured.notification_id}"
        ),
        "payloadFormat": "JSON_API_V1",
        "bucketId": listener.bucket.name,
        "objectId": "ünï name",
    }
    finalized, replaced, replacing, deleted = sorted(
        events,
        key=lambda event: (event.attributes["objectGeneration"], event.attributes["eventTime"]),
    )
    assert attributes(finalized) == {
        **common,
        "eventType": "OBJECT_FINALIZE",
        "objectGeneration": str(first),
    }
    assert attributes(replaced) == {
        **common,
        "eventType": "OBJECT_DELETE",
        "objectGeneration": str(first),
        "overwrittenByGeneration": str(second),
    }
    assert attributes(replacing) == {
        **common,
        "eventType": "OBJECT_FINALIZE",
        "objectGeneration": str(second),
        "overwroteGeneration": str(first),
    }
    assert attributes(deleted) == {
        **common,
        "eventType": "OBJECT_DELETE",
        "objectGeneration": str(second),
    }
    body = json.loads(finalized.data)
    assert body["kind"] == "storage#object"
    assert body["name"] == "ünï name"
    assert body["bucket"] == listener.bucket.name
    assert body["generation"] == str(first)
    assert body["size"] == "1"
    assert body["contentType"] == "text/plain"
    assert json.loads(deleted.data)["timeDeleted"]


def test_notification_with_versioning(listener: Listener) -> None:
    """With versioning the old generation is archived; deleting it later is told as such."""
    listener.bucket.versioning_enabled = True
    listener.bucket.patch()
    listener.configure()
    first = put(listener.bucket, "name", b"1").generation
    second = put(listener.bucket, "name", b"2").generation
    listener.bucket.delete_blob("name")
    listener.bucket.delete_blob("name", generation=first)
    told = {
        (event.attributes["eventType"], int(event.attributes["objectGeneration"]))
        for event in listener.events(5)
    }
    assert told == {
        ("OBJECT_FINALIZE", first),
        ("OBJECT_ARCHIVE", first),
        ("OBJECT_FINALIZE", second),
        ("OBJECT_ARCHIVE", second),
        ("OBJECT_DELETE", first),
    }


def test_notification_of_metadata(listener: Listener) -> None:
    """A metadata change is an event of the same generation."""
    blob = put(listener.bucket, "name")
    listener.configure()
    blob.metadata = {"key": "value"}
    blob.patch()
    (event,) = listener.events(1)
    assert event.attributes["eventType"] == "OBJECT_METADATA_UPDATE"
    assert event.attributes["objectGeneration"] == str(blob.generation)
    assert json.loads(event.data)["metadata"] == {"key": "value"}


def test_notification_when_selected(listener: Listener) -> None:
    """Only the wanted events under the wanted prefix are told, with the custom attributes."""
    listener.configure(
        event_types=["OBJECT_DELETE"],
        blob_name_prefix="in/",
        custom_attributes={"source": "test"},
        payload_format="NONE",
    )
    for name in ("in/name", "out/name"):
        put(listener.bucket, name).delete()
    listener.configure()
    put(listener.bucket, "out/last")
    deleted, last = listener.events(2)
    assert deleted.attributes["objectId"] == "in/name"
    assert deleted.attributes["source"] == "test"
    assert deleted.data == b""
    assert last.attributes["objectId"] == "out/last"


def test_notification_of_copy_and_chunked_upload(listener: Listener) -> None:
    """However an object comes to be, it is told."""
    listener.configure()
    blob = listener.bucket.blob("chunked", chunk_size=CHUNK_BYTES)
    blob.upload_from_file(io.BytesIO(os.urandom(2 * CHUNK_BYTES)))
    listener.bucket.copy_blob(blob, listener.bucket, "copy")
    assert [event.attributes["objectId"] for event in listener.events(2)] == ["chunked", "copy"]


def test_notification_while_pubsub_is_down(tmp_path: Path) -> None:
    """What happened while Pub/Sub was away is told when it is back."""
    state = tmp_path / "pubsub.sqlite"
    with (
        running_pubsub(state) as pubsub,
        running_storage(tmp_path / "storage", pubsub_host=pubsub.host) as storage_emulator,
        listening(pubsub, storage_emulator) as listener,
    ):
        listener.configure()
        pubsub.kill()
        generation = put(listener.bucket, "name").generation
        with running_pubsub(state, port=pubsub.port):
            (event,) = listener.events(1)
    assert event.attributes["objectGeneration"] == str(generation)


def test_notification_after_kill(tmp_path: Path) -> None:
    """An object that was stored is told, although the emulator was killed before it could."""
    state, storage_state = tmp_path / "pubsub.sqlite", tmp_path / "storage"
    with (
        running_pubsub(state) as pubsub,
        running_storage(storage_state, pubsub_host=pubsub.host) as storage_emulator,
        listening(pubsub, storage_emulator) as listener,
    ):
        listener.configure()
        pubsub.kill()
        stored = [put(listener.bucket, f"name-{number}").generation for number in range(5)]
        storage_emulator.kill()
        with (
            running_pubsub(state, port=pubsub.port),
            running_storage(storage_state, pubsub_host=pubsub.host),
        ):
            told = [int(event.attributes["objectGeneration"]) for event in listener.events(5)]
    assert sorted(set(told)) == stored


# Durability, limits, operation


def test_kill_loses_nothing_stored(tmp_path: Path) -> None:
    """Every upload that was answered is whole after kill -9, every other whole or absent."""
    state = tmp_path / "state"
    answered: dict[str, bytes] = {}
    with running_storage(state) as emulator, connected(emulator) as client:
        bucket = client.create_bucket("kept")

        def upload_on() -> None:
            for number in itertools.count():
                data = os.urandom(20_000)
                try:
                    put(bucket, f"name-{number}", data, retry=None)
                except (GoogleAPICallError, requests.RequestException):
                    return
                answered[f"name-{number}"] = data

        thread = threading.Thread(target=upload_on)
        thread.start()
        wait_until(lambda: len(answered) > 20)
        emulator.kill()
        thread.join()
    with running_storage(state) as emulator, connected(emulator) as client:
        bucket = client.bucket("kept")
        found = {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()}
        latest = max(blob.generation for blob in bucket.list_blobs())
        assert put(bucket, "next").generation > latest
    assert answered.items() <= found.items()
    assert len(found) - len(answered) <= 1
    assert all(len(data) == 20_000 for data in found.values())


def store_object(store: ObjectStore, data: bytes, preconditions: Preconditions) -> None:
    key, path = store.new_content()
    path.write_bytes(data)
    store.create_object(
        "kept",
        "name",
        content=store.keep_content(key),
        fields={},
        preconditions=preconditions,
    )


def stored_files(folder: Path) -> list[bytes]:
    """Return what the files under *folder* hold, but for the database."""
    paths = [*(folder / "content").rglob("*"), *(folder / "uploads").rglob("*")]
    return [path.read_bytes() for path in paths if path.is_file()]


def test_start_removes_leftovers(tmp_path: Path) -> None:
    """Files that a killed emulator left without an object are removed."""
    store = ObjectStore(tmp_path, notified=lambda: None)
    store.insert_bucket("kept", {})
    store_object(store, b"data", Preconditions())
    key, path = store.new_content()
    path.write_bytes(b"never kept")
    key, path = store.new_content()
    path.write_bytes(b"kept, but never an object's")
    store.keep_content(key)
    store.close()
    ObjectStore(tmp_path, notified=lambda: None).close()
    assert stored_files(tmp_path) == [b"data"]


def test_contents_are_removed_with_their_objects(tmp_path: Path) -> None:
    """Overwriting, deleting and being refused leave no bytes behind."""
    store = ObjectStore(tmp_path, notified=lambda: None)
    store.insert_bucket("kept", {})
    for number in range(3):
        store_object(store, str(number).encode(), Preconditions())
    assert stored_files(tmp_path) == [b"2"]
    with pytest.raises(RefusedPrecondition):
        store_object(store, b"refused", Preconditions(generation_match=1))
    assert stored_files(tmp_path) == [b"2"]
    store.delete_object("kept", "name", generation=None, preconditions=Preconditions())
    assert stored_files(tmp_path) == []
    store.close()


def test_memory_when_uploads_are_large(emulator: Emulator, bucket: Any, tmp_path: Path) -> None:
    """Bodies go to disk and come from it: 200 MB up and down cost little memory."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    process = psutil.Process(emulator.process.pid)
    before = process.memory_info().rss
    blob = bucket.blob("large")
    blob.upload_from_filename(path, checksum=None)
    with path.open("wb") as file:
        blob.download_to_file(file, checksum=None)
    assert path.stat().st_size == 200_000_000
    assert process.memory_info().rss - before < 60_000_000


def test_unknown_request_is_named(emulator: Emulator, bucket: Any) -> None:
    """What the emulator does not do it says so, rather than something wrong."""
    response = requests.get(f"{emulator.url}/storage/v1/b/{bucket.name}/iam", timeout=10)
    assert response.status_code == 501
    assert "does not implement" in response.json()["error"]["message"]


def test_sigterm_stops_promptly(tmp_path: Path) -> None:
    """An open upload does not hold up the end."""
    with running_storage(tmp_path / "state") as emulator, connected(emulator) as client:
        session = start_session(emulator, client.create_bucket("stopped"), "name")
        release = threading.Event()

        def body() -> Iterator[bytes]:
            yield b"data"
            release.wait(20)

        def upload() -> None:
            with suppress(requests.RequestException):
                requests.put(session, data=body(), timeout=20)

        thread = threading.Thread(target=upload)
        thread.start()
        uploads = tmp_path / "state/uploads"
        wait_until(lambda: any(uploads.iterdir()))
        seconds = emulator.stop()
        release.set()
        thread.join()
    assert seconds < 5
    assert emulator.process.returncode == 0


def test_port_when_taken(emulator: Emulator, tmp_path: Path) -> None:
    """A taken port is one line that names the variable to set."""
    command = ["-m", "local.emulators.storage", "--port", str(emulator.port)]
    second = subprocess.run(
        [sys.executable, *command, "--state", str(tmp_path / "second")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode != 0
    assert "STORAGE_PORT" in second.stderr
    assert "Traceback" not in second.stderr


def test_state_when_in_use(tmp_path: Path) -> None:
    """Two emulators on one folder would remove each other's files: the second refuses."""
    hold_state(tmp_path / "state")
    with pytest.raises(ClickException, match="in use by another emulator"):
        hold_state(tmp_path / "state", wait_seconds=0)
