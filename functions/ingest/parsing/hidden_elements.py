"""Which elements of a web page a reader does not see, by its styles and its lists of links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

_HIDDEN_STYLE = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all"
    r"|text-decoration(?:-line)?\s*:[^;]{0,40}\bline-through"
    r"|font-size\s*:\s*0(?:px|pt|em)?\s*(?:;|!|$)|opacity\s*:\s*0\s*(?:;|!|$))",
    re.IGNORECASE,
)
RAISING = re.compile(r"(?:^|;)\s*vertical-align\s*:\s*super", re.IGNORECASE)
_DISPLAY = re.compile(r"(?:^|;)\s*display\s*:\s*([\w-]+)", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_RULE = re.compile(r"([^{}]{1,1000})\{([^{}]{0,4000})\}")
_SHOWN = re.compile(r"(?:^|;)\s*display\s*:\s*(?!none)\w", re.IGNORECASE)
# Classes and ids, alone, of an element, or inside of others: "p.note", "#menu", ".page .preheader".
_SIMPLE = re.compile(
    r"(?:[a-z][a-z0-9]{0,12})?(?:[.#][A-Za-z_][\w-]{0,80}){1,3}"
    r"(?:\s+(?:[a-z][a-z0-9]{0,12})?(?:[.#][A-Za-z_][\w-]{0,80}){1,3}){0,3}"
)
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
# A page without <main>: what holds so much of its paragraphs is its text.
_MAIN_SHARE = 0.7
_LEAST_MAIN_CHARS = 40
_MAX_OUTSIDE_DEPTH = 8
_FORMULA_PARENTS = 3
_MAX_BESIDE = 8
_ASKS = (
    "[role=dialog], [role=alertdialog], [aria-modal=true], dialog, [id*=cookie i], "
    "[class*=cookie i], [id*=consent i], [class*=consent i]"
)
# What generators of pages put beside the text: icons that are written as words (Google's Material
# fonts), links for editors (MediaWiki), numbers of lines (Pygments, GitHub, Rouge, highlight.js).
_BESIDE = (
    ".material-icons, .material-icons-outlined, .material-icons-round, .material-icons-sharp, "
    ".material-symbols-outlined, .material-symbols-rounded, .material-symbols-sharp, "
    ".mw-editsection, .mw-jump-link, td.linenos, td.blob-num, td.gutter, td.rouge-gutter, "
    "span.linenos, span.lineno, .hljs-ln-numbers"
)
# A link from a heading to itself, and one from a note back to its sentence.
_PERMALINKS = frozenset(
    ["¶", "#", "§", "\U0001f517", "\u2693", "\u2693\ufe0e", "\u21a9", "\u21a9\ufe0e", "^", "\u2191"]
)
_SKIPS = re.compile(r"\b(?:skip|jump)", re.IGNORECASE)
_SHARES = re.compile(
    r"/sharer(?:\.php)?\?|/sharer/|/intent/(?:tweet|post)|/shareArticle|/share\?|t\.me/share"
    r"|/pin/create|/submit\?url=|wa\.me/\?text|whatsapp://send|api\.whatsapp\.com/send"
)
_MAX_NOTICE_CHARS = 3_000
# More paragraphs tell no more of where the text stands; no list of languages is longer.
_MAX_PARAGRAPHS = 2_000
_MAX_LANGUAGES = 400


class Visibility(NamedTuple):
    """Elements by mem_id: what a reader does not see, formulas behind a picture, raised text."""

    hidden: frozenset[int]
    formulas: frozenset[int]
    raised: frozenset[int] = frozenset()


def is_hidden_style(style: str) -> bool:
    """Return whether a style attribute hides its element."""
    if not style or _HIDDEN_STYLE.search(style) is None:
        return False
    displays = _DISPLAY.findall(style)
    # The last declaration counts, unless an earlier one is important.
    return not displays or displays[-1].lower() == "none" or "important" in style


def hidden_elements(tree: LexborHTMLParser) -> Visibility:
    """Return the elements that the page's styles hide, its lists of links, and formulas."""
    found: set[int] = set()
    formulas: set[int] = set()
    for formula in tree.css("math")[:_MAX_ELEMENTS]:
        _prefer_formula(formula, found, formulas)
    raised: set[int] = set()
    hiding, raising = _selectors(tree)
    for selector in hiding:
        for node in tree.css(selector)[:_MAX_ELEMENTS]:
            if node.tag not in ("html", "body", "main", "article"):
                found.add(node.mem_id)
    for selector in raising:
        raised.update(node.mem_id for node in tree.css(selector)[:_MAX_ELEMENTS])
    found.update(_cookie_notices(tree))
    if tree.css_first("[class]") is not None:
        found.update(node.mem_id for node in tree.css(_BESIDE)[:_MAX_ELEMENTS])
    links = tree.css("a[href]")[:_MAX_ELEMENTS]
    found.update(_aids(links))
    if tree.css_first("p") is not None:
        found.update(_link_lists(tree, links))
    return Visibility(frozenset(found), frozenset(formulas), frozenset(raised))


