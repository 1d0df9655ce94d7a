"""
Serve the part of Cloud Storage's JSON API that its clients use, over a folder.

    python -m local.emulators.storage --port 4443 --state .local/storage

Point a client at it with STORAGE_EMULATOR_HOST=http://127.0.0.1:4443. Notifications go to
PUBSUB_EMULATOR_HOST. Signatures, permissions and access lists are not looked at.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, unquote
from weakref import WeakValueDictionary

import click
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.emulators.fields import select_fields
from local.emulators.objects import (
    Content,
    Invalid,
    Json,
    NotFound,
    ObjectStore,
    Preconditions,
    StorageError,
    StoredObject,
    Upload,
    object_etag,
    object_resource,
)
from local.emulators.outbox import Outbox
from local.emulators.state import hold_state
from local.emulators.uploading import (
    append_chunk,
    parse_content_range,
    write_body,
    write_multipart,
)
from shared.runtime.hosts import is_allowed_host

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Handler = Callable[[Request], Awaitable[Response]]

READ_BLOCK_BYTES = 1 << 20
MAX_PAGE = 1000
MAX_JSON_BYTES = 1 << 20
# https://cloud.google.com/storage/docs/composite-objects
MAX_COMPOSED = 32
# https://cloud.google.com/storage/docs/performing-resumable-uploads#cancel-upload
CLIENT_CLOSED_REQUEST = 499
RESUME_INCOMPLETE = 308
SHUTDOWN_SECONDS = 1
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
DEFAULT_CORS_SECONDS = 3600
# What a page needs to see of an answer to upload and to read.
EXPOSED_HEADERS = (
    "Content-Length",
    "Content-Range",
    "ETag",
    "Location",
    "Range",
    "X-GUploader-UploadID",
    "x-goog-generation",
    "x-goog-hash",
    "x-goog-metageneration",
)


class Api:
    """The handlers of the API over one ObjectStore."""

    def __init__(self, store: ObjectStore, *, hosts: Sequence[str] = LOOPBACK_HOSTS) -> None:
        self._store = store
        self._hosts = hosts
        self._upload_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def application(self) -> ASGIApp:
        bucket = "/storage/v1/b/{bucket}"
        stored = bucket + "/o/{object}"
        copy = stored + "/{verb}/b/{to_bucket}/o/{to_object}"
        upload = "/upload/storage/v1/b/{bucket}/o"
        routes = [
            Route("/", self._say_hello, methods=["GET"]),
            # fake-gcs-server's, so that one health check in Compose fits both.
            Route("/_internal/healthcheck", self._say_hello, methods=["GET"]),
            Route("/storage/v1/b", self._buckets, methods=["GET", "POST"]),
            Route(bucket, self._one_bucket, methods=["GET", "PATCH", "PUT", "DELETE"]),
            Route(f"{bucket}/o", self._list_objects, methods=["GET"]),
            Route(stored, self._one_object, methods=["GET", "PATCH", "PUT", "DELETE"]),
            Route(copy, self._copy, methods=["POST"]),
            Route(f"{stored}/moveTo/o/{{to_object}}", self._move, methods=["POST"]),
            Route(f"{stored}/compose", self._compose, methods=["POST"]),
            Route(f"{bucket}/notificationConfigs", self._notifications, methods=["GET", "POST"]),
            Route(
                f"{bucket}/notificationConfigs/{{notification}}",
                self._one_notification,
                methods=["GET", "DELETE"],
            ),
            Route("/storage/v1/projects/{project}/serviceAccount", _service_account),
            Route(f"/download{stored}", self._download, methods=["GET"]),
            Route(upload, self._upload, methods=["POST", "PUT", "DELETE"]),
            Route("/{rest:path}", _not_implemented, methods=_ALL_METHODS),
        ]
        application = Starlette(
            routes=routes,
            exception_handlers={
                StorageError: _refuse,
                ClientDisconnect: _ignore_disconnect,
            },
        )
        application.router.redirect_slashes = False
        return _RawPath(_Hosts(_Cors(application, self._store), self._hosts))

    async def _say_hello(self, _: Request) -> Response:
        return JSONResponse({"name": "KaydangPT storage emulator"})

    async def _buckets(self, request: Request) -> Response:
        if request.method == "POST":
            fields = await _json_body(request)
            bucket = await _run(self._store.insert_bucket, str(fields.get("name", "")), fields)
            logger.info("bucket %s", bucket["name"])
            return JSONResponse(_bucket_resource(bucket, request))
        buckets = await _run(self._store.buckets, request.query_params.get("prefix", ""))
        return JSONResponse(
            {
                "kind": "storage#buckets",
                "items": [_bucket_resource(bucket, request) for bucket in buckets],
            }
        )

    async def _one_bucket(self, request: Request) -> Response:
        name = _path_value(request, "bucket")
        if request.method == "DELETE":
            await _run(self._store.delete_bucket, name)
            return Response(status_code=204)
        if request.method == "GET":
            bucket = await _run(self._store.bucket, name)
        else:
            bucket = await _run(
                self._store.patch_bucket, name, await _json_body(request), _preconditions(request)
            )
        return JSONResponse(_bucket_resource(bucket, request))

    async def _list_objects(self, request: Request) -> Response:
        query = request.query_params
        listing = await _run(
            partial(
                self._store.list_objects,
                _path_value(request, "bucket"),
                prefix=query.get("prefix", ""),
                delimiter=query.get("delimiter", ""),
                versions=query.get("versions", "").lower() == "true",
                start=query.get("startOffset", ""),
                end=query.get("endOffset", ""),
                max_results=min(MAX_PAGE, _integer(query, "maxResults") or MAX_PAGE),
                page_token=query.get("pageToken", ""),
            )
        )
        answer: Json = {"kind": "storage#objects"}
        if listing.objects:
            answer["items"] = [_resource(stored, request) for stored in listing.objects]
        if listing.prefixes:
            answer["prefixes"] = listing.prefixes
        if listing.next_page_token:
            answer["nextPageToken"] = listing.next_page_token
        return JSONResponse(select_fields(answer, query.get("fields", "")))

    async def _one_object(self, request: Request) -> Response:
        if request.method == "GET" and request.query_params.get("alt") == "media":
            return await self._download(request)
        bucket, name = _path_value(request, "bucket"), _path_value(request, "object")
        generation = _integer(request.query_params, "generation")
        if request.method == "DELETE":
            await _run(
                partial(
                    self._store.delete_object,
                    bucket,
                    name,
                    generation=generation,
                    preconditions=_preconditions(request),
                )
            )
            return Response(status_code=204)
        if request.method == "GET":
            stored = await _run(
                partial(
                    self._store.object,
                    bucket,
                    name,
                    generation=generation,
                    preconditions=_preconditions(request),
                )
            )
        else:
            stored = await _run(
                partial(
                    self._store.patch_object,
                    bucket,
                    name,
                    changes=await _json_body(request),
                    replace=request.method == "PUT",
                    generation=generation,
                    preconditions=_preconditions(request),
                )
            )
        return JSONResponse(_resource(stored, request))

    async def _copy(self, request: Request) -> Response:
        verb = request.path_params["verb"]
        if verb not in ("rewriteTo", "copyTo"):
            return await _not_implemented(request)
        changes = await _json_body(request)
        source = await _run(
            partial(
                self._store.object,
                _path_value(request, "bucket"),
                _path_value(request, "object"),
                generation=_integer(request.query_params, "sourceGeneration"),
                preconditions=_preconditions(request, prefix="ifSource"),
            )
        )
        content = await _run(self._store.copy_content, source)
        created = await _run(
            partial(
                self._store.create_object,
                _path_value(request, "to_bucket"),
                _path_value(request, "to_object"),
                content=content,
                fields={**source.fields, **changes},
                preconditions=_preconditions(request),
            )
        )
        resource = _resource(created, request)
        if verb == "copyTo":
            return JSONResponse(resource)
        return JSONResponse(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": str(content.size),
                "objectSize": str(content.size),
                "done": True,
                "resource": resource,
            }
        )

    async def _move(self, request: Request) -> Response:
        """https://cloud.google.com/storage/docs/json_api/v1/objects/move"""
        bucket = _path_value(request, "bucket")
        source = await _run(
            partial(
                self._store.object,
                bucket,
                _path_value(request, "object"),
                preconditions=_preconditions(request, prefix="ifSource"),
            )
        )
        created = await _run(
            partial(
                self._store.create_object,
                bucket,
                _path_value(request, "to_object"),
                content=await _run(self._store.copy_content, source),
                fields=source.fields,
                preconditions=_preconditions(request),
            )
        )
        await _run(
            partial(
                self._store.delete_object,
                bucket,
                source.name,
                generation=None,
                preconditions=Preconditions(generation_match=source.generation),
            )
        )
        return JSONResponse(_resource(created, request))

    async def _compose(self, request: Request) -> Response:
        """https://cloud.google.com/storage/docs/json_api/v1/objects/compose"""
        bucket = _path_value(request, "bucket")
        wanted = await _json_body(request)
        parts = wanted.get("sourceObjects") or []
        if not 1 <= len(parts) <= MAX_COMPOSED:
            raise Invalid(f"sourceObjects must be 1 to {MAX_COMPOSED} objects")
        sources = [
            await _run(
                partial(
                    self._store.object,
                    bucket,
                    str(part.get("name", "")),
                    generation=_integer(part, "generation"),
                    preconditions=Preconditions(
                        generation_match=_integer(
                            part.get("objectPreconditions") or {}, "ifGenerationMatch"
                        )
                    ),
                )
            )
            for part in parts
        ]
        created = await self._create(
            bucket,
            _path_value(request, "object"),
            content=await _run(self._store.join_contents, sources),
            fields=wanted.get("destination") or {},
            preconditions=_preconditions(request),
        )
        return JSONResponse(_resource(created, request))

    async def _notifications(self, request: Request) -> Response:
        bucket = _path_value(request, "bucket")
        if request.method == "POST":
            fields = await _json_body(request)
            created = await _run(self._store.insert_notification, bucket, fields)
            logger.info("notifications of bucket %s go to %s", bucket, created["topic"])
            return JSONResponse(created)
        items = await _run(self._store.notifications, bucket)
        return JSONResponse({"kind": "storage#notifications", "items": items})

    async def _one_notification(self, request: Request) -> Response:
        names = _path_value(request, "bucket"), _path_value(request, "notification")
        if request.method == "DELETE":
            await _run(self._store.delete_notification, *names)
            return Response(status_code=204)
        return JSONResponse(await _run(self._store.notification, *names))

    async def _download(self, request: Request) -> Response:
        return await self._media(request, _path_value(request, "object"))

    async def _upload(self, request: Request) -> Response:
        if "upload_id" in request.query_params:
            return await self._continue_upload(request)
        kind = request.query_params.get("uploadType")
        if kind == "resumable":
            return await self._start_upload(request)
        key, path = self._store.new_content()
        try:
            if kind == "multipart":
                metadata, content_type = await write_multipart(
                    request.stream(), path, content_type=request.headers.get("content-type", "")
                )
                fields = _parse_json(metadata)
            elif kind == "media":
                await write_body(request.stream(), path)
                content_type, fields = request.headers.get("content-type", ""), {}
            else:
                raise Invalid("uploadType must be media, multipart or resumable")
            content = await _run(self._store.keep_content, key)
        except BaseException:
            self._store.drop_content(key)
            raise
        if content_type:
            fields.setdefault("contentType", content_type)
        created = await self._create(
            _path_value(request, "bucket"),
            _object_name(request, fields),
            content=content,
            fields={**fields, **_declared_hashes(request)},
            preconditions=_preconditions(request),
        )
        return JSONResponse(_resource(created, request))

    # Resumable uploads

    async def _start_upload(self, request: Request) -> Response:
        fields = await _json_body(request)
        if content_type := request.headers.get("x-upload-content-type"):
            fields.setdefault("contentType", content_type)
        upload = await _run(
            partial(
                self._store.start_upload,
                _path_value(request, "bucket"),
                _object_name(request, fields),
                fields=fields,
                preconditions=_preconditions(request),
                origin=request.headers.get("origin", ""),
            )
        )
        return Response(status_code=200, headers=_session_headers(upload, request))

    async def _continue_upload(self, request: Request) -> Response:
        upload_id = request.query_params["upload_id"]
        lock = self._upload_locks.setdefault(upload_id, asyncio.Lock())
        # A client that lost its connection may be back before the old request has ended.
        async with lock:
            upload = await _run(self._store.upload, upload_id)
            if request.method == "DELETE":
                await _run(self._store.cancel_upload, upload)
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            return await self._receive_chunk(upload, request)

    async def _receive_chunk(self, upload: Upload, request: Request) -> Response:
        if upload.finished_generation is not None:
            finished = await _run(
                partial(
                    self._store.object,
                    upload.bucket,
                    upload.name,
                    generation=upload.finished_generation,
                )
            )
            return JSONResponse(_resource(finished, request))
        size = self._store.upload_size(upload)
        declared = parse_content_range(request.headers.get("content-range"))
        total = declared.total
        if declared.first is not None:
            path = self._store.upload_path(upload)
            size = await append_chunk(request.stream(), path, offset=declared.first)
            if "content-range" not in request.headers:
                total = size
        if total is not None and size > total:
            raise Invalid(f"The upload has {size} bytes, more than the announced {total}")
        if total is None or size < total:
            headers = {"X-GUploader-UploadID": upload.id}
            if size:
                headers["Range"] = f"bytes=0-{size - 1}"
            return Response(status_code=RESUME_INCOMPLETE, headers=headers)
        content = await _run(self._store.keep_content, upload.id)
        created = await self._create(
            upload.bucket,
            upload.name,
            content=content,
            fields={**upload.fields, **_declared_hashes(request)},
            preconditions=upload.preconditions,
            upload_id=upload.id,
        )
        return JSONResponse(_resource(created, request))

    async def _create(
        self,
        bucket: str,
        name: str,
        *,
        content: Content,
        fields: Json,
        preconditions: Preconditions,
        upload_id: str | None = None,
    ) -> StoredObject:
        return await _run(
            partial(
                self._store.create_object,
                bucket,
                name,
                content=content,
                fields=fields,
                preconditions=preconditions,
                upload_id=upload_id,
            )
        )

    # Contents

    async def _media(self, request: Request, name: str) -> Response:
        bucket = _path_value(request, "bucket")
        generation = _integer(request.query_params, "generation")
        preconditions = _preconditions(request)
        while True:
            stored = await _run(
                partial(
                    self._store.object,
                    bucket,
                    name,
                    generation=generation,
                    preconditions=preconditions,
                )
            )
            try:
                descriptor = self._store.open_content(stored.content)
                break
            except NotFound:
                # It was replaced between the two lines: look again, and find the new one.
                continue
        headers = _media_headers(stored)
        size = stored.content.size
        status, first, last = 200, 0, size - 1
        encoding = stored.fields.get("contentEncoding")
        decompress = encoding == "gzip" and "gzip" not in request.headers.get("accept-encoding", "")
        if decompress:
            headers.pop("Content-Encoding")
            headers["Warning"] = "214 UploadServer gunzipped"
        elif "range" in request.headers:
            wanted = _parse_range(request.headers["range"], size)
            if wanted is None:
                os.close(descriptor)
                return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
            status, (first, last) = wanted[0], wanted[1:]
            if status == 206:
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        if not decompress:
            headers["Content-Length"] = str(last - first + 1)
        blocks = _read_blocks(descriptor, first, last)
        if request.method == "HEAD":
            os.close(descriptor)
            return Response(status_code=status, headers=headers)
        return StreamingResponse(
            _gunzip(blocks) if decompress else blocks, status_code=status, headers=headers
        )


