"""Zip containers and the XML in them, read piece by piece and within limits."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple
from xml.parsers import expat

from shared.errors import Unreadable

from .blocks import ParseLimits, corrupt

if TYPE_CHECKING:
    from .figures import PackedPictures

_PIECE_BYTES = 1 << 16
_NO_ATTRIBUTES: dict[str, str] = {}
# What zipfile raises on damage, found by fuzzing: it checks little of what it reads.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    OverflowError,
)
_MAX_ENTRIES = 100_000
_MAX_DEPTH = 2_000
# Names of elements that are remembered.
_MAX_NAMES = 1_000


class Archive:
    """
    An open zip file whose parts together may not grow beyond the limit.

    Attributes:
        pictures: Describes the pictures among its parts; None if they are left alone.

    Raises:
        Unreadable: From the constructor and from every read, on damage, encryption or size.
    """

    def __init__(self, source: BinaryIO, *, limits: ParseLimits, what: str) -> None:
        self.what = what
        self.left = limits.max_decompressed_bytes
        self.limit = limits.max_decompressed_bytes
        self.pictures: PackedPictures | None = None
        try:
            self.zip = zipfile.ZipFile(source)
        except _ZIP_ERRORS as error:
            raise corrupt(
                f"The {what} file is damaged: its zip container cannot be opened. "
                "Open it in the program that made it, save it again and upload that copy."
            ) from error
        entries = self.zip.infolist()
        if len(entries) > _MAX_ENTRIES:
            raise _too_much(self.limit)
        self.names = {entry.filename: entry for entry in entries}

    def has(self, name: str) -> bool:
        return name in self.names

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the content of the part *name*."""
        entry = self.names.get(name)
        if entry is None:
            raise corrupt(f"The {self.what} file is damaged: its part {name!r} is missing.")
        if entry.flag_bits & 0x1:
            raise Unreadable(
                "encrypted",
                f"The {self.what} file is protected by a password. "
                "Remove the password and upload it again.",
            )
        if entry.file_size > self.left:
            raise _too_much(self.limit)
        try:
            with self.zip.open(entry) as part:
                while data := part.read(_PIECE_BYTES):
                    self.left -= len(data)
                    if self.left < 0:
                        raise _too_much(self.limit)
                    yield data
        except _ZIP_ERRORS as error:
            raise corrupt(
                f"The {self.what} file is damaged: its part {name!r} cannot be read. "
                "Open it in the program that made it, save it again and upload that copy."
            ) from error

    def read(self, name: str) -> bytes:
        """Return the whole content of the part *name*."""
        return b"".join(self.pieces(name))

    def tail(self, name: str, mark: bytes, limit: int) -> bytes:
        """
        Return what stands behind the last *mark* in the part *name*, b"" if that is missing.

        It does not count against the limit, since the part is read once more for its content.

        Args:
            limit: How many bytes are looked at behind the mark.
        """
        left = self.left
        found: bytearray | None = None
        rest = b""
        for piece in self.pieces(name):
            data = rest + piece
            at = data.rfind(mark)
            if at >= 0:
                found = bytearray(data[at + len(mark) :])
            elif found is not None and len(found) < limit:
                found += piece
            rest = data[1 - len(mark) :]
        self.left = left
        return bytes(found or b"")

    def xml(self, name: str) -> Iterator[XmlEvent]:
        """Yield the events of the XML part *name*."""
        return xml_events(self.pieces(name), what=f"{self.what} file's part {name!r}")

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Return {id: (type's last word, target part)} of the relations of the part *name*."""
        folder, _, file = name.rpartition("/")
        relations = f"{folder}/_rels/{file}.rels" if folder else f"_rels/{file}.rels"
        found: dict[str, tuple[str, str]] = {}
        if not self.has(relations):
            return found
        for event in self.xml(relations):
            if event.kind == "start" and event.name.endswith("Relationship"):
                if event.attributes.get("TargetMode") == "External":
                    continue
                target = event.attributes.get("Target", "")
                kind = event.attributes.get("Type", "").rpartition("/")[2]
                found[event.attributes.get("Id", "")] = (kind, join_path(folder, target))
        return found

    def related(self, name: str, kind: str) -> list[str]:
        """Return the parts that *name* relates to as *kind*, in file order, where they exist."""
        return [
            target
            for relation, target in self.relations(name).values()
            if relation == kind and self.has(target)
        ]


class XmlEvent(NamedTuple):
    """
    A tag or a run of text; a tuple, since a sheet makes millions of them.

    Attributes:
        name: Local name of the element; "" for text.
        attributes: By local name; those that name relations as "r:...".
    """

    kind: Literal["start", "end", "text"]
    name: str
    attributes: dict[str, str]
    text: str


def xml_events(
    pieces: Iterator[bytes], *, what: str, encoding: str | None = None, entities: bool = False
) -> Iterator[XmlEvent]:
    """
    Yield the events of an XML document.

    Names come without their namespace: within one part of an office file they are unique enough,
    and strict and transitional Office Open XML then read the same.

    Args:
        encoding: That of the bytes, whatever their declaration says.
        entities: Follow those that the document declares; expat bounds what they grow to.

    Raises:
        Unreadable: Not well-formed, nested too deeply, or with entities of its own.
    """
    parser = expat.ParserCreate(encoding, namespace_separator=" ")
    parser.buffer_text = True
    parser.ordered_attributes = False
    events: list[XmlEvent] = []
    depth = 0

    # A part has few names and many elements.
    local: dict[str, str] = {}
    ends: dict[str, XmlEvent] = {}
    new = tuple.__new__

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise corrupt(f"The {what} is damaged: its elements are nested too deeply.")
        for key in attributes:
            if " " in key:
                attributes = {
                    _attribute(key) if " " in key else key: value
                    for key, value in attributes.items()
                }
                break
        short = local.get(name)
        if short is None:
            short = name.rpartition(" ")[2]
            if len(local) < _MAX_NAMES:
                local[name] = short
        events.append(new(XmlEvent, ("start", short, attributes, "")))

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        event = ends.get(name)
        if event is None:
            event = XmlEvent("end", name.rpartition(" ")[2], _NO_ATTRIBUTES, "")
            if len(ends) < _MAX_NAMES:
                ends[name] = event
        events.append(event)

    def text(data: str) -> None:
        events.append(new(XmlEvent, ("text", "", _NO_ATTRIBUTES, data)))

    def entity(*_: object) -> None:
        raise corrupt(
            f"The {what} declares XML entities, which no office program writes "
            "and which are not followed."
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    if not entities:
        parser.EntityDeclHandler = entity
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        for piece in pieces:
            parser.Parse(piece, False)
            yield from events
            events.clear()
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise corrupt(
            f"The {what} is damaged: {expat.ErrorString(error.code)} in line {error.lineno}."
        ) from error
    except (LookupError, ValueError) as error:
        # The declaration names an encoding that there is not, or one of several bytes a letter.
        raise corrupt(f"The {what} is damaged: its character encoding is unknown.") from error
    yield from events


def _attribute(key: str) -> str:
    """Return the local name; "r:id" for what names a relation, since "id" may stand beside it."""
    space, _, name = key.rpartition(" ")
    return f"r:{name}" if space.endswith("/relationships") else name


def join_path(folder: str, target: str) -> str:
    """Return the part that *target*, relative to *folder*, names."""
    path = target.lstrip("/") if target.startswith("/") or not folder else f"{folder}/{target}"
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _too_much(limit: int) -> Unreadable:
    return Unreadable(
        "decompression_limit",
        f"The file's size when unpacked exceeds the limit of {limit // (1 << 20)} MiB. "
        "Split the document, or remove what is not text from it.",
    )
