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
_LEAST_LANGUAGES = 3
# The same outside of what the page itself calls its text.
_LEAST_OUTSIDE = 2
# Names of languages as their speakers write them, in lists that lead to translations.
_LANGUAGE_NAMES = frozenset(
    re.findall(
        r"\w+",
        "العربية azərbaycan беларуская български bosanski català čeština cymraeg dansk deutsch "
        "eesti ελληνικά english español esperanto euskara فارسی français frysk gaeilge galego "
        "한국어 hrvatski bahasa íslenska italiano עברית ქართული қазақша latina latviešu lietuvių "
        "magyar македонски melayu nederlands 日本語 norsk nynorsk bokmål polski português română "
        "русский shqip slovenčina slovenščina српски srpski suomi svenska tagalog türkçe "
        "українська اردو tiếng 中文 简体中文 繁體中文",
    )
)
_LANGUAGE_CODES = frozenset(
    re.findall(
        r"\w+",
        "ar bg ca cs da de el en es et eu fa fi fr ga gl he hi hr hu id is it ja ko lt lv mk nb "
        "nl nn no pl pt ro ru sk sl sq sr sv th tr uk vi zh",
    )
)
_WORD = re.compile(r"[^\W\d_]+")
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
        if len(links) >= len(items) and _leads_elsewhere(node, links, has_main=has_main):
            found.add(node.mem_id)
    rows: dict[int, tuple[LexborNode, list[LexborNode]]] = {}
    for link in tree.css("a[href]")[:_MAX_ELEMENTS]:
        if link.parent is not None and link.parent.tag in ("div", "p", "span", "td"):
            rows.setdefault(link.parent.mem_id, (link.parent, []))[1].append(link)
    for number, (node, links) in rows.items():
        if _leads_elsewhere(node, links, has_main=has_main):
            found.add(number)
    return found


def _leads_elsewhere(node: LexborNode, links: list[LexborNode], *, has_main: bool) -> bool:
    """Tell whether an element holds hardly more than links that are no part of the text."""
    if len(links) < _LEAST_OUTSIDE:
        return False
    linked = [" ".join(link.text().split()) for link in links]
    if max(map(len, linked)) > _MAX_LINK_CHARS:
        return False
    languages = sum(
        1
        for link, text in zip(links, linked, strict=True)
        if link.attributes.get("hreflang") or _names_language(text)
    )
    of_languages = languages >= max(_LEAST_LANGUAGES, 0.8 * len(links))
    if not of_languages and (not has_main or _is_inside_text(node)):
        return False
    whole = len(" ".join(node.text().split()))
    return sum(map(len, linked)) >= _LINKED_SHARE * (whole - 3 * len(linked))


def _names_language(text: str) -> bool:
    words = [word.lower() for word in _WORD.findall(text)]
    if len(words) == 1 and words[0] in _LANGUAGE_CODES:
        return True
    return bool(words) and len(words) < 4 and words[0] in _LANGUAGE_NAMES


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
