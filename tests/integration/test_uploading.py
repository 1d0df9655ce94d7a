"""A folder brought into the bucket, by the real client and the stand-in for Cloud Storage."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from admin import cli as admin
from admin import folder_sync as uploading
from admin.folder_sync import FileState, in_parallel, matches, scan, upload_file, upload_folder
from shared.bucket import DocumentBucket
from shared.errors import FileChanged, Misconfigured, ObjectChanged
from shared.settings import load

AWKWARD = ["ñandú 猫.txt", "a b/c+d & e.md", "100%/#1?.txt", "quote'\"\\.txt", "e\u0301.txt"]


@dataclass
class Place:
    """A folder and a bucket, both empty at first."""

    folder: Path
    bucket: storage.Bucket
    documents: DocumentBucket

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def bring(self, **options: Any) -> dict[str, str]:
        """Return what became of each object."""
        return {
            outcome.name: outcome.kind
            for outcome in upload_folder(self.folder, self.documents, **options)
        }

    def generations(self) -> dict[str, int]:
        return {blob.name: int(blob.generation) for blob in self.bucket.list_blobs()}

    def contents(self) -> dict[str, bytes]:
        return {blob.name: blob.download_as_bytes() for blob in self.bucket.list_blobs()}


@pytest.fixture
def place(tmp_path: Path, storage_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Return an empty folder and an empty bucket, which the environment names."""
    client = storage.Client(
        project="test-project",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": storage_url},
    )
    bucket = client.create_bucket(f"bucket-{tmp_path.name.replace('_', '-')}"[:60].rstrip("-"))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage_url)
    monkeypatch.setenv("DOCUMENTS_BUCKET", bucket.name)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    load.cache_clear()
    (tmp_path / "folder").mkdir()
    documents = DocumentBucket(bucket.name, project="test-project")
    yield Place(tmp_path / "folder", bucket, documents)
    documents.close()
    load.cache_clear()
    client.close()


def command(*arguments: str) -> Result:
    return CliRunner().invoke(admin.main, ["upload", *arguments])


def test_a_folder_is_in_the_bucket_whatever_its_files_are_called(place: Place) -> None:
    """Names, contents and types arrive; a sub-folder is a part of the name."""
    for name in AWKWARD:
        (place.folder / name).parent.mkdir(exist_ok=True)
        (place.folder / name).write_text(name)
    (place.folder / ".hidden").write_text("x")
    assert place.bring() == dict.fromkeys(AWKWARD, "uploaded")
    assert place.contents() == {name: name.encode() for name in AWKWARD}
    assert place.bucket.get_blob("e\u0301.txt").content_type == "text/plain"


def test_an_unchanged_folder_costs_one_listing(place: Place) -> None:
    """No object gets a new generation, and none is asked for by itself."""
    place.write(**{f"{number}.txt": f"text {number}" for number in range(5)})
    place.bring()
    before = place.generations()
    requested: list[str] = []
    session = place.documents._bucket.client._http
    session.hooks["response"].append(lambda response, **_: requested.append(response.url))
    assert place.bring() == dict.fromkeys(before, "unchanged")
    assert [url.partition("?")[0].rpartition("/")[2] for url in requested] == ["o"]
    assert place.generations() == before


def test_only_what_differs_is_uploaded(place: Place) -> None:
    """Other bytes of the same length count, and a new time of the same bytes does not."""
    place.write(**{"same.txt": "same", "changed.txt": "one", "longer.txt": "short"})
    place.bring()
    before = place.generations()
    place.write(**{"same.txt": "same", "changed.txt": "two", "longer.txt": "longer", "new.txt": ""})
    assert place.bring() == {
        "same.txt": "unchanged",
        "changed.txt": "uploaded",
        "longer.txt": "uploaded",
        "new.txt": "uploaded",
    }
    after = place.generations()
    assert {name for name in before if before[name] == after[name]} == {"same.txt"}


