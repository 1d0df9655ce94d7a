"""HTML, by selectolax's lexbor: headings, paragraphs, lists, tables, code and the text of links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from selectolax.lexbor import LexborHTMLParser, LexborNode

from .archives import Archive
from .blocks import (
    BlockKind,
    Event,
    Request,
    Terms,
    Title,
    clean,
    clean_line,
    heading,
    paragraph,
    raised,
    read_all,
)
from .decoding import declared_charset, decode
from .figures import AddressedPictures, Figures
from .hidden_elements import RAISING, Visibility, hidden_elements, is_hidden_style
from .mathml import linear_formula
from .numbering import show_count
from .tables import MAX_TITLE_CHARS, Row, Spans, TableWriter, folded, folds

# What is struck out no longer holds.
_STRUCK = frozenset(["del", "s", "strike"])
_SKIPPED = _STRUCK | frozenset(
    ["script", "style", "template", "noscript", "svg", "iframe", "object", "head", "title", "rp"]
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
# WAI-ARIA 1.2, tables that are made of other elements.
_ROLES = {
    "table": "table",
    "grid": "table",
    "treegrid": "table",
    "row": "tr",
    "cell": "td",
    "gridcell": "td",
    "columnheader": "th",
    "rowheader": "th",
}
_LISTED = frozenset(["dt", "dl", "li"])
_MAY_RAISE = frozenset(["a", "span", "font", "small"])
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_META_CHARSET = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?([\w.:-]{2,40})", re.IGNORECASE)
_XML_ENCODING = re.compile(rb"^<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{2,40})")
_XHTML = re.compile(
    r"\s*<\?xml\b|\s*(?:<!--.{0,2000}?-->\s*)?<!doctype[^>]{0,200}xhtml", re.IGNORECASE | re.DOTALL
)
_XHTML_CHARS = 4_096
_EMPTY_ELEMENT = re.compile(
    r"<([A-Za-z][\w:.-]{0,60})((?:\s+[^\s=<>\"'/]{1,100}(?:\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))?)*)\s*/>"
)
_OPTION = re.compile(r"<option\b[^<]{0,1000}(?:</option\s{0,20}>)?", re.IGNORECASE)
# More choices than a person reads.
_MAX_OPTIONS = 2_000
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta"]) | {
    "param",
    "source",
    "track",
    "wbr",
}
_ALL_SEEN = Visibility(frozenset(), frozenset())
_MAX_FOOT_ROWS = 100
# More terms in a row are a list of something else, such as bookmarks.
_MAX_TERMS = 4
# Elements between a cell and a table in it.
_MAX_CELL_DEPTH = 8
_MAX_INDENT = 8
# Elements between a figure and its picture.
_FIGURE_DEPTH = 4
_MAX_CAPTION_CHARS = 500
# WHATWG HTML, "the ol element": what its type attribute means.
# Fields of forms whose value a page shows; "" where the type is not named.
_SHOWN_FIELDS = frozenset(["", "text", "email", "tel", "number", "date", "url", "time", "month"])
_MAX_BUTTON_CHARS = 40
_FORMS = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


def parse_html(request: Request) -> Iterator[Event]:
    """Yield the blocks of an HTML page."""
    yield from parse_markup(
        read_all(request),
        declared=declared_charset(request.content_type),
        figures=request.figures,
    )


def parse_markup(
    data: bytes,
    *,
    declared: str | None = None,
    page: int | None = None,
    with_title: bool = True,
    is_xhtml: bool = False,
    figures: Figures | None = None,
    archive: Archive | None = None,
    folder: str = "",
) -> Iterator[Event]:
    """
    Yield the blocks of the HTML in *data*; navigation is left out where there is other text.

    Args:
        is_xhtml: It is XML: an empty element is one tag, which ends itself.
        figures: Describes its pictures; None if they are left alone.
        archive: Holds the pictures that it names, relative to *folder*.
    """
    if declared is None:
        found = _XML_ENCODING.search(data[:1024]) or _META_CHARSET.search(data[:4096])
        declared = found.group(1).decode("ascii") if found else None
    text = decode(data, declared=declared)
    if is_xhtml or _XHTML.match(text[:_XHTML_CHARS]):
        text = _CDATA.sub(r"\1", _EMPTY_ELEMENT.sub(_with_end_tag, text))
    tree = LexborHTMLParser(_with_few_options(text))
    if with_title:
        title = tree.css_first("head > title")
        if title is not None and (named := clean_line(title.text())):
            yield Title(named)
    root = tree.root
    if root is None:
        return
    some = False
    seen = hidden_elements(tree)
    pictures = None
    if figures is not None:
        addresses = (node.attributes.get("src") or "" for node in tree.css("img"))
        pictures = AddressedPictures(figures, addresses, archive=archive, folder=folder)
    skipped = _SKIPPED | {"nav"}
    has_roles = tree.css_first("[role=row]") is not None
    walker = _Walker(page=page, skipped=skipped, seen=seen, pictures=pictures, has_roles=has_roles)
    for event in walker.walk(root):
        some = True
        yield event
    if not some:
        yield from _Walker(page=page, skipped=_SKIPPED, pictures=pictures).walk(root)


def _with_few_options(text: str) -> str:
    """Return *text* without further choices of a form: lexbor takes the square of their number."""
    if len(text) < _MAX_OPTIONS * len("<option>") or (
        text.lower().count("<option") <= _MAX_OPTIONS
    ):
        return text
    numbers = count()
    return _OPTION.sub(lambda found: found.group() if next(numbers) < _MAX_OPTIONS else "", text)


def _with_end_tag(found: re.Match[str]) -> str:
    name = found.group(1)
    return found.group() if name.lower() in _VOID else f"<{name}{found.group(2)}></{name}>"


def _figure_caption(node: LexborNode) -> str:
    """Return the caption of the figure that a picture stands in, "" if there is none."""
    above = node.parent
    for _ in range(_FIGURE_DEPTH):
        if above is None:
            return ""
        if above.tag == "figure":
            caption = above.css_first("figcaption")
            return clean_line(caption.text())[:_MAX_CAPTION_CHARS] if caption is not None else ""
        above = above.parent
    return ""


def _shown(node: LexborNode) -> tuple[float, float] | None:
    """Return width and height of a picture in points, None if the page does not tell them."""
    sides = [(node.attributes.get(name) or "").removesuffix("px") for name in ("width", "height")]
    if not all(side.isdecimal() and len(side) < 6 for side in sides):
        return None
    return int(sides[0]) * 0.75, int(sides[1]) * 0.75


@dataclass(slots=True)
class _Table:
    """
    An open table.

    Attributes:
        waiting: Its rows while it may still become the text of the cell that it stands in.
        cells: "h" or "d" for each cell of the open row, None between rows.
        outside: The text of that cell so far, of the table around it.
    """

    writer: TableWriter
    waiting: list[Row] | None = None
    outside: list[str] = field(default_factory=list)
    spans: Spans = field(default_factory=Spans)
    cells: str | None = None
    in_cell: bool = False
    in_head: bool = False
    in_foot: bool = False
    foot: list[Row] = field(default_factory=list)
    columns: int = 1
    rows: int = 1
    blank_corner: bool = False


class _List:
    """
    An open list.

    Args:
        node: Its element where its items have numbers.
    """

    def __init__(self, node: LexborNode | None = None) -> None:
        attributes = node.attributes if node is not None else {}
        self.form = _FORMS.get(attributes.get("type") or "1", "decimal") if node else ""
        self.number = _number(attributes.get("start"), usual=1)

    def next_marker(self, item: LexborNode) -> str:
        if not self.form:
            return "-"
        number = _number(item.attributes.get("value"), usual=self.number)
        self.number = number + 1
        return f"{show_count(number, self.form)}."


class _Walker:
    """
    One walk over a tree, without recursion: pages nest tens of thousands of elements.

    *inline* gathers the text of the open paragraph or cell.
    """

    def __init__(
        self,
        *,
        page: int | None,
        skipped: frozenset[str],
        seen: Visibility = _ALL_SEEN,
        pictures: AddressedPictures | None = None,
        has_roles: bool = False,
    ) -> None:
        self.has_roles = has_roles
        self.page = page
        self.skipped = skipped
        self.seen = seen
        self.pictures = pictures
        # Address, caption and size of those in the open paragraph or table.
        self.waiting: list[tuple[str, str, tuple[float, float] | None]] = []
        self.inline: list[str] = []
        self.kind: BlockKind = "paragraph"
        self.level = 0
        self.preformatted = 0
        self.marker = ""
        self.lists: list[_List] = []
        self.tables: list[_Table] = []
        self.gap = "\n\n"
        # Terms that the next paragraph explains, None outside of them.
        self.terms = Terms()
        self.in_term = False
        # Raised elements that are open, and where their text begins.
        self.raised: list[tuple[int, int]] = []
        self.readings: list[str] = []

    def walk(self, root: LexborNode) -> Iterator[Event]:
        node: LexborNode | None = root
        while node is not None:
            tag = self._tag(node) if self.has_roles else node.tag or ""
            if tag == "-text":
                self.inline.append(node.text_content or "")
                enters = False
            else:
                enters = tag not in self.skipped and not self._is_hidden(node)
            if enters and tag == "math":
                self.inline.append(f" {linear_formula(node)} ")
                enters = False
            elif enters:
                yield from self._start(tag, node)
            if enters and node.child is not None:
                node = node.child
                continue
            if enters:
                yield from self._end(tag, node)
            following = node.next
            while following is None:
                above = node.parent
                # Nodes compare by their HTML, which is as long as the page.
                if above is None or above.mem_id == root.mem_id:
                    break
                node = above
                yield from self._end(self._tag(node) if self.has_roles else node.tag or "", node)
                following = node.next
            node = following
        yield from self._flush()

    def _tag(self, node: LexborNode) -> str:
        """Return what an element is: tables are made of other elements too."""
        tag = node.tag or ""
        if tag in ("div", "span", "li", "ul"):
            return _ROLES.get(node.attributes.get("role") or "", tag)
        return tag

    def _is_hidden(self, node: LexborNode) -> bool:
        if self.seen.hidden and node.mem_id in self.seen.hidden:
            return True
        attributes = node.attributes
        if node.tag == "dialog" and "open" not in attributes:
            return True
        if node.tag == "button":
            return _only_acts(node)
        if not attributes:
            return False
        role = attributes.get("role")
        if role is not None and (
            role == "doc-pagebreak" or (role == "navigation" and "nav" in self.skipped)
        ):
            return True
        # Of several tabs all but one are hidden, a click away from the reader.
        if "hidden" in attributes and role != "tabpanel":
            return attributes["hidden"] != "until-found"
        kind = attributes.get("epub:type")
        if kind is not None and "pagebreak" in kind:
            return True
        style = attributes.get("style")
        return (
            style is not None and is_hidden_style(style) and node.mem_id not in self.seen.formulas
        )

    def _start(self, tag: str, node: LexborNode) -> Iterator[Event]:
        if tag in ("td", "th") and self.tables and self.tables[-1].cells is not None:
            self._begin_cell(tag, node)
        elif tag == "sup" or (tag in _MAY_RAISE and self._is_raised(node)) or tag == "rt":
            self.raised.append((node.mem_id, len(self.inline)))
        elif tag == "input":
            self._field(node)
        elif tag == "br":
            self.inline.append("\n" if self.preformatted else " \n")
        elif tag == "img":
            alternative = (node.attributes.get("alt") or "").strip()
            if alternative:
                self.inline.append(f" {alternative} ")
            if self.pictures is not None and (address := node.attributes.get("src")):
                caption = ". ".join(filter(None, (alternative, _figure_caption(node))))
                self.waiting.append((address.strip(), caption, _shown(node)))
        elif tag in _HEADINGS and not self._in_header_cell():
            yield from self._spill()
            yield from self._flush()
            self.kind, self.level = "heading", _HEADINGS[tag]
        elif tag == "pre":
            if self._in_cell() and not _has_neighbours(node, self.seen.hidden):
                yield from self._spill()
            yield from self._flush()
            self.preformatted += 1
            self.kind = "code"
        elif tag == "table":
            yield from self._flush()
            is_part = self._in_cell() and _has_neighbours(node, self.seen.hidden)
            if not is_part:
                yield from self._spill()
            table = _Table(TableWriter(page=self.page), [] if is_part else None)
            if is_part:
                table.outside, self.inline = self.inline, []
            self.tables.append(table)
        elif tag in ("thead", "tbody", "tfoot") and self.tables:
            self.tables[-1].in_head = tag == "thead"
            self.tables[-1].in_foot = tag == "tfoot"
            self.tables[-1].spans.reaching.clear()
        elif tag == "tr" and self.tables:
            yield from self._row()
            self.inline = []
            self.tables[-1].cells = ""
        elif tag in ("ul", "ol"):
            yield from self._flush()
            self.lists.append(_List(node) if tag == "ol" else _List())
        elif tag == "li":
            yield from self._flush()
            if not self._in_cell():
                self.kind = "item"
            elif (said := "".join(self.inline).rstrip()) and said[-1] not in ":;,":
                self.inline = [said, "; "]
            self.marker = self._next_marker(node)
        elif tag in _BLOCKS:
            yield from self._flush()
            if tag == "dt":
                self.in_term = not self._in_cell()

    def _field(self, node: LexborNode) -> None:
        """Add what a field of a form shows."""
        attributes = node.attributes
        kind = (attributes.get("type") or "").lower()
        if kind in ("checkbox", "radio"):
            if _is_labelled(node):
                self.inline.append(" [x] " if "checked" in attributes else " [ ] ")
        elif kind in _SHOWN_FIELDS and (value := attributes.get("value")):
            self.inline.append(f" {value} ")

    def _is_raised(self, node: LexborNode) -> bool:
        """Tell whether a style raises the text of an element, or it is the mark of a note."""
        attributes = node.attributes
        return (
            "noteref" in (attributes.get("epub:type") or "")
            or attributes.get("role") == "doc-noteref"
            or RAISING.search(attributes.get("style") or "") is not None
            or node.mem_id in self.seen.raised
        )

    def _end(self, tag: str, node: LexborNode) -> Iterator[Event]:
        if tag in ("td", "th") and self._in_cell():
            self._end_cell()
        elif self.raised and self.raised[-1][0] == node.mem_id:
            _, begin = self.raised.pop()
            text = "".join(self.inline[begin:])
            del self.inline[begin:]
            if tag == "rt":
                self.readings.append(text.strip())
            else:
                self.inline.append(raised(text))
        elif tag == "ruby" and self.readings:
            # How the word before it is read: in parentheses it leaves that word whole.
            readings, self.readings = "".join(self.readings), []
            self.inline.append(f" ({readings})" if readings.isascii() else f"({readings})")
        elif tag in _HEADINGS:
            yield from self._flush()
        elif tag == "pre":
            yield from self._flush()
            self.preformatted = max(0, self.preformatted - 1)
            if not self.preformatted and self.kind == "code":
                self.kind = "paragraph"
        elif tag == "tr" and self.tables:
            yield from self._row()
        elif tag == "caption" and self.tables:
            yield from self._caption()
        elif tag == "table" and self.tables:
            yield from self._end_table()
        elif tag in ("ul", "ol"):
            yield from self._flush()
            if self.lists:
                self.lists.pop()
            if not self.lists:
                self.gap = "\n\n"
        elif tag in _BLOCKS:
            yield from self._flush()
            if tag in _LISTED:
                yield from self._end_listed(tag)

    def _end_listed(self, tag: str) -> Iterator[Event]:
        if tag == "dt":
            self.in_term = False
        elif tag == "dl" and self.terms:
            yield from self._terms_alone()
        elif tag == "li" and self.kind == "item":
            # It held nothing: what follows is none of its text.
            self.kind = "paragraph"

    def _flush(self) -> Iterator[Event]:
        if self._in_cell():
            # Inside a cell a paragraph is only a break.
            if self.inline and self.inline[-1] != " ":
                self.inline.append(" ")
            return
        if self.waiting:
            yield from self._flush_text()
            waiting, self.waiting = self.waiting, []
            for address, caption, shown in waiting:
                if self.pictures is not None:
                    yield from self.pictures.describe(
                        address, page=self.page, caption=caption, shown=shown
                    )
            return
        yield from self._flush_text()

    def _flush_text(self) -> Iterator[Event]:
        raw, kind, level = "".join(self.inline), self.kind, self.level
        self.inline = []
        if kind == "code" and self.preformatted:
            text = clean(raw).strip("\n").rstrip()
        elif " \n" not in raw:
            text = clean_line(raw)
        else:
            lines = (clean_line(line) for line in raw.split(" \n"))
            text = "\n".join(line for line in lines if line)
        if not text:
            return
        self.kind, self.level = ("code" if self.preformatted else "paragraph"), 0
        if self.in_term and kind == "paragraph":
            if len(self.terms) >= _MAX_TERMS:
                yield from self._terms_alone()
            self.terms.add(text)
            return
        if self.terms:
            if kind == "paragraph":
                text = self.terms.explained(text)
            else:
                yield from self._terms_alone()
        if kind == "heading":
            yield from heading(text.replace("\n", " "), level=level, page=self.page)
            self.gap = "\n\n"
            return
        if kind == "item":
            text = f"{self.marker} {text}"
        gap = "\n" if kind == "item" and self.gap == "\n" else "\n\n"
        yield from paragraph(text, kind=kind, page=self.page, gap=gap)
        self.gap = "\n" if kind == "item" else "\n\n"

    def _terms_alone(self) -> Iterator[Event]:
        """Yield terms that no paragraph explains, each by itself."""
        yield from self.terms.alone(page=self.page)
        self.gap = "\n\n"

    def _next_marker(self, node: LexborNode) -> str:
        indent = "  " * min(max(0, len(self.lists) - 1), _MAX_INDENT)
        return indent + (self.lists[-1].next_marker(node) if self.lists else "-")

    def _in_cell(self) -> bool:
        return bool(self.tables) and self.tables[-1].in_cell

    def _in_header_cell(self) -> bool:
        return self._in_cell() and (self.tables[-1].cells or "").endswith("h")

    def _begin_cell(self, tag: str, node: LexborNode) -> None:
        table = self.tables[-1]
        if table.in_cell:
            self._end_cell()
        self.inline = []
        table.cells = f"{table.cells}{tag[1]}"
        table.in_cell = True
        attributes = node.attributes
        table.columns = _span(attributes.get("colspan"))
        rows = attributes.get("rowspan")
        # To the end of the group of rows.
        table.rows = 65_534 if rows == "0" else _span(rows)

    def _end_cell(self) -> None:
        table = self.tables[-1]
        text = clean_line("".join(self.inline))
        self.inline = []
        if table.cells and len(table.cells) == 1:
            table.blank_corner = not text
        table.spans.add(text, columns=table.columns, rows=table.rows)
        table.in_cell = False

    def _row(self) -> Iterator[Event]:
        """Give out the open row of the innermost table."""
        table = self.tables[-1]
        if table.in_cell:
            self._end_cell()
        marks, table.cells = table.cells, None
        if not marks:
            return
        is_header = table.in_head or "d" not in marks
        if not is_header and len(marks) > 1 and table.blank_corner:
            is_header = "d" not in marks[1:]
        told: bool | None = is_header or None
        if not is_header and marks[0] == "h" and "h" not in marks[1:]:
            # The first cell names the row: a row that names columns has no such cell.
            told = False
        yield from self._add_row(Row(table.spans.row(), told))

    def _add_row(self, row: Row) -> Iterator[Event]:
        table = self.tables[-1]
        if table.in_foot and table.waiting is None and len(table.foot) < _MAX_FOOT_ROWS:
            # It is shown at the end, wherever it stands (HTML 4 puts it before the rows).
            table.foot.append(row)
        elif table.waiting is None:
            yield from table.writer.row(row.cells, is_header=row.is_header)
        else:
            table.waiting.append(row)
            yield from self._fold(table)

    def _fold(self, table: _Table) -> Iterator[Event]:
        """Give out the rows of a table within a cell that is too large for it."""
        if table.waiting is None:
            return
        if not folds(table.waiting):
            yield from self._spill()

    def _spill(self) -> Iterator[Event]:
        """Give out all rows, open ones too, before something that does not fit into a cell."""
        for depth, table in enumerate(self.tables):
            is_last = depth == len(self.tables) - 1
            if table.waiting is not None:
                waiting, table.waiting = table.waiting, None
                for row in waiting:
                    yield from table.writer.row(row.cells, is_header=row.is_header)
            if table.cells is None or (is_last and not table.in_cell):
                continue
            if table.in_cell:
                inline = self.inline if is_last else self.tables[depth + 1].outside
                text = clean_line("".join(inline))
                inline.clear()
                table.spans.add(text)
                table.in_cell = not is_last
            cells = table.spans.row()
            if any(cells):
                yield from table.writer.row(cells)
            yield from table.writer.end()
            if is_last:
                table.cells = None
        self.gap = "\n\n"

    def _caption(self) -> Iterator[Event]:
        text = clean_line("".join(self.inline))
        self.inline = []
        if text and not self._in_cell():
            yield from paragraph(text, page=self.page)
            if len(text) <= MAX_TITLE_CHARS:
                self.tables[-1].writer.title = text

    def _end_table(self) -> Iterator[Event]:
        yield from self._row()
        table = self.tables.pop()
        if table.waiting is None:
            for row in table.foot:
                yield from table.writer.row(row.cells, is_header=row.is_header)
            yield from table.writer.end()
            self.gap = "\n\n"
            self.inline = []
        else:
            self.inline = [*table.outside, " ", folded(table.waiting), " "]


def _only_acts(button: LexborNode) -> bool:
    """Tell a button that copies, sends or closes from one that is a title or opens a text."""
    attributes = button.attributes
    if attributes.get("role") == "tab" or any(
        name in ("aria-expanded", "aria-controls") or name.endswith("toggle") for name in attributes
    ):
        return False
    above = button.parent
    for _ in range(_FIGURE_DEPTH):
        if above is None:
            break
        if above.tag in _HEADINGS or above.tag in ("summary", "dt", "th", "label"):
            return False
        above = above.parent
    return len(button.text().strip()) <= _MAX_BUTTON_CHARS


def _is_labelled(field: LexborNode) -> bool:
    """Return whether words stand beside a box to tick; without them it works a menu."""
    beside = field.next
    while beside is not None and beside.tag == "-text" and not (beside.text_content or "").strip():
        beside = beside.next
    if beside is not None and beside.tag in ("-text", "label", "span", "p", "a", "b", "i", "code"):
        return bool(beside.text().strip())
    return field.parent is not None and field.parent.tag in ("label", "li", "td")


def _has_neighbours(node: LexborNode, hidden: frozenset[int]) -> bool:
    """Return whether the cell that *node* stands in is one of several in its row."""
    above = node.parent
    for _ in range(_MAX_CELL_DEPTH):
        if above is None or above.tag in ("td", "th"):
            break
        above = above.parent
    if above is None:
        return False
    for start, step in ((above.prev, "prev"), (above.next, "next")):
        beside = start
        while beside is not None:
            if beside.tag in ("td", "th") and beside.mem_id not in hidden:
                return True
            beside = getattr(beside, step)
    return False


def _number(value: str | None, *, usual: int) -> int:
    return int(value) if value and value.isdecimal() and len(value) < 8 else usual


def _span(value: str | None) -> int:
    return int(value) if value and value.isdecimal() and len(value) < 6 else 1
