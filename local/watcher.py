"""
Keep the bucket equal to the drop folder local/bucket/, as far as the folder is concerned.

    python -m local.watcher

What is put there is uploaded, what is changed is uploaded again, what is removed is deleted from
the bucket; a sub-folder is a prefix of the object's name. What other clients uploaded is left
alone. Hidden and temporary files are not taken, links are not followed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import mimetypes
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event

import click
import watchfiles
from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from requests.exceptions import RequestException

from shared.tracing import object_metadata, set_up_tracing, span

ROOT = Path(__file__).resolve().parent.parent
SETTLING_SECONDS = 0.5
# Nothing else tells that a failed upload should be tried again, or that a file has settled.
_TICK_MILLISECONDS = 250
_FIRST_BACKOFF_SECONDS = 1
_LONGEST_BACKOFF_SECONDS = 30
_LONGEST_NAME_BYTES = 1024  # https://cloud.google.com/storage/docs/objects#naming
_TEMPORARY_SUFFIXES = (".crdownload", ".part", ".partial", ".swp", ".swx", ".tmp", "~")
_TEMPORARY_PREFIXES = (".", "~$")
_EMACS_SAVES = re.compile(r"#.*#", re.DOTALL)

log = logging.getLogger("watcher")


class _Changed(Exception):
    """A file is no longer what the scan saw."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What tells one content of a file from the next without reading it."""

    size: int
    modified_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An object that came from the folder: the file it was made of, and what it became."""

    seen: Seen
    md5: str
    generation: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now; *unsettled* names are to be looked at again."""

    uploads: list[str]
    deletes: list[str]
    unsettled: set[str]


def plan(
    files: Mapping[str, Seen],
    *,
    uploaded: Mapping[str, Uploaded],
    since: Mapping[str, float],
    now: float,
) -> Plan:
    """
    Compare the folder with what was uploaded of it.

    Args:
        since: When each name was first seen as it is now, on the clock of *now*. A file that is
            still written to, or gone for a moment while an editor replaces it, is left for later.
    """
    uploads, deletes, unsettled = [], [], set()
    for name in sorted(files.keys() | uploaded.keys()):
        seen = files.get(name)
        known = uploaded.get(name)
        if known is not None and seen == known.seen:
            continue
        if now - since[name] < SETTLING_SECONDS:
            unsettled.add(name)
        elif seen is None:
            deletes.append(name)
        else:
            uploads.append(name)
    return Plan(uploads, deletes, unsettled)


def is_taken(name: str) -> bool:
    """Tell whether a file of this name, relative to the folder, belongs into the bucket."""
    parts = name.split("/")
    if any(part.startswith(_TEMPORARY_PREFIXES) for part in parts):
        return False
    last = parts[-1]
    return not last.lower().endswith(_TEMPORARY_SUFFIXES) and not _EMACS_SAVES.fullmatch(last)


def scan(folder: Path) -> dict[str, Seen]:
    """Return the regular files under *folder* that belong into the bucket."""
    files: dict[str, Seen] = {}
    waiting = [(folder, "")]
    while waiting:
        current, prefix = waiting.pop()
        try:
            entries = list(os.scandir(current))
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            if current == folder:
                raise
            log.warning("cannot read folder %r: %s", prefix, error)
            continue
        for entry in entries:
            name = prefix + entry.name
            if not is_taken(name):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((Path(entry.path), name + "/"))
                elif entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    files[name] = Seen(status.st_size, status.st_mtime_ns, status.st_ino)
            except FileNotFoundError:
                continue
    return files


