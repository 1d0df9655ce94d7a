"""
Compound files (OLE2), the container of old Office files and of Outlook messages.

Source: [MS-CFB], https://learn.microsoft.com/openspecs/windows_protocols/ms-cfb. Every chain of
sectors is followed at most once around: damaged files name sectors in circles.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

_HEADER_BYTES = 512
_ENTRY_BYTES = 128
_STORAGE, _STREAM, _ROOT = 1, 2, 5
# From here on sector numbers are marks: free, end of chain, table.
_MARKS = 0xFFFFFFFA
_MAX_DEPTH = 40
_MAX_ENTRIES = 200_000

# What reading one raises on damage.
COMPOUND_ERRORS = (ValueError, struct.error)

# [MS-OLEPS], 2.18 and 3.1.2: the title, its code page, and the two kinds of text.
_CODE_PAGE, _TITLE = 1, 2
_BYTES_TEXT, _WIDE_TEXT = 0x1E, 0x1F
_SUMMARY = "\x05summaryinformation"
_MAX_TITLE_BYTES = 2_000


@dataclass(slots=True)
class Storage:
    """
    A folder of a compound file.

    Attributes:
        streams: (first sector, length) by name in lower case.
        storages: By name in lower case.
    """

    streams: dict[str, tuple[int, int]] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)


class CompoundFile:
    """
    The streams of a compound file.

    Raises:
        ValueError, struct.error: From the constructor and from every read: the file is damaged.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        shift, small_shift = struct.unpack_from("<HH", data, 30)
        if not (7 <= shift <= 16 and 3 <= small_shift <= shift):
            raise ValueError("sector size")
        start, _, self.small_limit, small_table = struct.unpack_from("<IIII", data, 48)
        more_start, more_count = struct.unpack_from("<II", data, 68)
        self.size: int = 1 << shift
        self.small_size: int = 1 << small_shift
        places = list(struct.unpack_from("<109I", data, 76))
        for _ in range(min(more_count, len(data) // self.size)):
            if more_start >= _MARKS:
                break
            sector = self._sector(more_start)
            *more, more_start = struct.unpack(f"<{len(sector) // 4}I", sector)
            places += more
        self.table = _numbers(b"".join(self._sector(one) for one in places if one < _MARKS))
        directory = self._read(start)
        if len(directory) < _ENTRY_BYTES:
            raise ValueError("no directory")
        (small_start,) = struct.unpack_from("<I", directory, 116)
        # The streams below the limit stand in one that is cut into smaller sectors.
        self.small = list(self._chain(small_start))
        self.small_table = _numbers(self._read(small_table))
        self.root = self._tree(directory)

    def read(self, storage: Storage, name: str) -> bytes:
        """Return a stream, b"" if there is none of that name (in lower case)."""
        return b"".join(self.data[begin:end] for begin, end in self.places(storage, name))

    def places(self, storage: Storage, name: str) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) of the pieces of a stream in the file."""
        first, left = storage.streams.get(name, (_MARKS, 0))
        is_small = left < self.small_limit
        numbers = self._links(first, self.small_table) if is_small else self._chain(first)
        for number in numbers:
            begin = self._small_place(number) if is_small else self._place(number)
            end = min(begin + min(left, self.small_size if is_small else self.size), len(self.data))
            if left <= 0 or begin >= end:
                return
            yield begin, end
            left -= end - begin

    def title(self) -> str:
        """Return the title that the file's properties name, "" if there is none."""
        try:
            return _title(self.read(self.root, _SUMMARY))
        except (*COMPOUND_ERRORS, LookupError):
            # A damaged note about the document costs nothing but that.
            return ""

    def _tree(self, directory: bytes) -> Storage:
        root = Storage()
        seen: set[int] = {0}
        (first,) = struct.unpack_from("<I", directory, 76)
        waiting = [(first, root, 0)]
        while waiting:
            number, storage, depth = waiting.pop()
            entry = directory[number * _ENTRY_BYTES : (number + 1) * _ENTRY_BYTES]
            if number in seen or len(entry) < _ENTRY_BYTES or len(seen) > _MAX_ENTRIES:
                continue
            seen.add(number)
            length, kind = struct.unpack_from("<HB", entry, 64)
            left, right, child = struct.unpack_from("<III", entry, 68)
            waiting += [(left, storage, depth), (right, storage, depth)]
            name = entry[: max(0, min(length, 64) - 2)].decode("utf-16-le", "replace").lower()
            if kind == _STREAM:
                storage.streams.setdefault(name, struct.unpack_from("<II", entry, 116))
            elif kind in (_STORAGE, _ROOT) and depth < _MAX_DEPTH:
                inner = storage.storages.setdefault(name, Storage())
                waiting.append((child, inner, depth + 1))
        return root

    def _place(self, number: int) -> int:
        # The header takes the place of one sector, even where sectors are larger than it.
        return max(_HEADER_BYTES, self.size) + number * self.size

    def _small_place(self, number: int) -> int:
        sector, rest = divmod(number * self.small_size, self.size)
        if sector >= len(self.small):
            return len(self.data)
        return self._place(self.small[sector]) + rest

    def _sector(self, number: int) -> bytes:
        begin = self._place(number)
        return self.data[begin : begin + self.size]

    def _chain(self, start: int) -> Iterator[int]:
        return self._links(start, self.table)

    def _links(self, start: int, table: tuple[int, ...]) -> Iterator[int]:
        for _ in range(len(table)):
            if start >= len(table):
                return
            yield start
            start = table[start]

    def _read(self, start: int) -> bytes:
        return b"".join(self._sector(number) for number in self._chain(start))


def read_stream(data: bytes, names: Collection[str]) -> bytes:
    """
    Return the first stream at the top of a compound file that has one of *names*.

    Raises:
        ValueError, struct.error: The file is damaged, or has no such stream.
    """
    file = CompoundFile(data)
    for name in names:
        if name in file.root.streams:
            return file.read(file.root, name)
    raise ValueError("no such stream")


def _title(properties: bytes) -> str:
    """Return the title in a stream of properties ([MS-OLEPS], 2.21)."""
    (start,) = struct.unpack_from("<I", properties, 44)
    (count,) = struct.unpack_from("<I", properties, start + 4)
    places = dict(
        struct.unpack_from("<II", properties, start + 8 + 8 * i) for i in range(min(count, 100))
    )
    place = start + places[_TITLE]
    kind, length = struct.unpack_from("<II", properties, place)
    text = properties[place + 8 : place + 8 + min(length, _MAX_TITLE_BYTES)]
    if kind == _WIDE_TEXT:
        text = properties[place + 8 : place + 8 + min(2 * length, _MAX_TITLE_BYTES)]
        return text.decode("utf-16-le", "replace").partition("\0")[0]
    if kind != _BYTES_TEXT:
        return ""
    page = 1252
    if _CODE_PAGE in places:
        (page,) = struct.unpack_from("<H", properties, start + places[_CODE_PAGE] + 4)
    encoding = {1200: "utf-16-le", 65001: "utf-8"}.get(page, f"cp{page}")
    return text.decode(encoding, "replace").partition("\0")[0]


def _numbers(data: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(data) // 4}I", data[: len(data) // 4 * 4])