_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class _RawPath:
    """
    Route by the path as it was sent.

    An object name is one segment in which / is %2F; the decoded path has lost the difference.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._application(scope, receive, send)


class _Hosts:
    """
    Answer for the hosts that this server is reached by, and for no others.

    To a browser, a page of a foreign name that points to this machine is of this server's origin.
    """

    def __init__(self, application: ASGIApp, hosts: Sequence[str]) -> None:
        self._application = application
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        application = self._application
        if not is_allowed_host(Request(scope).headers.get("host"), self._hosts):
            application = JSONResponse(
                {"error": {"code": 421, "message": "no host of this server; see ALLOWED_HOSTS"}},
                status_code=421,
            )
        await application(scope, receive, send)


class _Cors:
    """
    Let in the browsers' pages that may come, and no others.

    A bucket's cors setting decides, as in the cloud; where it has none, pages of this machine are
    let in. The origin that a resumable upload was started for may continue it. Any other page is
    refused, not only kept from reading: there is no login that would keep it from writing.
    https://cloud.google.com/storage/docs/cross-origin
    """

    def __init__(self, application: ASGIApp, store: ObjectStore) -> None:
        self._application = application
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        origin = request.headers.get("origin")
        if origin is None:
            await self._application(scope, receive, send)
            return
        allowed = await self._allowed(request, origin)
        # A server that starts an upload names the origin of its page in this header, too.
        if allowed is None and not _starts_upload(request):
            message = f"The bucket's cors setting does not let in pages of {origin}"
            await _error(403, "forbidden", message)(scope, receive, send)
            return
        if request.method == "OPTIONS":
            await Response(status_code=200, headers=allowed)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(allowed or {})
            await send(message)

        await self._application(scope, receive, send_with_headers)

    async def _allowed(self, request: Request, origin: str) -> dict[str, str] | None:
        """Return the headers that let *origin* in; None keeps it out."""
        method = request.headers.get("access-control-request-method", request.method)
        asked_headers = request.headers.get("access-control-request-headers", "")
        rules = await self._rules(request.url.path)
        scheme, _, host = origin.partition("://")
        of_this_machine = (
            rules is None and scheme in ("http", "https") and is_allowed_host(host, LOOPBACK_HOSTS)
        )
        if of_this_machine or await self._continues_upload(request, origin):
            return _cors_headers(
                origin=origin,
                methods=", ".join(_ALL_METHODS),
                headers=asked_headers,
                exposed=", ".join(EXPOSED_HEADERS),
                max_age_seconds=DEFAULT_CORS_SECONDS,
            )
        for rule in rules or ():
            if not {origin, "*"} & set(rule.get("origin", ())):
                continue
            if not {method, "*"} & set(rule.get("method", ())):
                continue
            return _cors_headers(
                origin="*" if "*" in rule["origin"] else origin,
                methods=", ".join(rule["method"]),
                headers=asked_headers,
                exposed=", ".join(rule.get("responseHeader", ())),
                max_age_seconds=int(rule.get("maxAgeSeconds", DEFAULT_CORS_SECONDS)),
            )
        return None

    async def _continues_upload(self, request: Request, origin: str) -> bool:
        try:
            upload = await _run(self._store.upload, request.query_params.get("upload_id", ""))
        except NotFound:
            return False
        return upload.origin == origin

    async def _rules(self, path: str) -> list[Json] | None:
        segments = path.split("/")[1:]
        name = segments[segments.index("b") + 1 :][:1] if "b" in segments[:5] else []
        try:
            bucket = await _run(self._store.bucket, unquote("".join(name)))
        except NotFound:
            return None
        return bucket.get("cors") or None


def _starts_upload(request: Request) -> bool:
    return request.method == "POST" and request.query_params.get("uploadType") == "resumable"


def _cors_headers(
    *, origin: str, methods: str, headers: str, exposed: str, max_age_seconds: int
) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": headers,
        "Access-Control-Expose-Headers": exposed,
        "Access-Control-Max-Age": str(max_age_seconds),
        "Vary": "Origin",
    }


async def _run(function: Callable[..., Result], *arguments: object) -> Result:
    return await asyncio.to_thread(function, *arguments)


async def _service_account(_: Request) -> Response:
    return JSONResponse(
        {
            "kind": "storage#serviceAccount",
            "email_address": "storage-emulator@gs-project-accounts.iam.gserviceaccount.com",
        }
    )


async def _not_implemented(request: Request) -> Response:
    message = f"The emulator does not implement {request.method} {request.url.path}"
    logger.warning(message)
    return _error(501, "notImplemented", message)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, StorageError)  # noqa: S101 (registered for it alone)
    if error.status == 304:
        return Response(status_code=304)
    return _error(error.status, error.reason, str(error))


async def _ignore_disconnect(_: Request, __: Exception) -> Response:
    """The client is gone, so nothing is sent; received bytes of a resumable upload are kept."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


