"""The bucket of documents, by the google-cloud-storage client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

import requests
from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from shared.errors import (
    FileChanged,
    Misconfigured,
    NotPermitted,
    ObjectChanged,
    ObjectGone,
    StorageUnavailable,
    Unreadable,
)
from shared.runtime.tracing import OBJECT_METADATA, object_metadata, span
from shared.values import ObjectVersion

_TIMEOUT_SECONDS = (5.0, 60.0)  # connect, and between two reads
_RETRY = DEFAULT_RETRY.with_timeout(30.0)
# What is read of an object in a listing: a third of all there is to say of one.
_LISTED_FIELDS = (
    "nextPageToken,items(name,generation,metageneration,size,contentType,metadata,updated,md5Hash,"
    "crc32c)"
)


class DocumentBucket:
    """
    A client for one bucket; threads may share it. It is made lazily, after the fork.

    Raises:
        Misconfigured: There are no credentials.
    """

    def __init__(self, name: str, *, project: str) -> None:
        self.name = name
        try:
            self._bucket = storage.Client(project=project).bucket(name)
        except DefaultCredentialsError as error:
            raise Misconfigured(str(error)) from error

    def look(self, name: str) -> ObjectVersion | None:
        """
        Return the live generation of an object, None where there is none.

        Raises:
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors():
            blob = self._bucket.get_blob(name, timeout=_TIMEOUT_SECONDS, retry=_RETRY)
        return None if blob is None else _read_blob(blob)

    def download(self, version: ObjectVersion, file: IO[bytes], *, max_bytes: int) -> None:
        """
        Write exactly this generation to *file*, its checksum checked.

        Raises:
            ObjectGone: The generation is no longer in the bucket.
            Unreadable: It has more than *max_bytes*.
            StorageUnavailable: Storage did not answer, or the bytes did not arrive whole.
        """
        blob = self._bucket.blob(version.name, generation=version.generation)
        with _translated_errors():
            try:
                blob.download_to_file(
                    _Bounded(file, max_bytes=max_bytes),
                    checksum="crc32c",
                    timeout=_TIMEOUT_SECONDS,
                    retry=_RETRY,
                )
            except NotFound as error:
                raise ObjectGone(f"generation {version.generation} is gone") from error

    def upload(self, name: str, data: bytes, *, content_type: str) -> None:
        """
        Write an object; one of that name becomes an older generation.

        Raises:
            StorageUnavailable: Storage did not answer.
        """
        with span("upload", {"bytes": len(data)}), _translated_errors():
            blob = self._bucket.blob(name)
            blob.metadata = object_metadata() or None
            blob.upload_from_string(
                data, content_type=content_type, timeout=_TIMEOUT_SECONDS, retry=_RETRY
            )

    def upload_file(
        self,
        name: str,
        file: IO[bytes],
        *,
        size: int,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_generation: int | None = None,
    ) -> ObjectVersion:
        """
        Write *size* bytes of *file* as an object, the checksum checked.

        Args:
            if_generation: Only where this is the live generation; 0 for none, None for any.

        Raises:
            FileChanged: The file has fewer bytes.
            ObjectChanged: The live generation is another one.
            NotPermitted: This account may not write objects.
            StorageUnavailable: Storage did not answer.
        """
        blob = self._bucket.blob(name)
        blob.metadata = {**(metadata or {}), **object_metadata()} or None
        with _translated_errors(), _translated_denial("storage.objects.create"):
            try:
                blob.upload_from_file(
                    file,
                    size=size,
                    content_type=content_type,
                    checksum="md5",
                    if_generation_match=if_generation,
                    timeout=_TIMEOUT_SECONDS,
                    retry=_RETRY,
                )
            except PreconditionFailed as error:
                raise ObjectChanged("somebody else wrote this object meanwhile") from error
            except requests.RequestException:  # some are ValueErrors too
                raise
            except ValueError as error:  # the client's word for a file that became shorter
                raise FileChanged("the file became shorter while it was uploaded") from error
        return _read_blob(blob)

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        """
        Delete an object; one that is gone is no error.

        Args:
            if_generation: Only where this is the live generation.

        Raises:
            ObjectChanged: The live generation is another one.
            NotPermitted: This account may not delete objects.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.objects.delete"), suppress(NotFound):
            try:
                self._bucket.delete_blob(
                    name,
                    if_generation_match=if_generation,
                    timeout=_TIMEOUT_SECONDS,
                    retry=_RETRY,
                )
            except PreconditionFailed as error:
                raise ObjectChanged("somebody else wrote this object meanwhile") from error

    def list(self, *, prefix: str = "") -> Iterator[ObjectVersion]:
        """
        Yield the live objects by the bytes of their names, folder placeholders left out.

        Raises:
            Misconfigured: There is no such bucket.
            NotPermitted: This account may not list it.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.objects.list"):
            try:
                for blob in self._bucket.list_blobs(
                    prefix=prefix or None,
                    fields=_LISTED_FIELDS,
                    timeout=_TIMEOUT_SECONDS,
                    retry=_RETRY,
                ):
                    version = _read_blob(blob)
                    if not version.is_placeholder:
                        yield version
            except NotFound as error:
                raise Misconfigured(f"there is no bucket {self.name}") from error


