"""
Keep buckets, objects and the notifications they cause in one folder.

metadata.sqlite holds everything but the contents, which are files of content/ under random
names. A change of an object and the notifications of it are one transaction, made after the
content is on disk under its final name: a killed process leaves at worst a content file that
no row names, and the next start removes it.

Everything here is synchronous and safe to call from several threads.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c

Json = dict[str, Any]

# https://cloud.google.com/storage/docs/objects#naming
MAX_NAME_BYTES = 1024
# https://cloud.google.com/storage/quotas#objects
MAX_CUSTOM_METADATA_BYTES = 8 * 1024
# https://cloud.google.com/storage/docs/resumable-uploads#session-uris
SESSION_LIFETIME_SECONDS = 7 * 24 * 3600
HASH_BLOCK_BYTES = 1 << 20

# What a client may set on an object: https://cloud.google.com/storage/docs/json_api/v1/objects
WRITABLE_OBJECT_FIELDS = frozenset(
    {
        "cacheControl",
        "contentDisposition",
        "contentEncoding",
        "contentLanguage",
        "contentType",
        "customTime",
        "eventBasedHold",
        "metadata",
        "storageClass",
        "temporaryHold",
    }
)
# What the server says about a bucket and a client cannot set.
_FIXED_BUCKET_FIELDS = frozenset(
    {
        "etag",
        "generation",
        "id",
        "kind",
        "metageneration",
        "name",
        "projectNumber",
        "selfLink",
        "timeCreated",
        "updated",
    }
)
EVENT_TYPES = (
    "OBJECT_FINALIZE",
    "OBJECT_METADATA_UPDATE",
    "OBJECT_DELETE",
    "OBJECT_ARCHIVE",
)
# Links in a notification are the cloud's own, whatever address a client used here.
CLOUD_URL = "https://www.googleapis.com"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS buckets (
    name TEXT PRIMARY KEY,
    metageneration INTEGER NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    fields TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL REFERENCES buckets (name),
    name TEXT NOT NULL,
    generation INTEGER NOT NULL,
    metageneration INTEGER NOT NULL,
    live INTEGER NOT NULL,
    content TEXT NOT NULL,
    size INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    crc32c TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    deleted TEXT,
    fields TEXT NOT NULL,
    PRIMARY KEY (bucket, name, generation)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS live_objects ON objects (bucket, name) WHERE live = 1;
CREATE TABLE IF NOT EXISTS last_generation (value INTEGER NOT NULL);
INSERT INTO last_generation SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM last_generation);
CREATE TABLE IF NOT EXISTS notifications (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL REFERENCES buckets (name) ON DELETE CASCADE,
    fields TEXT NOT NULL
);
-- What is still to be published.
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS resumable_uploads (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    name TEXT NOT NULL,
    fields TEXT NOT NULL,
    preconditions TEXT NOT NULL,
    origin TEXT NOT NULL,
    started REAL NOT NULL,
    finished_generation INTEGER
);
"""


class StorageError(Exception):
    """A request that the service refuses; *status* is the HTTP status."""

    status = 400
    reason = "invalid"


class Invalid(StorageError):
    """The request breaks a rule of the API."""


class NotFound(StorageError):
    """There is no such bucket, object, generation, notification or upload."""

    status = 404
    reason = "notFound"


class Conflict(StorageError):
    """The bucket's name is taken, or it is not empty."""

    status = 409
    reason = "conflict"


class PreconditionFailed(StorageError):
    """The object is not in the state that the request asks for."""

    status = 412
    reason = "conditionNotMet"


class NotModified(StorageError):
    """The object is in just the state that the request wants to be another."""

    status = 304
    reason = "notModified"


