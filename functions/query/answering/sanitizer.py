"""
Answers as plain text: what could make a reader's program load, link or run something is removed.

A document may carry instructions that make a model write an image whose address holds the
reader's question (https://embracethered.com/blog/posts/2023/google-bard-data-exfiltration/), so
images, HTML, links and addresses never leave the server, also when they arrive in pieces. Pure.
"""

from __future__ import annotations

import html
import re
import unicodedata

# Longer than any honest construct; what stays open longer is made harmless and let go.
_MAX_HELD_CHARACTERS = 1_000

# Letters of scripts without spaces end an address: "見てhttp://host/です".
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef"
)
# None of these has another case; to look for theirs would take 30 ms of every cold start.
_ADDRESS_CHARACTER = rf"(?-i:[^\s<>{_UNSPACED}])"
_ADDRESS = re.compile(
    rf"""
      (?:[a-z][a-z0-9+.-]{{0,30}})? : // {_ADDRESS_CHARACTER}*
    | \bhttps? : [\\/]* {_ADDRESS_CHARACTER}+
    | (?<![\w:/]) // (?=[\w\[]) {_ADDRESS_CHARACTER}*
    | \b(?:javascript|vbscript|mailto|file|blob|filesystem|jar|tel|sms) : {_ADDRESS_CHARACTER}+
    | \bdata : [a-z]* (?:/|;|,) {_ADDRESS_CHARACTER}*
    | \bwww\d?\. {_ADDRESS_CHARACTER}+
    | \b(?:[a-z0-9-]{{1,63}}\.){{1,20}}[a-z]{{2,63}} (?::\d+)? [/?\\] {_ADDRESS_CHARACTER}+
    """,
    re.IGNORECASE | re.VERBOSE,
)
_AFTER_ADDRESS = ".,;:!?)]}'\"»”*_"

# A comment holds no beginning of another: many of those would else be a search to the end each.
_TAG = re.compile(r"<!--(?:(?!<!--).){0,2000}?-->|<[A-Za-z/!?][^<>]*>", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\[\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\])?")
_LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)")
_REFERENCE = re.compile(r"\[([^\[\]]*)\]\[([^\[\]]*)\]")
_DEFINITION = re.compile(r"^[ ]{0,3}\[(?!\s*\d+\s*\])[^\[\]]+\]:.*$", re.MULTILINE)
_NUMBERS = re.compile(r"\s*\^?\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*\s*")

# Other ways in which models write a mark.
_ODD_MARK = re.compile(
    r"【\s*(\d{1,3})[^】\n]{0,20}】|\[\s*(?:\^|passage\s+|source\s+)(\d{1,3})\s*\]", re.I
)
_MARK = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;–-]\s*\d{1,3})*)\s*\]|\[\s*\d{4,}\s*\]")

_LEFTOVERS = (
    (re.compile(r"<(?=[A-Za-z/!?])"), "< "),
    (re.compile(r"\]\("), "] ("),
    (re.compile(r"!\["), "! ["),
    (re.compile(r":(?=//)"), ": "),
)

# What makes a stretch of a document more than plain text: markup, what decodes to it, and
# characters that hide or turn text around.
_MARKUP = re.compile(
    "|".join(f"(?:{pattern.pattern})" for pattern in (_TAG, _IMAGE, _LINK, _REFERENCE))
    + r"|<(?=[A-Za-z/!?])|\]\(|!\[|&\#?\w{2,32};|&(?:lt|gt|quot|amp)"
    + "|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e]"
    + "|[\u2060-\u2069\ufeff\U000e0000-\U000e007f]|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}",
    re.DOTALL,
)


