"""Which elements of a web page a reader does not see, by its styles and its lists of links."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

_HIDDEN_STYLE = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all"
    r"|font-size\s*:\s*0(?:px|pt|em)?\s*(?:;|!|$)|opacity\s*:\s*0\s*(?:;|!|$))",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}]{1,1000})\{([^{}]{0,4000})\}")
_SHOWN = re.compile(r"(?:^|;)\s*display\s*:\s*(?!none)\w", re.IGNORECASE)
# A class or an id alone, or one of an element: "p.note", ".preheader", "#menu".
_SIMPLE = re.compile(r"(?:[a-z][a-z0-9]{0,12})?[.#][A-Za-z_][\w-]{0,80}")
_NAME = re.compile(r"[.#][A-Za-z_][\w-]{0,80}")
_MAX_STYLE_CHARS = 200_000
_MAX_RULES = 200
_MAX_ELEMENTS = 20_000
# Lists of links: as many entries at least, and as much of their text.
_LEAST_LINKS = 8
_LEAST_LANGUAGES = 3
_LINKED_SHARE = 0.9
_MAX_LINK_CHARS = 60
_MAX_LISTS_AROUND = 3
_MAX_ABOVE = 200


def is_hidden_style(style: str) -> bool:
    """Tell whether a style attribute hides its element."""
    return bool(style) and _HIDDEN_STYLE.search(style) is not None


def hidden_elements(tree: LexborHTMLParser) -> frozenset[int]:
    """Return the mem_id of the elements that the page's styles hide, and of its link lists."""
    found: set[int] = set()
    for selector in _hiding_selectors(tree):
        for node in tree.css(selector)[:_MAX_ELEMENTS]:
            if node.tag not in ("html", "body", "main", "article"):
                found.add(node.mem_id)
    if tree.css_first("p") is not None:
        found.update(_link_lists(tree))
    return frozenset(found)


def _hiding_selectors(tree: LexborHTMLParser) -> list[str]:
    sheets = "".join(node.text() for node in tree.css("style"))[:_MAX_STYLE_CHARS]
    if "none" not in sheets and "hidden" not in sheets:
        return []
    rules = _RULE.findall(_without_media(_COMMENT.sub("", sheets)))
    hidden: dict[str, None] = {}
    shown: set[str] = set()
    for selectors, style in rules:
        hides = is_hidden_style(style)
        for selector in (one.strip() for one in selectors.split(",")):
            if hides and _SIMPLE.fullmatch(selector):
                hidden[selector] = None
            elif _SHOWN.search(style):
                # What another rule shows again is a tab or a menu: a click away from the reader.
                shown.update(_NAME.findall(selector))
    return [one for one in hidden if not shown.intersection(_NAME.findall(one))][:_MAX_RULES]


def _without_media(sheet: str) -> str:
    """Return a style sheet without what is only for print, small screens and the like."""
    kept: list[str] = []
    at = 0
    while (start := sheet.find("@media", at)) >= 0:
        kept.append(sheet[at:start])
        opened = sheet.find("{", start)
        if opened < 0:
            return "".join(kept)
        depth, at = 1, opened + 1
        for brace in re.finditer(r"[{}]", sheet[at:]):
            depth += 1 if brace.group() == "{" else -1
            if depth == 0:
                at += brace.end()
                break
        else:
            return "".join(kept)
    kept.append(sheet[at:])
    return "".join(kept)


def _link_lists(tree: LexborHTMLParser) -> set[int]:
    """Return the lists of nothing but short links, outside of the text: menus and languages."""
    found: set[int] = set()
    has_main = tree.css_first("main, article, [role=main]") is not None
    for node in tree.css("ul, ol")[:_MAX_ELEMENTS]:
        if _lists_around(node) > _MAX_LISTS_AROUND:
            # Each look at a list goes through all that are in it.
            continue
        items = node.css("li")
        links = node.css("a[href]")
        if len(links) < _LEAST_LANGUAGES or len(links) < len(items):
            continue
        languages = sum(1 for link in links if link.attributes.get("hreflang"))
        if languages < _LEAST_LANGUAGES and (len(links) < _LEAST_LINKS or not has_main):
            continue
        linked = [" ".join(link.text().split()) for link in links]
        whole = len(" ".join(node.text().split()))
        if sum(map(len, linked)) < _LINKED_SHARE * (whole - len(linked)):
            continue
        if max(map(len, linked)) <= _MAX_LINK_CHARS and (
            languages >= _LEAST_LANGUAGES or not _is_inside_text(node)
        ):
            found.add(node.mem_id)
    return found


def _lists_around(node: LexborNode) -> int:
    above, lists = node.parent, 0
    for _ in range(_MAX_ABOVE):
        if above is None:
            return lists
        lists += above.tag in ("ul", "ol")
        above = above.parent
    return _MAX_LISTS_AROUND + 1


def _is_inside_text(node: LexborNode) -> bool:
    above = node.parent
    for _ in range(_MAX_ABOVE):
        if above is None:
            return False
        if above.tag in ("main", "article") or above.attributes.get("role") == "main":
            return True
        above = above.parent
    return True
