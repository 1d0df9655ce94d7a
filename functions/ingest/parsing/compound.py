"""
Streams of compound files (OLE2), the container of old Office files.

Source: [MS-CFB], https://learn.microsoft.com/openspecs/windows_protocols/ms-cfb. Every chain of
sectors is followed at most once around: damaged files name sectors in circles.
"""

from __future__ import annotations

import struct
from collections.abc import Collection

_HEADER_BYTES = 512
_ENTRY_BYTES = 128
_STREAM = 2
# From here on sector numbers are marks: free, end of chain, table.
_MARKS = 0xFFFFFFFA


def read_stream(data: bytes, names: Collection[str]) -> bytes:
    """
    Return the first stream at the top of a compound file that has one of *names*.

    Raises:
        ValueError, struct.error: The file is damaged, or has no such stream.
    """
    shift, small_shift = struct.unpack_from("<HH", data, 30)
    if not (7 <= shift <= 16 and 3 <= small_shift <= shift):
        raise ValueError("sector size")
    directory_start, _, small_limit, small_table_start = struct.unpack_from("<IIII", data, 48)
    more_start, more_count = struct.unpack_from("<II", data, 68)
    size = 1 << shift
    places = list(struct.unpack_from("<109I", data, 76))
    for _ in range(min(more_count, len(data) // size)):
        if more_start >= _MARKS:
            break
        sector = _sector(data, more_start, size)
        *more, more_start = struct.unpack(f"<{len(sector) // 4}I", sector)
        places += more
    table = _numbers(b"".join(_sector(data, place, size) for place in places if place < _MARKS))
    directory = _chain(data, directory_start, table, size)
    root = directory[:_ENTRY_BYTES]
    (small_start,) = struct.unpack_from("<I", root, 116)
    waiting = [struct.unpack_from("<I", root, 76)[0]]
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        entry = directory[number * _ENTRY_BYTES : (number + 1) * _ENTRY_BYTES]
        if number in seen or len(entry) < _ENTRY_BYTES:
            continue
        seen.add(number)
        length, kind = struct.unpack_from("<HB", entry, 64)
        waiting += struct.unpack_from("<II", entry, 68)
        name = entry[: max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
        if kind != _STREAM or name.lower() not in names:
            continue
        start, stream_bytes = struct.unpack_from("<II", entry, 116)
        if stream_bytes >= small_limit:
            return _chain(data, start, table, size)[:stream_bytes]
        small = _chain(data, small_start, table, size)
        small_table = _numbers(_chain(data, small_table_start, table, size))
        return _chain(small, start, small_table, 1 << small_shift, header=0)[:stream_bytes]
    raise ValueError("no such stream")


def _sector(data: bytes, number: int, size: int, *, header: int | None = None) -> bytes:
    # The header takes the place of one sector, even where sectors are larger than it.
    start = (max(_HEADER_BYTES, size) if header is None else header) + number * size
    return data[start : start + size]


def _numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])


def _chain(
    data: bytes, start: int, table: tuple[int, ...], size: int, *, header: int | None = None
) -> bytes:
    parts = []
    for _ in range(len(table)):
        if start >= len(table):
            break
        parts.append(_sector(data, start, size, header=header))
        start = table[start]
    return b"".join(parts)
