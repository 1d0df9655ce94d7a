"""
The language of a text, and the form of it that full-text search indexes.

Chunks and questions pass through the same functions, so that what is alike to a reader is alike to
the index: composed and decomposed letters, "E-1234" and "e1234", 全角 and ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from shared.language_identifier import open_identifier
from shared.simplified_chinese import TO_SIMPLIFIED
from shared.spellings import (
    find_asked_spellings,
    find_joined_words,
    find_spellings,
    unmark,
    unmarked_words,
    without_dates,
)

# Longer samples make the answer later, not better: paragraphs of 700 characters are all right
# (docs/retrieval.md, "Languages").
_SAMPLE_CHARS = 2000
# Below this many letters and this probability a guess is worse than none.
_MIN_LETTERS = 12
_MIN_PROBABILITY = 0.5

# The configurations that PostgreSQL 16 brings (SELECT cfgname FROM pg_ts_config), by ISO 639-1.
# Estonian came with 18 and is left out; Yiddish and Nepali share no stop words worth having but
# their stemmers help.
SEARCH_CONFIGS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}

# Scripts written without spaces between words (and Hangul, whose words carry their particles):
# Thai, Lao, Tibetan, Myanmar, Khmer, Kana, Bopomofo, Han, Hangul. For a character class.
UNSPACED_SCRIPTS = (
    "\u0e00-\u0eff"
    "\u0f00-\u0fff"
    "\u1000-\u109f"
    "\u1780-\u17ff"
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3100-\u312f"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\uac00-\ud7af"
    "\U00020000-\U0003134f"
)
UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}]+")

# Languages that write compounds as one word, with their configurations.
COMPOUNDING = {
    code: SEARCH_CONFIGS[code] for code in ("da", "de", "fi", "hu", "nb", "nl", "nn", "no", "sv")
}
# Compounds are at least as long, and their parts.
_LEAST_COMPOUND_LETTERS = 9
_LEAST_PART_LETTERS = 4
# Words begin like shorter ones by chance.
_LEAST_FIRST_LETTERS = 5
# Not in Feuer, Mauer and quer.
_TYPED_UMLAUT = re.compile("(?<![aeoq])([aou])e")
# As typeset: hyphens, and dashes beside a digit.
_DASHES = re.compile(
    "[\u2010\u2011]|(?<=[^\\W_])[\u2012\u2013\u2212](?=\\d)|(?<=\\d)[\u2012\u2013](?=[^\\W_])"
)
# Written before a reversed word: no word of a text begins so.
_REVERSED = "r0"
_ENDINGS = re.compile("(?<=[^\\W\\d_]{4})(?:ern|en|em|er|es|e|n|s)$")
_LETTERS = re.compile(r"[^\W\d_]+")

# Letters that one language alone writes.
_OWN_LETTERS = {
    "vi": re.compile("[\u01a0\u01a1\u01af\u01b0\u1ea0-\u1ef9]"),
    "ja": re.compile("[\u3040-\u30ff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "th": re.compile("[\u0e01-\u0e7f]"),
    "el": re.compile("[\u0370-\u03ff]{2}"),
    # Signs that open a question or a call.
    "es": re.compile("[\u00bf\u00a1]"),
    # After Japanese: Han without Kana.
    "zh": re.compile("[\u4e00-\u9fff]"),
}

# Letters and digits joined by punctuation: error codes, part numbers, versions, file names,
# dotted and underscored names; or ending in the signs of C++ and C#.
# Only from the beginning of a word and without giving back: else a long word takes quadratic time.
_COMPOUND = re.compile(
    r"(?<![^\W_])(?:[^\W_]++(?:[-_.:@&+#~]++[^\W_]++)+|[^\W_]++(?:\+\+|#)(?!\w))"
)
_DECIMAL = re.compile(r"\d+(?:\.\d+)?")
_ABBREVIATION = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")  # i.e., e.g., U.S.
_MAX_COMPOUND_CHARS = 64
_MIN_NUMBER_DIGITS = 5
_MIN_NAME_CHARS = 5
_MAX_NAME_WORDS = 5
_MAX_WORDS_OF_A_NAME = 24
_MIN_DIGITS_OF_A_NAME = 4
_SIGNS = str.maketrans({"+": "plus", "#": "sharp"})
# Lower case by the rules of other languages makes "I" of the dotless one, and a dot of its own.
_TURKISH = str.maketrans({"\u0131": "i"})
# v1.2.3 and 1.2.3; longer numbers are no versions.
_CLOSED_VERSION = re.compile(r"(v?)(\d{3,4}|(?<=v)\d{2,6})")
# Everything of ASCII that is neither letter, digit nor a point within a number.
_ASCII_PUNCTUATION = re.compile(r"[!-\-/:-@\[-`{-~]|\.(?!\d)|(?<!\d)\.")


def detect_language(sample: str) -> str:
    """Return the ISO 639-1 code of the language of *sample*, empty if that cannot be told."""
    sample = sample[:_SAMPLE_CHARS]
    unspaced = sum(len(run) for run in UNSPACED.findall(sample))
    letters = sum(map(str.isalpha, sample))
    if letters < _MIN_LETTERS and unspaced < 4:
        return ""
    language, probability = open_identifier().classify(sample)
    return str(language) if probability >= _MIN_PROBABILITY and len(language) == 2 else ""


def language_by_letters(text: str) -> str | None:
    """Return the ISO 639-1 code of the language that alone writes letters of *text*, else None."""
    composed = unicodedata.normalize("NFC", text)
    return next((code for code, letters in _OWN_LETTERS.items() if letters.search(composed)), None)


def search_config(language: str) -> str:
    """Return the text search configuration of PostgreSQL 16 and later for *language*."""
    return SEARCH_CONFIGS.get(language, "simple")


def searchable_text(
    text: str,
    *,
    language: str,
    name: str = "",
    asked: bool = False,
) -> str:
    """
    Return *text* as it is passed to to_tsvector.

    Folded (NFKC, lower case) without the database's locale having a say; scripts without spaces
    become overlapping pairs of characters; punctuation separates words, and each compound such as
    E-1234 or config.yaml is followed up at the end by its closed form (e1234, configyaml). Other
    spellings of dates, numbers and the like follow (shared.spellings).

    Args:
        language: Long words of languages that write compounds as one word follow reversed too, so
            that a compound is found by its end (ends_of_compounds).
        name: The name of the object that the text is from: "the pump manual" is often said of
            pump-manual.pdf alone, so the file's words belong to each of its chunks.
        asked: The text is a question: its dates count as dates alone, and its words are not
            repeated without their marks, so that a question typed without them finds both, and
            one typed with them only its own.
    """
    folded = _fold(without_dates(text) if asked else text).translate(TO_SIMPLIFIED)
    further = [*_closed_forms(folded), *find_spellings(text)]
    if asked:
        further += find_asked_spellings(without_dates(text))
    elif not folded.isascii():
        further += dict.fromkeys(unmarked_words(folded))
    words = _ASCII_PUNCTUATION.sub(" ", UNSPACED.sub(_pairs, folded))
    if not asked and language in COMPOUNDING:
        further += _reversed_compounds(words)
    return " ".join([words, *further, *(name_words(name) if name else ())])


@lru_cache(maxsize=64)
def name_words(name: str) -> tuple[str, ...]:
    """
    Return the words of the file of the object *name*, as searchable_text() makes them of a text.

    Folders are left out; a short number ("12.txt") names nothing that a question means.
    """
    stem = re.sub(r"\.[^.]*$", "", name.rsplit("/", 1)[-1])
    words = dict.fromkeys(searchable_text(stem, language="").split())
    kept = [w for w in words if any(map(str.isalpha, w)) or len(w) >= _MIN_DIGITS_OF_A_NAME]
    return tuple(kept[:_MAX_WORDS_OF_A_NAME])


def find_identifiers(question: str) -> list[str]:
    """
    Return the closed forms of the identifiers in *question*, in order, each once.

    An identifier is a compound with a point, a colon, an underscore or the like in it, or all in
    capitals (two-dimensional is none); what begins with a letter and holds digits; a long number;
    a joined word (maxRetryCount).
    """
    folded = _fold(question)
    words = _ASCII_PUNCTUATION.sub(" ", UNSPACED.sub(" ", folded)).split()
    codes = [
        _close(match.group())
        for match in _COMPOUND.finditer(_DASHES.sub("-", unicodedata.normalize("NFKC", question)))
        if _is_identifier(match.group())
    ]
    joined = [word.lower() for word in find_joined_words(question)]
    return list(dict.fromkeys([*codes, *joined, *filter(_is_code, words)]))


def spellings_of_identifier(identifier: str) -> list[str]:
    """Return the closed forms of *identifier* in documents: 123 may be v123."""
    match = _CLOSED_VERSION.fullmatch(identifier)
    return [identifier] if match is None else [match.group(2), f"v{match.group(2)}"]


def find_file_names(question: str) -> list[str]:
    """
    Return closed forms that a file named in *question* may have.

    A name may hold spaces: the words before the last one are tried with it.
    """
    folded = _fold(question)
    names = []
    for compound in _COMPOUND.finditer(folded):
        if not _is_identifier(compound.group()):
            continue
        closed = _close(compound.group())
        before = re.findall(r"[^\W_]+", folded[: compound.start()])[-_MAX_NAME_WORDS:]
        names += ["".join(before[i:]) + closed for i in range(len(before) + 1)]
    # The database closes a name as its object is called: composed, or decomposed by macOS.
    forms = [unicodedata.normalize(form, name) for name in names for form in ("NFC", "NFD")]
    return list(dict.fromkeys(name for name in forms if len(name) >= _MIN_NAME_CHARS))


def find_phrases(question: str) -> list[str]:
    """Return what *question* puts in double quotation marks."""
    return [
        phrase
        for match in re.finditer(
            r'"([^"]{2,})"|“([^“”]{2,})”|«([^«»]{2,})»|「([^「」]{2,})」', question
        )
        for phrase in match.groups()
        if phrase and phrase.strip()
    ]


def beginnings_of_compounds(word: str) -> list[str]:
    """Return how lexemes of the compounds begin that begin with *word*; none if it is short."""
    return [stem for stem in _stems_of_part(word) if len(stem) >= _LEAST_FIRST_LETTERS]


def ends_of_compounds(word: str) -> list[str]:
    """Return how reversed lexemes of the compounds begin that end with *word*."""
    return [_REVERSED + stem[::-1] for stem in _stems_of_part(word)]


def _stems_of_part(word: str) -> list[str]:
    """Return *word* without marks and ending, its umlauts as one letter and as typed."""
    stem = _ENDINGS.sub("", unmark(word))
    if len(stem) < _LEAST_PART_LETTERS or not stem.isalpha():
        return []
    return list(dict.fromkeys((stem, _TYPED_UMLAUT.sub(r"\1", stem))))


def _reversed_compounds(words: str) -> list[str]:
    found = {word for word in _LETTERS.findall(words) if len(word) >= _LEAST_COMPOUND_LETTERS}
    return sorted({_REVERSED + stem[::-1] for word in found for stem in _stems_of_part(word)[:1]})


def _fold(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).lower()
    if text.isascii():
        return text
    text = _DASHES.sub("-", text.translate(_TURKISH).replace("i\u0307", "i"))
    separators = {ord(sign): " " for sign in set(text) if _separates(sign)}
    return text.translate(separators)


@lru_cache(maxsize=4096)
def _separates(sign: str) -> bool:
    # The parser of a database whose locale is C takes every sign beyond ASCII for a letter.
    return ord(sign) > 127 and unicodedata.category(sign)[0] in "PSZC"


def _pairs(run: re.Match[str]) -> str:
    signs = run.group()
    if len(signs) == 1:
        return f" {signs} "
    return " " + " ".join(signs[i : i + 2] for i in range(len(signs) - 1)) + " "


def _closed_forms(folded: str) -> list[str]:
    return [_close(compound) for compound in _COMPOUND.findall(folded) if _may_be_closed(compound)]


def _may_be_closed(compound: str) -> bool:
    return len(compound) <= _MAX_COMPOUND_CHARS and not _DECIMAL.fullmatch(compound)


def _close(compound: str) -> str:
    if compound[-1] in "+#":
        compound = compound.translate(_SIGNS)
    return re.sub(r"[\W_]+", "", compound).lower()


def _is_identifier(compound: str) -> bool:
    joined_by = set(re.sub(r"[^\W_]", "", compound))
    return (
        _may_be_closed(compound)
        and not _ABBREVIATION.fullmatch(compound)
        and (
            _is_code(_close(compound))
            or compound.isupper()
            or (joined_by != {"-"} and any(map(str.isalpha, compound)))
            or _is_version(compound)
        )
    )


def _is_version(compound: str) -> bool:
    return re.fullmatch(r"\d+(?:\.\d+){2,}", compound) is not None


def _is_code(word: str) -> bool:
    # 3rd, 1970s and 24-yard are ordinary words.
    digits = sum(map(str.isdigit, word))
    if digits >= _MIN_NUMBER_DIGITS or (digits > 0 and word[0].isalpha()):
        return True
    # 40P01, and not 40th
    return re.fullmatch(r"\d+[^\W\d_]+\d\w*", word) is not None