def _aids(links: list[LexborNode]) -> Iterator[int]:
    """Yield links that lead around the page and do not belong to its text, and those that share."""
    for link in links:
        address = link.attributes.get("href") or ""
        if not address.startswith("#"):
            if _SHARES.search(address):
                yield link.mem_id
            continue
        text = (link.text() or "").strip()
        if text in _PERMALINKS or (
            len(text) <= _MAX_LINK_CHARS
            and _SKIPS.match(text)
            and _SKIPS.search(link.attributes.get("class") or "skip")
        ):
            yield link.mem_id


def _cookie_notices(tree: LexborHTMLParser) -> Iterator[int]:
    """Yield what asks for leave to set cookies: a dialog, or what calls itself so, with buttons."""
    for node in tree.css(_ASKS)[:_MAX_LANGUAGES]:
        if node.tag in ("html", "body", "main", "article"):
            continue
        text = node.text()
        if (
            len(text) <= _MAX_NOTICE_CHARS
            and "cookie" in text.lower()
            and node.css_first("button, input[type=button], input[type=submit], [role=button]")
        ):
            yield node.mem_id


def _prefer_formula(formula: LexborNode, hidden: set[int], formulas: set[int]) -> None:
    """
    Take a formula in MathML, which pages hide, for the drawing of it beside, which they show.

    So write KaTeX, MathJax and MediaWiki: the drawing is kept from screen readers.
    """
    node = formula
    path = [node.mem_id]
    for _ in range(_FORMULA_PARENTS):
        above = node.parent
        if above is None or above.tag in ("p", "div", "td", "li", "body"):
            return
        drawings = [
            one.mem_id
            for one in islice(above.iter(), _MAX_BESIDE)
            if one.mem_id != node.mem_id and one.attributes.get("aria-hidden") == "true"
        ]
        if drawings:
            hidden.update(drawings)
            formulas.update(path)
            return
        path.append(above.mem_id)
        node = above


def _selectors(tree: LexborHTMLParser) -> tuple[list[str], list[str]]:
    """Return which selectors hide elements, and which raise their text."""
    sheets = "".join(node.text() for node in tree.css("style"))[:_MAX_STYLE_CHARS]
    if not any(word in sheets for word in ("none", "hidden", "line-through", "super")):
        return [], []
    rules = _RULE.findall(_without_media(_COMMENT.sub("", sheets)))
    hidden: dict[str, None] = {}
    shown: set[str] = set()
    raising: dict[str, None] = {}
    for selectors, style in rules:
        hides = is_hidden_style(style)
        raises = RAISING.search(style) is not None
        for selector in (" ".join(one.split()) for one in selectors.split(",")):
            if raises and _SIMPLE.fullmatch(selector):
                raising[selector] = None
            if hides and _SIMPLE.fullmatch(selector):
                hidden[selector] = None
            elif _SHOWN.search(style):
                # What another rule shows again is a tab or a menu: a click away from the reader.
                shown.update(_NAME.findall(selector))
    found = [one for one in hidden if not shown.intersection(_NAME.findall(one.rpartition(" ")[2]))]
    return found[:_MAX_RULES], list(raising)[:_MAX_RULES]


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