def _error(status: int, reason: str, message: str) -> Response:
    details = [{"message": message, "domain": "global", "reason": reason}]
    return JSONResponse(
        {"error": {"code": status, "message": message, "errors": details}}, status_code=status
    )


def _path_value(request: Request, name: str) -> str:
    try:
        return unquote(request.path_params[name], errors="strict")
    except UnicodeDecodeError:
        raise Invalid("The path is not UTF-8") from None


def _base_url(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}"


def _resource(stored: StoredObject, request: Request) -> Json:
    return object_resource(stored, base_url=_base_url(request))


def _bucket_resource(bucket: Json, request: Request) -> Json:
    return {**bucket, "selfLink": f"{_base_url(request)}/storage/v1/b/{bucket['name']}"}


def _integer(values: Mapping[str, str], name: str) -> int | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    try:
        return int(value)
    except ValueError:
        raise Invalid(f"Invalid value for {name}: {value!r}") from None


def _preconditions(request: Request, *, prefix: str = "if") -> Preconditions:
    query = request.query_params
    return Preconditions(
        generation_match=_integer(query, f"{prefix}GenerationMatch"),
        generation_not_match=_integer(query, f"{prefix}GenerationNotMatch"),
        metageneration_match=_integer(query, f"{prefix}MetagenerationMatch"),
        metageneration_not_match=_integer(query, f"{prefix}MetagenerationNotMatch"),
    )


