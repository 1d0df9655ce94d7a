"""
Checks citations: finds each quote in the passage that it is attributed to. Pure.

A quote is compared with white space, case, Unicode composition, typographic quotation marks and
dashes folded, because a model copies words and not their typography. Nothing else is forgiven.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from shared.language import UNSPACED
from shared.values import Hit

# Quotation marks and dashes that models write for one another.
_EQUIVALENTS = str.maketrans(
    {
        **dict.fromkeys("“”„‟«»″〝〞", '"'),
        **dict.fromkeys("‘’‚‛′‹›`´", "'"),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
    }
)
_PLAIN = re.compile(r"\w+")
_NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "none",
        "neither",
        "nor",
        "cannot",
        "without",
        "nicht",
        "kein",
        "keine",
        "keinen",
        "nie",
        "niemals",
        "ohne",
        "nunca",
        "jamás",
        "ningún",
        "ninguna",
        "sin",
        "pas",
        "jamais",
        "aucun",
        "aucune",
        "sans",
        "non",
        "mai",
        "nessun",
        "nessuna",
        "senza",
        "não",
        "nenhum",
        "nenhuma",
        "sem",
        "không",
        "chưa",
        "chẳng",
    ]
)
# Letters or digits that a quote must hold: a scrap proves nothing.
_PROVING = 2
_QUOTE_EDGE = "\"' \t\r\n"
_CLAIM_EDGE = " \t.,;:!?。！？、，"

# What stands inside a number, a time or a version: "1,000", "10:30", "3.11", "1'000".
_DIGIT_JOINERS = ".,:'"
_SIGNS = "+-"

# What folding makes of Hangul: its letters, of which the first of a syllable begins it.
_LETTERS_OF_HANGUL = re.compile("[\u1100-\u11ff]")
_WITHIN_SYLLABLE = re.compile("[\u1160-\u11ff]")

# Cleaning has already written "[1, 3]" and other forms as "[1][3]".
_MARK = re.compile(r"\[(\d{1,3})\]")
# What stands in code is literal: readings[1] is an index.
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_NEIGHBOURING_MARKS = re.compile(r"\[\d{1,3}\](?:\s*\[\d{1,3}\])*")
# A model that repeats itself writes thousands of marks; an honest answer proves itself long before.
_MAX_CLAIMS = 50
_MAX_CLAIM = 2_000
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_QUOTED_BEFORE_MARK = re.compile(r"[\"“„«]([^\"“”„«»]{3,})[\"”“»][.,;]?\s*$")


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote that the model attributes to passage *number*."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Citation:
    """
    A quote, and whether it was found in passage *number*.

    Attributes:
        description: It stands there, but the passage is a description of a picture, which is a
            model's: it is not verified.
        quote: Verified: characters of the passage, exactly. Else the model's words. Text to show,
            not Markdown.
        char_start: Offset in the document's extracted text; None if not verified.
        char_end: End of it; None if not verified.
    """

    number: int
    quote: str
    verified: bool
    char_start: int | None
    char_end: int | None
    description: bool = False

    @property
    def carries(self) -> bool:
        """Return whether an answer may be based on it."""
        return self.verified or self.description


@dataclass(frozen=True, slots=True)
class _Folded:
    text: str
    starts: list[int]
    ends: list[int]


def cite(answer: str, quotes: Sequence[Quote], passages: Sequence[Hit]) -> list[Citation]:
    """
    Return a citation for each quote of a passage that *answer* marks, in the order of its marks.

    A mark without a quote is checked by the words before it: quoted words first, then the whole
    sentence. What cannot be found is returned as not verified, never left out: the mark stands in
    the answer, and its reader must know. Verified also says that the numbers, negations and names
    of the marked sentences stand in what is quoted, or in the passage's headings.
    """
    marks = marked_numbers(answer, passages=len(passages))
    found: dict[int, list[Citation]] = {}
    for number in marks:
        own = [quote.text for quote in quotes if quote.number == number]
        citations = [_check(text, number=number, passages=passages) for text in dict.fromkeys(own)]
        if not any(citation.carries for citation in citations):
            claim = _check_claim(answer, number=number, passages=passages)
            if claim is not None:
                citations.insert(0, claim)
        found[number] = citations or [Citation(number, "", False, None, None)]
    carried = _carried(answer, found, passages, described=False)
    described = _carried(answer, found, passages, described=True)
    return [
        citation
        if citation.carries <= (number in (described if citation.description else carried))
        else _doubt(citation)
        for number, citations in found.items()
        for citation in citations
    ]


def cite_part(passage: Hit, start: int, end: int, *, number: int) -> Citation:
    """Return a citation of the characters *start* to *end* of *passage*."""
    quote = passage.text[start:end]
    if passage.source == "figure":
        return Citation(number, quote, False, None, None, description=True)
    return Citation(
        number=number,
        quote=quote,
        verified=True,
        char_start=passage.char_start + start,
        char_end=passage.char_start + end,
    )


def place_marks(answer: str, quotes: Sequence[Quote], passages: Sequence[Hit]) -> str:
    """
    Return *answer* with a mark behind each sentence that a quote supports, if it has no mark.

    Models forget marks; a quote that was found shows where one belongs.
    """
    if marked_numbers(answer, passages=len(passages)):
        return answer
    spans = list(_sentence_spans(answer))
    marks: dict[int, dict[int, None]] = {}
    for quote in quotes:
        if not 1 <= quote.number <= len(passages) or not spans:
            continue
        if locate(quote.text, passages[quote.number - 1].text) is None:
            continue
        words = _words(quote.text)
        shared = [len(words & _words(answer[start:end])) for start, end in spans]
        # In another language than the quote: the numbers and names may be all that is shared.
        best = max(range(len(spans)), key=shared.__getitem__)
        if shared[best] or len(spans) == 1:
            marks.setdefault(best, {})[quote.number] = None
    for at in sorted(marks, reverse=True):
        end = spans[at][1]
        answer = f"{answer[:end]} {''.join(f'[{n}]' for n in marks[at])}{answer[end:]}"
    return answer


def _carried(
    answer: str, found: dict[int, list[Citation]], passages: Sequence[Hit], *, described: bool
) -> set[int]:
    """
    Return the marks of sentences that their quotes support.

    Args:
        described: Count descriptions of pictures, too.
    """
    carried: set[int] = set()
    seen: set[int] = set()
    for start, end in _sentence_spans(answer):
        # A mark behind the full stop belongs to the sentence before it.
        following = _NEIGHBOURING_MARKS.match(answer, len(answer[:end]) + len(_gap(answer, end)))
        marked = answer[start : following.end() if following else end]
        numbers = [n for n in marked_numbers(marked, passages=len(passages)) if n in found]
        if not numbers:
            continue
        sources = []
        for number in numbers:
            passage = passages[number - 1]
            sources += [passage.heading, passage.header, passage.name]
            sources += [
                each.quote
                for each in found[number]
                if each.verified or (described and each.description)
            ]
        seen |= set(numbers)
        if supports(_MARK.sub("", answer[start:end]), " ".join(sources)):
            carried |= set(numbers)
    return carried | (set(found) - seen)


def supports(sentence: str, source: str) -> bool:
    """Return whether *source* contains the numbers, negations and names of *sentence*."""
    have = _numbers(source)
    if any(number not in have for number in _numbers(sentence)):
        return False
    said, known = set(_PLAIN.findall(_fold(sentence).text)), set(_PLAIN.findall(_fold(source).text))
    if bool(said & _NEGATIONS) != bool(known & _NEGATIONS) and said & _NEGATIONS:
        return False
    names = re.findall(r"(?<=[a-z,;] )[A-Z][\w-]*[A-Z\d][\w-]*", sentence)
    return all(_fold(name).text in _fold(source).text for name in names)


def _numbers(text: str) -> set[str]:
    return {
        re.sub(r"(?<=\d)[.,' ](?=\d{3}(?!\d))", "", number).rstrip(".,")
        for number in re.findall(r"\d+(?:[.,']\d+)*", text)
    }


def _doubt(citation: Citation) -> Citation:
    return replace(citation, verified=False, description=False, char_start=None, char_end=None)


def _gap(answer: str, end: int) -> str:
    rest = answer[end:]
    return rest[: len(rest) - len(rest.lstrip(" "))]


def _sentence_spans(answer: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the sentences of *answer*, without the marks behind them."""
    position = 0
    for ending in re.finditer(r"(?<=[.!?。！？])(?=\s)|(?<=[。！？])|\n+|\Z", answer):
        end = ending.start()
        start = position
        while marks := re.compile(r"\s*\[\d{1,3}\]").match(answer, start):
            start = marks.end()
        if any(map(str.isalnum, answer[start:end])):
            left = len(answer[start:end]) - len(answer[start:end].lstrip())
            yield start + left, end
        position = end


