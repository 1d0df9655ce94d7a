"""The bucket of documents, by the google-cloud-storage client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import requests
from google.api_core.exceptions import (
    BadRequest,
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
from shared.values import ObjectVersion, storable

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 60.0  # between two reads
_RETRY_SECONDS = 30.0
_GZIP = b"\x1f\x8b"
# The fields that a listing requests, a third of all.
_LISTED_FIELDS = (
    "nextPageToken,items(name,generation,metageneration,size,contentType,metadata,updated,md5Hash,"
    "crc32c)"
)


class DocumentBucket:
    """
    A client for one bucket; threads may share it. It connects lazily, after the fork.

    Args:
        read_seconds: The longest wait between two reads of an answer.
        retry_seconds: How long a request that failed is tried again.

    Raises:
        Misconfigured: There are no credentials.
    """

    def __init__(
        self,
        name: str,
        *,
        project: str,
        read_seconds: float = _READ_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self.name = name
        self._patience: dict[str, Any] = {
            "timeout": (_CONNECT_SECONDS, read_seconds),
            "retry": DEFAULT_RETRY.with_timeout(retry_seconds),
        }
        try:
            self._bucket = storage.Client(project=project).bucket(name)
        except DefaultCredentialsError as error:
            raise Misconfigured(str(error)) from error

    def close(self) -> None:
        """End the connections; a process that ends needs no such call."""
        self._bucket.client.close()

    def look(self, name: str) -> ObjectVersion | None:
        """
        Return the live generation of an object, None if there is none.

        Raises:
            NotPermitted: This account may not read it.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.objects.get"):
            blob = self._bucket.get_blob(name, **self._patience)
        return None if blob is None else _read_blob(blob)

    def download(self, version: ObjectVersion, file: IO[bytes], *, max_bytes: int) -> None:
        """
        Write exactly this generation to *file*, and check its checksum.

        Raises:
            ObjectGone: The generation is no longer in the bucket.
            Unreadable: It has more than *max_bytes*, or Storage refuses to hand over this object
                (a key of its owner's, an access list); asking again would not help.
            NotPermitted: This account may read no object of the bucket.
            StorageUnavailable: Storage did not answer, or the bytes did not arrive whole.
        """
        blob = self._bucket.blob(version.name, generation=version.generation)
        bounded = _Bounded(file, max_bytes=max_bytes)
        with _translated_errors(), _translated_preconditions(), self._translated_refusals():
            try:
                blob.download_to_file(bounded, checksum="crc32c", **self._patience)
            except requests.exceptions.ContentDecodingError:
                # Its Content-Encoding claims a compression that its bytes do not have.
                bounded.seek(0)
                blob.download_to_file(
                    bounded, raw_download=True, checksum="crc32c", **self._patience
                )
                _refuse_damaged(file)

    def describe(self, version: ObjectVersion) -> Original:
        """
        Return what a reader needs to know about a generation before reading it in pieces.

        Raises:
            ObjectGone: The generation is no longer in the bucket.
            NotPermitted: This account may not read objects.
            StorageUnavailable: Storage did not answer.
        """
        blob = self._bucket.blob(version.name, generation=version.generation)
        with (
            _translated_errors(),
            _translated_denial("storage.objects.get"),
            _translated_preconditions(),
        ):
            blob.reload(**self._patience)
        return Original(size=int(blob.size or 0), content_encoding=blob.content_encoding or "")

    def read(self, version: ObjectVersion, *, first: int, last: int) -> bytes:
        """
        Return the bytes *first* to *last* of a generation as they are stored.

        Raises:
            ObjectGone: The generation is no longer in the bucket.
            NotPermitted: This account may not read objects.
            StorageUnavailable: Storage did not answer.
        """
        blob = self._bucket.blob(version.name, generation=version.generation)
        with (
            _translated_errors(),
            _translated_denial("storage.objects.get"),
            _translated_preconditions(),
        ):
            data: bytes = blob.download_as_bytes(
                start=first, end=last, raw_download=True, checksum=None, **self._patience
            )
        return data

    @contextmanager
    def _translated_refusals(self) -> Iterator[None]:
        """Distinguish one unreadable object from an unreadable bucket."""
        try:
            yield
        except BadRequest as error:
            # https://cloud.google.com/storage/docs/encryption/customer-supplied-keys
            raise Unreadable(
                "access_denied",
                "Cloud Storage refuses to hand over this object (400). An object"
                " encrypted with a key of your own (CSEK) cannot be read: upload it without.",
            ) from error
        except Forbidden as error:
            if not self._may_read_objects():
                raise NotPermitted("storage.objects.get") from error
            raise Unreadable(
                "access_denied",
                "Cloud Storage denies access to this object (403): its access"
                " list, or its KMS key, excludes the ingest function's account. Grant it access,"
                " then retry.",
            ) from error

    def _may_read_objects(self) -> bool:
        """Return whether this account may read objects of the bucket in general."""
        permission = "storage.objects.get"
        try:
            held = self._bucket.test_iam_permissions([permission], timeout=_CONNECT_SECONDS)
        except (GoogleAPICallError, RetryError, requests.RequestException):
            return True  # Storage does not say; the other objects of the bucket are read
        return permission in held

    def upload(self, name: str, data: bytes, *, content_type: str) -> None:
        """
        Write an object; an existing one of that name becomes an older generation.

        Raises:
            StorageUnavailable: Storage did not answer.
        """
        with span("upload", {"bytes": len(data)}), _translated_errors():
            blob = self._bucket.blob(name)
            blob.metadata = object_metadata() or None
            blob.upload_from_string(data, content_type=content_type, **self._patience)

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
        Write *size* bytes of *file* as an object, and check the checksum.

        Args:
            if_generation: Only if this is the live generation; 0 for none, None for any.

        Raises:
            FileChanged: The file has fewer bytes.
            ObjectChanged: The live generation is another one.
            NotPermitted: This account may not write objects.
            StorageUnavailable: Storage did not answer.
        """
        blob = self._bucket.blob(name)
        blob.metadata = {**(metadata or {}), **object_metadata()} or None
        with (
            _translated_errors(),
            _translated_denial("storage.objects.create"),
            _translated_preconditions(),
        ):
            try:
                blob.upload_from_file(
                    file,
                    size=size,
                    content_type=content_type,
                    checksum="md5",
                    if_generation_match=if_generation,
                    **self._patience,
                )
            except requests.RequestException:  # some are ValueErrors too
                raise
            except ValueError as error:  # the client's word for a file that became shorter
                raise FileChanged("the file became shorter while it was uploaded") from error
        return _read_blob(blob)

    def begin_upload(self, name: str, *, content_type: str, size: int, origin: str | None) -> str:
        """
        Return the URL of a resumable upload session: its bearer may send these *size* bytes.

        https://cloud.google.com/storage/docs/resumable-uploads#session-uris

        Args:
            origin: The web page that will send them, for the session's CORS headers.

        Raises:
            NotPermitted: This account may not write objects.
            StorageUnavailable: Storage did not answer.
        """
        blob = self._bucket.blob(name)
        blob.metadata = object_metadata() or None
        with _translated_errors(), _translated_denial("storage.objects.create"):
            url: str = blob.create_resumable_upload_session(
                content_type=content_type, size=size, origin=origin, **self._patience
            )
        return url

    def rewrite(self, version: ObjectVersion) -> None:
        """
        Copy an object onto itself, so that its new generation is indexed like any upload.

        Raises:
            ObjectChanged: Another generation than *version* is live.
            ObjectGone: The generation is no longer in the bucket.
            NotPermitted: This account may not write objects.
            StorageUnavailable: Storage did not answer.
        """
        source = self._bucket.blob(version.name, generation=version.generation)
        token: str | None = None
        with (
            _translated_errors(),
            _translated_denial("storage.objects.create"),
            _translated_preconditions(),
        ):
            while True:
                token, _done, _total = self._bucket.blob(version.name).rewrite(
                    source,
                    token=token,
                    if_generation_match=version.generation,
                    **self._patience,
                )
                if token is None:
                    return

    def delete(
        self, name: str, *, if_generation: int | None = None, missing_ok: bool = True
    ) -> None:
        """
        Delete an object.

        Args:
            if_generation: Only if this is the live generation.
            missing_ok: An object that is gone already is no error.

        Raises:
            ObjectGone: It is gone already, and *missing_ok* is not set.
            ObjectChanged: The live generation is another one.
            NotPermitted: This account may not delete objects.
            StorageUnavailable: Storage did not answer.
        """
        with (
            suppress(*[ObjectGone] if missing_ok else []),
            _translated_errors(),
            _translated_denial("storage.objects.delete"),
            _translated_preconditions(),
        ):
            self._bucket.delete_blob(name, if_generation_match=if_generation, **self._patience)

    def list(self, *, prefix: str = "", start: str = "", end: str = "") -> Iterator[ObjectVersion]:
        """
        Yield the live objects by the bytes of their names, folder placeholders left out.

        Args:
            start: The first name that may be among them.
            end: The first name behind them; "" for none.

        Raises:
            Misconfigured: There is no such bucket.
            NotPermitted: This account may not list it.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.objects.list"):
            try:
                for blob in self._bucket.list_blobs(
                    prefix=prefix or None,
                    start_offset=start or None,
                    end_offset=end or None,
                    fields=_LISTED_FIELDS,
                    **self._patience,
                ):
                    version = _read_blob(blob)
                    if not version.is_placeholder:
                        yield version
            except NotFound as error:
                raise Misconfigured(f"there is no bucket {self.name}") from error


