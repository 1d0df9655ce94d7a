"""
Outlook messages (msg), handed to the mail parser as the message that was sent.

Source: [MS-OXMSG], https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxmsg, and
[MS-OXPROPS]. A compound file holds a stream a property, and a folder for each recipient,
attachment and message within.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from email.parser import HeaderParser
from email.policy import compat32
from email.utils import format_datetime, formataddr

from .blocks import Block, Event, Request, clean_line, corrupt, read_all
from .compound import COMPOUND_ERRORS, CompoundFile, Storage
from .decoding import decode
from .mail import read_message
from .members import MAX_DEPTH
from .packed_rtf import unpack_rtf
from .rtf import parse_rtf

_PROPERTIES = "__properties_version1.0"
_STREAM = "__substg1.0_"
# Types of properties, [MS-OXCDATA] 2.11.1.
_WIDE, _BYTES_TEXT, _BINARY, _TIME, _NUMBER, _FOLDER = 0x1F, 0x1E, 0x102, 0x40, 0x03, 0x0D
_SUBJECT, _HEADERS, _CLASS = 0x0037, 0x007D, 0x001A
_BODY, _HTML, _PACKED_RTF = 0x1000, 0x1013, 0x1009
_SENDER_NAME, _SENDER_ADDRESS, _SENDER_SMTP = 0x0C1A, 0x0C1F, 0x5D01
_FOR_NAME, _FOR_ADDRESS = 0x0042, 0x0065
_SENT, _DELIVERED, _CREATED = 0x0039, 0x0E06, 0x3007
_START, _END = 0x0060, 0x0061
_CODE_PAGES = (0x3FDE, 0x3FFD)
_RECIPIENT_KIND, _NAME, _ADDRESS, _SMTP = 0x0C15, 0x3001, 0x3003, 0x39FE
_TO, _CC = 1, 2
_FILE_DATA, _FILE_NAME, _SHORT_NAME = 0x3701, 0x3707, 0x3704
_MIME_TYPE, _CONTENT_ID, _IS_HIDDEN = 0x370E, 0x3712, 0x7FFE
_ENTRY = struct.Struct("<HHI8s")
# Lengths of what stands before the properties of a message, one within, and others: 2.4.1.
_MESSAGE_HEAD, _INNER_HEAD, _OTHER_HEAD = 32, 24, 8
# The place of an appointment, [MS-OXPROPS] 2.159, has a number of each file's own: 2.2.3.
_PLACE_NAME = 0x8208
_NAMES, _FIRST_NAMED = "__nameid_version1.0", 0x8000
_MAX_ATTACHMENTS = 1_000
_MIME = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,100}", re.IGNORECASE)
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def parse_msg(request: Request) -> Iterator[Event]:
    """
    Yield the blocks of an Outlook message.

    Raises:
        Unreadable: It is damaged.
    """
    try:
        file = CompoundFile(read_all(request))
        message = _message(file, file.root, request, head=_MESSAGE_HEAD)
    except COMPOUND_ERRORS as error:
        raise corrupt(
            "The Outlook message is damaged. Open it in Outlook, save it again and upload that "
            "copy."
        ) from error
    yield from read_message(message, request)


class _Properties:
    """The properties of a message, recipient or attachment."""

    def __init__(self, file: CompoundFile, storage: Storage, *, head: int) -> None:
        self.file = file
        self.storage = storage
        self.fixed: dict[int, tuple[int, bytes]] = {}
        data = file.read(storage, _PROPERTIES)
        for at in range(head, len(data) - _ENTRY.size + 1, _ENTRY.size):
            kind, number, _, value = _ENTRY.unpack_from(data, at)
            self.fixed[number] = (kind, value)

    def binary(self, number: int) -> bytes:
        return self.file.read(self.storage, f"{_STREAM}{number:04x}{_BINARY:04x}")

    def text(self, number: int, *, encoding: str | None = None) -> str:
        wide = self.file.read(self.storage, f"{_STREAM}{number:04x}{_WIDE:04x}")
        if wide:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        narrow = self.file.read(self.storage, f"{_STREAM}{number:04x}{_BYTES_TEXT:04x}")
        return decode(narrow, declared=encoding).rstrip("\0") if narrow else ""

    def number(self, number: int) -> int:
        kind, value = self.fixed.get(number, (0, b""))
        return int.from_bytes(value[:4], "little") if kind in (_NUMBER, 0x0B) else 0

    def time(self, number: int) -> datetime | None:
        kind, value = self.fixed.get(number, (0, b""))
        ticks = int.from_bytes(value, "little")
        if kind != _TIME or not ticks:
            return None
        try:
            return (_EPOCH + timedelta(microseconds=ticks // 10)).replace(microsecond=0)
        except OverflowError:
            return None

    def folder(self, number: int) -> Storage | None:
        return self.storage.storages.get(f"{_STREAM}{number:04x}{_FOLDER:04x}")


def _message(file: CompoundFile, storage: Storage, request: Request, *, head: int) -> EmailMessage:
    """Return a message with its fields, its texts and its attachments."""
    found = _Properties(file, storage, head=head)
    page = next((known for one in _CODE_PAGES if (known := found.number(one))), 0)
    encoding = {65001: "utf-8", 1200: "utf-16-le"}.get(page, f"cp{page}" if page else None)
    message = EmailMessage()
    _add_fields(message, found, encoding)
    plain, rich = _bodies(found, encoding, request)
    if details := _appointment(file, found, encoding):
        plain = f"{details}\n\n{plain}" if plain or not rich else plain
        rich = f"<pre>{details}</pre>{rich}" if rich else rich
    _set_bodies(message, plain, rich)
    attached = [
        inner for name, inner in sorted(storage.storages.items()) if name.startswith("__attach_")
    ]
    for one in attached[:_MAX_ATTACHMENTS]:
        _attach(message, file, one, encoding, request)
    return message


def _add_fields(message: EmailMessage, found: _Properties, encoding: str | None) -> None:
    sent: Message = HeaderParser(policy=compat32).parsestr(found.text(_HEADERS, encoding=encoding))
    fields = {
        "Subject": found.text(_SUBJECT, encoding=encoding),
        "From": _sender(found, encoding),
        "To": _recipients(found, encoding, kind=_TO),
        "Cc": _recipients(found, encoding, kind=_CC),
    }
    sent_at = next((at for one in (_SENT, _DELIVERED, _CREATED) if (at := found.time(one))), None)
    # The date of the header has the sender's own time zone.
    fields["Date"] = clean_line(str(sent.get("Date", "")))
    if not fields["Date"] and sent_at is not None:
        fields["Date"] = format_datetime(sent_at)
    for name, value in fields.items():
        if value := clean_line(value):
            try:
                message[name] = value
            except (ValueError, IndexError, AttributeError, LookupError):
                # A field that the library cannot take apart costs that field only.
                continue


def _sender(found: _Properties, encoding: str | None) -> str:
    name = found.text(_SENDER_NAME, encoding=encoding) or found.text(_FOR_NAME, encoding=encoding)
    addresses = (found.text(one) for one in (_SENDER_SMTP, _SENDER_ADDRESS, _FOR_ADDRESS))
    return _person(name, next((one for one in addresses if "@" in one), ""))


def _recipients(found: _Properties, encoding: str | None, *, kind: int) -> str:
    people = []
    for name, storage in sorted(found.storage.storages.items())[:_MAX_ATTACHMENTS]:
        if not name.startswith("__recip_"):
            continue
        one = _Properties(found.file, storage, head=_OTHER_HEAD)
        # Bits above tell how it went, not to whom.
        if one.number(_RECIPIENT_KIND) & 0xF == kind:
            address = next((a for n in (_SMTP, _ADDRESS) if "@" in (a := one.text(n))), "")
            people.append(_person(one.text(_NAME, encoding=encoding), address))
    return ", ".join(filter(None, people))


def _person(name: str, address: str) -> str:
    name, address = clean_line(name).strip("'\""), clean_line(address)
    if not address or name == address:
        return address or name
    try:
        return (
            formataddr((name, address), charset="utf-8")
            if name.isascii()
            else (f'"{name}" <{address}>')
        )
    except UnicodeError:
        return f'"{name}" <{address}>'


def _bodies(found: _Properties, encoding: str | None, request: Request) -> tuple[str, str]:
    """Return the plain text and the HTML of a message; a body in RTF stands in for both."""
    plain = found.text(_BODY, encoding=encoding)
    html = found.binary(_HTML)
    rich = decode(html, declared=encoding) if html else found.text(_HTML, encoding=encoding)
    if not plain.strip() and not rich.strip() and (packed := found.binary(_PACKED_RTF)):
        text = unpack_rtf(packed, limit=request.limits.max_decompressed_bytes)
        events = parse_rtf(replace(request, source=io.BytesIO(text)))
        plain = "\n\n".join(event.text for event in events if isinstance(event, Block))
    return plain, rich


def _set_bodies(message: EmailMessage, plain: str, rich: str) -> None:
    # Texts of Windows: the mail parser decodes what this encodes.
    if plain.strip() or not rich.strip():
        message.set_content(plain.encode("utf-8", "replace").decode(), charset="utf-8", cte="8bit")
        if rich.strip():
            message.add_alternative(_utf8(rich), subtype="html", charset="utf-8", cte="8bit")
    else:
        message.set_content(_utf8(rich), subtype="html", charset="utf-8", cte="8bit")


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _appointment(file: CompoundFile, found: _Properties, encoding: str | None) -> str:
    """Return time and place of an appointment or invitation, "" if it is none."""
    if not found.text(_CLASS).lower().startswith(("ipm.appointment", "ipm.schedule")):
        return ""
    place = ""
    names = file.root.storages.get(_NAMES)
    entries = file.read(names, f"{_STREAM}00030102") if names else b""
    for at in range(0, len(entries) - 7, 8):
        number, kind, index = struct.unpack_from("<IHH", entries, at)
        if number == _PLACE_NAME and not kind & 1:
            place = found.text(_FIRST_NAMED + index, encoding=encoding)
    lines = [
        f"{label}: {when:%Y-%m-%d %H:%M} UTC"
        for label, number in (("Start", _START), ("End", _END))
        if (when := found.time(number))
    ]
    return "\n".join([*lines, *([f"Place: {clean_line(place)}"] if place else [])])


def _attach(
    message: EmailMessage,
    file: CompoundFile,
    storage: Storage,
    encoding: str | None,
    request: Request,
) -> None:
    found = _Properties(file, storage, head=_OTHER_HEAD)
    inner = found.folder(_FILE_DATA)
    if inner is not None and _PROPERTIES in inner.streams:
        if request.depth <= MAX_DEPTH:
            # Deeper ones are not read: the mail parser says so of this one.
            within = replace(request, depth=request.depth + 1)
            message.add_attachment(_message(file, inner, within, head=_INNER_HEAD))
        return
    data = found.binary(_FILE_DATA)
    name = found.text(_FILE_NAME, encoding=encoding) or found.text(_SHORT_NAME, encoding=encoding)
    name = clean_line(_utf8(name)) or clean_line(found.text(_NAME, encoding=encoding))
    kind = found.text(_MIME_TYPE).strip()
    main, _, sub = (kind if _MIME.fullmatch(kind) else "application/octet-stream").partition("/")
    if main.lower() in ("multipart", "message"):
        main, sub = "application", "octet-stream"
    cid = re.sub(r"[^\w@.$-]", "", found.text(_CONTENT_ID)) or None
    is_shown = cid is not None or bool(found.number(_IS_HIDDEN))
    message.add_attachment(
        data,
        main,
        sub,
        filename=name[:200] or None,
        cid=f"<{cid}>" if cid else None,
        disposition="inline" if is_shown else "attachment",
    )
