"""RTF as Outlook packs it: [MS-OXRTFCP], 2.1.3."""

from __future__ import annotations

import struct

_PACKED, _AS_IT_IS = b"LZFu", b"MELA"
_WINDOW = 4096
# What every dictionary begins with.
_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript "
    rb"\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    b"\r\n"
    rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)


def unpack_rtf(data: bytes, *, limit: int) -> bytes:
    """
    Return the RTF in *data*, up to *limit* bytes of it.

    Raises:
        ValueError, struct.error: It is packed in a way that is not known, or cut off.
    """
    length, raw_length, kind = struct.unpack_from("<II4s", data)
    content = data[16 : 4 + length]
    limit = min(limit, raw_length)
    if kind == _AS_IT_IS:
        return content[:limit]
    if kind != _PACKED:
        raise ValueError("not packed RTF")
    window = bytearray(_START.ljust(_WINDOW, b"\0"))
    at, place = 0, len(_START)
    found = bytearray()
    while at < len(content) and len(found) < limit:
        control = content[at]
        at += 1
        for bit in range(8):
            if at >= len(content):
                break
            if not control >> bit & 1:
                letters = content[at : at + 1]
                at += 1
            else:
                reference = int.from_bytes(content[at : at + 2], "big")
                at += 2
                offset, count = reference >> 4, (reference & 0xF) + 2
                if offset == place:
                    return bytes(found[:limit])
                # It may reach into what it writes itself.
                letters = b""
                for i in range(count):
                    letter = window[(offset + i) % _WINDOW]
                    window[(place + i) % _WINDOW] = letter
                    letters += bytes([letter])
            for i, letter in enumerate(letters):
                window[(place + i) % _WINDOW] = letter
            place = (place + len(letters)) % _WINDOW
            found += letters
    return bytes(found[:limit])