async def _json_body(request: Request) -> Json:
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_JSON_BYTES:
            raise Invalid(f"The request is larger than {MAX_JSON_BYTES} bytes")
    return _parse_json(bytes(body))


def _parse_json(body: bytes) -> Json:
    try:
        parsed = json.loads(body) if body.strip() else {}
    except ValueError as error:
        raise Invalid("Parse Error: the body is not JSON") from error
    if not isinstance(parsed, dict):
        raise Invalid("Parse Error: the body is not a JSON object")
    return parsed


def _object_name(request: Request, fields: Json) -> str:
    name = request.query_params.get("name") or fields.get("name")
    if not isinstance(name, str):
        raise Invalid("Required object name is missing")
    return name


def _declared_hashes(request: Request) -> Json:
    """Return what x-goog-hash promises about the content, under the resource's names."""
    hashes = {}
    for part in request.headers.get("x-goog-hash", "").split(","):
        kind, _, value = part.strip().partition("=")
        if kind in ("md5", "crc32c"):
            hashes["md5Hash" if kind == "md5" else "crc32c"] = value
    return hashes


def _session_headers(upload: Upload, request: Request) -> dict[str, str]:
    bucket = quote(upload.bucket, safe="")
    return {
        "Location": (
            f"{_base_url(request)}/upload/storage/v1/b/{bucket}/o"
            f"?uploadType=resumable&upload_id={upload.id}"
        ),
        "X-GUploader-UploadID": upload.id,
    }


