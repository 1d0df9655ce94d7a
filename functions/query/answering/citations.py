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

from shared.language import UNSPACED, detect_language
from shared.search.empty_words import EMPTY_WORDS
from shared.spellings import MONTHS
from shared.values import Hit

from .quantities import find_numbers, is_unit

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
# Of these alone no quote is made.
_SCRAPS = EMPTY_WORDS.union(
    _PLAIN.findall(
        "the a an of to in on at it its this that these those and or for with as by from be been"
        " has have had der die das den dem des ein eine einen einem einer und oder zu im am es er"
        " sie ist sind el la los las un una y o de en son le les une et ou du il elle est sont lo"
        " gli e di os as um uma và của là một có được"
    )
)
# French has two words for one; the other tells.
_HALF_NEGATIONS = frozenset(["n", "ne"])
# So many words before and behind a negation tell what it denies.
_DENYING = 2
_DENIED = 3
_CLAUSE_END = re.compile(r"[.,;:!?()](?:\s|\Z)")
# A word within a sentence. What a colon, a quotation mark or a line begins is not within it.
_WITHIN_SENTENCE = re.compile(r"(?<=[\w,;)] )[^\W\d_]{3,}")
_TITLES = frozenset(
    ["mrs", "prof", "sir", "miss", "herr", "frau", "mme", "mlle", "don", "doña", "sra"]
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
_CODE_BEFORE_MARK = re.compile(r"```[\w+.#-]{0,30}\n((?:[^`]|`(?!``)){1,2000})\n```\s*\Z")
_EMPHASIS = re.compile(r"\*+|`|(?<!\w)_+|_+(?!\w)")
_QUOTED_BEFORE_MARK = re.compile(r"[\"“„«]([^\"“”„«»]{3,})[\"”“»][.,;]?\s*$")


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote that the model attributes to passage *number*, 0 to none."""

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


def cite(
    answer: str, quotes: Sequence[Quote], passages: Sequence[Hit], *, question: str = ""
) -> list[Citation]:
    """
    Return a citation for each quote of a passage that *answer* marks, in the order of its marks.

    A mark without a quote is checked by the words before it: quoted words first, then the whole
    sentence. What cannot be found is returned as not verified, never left out: the mark stands in
    the answer, and its reader must know. Verified also says that the numbers, units, negations and
    names of the marked sentences stand in what is quoted, or in the passage's headings.
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
    carried = _carried(answer, found, passages, question=question, described=False)
    described = _carried(answer, found, passages, question=question, described=True)
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


def attribute(quotes: Sequence[Quote], passages: Sequence[Hit]) -> list[Quote]:
    """Return *quotes*, those of no passage (0) attributed to the first that holds them."""
    return [
        quote
        if quote.number
        else replace(
            quote,
            number=next(
                (n for n, each in enumerate(passages, 1) if locate(quote.text, each.text)), 0
            ),
        )
        for quote in quotes
    ]


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
    answer: str,
    found: dict[int, list[Citation]],
    passages: Sequence[Hit],
    *,
    question: str,
    described: bool,
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
        context = " ".join([question, *(passages[number - 1].text for number in numbers)])
        if supports(_MARK.sub("", answer[start:end]), ". ".join(sources), context=context):
            carried |= set(numbers)
    return carried | (set(found) - seen)


def supports(sentence: str, source: str, *, context: str = "") -> bool:
    """
    Return whether *source* contains the numbers, units, negations and names of *sentence*.

    Args:
        context: What may give names besides: the whole passage, and the question.
    """
    known = find_numbers(source)
    for number, units in find_numbers(sentence).items():
        # A number of a table has its unit in the heading of the column.
        if number not in known or (units and known[number] and not units & known[number]):
            return False
    return _agrees_in_negation(sentence, source) and _names_stand(sentence, source, context)


def _agrees_in_negation(sentence: str, source: str) -> bool:
    """Return whether *sentence* neither adds a negation to *source* nor leaves its own out."""
    said = _PLAIN.findall(_fold(sentence).text)
    if not said:
        return True
    if _NEGATIONS.intersection(said):
        return not _NEGATIONS.isdisjoint(_PLAIN.findall(_fold(source).text))
    for clause in _CLAUSE_END.split(_fold(source).text):
        words = [word for word in _PLAIN.findall(clause) if word not in _HALF_NEGATIONS]
        for at, word in enumerate(words):
            # What is denied there may be another thing than the sentence says.
            denied = words[at + 1 : at + 1 + _DENIED]
            if word not in _NEGATIONS or not denied:
                continue
            if said[-1] in denied:
                # It ends there: "The fee is refundable" of "is not refundable after June".
                denied = denied[: denied.index(said[-1]) + 1]
            rest = iter(said)
            if all(each in rest for each in words[max(0, at - _DENYING) : at] + denied):
                return False
    return True


def _names_stand(sentence: str, source: str, context: str) -> bool:
    """
    Return whether the names of *sentence* stand in *source*.

    Those of *context* may stand beside all names of the source, and not in the place of one:
    "The chair of the board is Ilse Krämer" may take the board from elsewhere in the passage.
    """
    text = _fold(source).text
    codes = re.findall(r"(?<=[a-z,;] )[A-Z][\w-]*[A-Z\d][\w-]*", sentence)
    if not all(_fold(name).text in text or is_unit(name) for name in codes):
        return False
    language = detect_language(source)
    if language == "de" or language != detect_language(sentence):
        # Nouns look like names, or a name is written otherwise.
        return True
    unknown = [name for name in _names(sentence) if _stem(name) not in text]
    if not unknown:
        return True
    known_elsewhere = _fold(context).text
    if not all(_stem(name) in known_elsewhere for name in unknown):
        return False
    said = _fold(sentence).text
    return all(_stem(name) in said for name in _names(source))


def _names(text: str) -> Iterator[str]:
    """Yield the capitalised words within the sentences of *text*, but titles and months."""
    for word in _WITHIN_SENTENCE.findall(text):
        if word[0].isupper() and word.lower() not in MONTHS and word.lower() not in _TITLES:
            yield word


def _stem(name: str) -> str:
    """Return the beginning that all forms of a name have: Germans, German's."""
    folded = _fold(name).text
    return folded[: max(4, len(folded) - 2)]


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
    # "It is" stands everywhere, and proves nothing.
    if place is not None and not _SCRAPS.issuperset(_PLAIN.findall(text.lower())):
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
    """Yield what a mark after *before* may stand for: code, quoted words, the stretch before it."""
    if code := _CODE_BEFORE_MARK.search(before):
        yield code.group(1)
    if quoted := _QUOTED_BEFORE_MARK.search(before):
        yield quoted.group(1)
    stretch = before[max(before.rfind("]"), before.rfind("\n")) + 1 :]
    stretch = _EMPHASIS.sub("", stretch).strip(_CLAIM_EDGE)
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
