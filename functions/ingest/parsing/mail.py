"""E-mail messages (RFC 5322, MIME), mailboxes (RFC 4155) and web archives (RFC 2557)."""

from __future__ import annotations

import base64
import binascii
import email.errors
import hashlib
import io
import quopri
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from email.generator import BytesGenerator
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import default as default_policy
from typing import Any, BinaryIO

from shared.errors import Unreadable

from . import detection, tnef
from .blocks import (
    Block,
    Event,
    Request,
    Title,
    clean,
    clean_line,
    paragraph,
    read_all,
)
from .calendars import calendar_entries
from .decoding import decode
from .html import parse_markup
from .members import MAX_DEPTH, demoted, document_heading, read_member
from .text import verbatim_paragraphs

_MAX_PARTS = 1000
_FIELDS = ("Subject", "From", "To", "Cc", "Date")
# Signatures, keys, and copies of headers in reports of delivery: they say nothing to a reader.
_NOISE_TYPES = frozenset(
    [
        "application/pgp-encrypted",
        "application/pgp-keys",
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/x-pkcs7-certificates",
        "text/rfc822-headers",
    ]
)
_NOISE_NAMES = (".p7s", ".p7c", ".asc", ".sig", ".gpg")
_TNEF = frozenset(["application/ms-tnef", "application/vnd.ms-tnef"])
_SECRET = frozenset(["application/pkcs7-mime", "application/x-pkcs7-mime"])
_CALENDARS = frozenset(["text/calendar", "application/ics"])
# Logos and icons are smaller, pictures that somebody put into a message to show something larger.
_TEXTS = frozenset(
    ["text/plain", "text/html", "message/delivery-status", "text/enriched", "text/richtext"]
)
_LOGO_BYTES = 30_000
_WORD = re.compile(r"\w+")
# What is left of an HTML half in a plain half that was made of it, in words.
_LEAST_SHARE = 0.6
_SEPARATOR = re.compile(rb"From [^\r\n]{0,200}\b\d{4}\b[^\r\n]{0,40}\r?\n\Z")
_QUOTED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_PIECE_BYTES = 1 << 16
_MAX_NUMBER_CHARS = 20
# What uuencode wrote into texts before MIME (POSIX.1-2017, uuencode).
_UUENCODED = re.compile(
    r"^begin [0-7]{3,4} ([^\n]{1,200})\n((?:[ -`]{1,90}\n){1,200000})end[ \t]*$", re.MULTILINE
)
# RFC 1896 and RFC 1341: text with commands in angles.
_ENRICHED = frozenset(["text/enriched", "text/richtext"])
_ENRICHED_MARK = re.compile(r"<<|<param>.{0,1000}?</param>|<(/?[A-Za-z-]{1,40})>", re.DOTALL)
_LINE_ENDS = re.compile(r"\n+")
_WHOLE_MESSAGE: dict[str, Callable[[bytes], bytes]] = {
    "base64": base64.b64decode,
    "quoted-printable": quopri.decodestring,
}


def parse_mail(request: Request) -> Iterator[Event]:
    """Yield the blocks of a message."""
    yield from read_message(_read(read_all(request)), request)


def read_message(message: Message, request: Request) -> Iterator[Event]:
    """Yield the blocks of a parsed message."""
    if subject := _field(message, "Subject"):
        yield Title(subject)
    yield from _Reader(request).message(message)