_FIELD_HEADERS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
}


def _media_headers(stored: StoredObject) -> dict[str, str]:
    headers = {
        "Content-Type": "application/octet-stream",
        **{
            header.title(): str(stored.fields[field])
            for header, field in _FIELD_HEADERS.items()
            if field in stored.fields
        },
        "Accept-Ranges": "bytes",
        "ETag": object_etag(stored),
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-hash": f"crc32c={stored.content.crc32c},md5={stored.content.md5}",
        "x-goog-storage-class": "STANDARD",
        "x-goog-stored-content-encoding": stored.fields.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": str(stored.content.size),
    }
    return {name: _header_text(value) for name, value in headers.items()}


def _header_text(value: str) -> str:
    """Percent-encode what a header cannot hold."""
    return quote(value, safe="".join(map(chr, range(32, 127))))


def _parse_range(header: str, size: int) -> tuple[int, int, int] | None:
    """
    Return (status, first, last) for a Range header; None if nothing of it exists.

    Several ranges, or another unit, are answered with the whole, as RFC 9110 section 14.2 allows.
    """
    unit, _, wanted = header.partition("=")
    start, dash, end = wanted.strip().partition("-")
    if unit.strip() != "bytes" or not dash or not (start + end).isdecimal():
        return 200, 0, size - 1
    if not start:
        first, last = max(0, size - int(end)), size - 1
    else:
        first, last = int(start), min(size - 1, int(end) if end else size - 1)
    if first >= size or first > last:
        return None
    return 206, first, last


