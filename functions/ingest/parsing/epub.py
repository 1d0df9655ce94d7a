"""EPUB books: the chapters in the order of the spine."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from shared.errors import Unreadable

from .archives import Archive, join_path
from .blocks import Event, Request, Title, clean_line
from .html import parse_markup

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
    title, chapters = _read_package(archive, package)
    if title:
        yield Title(title)
    for chapter in chapters:
        yield from parse_markup(
            archive.read(chapter),
            declared=None,
            with_title=False,
            is_xhtml=True,
            figures=request.figures,
            archive=archive,
            folder=chapter.rpartition("/")[0],
        )


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


def _read_package(archive: Archive, package: str) -> tuple[str, list[str]]:
    """Return the title and the parts of the spine, in order."""
    folder = package.rpartition("/")[0]
    items: dict[str, str] = {}
    spine: list[str] = []
    title: list[str] = []
    in_title = False
    for event in archive.xml(package):
        if event.name == "title" and event.kind != "text":
            in_title = event.kind == "start" and not title
        elif event.kind == "text":
            if in_title:
                title.append(event.text)
        elif event.kind == "start" and event.name == "item":
            if event.attributes.get("media-type", "") in _CHAPTER_TYPES:
                target = unquote(event.attributes.get("href", "").partition("#")[0])
                items[event.attributes.get("id", "")] = join_path(folder, target)
        elif event.kind == "start" and event.name == "itemref":
            spine.append(event.attributes.get("idref", ""))
    chapters = [items[entry] for entry in spine if entry in items and archive.has(items[entry])]
    return clean_line("".join(title)), chapters
