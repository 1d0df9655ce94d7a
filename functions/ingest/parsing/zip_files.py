"""Zip and gzip files: the documents in them, each under its own path."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace

from shared.errors import Unreadable
from shared.values import is_junk

from .archives import Archive
from .blocks import Event, Request, corrupt
from .members import MAX_DEPTH, not_read, read_member
from .registry import parse

# In all archives of one document together; each costs at least a line of text.
MAX_MEMBERS = 5_000
# A larger member is a recording or an image of a disk, and would not fit into the memory.
MAX_MEMBER_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16
_UTF8_NAME = 0x800
_GZIP_WINDOW = 16 + zlib.MAX_WBITS


def parse_zip(request: Request) -> Iterator[Event]:
    """
    Yield every file of an archive, its path as the heading.

    Nothing is written anywhere: a path is only a name, whatever it climbs to.

    Raises:
        Unreadable: The archive is damaged, protected, or larger than the limits.
    """
    archive = Archive(request.source, limits=request.limits, what="zip")
    refused: Unreadable | None = None
    is_read = False
    for entry in archive.names.values():
        path = _path(entry)
        # A damaged directory may hold an entry without a name, which is_dir does not expect.
        if not entry.filename or entry.is_dir() or is_junk(path):
            continue
        count_member(request)
        if entry.file_size > MAX_MEMBER_BYTES:
            too_large = Unreadable("too_large", f"it has over {MAX_MEMBER_BYTES >> 20} MiB.")
            yield from not_read(f"File: {path}", too_large)
            continue
        try:
            data = b"".join(metered(request, archive.pieces(entry.filename)))
        except Unreadable as error:
            if error.code == "decompression_limit":
                raise
            # One damaged or protected member costs that member only.
            refused = refused or error
            yield from not_read(f"File: {path}", error)
            continue
        is_read = True
        yield from read_member(request, data, name=path, content_type=None, called="File")
    if refused and not is_read:
        raise refused


def parse_gzip(request: Request) -> Iterator[Event]:
    """
    Yield the document that is compressed in a gzip file.

    Raises:
        Unreadable: The file is damaged, larger than the limits, or holds no document.
    """
    if request.depth >= MAX_DEPTH:
        raise Unreadable("unsupported_type", "The gzip files are nested too deeply.")
    data = b"".join(metered(request, _unpacked(request)))
    name = request.name
    if name.lower().endswith(".svgz"):
        name = name[:-1]
    elif name.lower().endswith(".tgz"):
        name = f"{name[:-4]}.tar"
    inside = replace(
        request,
        source=io.BytesIO(data),
        name=name[:-3] if name.lower().endswith(".gz") else name,
        content_type=None,
        depth=request.depth + 1,
    )
    _, events = parse(inside)
    yield from events


def _unpacked(request: Request) -> Iterator[bytes]:
    """Yield the content of all members of a gzip file (RFC 1952, 2.2), in bounded pieces."""
    request.source.seek(0)
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    is_complete = False
    try:
        while data := request.source.read(_PIECE_BYTES):
            while data:
                if is_complete:
                    # Padding follows the last member, or another member.
                    if not data.startswith(b"\x1f\x8b"):
                        return
                    unpacker, is_complete = zlib.decompressobj(_GZIP_WINDOW), False
                yield unpacker.decompress(data, _PIECE_BYTES)
                data = unpacker.unused_data or unpacker.unconsumed_tail
                is_complete = unpacker.eof
        yield unpacker.flush()
    except zlib.error as error:
        raise _damaged() from error
    if not unpacker.eof:
        raise _damaged()


def _damaged() -> Unreadable:
    return corrupt("The gzip file is damaged or incomplete. Upload it again.")


def metered(request: Request, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield *pieces* while all archives of the document together stay within the limit."""
    limit = request.limits.max_decompressed_bytes
    for piece in pieces:
        request.unpacked.bytes += len(piece)
        if request.unpacked.bytes > limit:
            raise Unreadable(
                "decompression_limit",
                f"The archive's size when unpacked exceeds the limit of {limit >> 20} MiB. "
                "Split it, or upload its documents one by one.",
            )
        yield piece


def count_member(request: Request) -> None:
    """Count a file of an archive against the limit that holds for the whole document."""
    request.unpacked.members += 1
    if request.unpacked.members > MAX_MEMBERS:
        raise Unreadable(
            "decompression_limit",
            f"The archive holds more than {MAX_MEMBERS:,} files. Split it, or upload its "
            "documents one by one.",
        )


def _path(entry: zipfile.ZipInfo) -> str:
    """Return the path of a member; most programs write UTF-8, also those that do not say so."""
    if not entry.flag_bits & _UTF8_NAME:
        try:
            return entry.filename.encode("cp437").decode("utf-8")
        except UnicodeError:
            pass
    return entry.filename