async def _read_blocks(descriptor: int, first: int, last: int) -> AsyncIterator[bytes]:
    try:
        while first <= last:
            block = await asyncio.to_thread(
                os.pread, descriptor, min(READ_BLOCK_BYTES, last - first + 1), first
            )
            first += len(block)
            yield block
    finally:
        os.close(descriptor)


async def _gunzip(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    async for block in blocks:
        while block:
            yield decompressor.decompress(block, READ_BLOCK_BYTES)
            block = decompressor.unconsumed_tail
    yield decompressor.flush()


@click.command(help=(__doc__ or "").strip().splitlines()[0])
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=4443,
    show_default=True,
    envvar="STORAGE_PORT",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.",
)
@click.option(
    "--state",
    default=Path(".local/storage"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for buckets and objects.",
)
@click.option(
    "--allowed-hosts",
    envvar="ALLOWED_HOSTS",
    default=",".join(LOOPBACK_HOSTS),
    show_default=True,
    help="Hosts to answer for, separated by commas.",
)
def main(*, host: str, port: int, state: Path, allowed_hosts: str) -> None:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s storage %(levelname)s %(message)s",
    )
    listener = _listen(host, port)
    hold_state(state)
    state.mkdir(exist_ok=True)
    outbox = Outbox(pubsub_host=os.environ.get("PUBSUB_EMULATOR_HOST") or None)
    store = ObjectStore(state, notified=outbox.wake)
    outbox.start(store)
    server = uvicorn.Server(
        uvicorn.Config(
            Api(
                store, hosts=[name.strip() for name in allowed_hosts.split(",") if name.strip()]
            ).application(),
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
    # uvicorn stops at these and then raises them again for the previous handler.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: None)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    click.echo(f"Storage emulator listening on {host}:{listener.getsockname()[1]}")
    server.run(sockets=[listener])
    outbox.stop()
    store.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is named; without it each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise click.ClickException(f"cannot listen on {host}:{port}: {error}") from error
        raise click.ClickException(
            f"port {port} is taken: set STORAGE_PORT to a free port."
        ) from error
    return listener


if __name__ == "__main__":
    main()
