"""
Bring a folder into the bucket: upload what differs, and nothing else.

The command `kaydangpt upload`, the watcher of `make run` and the benchmark use it.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

import google_crc32c

from shared.bucket import DocumentBucket
from shared.errors import FileChanged, Misconfigured, ObjectChanged, StorageUnavailable
from shared.runtime.tracing import span
from shared.values import ObjectVersion, is_junk

T = TypeVar("T")

AT_ONCE = 8
# What waits for a thread, so that a folder of a million files takes no memory for each.
_WAITING = 8 * AT_ONCE
_LONGEST_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming
_HASHED_BYTES = 1 << 20
_TEMPORARY_SUFFIXES = (".crdownload", ".part", ".partial", ".swp", ".swx", ".tmp", "~")
_TEMPORARY_PREFIXES = (".", "~$")
_EMACS_SAVES = re.compile(r"#.*#", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FileState:
    """The attributes of a file that change with its content."""

    size: int
    modified_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Scan:
    """
    The files of a folder that belong in the bucket, by their names relative to it.

    Attributes:
        unread: Folders that could not be read, with the reason; their content is unknown.
    """

    files: dict[str, FileState]
    unread: dict[str, str]


@dataclass(frozen=True, slots=True)
class SyncResult:
    """
    The outcome for one object.

    Attributes:
        kind: "different" and "superfluous" are what a check reports instead of uploading and
            deleting.
        generation: That now in the bucket; 0 if there is none, or none is known.
        reason: Why it failed.
    """

    name: str
    kind: Literal["unchanged", "uploaded", "deleted", "different", "superfluous", "failed"]
    generation: int = 0
    reason: str = ""


def upload_folder(
    folder: Path,
    bucket: DocumentBucket,
    *,
    prefix: str = "",
    delete: bool = False,
    check: bool = False,
    renew: bool = False,
) -> Iterator[SyncResult]:
    """
    Make the objects below *prefix* equal to the files of *folder*; yield the outcome of each.

    The bucket is listed once. A file is uploaded where there is no object of its name or one of
    other bytes, and only while the bucket still holds what the listing said: of two writers of
    the same object, neither silently undoes the other's work. An object's own metadata stay.
    After any interruption the next call goes on.

    Args:
        prefix: Begins the name of each object; "" or ending in "/".
        delete: Also delete objects that have no file. Those whose names no file would be taken
            under, and those in folders that could not be read, stay.
        check: Only compare.
        renew: Upload unchanged files too.

    Raises:
        Misconfigured: There is no such bucket, or *delete* would leave nothing in it.
        NotPermitted: This account may not do that to the bucket.
        StorageUnavailable: The bucket could not be listed.
    """
    found = scan(folder)
    if delete and not found.files:
        # An unmounted disk looks like this.
        raise Misconfigured(f"{folder} has no files, and --delete would delete every object there")
    # What is below a sub-folder that could not be read is not missing.
    unread = tuple(f"{name}/" for name in found.unread if name)

    def tasks() -> Iterator[Callable[[], SyncResult]]:
        left = dict(found.files)
        for version in bucket.list(prefix=prefix):
            name = version.name.removeprefix(prefix)
            seen = left.pop(name, None)
            if seen is not None:
                yield partial(sync_one, name, seen, version)
            elif delete and is_included(name) and not name.startswith(unread):
                yield partial(remove, name, version)
        for name, seen in left.items():
            yield partial(sync_one, name, seen, None)

    def sync_one(name: str, seen: FileState, known: ObjectVersion | None) -> SyncResult:
        if reason := name_problem(prefix + name):
            return SyncResult(prefix + name, "failed", reason=reason)
        generation = known.generation if known else 0
        path = folder / name
        try:
            if known is not None and not renew and matches(known, path, size=seen.size):
                return SyncResult(prefix + name, "unchanged", generation)
            if check:
                return SyncResult(prefix + name, "different", generation)
            stored = upload_file(
                path,
                bucket,
                name=prefix + name,
                seen=seen,
                metadata=known.metadata if known else None,
                if_generation=generation,
            )
        except FileNotFoundError:
            return SyncResult(prefix + name, "failed", reason="the file was removed meanwhile")
        except (OSError, FileChanged, ObjectChanged, StorageUnavailable) as error:
            return SyncResult(prefix + name, "failed", reason=_describe(error))
        return SyncResult(stored.name, "uploaded", stored.generation)

    def remove(name: str, known: ObjectVersion) -> SyncResult:
        # A link, or a file that came after the scan.
        if os.path.lexists(folder / name):
            return SyncResult(known.name, "unchanged", known.generation)
        if check:
            return SyncResult(known.name, "superfluous", known.generation)
        try:
            bucket.delete(known.name, if_generation=known.generation)
        except (ObjectChanged, StorageUnavailable) as error:
            return SyncResult(known.name, "failed", reason=_describe(error))
        return SyncResult(known.name, "deleted")

    for name, reason in found.unread.items():
        yield SyncResult(
            f"{prefix}{name}/", "failed", reason=f"the folder cannot be read: {reason}"
        )
    yield from in_parallel(tasks())


def in_parallel(tasks: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Run several *tasks* at a time; yield their results in order."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(threads.submit(task))
                if len(waiting) >= _WAITING:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def upload_file(
    path: Path,
    bucket: DocumentBucket,
    *,
    name: str,
    seen: FileState,
    metadata: Mapping[str, str] | None = None,
    if_generation: int | None = None,
) -> ObjectVersion:
    """
    Upload a file that is still as it was *seen*; return the object that it became.

    Args:
        if_generation: Only if this is the live generation; 0 for none, None for any.

    Raises:
        FileNotFoundError: The file was removed.
        FileChanged: It is another one than was seen, or became another one meanwhile.
        ObjectChanged: The live generation is another one, and has other bytes.
        NotPermitted: This account may not write objects.
        StorageUnavailable: Storage did not answer.
    """
    with path.open("rb") as content, span("upload", {"bytes": seen.size}):
        if _look(content) != seen:
            raise FileChanged("the file changes")
        try:
            stored = bucket.upload_file(
                name,
                content,
                size=seen.size,
                content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
                metadata=metadata,
                if_generation=if_generation,
            )
        except ObjectChanged:
            # An answer that was lost leaves our own bytes behind, and the client tries again.
            stored_already = bucket.look(name)
            if stored_already is None or not matches(stored_already, path, size=seen.size):
                raise
            return stored_already
        if _look(content) != seen:
            raise FileChanged("the file changed while it was being uploaded")
    return stored


def matches(version: ObjectVersion, path: Path, *, size: int) -> bool:
    """Return whether an object has the bytes of a file; a composite object has no MD5."""
    if version.size != size:
        return False
    if version.md5:
        return _digest(path, hashlib.md5(usedforsecurity=False)) == version.md5
    checksum: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call] # no annotations
    return bool(version.crc32c) and _digest(path, checksum) == version.crc32c


def scan(folder: Path) -> Scan:
    """
    Find the regular files under *folder* that belong in the bucket.

    Hidden and temporary files are not taken, links are not followed.

    Raises:
        OSError: The folder itself cannot be read.
    """
    files: dict[str, FileState] = {}
    unread: dict[str, str] = {}
    waiting = [(folder, "")]
    while waiting:
        current, prefix = waiting.pop()
        try:
            entries = list(os.scandir(current))
        except FileNotFoundError:
            if current == folder:
                raise
            continue
        except OSError as error:
            if current == folder:
                raise
            unread[prefix.removesuffix("/")] = _describe(error)
            continue
        for entry in entries:
            name = prefix + entry.name
            if not is_included(name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), name + "/"))
                elif entry.is_file(follow_symlinks=False):
                    files[name] = _seen(entry.stat(follow_symlinks=False))
            except FileNotFoundError:
                continue
    return Scan(files, unread)


def is_included(name: str) -> bool:
    """Return whether a file of this name, relative to the folder, belongs in the bucket."""
    parts = name.split("/")
    if is_junk(name) or any(part.startswith(_TEMPORARY_PREFIXES) for part in parts):
        return False
    last = parts[-1]
    return not last.lower().endswith(_TEMPORARY_SUFFIXES) and not _EMACS_SAVES.fullmatch(last)


def name_problem(name: str) -> str:
    """Return why no object can have this name, nothing when one can."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if len(encoded) > _LONGEST_NAME_BYTES:
        return f"its name is longer than {_LONGEST_NAME_BYTES} bytes"
    if "\r" in name or "\n" in name:
        return "its name contains a line break"
    return ""


def _look(content: IO[bytes]) -> FileState:
    return _seen(os.fstat(content.fileno()))


def _seen(status: os.stat_result) -> FileState:
    return FileState(status.st_size, status.st_mtime_ns, status.st_ino)


def _digest(path: Path, digest: Any) -> str:
    """Return the digest of a file in the form of Cloud Storage."""
    with path.open("rb", buffering=0) as content:
        while block := content.read(_HASHED_BYTES):
            digest.update(block)
    return base64.b64encode(digest.digest()).decode()


def _describe(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, StorageUnavailable):
        return f"Cloud Storage refused it ({error})"
    return str(error)
