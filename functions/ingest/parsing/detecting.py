"""What a file is: by its content first, by its name and declared type where that says nothing."""

from __future__ import annotations

import json
import re
from typing import BinaryIO

from shared.errors import Unreadable

from .archives import Archive
from .blocks import ParseLimits

PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EPUB = "application/epub+zip"
RTF = "application/rtf"
EML = "message/rfc822"
HTML = "text/html"
MARKDOWN = "text/markdown"
TEXT = "text/plain"
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSON_LINES = "application/jsonl"

SUPPORTED = "pdf, docx, pptx, xlsx, html, md, txt, csv, json, jsonl, epub, rtf and eml"

_HEAD_BYTES = 4096
# White space, NUL and the bytes of byte order marks.
_BLANKS = b"\0 \t\r\n\f\v\xef\xbb\xbf\xff\xfe"
_OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Formats known by their first bytes that hold no text of ours.
_FOREIGN = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"BM", "a bitmap picture"),
    (b"RIFF", "a WebP, WAV or AVI file"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"fLaC", "a FLAC file"),
    (b"\x1f\x8b", "a gzip archive"),
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
_EXTENSIONS = {
    "md": MARKDOWN,
    "markdown": MARKDOWN,
    "mdown": MARKDOWN,
    "html": HTML,
    "htm": HTML,
    "xhtml": HTML,
    "csv": CSV,
    "tsv": TSV,
    "tab": TSV,
    "json": JSON,
    "jsonl": JSON_LINES,
    "ndjson": JSON_LINES,
    "eml": EML,
    "txt": TEXT,
    "text": TEXT,
    "log": TEXT,
}
_DECLARED = {
    "text/markdown": MARKDOWN,
    "text/x-markdown": MARKDOWN,
    "text/html": HTML,
    "application/xhtml+xml": HTML,
    "text/csv": CSV,
    "text/tab-separated-values": TSV,
    "application/json": JSON,
    "application/jsonl": JSON_LINES,
    "application/x-ndjson": JSON_LINES,
    "message/rfc822": EML,
}
_BINARY_EXTENSIONS = {"pdf": "PDF", "docx": "Word", "pptx": "PowerPoint", "xlsx": "Excel"} | {
    "epub": "EPUB"
}
_HTML_START = re.compile(
    rb"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title|meta)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_MAIL_HEADER = re.compile(
    rb"(?:from|to|subject|date|received|return-path|message-id|mime-version|delivered-to|"
    rb"x-[\w-]+|content-type|reply-to|cc|sender|dkim-signature|arc-[\w-]+)[ \t]*:",
    re.IGNORECASE,
)
_MAIL_NEEDED = re.compile(rb"^(?:from|received|return-path)[ \t]*:", re.IGNORECASE | re.MULTILINE)


