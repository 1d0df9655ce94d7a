"""PowerPoint presentations (pptx): a slide is a page, its notes come after its text."""

from __future__ import annotations

from collections.abc import Iterator

from shared.errors import Unreadable

from .archives import Archive
from .blocks import (
    Block,
    BlockKind,
    EmptyPage,
    Event,
    PageCount,
    Request,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
)
from .docx import core_title
from .tables import looks_like_header

# Placeholders that repeat on every slide.
_RUNNING = frozenset(["dt", "ftr", "sldNum", "hdr"])
_TITLES = frozenset(["title", "ctrTitle"])


def parse_pptx(request: Request) -> Iterator[Event]:
    """Yield the blocks of a presentation, slide by slide."""
    archive = Archive(request.source, limits=request.limits, what="PowerPoint")
    main = next(iter(archive.related("", "officeDocument")), "ppt/presentation.xml")
    slides = _slides(archive, main)
    if len(slides) > request.limits.max_pages:
        raise Unreadable(
            "too_many_pages",
            f"The presentation has {len(slides)} slides; at most {request.limits.max_pages} "
            "are read. Split it into smaller files.",
        )
    yield PageCount(len(slides))
    for core in archive.related("", "core-properties"):
        if (title := core_title(archive, core)) and title != "PowerPoint Presentation":
            yield Title(title)
    for number, slide in enumerate(slides, start=1):
        some = False
        for part, kind in _parts(archive, slide):
            for block in _read_part(archive, part, page=number, is_notes=kind == "notes"):
                some = True
                yield block
        if not some:
            yield EmptyPage(number)


def _slides(archive: Archive, main: str) -> list[str]:
    relations = archive.relations(main)
    slides: list[str] = []
    for event in archive.xml(main):
        if event.kind == "start" and event.name == "sldId":
            _, target = relations.get(event.attributes.get("r:id", ""), ("", ""))
            if archive.has(target):
                slides.append(target)
    return slides


def _parts(archive: Archive, slide: str) -> Iterator[tuple[str, str]]:
    """Yield the parts with a slide's text: itself, its SmartArt and charts, its notes."""
    yield slide, "slide"
    for wanted in ("diagramData", "chart", "notesSlide", "comments"):
        for part in archive.related(slide, wanted):
            yield part, "notes" if wanted == "notesSlide" else wanted


def _read_part(archive: Archive, part: str, *, page: int, is_notes: bool) -> Iterator[Block]:
    """
    Yield the text of shapes and the rows of tables in the order of the file.

    The title's shape comes first, wherever it stands.
    """
    later: list[Block] = []
    for is_title, block in _shapes(archive, part, page=page, is_notes=is_notes):
        if is_title:
            yield block
        else:
            later.append(block)
    if later and is_notes:
        yield Block("paragraph", "Notes:", page=page)
    yield from later


def _shapes(
    archive: Archive, part: str, *, page: int, is_notes: bool
) -> Iterator[tuple[bool, Block]]:
    placeholder = ""
    text: list[str] = []
    in_text = False
    has_bullet = False
    level = 0
    cells: list[str] | None = None
    header = ""
    rows = 0
    titles: list[str] = []
    skipping = 0
    gap = "\n\n"
    for event in archive.xml(part):
        name = event.name
        if skipping:
            skipping += {"start": 1, "end": -1, "text": 0}[event.kind]
        elif event.kind == "start":
            if name == "Fallback":
                skipping = 1
            elif name in ("sp", "graphicFrame", "pic"):
                placeholder, titles, gap = "", [], "\n\n"
            elif name == "ph":
                placeholder = event.attributes.get("type", "body")
            elif name == "cNvPr" and (described := event.attributes.get("descr", "")):
                # A picture's description is its text.
                if line := clean_line(described):
                    yield False, Block("paragraph", line[:4000], page=page)
            elif name == "p":
                text, has_bullet, level = [], False, 0
            elif name == "pPr":
                level = min(8, int(event.attributes.get("lvl", "0") or 0))
            elif name in ("buChar", "buAutoNum"):
                has_bullet = True
            elif name in ("t", "v"):
                in_text = True
            elif name in ("br", "tab"):
                text.append("\n" if name == "br" else "\t")
            elif name == "tbl":
                header, rows = "", 0
            elif name == "tr":
                cells = []
            elif name == "tc" and cells is not None:
                cells.append("")
        elif event.kind == "text":
            if in_text:
                text.append(event.text)
        elif name in ("t", "v"):
            in_text = False
            if name == "v":
                text.append(" ")
        elif name in ("p", "cat", "val", "tx"):
            line = clean("".join(text).replace("\xad", "")).replace("\v", "\n").strip()
            text = []
            if not line or placeholder in _RUNNING or (is_notes and placeholder == "sldImg"):
                continue
            if cells is not None and cells:
                cells[-1] = f"{cells[-1]} {line}".strip()
            elif placeholder in _TITLES and not is_notes:
                titles.append(line)
            else:
                kind: BlockKind = "item" if has_bullet or level else "paragraph"
                marked = "  " * level + "- " + line if kind == "item" else line
                for block in paragraph(marked, kind=kind, page=page, gap=gap):
                    yield False, block
                gap = "\n"
        elif name == "sp":
            for block in heading(" ".join(" ".join(titles).split()), level=1, page=page):
                yield True, block
            placeholder, titles = "", []
        elif name == "tr" and cells is not None:
            row = " | ".join(" ".join(cell.split()) for cell in cells)
            if any(cells):
                between = "\n" if rows else "\n\n"
                for block in paragraph(row, kind="row", page=page, gap=between, header=header):
                    yield False, block
                if rows == 0 and looks_like_header(cells):
                    header = row
                rows += 1
            cells = None