def _words(text: str) -> set[str]:
    return {word for word in _PLAIN.findall(_fold(text).text) if len(word) > 2 or word.isdigit()}


def marked_numbers(answer: str, *, passages: int) -> list[int]:
    """Return the passages that *answer* marks, each once, in order of first mark."""
    numbers = (int(match.group(1)) for match in _MARK.finditer(_CODE.sub("", answer)))
    return [number for number in dict.fromkeys(numbers) if 1 <= number <= passages]


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """
    Return where *quote* stands in *text*, as offsets of *text*, or None.

    It must hold two letters or digits, and begin and end at the edge of a word or number: "costs 1"
    is not a quote of "costs 1,000".
    """
    needle = _fold(quote).text.strip(_QUOTE_EDGE).removeprefix("...").removesuffix("...")
    needle = needle.strip(_QUOTE_EDGE)
    if sum(character.isalnum() for character in needle) < _PROVING:
        return None
    folded = _fold(text)
    position = folded.text.find(needle)
    while position >= 0:
        end = position + len(needle)
        if _at_edges(folded.text, position, end):
            return folded.starts[position], folded.ends[end - 1]
        position = folded.text.find(needle, position + 1)
    return None


def _check(text: str, *, number: int, passages: Sequence[Hit]) -> Citation:
    passage = passages[number - 1]
    place = locate(text, passage.text)
    if place is not None:
        return cite_part(passage, *place, number=number)
    return Citation(number, text.strip(), False, None, None)


