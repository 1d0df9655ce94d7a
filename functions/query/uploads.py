"""What the page changes in the bucket, where the service is allowed to: upload, delete, retry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, PreconditionFailed, RetryError
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from shared.errors import ObjectGone, StorageUnavailable
from shared.runtime.tracing import object_metadata

_TIMEOUT_SECONDS = (5.0, 20.0)
_RETRY = DEFAULT_RETRY.with_timeout(15.0)


class Uploads:
    """
    A client that writes to the bucket of documents; threads may share it.

    Nothing is written to the database: the bucket's own events bring every change there.
    """

    def __init__(self, bucket: str, *, project: str) -> None:
        self._bucket = storage.Client(project=project).bucket(bucket)
        self.bucket = bucket

    def begin(self, name: str, *, content_type: str, size: int, origin: str | None) -> str:
        """
        Return the URL of a resumable upload session; who has it may send these *size* bytes.

        https://cloud.google.com/storage/docs/resumable-uploads#session-uris

        Args:
            origin: The web page that will send them, for the session's CORS headers.

        Raises:
            StorageUnavailable: Storage did not answer.
        """
        blob = self._bucket.blob(name)
        blob.metadata = object_metadata() or None
        with _translated_errors():
            url: str = blob.create_resumable_upload_session(
                content_type=content_type,
                size=size,
                origin=origin,
                timeout=_TIMEOUT_SECONDS,
                retry=_RETRY,
            )
        return url

    def delete(self, name: str, *, generation: int) -> None:
        """
        Delete an object, unless it has been overwritten since *generation*.

        Raises:
            ObjectGone: It is not there, or newer.
            StorageUnavailable: Storage did not answer.
        """
        with _translated_errors():
            self._bucket.delete_blob(
                name,
                if_generation_match=generation,
                timeout=_TIMEOUT_SECONDS,
                retry=_RETRY,
            )

    def renew(self, name: str, *, generation: int) -> None:
        """
        Copy an object onto itself: the new generation is indexed as any upload is.

        Raises:
            ObjectGone: It is not there, or newer.
            StorageUnavailable: Storage did not answer.
        """
        source = self._bucket.blob(name, generation=generation)
        with _translated_errors():
            token: str | None = None
            while True:
                token, _done, _total = self._bucket.blob(name).rewrite(
                    source,
                    token=token,
                    if_generation_match=generation,
                    timeout=_TIMEOUT_SECONDS,
                    retry=_RETRY,
                )
                if token is None:
                    return


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (NotFound, PreconditionFailed) as error:
        raise ObjectGone("the object is gone, or has been overwritten") from error
    except (
        GoogleAPICallError,
        RetryError,
        InvalidResponse,
        requests.RequestException,
        ConnectionError,
    ) as error:
        raise StorageUnavailable(type(error).__name__) from error
