"""
What a question names that its passages do not hold: identifiers, numbers, names, phrases. Pure.

Other documents may hold it: whether any does, the index is asked (retrieving.py).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher, get_close_matches

from shared.language import UNSPACED, find_phrases
from shared.search.empty_words import EMPTY_WORDS
from shared.search.near_words import distance, edits_of
from shared.search.query_terms import Question
from shared.values import Hit

from .question_kind import ASKING_WORDS

# Letters and digits joined as in E-4417, 3.14.2, OPS-521, --frobnicate, too_many_columns.
_TOKEN = re.compile(r"(?<![\w.])(?:--?)?\w+(?:[-.:_/@#+]+\w+)*")
_PART = re.compile(r"\w+")
_JOINERS = re.compile(r"[\W_]+")
_OPTION = re.compile(r"--?[A-Za-z]")
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th|s|er|e|º|ª|\.)?", re.IGNORECASE)
_SMALL_NUMBER = 10
# Two to twelve as words; those of one to which other words are spelt alike are left out.
_NUMBER_WORDS = {
    word: str(number)
    for line in (
        "two three four five six seven eight nine ten eleven twelve",
        "zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
        "dos tres cuatro cinco seis siete ocho nueve diez - doce",
        "deux trois quatre cinq - sept huit neuf dix onze douze",
    )
    for number, word in enumerate(line.split(), start=2)
    if word != "-"
}
_NUMERAL = rf"(?:\d{{1,3}}|{'|'.join(_NUMBER_WORDS)})"
# "building nine" at the end of a clause; "nine buildings" and "more than nine" are amounts.
_NUMBERED = re.compile(
    rf"\b([^\W\d_]{{4,}}) ({_NUMERAL})(?![.,]\d)"
    r"(?=\s*(?:[?!.,;:)]|$)|\s(?:of|in|at|on|for|from|is|are|was|were|does|do|did|has|have|can|may"
    r"|must|will|des|der|von|im|ist|hat|del|du|es|est)\b)"
)
# "What does paragraph nine forbid?"
_NUMBERED_SUBJECT = re.compile(
    rf"\b(?:does|do|did|is|was|has|will|can|may|must) (?:the )?([^\W\d_]{{4,}}) ({_NUMERAL})\b"
)
_TITLE = re.compile(r"^\W{0,4}(\d{1,3})(?:[.):]|\s)", re.MULTILINE)
_NOT_NUMBERED = frozenset(
    [
        "than",
        "over",
        "under",
        "about",
        "after",
        "before",
        "only",
        "least",
        "most",
        "from",
        "until",
        "those",
        "these",
        "them",
        "mehr",
        "über",
        "unter",
        "nach",
        "oder",
        "genau",
        "etwa",
        "menos",
        "hasta",
        "desde",
        "plus",
        "moins",
        "avant",
        "après",
    ]
)
_MIN_NAME = 4
_MAX_NEAR = 3
# How alike the spelling of two identifiers must be to be named as near.
_NEAR = 0.6
_SLIP = 0.8
_SHORT_WORD = 5


def find_missing(question: str, passages: Sequence[Hit]) -> list[str]:
    """Return the identifiers, numbers and quoted phrases of *question* that no passage holds."""
    held = _held(passages)
    texts = _fold(" ".join(_whole(passage) for passage in passages))
    missing = [
        token
        for token in dict.fromkeys(match.group() for match in _TOKEN.finditer(_compose(question)))
        if _is_identifier(token) and not _holds(held, texts, token)
    ]
    phrases = [
        phrase
        for phrase in find_phrases(question)
        if " ".join(_fold(phrase).split()) not in " ".join(texts.split())
    ]
    return missing + [f'"{phrase}"' for phrase in phrases if phrase not in missing]


def find_missing_numbered(question: str, passages: Sequence[Hit]) -> list[str]:
    """
    Return what *question* numbers where passages know it by other numbers only: "building nine".

    A small number alone says little, so find_missing() passes it over.
    """
    texts = " ".join(_fold(_whole(passage)) for passage in passages)
    missing = []
    folded = _fold(_compose(question))
    found = [*_NUMBERED.finditer(folded), *_NUMBERED_SUBJECT.finditer(folded)]
    for match in {match.span(1): match for match in found}.values():
        word, asked = match.groups()
        held = set(re.findall(rf"\b{re.escape(word)}\s+({_NUMERAL}|\d+)\b", texts))
        if word in _NOT_NUMBERED or not held:
            continue
        # "14 June", and "12. Delays" as the title of section 12.
        held |= set(re.findall(rf"\b(\d+)\.?\s+{re.escape(word)}\b", texts))
        held |= {number for passage in passages for number in _titles(passage)}
        numbers = {_NUMBER_WORDS.get(number, number) for number in held}
        if _NUMBER_WORDS.get(asked, asked) not in numbers:
            missing.append(f"{word} {asked}")
    return missing


def _titles(passage: Hit) -> list[str]:
    """Return the numbers that lines and headings of *passage* begin with."""
    return _TITLE.findall("\n".join((*passage.heading.split(" > "), passage.text)))


def holds_named(named: str, passages: Sequence[Hit]) -> bool:
    """Return whether a passage holds what find_missing() or find_missing_numbered() named."""
    if named.startswith('"'):
        return not find_missing(named, passages)
    texts = " ".join(_fold(" ".join(map(_whole, passages))).split())
    if " " in named:
        return re.search(rf"\b{re.escape(_fold(named))}\b", texts) is not None
    return _holds(_held(passages), texts, named)


def find_missing_names(
    question: str, analysis: Question | None, passages: Sequence[Hit]
) -> list[str]:
    """
    Return the names of *question* that no document holds, in no spelling that is alike.

    A name begins with a capital within the sentence; German writes all nouns so.
    """
    if analysis is None or "de" in analysis.languages:
        return []
    unknown = {term.lexeme for word in analysis.words for term in word if not _known(word)}
    vocabulary = {word for passage in passages for word in _PART.findall(_fold(_whole(passage)))}
    names = re.findall(r"(?<=[\w,;:'’] )[A-ZÀ-ÞĐ][\w]{3,}", _compose(question))
    return [
        name
        for name in dict.fromkeys(names)
        if any(_fold(name)[:_MIN_NAME] == lexeme[:_MIN_NAME] for lexeme in unknown)
        and _fold(name) not in vocabulary
        and not any(_is_slip(_fold(name), word) for word in vocabulary)
    ]


def find_unknown(question: str, analysis: Question | None) -> list[str]:
    """Return the words of *question* that stand in no document, but those that only ask or fill."""
    # The syllables of Vietnamese say nothing by themselves.
    if analysis is None or not analysis.languages or "vi" in analysis.languages:
        return []
    known = {term.lexeme[:_MIN_NAME] for word in analysis.words if _known(word) for term in word}
    unknown = {term.lexeme[:_MIN_NAME] for word in analysis.words for term in word} - known
    words = dict.fromkeys(
        word
        for word in _PART.findall(_compose(question))
        if len(word) >= _MIN_NAME
        and word.isalpha()
        and _fold(word) not in EMPTY_WORDS
        and _fold(word) not in analysis.corrections
    )
    return [
        word
        for word in words
        if {_fold(word)[:_MIN_NAME], _bare(_fold(word))[:_MIN_NAME]} & unknown
    ][:_MAX_NEAR]


def find_near_words(missing: Sequence[str], passages: Sequence[Hit]) -> list[str]:
    """Return words of *passages* spelt like those that are missing, nearest first."""
    near: dict[str, None] = {}
    for name in missing:
        asked = _fold(name)
        alike = {
            word
            for passage in passages
            for word in _PART.findall(_fold(passage.text))
            if word[0] == asked[0] and abs(len(word) - len(asked)) <= _MAX_NEAR
        }
        near |= dict.fromkeys(get_close_matches(asked, sorted(alike), n=1, cutoff=_SLIP))
    return list(near)[:_MAX_NEAR]


def find_near(missing: Sequence[str], passages: Sequence[Hit]) -> list[str]:
    """Return identifiers of *passages* spelt like those that are missing, nearest first."""
    tokens = {
        token
        for passage in passages
        for token in (match.group() for match in _TOKEN.finditer(passage.text))
        if _is_identifier(token) and len(token) <= 64
    }
    folded = {_fold(token): token for token in tokens}
    near: dict[str, None] = {}
    for name in missing:
        asked = _fold(name)
        # 19 is spelt like 1990 and has nothing to do with it.
        alike = [
            token
            for token in folded
            if not asked.isdigit() or (token.isdigit() and len(token) == len(asked))
        ]
        for match in get_close_matches(asked, alike, n=_MAX_NEAR, cutoff=_NEAR):
            near[folded[match]] = None
    return list(near)[:_MAX_NEAR]


def correct_spelling(
    question: str, analysis: Question | None, *, is_word: Callable[[str], bool]
) -> str:
    """
    Return *question* with words that stand nowhere replaced by those that were likely meant.

    Identifiers, numbers and abbreviations are left as they are: another one is another thing.

    Args:
        is_word: Whether a word is a common one, which is not mistyped although it stands nowhere.
    """
    if analysis is None:
        return question
    question = _correct_beginning(question, analysis)
    if not analysis.corrections:
        return question
    shouted = question.isupper()

    def correct(match: re.Match[str]) -> str:
        word = match.group()
        meant = analysis.corrections.get(_fold(word))
        if meant is None or not (shouted or word.islower() or word.istitle()) or is_word(word):
            return word
        if _fold(word) in EMPTY_WORDS or (word.istitle() and not _is_alike_name(word, meant)):
            return word
        return meant.capitalize() if word.istitle() else meant

    return _PART.sub(correct, question)


def _is_alike_name(name: str, meant: str) -> bool:
    """Return whether *name* is *meant* with letters swapped, doubled or left out."""
    return edits_of(_fold(name)).get(_bare(meant), 0) > 0


def _correct_beginning(question: str, analysis: Question) -> str:
    """Return *question* with the word that it asks by, where that is mistyped."""
    first = _PART.search(question)
    if first is None or first.start() or len(first.group()) < _MINASKING_WORDS:
        return question
    typed = _fold(first.group())
    rare = any(
        term.lexeme == typed and term.document_frequency <= _MOST_MISTYPED
        for word in analysis.words
        for term in word
    )
    if typed in ASKING_WORDS or not rare:
        return question
    meant = [
        word
        for word in ASKING_WORDS
        if len(word) >= _MINASKING_WORDS and distance(word, typed) == 1
    ]
    return meant[0] + question[first.end() :] if len(meant) == 1 else question


_MINASKING_WORDS = 4
# So many documents may hold the same slip.
_MOST_MISTYPED = 2


def asks_nothing(question: str, analysis: Question | None) -> bool:
    """Return whether *question* only greets or thanks, or has no word that could be looked for."""
    said = _SMALL_TALK.sub(" ", _fold(question))
    if all(word in _GREETINGS for word in _PART.findall(said)):
        return True
    if _THANKS.match(said) and not _GOES_ON.search(said):
        return True
    # Without documents no configuration is in use, and no word is left of any question.
    return analysis is not None and bool(analysis.configs) and not analysis.words


# "Thanks, that helped a lot!"
_THANKS = re.compile(
    r"\W*(?:thanks|thank you|thx|cheers|(?:good)?bye|see you|(?:vielen )?danke?|tschüss"
    r"|auf wiedersehen|(?:muchas )?gracias|adiós|hasta luego|merci|au revoir|grazie|arrivederci"
    r"|obrigad[oa]|tchau|(?:xin )?cảm ơn|tạm biệt)\b"
)
# "Thanks, and where is the pump?", "Danke. Zeig mir die Preise."
_GOES_ON = re.compile(
    r"\?|\b(?:and|but|now|also|please|tell|show|list|find|give|explain|und|aber|jetzt|noch|bitte|zeig\w*"
    r"|nenn\w*|y|pero|ahora|dime|et|mais|dis|e|ma|ora|mas|agora|và|nhưng|hãy)\b"
)
_SMALL_TALK = re.compile(
    r"\bhow(?:['’]s| is) it going\b|\bhow are (?:you|things)(?: doing)?\b|\bhow do you do\b"
    r"|\bwhat['’]s up\b|\bnice to meet you\b|\bwho are you\b|\bwer bist du\b|\bquién eres\b"
    r"|\bwie geht(?:['’]?s| es)(?: dir| ihnen| euch)?\b|\bc[óo]mo est[áa]s?(?: usted)?\b"
    r"|\bqué tal\b|\b(?:comment )?ça va\b|\bcomment (?:vas-tu|allez-vous)\b"
    r"|\bcome (?:stai|sta|va)\b"
    r"|\bcomo vai(?: você)?\b|\btudo bem\b|\bbạn (?:có )?khỏe không\b|\bbạn là ai\b"
)
_GREETINGS = frozenset(
    [
        "hello",
        "hi",
        "hey",
        "there",
        "good",
        "morning",
        "afternoon",
        "evening",
        "thanks",
        "thank",
        "you",
        "very",
        "much",
        "today",
        "heute",
        "hoy",
        "oggi",
        "hoje",
        "hôm",
        "nay",
        "again",
        "everyone",
        "all",
        "night",
        "bye",
        "goodbye",
        "please",
        "ok",
        "okay",
        "yes",
        "no",
        "hallo",
        "guten",
        "tag",
        "morgen",
        "abend",
        "danke",
        "tschüss",
        "bitte",
        "ja",
        "nein",
        "hola",
        "buenos",
        "días",
        "buenas",
        "tardes",
        "gracias",
        "adiós",
        "bonjour",
        "bonsoir",
        "salut",
        "merci",
        "ciao",
        "buongiorno",
        "grazie",
        "olá",
        "bom",
        "dia",
        "obrigado",
        "obrigada",
        "xin",
        "chào",
        "cảm",
        "ơn",
        "bạn",
        "tạm",
        "biệt",
    ]
)


def _is_slip(typed: str, word: str) -> bool:
    """Return whether *typed* may be a slip of the fingers for *word*."""
    if typed[0] != word[0] or _bare(typed) == _bare(word):
        return False
    if sorted(typed) == sorted(word):
        return True
    if len(typed) <= _SHORT_WORD:
        longer, shorter = sorted((typed, word), key=len, reverse=True)
        letters = iter(longer)
        return len(longer) - len(shorter) == 1 and all(letter in letters for letter in shorter)
    return SequenceMatcher(None, typed, word).ratio() >= _SLIP


def _bare(word: str) -> str:
    """Return *word* without its diacritics: the search forgives those itself."""
    return "".join(
        sign for sign in unicodedata.normalize("NFD", word) if not unicodedata.combining(sign)
    )


def _known(word: Sequence[object]) -> bool:
    return any(getattr(term, "document_frequency", 0) > 0 for term in word)


def _is_identifier(token: str) -> bool:
    if UNSPACED.search(token):
        return False
    digits = sum(map(str.isdigit, token))
    if token.isdecimal():
        return int(token) >= _SMALL_NUMBER
    if digits and _ORDINAL.fullmatch(token):
        return False
    letters = sum(map(str.isalpha, token))
    if digits:
        return bool(letters) or digits > 1
    return bool(_OPTION.match(token)) or ("_" in token.strip("_") and letters > 2)


def _holds(held: set[str], texts: str, token: str) -> bool:
    folded = _fold(token).lstrip("-")
    if _close(folded) in held:
        return True
    return re.search(rf"(?<![\w.]){re.escape(folded)}(?!\w|[.,]\d)", texts) is not None


def _held(passages: Sequence[Hit]) -> set[str]:
    held: set[str] = set()
    for passage in passages:
        for match in _TOKEN.finditer(_fold(_whole(passage))):
            token = match.group()
            held.add(_close(token))
            held.update(_PART.findall(token))
            held.update(piece for word in _PART.findall(token) for piece in word.split("_"))
        # 1,600 and 1 600 are 1600.
        held.update(
            re.sub(r"\D", "", number)
            for number in re.findall(r"\d{1,3}(?:[.,  ’']\d{3})+", passage.text)
        )
    return held


def _whole(passage: Hit) -> str:
    return " ".join((passage.name, passage.heading, passage.header, passage.text))


def _close(token: str) -> str:
    return _JOINERS.sub("", token)


def _compose(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
