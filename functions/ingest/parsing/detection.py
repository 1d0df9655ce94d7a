"""Detects what a file is, by its content first and then by its name and declared type."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from shared.errors import Unreadable

from .archives import Archive
from .blocks import ParseLimits
from .compound import COMPOUND_ERRORS, CompoundFile
from .decoding import wide_encoding

_HEAD_BYTES = 4096
# White space, NUL and the bytes of byte order marks.
_BLANKS = b"\0 \t\r\n\f\v\xef\xbb\xbf\xff\xfe"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Formats known by their first bytes that hold no text of ours.
_FOREIGN = (
    (b"GIF8", "a GIF picture"),
    (b"BM", "a bitmap picture"),
    (b"RIFF", "a WAV or AVI file"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"SQLite format 3\0", "a SQLite database"),
    (b"%!PS", "a PostScript file"),
    (b"PAR1", "a Parquet file"),
)
# Parts that a zip container has where it is one document, not a folder of several.
_PACKAGE_PARTS = ("[Content_Types].xml", "META-INF/container.xml", "META-INF/manifest.xml")
_SVG_START = re.compile(
    rb"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+svg|(?:svg:)?svg)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_HTML_START = re.compile(
    rb"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|meta|table)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_SUBTITLES = re.compile(
    rb"WEBVTT\b|\d+[ \t]*\r?\n(?:\d+:)?\d\d:\d\d[.,]\d{1,3}[ \t]*-->|\[Script Info\]"
    rb"|\d+:\d\d:\d\d\.\d{3},\d+:\d\d:\d\d\.\d{3}\r?\n"
)
_RELATED = re.compile(rb"content-type[ \t]*:[ \t]*multipart/related")
_ADDRESSED = re.compile(rb"(?:to|received|delivered-to)[ \t]*:")
_MAILBOX_START = re.compile(
    rb"From [^\r\n]{0,200}\b\d{4}\b[^\r\n]{0,40}\r?\n[\w-]{1,60}[ \t]{0,8}:"
)
_FLAT_OFFICE = (
    b'"http://schemas.microsoft.com/office/2006/xmlPackage"',
    b'"http://schemas.microsoft.com/office/word/2003/wordml"',
    b'office:mimetype="application/vnd.oasis.opendocument.',
)
_ROFF_START = re.compile(
    rb"[.'](?:\\\"|(?:TH|Dd|Dt|TL|RP|SH|Sh|NH)[ \t\r\n]"
    rb"|(?:de|ds|nr|so|ig|if|ie|nh|ad|hy|tr|ft|ll|ta|rm|mso)[ \t\r\n])|"
    rb"'\\\" |(?:\.\\\"[^\n]*\n)+\."
)
_MAIL_HEADER = re.compile(
    rb"(?:from|to|subject|date|received|return-path|message-id|mime-version|delivered-to|"
    rb"x-[\w-]+|content-type|reply-to|cc|sender|dkim-signature|arc-[\w-]+)[ \t]*:",
    re.IGNORECASE,
)
_MAIL_NEEDED = re.compile(rb"^(?:from|received|return-path)[ \t]*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """
    One format: a row of the table in registry.py.

    Attributes:
        content_type: Its MIME type, which the document's row keeps.
        label: What people call it, with an article, for messages.
        parser: Module and function of this package, imported on first use.
        options: Keyword arguments of that function.
        extensions: Without the dot; the usual one first.
        disguises: Extensions of other formats that programs give to it.
        declared: Other MIME types that uploaders claim for it.
        magic: Tells it by the first 4 KiB, whatever they are.
        part: In a zip container, the beginning of its main part's name.
        any_zip: Takes the zip containers that no other format claims.
        stream: In an OLE2 container, the stream that only this format has.
        named: Its extension decides, whatever the text looks like.
        looks_like: Tells it by the beginning of a text, whatever the file's name is.
        might_be: Tells it by the beginning of a text whose name says nothing.
        strict: Its rules fit no other text, so a file is this format only if all of it parses.
    """

    content_type: str
    label: str
    parser: str
    options: Mapping[str, str] = field(default_factory=dict)
    extensions: tuple[str, ...] = ()
    disguises: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    magic: Callable[[bytes], bool] | None = None
    part: str = ""
    any_zip: bool = False
    stream: str = ""
    named: bool = False
    looks_like: Callable[[bytes], bool] | None = None
    might_be: Callable[[bytes], bool] | None = None
    strict: bool = False

    @property
    def is_text(self) -> bool:
        """Whether nothing but the text itself tells it."""
        return not (self.magic or self.part or self.any_zip or self.stream)

    def is_claimed(self, *, name: str, content_type: str | None) -> bool:
        """Whether the file's name or its declared type says that it is this format."""
        extension, declared = _claims(name, content_type)
        return (
            extension in (*self.extensions, *self.disguises)
            or declared == self.content_type
            or declared in self.declared
        )