class AnswerCleaner:
    """
    Cleans an answer that arrives in pieces; the pieces returned, joined, are the cleaned answer.

    Args:
        passages: How many passages there are; marks of others are removed.
    """

    def __init__(self, *, passages: int) -> None:
        self._passages = passages
        self._token = ""  # the end of the text, not yet known to be a whole word
        self._held = ""  # decoded text whose markup may still be open

    def feed(self, text: str) -> str:
        """Return what can be shown now."""
        self._token += text
        cut = _end_of_whole_words(self._token)
        if cut == 0 and len(self._token) > _MAX_HELD_CHARACTERS:
            # The space keeps two pieces of one address from being joined again.
            self._token += " "
            cut = len(self._token)
        self._held += _decode(self._token[:cut])
        self._token = self._token[cut:]
        cut = _start_of_open_markup(self._held)
        if len(self._held) - cut > _MAX_HELD_CHARACTERS:
            cut = len(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        return _clean_whole(ready, passages=self._passages)

    def finish(self) -> str:
        """Return the rest."""
        rest = self._held + _decode(self._token)
        self._held = self._token = ""
        return _clean_whole(rest, passages=self._passages)


def clean(text: str, *, passages: int) -> str:
    """Return *text* without images, HTML, links, addresses and marks of no passage."""
    cleaner = AnswerCleaner(passages=passages)
    return cleaner.feed(text) + cleaner.finish()


def longest_plain_part(text: str, *, start: int, end: int) -> tuple[int, int]:
    """Return the longest stretch of text[start:end] that holds no markup and no address."""
    spans = sorted(
        match.span()
        for pattern in (_MARKUP, _ADDRESS)
        for match in pattern.finditer(text, start, end)
    )
    best = (start, start)
    position = start
    for markup_start, markup_end in [*spans, (end, end)]:
        if markup_start - position > best[1] - best[0]:
            best = (position, markup_start)
        position = max(position, markup_end)
    part = text[best[0] : best[1]]
    left = len(part) - len(part.lstrip())
    return best[0] + left, max(best[0] + left, best[0] + len(part.rstrip()))


def _decode(text: str) -> str:
    decoded = _SMUGGLING.sub("", html.unescape(text))
    return "".join(
        character
        for character in decoded
        if character in "\n\t\u200c\u200d" or unicodedata.category(character) not in _INVISIBLE
    )


# One selects how the character before it looks; a row of them only hides a text.
_SMUGGLING = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]{2,}")

# Controls, formats (bidirectional overrides, tags, zero widths), surrogates, private use.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co"})

_BREAK = re.compile(rf"[\s{_UNSPACED}]")


def _end_of_whole_words(text: str) -> int:
    for position in range(len(text) - 1, -1, -1):
        if _BREAK.match(text[position]):
            return position + 1
    return 0


_COMPLETE = re.compile(
    rf"{_TAG.pattern}|!?\[[^\[\]]*\](?:\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\[\]]*\]|(?=[^(\[]))",
    re.DOTALL,
)
_OPENING = re.compile(r"<(?=[A-Za-z/!?])|!?\[")


def _start_of_open_markup(text: str) -> int:
    position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        complete = _COMPLETE.match(text, opening.start())
        if complete is None:
            return opening.start()
        position = max(complete.end(), opening.end())
    return len(text)


def _clean_whole(text: str, *, passages: int) -> str:
    if not text:
        return ""
    text = _ODD_MARK.sub(lambda match: f"[{match.group(1) or match.group(2)}]", text)
    # Removing one construct can join another ("<scr<b>ipt>"), so until nothing changes.
    for _ in range(10):
        before = text
        text = _TAG.sub("", text)
        text = _IMAGE.sub("", text)
        text = _LINK.sub(_keep_label, text)
        text = _REFERENCE.sub(_keep_reference, text)
        text = _DEFINITION.sub("", text)
        text = _ADDRESS.sub(_keep_punctuation, text)
        if text == before:
            break
    for pattern, replacement in _LEFTOVERS:
        text = pattern.sub(replacement, text)
    return _MARK.sub(lambda match: _keep_known(match, passages=passages), text)


def _keep_label(match: re.Match[str]) -> str:
    label = match.group(1)
    return f"[{label.strip()}]" if _NUMBERS.fullmatch(label) else label


def _keep_reference(match: re.Match[str]) -> str:
    label, reference = match.groups()
    if _NUMBERS.fullmatch(label):
        return match.group(0) if _NUMBERS.fullmatch(reference) else f"[{label}]"
    return f"{label}[{reference}]" if _NUMBERS.fullmatch(reference) else label


def _keep_punctuation(match: re.Match[str]) -> str:
    address = match.group(0)
    return address[len(address.rstrip(_AFTER_ADDRESS)) :]


def _keep_known(match: re.Match[str], *, passages: int) -> str:
    inside = match.group(1)
    if inside is None:
        return ""
    numbers: list[int] = []
    for part in re.split(r"[,;]", inside):
        ends = [int(digits) for digits in re.findall(r"\d+", part)]
        whole = len(ends) == 2 and ends[0] <= ends[1] <= ends[0] + 20
        numbers.extend(range(ends[0], ends[1] + 1) if whole else ends)
    return "".join(f"[{number}]" for number in dict.fromkeys(numbers) if 1 <= number <= passages)
