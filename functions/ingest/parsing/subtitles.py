"""Transcripts and subtitles (WebVTT, SubRip): who says what, without times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from .blocks import Event, Request, clean_line, paragraph
from .decoding import declared_charset, decode_stream

_TIMES = re.compile(r"\s*(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}\s*-->\s*(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]{1,200})>")
_TAG = re.compile(r"</?[A-Za-z0-9:.][^<>]{0,200}>|\{\\[^}]{0,100}\}")
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
    for line in lines:
        if _TIMES.match(line):
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
