"""The drop folder: what is put into it is in the bucket, what others put there is left alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import pytest
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from admin.folder_sync import FileState, is_included, scan
from local.watcher import SETTLING_SECONDS, Uploaded, Watcher, plan, run
from shared.bucket import DocumentBucket
from tests.support.emulators import wait_until

OLD, NEW = FileState(1, 1, 1), FileState(2, 2, 1)
KNOWN = Uploaded(OLD, 7)
LONG_AGO, JUST_NOW = 0.0, 100.0


@pytest.mark.parametrize(
    ("files", "uploaded", "since", "uploads", "deletes", "unsettled"),
    [
        ({"a": NEW}, {}, LONG_AGO, ["a"], [], set()),
        ({"a": NEW}, {}, JUST_NOW, [], [], {"a"}),
        ({"a": OLD}, {"a": KNOWN}, LONG_AGO, [], [], set()),
        ({"a": NEW}, {"a": KNOWN}, LONG_AGO, ["a"], [], set()),
        ({}, {"a": KNOWN}, LONG_AGO, [], ["a"], set()),
        ({}, {"a": KNOWN}, JUST_NOW, [], [], {"a"}),
    ],
    ids=["new", "being written", "unchanged", "changed", "removed", "being replaced"],
)
def test_plan(
    files: dict[str, FileState],
    uploaded: dict[str, Uploaded],
    since: float,
    uploads: list[str],
    deletes: list[str],
    unsettled: set[str],
) -> None:
    """A file is acted on once it has been the same for a while."""
    due = plan(files, uploaded=uploaded, since={"a": since}, now=JUST_NOW + SETTLING_SECONDS / 2)
    assert (due.uploads, due.deletes, due.unsettled) == (uploads, deletes, unsettled)


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        "a/.git/config",
        "~$report.docx",
        "a.txt~",
        "b.tmp",
        "c.PART",
        ".a.swp",
        "#x#",
        "Thumbs.db",
        "a/Desktop.ini",
        "__MACOSX/a.pdf",
        "part_$folder$",
    ],
)
def test_hidden_and_temporary_files_are_not_taken(name: str) -> None:
    """What editors, browsers and office programs leave for a moment stays out."""
    assert not is_included(name)


@pytest.mark.parametrize("name", ["a", "a/b c.txt", "50%.md", "tmp/x.tmp.md", "#1?.txt"])
def test_ordinary_names_are_taken(name: str) -> None:
    """A name that only looks a little like a temporary one is a document's."""
    assert is_included(name)


def test_scan_finds_regular_files_alone(tmp_path: Path) -> None:
    """Links, pipes and sockets are no documents; nor is what a link points at."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "real.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to(tmp_path / "folder" / "real.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert scan(tmp_path).files.keys() == {"folder/real.txt"}


@dataclass
class Drop:
    """A drop folder, its bucket, and a way to let watchers come and go."""

    folder: Path
    state: Path
    bucket: storage.Bucket
    documents: DocumentBucket

    def contents(self) -> dict[str, bytes]:
        found = {}
        for blob in self.bucket.list_blobs():
            with suppress(NotFound):  # replaced or deleted since the list was made
                found[blob.name] = blob.download_as_bytes()
        return found

    def watching(self) -> Running:
        return Running(Watcher(self.folder, self.documents, self.state))


class Running:
    """A watcher at work in a thread."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._stop = Event()
        self._thread = Thread(target=self._run)

    def _run(self) -> None:
        self._watcher.begin()
        run(self._watcher, stop=self._stop)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def drop(tmp_path: Path, storage_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drop]:
    """Return an empty drop folder and an empty bucket."""
    client = storage.Client(
        project="test",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": storage_url},
    )
    bucket = client.create_bucket(f"bucket-{tmp_path.name.replace('_', '-')}"[:60].rstrip("-"))
    (tmp_path / "drop").mkdir()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
    documents = DocumentBucket(bucket.name, project="test")
    yield Drop(tmp_path / "drop", tmp_path / "state.json", bucket, documents)
    client.close()


AWKWARD = ["ñandú 猫.txt", "a b/c+d & e.md", "100%/#1?.txt", "quote'\"\\.txt", "e\u0301.txt"]


