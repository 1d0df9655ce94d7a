"""HTML, by selectolax's lexbor: headings, paragraphs, lists, tables, code and the text of links."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from .blocks import (
    BlockKind,
    Event,
    Request,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
    read_all,
)
from .decoding import declared_charset, decode

_SKIPPED = frozenset(
    ["script", "style", "template", "noscript", "svg", "math", "iframe", "object", "head", "title"]
)
_BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "menu",
        "nav",
        "ol",
        "p",
        "section",
        "summary",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
        "option",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_META_CHARSET = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?([\w.:-]{2,40})", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"^<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})")
# A table row with a cell longer than this lays out a page; it is no data.
_MAX_ROW_CHARS = 4000


def parse_html(request: Request) -> Iterator[Event]:
    """Yield the blocks of an HTML page."""
    yield from parse_markup(read_all(request), declared=declared_charset(request.content_type))


def parse_markup(
    data: bytes, *, declared: str | None = None, page: int | None = None, with_title: bool = True
) -> Iterator[Event]:
    """Yield the blocks of the HTML in *data*; navigation is left out where there is other text."""
    if declared is None:
        found = _XML_ENCODING.search(data[:1024]) or _META_CHARSET.search(data[:4096])
        declared = found.group(1).decode("ascii") if found else None
    tree = LexborHTMLParser(decode(data, declared=declared))
    if with_title:
        title = tree.css_first("head > title")
        if title is not None and (text := clean_line(title.text())):
            yield Title(text)
    root = tree.root
    if root is None:
        return
    some = False
    for event in _Walker(page=page, skipped=_SKIPPED | {"nav"}).walk(root):
        some = True
        yield event
    if not some:
        yield from _Walker(page=page, skipped=_SKIPPED).walk(root)


class _Walker:
    """
    One walk over a tree, without recursion: pages nest tens of thousands of elements.

    *inline* gathers the text of the open paragraph, *cells* the row of the open table.
    """

    def __init__(self, *, page: int | None, skipped: frozenset[str]) -> None:
        self.page = page
        self.skipped = skipped
        self.inline: list[str] = []
        self.kind: BlockKind = "paragraph"
        self.level = 0
        self.preformatted = 0
        self.marker = ""
        self.lists: list[int | None] = []
        self.cells: list[str] | None = None
        self.head_row = False
        self.header = ""
        self.header_open = False
        self.tables: list[tuple[list[str] | None, bool, str, bool]] = []
        self.gap = "\n\n"

    def walk(self, root: LexborNode) -> Iterator[Event]:
        node: LexborNode | None = root
        while node is not None:
            tag = node.tag or ""
            enters = tag not in self.skipped and node.attributes.get("hidden", "-") == "-"
            if tag == "-text":
                self.inline.append(node.text_content or "")
                enters = False
            elif enters:
                yield from self._start(tag, node)
            if enters and node.child is not None:
                node = node.child
                continue
            if enters:
                yield from self._end(tag)
            following = node.next
            while following is None:
                above = node.parent
                # Nodes compare by their HTML, which is as long as the page.
                if above is None or above.mem_id == root.mem_id:
                    break
                node = above
                yield from self._end(node.tag or "")
                following = node.next
            node = following
        yield from self._flush()

    def _start(self, tag: str, node: LexborNode) -> Iterator[Event]:
        if tag == "br":
            self.inline.append("\n" if self.preformatted else " \n")
        elif tag == "img":
            if alternative := (node.attributes.get("alt") or "").strip():
                self.inline.append(f" {alternative} ")
        elif tag in _HEADINGS:
            yield from self._leave_row()
            yield from self._flush()
            self.kind, self.level = "heading", _HEADINGS[tag]
        elif tag == "pre":
            yield from self._flush()
            self.preformatted += 1
            self.kind = "code"
        elif tag == "table":
            yield from self._leave_row()
            yield from self._flush()
            self.tables.append((self.cells, self.head_row, self.header, self.header_open))
            self.cells, self.head_row, self.header, self.header_open = None, False, "", True
            self.gap = "\n\n"
        elif tag == "tr" and self.tables:
            yield from self._flush()
            self.cells, self.head_row = [], True
        elif tag in ("td", "th") and self.cells is not None:
            self._finish_cell()
            self.inline = []
            if tag == "td":
                self.head_row = False
        elif tag in ("ul", "ol"):
            yield from self._flush()
            self.lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            yield from self._flush()
            self.kind = "item"
            self.marker = self._next_marker()
        elif tag in _BLOCKS:
            yield from self._flush()

    def _end(self, tag: str) -> Iterator[Event]:
        if tag in _HEADINGS:
            yield from self._flush()
        elif tag == "pre":
            yield from self._flush()
            self.preformatted = max(0, self.preformatted - 1)
        elif tag in ("td", "th") and self.cells is not None:
            self._finish_cell()
        elif tag == "tr" and self.cells is not None:
            yield from self._row()
            self.cells = None
        elif tag == "table" and self.tables:
            yield from self._leave_row()
            yield from self._flush()
            self.cells, self.head_row, self.header, self.header_open = self.tables.pop()
            self.gap = "\n\n"
        elif tag in ("ul", "ol"):
            yield from self._flush()
            if self.lists:
                self.lists.pop()
            if not self.lists:
                self.gap = "\n\n"
        elif tag in _BLOCKS:
            yield from self._flush()

    def _flush(self) -> Iterator[Event]:
        if self.cells is not None:
            # Inside a cell a paragraph is only a break.
            if self.inline and self.inline[-1] != " ":
                self.inline.append(" ")
            return
        raw, kind, level = "".join(self.inline), self.kind, self.level
        self.inline = []
        if kind == "code" and self.preformatted:
            text = clean(raw).strip("\n").rstrip()
        else:
            lines = (clean_line(line) for line in raw.split(" \n"))
            text = "\n".join(line for line in lines if line)
        if not text:
            return
        self.kind, self.level = ("code" if self.preformatted else "paragraph"), 0
        if kind == "heading":
            yield from heading(text.replace("\n", " "), level=level, page=self.page)
            self.gap = "\n\n"
            return
        if kind == "item":
            text = f"{self.marker} {text}"
        gap = "\n" if kind == "item" and self.gap == "\n" else "\n\n"
        yield from paragraph(text, kind=kind, page=self.page, gap=gap)
        self.gap = "\n" if kind == "item" else "\n\n"

    def _next_marker(self) -> str:
        if not self.lists or self.lists[-1] is None:
            return "-"
        number = self.lists[-1]
        self.lists[-1] = number + 1
        return f"{number}."

    def _finish_cell(self) -> None:
        if self.cells is not None and self.inline:
            text = clean_line("".join(self.inline))
            self.inline = []
            self.cells.append(text)

    def _row(self) -> Iterator[Event]:
        self._finish_cell()
        cells, self.cells = self.cells or [], []
        while cells and not cells[-1]:
            cells.pop()
        if not any(cells):
            return
        text = " | ".join(cells) if len(cells) > 1 else cells[0]
        if len(cells) == 1 or len(text) > _MAX_ROW_CHARS:
            yield from paragraph(text, page=self.page)
            self.gap = "\n\n"
            return
        is_header = self.head_row and self.header_open
        self.header_open = is_header
        header = "" if is_header else self.header
        yield from paragraph(text, kind="row", page=self.page, gap=self.gap, header=header)
        if is_header:
            self.header = f"{self.header}\n{text}" if self.header else text
        self.gap = "\n"

    def _leave_row(self) -> Iterator[Event]:
        """Give out the open row before something that does not fit into a cell."""
        if self.cells is not None:
            yield from self._row()
            self.cells = None