@dataclass(slots=True)
class Watcher:
    """Uploads and deletes; its memory of what it uploaded stands in *state_file*."""

    folder: Path
    bucket: storage.Bucket
    state_file: Path
    uploaded: dict[str, Uploaded] = field(default_factory=dict)
    _files: dict[str, Seen] = field(default_factory=dict)
    _since: dict[str, float] = field(default_factory=dict)
    _retry_at: dict[str, float] = field(default_factory=dict)
    _failures: dict[str, int] = field(default_factory=dict)
    _refused: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Find out what of the folder the bucket holds already."""
        if self.state_file.exists():
            state = json.loads(self.state_file.read_text())
            if state["bucket"] == self.bucket.name:
                for name, entry in state["uploaded"].items():
                    self.uploaded[name] = Uploaded(
                        Seen(**entry["seen"]), entry["md5"], entry["generation"]
                    )
        objects = {blob.name: blob for blob in self.bucket.list_blobs()}
        files = scan(self.folder)
        for name, seen in files.items():
            blob = objects.get(name)
            known = self.uploaded.get(name)
            if blob is None:
                self.uploaded.pop(name, None)
            elif blob.md5_hash == _md5(self.folder / name):
                self.uploaded[name] = Uploaded(seen, blob.md5_hash, int(blob.generation))
            elif known is None or known.seen != seen:
                self.uploaded.pop(name, None)
            elif int(blob.generation) != known.generation:
                log.info("%r was replaced by somebody else and is not uploaded again", name)
        # Whatever was replaced or deleted by others meanwhile is theirs.
        for name in self.uploaded.keys() - files.keys():
            blob = objects.get(name)
            if blob is None or int(blob.generation) != self.uploaded[name].generation:
                del self.uploaded[name]
        self._save()
        self._files = files
        # What has been there for a while needs not settle first.
        now, clock = time.time(), time.monotonic()
        for name in files.keys() | self.uploaded.keys():
            age = now - files[name].modified_ns / 1e9 if name in files else SETTLING_SECONDS
            self._since[name] = clock - max(age, 0)

    def step(self) -> bool:
        """Do what is due; return whether something is left for later."""
        now = time.monotonic()
        files = scan(self.folder)
        for name in files.keys() | self._files.keys():
            if files.get(name) != self._files.get(name) or name not in self._since:
                self._since[name] = now
                self._retry_at.pop(name, None)
        self._files = files
        due = plan(files, uploaded=self.uploaded, since=self._since, now=now)
        self._retry_at = {
            name: at for name, at in self._retry_at.items() if name in {*due.uploads, *due.deletes}
        }
        changed = False
        for names, act in ((due.uploads, self._upload), (due.deletes, self._delete)):
            for name in names:
                if name in self._refused or self._retry_at.get(name, 0) > now:
                    continue
                try:
                    act(name)
                except _Changed:
                    continue  # the next scan says how
                except (GoogleAPIError, DataCorruption, RequestException, OSError) as error:
                    self._come_back(name, error)
                else:
                    changed = True
                    self._retry_at.pop(name, None)
                    self._failures.pop(name, None)
        if changed:
            self._save()
        return bool(due.unsettled or self._retry_at or changed)

    def _upload(self, name: str) -> None:
        if reason := _unusable(name):
            log.warning("%r is not uploaded: %s", name, reason)
            self._refused.add(name)
            return
        path = self.folder / name
        seen = self._files[name]
        blob = self.bucket.blob(name)
        content_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        try:
            content = path.open("rb")
        except FileNotFoundError:
            raise _Changed from None
        with content:
            status = os.fstat(content.fileno())
            if Seen(status.st_size, status.st_mtime_ns, status.st_ino) != seen:
                raise _Changed
            try:
                with span("upload", {"bytes": seen.size}):
                    blob.metadata = object_metadata() or None
                    blob.upload_from_file(
                        content, size=seen.size, content_type=content_type, checksum="md5"
                    )
            except ValueError as error:  # the client's word for a file that became shorter
                raise _Changed from error
        self.uploaded[name] = Uploaded(seen, str(blob.md5_hash), int(blob.generation))
        log.info("uploaded %r, generation %s, %d bytes", name, blob.generation, seen.size)

    def _delete(self, name: str) -> None:
        known = self.uploaded[name]
        try:
            self.bucket.blob(name).delete(if_generation_match=known.generation)
            log.info("deleted %r", name)
        except NotFound:
            log.info("%r was deleted already", name)
        except PreconditionFailed:
            log.info("%r was replaced by somebody else and stays", name)
        del self.uploaded[name]

    def _come_back(self, name: str, error: Exception) -> None:
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        delay = min(_FIRST_BACKOFF_SECONDS * 2 ** (failures - 1), _LONGEST_BACKOFF_SECONDS)
        self._retry_at[name] = time.monotonic() + delay
        log.warning("%r: %s; tried again in %d s", name, error, delay)

    def _save(self) -> None:
        uploaded = {name: asdict(entry) for name, entry in self.uploaded.items()}
        text = json.dumps({"bucket": self.bucket.name, "uploaded": uploaded})
        unfinished = self.state_file.with_name(self.state_file.name + ".new")
        unfinished.write_text(text)
        unfinished.replace(self.state_file)


def _unusable(name: str) -> str:
    """Return why no object can have this name, nothing when one can."""
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if len(encoded) > _LONGEST_NAME_BYTES:
        return f"its name is longer than {_LONGEST_NAME_BYTES} bytes"
    if "\r" in name or "\n" in name:
        return "its name holds a line break"
    return ""


def _md5(path: Path) -> str:
    """Return the MD5 of a file as Cloud Storage tells it."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=ROOT / "local" / "bucket")
@click.option("--state", type=click.Path(path_type=Path), default=ROOT / ".local" / "watcher.json")
@click.option("--bucket", envvar="DOCUMENTS_BUCKET", show_envvar=True, required=True)
@click.option("--project", envvar="GOOGLE_CLOUD_PROJECT", show_envvar=True, required=True)
def main(folder: Path, state: Path, bucket: str, project: str) -> None:
    """Upload what is put into a folder, delete from the bucket what is removed from it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    set_up_tracing("watcher")
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    watcher = Watcher(folder, storage.Client(project=project).bucket(bucket), state)
    watcher.begin()
    log.info("watching %s", folder)
    run(watcher, stop=Event())


def run(watcher: Watcher, *, stop: Event) -> None:
    """Follow the folder until *stop* is set."""
    busy = watcher.step()
    for changes in watchfiles.watch(
        watcher.folder,
        watch_filter=None,
        stop_event=stop,
        rust_timeout=_TICK_MILLISECONDS,
        yield_on_timeout=True,
    ):
        if changes or busy:
            busy = watcher.step()


if __name__ == "__main__":
    main()