def detect_format(
    source: BinaryIO,
    *,
    name: str,
    content_type: str | None,
    limits: ParseLimits,
    formats: Sequence[Format],
) -> Format:
    """
    Return the actual format of *source*.

    Args:
        formats: In order of precedence; the last is for any other text.

    Raises:
        Unreadable: It is empty, or of a type that is not read.
    """
    source.seek(0)
    head = source.read(_HEAD_BYTES)
    extension, declared = _claims(name, content_type)
    if not head.strip(_BLANKS) and not _has_content(source):
        raise Unreadable("empty", "The file is empty. Upload it again with its content.")
    for known in formats:
        if known.magic and known.magic(head):
            return known
    if head.startswith(_ZIP):
        return _detect_zip(source, extension, limits, formats)
    if head.startswith(_OLE2):
        return _detect_ole2(source, formats)
    for start, what in _FOREIGN:
        if head.startswith(start) and (len(start) > 2 or _is_binary(head)):
            raise _unsupported(what, extension, formats)
    if head[4:12] in (b"ftypisom", b"ftypmp42", b"ftypM4A ", b"ftypqt  ", b"ftypheic"):
        raise _unsupported("a video, sound or HEIC file", extension, formats)
    if _is_binary(head):
        raise _unsupported("a binary file of an unknown kind", extension, formats)
    return _detect_text(_text_start(head), extension, declared, formats)


def _claims(name: str, content_type: str | None) -> tuple[str, str]:
    """Return the extension, and the MIME type without its parameters."""
    extension = name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name else ""
    return extension, (content_type or "").partition(";")[0].strip().lower()


def supported(formats: Sequence[Format]) -> str:
    """Return the usual extensions of *formats*, for messages."""
    *most, last = dict.fromkeys(known.extensions[0] for known in formats if known.extensions)
    return f"{', '.join(most)} and {last}"


def _detect_text(start: bytes, extension: str, declared: str, formats: Sequence[Format]) -> Format:
    texts = [known for known in formats if known.is_text]
    named = next(
        (known for known in texts if extension in (*known.extensions, *known.disguises)), None
    )
    if named and named.named:
        return named
    for known in texts:
        if known.looks_like and known.looks_like(start):
            return known
    if named and named is not formats[-1]:
        return named
    for known in texts:
        if known.might_be and known.might_be(start):
            return known
    if named is None:
        for known in texts:
            if declared == known.content_type or declared in known.declared:
                return known
    return formats[-1]


def _text_start(head: bytes) -> bytes:
    """Return the beginning of a text in UTF-8 or its own encoding of one byte a letter."""
    for mark, encoding in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            head = head.decode(encoding, "ignore").encode("utf-8", "ignore")
    if wide := wide_encoding(head):
        head = head.decode(wide, "ignore").encode("utf-8", "ignore")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def is_pdf(head: bytes) -> bool:
    """Recognise a PDF, before which mail gateways and printers leave lines of their own."""
    return b"%PDF-" in head[:1024]


def is_tnef(head: bytes) -> bool:
    """Recognise winmail.dat: [MS-OXTNEF], 2.1.1."""
    return head.startswith(b"\x78\x9f\x3e\x22")


def is_png(head: bytes) -> bool:
    """Recognise a PNG picture."""
    return head.startswith(b"\x89PNG\r\n\x1a\n")


