"""
Answers as Markdown that is harmless by construction: literal text stays, nothing becomes active.

A document may carry instructions that make a model write an image whose address holds the reader's
question (https://embracethered.com/blog/posts/2023/google-bard-data-exfiltration/). So what a
renderer could load, link or run (HTML, images, links, addresses, mail addresses) leaves the server
as a code span, whose content every renderer shows as it stands
(https://spec.commonmark.org/0.31.2/#code-spans), and an address that no passage holds to the letter
does not leave it at all. Pure.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from shared.language import UNSPACED_SCRIPTS

# Longer than any honest construct; anything that stays open longer is neutralised and released.
_MAX_HELD_CHARACTERS = 1_000

# Letters of scripts without spaces end an address: "見てhttp://host/です".
_UNSPACED = rf"{UNSPACED_SCRIPTS}\u3000-\u303f\uff00-\uffef"
# None of these has another case; to look for theirs would take 30 ms of every cold start.
_ADDRESS_CHARACTER = rf"(?-i:[^\s<>|`{_UNSPACED}])"
# What a renderer may link by itself, or a browser may load.
_ADDRESS = re.compile(
    rf"""
      \b[a-z][a-z0-9+.-]{{0,30}} : // {_ADDRESS_CHARACTER}*
    | :// {_ADDRESS_CHARACTER}+
    | \bhttps? : [\\/]* {_ADDRESS_CHARACTER}+
    | (?<![\w:/.]) // (?=[\w\[]) {_ADDRESS_CHARACTER}*\.{_ADDRESS_CHARACTER}*
    | \b(?:javascript|vbscript|mailto|file|blob|filesystem|jar|tel|sms) : {_ADDRESS_CHARACTER}+
    | \bdata : [a-z]* (?:/|;|,) {_ADDRESS_CHARACTER}*
    | \bwww\d?\. {_ADDRESS_CHARACTER}+
    | [\w.+-]{{1,64}} @ [\w-]{{1,63}} (?:\.[\w-]{{1,63}}){{1,9}} (?: : [~/] {_ADDRESS_CHARACTER}*)?
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Harmless in every renderer: none links them, no browser loads them.
_STORAGE_ADDRESS = re.compile(r"(?:gs|s3|az|abfss|hdfs)://", re.IGNORECASE)
_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w.-]{1,255}")
_AFTER_ADDRESS = ".,;:!?)]}'\"»”*_"

