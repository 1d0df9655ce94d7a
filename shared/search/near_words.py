"""
Corrections of a mistyped word, and the parts of a compound.

Pure; the database says which of them stand in documents (shared.search.unknown_words).
"""

from __future__ import annotations

from collections.abc import Iterator

from shared.spellings import unmark

# Shorter words have too many neighbours that mean something else.
LEAST_LETTERS = 4
# In words as short as these a letter for another one makes another word.
_SHORT = 5
_MOST_LETTERS = 24
# Where a slip is looked for at two places of a word: so long it must be, and so much of its
# beginning is right.
LEAST_LETTERS_OF_TWO_SLIPS = 7
KEPT_BEGINNING = 4

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ",
    "αβγδεζηθικλμνξοπρστυφχψως",
)
# Letters that sound alike or are taken for each other: places and plases, bicycle and bycicle.
_ALIKE = ("cs", "ck", "sz", "iy", "vw", "fv", "dt", "bp", "gj", "ae", "ei", "ao", "ou")
# Shorter parts stand in words that are no compounds.
_LEAST_PART = 5
# What joins the parts of a compound: Arbeit-s-amt, Tag-es-licht, Straße-n-bau.
_JOINTS = ("", "s", "es", "n", "en", "er", "e")


def edits_of(word: str) -> dict[str, int]:
    """
    Return the words from which one slip makes *word*, each with how likely that slip is.

    The first letter is right, or has changed places with the second (Damerau 1964: one slip makes
    four of five misspellings). Latin words are taken without their marks, as the index has them.

    Args:
        word: In lower case.

    Returns:
        2 for letters that changed places and for a double letter, 1 for one too many or too few and
        for one that sounds alike, 0 for another one.
    """
    plain = unmark(word)
    found: dict[str, int] = {plain: 2} if plain != word else {}
    alphabet = next((letters for letters in _ALPHABETS if plain[:1] in letters), None)
    if plain != word and len(word) <= _SHORT:
        # Its accents are right: typists who slip leave them out.
        alphabet = None
    if alphabet is None or not LEAST_LETTERS <= len(plain) <= _MOST_LETTERS:
        return found
    for place in range(len(plain)):
        before, after = plain[:place], plain[place + 1 :]
        if after:
            _keep(found, before + after[0] + plain[place] + after[1:], 2)
        if place:
            _keep(found, before + after, 2 if plain[place] == plain[place - 1] else 1)
            if len(plain) > _SHORT:
                for letter in alphabet:
                    alike = any(letter in pair and plain[place] in pair for pair in _ALIKE)
                    _keep(found, before + letter + after, 1 if alike else 0)
        for letter in alphabet:
            doubled = letter == plain[place]
            _keep(found, plain[: place + 1] + letter + after, 2 if doubled else 1)
    found.pop(word, None)
    return {one: chance for one, chance in found.items() if len(one) >= LEAST_LETTERS}


def _keep(found: dict[str, int], word: str, chance: int) -> None:
    found[word] = max(chance, found.get(word, 0))


def splits_of(word: str) -> Iterator[tuple[str, str]]:
    """Yield pairs of words that *word* may be a compound of, without linking letters."""
    for place in range(_LEAST_PART, len(word) - _LEAST_PART + 1):
        tail = word[place:]
        for joint in _JOINTS:
            head = word[:place].removesuffix(joint) if joint else word[:place]
            if len(head) >= _LEAST_PART and (not joint or word[:place].endswith(joint)):
                yield head, tail


def distance(first: str, second: str) -> int:
    """Return the edit distance of two words (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
