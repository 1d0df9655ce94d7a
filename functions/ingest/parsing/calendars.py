"""Calendars and invitations (RFC 5545): what, when, where and who."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta

from .blocks import Block, Event, Request, Title, clean, clean_line, heading, paragraph, read_all
from .decoding import declared_charset, decode
from .html import parse_markup

_LINE = re.compile(r'([A-Za-z0-9-]+)((?:;[^":;]*(?:"[^"]*"[^":;]*)*)*):(.*)', re.DOTALL)
_ZONE = re.compile(r';TZID="?([^";:]+)', re.IGNORECASE)
_NAME = re.compile(r';CN="?([^";:]+)', re.IGNORECASE)
_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)\d*(Z?))?")
_WHOLE_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)")
_ESCAPED = re.compile(r"\\([\\;,nN])")
_ENTRIES = frozenset(["VEVENT", "VTODO", "VJOURNAL"])
_TIMES = {"DTSTART": "Start", "DTEND": "End", "DUE": "Due"}
_PEOPLE = {"ORGANIZER": "Organizer", "ATTENDEE": "Attendee"}
_TEXTS = {"LOCATION": "Place", "STATUS": "Status", "COMMENT": "Comment", "DESCRIPTION": ""}
_SHOWN = {"RRULE": "Repeats", "RDATE": "Also on", "EXDATE": "Not on", "DURATION": "Duration"}
_UNITS = {"HOURLY": "hour", "DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}
_DAYS = {
    "MO": "Monday",
    "TU": "Tuesday",
    "WE": "Wednesday",
    "TH": "Thursday",
    "FR": "Friday",
    "SA": "Saturday",
    "SU": "Sunday",
}
_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth", -1: "last"}
_DURATION = re.compile(r"\+?P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:\d+S)?)?")
_MAX_PEOPLE = 50
_MAX_DATES = 50


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
    subject, lines, people, in_html, has_text = "", list[str](), 0, "", False
    inside: list[str] = []
    for name, options, value in _properties(decode(data, declared=declared)):
        if name == "BEGIN":
            inside.append(value.strip().upper())
            if inside[-1] in _ENTRIES:
                subject, lines, people, in_html, has_text = "", [], 0, "", False
        elif name == "END":
            if inside and inside.pop() in _ENTRIES:
                if in_html and not has_text:
                    # What Outlook wrote, where no plain text stands beside it.
                    lines.append(in_html)
                yield subject, "\n".join(line for line in lines if line)
        elif not inside or inside[-1] not in _ENTRIES:
            # Time zones and alarms.
            continue
        elif name == "SUMMARY":
            subject = clean_line(unescaped(value))
        elif name in _TIMES:
            last = _last_day(value) if name == "DTEND" else ""
            lines.append(f"{_TIMES[name]}: {last or _time(value, options)}")
        elif name in _PEOPLE:
            people += 1
            named = _NAME.search(options)
            who = named.group(1) if named else re.sub("^mailto:", "", value, flags=re.IGNORECASE)
            if people <= _MAX_PEOPLE:
                lines.append(f"{_PEOPLE[name]}: {clean_line(who)}")
        elif name in _SHOWN:
            lines.append(f"{_SHOWN[name]}: {_show(name, value, options)}")
        elif name == "X-ALT-DESC" and "html" in options.lower():
            page = unescaped(value).encode("utf-8", "replace")
            events = parse_markup(page, declared="utf-8", with_title=False)
            in_html = "\n".join(event.text for event in events if isinstance(event, Block))
        elif name in _TEXTS and (text := clean(unescaped(value)).strip()):
            label = _TEXTS[name]
            has_text = has_text or not label
            lines.append(f"{label}: {clean_line(text)}" if label else text)


def _last_day(value: str) -> str:
    """Return the last of whole days: by RFC 5545, 3.6.1, they end before the day of DTEND."""
    found = _WHOLE_DAY.fullmatch(value.strip())
    if not found:
        return ""
    try:
        return str(date(*map(int, found.groups())) - timedelta(days=1))
    except (ValueError, OverflowError):
        return ""


def _show(name: str, value: str, options: str) -> str:
    if name in ("EXDATE", "RDATE"):
        return ", ".join(_time(one, options) for one in value.split(",")[:_MAX_DATES])
    if name == "DURATION":
        return _duration(value)
    return _repetition(value) or clean_line(value)


def _repetition(rule: str) -> str:
    """Return a rule of RFC 5545, 3.3.10 in words, "" for one that these words cannot say."""
    parts = dict(part.upper().split("=", 1) for part in rule.strip().split(";") if "=" in part)
    parts.pop("WKST", None)
    unit = _UNITS.get(parts.pop("FREQ", ""))
    interval = parts.pop("INTERVAL", "1")
    if unit is None or not interval.isdecimal():
        return ""
    said = [f"every {unit}" if interval == "1" else f"every {interval} {unit}s"]
    if days := parts.pop("BYDAY", ""):
        position = parts.pop("BYSETPOS", "")
        named = [_weekday(day, position) for day in days.split(",")]
        if not all(named):
            return ""
        said.append(f"on {', '.join(named)}")
    if days := parts.pop("BYMONTHDAY", ""):
        said.append("on the last day" if days == "-1" else f"on day {days.replace(',', ', ')}")
    if months := parts.pop("BYMONTH", ""):
        said.append(f"in month {months.replace(',', ', ')}")
    if count := parts.pop("COUNT", ""):
        said.append(f"{count} times")
    if until := parts.pop("UNTIL", ""):
        said.append(f"until {_time(until[:8], '')}")
    return "" if parts else clean_line(" ".join(said))


def _weekday(day: str, position: str) -> str:
    found = _DAY.fullmatch(day)
    if not found:
        return ""
    number = found.group(1) or position
    if not number:
        return _DAYS[found.group(2)]
    ordinal = _ORDINALS.get(int(number)) if re.fullmatch(r"[+-]?\d{1,2}", number) else None
    return f"the {ordinal} {_DAYS[found.group(2)]}" if ordinal else ""


def _duration(value: str) -> str:
    found = _DURATION.fullmatch(value.strip().upper())
    if not found:
        return clean_line(value)
    units = ("weeks", "days", "h", "min")
    return " ".join(f"{n} {unit}" for n, unit in zip(found.groups(), units, strict=True) if n)


def _properties(text: str) -> Iterator[tuple[str, str, str]]:
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    for line in unfolded.splitlines():
        if found := _LINE.match(line):
            yield found.group(1).upper(), found.group(2), found.group(3)


def unescaped(value: str) -> str:
    """Return a text without the backslashes that RFC 5545, 3.3.11 asks for."""
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
