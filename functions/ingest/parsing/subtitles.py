"""Transcripts and subtitles (WebVTT, SubRip, SBV, SubStation Alpha): who says what, untimed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from .blocks import Event, Request, clean_line, paragraph
from .decoding import declared_charset, decode_stream

_TIME = r"(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}"
# YouTube's SBV has a comma between the two.
_TIMES = re.compile(rf"\s*{_TIME}(?:\s*-->\s*|,){_TIME}")
_BREAK = re.compile(r"\\[Nnh]")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]{1,200})>")
_TAG = re.compile(r"</?[A-Za-z0-9:.][^<>]{0,200}>|\{\\[^}]{0,200}\}")
_SENTENCE_END = re.compile(r"[.!?…。！？]['\"”’)]*$")
# A speech longer than this goes on in a new paragraph, at the end of a sentence.
_SPEECH_CHARS = 600


def parse_subtitles(request: Request) -> Iterator[Event]:
    """Yield what is said, a paragraph for each speech."""
    text = decode_stream(request.source, declared=declared_charset(request.content_type))
    speaker, said = "", list[str]()
    for who, words in _cues(_lines(text)):
        length = sum(map(len, said))
        ends = length > _SPEECH_CHARS and (
            _SENTENCE_END.search(said[-1]) or length > 2 * _SPEECH_CHARS
        )
        if said and (who != speaker or ends):
            yield from _speech(speaker, said)
            said = []
        speaker = who
        # Captions of live speech repeat the line before.
        if not said or said[-1] != words:
            said.append(words)
    if said:
        yield from _speech(speaker, said)


def _speech(speaker: str, said: list[str]) -> Iterator[Event]:
    text = clean_line(" ".join(said))
    yield from paragraph(f"{speaker}: {text}" if speaker else text)


def _cues(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield (speaker, words) of each cue; a cue of several voices gives several."""
    in_cue = False
    columns: list[str] = []
    for line in lines:
        if line.startswith(("Format:", "Dialogue:")):
            # A line of SubStation Alpha: the text, the last of its fields, may hold commas.
            kind, _, rest = line.partition(":")
            if kind == "Format":
                columns = [name.strip().lower() for name in rest.split(",")]
            elif "text" in columns:
                fields = rest.split(",", len(columns) - 1)
                named = dict(zip(columns, map(str.strip, fields), strict=False))
                words = _BREAK.sub(" ", _TAG.sub("", named.get("text", "")))
                if words := clean_line(words):
                    yield clean_line(named.get("name") or named.get("actor") or ""), words
        elif _TIMES.match(line):
            in_cue, speaker = True, ""
        elif not line.strip():
            in_cue = False
        elif in_cue:
            for number, part in enumerate(_VOICE.split(line)):
                if number % 2:
                    speaker = clean_line(unescape(part))
                elif words := clean_line(unescape(_TAG.sub("", part))):
                    yield speaker, words


def _lines(pieces: Iterator[str]) -> Iterator[str]:
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        yield from lines
    yield rest