def is_jpeg(head: bytes) -> bool:
    """Recognise a JPEG picture."""
    return head.startswith(b"\xff\xd8\xff")


def is_tiff(head: bytes) -> bool:
    """Recognise a TIFF picture, or one of BigTIFF."""
    return head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))


def is_webp(head: bytes) -> bool:
    """Recognise a WebP picture among the files of its container."""
    return head.startswith(b"RIFF") and head[8:12] == b"WEBP"


def is_rtf(head: bytes) -> bool:
    """Recognise an RTF document."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{\\rtf")


def is_subtitles(start: bytes) -> bool:
    """Recognise WebVTT by its first word, SubRip by its first cue."""
    return _SUBTITLES.match(start) is not None


def is_xml(start: bytes) -> bool:
    """Recognise any XML by its declaration."""
    return start.startswith(b"<?xml ")


def is_html(start: bytes) -> bool:
    """Recognise an HTML page by its first tag."""
    return _HTML_START.match(start) is not None


def is_svg(start: bytes) -> bool:
    """Recognise a drawing by its first tag."""
    return _SVG_START.match(start) is not None


def is_gzip(head: bytes) -> bool:
    """Recognise a gzip file by its mark and its only method (RFC 1952, 2.3.1)."""
    return head.startswith(b"\x1f\x8b\x08")


def is_tar(head: bytes) -> bool:
    """Recognise a tar archive by the mark in its first header (POSIX.1-1988, GNU)."""
    return head[257:262] == b"ustar"


def is_spreadsheet_xml(start: bytes) -> bool:
    """Recognise a workbook of Excel 2003's XML by its namespace."""
    return start.startswith(b"<") and b'"urn:schemas-microsoft-com:office:spreadsheet"' in start


def is_flat_office(start: bytes) -> bool:
    """Recognise an office document in one XML file by its namespace."""
    return start.startswith(b"<") and any(name in start for name in _FLAT_OFFICE)


def is_json_lines(start: bytes) -> bool:
    """Recognise JSON lines by a first line that is a value, and one that begins after it."""
    line, _, rest = start.partition(b"\n")
    return _is_value(line) and rest.lstrip()[:1] in (b"{", b"[")


def is_json(start: bytes) -> bool:
    """Recognise JSON by its first line, or where it is indented by its first two tokens."""
    line, _, rest = start.partition(b"\n")
    if _is_value(line):
        return rest.lstrip()[:1] not in (b"{", b"[")
    follows = start[1:].lstrip()[:1]
    return start[:1] in (b"{", b"[") and follows in (b'"', b"{", b"[", b"}", b"]") and b'"' in start


def _is_value(line: bytes) -> bool:
    if line[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def is_emlx(start: bytes) -> bool:
    """Recognise a message of Apple Mail: its length in bytes stands on a line before it."""
    length, _, rest = start.partition(b"\n")
    return len(length) < 20 and length.strip().isdigit() and is_mail(rest)


def is_contacts(start: bytes) -> bool:
    """Recognise an address book."""
    return start[:11].upper() == b"BEGIN:VCARD"


def is_web_archive(start: bytes) -> bool:
    """Recognise a page saved with its pictures: a message of related parts that went to no one."""
    fields = [field.lower() for field in _header_fields(start)]
    related = any(_RELATED.match(field) for field in fields)
    return related and not any(_ADDRESSED.match(field) for field in fields)


def is_mailbox(start: bytes) -> bool:
    """Recognise a mailbox by the line before each of its messages, and the fields after it."""
    if not _MAILBOX_START.match(start):
        return False
    fields = _header_fields(start)
    return bool(fields) and all(re.match(rb"[\w-]+[ \t]*:", field) for field in fields)


def is_roff(start: bytes) -> bool:
    """Recognise a manual page by its first line: a comment, or a macro that begins a text."""
    return _ROFF_START.match(start) is not None


def is_calendar(start: bytes) -> bool:
    """Recognise a calendar."""
    return start[:15].upper() == b"BEGIN:VCALENDAR"


def _header_fields(start: bytes) -> list[bytes]:
    """Return the first lines of the fields of a message's header, but one that is cut off."""
    lines = start.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].split(b"\n")
    fields = [line for line in lines if line[:1] not in (b" ", b"\t") and line]
    if fields and fields[0].startswith(b"From "):
        fields = fields[1:]
    return fields[:-1] if len(start) >= _HEAD_BYTES - 4 else fields


