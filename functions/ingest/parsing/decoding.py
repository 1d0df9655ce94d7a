"""Bytes of unknown encoding become text."""

from __future__ import annotations

import codecs
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from itertools import pairwise
from typing import BinaryIO

import charset_normalizer

from shared.errors import Unreadable

from .encoding_labels import find_codec

# Letters of German, French, Spanish, Portuguese, Italian, Dutch, Scandinavian; marks of print.
_WESTERN_LETTERS = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüýÿœßÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝŒŸ")
_WESTERN_MARKS = frozenset("‘’“”„‚‹›«»–—…•·°§©®™€£¥¢±²³µ¼½¾×÷¿¡ªº´¨†‡‰\xa0\xad")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Told by their marks and zeros before charset-normalizer is asked.
_WIDE = ["utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "utf_7"]
_HIGH_BYTE = re.compile(rb"[\x80-\xff]")
_PIECE_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16
_ISO_2022_JP = re.compile(rb"\x1b\$[@B][^\r\n]{1,1000}?\x1b\([BJ]")
_VOWELS = frozenset("aăâeêioôơuưyAĂÂEÊIOÔƠUƯY")
# Below this charset-normalizer takes stray bytes for a language.
_MIN_TELLING_BYTES = 12
_FREQUENT = frozenset("оеаинтсрвлі")
_LEAST_FREQUENT, _LEAST_CYRILLIC = 0.45, 16
_FREQUENT_HEBREW = frozenset("יוהלארתמשב")
_LEAST_HEBREW = 0.5
_LEAST_KANA = 0.2
_USUAL_MARKS = frozenset(" \n\t、。，．")
_WIDE_MARKS = _USUAL_MARKS | frozenset(
    "0123456789.,;:!?()[]{}<>/\\\"'-–—_=+*%&#@|\r「」『』（）：；！？・ー"
)


def _both_cases(*alphabets: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(letters + letters.upper()) for letters in alphabets)


# Letters of German, French, Spanish, Portuguese, Italian, Scandinavian, Dutch; of Polish, Czech
# and Slovak, Hungarian, Romanian, Croatian and Slovene; Turkish; Lithuanian, Latvian, Estonian.
_WEST = _both_cases(
    "äöüßéèàêç", "àâæçéèêëîïôœùûüÿ", "áéíñóúüç", "áâãàçéêíóôõúü", "àèéìíîòóùú", "åäöéæøüàèô",
    "áéëïóöüèêà",
)  # fmt: skip
_CENTRAL = _both_cases(
    "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "ăâîșțşţ", "čćđšž"
)
_EUROPEAN = {
    "cp1252": _WEST,
    "cp850": _WEST,
    "cp1250": _CENTRAL,
    "iso8859-2": _CENTRAL,
    "cp852": _CENTRAL,
    "cp1254": _both_cases("çğıöşüâîûİ"),
    "cp857": _both_cases("çğıöşüâîûİ"),
    "cp1257": _both_cases("ąčęėįšųūž", "āčēģīķļņšūž", "äöõüšž"),
}
_MOST_WRONG, _LEAST_LETTERS = 0.03, 4
_TONES = frozenset("\u0300\u0301\u0303\u0309\u0323")


def declared_charset(content_type: str | None) -> str | None:
    """Return the charset parameter of a content type, None if there is none."""
    if not content_type or "charset" not in content_type.lower():
        return None
    message = EmailMessage()
    try:
        message["content-type"] = content_type
        return message.get_content_charset()
    except (ValueError, IndexError, LookupError):
        return None


def decode_stream(source: BinaryIO, *, declared: str | None = None) -> Iterator[str]:
    """
    Yield the text of *source* in pieces.

    Args:
        declared: The encoding that the document or its content type names; followed only where
            the bytes agree with it.

    Raises:
        Unreadable: No encoding fits.
    """
    encoding, errors = detect_encoding(source, declared=declared)
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    source.seek(0)
    while data := source.read(_PIECE_BYTES):
        if text := decoder.decode(data):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def decode(data: bytes, *, declared: str | None = None) -> str:
    """Return *data* as text, see decode_stream."""
    return "".join(decode_stream(io.BytesIO(data), declared=declared))


def detect_encoding(source: BinaryIO, *, declared: str | None = None) -> tuple[str, str]:
    """Return the name of the encoding and how to treat errors ("strict" or "replace")."""
    source.seek(0)
    sample = source.read(_SAMPLE_BYTES)
    for mark, encoding in _BOMS:
        if sample.startswith(mark):
            lost = sample.decode(encoding, "replace").count("\ufffd")
            if lost * 40 <= len(sample) or len(sample) < 40:
                return encoding, "replace"
    if wide := wide_encoding(sample):
        return wide, "replace"
    if _ISO_2022_JP.search(sample) and _decodes(source, "iso2022_jp"):
        return "iso2022_jp", "strict"
    if declared and find_codec(declared) == "utf-7" and _decodes(source, "utf-7"):
        # All of it is ASCII.
        return "utf-7", "strict"
    if _decodes(source, "utf-8"):
        return "utf-8", "strict"
    if declared and (known := find_codec(declared)) and _decodes(source, known):
        return known, "strict"
    return _detect_legacy(source)


def _detect_legacy(source: BinaryIO) -> tuple[str, str]:
    # Only lines with bytes above 127 tell anything; the sample may be plain ASCII for long.
    telling = _telling_lines(source)
    if _is_nearly_utf8(telling):
        return "utf-8", "replace"
    if _is_vietnamese(telling):
        return "cp1258", "replace"
    if european := _european_encoding(telling):
        return european, "replace"
    for western in ("cp1252", "cp850"):
        if _is_western(telling, western):
            return western, "replace"
    if _is_hebrew(telling):
        return "cp1255", "replace"
    if cyrillic := _cyrillic_encoding(telling):
        return cyrillic, "replace"
    if japanese := _japanese_encoding(telling):
        return japanese, "replace"
    if _is_western(telling, "mac_roman"):
        return "mac_roman", "replace"
    high = sum(1 for byte in telling if byte > 0x7F)
    if high < _MIN_TELLING_BYTES and high < 0.3 * len(telling):
        # Too little to guess from: what is plain stays right, the rest is marked as lost.
        return "utf-8", "replace"
    best = charset_normalizer.from_bytes(telling, cp_exclusion=_WIDE).best()
    if best is not None:
        return best.encoding, "replace"
    raise Unreadable(
        "corrupt",
        "The text's character encoding is unknown. Save the file as UTF-8 and upload it again.",
    )


def _telling_lines(source: BinaryIO) -> bytes:
    """Return up to 64 KiB of the lines that have bytes above 127, in their order."""
    source.seek(0)
    found: list[bytes] = []
    size = 0
    while size < _SAMPLE_BYTES and (data := source.read(_PIECE_BYTES)):
        end = 0
        while size < _SAMPLE_BYTES and (high := _HIGH_BYTE.search(data, end)):
            start = max(end, high.start() - 64, data.rfind(b"\n", end, high.start()) + 1)
            end = data.find(b"\n", high.start()) + 1 or len(data)
            found.append(data[start : min(end, start + _SAMPLE_BYTES)])
            size += len(found[-1])
    return b"".join(found)


def _decodes(source: BinaryIO, encoding: str) -> bool:
    try:
        decoder = codecs.getincrementaldecoder(encoding)("strict")
        source.seek(0)
        while data := source.read(_PIECE_BYTES):
            decoder.decode(data)
        decoder.decode(b"", final=True)
    except (UnicodeDecodeError, LookupError):
        return False
    return True


def wide_encoding(sample: bytes) -> str | None:
    """
    Return utf-16-le or utf-16-be where *sample* is that, without a mark.

    In Latin letters every other byte is zero; in other scripts blanks, line ends and full stops
    are what they are in the right order only.
    """
    if len(sample) < 4 or b"\0" not in sample:
        return None
    sample = sample[: len(sample) // 2 * 2]
    even = sample[0::2].count(0) / (len(sample) / 2)
    odd = sample[1::2].count(0) / (len(sample) / 2)
    if odd > 0.3 and even < 0.05:
        return "utf-16-le"
    if even > 0.3 and odd < 0.05:
        return "utf-16-be"
    if min(even, odd) > 0.3 * max(even, odd):
        return None
    encoding = "utf-16-be" if even > odd else "utf-16-le"
    text = sample.decode(encoding, "replace")
    letters = sum(1 for character in text if character.isalpha() or character in _WIDE_MARKS)
    usual = sum(1 for character in text if character in _USUAL_MARKS)
    return encoding if letters >= 0.95 * len(text) and usual >= 0.02 * len(text) else None


def _is_nearly_utf8(data: bytes) -> bool:
    """Return whether *data* is UTF-8 with a few broken places, not another encoding."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    whole = sum(1 for character in text if character > "\x7f") - broken
    return whole >= 10 * broken


def _is_vietnamese(data: bytes) -> bool:
    """Return whether *data* as windows-1258 puts its combining tones where Vietnamese has them."""
    text = data.decode("cp1258", "replace")
    tones = [i for i, character in enumerate(text) if character in _TONES]
    if len(tones) < 4:
        return False
    fitting = sum(1 for i in tones if i > 0 and text[i - 1] in _VOWELS)
    letters = sum(1 for character in text if unicodedata.category(character)[0] == "L")
    return fitting >= 0.95 * len(tones) and len(tones) >= 0.02 * letters


def _european_encoding(data: bytes) -> str | None:
    """
    Return the encoding in which *data* has the letters of one European language, None for none.

    Text in another one has letters that no single language has beside each other, capitals within
    words, and signs in the midst of them.
    """
    for encoding, alphabets in _EUROPEAN.items():
        text = data.decode(encoding, "replace")
        letters: Counter[str] = Counter()
        wrong = 0
        for before, character, after in zip(" " + text, text, text[1:] + " ", strict=False):
            if character <= "\x7f":
                continue
            if character.isalpha() and character not in "ªº":
                letters[character] += 1
                wrong += character.isupper() and before.islower()
            elif (before.isalpha() and after.isalpha() and character not in "’­") or (
                character not in _WESTERN_MARKS
            ):
                wrong += 1
        count = letters.total()
        if wrong > _MOST_WRONG * count:
            continue
        for alphabet in alphabets:
            fitting = sum(letters[letter] for letter in alphabet)
            if fitting >= _LEAST_LETTERS and count - fitting + wrong <= _MOST_WRONG * count:
                return encoding
    return None


def _is_hebrew(data: bytes) -> bool:
    """Tell whether *data* as windows-1255 has the letters that are frequent in Hebrew."""
    text = data.decode("cp1255", "replace")
    letters = [c for c in text if "\u05d0" <= c <= "\u05ea"]
    high = sum(1 for c in text if c > "\x7f" and c not in _WESTERN_MARKS)
    if len(letters) < _LEAST_CYRILLIC or len(letters) < 0.95 * high:
        return False
    return sum(1 for c in letters if c in _FREQUENT_HEBREW) >= _LEAST_HEBREW * len(letters)


def _cyrillic_encoding(data: bytes) -> str | None:
    """
    Return the encoding in which *data* reads like Russian or a language near it, None for none.

    Its ten most frequent letters make over half of its text, and capitals begin words.
    """
    best, found = _LEAST_FREQUENT, None
    for encoding in ("cp1251", "koi8-r", "cp866", "iso8859-5"):
        text = data.decode(encoding, "replace")
        letters = [c for c in text if "\u0400" <= c <= "\u045f"]
        high = sum(1 for c in text if c > "\x7f" and c not in _WESTERN_MARKS and c != "№")
        if len(letters) < _LEAST_CYRILLIC or len(letters) < 0.95 * high:
            continue
        odd = sum(1 for a, b in pairwise(text) if a.islower() and b.isupper())
        share = sum(1 for c in letters if c in _FREQUENT) / len(letters)
        if odd <= 0.02 * len(letters) and share > best:
            best, found = share, encoding
    return found


def _japanese_encoding(data: bytes) -> str | None:
    """Return the encoding in which *data* has the syllables of Japanese, None for none."""
    best, found = _LEAST_KANA, None
    for encoding in ("euc_jp", "cp932"):
        text = data.decode(encoding, "replace")
        high = [c for c in text if c > "\x7f"]
        kana = sum(1 for c in high if "\u3041" <= c <= "\u30ff")
        odd = sum(1 for c in high if c == "\ufffd" or "\uff61" <= c <= "\uff9f")
        if high and odd <= 0.05 * len(high) and kana / len(high) > best:
            best, found = kana / len(high), encoding
    return found


def _is_western(data: bytes, encoding: str) -> bool:
    """
    Tell whether *data* in *encoding* reads like a language of Western Europe.

    There, letters above 127 stand within words of plain letters, mostly one at a time.
    """
    text = data.decode(encoding, "replace")
    fitting = wrong = 0
    for i, character in enumerate(text):
        if character <= "\x7f":
            continue
        if character in _WESTERN_LETTERS:
            near = text[max(0, i - 1) : i + 2].replace(character, "")
            if character.isupper() and i and text[i - 1].islower():
                # A capital letter within a word: another encoding.
                wrong += 1
            elif any(c.isascii() and c.isalpha() for c in near) or near.strip() == "":
                fitting += 1
            else:
                wrong += 1
        elif character in _WESTERN_MARKS:
            fitting += 1
        else:
            wrong += 1
    return fitting > 0 and wrong <= 0.03 * fitting
