"""From a document of any type to its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from . import detecting
from .blocks import Event, Request
from .delimited import parse_delimited
from .docx import parse_docx
from .epub import parse_epub
from .html import parse_html
from .mail import parse_mail
from .markdown import parse_markdown
from .pdf import parse_pdf
from .pptx import parse_pptx
from .records import parse_json, parse_json_lines
from .rtf import parse_rtf
from .text import parse_text
from .xlsx import parse_xlsx


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
    return kind, _parser(kind)(request)


def _parser(kind: str) -> Callable[[Request], Iterator[Event]]:
    parsers: dict[str, Callable[[Request], Iterator[Event]]] = {
        detecting.PDF: parse_pdf,
        detecting.DOCX: parse_docx,
        detecting.PPTX: parse_pptx,
        detecting.XLSX: parse_xlsx,
        detecting.EPUB: parse_epub,
        detecting.RTF: parse_rtf,
        detecting.EML: partial(parse_mail, parse=parse),
        detecting.HTML: parse_html,
        detecting.MARKDOWN: parse_markdown,
        detecting.CSV: parse_delimited,
        detecting.TSV: partial(parse_delimited, delimiter="\t"),
        detecting.JSON: parse_json,
        detecting.JSON_LINES: parse_json_lines,
        detecting.TEXT: parse_text,
    }
    return parsers[kind]
