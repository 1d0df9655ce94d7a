"""Documents for the tests, made in code: nothing is copied from anywhere."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence

from benchmarks.made_documents import LIMITS as LIMITS
from benchmarks.made_documents import assemble_pdf as assemble_pdf
from benchmarks.made_documents import make_pdf as make_pdf
from benchmarks.made_documents import pdf_lines as pdf_lines
from benchmarks.made_documents import pdf_text as pdf_text
from benchmarks.made_documents import small_tokenizer as small_tokenizer
from functions.ingest.parsing.blocks import Block, Event, ParseLimits, Request
from functions.ingest.parsing.registry import parse

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def parse_bytes(
    data: bytes, name: str, *, content_type: str | None = None, limits: ParseLimits = LIMITS
) -> tuple[str, list[Event]]:
    """Return the detected type and all events of a document, parsed in this process."""
    kind, events = parse(
        Request(source=io.BytesIO(data), name=name, content_type=content_type, limits=limits)
    )
    return kind, list(events)


def blocks_of(data: bytes, name: str, *, content_type: str | None = None) -> list[Block]:
    """Return the blocks of a document."""
    _, events = parse_bytes(data, name, content_type=content_type)
    return [event for event in events if isinstance(event, Block)]


def text_of(data: bytes, name: str, *, content_type: str | None = None) -> str:
    """Return the texts of a document's blocks, a line each."""
    return "\n".join(block.text for block in blocks_of(data, name, content_type=content_type))


def make_zip(parts: dict[str, bytes | str], *, first: str | None = None) -> bytes:
    """Return a zip file of *parts*; *first* is stored uncompressed in front (EPUB's mimetype)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        if first is not None:
            archive.writestr(first, parts[first], compress_type=zipfile.ZIP_STORED)
        for name, data in parts.items():
            if name != first:
                archive.writestr(name, data)
    return buffer.getvalue()


def relations(targets: Iterable[tuple[str, str, str]], *, base: str = _OFFICE) -> str:
    """Return a .rels part of (id, type's last word, target)."""
    inner = "".join(
        f'<Relationship Id="{identifier}" Type="{base}/{kind}" Target="{target}"/>'
        for identifier, kind, target in targets
    )
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    return f'<Relationships xmlns="{space}">{inner}</Relationships>'


def make_docx(
    body: str, *, extra: Mapping[str, bytes | str] | None = None, prolog: str = ""
) -> bytes:
    """Return a docx whose w:body holds the XML *body*."""
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations([("r1", "officeDocument", "word/document.xml")]),
        "word/document.xml": f"{prolog}<w:document {_W}><w:body>{body}</w:body></w:document>",
        **(extra or {}),
    }
    return make_zip(parts)


def docx_paragraph(text: str, *, style: str = "") -> str:
    """Return the XML of a paragraph."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def make_xlsx(
    sheets: dict[str, str], *, strict: bool = False, extra: dict[str, str] | None = None
) -> bytes:
    """Return a workbook of {sheet name: XML of its rows}, strict Office Open XML where asked."""
    base = "http://purl.oclc.org/ooxml/officeDocument/relationships" if strict else _OFFICE
    space = (
        "http://purl.oclc.org/ooxml/spreadsheetml/main"
        if strict
        else "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    )
    entries = "".join(
        f'<sheet name="{name}" sheetId="{i}" r:id="s{i}"/>' for i, name in enumerate(sheets)
    )
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations([("r1", "officeDocument", "xl/workbook.xml")], base=base),
        "xl/workbook.xml": f'<workbook xmlns="{space}" xmlns:r="{base}">'
        f"<sheets>{entries}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            [
                *((f"s{i}", "worksheet", f"worksheets/sheet{i}.xml") for i in range(len(sheets))),
                ("styles", "styles", "styles.xml"),
                ("strings", "sharedStrings", "sharedStrings.xml"),
            ],
            base=base,
        ),
        **(extra or {}),
    }
    for i, rows in enumerate(sheets.values()):
        parts[f"xl/worksheets/sheet{i}.xml"] = (
            f'<worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>'
        )
    return make_zip(parts)


def xlsx_row(number: int, cells: Iterable[str]) -> str:
    """Return the XML of a row of inline strings."""
    inner = "".join(
        f'<c r="{chr(65 + i)}{number}" t="inlineStr"><is><t>{cell}</t></is></c>'
        for i, cell in enumerate(cells)
    )
    return f'<row r="{number}">{inner}</row>'


def make_pptx(slides: Sequence[tuple[str, str]]) -> bytes:
    """Return a presentation of (XML of the shape tree, notes' text, "" for none) per slide."""
    spaces = (
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        f'xmlns:r="{_OFFICE}" '
        'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main"'
    )
    identifiers = "".join(f'<p:sldId id="{256 + i}" r:id="r{i}"/>' for i in range(len(slides)))
    parts: dict[str, bytes | str] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations([("r1", "officeDocument", "ppt/presentation.xml")]),
        "ppt/presentation.xml": f"<p:presentation {spaces}><p:sldIdLst>{identifiers}"
        "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(
            (f"r{i}", "slide", f"slides/slide{i}.xml") for i in range(len(slides))
        ),
    }
    for i, (shapes, notes) in enumerate(slides):
        parts[f"ppt/slides/slide{i}.xml"] = (
            f"<p:sld {spaces}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
        )
        if notes:
            parts[f"ppt/slides/_rels/slide{i}.xml.rels"] = relations(
                [("n", "notesSlide", f"../notesSlides/notes{i}.xml")]
            )
            parts[f"ppt/notesSlides/notes{i}.xml"] = (
                f"<p:notes {spaces}><p:cSld><p:spTree>{pptx_shape(notes)}"
                "</p:spTree></p:cSld></p:notes>"
            )
    return make_zip(parts)


def pptx_shape(text: str, *, placeholder: str = "body") -> str:
    """Return the XML of a text shape, a paragraph a line."""
    lines = "".join(f"<a:p><a:r><a:t>{line}</a:t></a:r></a:p>" for line in text.split("\n"))
    return (
        f'<p:sp><p:nvSpPr><p:nvPr><p:ph type="{placeholder}"/></p:nvPr></p:nvSpPr>'
        f"<p:txBody>{lines}</p:txBody></p:sp>"
    )


def make_epub(chapters: Sequence[str], *, title: str = "A book") -> bytes:
    """Return a book of *chapters* (XHTML); its manifest lists them in reverse order."""
    items = "".join(
        f'<item id="c{i}" href="text/c{i}.xhtml" media-type="application/xhtml+xml"/>'
        for i in reversed(range(len(chapters)))
    )
    spine = "".join(f'<itemref idref="c{i}"/>' for i in range(len(chapters)))
    parts: dict[str, bytes | str] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": "<container><rootfiles>"
        '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        "OPS/book.opf": '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        f"<dc:title>{title}</dc:title></metadata><manifest>{items}</manifest>"
        f"<spine>{spine}</spine></package>",
    }
    for i, chapter in enumerate(chapters):
        parts[f"OPS/text/c{i}.xhtml"] = (
            f'<?xml version="1.0" encoding="utf-8"?><html><body>{chapter}</body></html>'
        )
    return make_zip(parts, first="mimetype")