@dataclass(frozen=True, slots=True)
class Original:
    """
    A generation of an object as it is stored.

    Attributes:
        size: In bytes, compressed where it is stored so.
        content_encoding: "gzip" where the bytes are compressed; mostly empty.
    """

    size: int
    content_encoding: str


@dataclass(frozen=True, slots=True)
class Notification:
    """
    A notification of a bucket: which events it publishes to which topic.

    Attributes:
        topic: PROJECT/TOPIC.
        events: Of which kinds; empty for all.
        prefix: Only objects whose names begin so.
    """

    topic: str
    events: list[str]
    prefix: str


class BucketReader:
    """Reads the configuration of a bucket, which needs an operator's permissions."""

    def __init__(self, name: str, *, project: str) -> None:
        self._bucket = storage.Client(project=project).bucket(name)
        self._patience: dict[str, Any] = {
            "timeout": (_CONNECT_SECONDS, _READ_SECONDS),
            "retry": DEFAULT_RETRY.with_timeout(_RETRY_SECONDS),
        }

    def is_versioned(self) -> bool | None:
        """
        Return whether the bucket keeps older generations, None if there is no such bucket.

        Raises:
            NotPermitted: This account may not look.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors(), _translated_denial("storage.buckets.get"):
            try:
                self._bucket.reload(**self._patience)
            except NotFound:
                return None
        return bool(self._bucket.versioning_enabled)

    def notifications(self) -> list[Notification]:
        """
        Return the bucket's notifications.

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
                )
                for found in self._bucket.list_notifications(**self._patience)
            ]


