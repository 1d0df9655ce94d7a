"""Calendars and invitations (RFC 5545): what, when, where and who."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .blocks import Event, Request, Title, clean, clean_line, heading, paragraph, read_all
from .decoding import declared_charset, decode

_LINE = re.compile(r'([A-Za-z0-9-]+)((?:;[^":;]*(?:"[^"]*"[^":;]*)*)*):(.*)', re.DOTALL)
_ZONE = re.compile(r';TZID="?([^";:]+)', re.IGNORECASE)
_NAME = re.compile(r';CN="?([^";:]+)', re.IGNORECASE)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d*(Z?))?")
_ESCAPED = re.compile(r"\\([\\;,nN])")
_ENTRIES = frozenset(["VEVENT", "VTODO", "VJOURNAL"])
_TIMES = {"DTSTART": "Start", "DTEND": "End", "DUE": "Due"}
_PEOPLE = {"ORGANIZER": "Organizer", "ATTENDEE": "Attendee"}
_TEXTS = {"LOCATION": "Place", "RRULE": "Repeats", "STATUS": "Status", "DESCRIPTION": ""}
_MAX_PEOPLE = 50


def parse_calendar(request: Request) -> Iterator[Event]:
    """Yield the entries of a calendar, each under its subject."""
    data = read_all(request)
    entries = list(calendar_entries(data, declared=declared_charset(request.content_type)))
    if len(entries) == 1 and entries[0][0]:
        yield Title(entries[0][0])
    for subject, text in entries:
        yield from heading(subject, level=1)
        yield from paragraph(text)


def calendar_entries(data: bytes, *, declared: str | None) -> Iterator[tuple[str, str]]:
    """Yield the subject of each entry, and its other fields a line each."""
    subject, lines, people = "", list[str](), 0
    inside: list[str] = []
    for name, options, value in _properties(decode(data, declared=declared)):
        if name == "BEGIN":
            inside.append(value.strip().upper())
            if inside[-1] in _ENTRIES:
                subject, lines, people = "", [], 0
        elif name == "END":
            if inside and inside.pop() in _ENTRIES:
                yield subject, "\n".join(line for line in lines if line)
        elif not inside or inside[-1] not in _ENTRIES:
            # Time zones and alarms.
            continue
        elif name == "SUMMARY":
            subject = clean_line(_text(value))
        elif name in _TIMES:
            lines.append(f"{_TIMES[name]}: {_time(value, options)}")
        elif name in _PEOPLE:
            people += 1
            named = _NAME.search(options)
            who = named.group(1) if named else re.sub("^mailto:", "", value, flags=re.IGNORECASE)
            if people <= _MAX_PEOPLE:
                lines.append(f"{_PEOPLE[name]}: {clean_line(who)}")
        elif name in _TEXTS and (text := clean(_text(value)).strip()):
            label = _TEXTS[name]
            lines.append(f"{label}: {clean_line(text)}" if label else text)


def _properties(text: str) -> Iterator[tuple[str, str, str]]:
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    for line in unfolded.splitlines():
        if found := _LINE.match(line):
            yield found.group(1).upper(), found.group(2), found.group(3)


def _text(value: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found.group(1) in "nN" else found.group(1), value)


def _time(value: str, options: str) -> str:
    found = _TIME.match(value.strip())
    if not found:
        return clean_line(value)
    year, month, day, hour, minute, utc = found.groups()
    if hour is None:
        return f"{year}-{month}-{day}"
    zone = _ZONE.search(options)
    named = " UTC" if utc else f" ({clean_line(zone.group(1))})" if zone else ""
    return f"{year}-{month}-{day} {hour}:{minute}{named}"
