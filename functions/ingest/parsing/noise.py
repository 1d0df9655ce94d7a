"""Pictures and files written as letters (base64, data: addresses): no text of any format."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import Block, Event

# Shorter runs are names, addresses, keys of records: text.
_LONG_RUN_CHARS = 200
_WORD_CHARS = 56
_LEAST_CHARS = 40
_DATA_ADDRESS = re.compile(
    r"""data:[\w.+-]{1,60}/[\w.+-]{1,80}(?:;[\w=.+"-]{1,80}){0,4},[^\s"'()<>\]}|]*""", re.IGNORECASE
)
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]{1,100}\]:[ \t]*<?data:[^\n]*$", re.MULTILINE)
_RUN = re.compile(rf"[A-Za-z0-9+/_-]{{{_LONG_RUN_CHARS},}}={{0,2}}")
# As mail and certificates break it, after 60 to 76 characters.
_LINES = re.compile(
    r"(?:^[ \t>]{0,8}[A-Za-z0-9+/]{56,78}[ \t]*\n){4,}[ \t>]{0,8}[A-Za-z0-9+/]*={0,2}", re.MULTILINE
)
_REST = re.compile(r"[A-Za-z0-9+/_=-]+")
# Where base64 was, and the lines around it that say what it is.
_GAP = "\0"
_ARMOUR = re.compile(
    r"(?:-----BEGIN [A-Z0-9 ]{3,40}-----\n(?:[A-Za-z-]{3,20}: [^\n]*\n)*\s*)?"
    r"\0(?:\s*=[A-Za-z0-9+/]{4}(?=\s))?(?:\s*-----END [A-Z0-9 ]{3,40}-----\n?)?"
)


def without_base64(events: Iterator[Event]) -> Iterator[Event]:
    """Yield *events* without the base64 in their texts; a block of nothing else is left out."""
    goes_on = False
    for event in events:
        if not isinstance(event, Block):
            yield event
            continue
        text = event.text
        if not goes_on and (len(text) < _LEAST_CHARS or not _may_hold(text)):
            yield event
            continue
        if goes_on and not event.gap and (found := _REST.match(text)):
            text = text[found.end() :]
        if len(text) == len(event.text) and not _may_hold(text):
            goes_on = False
            yield event
            continue
        goes_on = _ends_in_run(text) or (goes_on and not text)
        text = _strip(text)
        if text.strip():
            label = _strip(event.label) if event.label else ""
            yield event._replace(text=text, label=label, lines=())


def _may_hold(text: str) -> bool:
    if len(text) < _LEAST_CHARS:
        return False
    return "data:" in text or "-----BEGIN " in text or _has_long_word(text)


def _has_long_word(text: str) -> bool:
    """Return whether a word is as long as a line of base64; each covers one of the places here."""
    for at in range(_WORD_CHARS - 1, len(text), _WORD_CHARS):
        end = text.find(" ", at)
        if (end if end >= 0 else len(text)) - text.rfind(" ", 0, at + 1) > _WORD_CHARS:
            return max(map(len, text.split())) >= _WORD_CHARS
    return False


def _ends_in_run(text: str) -> bool:
    tail = text[-_LONG_RUN_CHARS:]
    return len(tail) == _LONG_RUN_CHARS and _REST.fullmatch(tail) is not None and _is_mixed(tail)


def _strip(text: str) -> str:
    text = _DEFINITION.sub("", text)
    text = _DATA_ADDRESS.sub(_without_payload, text)
    if text.count("\n") >= 4:
        text = _LINES.sub(lambda found: _GAP if _is_mixed(found.group()) else found.group(), text)
    text = _RUN.sub(lambda found: _GAP if _is_mixed(found.group()) else found.group(), text)
    return _ARMOUR.sub("", text)


def _without_payload(found: re.Match[str]) -> str:
    is_payload = ";base64," in found.group().lower() or found.group().lower().startswith(
        "data:image"
    )
    return "" if is_payload else found.group()


def _is_mixed(run: str) -> bool:
    """Tell base64 from long words, rows of signs and letters of a sequence."""
    digits = sum(map(str.isdigit, run))
    upper = sum(map(str.isupper, run))
    lower = sum(map(str.islower, run))
    least = len(run) // 50
    return min(digits, upper, lower) > least and len(set(run)) > 16