class _Bounded:
    """A file with a maximum size, because the size in an event may be wrong or missing."""

    def __init__(self, file: IO[bytes], *, max_bytes: int) -> None:
        self._file = file
        self._left = self._max_bytes = max_bytes

    def write(self, data: bytes) -> int:
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable("too_large", describe_too_large(self._max_bytes))
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Start over: the client does this before it retries a broken download."""
        if (offset, whence) == (0, 0):
            self._left = self._max_bytes
            self._file.truncate(0)
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()


def describe_too_large(max_bytes: int) -> str:
    """Return the error for a document that has too many bytes."""
    return (
        f"The file is larger than {max_bytes:,} bytes. Split it, or raise MAX_FILE_BYTES"
        " and the memory of the ingest function."
    )


def _refuse_damaged(file: IO[bytes]) -> None:
    file.flush()
    file.seek(0)
    if file.read(len(_GZIP)) == _GZIP:
        raise Unreadable(
            "corrupt",
            "The object's Content-Encoding is gzip, and its compressed bytes are damaged. Upload it"
            " again, or without Content-Encoding.",
        )
    file.seek(0, 2)


def _read_blob(blob: storage.Blob) -> ObjectVersion:
    return ObjectVersion(
        bucket=blob.bucket.name,
        name=blob.name,
        generation=int(blob.generation),
        metageneration=int(blob.metageneration or 0),
        size=int(blob.size or 0),
        content_type=storable(blob.content_type or ""),
        metadata={
            storable(key): storable(value or "")
            for key, value in (blob.metadata or {}).items()
            if key != OBJECT_METADATA
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
def _translated_preconditions() -> Iterator[None]:
    """Distinguish a deleted object from an overwritten one."""
    try:
        yield
    except NotFound as error:
        raise ObjectGone("the generation is no longer in the bucket") from error
    except PreconditionFailed as error:
        raise ObjectChanged("the object has been overwritten meanwhile") from error


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