def _link_lists(tree: LexborHTMLParser, all_links: list[LexborNode]) -> set[int]:
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
    for link in all_links:
        if link.parent is not None and link.parent.tag in ("div", "p", "span", "td"):
            rows.setdefault(link.parent.mem_id, (link.parent, []))[1].append(link)
    for number, (node, links) in rows.items():
        if _leads_elsewhere(node, links, has_main=has_main):
            found.add(number)
    for choice in tree.css("select")[:_MAX_ELEMENTS]:
        options = choice.css("option")[: _MAX_LANGUAGES + 1]
        names = [option.text() for option in options]
        if len(names) <= _MAX_LANGUAGES and _are_languages(
            sum(map(_names_language, names)), len(names)
        ):
            found.add(choice.mem_id)
    found.update(_outside_lists(tree))
    return found


def _outside_lists(tree: LexborHTMLParser) -> Iterator[int]:
    """Yield what stands beside the text and holds hardly more than links."""
    main = tree.css_first("main, article, [role=main]") or _find_text(tree)
    if main is None:
        return
    inside = main
    for _ in range(_MAX_ABOVE):
        above = inside.parent
        if above is None or inside.tag == "body":
            return
        waiting = [
            (one, 0)
            for one in above.iter()
            if one.mem_id != inside.mem_id and not one.css("main, article, [role=main]")
        ]
        while waiting:
            node, depth = waiting.pop()
            links = node.css("a[href]")
            if len(links) < _LEAST_OUTSIDE:
                continue
            if _is_linked(node, [" ".join(link.text().split()) for link in links]):
                yield node.mem_id
                _, heading = _heading_before(node)
                if heading is not None:
                    yield heading
            elif depth < _MAX_OUTSIDE_DEPTH:
                waiting.extend((one, depth + 1) for one in node.iter())
        inside = above


def _heading_before(node: LexborNode) -> tuple[str, int | None]:
    """Return the heading in front of a list, which has nothing else below it."""
    before = node.prev
    while before is not None and before.tag == "-text" and not (before.text() or "").strip():
        before = before.prev
    if before is not None and before.tag in ("h2", "h3", "h4", "h5", "h6"):
        return before.tag, before.mem_id
    return "", None


def _find_text(tree: LexborHTMLParser) -> LexborNode | None:
    """Return the smallest element that holds most of the paragraphs, None for the whole page."""
    sizes: dict[int, int] = {}
    depths: dict[int, tuple[int, LexborNode]] = {}
    total = 0
    for paragraph in tree.css("p")[:_MAX_PARAGRAPHS]:
        size = len(paragraph.text().strip())
        size -= sum(len(link.text()) for link in paragraph.css("a[href]"))
        if size <= 0:
            continue
        total += size
        above, path = paragraph.parent, list[LexborNode]()
        while above is not None and len(path) < _MAX_ABOVE:
            path.append(above)
            above = above.parent
        for depth, node in enumerate(reversed(path)):
            sizes[node.mem_id] = sizes.get(node.mem_id, 0) + size
            depths[node.mem_id] = depth, node
    if total < _LEAST_MAIN_CHARS:
        return None
    held = [depths[one] for one, size in sizes.items() if size >= _MAIN_SHARE * total]
    if not held:
        # The paragraphs stand deeper than is looked at.
        return None
    _, node = max(held, key=lambda pair: pair[0])
    return None if node.tag in ("body", "html") else node


def _leads_elsewhere(node: LexborNode, links: list[LexborNode], *, has_main: bool) -> bool:
    """Return whether an element holds hardly more than links that are no part of the text."""
    if len(links) < _LEAST_OUTSIDE:
        return False
    linked = [" ".join(link.text().split()) for link in links]
    languages = sum(
        1
        for link, text in zip(links, linked, strict=True)
        if link.attributes.get("hreflang") or _names_language(text)
    )
    of_languages = _are_languages(languages, len(links))
    if not of_languages and (not has_main or _is_inside_text(node)):
        return False
    return _is_linked(node, linked)


def _are_languages(named: int, count: int) -> bool:
    return named >= max(_LEAST_LANGUAGES, 0.8 * count)


def _is_linked(node: LexborNode, linked: list[str]) -> bool:
    """Return whether hardly more than short links is in an element."""
    if max(map(len, linked)) > _MAX_LINK_CHARS:
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
