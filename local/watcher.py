"""
Keep the bucket equal to the drop folder local/bucket/, as far as the folder is concerned.

What is put there is uploaded, what is changed is uploaded again, what is removed is deleted from
the bucket; a sub-folder is a prefix of the object's name. What other clients uploaded is left
alone. Hidden and temporary files are not taken, links are not followed.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

import watchfiles

from admin.folder_sync import FileState, in_parallel, matches, name_problem, scan, upload_file
from shared.bucket import DocumentBucket
from shared.errors import FileChanged, KaydangError, ObjectChanged
from shared.values import ObjectVersion

SETTLING_SECONDS = 0.5
# Nothing else tells that a failed upload should be tried again, or that a file has settled.
_TICK_MILLISECONDS = 250
_FIRST_BACKOFF_SECONDS = 1
_LONGEST_BACKOFF_SECONDS = 30

log = logging.getLogger("watcher")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """An object that came from the folder: the file it was made of, and what it became."""

    seen: FileState
    generation: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now; *unsettled* names are to be looked at again."""

    uploads: list[str]
    deletes: list[str]
    unsettled: set[str]


def plan(
    files: Mapping[str, FileState],
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


@dataclass(slots=True)
class Watcher:
    """Uploads and deletes; its memory of what it uploaded stands in *state_file*."""

    folder: Path
    bucket: DocumentBucket
    state_file: Path
    uploaded: dict[str, Uploaded] = field(default_factory=dict)
    _files: dict[str, FileState] = field(default_factory=dict)
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
                    self.uploaded[name] = Uploaded(FileState(**entry["seen"]), entry["generation"])
        objects = {version.name: version for version in self.bucket.list()}
        files = self._scan()
        for name, seen in files.items():
            version = objects.get(name)
            known = self.uploaded.get(name)
            if version is None:
                self.uploaded.pop(name, None)
            elif _is_held(version, self.folder / name, seen):
                self.uploaded[name] = Uploaded(seen, version.generation)
            elif known is None or known.seen != seen:
                self.uploaded.pop(name, None)
            elif version.generation != known.generation:
                log.info("%r was replaced by someone else and is not uploaded again", name)
        # Whatever was replaced or deleted by others meanwhile is theirs.
        for name in self.uploaded.keys() - files.keys():
            version = objects.get(name)
            if version is None or version.generation != self.uploaded[name].generation:
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
        files = self._scan()
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
            ready = [
                name
                for name in names
                if name not in self._refused and self._retry_at.get(name, 0) <= now
            ]
            outcomes = in_parallel(partial(_attempt, act, name) for name in ready)
            for name, error in zip(ready, outcomes, strict=True):
                if isinstance(error, FileNotFoundError | FileChanged):
                    continue  # the next scan says how
                if error is not None:
                    self._come_back(name, error)
                    continue
                changed = True
                self._retry_at.pop(name, None)
                self._failures.pop(name, None)
        if changed:
            self._save()
        return bool(due.unsettled or self._retry_at or changed)

    def _scan(self) -> dict[str, FileState]:
        """Return the files of the folder; what cannot be looked at is taken to be as it was."""
        found = scan(self.folder)
        for folder, reason in found.unread.items():
            log.warning("cannot read folder %r: %s", folder, reason)
        unread = tuple(f"{folder}/" for folder in found.unread)
        kept = {
            name: known.seen for name, known in self.uploaded.items() if name.startswith(unread)
        }
        return kept | found.files

    def _upload(self, name: str) -> None:
        if reason := name_problem(name):
            log.warning("%r is not uploaded: %s", name, reason)
            self._refused.add(name)
            return
        seen = self._files[name]
        version = upload_file(self.folder / name, self.bucket, name=name, seen=seen)
        self.uploaded[name] = Uploaded(seen, version.generation)
        log.info("uploaded %r, generation %s, %d bytes", name, version.generation, seen.size)

    def _delete(self, name: str) -> None:
        known = self.uploaded[name]
        try:
            self.bucket.delete(name, if_generation=known.generation)
            log.info("deleted %r", name)
        except ObjectChanged:
            log.info("%r was replaced by someone else and stays", name)
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


def _is_held(version: ObjectVersion, path: Path, seen: FileState) -> bool:
    try:
        return matches(version, path, size=seen.size)
    except OSError:
        return False  # the upload says why


def _attempt(act: Callable[[str], None], name: str) -> Exception | None:
    """Return how it failed."""
    try:
        act(name)
    except (KaydangError, OSError) as error:
        return error
    return None


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
