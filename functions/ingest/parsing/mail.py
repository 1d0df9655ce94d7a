"""E-mail messages (eml): headers, body, and attachments by the parser of their own type."""

from __future__ import annotations

import email.errors
import io
from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage, Message, MIMEPart
from email.parser import BytesParser
from email.policy import default as default_policy

from shared.errors import Unreadable

from .blocks import (
    Block,
    Event,
    Request,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
    read_all,
)
from .decoding import decode
from .html import parse_markup
from .registry import parse
from .text import verbatim_paragraphs

# A message in a message in a message: deeper ones are named, not read.
MAX_DEPTH = 5
_MAX_PARTS = 1000
_FIELDS = ("Subject", "From", "To", "Cc", "Date")


def parse_mail(request: Request) -> Iterator[Event]:
    """Yield the blocks of a message."""
    message = BytesParser(EmailMessage, policy=default_policy).parsebytes(read_all(request))
    subject = clean_line(_field(message, "Subject"))
    if subject:
        yield Title(subject)
    lines = [f"{name}: {value}" for name in _FIELDS if (value := clean_line(_field(message, name)))]
    if lines:
        yield from paragraph("\n".join(lines))
    body = _body(message)
    if body is not None:
        yield from _read_body(body)
    for number, part in enumerate(message.walk()):
        if number >= _MAX_PARTS:
            raise Unreadable(
                "too_much_text", f"The message has more than {_MAX_PARTS} parts. Split it."
            )
        if part is not body and _is_attachment(part, body):
            yield from _read_attachment(part, request)


def _field(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name, ""))
    except (ValueError, IndexError, AttributeError, email.errors.MessageError):
        # A header that the library cannot take apart costs that header only.
        return ""


def _body(message: EmailMessage) -> MIMEPart | None:
    try:
        return message.get_body(preferencelist=("plain", "html"))
    except (KeyError, ValueError, AttributeError):
        return None


def _content(part: MIMEPart) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""


def _read_body(part: MIMEPart) -> Iterator[Event]:
    data = _content(part)
    charset = part.get_content_charset()
    if part.get_content_subtype() == "html":
        yield from parse_markup(data, declared=charset, with_title=False)
        return
    for gap, text in verbatim_paragraphs(iter([clean(decode(data, declared=charset))])):
        yield Block("paragraph", text, gap=gap or "\n\n")


def _is_attachment(part: MIMEPart, body: MIMEPart | None) -> bool:
    if part.is_multipart():
        return part.get_content_type() == "message/rfc822"
    if part.get_filename() or part.get_content_disposition() == "attachment":
        return True
    # The other half of multipart/alternative says the same as the body.
    return body is None and part.get_content_maintype() == "text"


def _read_attachment(part: MIMEPart, request: Request) -> Iterator[Event]:
    """Yield an attachment under its name; one that cannot be read is told in the text."""
    name = clean_line(part.get_filename() or "")
    if part.get_content_type() == "message/rfc822":
        inner = part.get_payload()
        first = inner[0] if isinstance(inner, list) and inner else None
        data = first.as_bytes() if isinstance(first, Message) else b""
        name = name or "message.eml"
    else:
        data = _content(part)
        name = name or "attachment"
    yield from heading(f"Attachment: {name}"[:300], level=1)
    if request.depth >= MAX_DEPTH:
        yield from paragraph("(not read: nested too deeply)")
        return
    inside = replace(
        request,
        source=io.BytesIO(data),
        name=name,
        content_type=part.get_content_type(),
        depth=request.depth + 1,
        read_picture=None,
    )
    try:
        _, events = parse(inside)
        for event in events:
            if isinstance(event, Block):
                # The page is the attachment's, not this document's.
                level = min(event.level + 1, 9) if event.level else 0
                yield replace(event, page=None, level=level)
            elif isinstance(event, Title):
                yield from heading(event.text, level=2)
    except Unreadable as error:
        if error.code in ("decompression_limit", "cell_limit", "too_much_text"):
            raise
        yield from paragraph(f"(not read: {error.message})")
