"""XML of any kind: its text without tags; records with the names of their fields."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from .archives import xml_events
from .blocks import (
    Block,
    Event,
    Request,
    Terms,
    Title,
    clean_line,
    heading,
    paragraph,
    raised,
    read_all,
)
from .decoding import declared_charset, decode
from .html import parse_markup
from .tables import MAX_TITLE_CHARS, Spans, TableWriter

_DECLARATION = re.compile(r"\s{0,50}<\?xml\b[^>]{0,300}\?>")
_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})")
# Elements of DocBook, DITA, TEI, JATS and XHTML: a document, in which names are no fields.
_PROSE = frozenset(
    ["p", "para", "simpara", "section", "sect1", "chapter", "h1", "body", "taskbody", "cmd"]
)
# What stands under such a title is no section.
_CAPTIONED = frozenset(["table", "figure", "fig", "example", "equation"])
_TITLES = frozenset(["title", "head", "h1", "h2", "h3", "h4", "h5", "h6"])
_PREFORMATTED = frozenset(["programlisting", "screen", "literallayout", "codeblock", "pre"])
_CDATA = re.compile(r"<!\[CDATA\[.*?\]\]>", re.DOTALL)
_MARKUP = re.compile(
    r"</(?:p|b|i|a|em|strong|div|span|ul|ol|li|h[1-6]|table|td|blockquote)\s*>|<br\s*/?>"
)
# Tables of DocBook (CALS), DITA and XHTML.
_TABLES = frozenset(["table", "informaltable", "simpletable", "tgroup"])
_HEADS = frozenset(["thead", "sthead"])
_ROWS = frozenset(["row", "tr", "strow", "sthead"])
_CELLS = frozenset(["entry", "td", "th", "stentry", "cell"])
_UNREAD = frozenset(["script", "style"])
# Paragraphs, in which other elements are parts of a sentence unless they are blocks themselves.
_PARAGRAPHS = frozenset(["p", "para", "simpara"])
_BLOCKS = frozenset(
    """itemizedlist orderedlist variablelist simplelist procedure list ul ol dl steps def-list
    table informaltable simpletable table-wrap fig figure mediaobject informalfigure blockquote
    programlisting screen literallayout codeblock pre disp-quote disp-formula note warning tip
    important caution""".split()  # noqa: SIM905 - names in rows
)
_ITEMS = frozenset(["listitem", "item", "li", "list-item", "step"])
_NUMBERED = frozenset(["orderedlist", "ol", "procedure", "steps"])
_NUMBERED_TYPES = frozenset(["order", "ordered", "numbered", "arabic", "decimal"])
_NOTES = frozenset(["footnote", "fn", "note"])
# Marks of notes and sources, which JATS raises.
_MARKS = frozenset(["fn", "table-fn", "bibr", "aff"])
# A term stays with what explains it: DocBook, DITA, JATS; TEI where it stands in a list.
_TERMS = frozenset(["term", "dt"])
# Attributes that name the field that an element holds, and those about the file alone.
_NAMING = ("name", "key", "field")
_TECHNICAL = frozenset(["space", "lang", "schemaLocation", "nil", "version", "base", "null"])
_TYPES = re.compile(r"(?:\w+:)?(?:string|int|integer|long|float|double|decimal|boolean|date\w*)$")
# Names of fields and texts on one line with them.
_MAX_FIELD_CHARS = 200
_PIECE_CHARS = 1 << 16


@dataclass(slots=True)
class _Element:
    name: str
    text: list[str] = field(default_factory=list)
    has_text: bool = False
    has_children: bool = False
    is_told: bool = False
    count: int = 0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Table:
    """The table around the current place; *cell* is the element of the open cell, if one is."""

    element: _Element
    writer: TableWriter = field(default_factory=TableWriter)
    spans: Spans = field(default_factory=Spans)
    cell: _Element | None = None
    parts: list[str] = field(default_factory=list)
    in_head: bool = False


def parse_xml(request: Request) -> Iterator[Event]:
    """
    Yield the text of an XML document.

    An element with text, whatever is marked up in it, is a paragraph. In a document without prose
    the fields of a record are lines "name: value".
    """
    data = read_all(request)
    found = _ENCODING.match(data.lstrip()[:400])
    declared = found.group(1).decode("ascii") if found else declared_charset(request.content_type)
    text = _DECLARATION.sub("", decode(data, declared=declared).removeprefix("\ufeff"), count=1)
    del data
    is_outline = re.match(r"\s*(?:<!--.*?-->\s*)?<opml\b", text[:1000], re.DOTALL) is not None
    # Pages within fields say nothing of the document around them.
    tags = _CDATA.sub("", text) if "<![CDATA[" in text else text
    is_prose = not is_outline and any(
        re.search(rf"<(?:\w+:)?{name}[\s>]", tags) for name in sorted(_PROSE)
    )
    del tags
    yield from _Reader(is_prose=is_prose).read(text)


def _told(attributes: dict[str, str]) -> str:
    """Return what attributes say, those apart that are about the file."""
    return ", ".join(
        f"{name}: {clean_line(_without_markup(value))}"
        for name, value in attributes.items()
        if value.strip()
        and name.rpartition(":")[2] not in _TECHNICAL
        and not name.startswith("xmlns")
        and not (name.rpartition(":")[2] == "type" and _TYPES.match(value))
    )


def _whole(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 5 else 1


def _without_markup(text: str) -> str:
    """Return the text of a page's part that stands in an element, as in feeds and exports."""
    return " ".join(block.text for block in _page_blocks(text)) if _MARKUP.search(text) else text