@dataclass(frozen=True, slots=True)
class Notification:
    """
    Whom a bucket tells of its objects.

    Attributes:
        topic: PROJECT/TOPIC.
        events: Of which kinds; empty for all.
        prefix: Only objects whose names begin so.
        payload: JSON_API_V1 or NONE.
    """

    topic: str
    events: list[str]
    prefix: str
    payload: str


class BucketReader:
    """Looks at a bucket itself, which only operators may."""

    def __init__(self, name: str, *, project: str) -> None:
        self._bucket = storage.Client(project=project).bucket(name)

    def is_versioned(self) -> bool | None:
        """
        Return whether the bucket keeps older generations, None where there is no such bucket.

        Raises:
            NotPermitted: This account may not look.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.buckets.get"):
            try:
                self._bucket.reload(timeout=_TIMEOUT_SECONDS, retry=_RETRY)
            except NotFound:
                return None
        return bool(self._bucket.versioning_enabled)

    def notifications(self) -> list[Notification]:
        """
        Return whom the bucket tells of its objects.

        Raises:
            NotPermitted: This account may not look.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.buckets.get"):
            return [
                Notification(
                    topic=f"{found.topic_project}/{found.topic_name}",
                    events=list(found.event_types or []),
                    prefix=found.blob_name_prefix or "",
                    payload=found.payload_format or "",
                )
                for found in self._bucket.list_notifications(timeout=_TIMEOUT_SECONDS, retry=_RETRY)
            ]


class _Bounded:
    """A file that takes no more than so many bytes: the event's size may be wrong or absent."""

    def __init__(self, file: IO[bytes], *, max_bytes: int) -> None:
        self._file = file
        self._left = self._max_bytes = max_bytes

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable("too_large", describe_too_large(self._max_bytes))
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Begin again: the client does so before it tries a broken download once more."""
        if (offset, whence) == (0, 0):
            self._left = self._max_bytes
            self._file.truncate(0)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()


def describe_too_large(max_bytes: int) -> str:
    """Return the reason of a document that has too many bytes."""
    return (
        f"The file is larger than {max_bytes:,} bytes. Split it, or raise MAX_FILE_BYTES"
        " and the memory of the ingest function."
    )


def _read_blob(blob: storage.Blob) -> ObjectVersion:
    return ObjectVersion(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=int(blob.generation),
        metageneration=int(blob.metageneration or 0),
        size=int(blob.size or 0),
        content_type=blob.content_type or "",
        metadata={
            key: value for key, value in (blob.metadata or {}).items() if key != OBJECT_METADATA
        },
        updated=blob.updated,
        md5=blob.md5_hash or "",
        crc32c=blob.crc32c or "",
    )


@contextmanager
def _translated_denial(permission: str) -> Iterator[None]:
    try:
        yield
    except Forbidden as error:
        raise NotPermitted(permission) from error


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (
        GoogleAPICallError,
        GoogleAuthError,
        RetryError,
        DataCorruption,
        InvalidResponse,
        requests.RequestException,
        ConnectionError,
    ) as error:
        raise StorageUnavailable(type(error).__name__) from error