def parse_emlx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a message of Apple Mail; its length stands before it."""
    length, _, data = read_all(request).lstrip().partition(b"\n")
    size = int(length) if length.strip().isdigit() and len(length) < _MAX_NUMBER_CHARS else None
    yield from read_message(_read(data[:size]), request)


def parse_mailbox(request: Request) -> Iterator[Event]:
    """Yield the messages of a mailbox, each under its subject."""
    for data in _messages(request.source):
        message = _read(data)
        yield from document_heading(_field(message, "Subject") or "(no subject)")
        yield from demoted(_Reader(request).message(message), by=1)


def parse_web_archive(request: Request) -> Iterator[Event]:
    """Yield the page in a web archive (MHTML)."""
    message = _read(read_all(request))
    reader = _Reader(request)
    pages = [part for part in reader.leaves(message) if _kind(part) == "text/html"]
    if not pages:
        yield from parse_mail(request)
        return
    yield from parse_markup(_content(pages[0]), declared=_charset(pages[0]))
    if subject := _field(message, "Subject"):
        yield Title(subject)


def _messages(source: BinaryIO) -> Iterator[bytes]:
    """Yield the messages of a mailbox: each begins with a line "From ..." after a blank one."""
    source.seek(0)
    lines: list[bytes] = []
    blank = True
    while line := source.readline(_PIECE_BYTES):
        if blank and _SEPARATOR.match(line):
            if lines:
                yield _QUOTED_FROM.sub(rb"\1", b"".join(lines))
            lines = []
        else:
            lines.append(line)
        blank = not line.strip()
    if lines:
        yield _QUOTED_FROM.sub(rb"\1", b"".join(lines))


def _read(data: bytes) -> EmailMessage:
    return BytesParser(EmailMessage, policy=default_policy).parsebytes(data)


@dataclass(slots=True)
class _Reader:
    """
    Reads one message and those in it.

    Attributes:
        parts: How many were met.
        attached: Parts that are read behind the text, so that no text stands below their headings.
        known: Digests of the calendars given out: many invitations hold theirs twice.
        said: Its plain texts so far.
    """

    request: Request
    parts: int = 0
    attached: list[Message] = field(default_factory=list)
    known: set[bytes] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def message(self, message: Message) -> Iterator[Event]:
        """Yield the fields, texts and attachments of a message, in order."""
        lines = [f"{name}: {value}" for name in _FIELDS if (value := _field(message, name))]
        if lines:
            yield from paragraph("\n".join(lines))
        yield from self._part(message, depth=self.request.depth)
        for part in self.attached:
            if _is_message(part):
                yield from self._inner_message(part)
            else:
                yield from self._attachment(part)

    def leaves(self, message: Message) -> Iterator[Message]:
        """Yield the parts that have none themselves."""
        waiting = [message]
        while waiting:
            part = waiting.pop()
            self._count()
            if part.is_multipart():
                waiting.extend(reversed(_parts(part)))
            else:
                yield part

    def _count(self) -> None:
        self.parts += 1
        if self.parts > _MAX_PARTS:
            raise Unreadable(
                "too_much_text", f"The message has more than {_MAX_PARTS} parts. Split it."
            )

    def _part(self, part: Message, *, depth: int) -> Iterator[Event]:
        self._count()
        kind = _kind(part)
        if _is_message(part):
            self.attached.append(part)
        elif depth > self.request.depth + 50:
            # No author writes this; a parser that recurses must end.
            yield from paragraph("(not read: nested too deeply)")
        elif kind == "multipart/encrypted":
            # RFC 1847, 2.2: its second part is the message.
            yield from paragraph("(not read: the message is encrypted)")
        elif kind == "multipart/alternative":
            yield from self._alternative(part, depth=depth + 1)
        elif kind == "multipart/related":
            yield from self._related(part, depth=depth + 1)
        elif kind == "message/delivery-status" and part.is_multipart():
            # RFC 3464: blocks of fields, which the library takes for messages without text.
            blocks = ("\n".join(f"{k}: {v}" for k, v in _fields(one)) for one in _parts(part))
            yield from paragraph(clean("\n\n".join(filter(None, blocks))))
        elif part.is_multipart():
            for inner in _parts(part):
                yield from self._part(inner, depth=depth + 1)
        else:
            yield from self._leaf(part, kind)

    def _inner_message(self, part: Message) -> Iterator[Event]:
        message = _unpacked(part)
        subject = _field(message, "Subject") or _name(part)
        yield from document_heading(f"Forwarded message: {subject}")
        if self.request.depth + 1 > MAX_DEPTH:
            yield from paragraph("(not read: nested too deeply)")
            return
        inside = _Reader(replace(self.request, depth=self.request.depth + 1), self.parts)
        yield from demoted(inside.message(message), by=1)
        self.parts = inside.parts

    def _alternative(self, part: Message, *, depth: int) -> Iterator[Event]:
        """Yield the form of the text that says more, and the parts that are no text."""
        plain: Message | None = None
        rich: Message | None = None
        others: list[Message] = []
        for inner in _parts(part):
            kind = _kind(inner)
            if kind == "text/plain" and plain is None and not _is_attachment(inner):
                plain = inner
            elif rich is None and (kind == "text/html" or _holds_html(inner)):
                rich = inner
            else:
                others.append(inner)
        if rich is None or plain is None:
            chosen = plain if rich is None else rich
            if chosen is not None:
                yield from self._part(chosen, depth=depth)
        else:
            known = len(self.attached)
            events = list(self._part(rich, depth=depth))
            if _says_more(events, _text(plain)):
                yield from events
            else:
                # What is attached beside the page, by Apple Mail between its parts, was met there.
                beside, self.attached = self.attached[known:], self.attached[:known]
                yield from self._part(plain, depth=depth)
                self.attached += beside
        for inner in others:
            if _kind(inner) not in ("text/enriched", "text/x-amp-html", "text/watch-html"):
                yield from self._part(inner, depth=depth)

    def _related(self, part: Message, *, depth: int) -> Iterator[Event]:
        """Yield the part that the others belong to, and those that are more than its pictures."""
        inner = _parts(part)
        if inner:
            yield from self._part(inner[0], depth=depth)
        yield from self._beside(part, depth=depth)

    def _beside(self, part: Message, *, depth: int) -> Iterator[Event]:
        for inner in _parts(part)[1:]:
            if _kind(inner).startswith("text/") and not _name(inner):
                # Styles and frames of the page.
                continue
            yield from self._part(inner, depth=depth)

    def _leaf(self, part: Message, kind: str) -> Iterator[Event]:
        name = _name(part)
        if kind in _NOISE_TYPES or name.lower().endswith(_NOISE_NAMES):
            return
        if kind in _CALENDARS or name.lower().endswith(".ics"):
            yield from self._calendar(part)
        elif kind in _SECRET and _parameter(part, "smime-type") != "signed-data":
            # RFC 8551, 3.2.2.
            yield from paragraph("(not read: the message is encrypted)")
        elif kind in _TEXTS and not (name or _is_attachment(part)):
            yield from self._text(part, kind)
        else:
            self.attached.append(part)

    def _attachment(self, part: Message) -> Iterator[Event]:
        name, kind, data = _name(part), _kind(part), _content(part)
        if (kind in _TNEF or name.lower() == "winmail.dat") and detection.is_tnef(data):
            yield from self._winmail(data, name)
            return
        is_picture = kind.startswith("image/")
        is_shown = part.get("Content-ID") or _disposition(part) == "inline" or not name
        if is_picture and is_shown and len(data) < _LOGO_BYTES:
            return
        yield from read_member(
            self.request,
            data,
            name=name or ("picture" if is_picture else "attachment"),
            content_type=kind,
            called="Attachment",
        )

    def _winmail(self, data: bytes, name: str) -> Iterator[Event]:
        """Yield the attachments in winmail.dat, and its text where the message has not said it."""
        try:
            message = tnef.read_tnef(data)
        except (struct.error, ValueError):
            yield from paragraph(f"Attachment: {name or 'winmail.dat'} (not read: it is damaged)")
            return
        events = list(tnef.body(message, self.request))
        if _says_more(events, "\n".join(self.said)):
            yield from events
        yield from tnef.attachments(message, self.request)

    def _calendar(self, part: Message) -> Iterator[Event]:
        data = _content(part)
        digest = hashlib.blake2b(b"".join(data.split())).digest()
        if digest in self.known:
            return
        self.known.add(digest)
        for subject, text in calendar_entries(data, declared=_charset(part)):
            yield from paragraph("\n".join(filter(None, [f"Invitation: {subject}", text])))

    def _text(self, part: Message, kind: str) -> Iterator[Event]:
        if kind == "text/html":
            events = parse_markup(_content(part), declared=_charset(part), with_title=False)
            for event in events:
                self.said.append(event.text if isinstance(event, Block) else "")
                yield event
            return
        whole = _text(part)
        if kind in _ENRICHED:
            whole = _without_marks(whole)
        elif "\nend" in whole:
            whole = _UUENCODED.sub(self._uuencoded, whole)
        self.said.append(whole)
        for gap, text in verbatim_paragraphs(iter([whole])):
            yield Block("paragraph", text, gap=gap or "\n\n")

    def _uuencoded(self, found: re.Match[str]) -> str:
        """Put aside a file that stands in a text."""
        try:
            data = b"".join(map(binascii.a2b_uu, found[2].splitlines()))
        except (binascii.Error, ValueError):
            return found.group()
        part = EmailMessage()
        part.set_content(data, maintype="application", subtype="octet-stream", filename=found[1])
        self.attached.append(part)
        return ""


def _without_marks(text: str) -> str:
    """Return enriched text without its commands; one line end is a blank there."""
    text = _ENRICHED_MARK.sub(
        lambda found: "<" if found.group() in ("<<", "<lt>") else "\n" * (found[1] == "nl"), text
    )
    return _LINE_ENDS.sub(lambda found: found.group()[1:] or " ", text)


def _holds_html(part: Message) -> bool:
    """Return whether a part is made of several, one of them a page."""
    inner = _parts(part) if _kind(part).startswith("multipart/") else []
    return any(_kind(one) == "text/html" or _holds_html(one) for one in inner[:_MAX_PARTS])


def _says_more(rich: list[Event], plain: str) -> bool:
    """Return whether an HTML half is to be read in place of the plain one: see RFC 2046, 5.1.4."""
    blocks = [event for event in rich if isinstance(event, Block)]
    if any(block.header for block in blocks):
        # A table, of which the plain half has lost the columns.
        return True
    words = {word for block in blocks for word in _WORD.findall(block.text.lower())}
    if not words:
        return False
    known = set(_WORD.findall(plain.lower()))
    return len(words & known) < _LEAST_SHARE * len(words)


def _unpacked(part: Message) -> Message:
    """Return the message in a part: some programs encode it, which RFC 2046, 5.2.1 forbids."""
    inner = _parts(part)
    if not inner:
        return _read(_content(part))
    encoding = _field(part, "Content-Transfer-Encoding").lower()
    decode_whole = _WHOLE_MESSAGE.get(encoding)
    if decode_whole is None:
        return inner[0]
    try:
        written = io.BytesIO()
        BytesGenerator(written, mangle_from_=False).flatten(inner[0])
        return _read(decode_whole(written.getvalue()))
    except (binascii.Error, ValueError, LookupError, AttributeError):
        return inner[0]


def _is_message(part: Message) -> bool:
    kind = _kind(part)
    return kind == "message/rfc822" or (kind == "message/global" and part.is_multipart())


def _parts(part: Message) -> list[Message]:
    inner: Any = part.get_payload()
    return [one for one in inner if isinstance(one, Message)] if isinstance(inner, list) else []


def _kind(part: Message) -> str:
    try:
        return part.get_content_type()
    except (ValueError, IndexError, AttributeError, email.errors.MessageError):
        return "application/octet-stream"


def _disposition(part: Message) -> str:
    try:
        return part.get_content_disposition() or ""
    except (ValueError, IndexError, AttributeError, email.errors.MessageError):
        return ""


def _is_attachment(part: Message) -> bool:
    return _disposition(part) == "attachment"


def _parameter(part: Message, name: str) -> str:
    try:
        return str(part.get_param(name, "")).lower()
    except (ValueError, IndexError, AttributeError, email.errors.MessageError):
        return ""


def _name(part: Message) -> str:
    try:
        return clean_line(part.get_filename() or "")
    except (ValueError, IndexError, AttributeError, LookupError, email.errors.MessageError):
        return ""


def _field(message: Message, name: str) -> str:
    try:
        return clean_line(str(message.get(name, "")))
    except (ValueError, IndexError, AttributeError, LookupError, email.errors.MessageError):
        # A header that the library cannot take apart costs that header only.
        return ""


def _fields(part: Message) -> Iterator[tuple[str, str]]:
    for name in part:
        if value := _field(part, name):
            yield clean_line(name), value


def _charset(part: Message) -> str | None:
    try:
        return part.get_content_charset()
    except (ValueError, IndexError, AttributeError, LookupError, email.errors.MessageError):
        return None


def _content(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _text(part: Message) -> str:
    return clean(decode(_content(part), declared=_charset(part)))
