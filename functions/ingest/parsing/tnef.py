"""
The file winmail.dat, in which Outlook sends a message and its attachments (TNEF).

Source: [MS-OXTNEF], https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxtnef. It
is a list of attributes, each with its length; some hold properties of [MS-OXPROPS].
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from .blocks import Block, Event, Request, Title, clean, clean_line, corrupt, read_all
from .decoding import decode
from .detection import is_tnef
from .html import parse_markup
from .members import read_member
from .packed_rtf import unpack_rtf
from .rtf import parse_rtf
from .text import verbatim_paragraphs

# Attributes, 2.1.2: what they hold and their type.
_SUBJECT, _BODY, _PROPERTIES = 0x00018004, 0x0002800C, 0x00069003
_BEGINS_ATTACHMENT, _NAME, _DATA, _FILE = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
_CODE_PAGE = 0x00069007
# Properties.
_PLAIN, _RICH, _PACKED_RTF, _LONG_NAME, _OBJECT = 0x1000, 0x1013, 0x1009, 0x3707, 0x3701
_NARROW, _WIDE, _INNER, _BYTES = 0x1E, 0x1F, 0x0D, 0x102
# Bytes of a value by its type, padded to four.
_SIZES = {0x02: 4, 0x03: 4, 0x04: 4, 0x0A: 4, 0x0B: 4, 0x05: 8, 0x06: 8, 0x07: 8, 0x14: 8} | {
    0x40: 8,
    0x48: 16,
}
_MANY, _FIRST_NAMED = 0x1000, 0x8000
_MAX_ATTACHMENTS = 1_000
_MAX_VALUES = 10_000
# In front of a message within stands the number of an interface.
_INTERFACE_BYTES = 16


@dataclass(slots=True)
class _File:
    name: str = ""
    data: bytes = b""


@dataclass(slots=True)
class Winmail:
    """A message in TNEF; its texts say the same, as far as it has them."""

    encoding: str | None = None
    subject: str = ""
    plain: str = ""
    rich: str = ""
    packed_rtf: bytes = b""
    files: list[_File] = field(default_factory=list)


def parse_tnef(request: Request) -> Iterator[Event]:
    """
    Yield the text of the message in winmail.dat, and its attachments.

    Raises:
        Unreadable: It is damaged.
    """
    try:
        message = read_tnef(read_all(request))
    except (struct.error, ValueError) as error:
        raise corrupt(
            "The file winmail.dat is damaged. Ask for the message to be sent as plain text or HTML."
        ) from error
    if message.subject:
        yield Title(message.subject)
    yield from body(message, request)
    yield from attachments(message, request)


def body(message: Winmail, request: Request) -> Iterator[Event]:
    """Yield the text of a message, from the form that says most."""
    if message.rich.strip():
        yield from parse_markup(message.rich.encode(), declared="utf-8", with_title=False)
    elif message.packed_rtf:
        try:
            text = unpack_rtf(message.packed_rtf, limit=request.limits.max_decompressed_bytes)
        except (struct.error, ValueError):
            text = b""
        if text:
            events = parse_rtf(replace(request, source=io.BytesIO(text)))
            yield from (event for event in events if isinstance(event, Block))
    elif message.plain.strip():
        for gap, piece in verbatim_paragraphs(iter([clean(message.plain)])):
            yield Block("paragraph", piece, gap=gap or "\n\n")


def attachments(message: Winmail, request: Request) -> Iterator[Event]:
    """Yield the files of a message, each under its name."""
    for file in message.files:
        name = clean_line(file.name) or ("message" if is_tnef(file.data) else "attachment")
        yield from read_member(
            request, file.data, name=name, content_type=None, called="Attachment"
        )


def read_tnef(data: bytes) -> Winmail:
    """
    Return the message in *data*.

    Raises:
        ValueError, struct.error: It is damaged.
    """
    if not is_tnef(data):
        raise ValueError("no TNEF")
    message = Winmail()
    at = 6
    while at + 9 <= len(data):
        _, kind, length = struct.unpack_from("<BII", data, at)
        content = data[at + 9 : at + 9 + length]
        if len(content) < length:
            raise ValueError("cut off")
        at += 9 + length + 2
        _take(message, kind, content)
    return message


def _take(message: Winmail, kind: int, content: bytes) -> None:
    if kind == _CODE_PAGE and len(content) >= 4:
        (page,) = struct.unpack_from("<I", content)
        message.encoding = "utf-8" if page == 65001 else f"cp{page}"
    elif kind == _SUBJECT:
        message.subject = clean_line(_text(content, message))
    elif kind == _BODY:
        message.plain = message.plain or _text(content, message)
    elif kind == _PROPERTIES:
        for number, form, value in _properties(content):
            if number == _RICH:
                message.rich = _text(value, message, form=form)
            elif number == _PLAIN:
                message.plain = _text(value, message, form=form)
            elif number == _PACKED_RTF:
                message.packed_rtf = value
    elif kind == _BEGINS_ATTACHMENT:
        if len(message.files) >= _MAX_ATTACHMENTS:
            raise ValueError("too many attachments")
        message.files.append(_File())
    elif message.files:
        file = message.files[-1]
        if kind == _DATA:
            file.data = content
        elif kind == _NAME:
            file.name = file.name or _text(content, message)
        elif kind == _FILE:
            for number, form, value in _properties(content):
                if number == _LONG_NAME:
                    file.name = _text(value, message, form=form)
                elif number == _OBJECT and form == _INNER and not file.data:
                    file.data = value[_INTERFACE_BYTES:]


def _text(content: bytes, message: Winmail, *, form: int = _NARROW) -> str:
    if form == _WIDE:
        return content.decode("utf-16-le", "replace").rstrip("\0")
    return decode(content, declared=message.encoding).rstrip("\0") if content else ""


def _properties(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, type, value) of each property in *data*, 2.1.3.4; of many values the first."""
    (count,) = struct.unpack_from("<I", data)
    at = 4
    for _ in range(min(count, _MAX_VALUES)):
        form, number = struct.unpack_from("<HH", data, at)
        at += 4
        if number >= _FIRST_NAMED:
            kind, length = struct.unpack_from("<II", data, at + 16)
            at += 24 + (_padded(length) if kind == 1 else 0)
        is_long = form & ~_MANY in (_NARROW, _WIDE, _INNER, _BYTES)
        values = 1
        if is_long or form & _MANY:
            (values,) = struct.unpack_from("<I", data, at)
            at += 4
        if values > _MAX_VALUES:
            raise ValueError("too many values")
        for place in range(values):
            size = _SIZES.get(form & ~_MANY, 4)
            if is_long:
                (size,) = struct.unpack_from("<I", data, at)
                at += 4
            value = data[at : at + size]
            at += _padded(size)
            if place == 0:
                yield number, form & ~_MANY, value


def _padded(size: int) -> int:
    return size + -size % 4
