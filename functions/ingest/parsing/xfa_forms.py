"""What was filled into a form of the XML Forms Architecture, which PDFium does not draw."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pypdfium2
import pypdfium2.raw as pdfium

from shared.errors import Unreadable

from .archives import xml_events
from .blocks import clean_line

_MAX_PACKETS = 100
_MAX_BYTES = 8 << 20
_MAX_VALUES = 5_000
_MAX_CHARS = 2_000
_PIECE_BYTES = 1 << 16


def read(document: pypdfium2.PdfDocument) -> list[str]:
    """Return "name: value" of each field of the form's data, in their order."""
    values: list[str] = []
    for index in range(min(pdfium.FPDF_GetXFAPacketCount(document.raw), _MAX_PACKETS)):
        try:
            for value in _values(_packet(document, index)):
                values.append(value)
                if len(values) >= _MAX_VALUES:
                    return values
        except Unreadable:
            # The packets of one document may be parts that are no XML by themselves.
            continue
    return values


def _packet(document: pypdfium2.PdfDocument, index: int) -> bytes:
    size = ctypes.c_ulong()
    read_packet = pdfium.FPDF_GetXFAPacketContent
    if not read_packet(document.raw, index, None, 0, ctypes.byref(size)):
        return b""
    if not 0 < size.value <= _MAX_BYTES:
        return b""
    buffer = ctypes.create_string_buffer(size.value)
    read_packet(document.raw, index, buffer, size.value, ctypes.byref(size))
    return buffer.raw


def _values(packet: bytes) -> Iterator[str]:
    """Yield the fields below xfa:data (XFA 3.3, "Data Document")."""
    if b"datasets" not in packet:
        return
    pieces = (packet[at : at + _PIECE_BYTES] for at in range(0, len(packet), _PIECE_BYTES))
    inside = 0
    text: list[str] = []
    for event in xml_events(pieces, what="form", entities=False):
        if event.kind == "text":
            text.append(event.text)
        elif event.kind == "start":
            text = []
            if inside or event.name == "data":
                inside += 1
        elif inside:
            inside -= 1
            if inside and (value := clean_line("".join(text)[:_MAX_CHARS])):
                yield f"{event.name}: {value}"
            text = []
