"""EPUB books: the chapters in the order of the spine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from shared.errors import Unreadable

from .archives import Archive, join_path
from .blocks import Block, Event, Request, Title, clean_line, heading
from .html import parse_markup

_HEADING = re.compile(rb"<(?:\w+:)?h[1-6][\s>]", re.IGNORECASE)
_CHAPTER_TYPES = frozenset(["application/xhtml+xml", "text/html", "application/x-dtbook+xml"])


def parse_epub(request: Request) -> Iterator[Event]:
    """Yield the blocks of a book's chapters."""
    archive = Archive(request.source, limits=request.limits, what="EPUB")
    if archive.has("META-INF/encryption.xml") and _is_protected(archive):
        raise Unreadable(
            "encrypted",
            "The book is protected by digital rights management. Upload a copy without it.",
        )
    package = next(
        (
            event.attributes.get("full-path", "")
            for event in archive.xml("META-INF/container.xml")
            if event.kind == "start" and event.name == "rootfile"
        ),
        "",
    )
    title, chapters, contents = _read_package(archive, package)
    if title:
        yield Title(title)
    names = _chapter_names(archive, contents) if contents else {}
    for chapter in chapters:
        data = archive.read(chapter)
        if chapter == contents and len(chapters) > 1:
            # The table of contents says nothing else.
            continue
        events = parse_markup(
            data,
            declared=None,
            with_title=False,
            is_xhtml=True,
            figures=request.figures,
            archive=archive,
            folder=chapter.rpartition("/")[0],
        )
        named = names.get(chapter, [])
        if named and not _HEADING.search(data.replace(b"\0", b"")):
            # A chapter that is named in the table of contents alone, or in a plain paragraph.
            yield from _under(named, list(events))
        else:
            yield from events


def _under(named: list[str], events: list[Event]) -> Iterator[Event]:
    """Yield *events* with headings: paragraphs that are named so, or the one name of the file."""
    known = {name.casefold() for name in named}
    found = {
        event.text.casefold()
        for event in events
        if isinstance(event, Block) and event.kind == "paragraph"
    }
    if not known & found and len(named) == 1:
        yield from heading(named[0], level=1)
    for event in events:
        if (
            isinstance(event, Block)
            and event.kind == "paragraph"
            and event.text.casefold() in known
        ):
            yield from heading(event.text, level=1)
        else:
            yield event


def _chapter_names(archive: Archive, contents: str) -> dict[str, list[str]]:
    """Return the names in each chapter by the table of contents (EPUB 3's, or the NCX)."""
    folder = contents.rpartition("/")[0]
    names: dict[str, list[str]] = {}
    text: list[str] = []
    target = ""
    inside = False
    for event in archive.xml(contents):
        if event.kind == "text":
            if inside:
                text.append(event.text)
        elif event.name in ("a", "text"):
            inside = event.kind == "start"
            if inside:
                text = []
                target = event.attributes.get("href", "")
        elif event.kind == "start" and event.name == "content":
            target = event.attributes.get("src", "")
        if target and text and not inside:
            part = join_path(folder, unquote(target.partition("#")[0]))
            if name := clean_line("".join(text)):
                names.setdefault(part, []).append(name)
            target, text = "", []
    return names


def _is_protected(archive: Archive) -> bool:
    """Return whether more than fonts is encrypted (fonts are obfuscated in free books too)."""
    return any(
        event.kind == "start"
        and event.name == "CipherReference"
        and not event.attributes.get("URI", "")
        .lower()
        .endswith((".ttf", ".otf", ".woff", ".woff2"))
        for event in archive.xml("META-INF/encryption.xml")
    )


def _read_package(archive: Archive, package: str) -> tuple[str, list[str], str]:
    """Return the title, the parts of the spine in order, and that of the table of contents."""
    folder = package.rpartition("/")[0]
    items: dict[str, str] = {}
    spine: list[str] = []
    title: list[str] = []
    in_title = False
    contents = ""
    for event in archive.xml(package):
        if event.name == "title" and event.kind != "text":
            in_title = event.kind == "start" and not title
        elif event.kind == "text":
            if in_title:
                title.append(event.text)
        elif event.kind == "start" and event.name == "item":
            kind = event.attributes.get("media-type", "")
            target = unquote(event.attributes.get("href", "").partition("#")[0])
            if "nav" in event.attributes.get("properties", "").split():
                contents = join_path(folder, target)
            elif kind == "application/x-dtbncx+xml":
                contents = contents or join_path(folder, target)
            if kind in _CHAPTER_TYPES:
                items[event.attributes.get("id", "")] = join_path(folder, target)
        elif event.kind == "start" and event.name == "itemref":
            spine.append(event.attributes.get("idref", ""))
    chapters = [items[entry] for entry in spine if entry in items and archive.has(items[entry])]
    if not archive.has(contents):
        contents = ""
    return clean_line("".join(title)), chapters, contents
