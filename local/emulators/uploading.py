"""Read request bodies straight to disk: a body, a multipart upload, a chunk of a resumable one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from local.emulators.objects import Invalid

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

WRITE_BLOCK_BYTES = 1 << 20
MAX_METADATA_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ContentRange:
    """
    What a PUT to a resumable upload says that it carries.

    first None: nothing, the client asks how far the upload is. total None: not known yet.
    https://cloud.google.com/storage/docs/performing-resumable-uploads
    """

    first: int | None
    last: int | None
    total: int | None


def parse_content_range(header: str | None) -> ContentRange:
    """
    Read a Content-Range header; without one the body is the whole content.

    Raises:
        Invalid: The header is malformed.
    """
    if header is None:
        return ContentRange(first=0, last=None, total=None)
    match = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", header.strip())
    if match is None:
        raise Invalid(f"Failed to parse Content-Range header: {header!r}")
    first, last, total = match.groups()
    return ContentRange(
        first=None if first is None else int(first),
        last=None if last is None else int(last),
        total=None if total == "*" else int(total),
    )


async def write_body(body: AsyncIterator[bytes], path: Path) -> None:
    """Write *body* to *path*."""
    with path.open("wb") as file:
        await _write_all(body, file)


async def append_chunk(body: AsyncIterator[bytes], path: Path, *, offset: int) -> int:
    """
    Append *body*, which begins at *offset* of the whole, to *path*; return the new size.

    Bytes that are there already are passed over, so a chunk that is sent again does no harm.
    What arrived before the client broke off stays.

    Raises:
        Invalid: The body begins after the end of what is there.
    """
    size = path.stat().st_size
    if offset > size:
        raise Invalid(
            f"Invalid request. According to the Content-Range header, the upload offset is"
            f" {offset} byte(s), which exceeds already uploaded size of {size} byte(s)."
        )
    with path.open("ab") as file:
        await _write_all(_skip(body, size - offset), file)
    return path.stat().st_size


async def write_multipart(
    body: AsyncIterator[bytes], path: Path, *, content_type: str
) -> tuple[bytes, str]:
    """
    Write the second part of a multipart/related *body* to *path*.

    Returns:
        The first part (JSON metadata), and the second one's content type, '' for none.

    Raises:
        Invalid: The body is not two parts.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/related" or not boundary:
        raise Invalid("A multipart upload needs Content-Type: multipart/related; boundary=...")
    parts = _Parts()
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        with path.open("wb") as file:
            async for block in body:
                parser.write(block)
                if parts.pending_bytes >= WRITE_BLOCK_BYTES:
                    await asyncio.to_thread(file.write, parts.take())
            await asyncio.to_thread(file.write, parts.take())
        parser.finalize()
    except FormParserError as error:
        raise Invalid(f"Malformed multipart body: {error}") from error
    if not parts.ended or parts.number != 2:
        raise Invalid("A multipart upload needs two parts, metadata and content")
    return bytes(parts.metadata), parts.content_type


class _Parts:
    """The two parts of a multipart upload, as the parser meets them."""

    def __init__(self) -> None:
        self.number = 0
        self.ended = False
        self.metadata = bytearray()
        self.content_type = ""
        self.pending_bytes = 0
        self._pending: list[bytes] = []
        self._field = bytearray()
        self._value = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._on_part_begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._on_header_end,
            "on_part_data": self._on_part_data,
            "on_end": self._on_end,
        }

    def take(self) -> bytes:
        pending, self._pending, self.pending_bytes = self._pending, [], 0
        return b"".join(pending)

    def _on_part_begin(self) -> None:
        self.number += 1

    def _on_header_end(self) -> None:
        if self.number == 2 and self._field.lower() == b"content-type":
            self.content_type = self._value.decode("latin-1").strip()
        self._field.clear()
        self._value.clear()

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self.number == 1:
            self.metadata += data[start:end]
            if len(self.metadata) > MAX_METADATA_BYTES:
                raise Invalid(f"The metadata is larger than {MAX_METADATA_BYTES} bytes")
        else:
            self._pending.append(data[start:end])
            self.pending_bytes += end - start

    def _on_end(self) -> None:
        self.ended = True


async def _write_all(body: AsyncIterator[bytes], file: IO[bytes]) -> None:
    pending: list[bytes] = []
    pending_bytes = 0
    try:
        async for block in body:
            pending.append(block)
            pending_bytes += len(block)
            if pending_bytes >= WRITE_BLOCK_BYTES:
                joined, pending, pending_bytes = b"".join(pending), [], 0
                await asyncio.to_thread(file.write, joined)
    finally:
        file.write(b"".join(pending))


async def _skip(body: AsyncIterator[bytes], byte_count: int) -> AsyncIterator[bytes]:
    async for block in body:
        if byte_count >= len(block):
            byte_count -= len(block)
            continue
        yield block[byte_count:]
        byte_count = 0