def test_the_bucket_follows_the_folder(drop: Drop) -> None:
    """What is there at the start, added, changed, moved and removed is so in the bucket."""
    (drop.folder / "first.txt").write_text("one")
    with drop.watching():
        wait_until(lambda: drop.contents() == {"first.txt": b"one"})
        for name in AWKWARD:
            (drop.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (drop.folder / name).write_text(name)
        expected = {name: name.encode() for name in AWKWARD}
        wait_until(lambda: drop.contents() == {"first.txt": b"one", **expected})
        (drop.folder / "first.txt").write_text("two")
        wait_until(lambda: drop.contents() == {"first.txt": b"two", **expected})
        (drop.folder / "first.txt").rename(drop.folder / "second.txt")
        for name in AWKWARD:
            (drop.folder / name).unlink()
        wait_until(lambda: drop.contents() == {"second.txt": b"two"})


def test_what_happened_meanwhile_is_made_up_for_at_the_start(drop: Drop) -> None:
    """Files changed and removed while nobody watched are uploaded and deleted."""
    for name in ("kept", "changed", "removed"):
        (drop.folder / name).write_text(name)
    with drop.watching():
        wait_until(lambda: len(drop.contents()) == 3)
    generation = drop.bucket.get_blob("kept").generation
    (drop.folder / "changed").write_text("anew")
    (drop.folder / "removed").unlink()
    with drop.watching():
        wait_until(lambda: drop.contents() == {"kept": b"kept", "changed": b"anew"})
    assert drop.bucket.get_blob("kept").generation == generation


def test_objects_of_other_clients_are_left_alone(drop: Drop) -> None:
    """Neither what others uploaded nor what they replaced is deleted or overwritten."""
    drop.bucket.blob("theirs").upload_from_string("theirs")
    (drop.folder / "ours").write_text("ours")
    with drop.watching():
        wait_until(lambda: drop.contents() == {"theirs": b"theirs", "ours": b"ours"})
        drop.bucket.blob("ours").upload_from_string("replaced")
    expected = {"theirs": b"theirs", "ours": b"replaced"}
    with drop.watching():
        (drop.folder / "sign").write_text("")
        wait_until(lambda: "sign" in drop.contents())
        assert drop.contents() == expected | {"sign": b""}
        (drop.folder / "ours").unlink()
        (drop.folder / "sign").unlink()
        wait_until(lambda: "sign" not in drop.contents())
        wait_until(lambda: "ours" not in drop.state.read_text())
        assert drop.contents() == expected
    assert not (drop.folder / "theirs").exists()


def test_a_file_is_uploaded_when_it_is_whole(drop: Drop) -> None:
    """A file that is still being written is not uploaded piece by piece."""
    with drop.watching(), (drop.folder / "slow.txt").open("wb", buffering=0) as file:
        started = time.monotonic()
        while time.monotonic() - started < 1.5:
            file.write(b"x" * 1000)
            assert drop.contents() == {}
            time.sleep(0.02)
        written = file.tell()
        wait_until(lambda: drop.contents() == {"slow.txt": b"x" * written})


def test_uploads_are_tried_again_when_storage_was_away(drop: Drop) -> None:
    """An error of the storage server loses nothing."""
    (drop.folder / "a.txt").write_text("a")
    watcher = Watcher(drop.folder, drop.documents, drop.state)
    watcher.begin()
    drop.bucket.delete(force=True)
    wait_until(lambda: bool(watcher.step() and watcher._retry_at))
    again = drop.bucket.client.create_bucket(drop.bucket.name)
    wait_until(lambda: not watcher.step())
    assert [blob.name for blob in again.list_blobs()] == ["a.txt"]


def test_a_name_no_object_can_have_is_left_out(
    drop: Drop, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is uploaded, and the log says once which file was not."""
    (drop.folder / "line\nbreak.txt").write_text("x")
    Path(os.fsdecode(os.fsencode(drop.folder) + b"/latin-\xe9.txt")).write_text("x")
    (drop.folder / "good.txt").write_text("x")
    with drop.watching():
        wait_until(lambda: drop.contents() == {"good.txt": b"x"})
    refused = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(refused) == 2
