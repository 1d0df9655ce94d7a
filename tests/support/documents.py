"""Documents for the tests, made in code: nothing is copied from anywhere."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from functions.ingest.parsing.blocks import Block, Event, ParseLimits, Request
from functions.ingest.parsing.registry import parse

LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=64 << 20,
    max_cells=200_000,
    max_chunks=20_000,
    max_text_chars=32 << 20,
    timeout_seconds=30,
    memory_bytes=1 << 30,
)
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def small_tokenizer() -> Tokenizer:
    """Return a tokenizer of BERT's kind: known words are one piece, others one a letter."""
    words = ["the", "a", "of", "and", "to", "in", "is", "it", "for", "on", "with", "this", "or"]
    letters = [chr(code) for code in range(33, 127)] + list("äöüßéèáñ一二三日本語中文")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    tokenizer = Tokenizer(
        WordPiece({word: i for i, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]")
    )
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


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


def make_docx(body: str, *, extra: dict[str, str] | None = None, prolog: str = "") -> bytes:
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


def make_pdf(
    pages: Sequence[str | bytes], *, title: str = "", kids: str | None = None, count: int = 0
) -> bytes:
    """
    Return a PDF of content streams, one a page, with the fonts F (Helvetica) and B (bold).

    Args:
        kids: The page tree's Kids array where it is not the pages themselves.
        count: The page tree's Count where it is not the number of pages.
    """
    objects: list[bytes] = [b"", b""]

    def add(data: bytes) -> int:
        objects.append(data)
        return len(objects)

    font = add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    bold = add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>")
    numbers = []
    for page in pages:
        stream = page.encode("cp1252") if isinstance(page, str) else page
        content = add(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        numbers.append(
            add(
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
                b"/Resources<</Font<</F %d 0 R/B %d 0 R>>>>>>" % (content, font, bold)
            )
        )
    objects[0] = b"<</Type/Catalog/Pages 2 0 R>>"
    tree = kids if kids is not None else " ".join(f"{number} 0 R" for number in numbers)
    objects[1] = f"<</Type/Pages/Count {count or len(pages)}/Kids[{tree}]>>".encode()
    information = add(b"<</Title(%s)>>" % title.encode("cp1252")) if title else 0
    return assemble_pdf(objects, information=information)


def assemble_pdf(objects: Sequence[bytes], *, information: int = 0) -> bytes:
    """Return a PDF of *objects*, numbered from 1, the first of them the catalogue."""
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, data in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, data)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    info = b"/Info %d 0 R" % information if information else b""
    out += b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        info,
        start,
    )
    return bytes(out)


def pdf_text(
    lines: Iterable[tuple[float, float, str]], *, size: float = 10, font: str = "F"
) -> str:
    """Return a content stream that shows each (x, y, text)."""
    return "\n".join(
        f"BT /{font} {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET" for x, y, text in lines
    )


def pdf_lines(lines: Sequence[str], *, x: float = 50, top: float = 780, pitch: float = 12) -> str:
    """Return a content stream of *lines* below each other."""
    return pdf_text((x, top - i * pitch, line) for i, line in enumerate(lines))


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
