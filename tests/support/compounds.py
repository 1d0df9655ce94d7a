"""Compound files for the tests: old Office files and Outlook messages."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "samples"

# A folder is a mapping of what is in it.
Stream = bytes | Mapping[str, "Stream"]


def make_compound(streams: Mapping[str, Stream]) -> bytes:
    """Return a compound file (OLE2) of *streams*; a folder is a mapping of those in it."""
    free, chain_end, table = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    sectors: list[bytes] = []
    links: list[int] = []
    small = bytearray()
    small_links: list[int] = []

    def add(data: bytes) -> int:
        first = len(sectors)
        data = data.ljust(-(-max(len(data), 1) // 512) * 512, b"\0")
        for at in range(0, len(data), 512):
            sectors.append(data[at : at + 512])
            links.append(len(sectors))
        links[-1] = chain_end
        return first

    def add_small(data: bytes) -> int:
        first = len(small_links)
        small.extend(data.ljust(-(-max(len(data), 1) // 64) * 64, b"\0"))
        small_links.extend(range(first + 1, len(small) // 64 + 1))
        small_links[-1] = chain_end
        return first

    entries: list[bytes] = [b""]

    def entry(name: str, kind: int, child: int, right: int, first: int, size: int) -> bytes:
        encoded = (name + "\0").encode("utf-16-le")
        return (
            encoded.ljust(64, b"\0")
            + struct.pack("<HBBIII", len(encoded), kind, 1, free, right, child)
            + bytes(36)
            + struct.pack("<IQ", first, size)
        )

    def add_all(inside: Mapping[str, Stream]) -> int:
        places = [len(entries) + i for i in range(len(inside))]
        entries.extend(b"" for _ in places)
        for i, (name, data) in enumerate(inside.items()):
            right = places[i + 1] if i + 1 < len(places) else free
            if isinstance(data, Mapping):
                made = entry(name, 1, add_all(data), right, 0, 0)
            else:
                first = add(data) if len(data) >= 4096 else add_small(data)
                made = entry(name, 2, free, right, first, len(data))
            entries[places[i]] = made
        return places[0] if places else free

    child = add_all(streams)
    small_start = add(bytes(small)) if small else chain_end
    entries[0] = entry("Root Entry", 5, child, free, small_start, len(small))
    directory = add(b"".join(entries))
    small_table = chain_end
    if small_links:
        small_links += [free] * (-len(small_links) % 128)
        small_table = add(struct.pack(f"<{len(small_links)}I", *small_links))
    count = 1
    while len(sectors) + count > count * 128:
        count += 1
    places = [len(sectors) + i for i in range(count)]
    links += [table] * count
    links += [free] * (count * 128 - len(links))
    packed = struct.pack(f"<{len(links)}I", *links)
    header = (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
        + bytes(16)
        + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6)
        + bytes(6)
        + struct.pack("<IIIIIIIII", 0, count, directory, 0, 4096, small_table,
                      len(small_links) // 128, chain_end, 0)
        + b"".join(struct.pack("<I", place) for place in places)
    )  # fmt: skip
    return header.ljust(512, b"\xff") + b"".join(sectors) + packed


def make_msg(
    texts: Mapping[int, str | bytes],
    *,
    people: Sequence[tuple[int, str, str]] = (),
    files: Sequence[tuple[str, str, bytes | Mapping[str, Stream]]] = (),
    times: Mapping[int, datetime] | None = None,
    head: int = 32,
) -> dict[str, Stream]:
    """
    Return the streams of an Outlook message ([MS-OXMSG]).

    Args:
        texts: By the number of their property; bytes for those that are binary.
        people: (kind, name, address) of those to whom it goes; kind 1 is To, 2 is Cc.
        files: (name, type, content) of what is attached; the streams of a message within it.
        times: By the number of their property.
        head: Length of what stands before the properties; 24 in a message within.
    """
    streams: dict[str, Stream] = {}
    fixed = bytes(head)
    for number, text in texts.items():
        streams |= _property(number, text)
    for number, at in (times or {}).items():
        ticks = int((at - datetime(1601, 1, 1, tzinfo=UTC)).total_seconds()) * 10_000_000
        fixed += struct.pack("<HHIQ", 0x40, number, 6, ticks)
    streams["__properties_version1.0"] = fixed
    for i, (kind, name, address) in enumerate(people):
        streams[f"__recip_version1.0_#{i:08X}"] = {
            **_property(0x3001, name),
            **_property(0x39FE, address),
            "__properties_version1.0": bytes(8) + struct.pack("<HHIQ", 3, 0x0C15, 6, kind),
        }
    for i, (name, mime_type, data) in enumerate(files):
        content = (
            {"__substg1.0_3701000D": data}
            if isinstance(data, Mapping)
            else (_property(0x3701, data))
        )
        streams[f"__attach_version1.0_#{i:08X}"] = {
            **_property(0x3707, name),
            **_property(0x370E, mime_type),
            **content,
            "__properties_version1.0": bytes(8),
        }
    return streams


def _property(number: int, value: str | bytes) -> dict[str, Stream]:
    if isinstance(value, bytes):
        return {f"__substg1.0_{number:04X}0102": value}
    return {f"__substg1.0_{number:04X}001F": value.encode("utf-16-le")}