def test_unchanged_files_are_uploaded_on_request(place: Place) -> None:
    """Each gets a new generation."""
    place.write(**{"a.txt": "a"})
    place.bring()
    before = place.generations()
    assert place.bring(renew=True) == {"a.txt": "uploaded"}
    assert place.generations()["a.txt"] > before["a.txt"]


def test_objects_without_a_file_stay_unless_told(place: Place) -> None:
    """They are deleted with *delete* alone, and then only those that a file could stand for."""
    place.write(**{"a.txt": "a"})
    for name in ("handbook/old.txt", "handbook/.hidden", "handbook/empty/", "other/old.txt"):
        place.bucket.blob(name).upload_from_string("old")
    (place.folder / "link.txt").symlink_to("a.txt")
    place.bucket.blob("handbook/link.txt").upload_from_string("not followed")
    assert place.bring(prefix="handbook/") == {"handbook/a.txt": "uploaded"}
    assert place.bring(prefix="handbook/", delete=True) == {
        "handbook/a.txt": "unchanged",
        "handbook/link.txt": "unchanged",
        "handbook/old.txt": "deleted",
    }
    left = {"a.txt", "link.txt", ".hidden", "empty/"}
    assert place.generations().keys() == {f"handbook/{name}" for name in left} | {"other/old.txt"}


def test_an_empty_folder_empties_no_bucket(place: Place) -> None:
    """So looks a disk that is not mounted."""
    place.bucket.blob("a.txt").upload_from_string("a")
    with pytest.raises(Misconfigured, match="has no files"):
        place.bring(delete=True)
    assert place.contents() == {"a.txt": b"a"}


def test_a_check_changes_nothing(place: Place) -> None:
    """It says what would be uploaded and deleted."""
    place.write(**{"a.txt": "a", "b.txt": "b"})
    place.bucket.blob("b.txt").upload_from_string("other")
    place.bucket.blob("c.txt").upload_from_string("c")
    before = place.generations()
    assert place.bring(check=True, delete=True) == {
        "a.txt": "different",
        "b.txt": "different",
        "c.txt": "superfluous",
    }
    assert place.generations() == before


def test_metadata_of_an_object_outlives_its_bytes(place: Place) -> None:
    """The collection that somebody gave it is not lost with a new edition."""
    blob = place.bucket.blob("a.txt")
    blob.metadata = {"collection": "legal"}
    blob.upload_from_string("old")
    place.write(**{"a.txt": "new"})
    assert place.bring() == {"a.txt": "uploaded"}
    # A trace may have been added.
    assert place.bucket.get_blob("a.txt").metadata["collection"] == "legal"


def test_what_somebody_else_wrote_meanwhile_is_not_overwritten(place: Place) -> None:
    """The precondition is the generation that the listing told."""
    place.write(**{"a.txt": "ours"})
    theirs = place.bucket.blob("a.txt")
    theirs.upload_from_string("theirs")
    seen = scan(place.folder).files["a.txt"]
    for generation in (0, int(theirs.generation) - 1):
        with pytest.raises(ObjectChanged):
            upload_file(
                place.folder / "a.txt",
                place.documents,
                name="a.txt",
                seen=seen,
                if_generation=generation,
            )
    with pytest.raises(ObjectChanged):
        place.documents.delete("a.txt", if_generation=int(theirs.generation) - 1)
    assert place.contents() == {"a.txt": b"theirs"}


def test_an_upload_whose_answer_was_lost_has_succeeded(place: Place) -> None:
    """The second try meets the first one's object, which has the file's bytes."""
    place.write(**{"a.txt": "ours"})
    path, seen = place.folder / "a.txt", scan(place.folder).files["a.txt"]
    first = upload_file(path, place.documents, name="a.txt", seen=seen, if_generation=0)
    again = upload_file(path, place.documents, name="a.txt", seen=seen, if_generation=0)
    assert again.generation == first.generation


def test_a_file_that_changes_is_not_taken(place: Place) -> None:
    """What was seen of it is no longer true."""
    place.write(**{"a.txt": "longer"})
    with pytest.raises(FileChanged):
        upload_file(place.folder / "a.txt", place.documents, name="a.txt", seen=FileState(3, 1, 1))
    assert place.contents() == {}


