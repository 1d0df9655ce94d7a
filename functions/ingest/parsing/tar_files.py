"""Tar archives: the documents in them, each under its own path."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import IO

from shared.errors import Unreadable
from shared.values import is_junk

from .blocks import Event, Request, corrupt
from .members import not_read, read_member
from .zip_files import MAX_MEMBER_BYTES, count_member, metered

# What tarfile raises on damage, found by fuzzing.
_ERRORS = (tarfile.TarError, ValueError, OverflowError, EOFError, OSError, RecursionError)
_PIECE_BYTES = 1 << 16


def parse_tar(request: Request) -> Iterator[Event]:
    """
    Yield every file of an archive, its path as the heading; links and devices hold no text.

    Nothing is written anywhere: a path is only a name, whatever it climbs to.

    Raises:
        Unreadable: The archive is damaged, or larger than the limits.
    """
    request.source.seek(0)
    try:
        # Closing it would close nothing: the file is the request's.
        archive = tarfile.TarFile(fileobj=request.source, mode="r")
    except _ERRORS as error:
        raise _damaged() from error
    while True:
        try:
            entry = archive.next()
        except _ERRORS as error:
            raise _damaged() from error
        if entry is None:
            return
        count_member(request)
        path = entry.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if not entry.isfile() or is_junk(path):
            continue
        if entry.size > MAX_MEMBER_BYTES:
            too_large = Unreadable("too_large", f"it has over {MAX_MEMBER_BYTES >> 20} MiB.")
            yield from not_read(f"File: {path}", too_large)
            continue
        try:
            file = archive.extractfile(entry)
            data = b"".join(metered(request, _pieces(file))) if file else b""
        except _ERRORS as error:
            raise _damaged() from error
        yield from read_member(request, data, name=path, content_type=None, called="File")


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while data := file.read(_PIECE_BYTES):
        yield data


def _damaged() -> Unreadable:
    return corrupt("The tar archive is damaged or cut off. Make it again and upload it.")
