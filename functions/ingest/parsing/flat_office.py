"""
Office documents in one XML file: packed again as the container that their parser reads.

Word's "XML document" (Flat OPC), the XML of Word 2003, and OpenDocument's flat files (fodt).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace

from .blocks import Event, Request, corrupt, read_all
from .registry import DOCX, FORMATS, ODP, ODS, ODT, PPTX, XLSX, load_parser

_PART = re.compile(
    rb"<pkg:part\b[^>]{0,1000}?\bpkg:name=\"/?([^\"]{1,300})\"[^>]{0,1000}>\s*"
    rb"<pkg:xmlData\b[^>]{0,300}>(.*?)</pkg:xmlData>",
    re.DOTALL,
)
_KINDS = {b"word/": DOCX, b"ppt/": PPTX, b"xl/": XLSX}
_OPEN_DOCUMENTS = {kind.encode(): kind for kind in (ODT, ODS, ODP)}
_MIMETYPE = re.compile(rb"office:mimetype=\"([^\"]{1,120})\"")
_META = re.compile(rb"<office:meta\b.*?</office:meta>", re.DOTALL)
# The styles of Word 2003 stand in the document itself.
_RELATIONS = (
    b'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    b'<Relationship Id="s" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    b'relationships/styles" Target="document.xml"/></Relationships>'
)
_HEAD_BYTES = 4_096


def parse_flat_office(request: Request) -> Iterator[Event]:
    """
    Yield the blocks of an office document in one XML file.

    Raises:
        Unreadable: It is damaged, or of a kind that is not read.
    """
    data = read_all(request)
    head = data[:_HEAD_BYTES]
    if b"/office/word/2003/wordml" in head:
        kind, parts = DOCX, {b"word/document.xml": data}
        parts[b"word/_rels/document.xml.rels"] = _RELATIONS
    elif found := _MIMETYPE.search(head):
        kind = _OPEN_DOCUMENTS.get(found[1].replace(b"-template", b""), "")
        meta = _META.search(data)
        parts = {b"content.xml": data, b"styles.xml": data}
        if meta:
            parts[b"meta.xml"] = _with_namespaces(data, meta.group())
    else:
        parts = dict(_PART.findall(data))
        kind = next(
            (_KINDS[folder] for folder in _KINDS if any(n.startswith(folder) for n in parts)), ""
        )
    parser = next((known for known in FORMATS if known.content_type == kind), None)
    if parser is None:
        raise corrupt("The office document in XML has no part that can be read. Save it as PDF.")
    source = io.BytesIO(_packed(parts))
    yield from load_parser(parser)(replace(request, source=source))


def _packed(parts: Mapping[bytes, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name.decode("utf-8", "replace"), data)
    return packed.getvalue()


def _with_namespaces(data: bytes, element: bytes) -> bytes:
    """Return an element of a document as one of its own, with the prefixes of that."""
    root = re.search(rb"<office:document\b([^>]{0,20000})>", data)
    names = b" ".join(re.findall(rb"xmlns:[\w-]+=\"[^\"]*\"", root[1])) if root else b""
    return b"<m " + names + b">" + element + b"</m>"
