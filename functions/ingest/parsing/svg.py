"""SVG drawings: their texts, without shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from .archives import XmlEvent, xml_events
from .blocks import Event, Request, Title, clean_line, paragraph

_PIECE_BYTES = 1 << 16
_TEXTS = frozenset(["text", "title", "desc"])
_UNREAD = frozenset(["script", "style", "metadata", "mask", "clipPath"])
# Elements of a drawing's HTML that begin a line.
_LINES = frozenset(["div", "p", "br", "li", "tr", "h1", "h2", "h3", "h4", "table", "ul", "ol"])
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden")

_HIDDEN_CLASS = re.compile(
    r"\.([\w-]{1,80})\s*\{[^{}]{0,500}?(?:display\s*:\s*none|visibility\s*:\s*hidden)"
)
_MAX_CLASSES = 1_000


def parse_svg(request: Request) -> Iterator[Event]:
    """
    Yield the texts of a drawing in the order of the file, a line each.

    Labels in HTML (foreignObject) count as text; the plainer copy that programs write beside them
    for other viewers does not.

    Raises:
        Unreadable: It is no well-formed XML, or nested too deeply.
    """
    request.source.seek(0)
    pieces = iter(lambda: request.source.read(_PIECE_BYTES), b"")
    reader = _Reader()
    for event in xml_events(pieces, what="SVG drawing", entities=True):
        yield from reader.read(event)


class _Reader:
    """One walk over a drawing; *open* are the elements around the current place."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.words: list[str] = []
        # Levels at which an element began that is read, that is not, and a choice that is made.
        self.reading = self.unread = 0
        self.chosen: list[int] = []
        self.has_title = False
        # Classes that the drawing's own style hides.
        self.hidden: set[str] = set()

    def read(self, event: XmlEvent) -> Iterator[Event]:
        if event.kind == "text":
            if self.reading and not self.unread:
                self.words.append(event.text)
            elif self.open and self.open[-1] == "style" and len(self.hidden) < _MAX_CLASSES:
                self.hidden.update(_HIDDEN_CLASS.findall(event.text))
        elif event.kind == "start":
            yield from self._start(event.name, event.attributes)
        else:
            yield from self._end(event.name)

    def _start(self, name: str, attributes: dict[str, str]) -> Iterator[Event]:
        self.open.append(name)
        depth = len(self.open)
        if self.unread:
            return
        if (
            name in _UNREAD
            or attributes.get("display") == "none"
            or attributes.get("visibility") == "hidden"
            or _HIDDEN.search(attributes.get("style", ""))
            or (self.hidden and not self.hidden.isdisjoint(attributes.get("class", "").split()))
            or (self.chosen and self.chosen[-1] == depth - 1)
        ):
            self.unread = depth
        elif self.reading:
            if name in _LINES:
                yield from self._line("text")
            elif name == "tspan" and ("y" in attributes or "dy" in attributes):
                # A line of its own, which only its place tells from the words before.
                self.words.append(" ")
        elif name in _TEXTS or name == "foreignObject":
            self.reading = depth

    def _end(self, name: str) -> Iterator[Event]:
        depth = len(self.open)
        self.open.pop()
        if self.unread == depth:
            self.unread = 0
        elif self.unread:
            pass
        elif self.reading == depth:
            if name == "foreignObject" and self.open and self.open[-1] == "switch":
                self.chosen.append(depth - 1)
            yield from self._line("title" if name == "title" and depth == 2 else "text")
            self.reading = 0
        elif self.reading and name in _LINES:
            yield from self._line("text")
        if self.chosen and self.chosen[-1] == depth:
            self.chosen.pop()

    def _line(self, kind: Literal["title", "text"]) -> Iterator[Event]:
        text = clean_line("".join(self.words))
        self.words.clear()
        if not text:
            return
        if kind == "title" and not self.has_title:
            self.has_title = True
            yield Title(text)
        yield from paragraph(text, gap="\n")
