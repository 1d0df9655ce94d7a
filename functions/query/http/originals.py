"""Originals: a link within the caller's rights, the bytes, and where a quote stands on them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Response, request
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI

from shared.errors import NotPermitted, ObjectGone
from shared.runtime.logs import get_logger
from shared.store import connect, read_link_secret, read_marks, reading
from shared.values import ObjectVersion

from ..dependencies import Dependencies
from .audit import note_link
from .known_documents import find_document, principals
from .links import Link, read_link, write_link
from .openapi import SECURITY, file_responses, responses
from .problems import ProblemRaised
from .replies import reply
from .schemas import (
    DocumentPath,
    MarkOut,
    MarksQuery,
    MarksResponse,
    OriginalPath,
    OriginalResponse,
)

if TYPE_CHECKING:
    from shared.bucket import DocumentBucket, Original

_LINK_SECONDS = 600
# A piece is held in memory while the reader takes it.
_PIECE_BYTES = 1024 * 1024
# Cloud Run takes longer answers only where their length is not given.
# https://docs.cloud.google.com/run/quotas#request_limits
_MAX_GIVEN_LENGTH = 30 * 1024 * 1024
# These are shown on the page; no browser runs anything in them.
_SHOWN_TYPES = frozenset({"application/pdf", "image/png", "image/jpeg", "image/webp"})
# Whatever a browser makes of the bytes, nothing in them runs or is loaded.
_POLICY = "sandbox; default-src 'none'; frame-ancestors 'none'"

_ORIGINALS = Tag(name="originals", description="The files themselves.")

logger = get_logger(__name__)


def add_originals(app: OpenAPI, dependencies: Dependencies) -> None:
    """Add the routes to *app*."""

    @app.get(
        "/documents/<document_id>/original",
        tags=[_ORIGINALS],
        summary="Get a link to the file, good for ten minutes",
        operation_id="get_original_link",
        description="Of the generation that answers, or of the newest if none does.",
        responses=responses(OriginalResponse, 404, 503),
        security=SECURITY,
    )
    def link_original(path: DocumentPath) -> Response:
        document = find_document(dependencies, path.document_id)
        settings = dependencies.settings
        if dependencies.make_originals is None or document.bucket != settings.documents_bucket:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND,
                "original_unavailable",
                "This service does not hand out originals of that bucket: see DOCUMENTS_BUCKET.",
            )
        if document.state == "deleted":
            raise _gone()
        expires = int(time.time()) + _LINK_SECONDS
        generation = document.answering_generation or document.generation
        link = Link(document.bucket, document.name, generation, document.content_type, expires)
        with reading(dependencies.pool, principals()) as connection:
            secret = read_link_secret(connection)
        token = write_link(link, secret=secret)
        note_link(token)
        return reply(
            OriginalResponse(
                url=f"/originals/{token}",
                expires=datetime.fromtimestamp(expires, UTC),
                name=document.name,
                generation=generation,
                content_type=document.content_type,
                size=document.size,
                pages=document.pages,
            )
        )

    @app.get(
        "/originals/<token>",
        tags=[_ORIGINALS],
        summary="Fetch a file by its link",
        operation_id="fetch_original",
        description="Byte ranges are supported; the link is all you need.",
        responses=file_responses(403, 404, 416, 503),
    )
    def original(path: OriginalPath) -> Response:
        note_link(path.token)
        with connect(dependencies.pool) as connection:
            secret = read_link_secret(connection)
        link = read_link(path.token, secret=secret, now=time.time())
        if link is None or dependencies.make_originals is None:
            raise ProblemRaised(
                HTTPStatus.FORBIDDEN, "link_expired", "The link has expired; ask for another one."
            )
        bucket = dependencies.make_originals()
        try:
            described = bucket.describe(link.version)
        except ObjectGone as error:
            raise _gone() from error
        except NotPermitted as error:
            logger.error("original refused", permission=str(error))
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND,
                "original_unavailable",
                "This service may not read the bucket. Its account needs"
                " roles/storage.objectViewer there.",
            ) from error
        return _send(bucket, link, described)

    @app.get(
        "/documents/<document_id>/marks",
        tags=[_ORIGINALS],
        summary="Find where on the pages of a PDF or a picture a part of its text stands",
        operation_id="find_marks",
        responses=responses(MarksResponse, 404, 503),
        security=SECURITY,
    )
    def show_marks(path: DocumentPath, query: MarksQuery) -> Response:
        document = find_document(dependencies, path.document_id)
        with reading(dependencies.pool, principals()) as connection:
            marks = read_marks(
                connection,
                document_id=document.id,
                generation=query.generation,
                char_start=query.char_start,
                char_end=query.char_end,
            )
        return reply(MarksResponse(marks=[MarkOut.model_validate(mark) for mark in marks]))


def _send(bucket: DocumentBucket, link: Link, described: Original) -> Response:
    first, last, status = 0, described.size - 1, HTTPStatus.OK
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{_file_name(link.name)}",
        "Content-Security-Policy": _POLICY,
        "Cache-Control": "private, no-store",
    }
    if described.content_encoding:
        # A range of compressed bytes is useless, so none is offered.
        headers["Content-Encoding"] = described.content_encoding
    else:
        headers["Accept-Ranges"] = "bytes"
        if request.range is not None and request.range.units == "bytes":
            wanted = request.range.range_for_length(described.size)
            if wanted is not None:
                first, last, status = wanted[0], wanted[1] - 1, HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {first}-{last}/{described.size}"
            elif len(request.range.ranges) == 1:
                raise ProblemRaised(
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    "range_not_satisfiable",
                    f"The file has {described.size} bytes.",
                )
    if last - first < _MAX_GIVEN_LENGTH:
        headers["Content-Length"] = str(last - first + 1)
    shown = link.content_type if link.content_type in _SHOWN_TYPES else "application/octet-stream"
    return Response(
        _pieces(bucket, link.version, first, last),
        status=status,
        content_type=shown,
        headers=headers,
    )


def _pieces(
    bucket: DocumentBucket, version: ObjectVersion, first: int, last: int
) -> Iterator[bytes]:
    for start in range(first, last + 1, _PIECE_BYTES):
        yield bucket.read(version, first=start, last=min(start + _PIECE_BYTES - 1, last))


def _file_name(name: str) -> str:
    """https://www.rfc-editor.org/rfc/rfc8187#section-3.2"""
    return quote(name.rpartition("/")[2], safe="!#$&+-.^_`|~")


def _gone() -> ProblemRaised:
    return ProblemRaised(
        HTTPStatus.NOT_FOUND,
        "object_gone",
        "This generation of the file is no longer in the bucket.",
    )
