"""From a document of any type to its blocks."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage

from . import detecting
from .blocks import Event, Request
from .docx import parse_docx
from .html import parse_html
from .markdown import parse_markdown
from .pdf import parse_pdf
from .text import parse_text


def parse(request: Request) -> tuple[str, Iterator[Event]]:
    """
    Return the detected MIME type of a document, and its blocks.

    Raises:
        Unreadable: Here for what is no document of ours, from the iterator for what is damaged.
    """
    kind = detecting.detect_type(
        request.source,
        name=request.name,
        content_type=request.content_type,
        limits=request.limits,
    )
    charset = _charset(request.content_type)
    if kind == detecting.PDF:
        return kind, parse_pdf(request)
    if kind == detecting.DOCX:
        return kind, parse_docx(request)
    if kind == detecting.HTML:
        return kind, parse_html(request, declared=charset)
    if kind == detecting.MARKDOWN:
        return kind, parse_markdown(request, declared=charset)
    return kind, parse_text(request, declared=charset)


def _charset(content_type: str | None) -> str | None:
    """Return the charset parameter of a content type."""
    if not content_type or "charset" not in content_type.lower():
        return None
    message = EmailMessage()
    try:
        message["content-type"] = content_type
    except (ValueError, IndexError):
        return None
    return message.get_content_charset()
