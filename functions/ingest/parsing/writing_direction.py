"""
Text that runs from the right to the left, as Arabic and Hebrew do, put into the order of reading.

A page of a PDF holds letters at places, and programs write those of a word in either order: where
they stand says more than their order in the file. This undoes what was done to show a line, see
https://www.unicode.org/reports/tr9/, for a line that has one direction with pieces of the other.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

_SCRIPTS = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
RIGHT_TO_LEFT = re.compile(f"[{_SCRIPTS}]")
_OTHER_LETTERS = re.compile(rf"[^\W\d_{_SCRIPTS}]")
# Forms that a letter has within a word.
_FORMS = re.compile("[\ufb1d-\ufdff\ufe70-\ufefc]+")
# Pieces that run to the right: words of other scripts with what stands between them, and numbers.
_TO_THE_RIGHT = re.compile(
    rf"[^\W\d_{_SCRIPTS}](?:[^{_SCRIPTS}]*[^\W_{_SCRIPTS}])?|[$€£₪]?\d(?:[\d.,:/-]*\d)?[%°]?"
)
_TO_THE_LEFT = re.compile(rf"[{_SCRIPTS}](?:[\W{_SCRIPTS}]*[{_SCRIPTS}])?")
_BRACKETS = re.compile(r"[()\[\]{}«»]")
_MIRRORED = str.maketrans("()[]{}«»", ")(][}{»«")
# Letters of two words are further apart, in heights of the line.
_WORD_GAP = 0.2
# How far a letter may reach over a line beside it, in points.
_WALL = 0.7
_left = attrgetter("left")


class Placed(NamedTuple):
    """A letter or a word, and where it stands from the left."""

    text: str
    left: float
    right: float


def runs_left(text: str) -> bool:
    """Return whether most letters of *text* belong to a script that runs to the left."""
    backwards = len(RIGHT_TO_LEFT.findall(text))
    return backwards > 0 and backwards >= len(_OTHER_LETTERS.findall(text))


def read_line(
    letters: Sequence[Placed],
    *,
    height: float,
    is_backwards: bool,
    walls: Sequence[float] = (),
) -> list[Placed]:
    """
    Return the words of a line of *letters* without blanks, as a person reads them.

    Args:
        walls: Where lines are drawn between words, however near these stand.
    """
    seen: list[Placed] = []
    for letter in _with_marks(letters):
        ends = max((one.right for one in seen[-3:]), default=letter.left)
        is_behind_wall = any(ends - _WALL <= x <= letter.left + _WALL for x in walls)
        if seen and (letter.left - ends > _WORD_GAP * height or is_behind_wall):
            seen.append(Placed(" ", letter.left, letter.left))
        seen.append(letter)
    signs = "".join(letter.text[0] for letter in seen)
    order = list(range(len(seen)))
    for piece in (_TO_THE_RIGHT if is_backwards else _TO_THE_LEFT).finditer(signs):
        begin, end = piece.span()
        order[begin:end] = reversed(order[begin:end])
    if is_backwards:
        order.reverse()
    words: list[list[Placed]] = [[]]
    for at in order:
        if signs[at] == " ":
            words.append([])
        else:
            words[-1].append(seen[at])
    read = [
        Placed(
            "".join(letter.text for letter in word),
            min(letter.left for letter in word),
            max(letter.right for letter in word),
        )
        for word in words
        if word
    ]
    return [word._replace(text=_FORMS.sub(_plain, word.text)) for word in _with_brackets(read)]


def read_words(words: Sequence[Placed]) -> list[Placed]:
    """Return words whose letters are in order, from the left, in the order of reading."""
    if not runs_left("".join(word.text for word in words)):
        return list(words)
    read: list[Placed] = []
    others: list[Placed] = []
    for word in reversed(words):
        if _OTHER_LETTERS.search(word.text) and not RIGHT_TO_LEFT.search(word.text):
            others.insert(0, word)
        else:
            read += [*others, word]
            others = []
    return read + others


def _with_marks(letters: Iterable[Placed]) -> list[Placed]:
    """Return letters from the left, each with the marks above and below it."""
    bases: list[Placed] = []
    marks: list[Placed] = []
    for letter in sorted(letters, key=_left):
        (marks if unicodedata.combining(letter.text[0]) else bases).append(letter)
    for mark in marks if bases else ():
        middle = (mark.left + mark.right) / 2
        at = min(
            range(len(bases)),
            key=lambda i: max(bases[i].left - middle, middle - bases[i].right, 0.0),
        )
        bases[at] = bases[at]._replace(text=bases[at].text + mark.text)
    return bases or marks


def _with_brackets(words: list[Placed]) -> list[Placed]:
    """Return *words* with brackets that open before they close: some fonts name them as seen."""
    found = _BRACKETS.findall("".join(word.text for word in words))
    if not found or found[0] in "([{«":
        return words
    return [word._replace(text=word.text.translate(_MIRRORED)) for word in words]


def _plain(found: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", found.group())