@dataclass(frozen=True, slots=True)
class Preconditions:
    """
    What must hold before a request is carried out; None asks nothing.

    A generation of 0 means that there is no live object.
    https://cloud.google.com/storage/docs/request-preconditions
    """

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, generation: int, metageneration: int) -> None:
        for wanted, actual in (
            (self.generation_match, generation),
            (self.metageneration_match, metageneration),
        ):
            if wanted is not None and wanted != actual:
                raise PreconditionFailed(
                    "At least one of the pre-conditions you specified did not hold."
                )
        for unwanted, actual in (
            (self.generation_not_match, generation),
            (self.metageneration_not_match, metageneration),
        ):
            if unwanted is not None and unwanted == actual:
                raise NotModified("Not Modified")


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes on disk that an object can be made of; the hashes are base64, as in the API."""

    key: str
    size: int
    md5: str
    crc32c: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One generation of an object."""

    bucket: str
    name: str
    generation: int
    metageneration: int
    live: bool
    content: Content
    created: str
    updated: str
    deleted: str | None
    fields: Json


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing; next_page_token is '' on the last."""

    objects: list[StoredObject]
    prefixes: list[str]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A resumable upload; *origin* is the browser page's that it was started for, or ''."""

    id: str
    bucket: str
    name: str
    fields: Json
    preconditions: Preconditions
    origin: str
    finished_generation: int | None


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification to be published."""

    id: int
    topic: str
    attributes: dict[str, str]
    body: bytes


class ObjectStore:
    """Buckets and objects in *folder*; *notified* is called after a notification was stored."""

    def __init__(self, folder: Path, *, notified: Callable[[], None]) -> None:
        self._notified = notified
        self._contents = folder / "content"
        self._uploads = folder / "uploads"
        self._contents.mkdir(parents=True, exist_ok=True)
        self._uploads.mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            folder / "metadata.sqlite", isolation_level=None, check_same_thread=False
        )
        self._database.row_factory = sqlite3.Row
        self._database.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;"
            + _SCHEMA
        )
        self._remove_leftovers()

    def close(self) -> None:
        with self._lock:
            self._database.close()

    # Buckets

    def insert_bucket(self, name: str, fields: Json) -> Json:
        if not 3 <= len(name) <= 222 or "/" in name:
            raise Invalid(f"Invalid bucket name: {name!r}")
        now = _now()
        kept = {key: value for key, value in fields.items() if key not in _FIXED_BUCKET_FIELDS}
        with self._transaction():
            try:
                self._database.execute(
                    "INSERT INTO buckets (name, metageneration, created, updated, fields)"
                    " VALUES (?, 1, ?, ?, ?)",
                    (name, now, now, json.dumps(kept)),
                )
            except sqlite3.IntegrityError:
                raise Conflict(
                    "Your previous request to create the named bucket succeeded"
                    " and you already own it."
                ) from None
            return self._bucket(name)

    def bucket(self, name: str) -> Json:
        with self._lock:
            return self._bucket(name)

    def buckets(self, prefix: str) -> list[Json]:
        with self._lock:
            names = self._database.execute("SELECT name FROM buckets ORDER BY name").fetchall()
            return [self._bucket(name) for (name,) in names if name.startswith(prefix)]

    def patch_bucket(self, name: str, changes: Json, preconditions: Preconditions) -> Json:
        with self._transaction():
            bucket = self._bucket(name)
            preconditions.check(0, int(bucket["metageneration"]))
            fields = {
                key: value for key, value in bucket.items() if key not in _FIXED_BUCKET_FIELDS
            }
            _merge(
                fields,
                {key: value for key, value in changes.items() if key not in _FIXED_BUCKET_FIELDS},
            )
            self._database.execute(
                "UPDATE buckets SET fields = ?, updated = ?, metageneration = metageneration + 1"
                " WHERE name = ?",
                (json.dumps(fields), _now(), name),
            )
            return self._bucket(name)

    def delete_bucket(self, name: str) -> None:
        with self._transaction():
            self._bucket(name)
            if self._database.execute(
                "SELECT 1 FROM objects WHERE bucket = ? LIMIT 1", (name,)
            ).fetchone():
                raise Conflict("The bucket you tried to delete is not empty.")
            self._database.execute("DELETE FROM buckets WHERE name = ?", (name,))

    # Contents

    def new_content(self) -> tuple[str, Path]:
        """Return a key and the path to write the bytes to, before keep_content."""
        key = secrets.token_hex(16)
        return key, self._uploads / key

    def keep_content(self, key: str) -> Content:
        """Hash what was written for *key* and put it, synced, where it stays."""
        temporary = self._uploads / key
        md5 = hashlib.md5(usedforsecurity=False)
        crc32c: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call] # no annotations
        size = 0
        with temporary.open("r+b") as file:
            while block := file.read(HASH_BLOCK_BYTES):
                md5.update(block)
                crc32c.update(block)
                size += len(block)
            os.fsync(file.fileno())
        path = self._content_path(key)
        path.parent.mkdir(exist_ok=True)
        temporary.rename(path)
        _sync_folder(path.parent)
        return Content(
            key=key,
            size=size,
            md5=base64.b64encode(md5.digest()).decode(),
            crc32c=base64.b64encode(crc32c.digest()).decode(),
        )

    def open_content(self, content: Content) -> int:
        """
        Return a file descriptor to read *content* from.

        Raises:
            NotFound: The object was deleted a moment ago.
        """
        try:
            return os.open(self._content_path(content.key), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound("The object is gone") from None

    def drop_content(self, key: str) -> None:
        """Remove bytes that became no object; what is gone already is fine."""
        (self._uploads / key).unlink(missing_ok=True)
        self._content_path(key).unlink(missing_ok=True)

    # Objects

    def create_object(
        self,
        bucket: str,
        name: str,
        *,
        content: Content,
        fields: Mapping[str, Any],
        preconditions: Preconditions,
        upload_id: str | None = None,
    ) -> StoredObject:
        """
        Make *content* the live object of that name, and tell what it replaces.

        Raises:
            Invalid: The name is not allowed, or the content is not what *fields* say it is.
            NotFound: There is no such bucket.
            PreconditionFailed: The live object is another one.
        """
        try:
            check_object_name(name)
            _check_hashes(fields, content)
            _check_custom_metadata(fields)
            with self._transaction():
                versioned = _is_versioned(self._bucket(bucket))
                previous = self._live_object(bucket, name)
                preconditions.check(*_state(previous))
                generation = self._next_generation()
                if previous is not None:
                    self._retire(previous, versioned=versioned, replaced_by=generation)
                now = _now()
                created = StoredObject(
                    bucket=bucket,
                    name=name,
                    generation=generation,
                    metageneration=1,
                    live=True,
                    content=content,
                    created=now,
                    updated=now,
                    deleted=None,
                    fields=_writable(fields),
                )
                self._store_object(created)
                if upload_id is not None:
                    self._database.execute(
                        "UPDATE resumable_uploads SET finished_generation = ? WHERE id = ?",
                        (generation, upload_id),
                    )
                extra = {"overwroteGeneration": str(previous.generation)} if previous else {}
                self._notify("OBJECT_FINALIZE", created, extra)
        except StorageError:
            self.drop_content(content.key)
            if upload_id is not None:
                self._forget_upload(upload_id)
            raise
        if previous is not None and not versioned:
            self.drop_content(previous.content.key)
        self._notified()
        return created

    def object(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None = None,
        preconditions: Preconditions | None = None,
    ) -> StoredObject:
        """
        Return the live object, or exactly *generation* of it.

        Raises:
            NotFound: There is no such object or generation.
            PreconditionFailed, NotModified: It is not in the state asked for.
        """
        with self._lock:
            return self._object(bucket, name, generation, preconditions or Preconditions())

    def patch_object(
        self,
        bucket: str,
        name: str,
        *,
        changes: Json,
        replace: bool,
        generation: int | None,
        preconditions: Preconditions,
    ) -> StoredObject:
        """Change the metadata of an object; *replace* forgets what *changes* do not name."""
        with self._transaction():
            stored = self._object(bucket, name, generation, preconditions)
            fields = {} if replace else dict(stored.fields)
            _merge(fields, _writable(changes))
            _check_custom_metadata(fields)
            self._database.execute(
                "UPDATE objects SET fields = ?, updated = ?, metageneration = metageneration + 1"
                " WHERE bucket = ? AND name = ? AND generation = ?",
                (json.dumps(fields), _now(), bucket, name, stored.generation),
            )
            changed = self._object(bucket, name, stored.generation, Preconditions())
            self._notify("OBJECT_METADATA_UPDATE", changed, {})
        self._notified()
        return changed

    def delete_object(
        self,
        bucket: str,
        name: str,
        *,
        generation: int | None,
        preconditions: Preconditions,
    ) -> None:
        """Delete a generation for good, or the live object (which versioning keeps)."""
        with self._transaction():
            versioned = _is_versioned(self._bucket(bucket)) and generation is None
            stored = self._object(bucket, name, generation, preconditions)
            self._retire(stored, versioned=versioned, replaced_by=None)
        if not versioned:
            self.drop_content(stored.content.key)
        self._notified()

    def copy_content(self, source: StoredObject) -> Content:
        """Return the content of *source* under a key of its own, without copying bytes."""
        key = secrets.token_hex(16)
        path = self._content_path(key)
        path.parent.mkdir(exist_ok=True)
        try:
            path.hardlink_to(self._content_path(source.content.key))
        except FileNotFoundError:
            raise NotFound("The object is gone") from None
        except OSError:  # a file system without hard links
            shutil.copyfile(self._content_path(source.content.key), path)
        _sync_folder(path.parent)
        return Content(
            key=key,
            size=source.content.size,
            md5=source.content.md5,
            crc32c=source.content.crc32c,
        )

    def join_contents(self, sources: Sequence[StoredObject]) -> Content:
        """Return the contents of *sources*, one after the other, as one."""
        key, path = self.new_content()
        try:
            with path.open("wb") as joined:
                for source in sources:
                    with self._content_path(source.content.key).open("rb") as part:
                        shutil.copyfileobj(part, joined)
            return self.keep_content(key)
        except FileNotFoundError:
            self.drop_content(key)
            raise NotFound("The object is gone") from None

    def list_objects(
        self,
        bucket: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        versions: bool = False,
        start: str = "",
        end: str = "",
        max_results: int = 1000,
        page_token: str = "",
    ) -> Listing:
        """
        Return a page of the objects by name (by bytes of UTF-8), versions oldest first.

        With a delimiter, names that hold it after *prefix* are listed as prefixes instead.
        """
        after_name, after_generation, after_prefix = _parse_page_token(page_token)
        objects: list[StoredObject] = []
        prefixes: list[str] = []
        last = ("", 0, "")
        with self._lock:
            self._bucket(bucket)
            rows = self._database.execute(
                "SELECT * FROM objects WHERE bucket = ? AND (live = 1 OR ?)"
                " AND name >= ? AND (name, generation) > (?, ?)"
                " ORDER BY name, generation",
                (
                    bucket,
                    versions,
                    max(prefix.encode(), start.encode(), after_name.encode()).decode(),
                    after_name,
                    after_generation,
                ),
            )
            for row in rows:
                name = row["name"]
                if not name.startswith(prefix) or (end and name.encode() >= end.encode()):
                    break
                if after_prefix and name.startswith(after_prefix):
                    continue
                common = ""
                if delimiter and (found := name.find(delimiter, len(prefix))) >= 0:
                    common = name[: found + len(delimiter)]
                if common and prefixes and prefixes[-1] == common:
                    continue
                if len(objects) + len(prefixes) == max_results:
                    return Listing(objects, prefixes, _format_page_token(*last))
                if common:
                    prefixes.append(common)
                    last = (name, row["generation"], common)
                else:
                    objects.append(_object_from(row))
                    last = (name, row["generation"], "")
        return Listing(objects, prefixes, "")

    # Resumable uploads

    def start_upload(
        self,
        bucket: str,
        name: str,
        *,
        fields: Json,
        preconditions: Preconditions,
        origin: str,
    ) -> Upload:
        check_object_name(name)
        upload = Upload(
            id=secrets.token_hex(16),
            bucket=bucket,
            name=name,
            fields=fields,
            preconditions=preconditions,
            origin=origin,
            finished_generation=None,
        )
        with self._transaction():
            self._bucket(bucket)
            preconditions.check(*_state(self._live_object(bucket, name)))
            self._database.execute(
                "INSERT INTO resumable_uploads"
                " (id, bucket, name, fields, preconditions, origin, started)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    upload.id,
                    bucket,
                    name,
                    json.dumps(fields),
                    json.dumps(
                        [
                            preconditions.generation_match,
                            preconditions.generation_not_match,
                            preconditions.metageneration_match,
                            preconditions.metageneration_not_match,
                        ]
                    ),
                    origin,
                    time.time(),
                ),
            )
        self.upload_path(upload).touch()
        return upload

    def upload(self, upload_id: str) -> Upload:
        with self._lock:
            row = self._database.execute(
                "SELECT * FROM resumable_uploads WHERE id = ?", (upload_id,)
            ).fetchone()
        if row is None:
            raise NotFound("No such upload: it was cancelled, or never started")
        return Upload(
            id=row["id"],
            bucket=row["bucket"],
            name=row["name"],
            fields=json.loads(row["fields"]),
            preconditions=Preconditions(*json.loads(row["preconditions"])),
            origin=row["origin"],
            finished_generation=row["finished_generation"],
        )

    def upload_path(self, upload: Upload) -> Path:
        """Return where the bytes of *upload* are gathered; its size is the upload's offset."""
        return self._uploads / upload.id

    def upload_size(self, upload: Upload) -> int:
        """
        Return how many bytes of *upload* are there.

        Raises:
            NotFound: It was cancelled or refused meanwhile.
        """
        try:
            return self.upload_path(upload).stat().st_size
        except FileNotFoundError:
            raise NotFound("No such upload: it was cancelled or refused") from None

    def cancel_upload(self, upload: Upload) -> None:
        self._forget_upload(upload.id)
        self.upload_path(upload).unlink(missing_ok=True)

    # Notifications

    def insert_notification(self, bucket: str, fields: Json) -> Json:
        topic = str(fields.get("topic", ""))
        if not topic.startswith("//pubsub.googleapis.com/projects/"):
            raise Invalid(f"Invalid Pub/Sub topic: {topic!r}")
        unknown = set(fields.get("event_types") or ()) - set(EVENT_TYPES)
        if unknown:
            raise Invalid(f"Invalid event types: {', '.join(sorted(unknown))}")
        kept = {
            "topic": topic,
            "payload_format": fields.get("payload_format") or "JSON_API_V1",
            **{
                key: fields[key]
                for key in ("event_types", "custom_attributes", "object_name_prefix")
                if fields.get(key)
            },
        }
        with self._transaction():
            self._bucket(bucket)
            cursor = self._database.execute(
                "INSERT INTO notifications (bucket, fields) VALUES (?, ?)",
                (bucket, json.dumps(kept)),
            )
            return self._notification(bucket, str(cursor.lastrowid))

    def notifications(self, bucket: str) -> list[Json]:
        with self._lock:
            self._bucket(bucket)
            return self._notifications(bucket)

    def notification(self, bucket: str, notification_id: str) -> Json:
        with self._lock:
            return self._notification(bucket, notification_id)

    def delete_notification(self, bucket: str, notification_id: str) -> None:
        with self._transaction():
            self._notification(bucket, notification_id)
            self._database.execute(
                "DELETE FROM notifications WHERE bucket = ? AND id = ?",
                (bucket, int(notification_id)),
            )

    def unpublished(self, *, after: int, limit: int) -> list[Notice]:
        """Return what is still to be published, oldest first."""
        with self._lock:
            rows = self._database.execute(
                "SELECT * FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
            ).fetchall()
        return [
            Notice(row["id"], row["topic"], json.loads(row["attributes"]), row["body"])
            for row in rows
        ]

    def mark_published(self, notices: list[Notice]) -> None:
        with self._transaction():
            self._database.executemany(
                "DELETE FROM outbox WHERE id = ?", [(notice.id,) for notice in notices]
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _forget_upload(self, upload_id: str) -> None:
        with self._transaction():
            self._database.execute("DELETE FROM resumable_uploads WHERE id = ?", (upload_id,))

    def _bucket(self, name: str) -> Json:
        row = self._database.execute("SELECT * FROM buckets WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise NotFound("The specified bucket does not exist.")
        return {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "projectNumber": "1",
            "metageneration": str(row["metageneration"]),
            "timeCreated": row["created"],
            "updated": row["updated"],
            "etag": _etag(row["metageneration"]),
            "location": "US",
            "storageClass": "STANDARD",
            **json.loads(row["fields"]),
        }

    def _object(
        self, bucket: str, name: str, generation: int | None, preconditions: Preconditions
    ) -> StoredObject:
        self._bucket(bucket)
        if generation is None:
            found = self._live_object(bucket, name)
        else:
            row = self._database.execute(
                "SELECT * FROM objects WHERE bucket = ? AND name = ? AND generation = ?",
                (bucket, name, generation),
            ).fetchone()
            found = None if row is None else _object_from(row)
        if found is None:
            raise NotFound(f"No such object: {bucket}/{name}")
        preconditions.check(found.generation, found.metageneration)
        return found

    def _live_object(self, bucket: str, name: str) -> StoredObject | None:
        row = self._database.execute(
            "SELECT * FROM objects WHERE bucket = ? AND name = ? AND live = 1", (bucket, name)
        ).fetchone()
        return None if row is None else _object_from(row)

    def _store_object(self, stored: StoredObject) -> None:
        self._database.execute(
            "INSERT INTO objects (bucket, name, generation, metageneration, live, content, size,"
            " md5, crc32c, created, updated, deleted, fields)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stored.bucket,
                stored.name,
                stored.generation,
                stored.metageneration,
                int(stored.live),
                stored.content.key,
                stored.content.size,
                stored.content.md5,
                stored.content.crc32c,
                stored.created,
                stored.updated,
                stored.deleted,
                json.dumps(stored.fields),
            ),
        )

    def _retire(self, stored: StoredObject, *, versioned: bool, replaced_by: int | None) -> None:
        """Archive (versioned) or remove a generation, with its notification."""
        where = (stored.bucket, stored.name, stored.generation)
        now = _now()
        if versioned:
            self._database.execute(
                "UPDATE objects SET live = 0, deleted = ?"
                " WHERE bucket = ? AND name = ? AND generation = ?",
                (now, *where),
            )
        else:
            self._database.execute(
                "DELETE FROM objects WHERE bucket = ? AND name = ? AND generation = ?", where
            )
        gone = StoredObject(
            bucket=stored.bucket,
            name=stored.name,
            generation=stored.generation,
            metageneration=stored.metageneration,
            live=False,
            content=stored.content,
            created=stored.created,
            updated=stored.updated,
            deleted=stored.deleted or now,
            fields=stored.fields,
        )
        extra = {"overwrittenByGeneration": str(replaced_by)} if replaced_by else {}
        self._notify("OBJECT_ARCHIVE" if versioned else "OBJECT_DELETE", gone, extra)

    def _notify(self, event_type: str, stored: StoredObject, extra: dict[str, str]) -> None:
        """
        Write a notice into the outbox for each notification that wants it.

        https://cloud.google.com/storage/docs/pubsub-notifications#attributes
        """
        for notification in self._notifications(stored.bucket):
            if event_type not in notification.get("event_types", EVENT_TYPES):
                continue
            if not stored.name.startswith(notification.get("object_name_prefix", "")):
                continue
            payload_format = notification["payload_format"]
            attributes = {
                **notification.get("custom_attributes", {}),
                "notificationConfig": (
                    f"projects/_/buckets/{stored.bucket}/notificationConfigs/{notification['id']}"
                ),
                "eventType": event_type,
                "payloadFormat": payload_format,
                "bucketId": stored.bucket,
                "objectId": stored.name,
                "objectGeneration": str(stored.generation),
                "eventTime": _now(microseconds=True),
                **extra,
            }
            body = (
                json.dumps(object_resource(stored, base_url=CLOUD_URL), indent=2).encode()
                if payload_format == "JSON_API_V1"
                else b""
            )
            self._database.execute(
                "INSERT INTO outbox (topic, attributes, body) VALUES (?, ?, ?)",
                (
                    notification["topic"].removeprefix("//pubsub.googleapis.com/"),
                    json.dumps(attributes),
                    body,
                ),
            )

    def _notifications(self, bucket: str) -> list[Json]:
        rows = self._database.execute(
            "SELECT id, fields FROM notifications WHERE bucket = ? ORDER BY id", (bucket,)
        )
        return [
            {
                "kind": "storage#notification",
                "id": str(row["id"]),
                "etag": str(row["id"]),
                **json.loads(row["fields"]),
            }
            for row in rows
        ]

    def _notification(self, bucket: str, notification_id: str) -> Json:
        self._bucket(bucket)
        for notification in self._notifications(bucket):
            if notification["id"] == notification_id:
                return notification
        raise NotFound(f"No such notification: {notification_id}")

    def _next_generation(self) -> int:
        """Return a generation higher than every one before: microseconds since 1970, mostly."""
        (generation,) = self._database.execute(
            "UPDATE last_generation SET value = max(value + 1, ?) RETURNING value",
            (time.time_ns() // 1000,),
        ).fetchone()
        return int(generation)

    def _content_path(self, key: str) -> Path:
        return self._contents / key[:2] / key

    def _remove_leftovers(self) -> None:
        """Put in order the files that a killed process left without a row."""
        with self._transaction():
            self._database.execute(
                "DELETE FROM resumable_uploads WHERE started < ?",
                (time.time() - SESSION_LIFETIME_SECONDS,),
            )
        uploads = {key for (key,) in self._database.execute("SELECT id FROM resumable_uploads")}
        contents = {key for (key,) in self._database.execute("SELECT content FROM objects")}
        for path in self._uploads.iterdir():
            if path.name not in uploads:
                path.unlink()
        for path in self._contents.glob("*/*"):
            if path.name in contents:
                continue
            if path.name in uploads:
                # Killed between the move and the commit: the upload is as it was before both.
                path.rename(self._uploads / path.name)
            else:
                path.unlink()


def object_resource(stored: StoredObject, *, base_url: str) -> Json:
    """Return the JSON API's resource of an object."""
    path = f"storage/v1/b/{quote(stored.bucket, safe='')}/o/{quote(stored.name, safe='')}"
    resource: Json = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "selfLink": f"{base_url}/{path}",
        "mediaLink": f"{base_url}/download/{path}?generation={stored.generation}&alt=media",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "contentType": "application/octet-stream",
        "storageClass": "STANDARD",
        "size": str(stored.content.size),
        "md5Hash": stored.content.md5,
        "crc32c": stored.content.crc32c,
        "etag": object_etag(stored),
        "timeCreated": stored.created,
        "updated": stored.updated,
        "timeStorageClassUpdated": stored.created,
        "timeFinalized": stored.created,
        **stored.fields,
    }
    if stored.deleted is not None:
        resource["timeDeleted"] = stored.deleted
    return resource


def object_etag(stored: StoredObject) -> str:
    return _etag(stored.generation, stored.metageneration)


def check_object_name(name: str) -> None:
    """
    Refuse a name that Cloud Storage refuses.

    Line breaks are let through, although the documentation forbids them.
    https://cloud.google.com/storage/docs/objects#naming

    Raises:
        Invalid: The name is empty, longer than 1,024 bytes, or '.' or '..'.
    """
    if not 1 <= len(name.encode()) <= MAX_NAME_BYTES:
        raise Invalid(f"The object name must have 1 to {MAX_NAME_BYTES} bytes in UTF-8.")
    if name in (".", "..") or name.startswith(".well-known/acme-challenge/"):
        raise Invalid(f"Disallowed object name: {name!r}")


def _object_from(row: sqlite3.Row) -> StoredObject:
    return StoredObject(
        bucket=row["bucket"],
        name=row["name"],
        generation=row["generation"],
        metageneration=row["metageneration"],
        live=bool(row["live"]),
        content=Content(row["content"], row["size"], row["md5"], row["crc32c"]),
        created=row["created"],
        updated=row["updated"],
        deleted=row["deleted"],
        fields=json.loads(row["fields"]),
    )


def _state(stored: StoredObject | None) -> tuple[int, int]:
    return (0, 0) if stored is None else (stored.generation, stored.metageneration)


def _is_versioned(bucket: Json) -> bool:
    return bool((bucket.get("versioning") or {}).get("enabled"))


def _check_custom_metadata(fields: Mapping[str, Any]) -> None:
    metadata = fields.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise Invalid("metadata must be an object of strings")
    size = sum(len(f"{key}{value}".encode()) for key, value in metadata.items())
    if size > MAX_CUSTOM_METADATA_BYTES:
        raise Invalid(f"The custom metadata is larger than {MAX_CUSTOM_METADATA_BYTES} bytes.")


def _writable(fields: Mapping[str, Any]) -> Json:
    return {key: value for key, value in fields.items() if key in WRITABLE_OBJECT_FIELDS}


def _merge(fields: Json, changes: Json) -> None:
    """Merge as PATCH does: null removes, the entries of custom metadata and labels one by one."""
    for key, value in changes.items():
        if value is None:
            fields.pop(key, None)
        elif key in ("metadata", "labels") and isinstance(value, dict):
            merged = {**fields.get(key, {}), **value}
            fields[key] = {name: text for name, text in merged.items() if text is not None}
        else:
            fields[key] = value


def _check_hashes(fields: Mapping[str, Any], content: Content) -> None:
    for key, actual in (("md5Hash", content.md5), ("crc32c", content.crc32c)):
        if fields.get(key) and fields[key] != actual:
            raise Invalid(
                f"Provided {key} {fields[key]!r} doesn't match calculated {key} {actual!r}."
            )


def _parse_page_token(token: str) -> tuple[str, int, str]:
    if not token:
        return "", 0, ""
    try:
        name, generation, prefix = json.loads(base64.urlsafe_b64decode(token))
        return str(name), int(generation), str(prefix)
    except ValueError as error:
        raise Invalid("Invalid pageToken") from error


def _format_page_token(name: str, generation: int, prefix: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([name, generation, prefix]).encode()).decode()


def _etag(*numbers: int) -> str:
    return base64.b64encode("/".join(map(str, numbers)).encode()).decode()


def _now(*, microseconds: bool = False) -> str:
    timespec = "microseconds" if microseconds else "milliseconds"
    return datetime.now(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