def detect_type(
    source: BinaryIO, *, name: str, content_type: str | None, limits: ParseLimits
) -> str:
    """
    Return the MIME type that *source* really has.

    Raises:
        Unreadable: It is empty, or of a type that is not read.
    """
    source.seek(0)
    head = source.read(_HEAD_BYTES)
    extension = name.rpartition("/")[2].rpartition(".")[2].lower() if "." in name else ""
    declared = (content_type or "").partition(";")[0].strip().lower()
    if not head.strip(_BLANKS) and not _has_content(source):
        raise Unreadable("empty", "The file is empty. Upload it again with its content.")
    if b"%PDF-" in head[:1024]:
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _detect_zip(source, limits)
    if head.startswith(_OLE2):
        raise _refuse_ole2(source)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{\\rtf"):
        return RTF
    for start, what in _FOREIGN:
        if head.startswith(start) and (len(start) > 2 or _is_binary(head)):
            raise _unsupported(what, extension)
    if head[4:12] in (b"ftypisom", b"ftypmp42", b"ftypM4A ", b"ftypqt  ", b"ftypheic"):
        raise _unsupported("a video, sound or HEIC file", extension)
    if head[257:262] == b"ustar":
        raise _unsupported("a tar archive", extension)
    if _is_binary(head):
        raise _unsupported("a binary file of an unknown kind", extension)
    return _detect_text(head, extension, declared)


def _detect_text(head: bytes, extension: str, declared: str) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if extension in ("md", "markdown", "mdown"):
        return MARKDOWN
    if _HTML_START.match(start):
        return HTML
    if extension in _EXTENSIONS and extension not in ("txt", "text"):
        return _EXTENSIONS[extension]
    if _is_mail(start):
        return EML
    if start[:1] in (b"{", b"[") and (kind := _detect_json(start)):
        return kind
    if declared in _DECLARED and extension not in _EXTENSIONS:
        return _DECLARED[declared]
    return TEXT


def _detect_json(start: bytes) -> str:
    """Return JSON or JSON_LINES where the first line or the beginning is JSON, else ""."""
    line, _, rest = start.partition(b"\n")
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        # Pretty-printed: the first token after the bracket tells.
        follows = start[1:].lstrip()[:1]
        return JSON if follows in (b'"', b"{", b"[", b"}", b"]") and b'"' in start else ""
    return JSON_LINES if rest.lstrip()[:1] in (b"{", b"[") else JSON


def _is_mail(head: bytes) -> bool:
    lines = head.replace(b"\r\n", b"\n").split(b"\n\n", 1)[0].split(b"\n")
    fields = [line for line in lines if line[:1] not in (b" ", b"\t") and line]
    if fields and fields[0].startswith(b"From "):
        fields = fields[1:]
    if len(head) >= _HEAD_BYTES - 4:
        fields = fields[:-1]
    known = sum(1 for field in fields if _MAIL_HEADER.match(field))
    shaped = all(re.match(rb"[\w-]+[ \t]*:", field) for field in fields)
    return known >= 3 and shaped and _MAIL_NEEDED.search(head) is not None


def _is_binary(head: bytes) -> bool:
    """Tell whether *head* has more control bytes than any encoding of text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
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


def _detect_zip(source: BinaryIO, limits: ParseLimits) -> str:
    archive = Archive(source, limits=limits, what="office")
    if archive.has("mimetype"):
        kind = archive.read("mimetype")[:100].strip().decode("ascii", "replace")
        if kind == EPUB:
            return EPUB
        if kind.startswith("application/vnd.oasis.opendocument"):
            raise Unreadable(
                "unsupported_type",
                "OpenDocument files are not read. Save it as docx, xlsx, pptx or PDF.",
            )
    main = next((part for part in archive.related("", "officeDocument")), "")
    for folder, kind in (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX)):
        if main.startswith(folder) or (
            not main and any(part.startswith(folder) for part in archive.names)
        ):
            if kind == XLSX and main.endswith(".bin"):
                raise Unreadable(
                    "unsupported_type", "Binary workbooks (xlsb) are not read. Save it as xlsx."
                )
            return kind
    if archive.has("META-INF/container.xml"):
        return EPUB
    raise Unreadable(
        "unsupported_type",
        f"The file is a zip archive, not a document. Upload its files one by one ({SUPPORTED}).",
    )


def _refuse_ole2(source: BinaryIO) -> Unreadable:
    """Tell an encrypted office file from an old one, by the names in its directory."""
    source.seek(0)
    data = source.read(1 << 24)
    if "EncryptedPackage".encode("utf-16-le") in data:
        return Unreadable(
            "encrypted",
            "The office document is protected by a password. "
            "Remove the password and upload it again.",
        )
    for stream, what, better in (
        ("WordDocument", "an old Word file (doc)", "docx"),
        ("Workbook", "an old Excel file (xls)", "xlsx"),
        ("PowerPoint Document", "an old PowerPoint file (ppt)", "pptx"),
        ("__substg1.0_", "an Outlook message (msg)", "eml"),
    ):
        if stream.encode("utf-16-le") in data:
            return Unreadable(
                "unsupported_type", f"The file is {what}, which is not read. Save it as {better}."
            )
    return Unreadable(
        "unsupported_type", "The file is an old office file. Save it in a new format."
    )


def _unsupported(what: str, extension: str) -> Unreadable:
    named = _BINARY_EXTENSIONS.get(extension)
    told = f"The file is {what}, not a {named} document" if named else f"The file is {what}"
    return Unreadable("unsupported_type", f"{told}, and is not read. Supported are {SUPPORTED}.")