def is_mail(head: bytes) -> bool:
    """Recognise a message by its first header fields."""
    fields = _header_fields(head)
    known = sum(1 for field in fields if _MAIL_HEADER.match(field))
    shaped = all(re.match(rb"[\w-]+[ \t]*:", field) for field in fields)
    return known >= 3 and shaped and _MAIL_NEEDED.search(head) is not None


def _is_binary(head: bytes) -> bool:
    """Return whether *head* has more control bytes than any encoding of text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")) or wide_encoding(head):
        return False
    zeros = head.count(0)
    if zeros > 0.02 * len(head) and len(head) >= 8:
        # UTF-16 without a mark has its zeros in every other place.
        places = head[0::2].count(0), head[1::2].count(0)
        if min(places) > 0.1 * max(places):
            return True
        zeros = 0
        head = head.replace(b"\0", b"")
    controls = sum(1 for byte in head if byte < 32 and byte not in (0, 9, 10, 12, 13, 27))
    return controls > 0.05 * len(head)


def _has_content(source: BinaryIO) -> bool:
    source.seek(0)
    while data := source.read(1 << 20):
        if data.strip(_BLANKS):
            return True
    return False


def _detect_zip(
    source: BinaryIO, extension: str, limits: ParseLimits, formats: Sequence[Format]
) -> Format:
    archive = Archive(source, limits=limits, what="zip" if extension == "zip" else "office")
    if archive.has("mimetype"):
        kind = archive.read("mimetype")[:100].strip().decode("ascii", "replace")
        for known in formats:
            if known.part and kind in (known.content_type, *known.declared):
                return known
        if kind.startswith("application/vnd.oasis.opendocument"):
            raise Unreadable(
                "unsupported_type",
                "OpenDocument drawings, charts and formulas are not supported. Save it as PDF.",
            )
    main = next((part for part in archive.related("", "officeDocument")), "")
    is_package = any(archive.has(part) for part in _PACKAGE_PARTS)
    for known in formats:
        if known.any_zip and not is_package:
            return known
        if known.part and (
            main.startswith(known.part)
            or (
                not main
                and is_package
                and any(part.startswith(known.part) for part in archive.names)
            )
        ):
            return known
    raise Unreadable(
        "unsupported_type",
        "The file is an office document of a kind that is not supported. Save it as PDF. "
        f"Supported formats: {supported(formats)}.",
    )


def _detect_ole2(source: BinaryIO, formats: Sequence[Format]) -> Format:
    """Recognise old office files by the streams at the top; those of what is embedded are below."""
    source.seek(0)
    data = source.read()
    try:
        found = set(CompoundFile(data).root.streams)
    except COMPOUND_ERRORS:
        # The parser says that the file is damaged, where its kind can be told at all.
        names = ["EncryptedPackage", *(known.stream for known in formats if known.stream)]
        found = {name.lower() for name in names if name.encode("utf-16-le") in data}
    if "encryptedpackage" in found:
        raise Unreadable(
            "encrypted",
            "The office document is protected by a password. "
            "Remove the password and upload it again.",
        )
    if "book" in found:
        # What Excel 5 and 95 wrote.
        found.add("workbook")
    for known in formats:
        if known.stream and known.stream.lower() in found:
            return known
    raise Unreadable("unsupported_type", "The file is an old office file. Save it in a new format.")


def _unsupported(what: str, extension: str, formats: Sequence[Format]) -> Unreadable:
    named = next((known for known in formats if extension in known.extensions), None)
    if named and not named.is_text:
        what = f"{what}, not {named.label}"
    return Unreadable(
        "unsupported_type",
        f"The file is {what}, which is not supported. Supported formats: {supported(formats)}.",
    )