def _page_blocks(text: str) -> list[Block]:
    data = _DECLARATION.sub("", text, count=1).encode("utf-8", "replace")
    events = parse_markup(data, declared="utf-8", with_title=False)
    return [event for event in events if isinstance(event, Block)]


def _within(element: _Element) -> list[str]:
    """Return the text of an element as a part of a sentence."""
    text = "".join(element.text)
    if element.name in _NOTES and text.strip():
        return [f" [Note: {clean_line(text)}]"]
    if element.name in ("sup", "superscript") or (
        element.name == "xref" and element.attributes.get("ref-type") in _MARKS
    ):
        return [raised(text)]
    return element.text


class _Reader:
    """One walk over a document; *open* are the elements around the current place."""

    def __init__(self, *, is_prose: bool) -> None:
        self.is_prose = is_prose
        self.open: list[_Element] = []
        self.gap = "\n\n"
        self.has_title = False
        self.unread = 0
        self.table: _Table | None = None
        self.terms = Terms()
        # Number of an item or a note, which stands in an element of its own.
        self.label = ""
        # In Apple's property lists the name of a value stands before it.
        self.key: str | None = None

    def read(self, text: str) -> Iterator[Event]:
        pieces = (
            text[at : at + _PIECE_CHARS].encode("utf-8", "replace")
            for at in range(0, len(text), _PIECE_CHARS)
        )
        for event in xml_events(pieces, what="XML file", encoding="utf-8", entities=True):
            if event.kind == "text":
                if self.open and not self.unread:
                    self.open[-1].text.append(event.text)
            elif event.kind == "start":
                yield from self._start(event.name, event.attributes)
            else:
                yield from self._end()
        yield from self.terms.alone()

    def _start(self, name: str, attributes: dict[str, str]) -> Iterator[Event]:
        if name in _UNREAD or self.unread:
            self.unread += 1
            return
        if name == "math" and self.open and self.open[-1].name == "alternatives":
            # The formula once more, in another notation.
            self.unread += 1
            return
        if self.open:
            above = self.open[-1]
            above.has_children = True
            if not above.has_text and (
                "".join(above.text).strip()
                or (self.is_prose and above.name in _PARAGRAPHS and name not in _BLOCKS)
            ):
                above.has_text = True
            if not self._inline():
                above.text.clear()
            if not self.is_prose and len(self.open) > 1 and not above.is_told:
                yield from self._record_begin(above)
        element = _Element(name, attributes=attributes)
        self.open.append(element)
        if self.table is None:
            self.table = _Table(element) if name in _TABLES else None
        elif self.table.cell is None:
            if name in _HEADS:
                self.table.in_head = True
            if name in _CELLS:
                self.table.cell, self.table.parts = element, []

    def _record_begin(self, element: _Element) -> Iterator[Event]:
        """Yield what the attributes of an element say about those within it."""
        element.is_told = True
        if self.key is not None:
            name, self.key = self.key, None
            yield from paragraph(f"{name}:", gap="\n\n")
            self.gap = "\n"
        if told := _told(element.attributes):
            yield from paragraph(f"{element.name}: {told}", gap="\n\n")
            self.gap = "\n"

    def _inline(self) -> bool:
        """Return whether an element around has text of its own, which this one is a part of."""
        return any(element.has_text for element in self.open)

    def _end(self) -> Iterator[Event]:
        if self.unread:
            self.unread -= 1
            return
        element = self.open.pop()
        if self._inline():
            self.open[-1].text.extend(_within(element))
            return
        raw = "".join(element.text)
        if self.table is not None and (yield from self._table_end(self.table, element, raw)):
            return
        if element.name in _PREFORMATTED and raw.strip():
            yield from paragraph(raw.strip("\n").rstrip(), kind="code")
            self.gap = "\n\n"
            return
        if _MARKUP.search(raw) and len(blocks := _page_blocks(raw)) > 1:
            # A page in a field, as of notes and articles: its tables and lists stay what they are.
            if not self.is_prose:
                yield from paragraph(f"{element.name}:", gap=self.gap)
            for block in blocks:
                deeper = min(len(self.open) + block.level, 6) if block.kind == "heading" else 0
                yield block._replace(level=deeper)
            self.gap = "\n\n"
            return
        text = clean_line(_without_markup(raw))
        if element.has_children and not element.has_text and not text:
            # The end of a record or section.
            self.gap = "\n\n"
        elif self.is_prose:
            yield from self._prose(element, text)
        elif self.open and self.open[0].name == "plist":
            yield from self._property(element, text)
        else:
            yield from self._field(element, text)

    def _table_end(
        self, table: _Table, element: _Element, raw: str
    ) -> Generator[Event, None, bool]:
        """Yield what the end of an element gives of a table; tell whether it was part of one."""
        if table.cell is not None:
            table.parts.append(raw)
            if element is table.cell:
                rows = _whole(element.attributes.get("rowspan"))
                if more := element.attributes.get("morerows"):
                    rows = _whole(more) + 1
                columns = _whole(element.attributes.get("colspan"))
                text = clean_line(_without_markup(" ".join(table.parts)))
                table.spans.add(text, columns=columns, rows=rows)
                table.cell = None
            return True
        if element.name in _ROWS:
            yield from table.writer.row(table.spans.row(), is_header=table.in_head or None)
        if element.name in _HEADS:
            table.in_head = False
        if element is table.element:
            yield from table.writer.end()
            self.table, self.gap = None, "\n\n"
        return False

    def _prose(self, element: _Element, text: str) -> Iterator[Event]:
        if not text:
            return
        around = self.open[-1].name if self.open else ""
        if element.name == "title" and around in _CAPTIONED:
            yield from self.terms.alone()
            yield from paragraph(text)
            self.gap = "\n\n"
            if self.table is not None and len(text) <= MAX_TITLE_CHARS:
                self.table.writer.title = text
        elif (
            element.name in _TITLES or (element.name == "article-title" and around == "title-group")
        ) and len(text) <= _MAX_FIELD_CHARS:
            if not self.has_title:
                self.has_title = True
                yield Title(text)
            is_article = element.name == "article-title"
            level = 1 if is_article else min(max(len(self.open), 1), 6)
            yield from self.terms.alone()
            yield from heading(text, level=level)
        elif element.name in _TERMS or (element.name == "label" and around == "list"):
            self.terms.add(text)
        elif element.name == "label" and around in (*_ITEMS, "fn"):
            self.label = text
        else:
            marker = self._marker(element)
            text = self.terms.explained(text)
            gap = "\n" if marker and self.gap == "\n" else "\n\n"
            yield from paragraph(marker + text, kind="item" if marker else "paragraph", gap=gap)
            self.gap = "\n" if marker else "\n\n"

    def _marker(self, element: _Element) -> str:
        """Return the number or dash of the item that a paragraph begins, "" if it begins none."""
        label, self.label = self.label, ""
        around = [*self.open, element]
        for place in range(len(around) - 1, -1, -1):
            item = around[place]
            if item.name not in _ITEMS:
                continue
            if item.is_told or self.terms:
                item.is_told = True
                break
            item.is_told = True
            of = around[place - 1] if place else item
            named = (of.attributes.get(one, "") for one in ("list-type", "type", "rend"))
            kinds = {name.partition(":")[0] for name in named}
            if label:
                return f"{label} "
            if of.name in _NUMBERED or kinds & _NUMBERED_TYPES:
                of.count += 1
                return f"{of.count}. "
            return "- "
        return f"{label} " if label else ""

    def _property(self, element: _Element, text: str) -> Iterator[Event]:
        """Yield a value of a property list with its name."""
        if element.name == "key":
            self.key = text
            return
        name, self.key = self.key, None
        text = text or (element.name if element.name in ("true", "false") else "")
        if text and element.name != "data":
            yield from paragraph(f"{name}: {text}" if name else text, gap=self.gap)
            self.gap = "\n"

    def _field(self, element: _Element, text: str) -> Iterator[Event]:
        told = _told(element.attributes)
        if not text:
            # An element that says all in its attributes.
            text = told
            if not text:
                return
            label = element.name
        else:
            label = element.name if self.open else ""
            naming = next((one for one in _NAMING if element.attributes.get(one)), None)
            if naming is not None:
                label = clean_line(element.attributes[naming])
                told = _told({k: v for k, v in element.attributes.items() if k != naming})
            if told and label:
                text = f"{text} ({told})"
            if element.name == "title" and not self.has_title and len(text) <= _MAX_FIELD_CHARS:
                self.has_title = True
                yield Title(text)
        line = f"{label}: {text}" if label else text
        yield from paragraph(line, gap=self.gap)
        self.gap = "\n" if len(line) <= _MAX_FIELD_CHARS else "\n\n"