def _check_claim(answer: str, *, number: int, passages: Sequence[Hit]) -> Citation | None:
    checked = 0
    # [1][2]: the sentence stands before the first of neighbouring marks.
    for marks in _NEIGHBOURING_MARKS.finditer(answer):
        if f"[{number}]" not in marks.group():
            continue
        for claim in _claims(answer[max(0, marks.start() - _MAX_CLAIM) : marks.start()]):
            citation = _check(claim, number=number, passages=passages)
            if citation.carries:
                return citation
        checked += 1
        if checked == _MAX_CLAIMS:
            break
    return None


def _claims(before: str) -> Iterator[str]:
    """Yield what a mark after *before* may stand for: quoted words, the stretch, its sentence."""
    if quoted := _QUOTED_BEFORE_MARK.search(before):
        yield quoted.group(1)
    stretch = before[max(before.rfind("]"), before.rfind("\n")) + 1 :].strip(_CLAIM_EDGE)
    yield stretch
    yield _SENTENCE_END.split(stretch)[-1]


@lru_cache(maxsize=16)
def _fold(text: str) -> _Folded:
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    while position < len(text):
        start = position
        position += 1
        while position < len(text) and unicodedata.combining(text[position]):
            position += 1
        cluster = text[start:position]
        if cluster.isspace():
            folded = "" if characters and characters[-1] == " " else " "
        elif unicodedata.category(cluster[0]) in ("Cf", "Cc"):
            folded = ""
        else:
            # Decomposed, because decomposition works a character at a time and composition
            # does not (Hangul).
            folded = unicodedata.normalize("NFD", cluster.translate(_EQUIVALENTS)).casefold()
            folded = unicodedata.normalize("NFD", folded)
        for character in folded:
            characters.append(character)
            starts.append(start)
            ends.append(position)
    return _Folded("".join(characters), starts, ends)


def _at_edges(text: str, start: int, end: int) -> bool:
    return not any(
        _splits_word(text, position) or _splits_number(text, position)
        for position in (start, end)
        if 0 < position < len(text)
    )


def _splits_word(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    if unicodedata.combining(after) or _WITHIN_SYLLABLE.match(after):
        return True
    if any(UNSPACED.match(sign) or _LETTERS_OF_HANGUL.match(sign) for sign in (before, after)):
        return False
    return before.isalnum() and after.isalnum()


def _splits_number(text: str, position: int) -> bool:
    before, after = text[position - 1], text[position]
    if after in _DIGIT_JOINERS:
        return before.isdigit() and text[position + 1 : position + 2].isdigit()
    further = text[max(position - 2, 0) : position - 1]
    if before in _DIGIT_JOINERS:
        return further.isdigit() and after.isdigit()
    return before in _SIGNS and after.isdigit() and not further.isalnum()
