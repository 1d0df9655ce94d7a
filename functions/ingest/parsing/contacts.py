"""Address books (vCard, RFC 6350 and the versions before it): a contact under its name."""

from __future__ import annotations

import quopri
import re
from collections.abc import Iterator

from .blocks import Event, Request, Title, clean, clean_line, heading, paragraph, read_all
from .calendars import unescaped
from .decoding import declared_charset, decode
from .encoding_labels import find_codec

_LINE = re.compile(
    r'(?:[\w-]+\.)?([A-Za-z0-9-]+)((?:;[^":;]*(?:"[^"]*"[^":;]*)*)*):(.*)', re.DOTALL
)
_TYPES = re.compile(r";(?:TYPE=)?\"?([A-Za-z,]+)\"?(?=;|$)", re.IGNORECASE)
_CHARSET = re.compile(r";CHARSET=([\w-]+)", re.IGNORECASE)
_LABELS = {
    "ORG": "Organization",
    "TITLE": "Title",
    "ROLE": "Role",
    "TEL": "Phone",
    "EMAIL": "E-mail",
    "ADR": "Address",
    "BDAY": "Birthday",
    "URL": "Web",
    "NOTE": "Note",
    "NICKNAME": "Nickname",
    "CATEGORIES": "Categories",
}
# Kinds of numbers that say something to a person.
_KINDS = frozenset(["home", "work", "cell", "fax", "pager", "main", "other", "mobile"])


def parse_contacts(request: Request) -> Iterator[Event]:
    """Yield the contacts of an address book."""
    text = decode(read_all(request), declared=declared_charset(request.content_type))
    found = list(_contacts(text))
    if len(found) == 1:
        yield Title(found[0][0])
    for name, lines in found:
        yield from heading(name or "(no name)", level=1)
        yield from paragraph("\n".join(lines))


def _contacts(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each contact, and its other fields a line each."""
    name, sorted_name, lines = "", "", list[str]()
    for key, options, raw in _properties(text):
        if key == "BEGIN":
            name, sorted_name, lines = "", "", []
        elif key == "END":
            yield name or sorted_name, lines
        elif key in ("FN", "N") or key in _LABELS:
            value = _value(raw, options)
            parts = [clean_line(unescaped(part)) for part in re.split(r"(?<!\\\\);", value)]
            shown = ", ".join(filter(None, parts))
            if key == "FN":
                name = shown
            elif key == "N":
                sorted_name = " ".join(filter(None, (parts[1:2] or [""]) + parts[:1]))
            elif shown:
                kinds = ",".join(_TYPES.findall(options)).lower().split(",")
                kind = ", ".join(k for k in dict.fromkeys(kinds) if k in _KINDS)
                lines.append(f"{_LABELS[key]}{f' ({kind})' if kind else ''}: {shown}")


def _value(raw: str, options: str) -> str:
    if "QUOTED-PRINTABLE" not in options.upper():
        return raw
    charset = _CHARSET.search(options)
    codec = (find_codec(charset[1]) if charset else None) or "utf-8"
    return clean(quopri.decodestring(raw.encode("latin-1", "ignore")).decode(codec, "replace"))


def _properties(text: str) -> Iterator[tuple[str, str, str]]:
    # A line goes on behind a line end and a blank; quoted-printable has its own mark for that.
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    unfolded = re.sub(r"(QUOTED-PRINTABLE[^\n]*)=\r?\n", r"\1", unfolded)
    for line in unfolded.splitlines():
        if found := _LINE.match(line):
            yield found[1].upper(), found[2], found[3]