_TAG = re.compile(r"<(?:!--.{0,500}?-->|[A-Za-z/!?][^<>\n]{0,500}>)")
# A name without attributes that no browser knows is text: List<String>, <PROJECT_ID>.
_PLAIN_TAG = re.compile(r"<(?P<name>[A-Za-z][\w., -]*)>")
HTML_ELEMENTS = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "address",
        "animate",
        "animatemotion",
        "animatetransform",
        "applet",
        "area",
        "article",
        "aside",
        "audio",
        "b",
        "base",
        "basefont",
        "bdi",
        "bdo",
        "bgsound",
        "big",
        "blink",
        "blockquote",
        "body",
        "br",
        "button",
        "canvas",
        "caption",
        "center",
        "circle",
        "cite",
        "code",
        "col",
        "colgroup",
        "content",
        "data",
        "datalist",
        "dd",
        "del",
        "details",
        "dfn",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "element",
        "ellipse",
        "em",
        "embed",
        "fieldset",
        "figcaption",
        "figure",
        "font",
        "footer",
        "foreignobject",
        "form",
        "frame",
        "frameset",
        "g",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "head",
        "header",
        "hgroup",
        "hr",
        "html",
        "i",
        "iframe",
        "image",
        "img",
        "input",
        "ins",
        "isindex",
        "kbd",
        "keygen",
        "label",
        "layer",
        "legend",
        "li",
        "line",
        "link",
        "listing",
        "main",
        "map",
        "mark",
        "marquee",
        "math",
        "menu",
        "menuitem",
        "meta",
        "meter",
        "mi",
        "mn",
        "mo",
        "ms",
        "mtext",
        "multicol",
        "nav",
        "nextid",
        "nobr",
        "noembed",
        "noframes",
        "noscript",
        "object",
        "ol",
        "optgroup",
        "option",
        "output",
        "p",
        "param",
        "path",
        "picture",
        "plaintext",
        "polygon",
        "portal",
        "pre",
        "progress",
        "q",
        "rb",
        "rect",
        "rp",
        "rt",
        "rtc",
        "ruby",
        "s",
        "samp",
        "script",
        "search",
        "section",
        "select",
        "set",
        "shadow",
        "slot",
        "small",
        "source",
        "spacer",
        "span",
        "strike",
        "strong",
        "style",
        "sub",
        "summary",
        "sup",
        "svg",
        "table",
        "tbody",
        "td",
        "template",
        "text",
        "textarea",
        "tfoot",
        "th",
        "thead",
        "time",
        "title",
        "tr",
        "track",
        "tt",
        "u",
        "ul",
        "use",
        "var",
        "video",
        "wbr",
        "xmp",
    ]
)
_IMAGE_OR_LINK = re.compile(
    r"!?\[[^\[\]\n]{0,300}\](?:\([^()\n]{0,500}(?:\([^()\n]{0,200}\)[^()\n]{0,200})?\)"
    r"|\[[^\[\]\n]{0,300}\])"
)
_DEFINITION = re.compile(r"^[ ]{0,3}\[[^\[\]\n]+\]:")
_CODE_SPAN = re.compile(r"(?<![`\\])(`+)(?!`)(?P<code>[^|\n]*?[^`|\n])\1(?!`)")
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]{0,8}([\w+.#-]{0,30})[ \t]{0,8}$")

_NUMBERS = re.compile(r"\s*\^?\d{1,3}(?:\s*[,;–-]\s*\^?\d{1,3})*\s*")
_WORDS_OF_MARKS = (
    r"(?:passages?|documents?|sources?|docs?|passagen?|dokumente?|quellen?|fuentes?|pasajes?"
    r"|documentos?|fonti?|đoạn|tài\ liệu|nguồn)"
)
# Ways in which models write a mark: [Passage 1, Passage 2], [1, page 3], [1: file.pdf], 【1】, (1).
_ODD_MARK = re.compile(
    rf"""
      【\s*(?:{_WORDS_OF_MARKS}\s*)?(?P<corner>\d{{1,3}})[^】\n]{{0,60}}】
    | \[\s*{_WORDS_OF_MARKS}\s*\#?(?P<words>\d{{1,3}}(?:\s*(?:,|;|and|&|und|y|et|e|và)\s*
        (?:{_WORDS_OF_MARKS}\s*)?\#?\d{{1,3}})*)[^\[\]\n]{{0,40}}\]
    | \[\s*(?P<place>\d{{1,3}})\s*(?:,\s*(?:pages?|pp?\.|seiten?|s\.|página|pág\.|trang)\s*[\d–-]+
        |[:†]\s*[^\[\]\n]{{1,80}})\s*\]
    | \(\s*(?:{_WORDS_OF_MARKS}\s*)(?P<round_words>\d{{1,3}})\s*\)
    | (?<=[\w"”»'’.])\s\((?P<round>\d{{1,2}})\)(?=\s*(?:[.,;:!?]|$|\())
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MARK = re.compile(r"\[\s*(\^?\d{1,3}(?:\s*[,;–-]\s*\^?\d{1,3})*)\s*\]")

# One selects how the character before it looks; a row of them only hides a text.
_SMUGGLING = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}")
# Controls, formats (bidirectional overrides, tags, zero widths), surrogates, private use.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co"})

Allows = Callable[[str], bool]


class AnswerCleaner:
    """
    Cleans a model's answer that arrives in pieces; the pieces returned, joined, are the answer.

    Args:
        sources: The texts of the passages; number n is sources[n - 1]. Marks of others are removed,
            and addresses that none of them holds.
    """

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources
        self._held = ""
        self._fence = ""
        self._line_begun = False
        self._ticked = False
        self._before = ""

    def feed(self, text: str) -> str:
        """Return the text that can be shown now."""
        self._held += text
        ready = ""
        while (newline := self._held.find("\n")) >= 0:
            ready += self._clean_line(self._held[: newline + 1])
            self._held = self._held[newline + 1 :]
        if self._fence or self._held.lstrip()[:1] in ("`", "~"):
            return ready
        cut = _safe_end(self._held)
        if len(self._held) - cut > _MAX_HELD_CHARACTERS:
            cut = len(self._held)
        if cut:
            ready += self._clean_line(self._held[:cut])
            self._held = self._held[cut:]
        return ready

    def finish(self) -> str:
        """Return the rest."""
        rest = self._clean_line(self._held)
        self._held = ""
        if self._fence:
            rest += "\n" + self._fence
            self._fence = ""
        return rest

    def _clean_line(self, line: str) -> str:
        if not line:
            return ""
        whole, ended = line.removesuffix("\n"), line.endswith("\n")
        begins, self._line_begun = not self._line_begun, not ended
        if self._fence:
            closes = whole.strip()
            if closes.startswith(self._fence) and not closes.strip(self._fence[0]):
                closing, self._fence = self._fence, ""
                return closing + line[len(whole) :]
            return _visible(whole) + line[len(whole) :]
        if begins and (fence := _FENCE.fullmatch(whole)):
            self._fence = fence[1]
            return line
        return self._clean_text(whole, begins=begins) + line[len(whole) :]

    def _clean_text(self, text: str, *, begins: bool) -> str:
        # The word before decides whether "(1)" is a mark.
        before, self._before = "" if begins else self._before, text[-1:]
        text = _ODD_MARK.sub(self._write_mark, before + _visible(text))[len(before) :]
        shown = neutralise(text, allows=self._allows, begins=begins)
        pieces = re.split(r"(`[^`]+`)", shown)
        cleaned = "".join(
            piece if at % 2 else _part_links(_MARK.sub(self._keep_known, piece))
            for at, piece in enumerate(pieces)
        )
        apart = " " if self._ticked and cleaned.startswith("`") else ""
        self._ticked = cleaned.endswith("`") if cleaned else self._ticked
        return apart + cleaned

    def _allows(self, address: str) -> bool:
        return any(address in source for source in self._sources)

    def _write_mark(self, match: re.Match[str]) -> str:
        for name in ("corner", "words", "place", "round_words", "round"):
            if match[name]:
                numbers = [int(digits) for digits in re.findall(r"\d{1,3}", match[name])]
                known = [number for number in numbers if 1 <= number <= len(self._sources)]
                if not known:
                    return match.group() if name == "round" else ""
                space = " " if match.group().startswith(" ") else ""
                return space + "".join(f"[{number}]" for number in dict.fromkeys(known))
        return match.group()

    def _keep_known(self, match: re.Match[str]) -> str:
        before = match.string[max(0, match.start() - 40) : match.start()]
        index = re.search(r"[\w\])]{1,80}$", before[-80:])
        if index and (self._allows(index.group() + match.group()) or match[1] == "0"):
            return match.group()  # readings[0]
        numbers: list[int] = []
        for part in re.split(r"[,;]", match.group(1)):
            ends = [int(digits) for digits in re.findall(r"\d+", part)]
            spans = len(ends) == 2 and ends[0] <= ends[1] <= ends[0] + 20
            numbers.extend(range(ends[0], ends[1] + 1) if spans else ends)
        known = [number for number in dict.fromkeys(numbers) if 1 <= number <= len(self._sources)]
        return "".join(f"[{number}]" for number in known)


def clean(text: str, *, sources: Sequence[str]) -> str:
    """Return a model's *text* as harmless Markdown that marks only *sources*."""
    cleaner = AnswerCleaner(sources)
    return cleaner.feed(text) + cleaner.finish()


# grid[0][1], or what would be a citation mark; in one pass, so that neither falls into the other.
_INDEX_OR_MARK = re.compile(
    r"(?<![`\w.])[\w.]{0,80}\w\[\d{1,3}\][\w\[\].]{0,80}"
    r"|(?<!`)\[\s*\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\s*\](?!`)"
)


def quote_line(text: str) -> str:
    """
    Return *text* of a document as one line of harmless Markdown, all of it literally there.

    An index such as readings[1] becomes a code span: as it stands it would be a mark.
    """
    line = " ".join(_visible(text).split())
    line = _INDEX_OR_MARK.sub(r"`\g<0>`", line)
    return neutralise(line, allows=lambda _address: True, begins=True)


def quote_code(text: str) -> str:
    """Return lines of a document as a Markdown code block."""
    visible = "\n".join(_visible(line) for line in text.strip("\n").split("\n"))
    longest = max((len(run) for run in re.findall(r"`+", visible)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{visible}\n{fence}"


def neutralise(line: str, *, allows: Allows, begins: bool) -> str:
    """
    Return one *line* of Markdown in which nothing can become active.

    Args:
        allows: Whether an address may stay, as text; others are left out.
        begins: Whether the line begins here, so that block structure can begin too.
    """
    # A bar may end a cell, and with it a code span: each side is made harmless by itself.
    parts = [_neutralise_part(part, allows) for part in line.split("|")]
    whole = "|".join(parts)
    if begins and _DEFINITION.match(whole):
        whole = whole.replace("[", "\\[", 1)
    # A label may begin on the line before.
    whole = re.sub(r"\A([^\[\]]*)\]:", r"\1\\]:", whole)
    if begins and whole.lstrip().startswith("<"):
        whole = whole.replace("<", "\\<", 1)
    return whole


def _neutralise_part(part: str, allows: Allows) -> str:
    done: list[str] = []
    position = 0
    while position < len(part):
        span = _next_construct(part, position)
        if span is None:
            break
        start, end, kind = span
        if kind == "code":
            done.append(_escape_ticks(part[position:start]))
            done.append(_drop_addresses(part[start:end], allows))
        elif kind == "text":
            done.append(_part_links(_escape_ticks(part[position:end])))
        else:
            # Whole words: "p<a and t>b" stays one piece.
            left = start
            while (
                left > position and not part[left - 1].isspace() and part[left - 1] not in "`(\"'"
            ):
                left -= 1
            while end < len(part) and not part[end].isspace() and part[end] not in "`)\"',;:.!?":
                end += 1
            literal = part[left:end]
            done.append(_part_links(_escape_ticks(part[position:left])))
            kept = _drop_addresses(literal, allows)
            if any(map(str.isalnum, kept)) or kept == literal:
                done.append(_code_span(kept))
        position = end
    done.append(_part_links(_escape_ticks(part[position:])))
    return _join(done)


def _part_links(text: str) -> str:
    """Return *text* without what reads as the middle of a link."""
    return text.replace("](", "] (")


def _join(pieces: Sequence[str]) -> str:
    """Return *pieces* as one, the ticks of two code spans apart."""
    whole = ""
    for piece in pieces:
        touching = whole[-1:] + piece[:1] in ("``", "](")
        whole += f" {piece}" if touching else piece
    return whole


def _next_construct(part: str, position: int) -> tuple[int, int, str] | None:
    """Return the first construct that could become active: start, end, and what to do with it."""
    found: list[tuple[int, int, str]] = []
    if code := _CODE_SPAN.search(part, position):
        found.append((*code.span(), "code"))
    if tag := _TAG.search(part, position):
        plain = _PLAIN_TAG.fullmatch(tag.group())
        known = plain is None or plain["name"].split(" ")[0].lower() in HTML_ELEMENTS
        spaced = plain is not None and " " in plain["name"]
        found.append((*tag.span(), "wrap" if known or spaced else "text"))
    opened = re.compile(r"<(?=[A-Za-z/!?])").search(part, position)
    if opened and (tag is None or opened.start() < tag.start()):
        found.append((*opened.span(), "wrap"))
    if link := _IMAGE_OR_LINK.search(part, position):
        inside = re.fullmatch(r"\[([^\]]*)\]\[([^\]]*)\]", link.group())
        marks = inside and all(_NUMBERS.fullmatch(each) for each in inside.groups())
        found.append((*link.span(), "text" if marks else "wrap"))
    if address := _ADDRESS.search(part, position):
        start, end = address.span()
        end = start + len(address.group().rstrip(_AFTER_ADDRESS))
        if end > start:
            found.append((start, end, "wrap"))
    if image := re.compile(r"!\[|\]\(").search(part, position):
        found.append((*image.span(), "wrap"))
    # Of those that begin together the longest.
    return min(found, key=lambda construct: (construct[0], -construct[1]), default=None)


def _drop_addresses(literal: str, allows: Allows) -> str:
    def keep(match: re.Match[str]) -> str:
        address = match.group()
        bare = address.rstrip(_AFTER_ADDRESS)
        harmless = not bare or _STORAGE_ADDRESS.match(bare)
        return address if harmless or allows(bare) else address[len(bare) :]

    return _ADDRESS.sub(keep, literal)


def _code_span(literal: str) -> str:
    if _STORAGE_ADDRESS.match(literal) and not re.search(r"[<>\[\]`]", literal):
        return literal
    runs = [len(run) for run in re.findall(r"`+", literal)]
    ticks = "`" * (max(runs, default=0) + 1)
    space = " " if literal.startswith("`") or literal.endswith("`") else ""
    return f"{ticks}{space}{literal}{space}{ticks}"


def _escape_ticks(text: str) -> str:
    """Escape what could pair with the tick of a code span to come."""
    return re.sub(
        r"(?<!\\)(\\*)`",
        lambda match: match.group() if len(match[1]) % 2 else f"{match[1]}\\`",
        text,
    )


def _visible(text: str) -> str:
    return "".join(
        character
        for character in _SMUGGLING.sub("", text)
        if character in "\n\t\u200c\u200d" or unicodedata.category(character) not in _INVISIBLE
    )


def one_line(text: str) -> str:
    """Return *text*, such as an object's name, as one line in which nothing is hidden."""
    # First: U+2028 and others break a line, and are invisible.
    return _visible(" ".join(text.split()))


_SPECIAL = re.compile(r"[<\[`!【(]")


def _safe_end(text: str) -> int:
    """Return up to where nothing of *text* can still become part of a construct."""
    special = _SPECIAL.search(text)
    limit = len(text)
    if special:
        limit = special.start()
        # What is whole already need not wait: a mark, a code span.
        while match := re.compile(r"\[[\d,; ]{1,12}\](?=\s)|`[^`|]+`(?=[^`])").match(text, limit):
            following = _SPECIAL.search(text, match.end())
            limit = following.start() if following else len(text)
    space = text.rfind(" ", 0, limit)
    if limit < len(text) and space == limit - 1:
        # The word before decides whether "(1)" is a mark.
        space = text.rfind(" ", 0, max(space, 0))
    return max(space, 0)