@pytest.mark.parametrize("checksum", ["md5", "crc32c"])
def test_bytes_are_compared_by_either_checksum(place: Place, checksum: str) -> None:
    """A composite object has no MD5."""
    place.write(**{"a.txt": "a", "b.txt": "b"})
    place.bring()
    (stored,) = (one for one in place.documents.list() if one.name == "a.txt")
    version = replace(stored, **{"md5": "", "crc32c": "", checksum: getattr(stored, checksum)})
    assert matches(version, place.folder / "a.txt", size=1)
    assert not matches(version, place.folder / "b.txt", size=1)


def test_the_rest_is_brought_when_some_cannot_be(place: Place) -> None:
    """Each that could not says why, and the command ends with 1."""
    place.write(**{"good.txt": "x", "line\nbreak.txt": "x"})
    Path(os.fsdecode(os.fsencode(place.folder) + b"/latin-\xe9.txt")).write_text("x")
    result = command(str(place.folder), "--json")
    told = json.loads(result.stdout)
    assert result.exit_code == 1
    assert place.contents() == {"good.txt": b"x"}
    assert (told["uploaded"], told["failed"]) == (1, 2)
    assert sorted(failure["reason"] for failure in told["failures"]) == [
        "its name contains a line break",
        "its name is not UTF-8",
    ]


def test_what_cannot_be_read_is_not_deleted(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that cannot be looked into says nothing of what is in it."""
    (place.folder / "sub").mkdir()
    (place.folder / "sub" / "a.txt").write_text("a")
    place.write(**{"b.txt": "b"})
    place.bring()
    look = os.scandir

    def refuse(path: Path) -> Any:  # root may look into every folder
        if path.name == "sub":
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (place.folder / "sub" / "a.txt").unlink()
    assert place.bring(delete=True) == {"sub/": "failed", "b.txt": "unchanged"}
    assert place.contents() == {"sub/a.txt": b"a", "b.txt": b"b"}


def test_the_command_counts_what_it_did(place: Place) -> None:
    """A second call has nothing to do; --check ends with 1 if something is to do."""
    place.write(**{"a.txt": "a"})
    place.bucket.blob("kept/old.txt").upload_from_string("old")
    arguments = (str(place.folder), "--prefix", "/kept", "--delete")
    assert command(*arguments, "--check").exit_code == 1
    first = command(*arguments)
    assert (first.exit_code, first.stdout) == (
        0,
        "uploaded: 1, deleted: 1, unchanged: 0, failed: 0\n",
    )
    assert command(*arguments).stdout == "uploaded: 0, deleted: 0, unchanged: 1, failed: 0\n"
    assert command(*arguments, "--check").exit_code == 0
    assert place.contents() == {"kept/a.txt": b"a"}


def test_wrong_input_is_an_error_that_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is none, a prefix that no object can have, a bucket that does not exist."""
    place.write(**{"a.txt": "a"})
    missing = command(str(place.folder / "missing"))
    assert (missing.exit_code, "does not exist" in missing.stderr) == (2, True)
    prefix = command(str(place.folder), "--prefix", "a\nb")
    assert (prefix.exit_code, "line break" in prefix.stderr) == (2, True)
    monkeypatch.setenv("DOCUMENTS_BUCKET", "no-such-bucket")
    load.cache_clear()
    bucket = command(str(place.folder))
    assert (bucket.exit_code, "there is no bucket no-such-bucket" in bucket.stderr) == (1, True)
    with pytest.raises(NotFound):
        place.bucket.client.get_bucket("no-such-bucket")


def test_no_more_tasks_are_taken_than_are_worked_on() -> None:
    """A listing is read as its files are compared."""
    left = iter(range(100_000))
    done = in_parallel(partial(int, number) for number in left)
    assert next(done) == 0
    assert next(left) <= 2 * uploading._WAITING
