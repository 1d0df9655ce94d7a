"""Spreadsheets and OpenDocument files for the tests, made in code: nothing is copied."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests.support.compounds import make_compound
from tests.support.documents import make_zip, relations

_OFFICE = "urn:oasis:names:tc:opendocument:xmlns"
_NAMES = {
    "office": "office",
    "text": "text",
    "table": "table",
    "style": "style",
    "draw": "drawing",
    "fo": "xsl-fo-compatible",
    "svg": "svg-compatible",
    "presentation": "presentation",
    "chart": "chart",
}
_SPACES = " ".join(
    [
        *(f'xmlns:{prefix}="{_OFFICE}:{name}:1.0"' for prefix, name in _NAMES.items()),
        'xmlns:dc="http://purl.org/dc/elements/1.1/"',
        'xmlns:xlink="http://www.w3.org/1999/xlink"',
    ]
)

Cell = str | float | tuple[float, int]


def make_open_document(
    kind: str, body: str, *, styles: str = "", extra: dict[str, str] | None = None
) -> bytes:
    """
    Return an OpenDocument file.

    Args:
        kind: text, spreadsheet or presentation.
        body: XML within its body.
        styles: XML of its automatic styles.
    """
    parts: dict[str, bytes | str] = {
        "mimetype": f"application/vnd.oasis.opendocument.{kind}",
        "content.xml": f"<office:document-content {_SPACES}><office:automatic-styles>{styles}"
        f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}>"
        "</office:body></office:document-content>",
        **(extra or {}),
    }
    return make_zip(parts, first="mimetype")


def open_document_part(body: str) -> str:
    """Return the XML of another part, such as styles.xml or a chart."""
    return f"<office:document {_SPACES}>{body}</office:document>"


def make_xls(
    rows: Sequence[Sequence[Cell]],
    *,
    formats: Sequence[str] = (),
    merged: Sequence[tuple[int, int, int, int]] = (),
) -> bytes:
    """
    Return an old workbook of one sheet: records of BIFF8 in a compound file.

    Args:
        rows: A number may come with the place of its format in *formats*, from 1.
        merged: (top, bottom, left, right) of merged ranges, from 0.
    """

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    def text(value: str, length: str) -> bytes:
        return struct.pack(length, len(value)) + b"\1" + value.encode("utf-16-le")

    def beginning(kind: int) -> bytes:
        return record(0x809, struct.pack("<HHHHII", 0x600, kind, 0xDBB, 0x7CC, 0, 6))

    font = record(0x31, struct.pack("<HHHHHBBBB", 200, 0, 8, 400, 0, 0, 0, 0, 0) + text("A", "<B"))
    codes = b"".join(
        record(0x41E, struct.pack("<H", 164 + i) + text(code, "<H"))
        for i, code in enumerate(formats)
    )
    styles = b"".join(
        record(0xE0, struct.pack("<HHH", 0, 164 + i - 1 if i else 0, 1) + bytes(14))
        for i in range(len(formats) + 1)
    )
    head = beginning(5) + font * 5 + codes + styles
    bound = len(record(0x85, struct.pack("<IH", 0, 0) + text("Sheet", "<B")))
    end = record(0x0A, b"")
    start = len(head) + bound + len(end)
    sheet = record(0x85, struct.pack("<IH", start, 0) + text("Sheet", "<B"))
    cells = b""
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if isinstance(cell, str):
                cells += record(0x204, struct.pack("<HHH", y, x, 0) + text(cell, "<H"))
            else:
                number, style = cell if isinstance(cell, tuple) else (cell, 0)
                cells += record(0x203, struct.pack("<HHHd", y, x, style, number))
    areas = struct.pack("<H", len(merged)) + b"".join(struct.pack("<4H", *area) for area in merged)
    size = record(0x200, struct.pack("<IIHHH", 0, len(rows), 0, 256, 0))
    body = beginning(0x10) + size + cells + record(0xE5, areas) + end
    return make_compound({"Workbook": head + sheet + end + body})


def make_xlsb(
    rows: Sequence[Sequence[Cell]],
    *,
    formats: Sequence[str] = (),
    merged: Sequence[tuple[int, int, int, int]] = (),
    hidden_row: int | None = None,
) -> bytes:
    """Return a binary workbook of one sheet; the arguments are those of make_xls."""

    def record(kind: int, data: bytes = b"") -> bytes:
        head = bytes([kind]) if kind < 128 else bytes([kind & 0x7F | 0x80, kind >> 7])
        size = (
            bytes([len(data)])
            if len(data) < 128
            else bytes([len(data) & 0x7F | 0x80, len(data) >> 7])
        )
        return head + size + data

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    cells = b""
    for y, row in enumerate(rows):
        flags = 0x10 if y == hidden_row else 0
        cells += record(0, struct.pack("<IIHBBBI", y, 0, 300, 0, flags, 0, 0))
        for x, cell in enumerate(row):
            if isinstance(cell, str):
                cells += record(6, struct.pack("<II", x, 0) + text(cell))
            else:
                number, style = cell if isinstance(cell, tuple) else (cell, 0)
                cells += record(5, struct.pack("<IId", x, style, number))
    areas = b"".join(record(176, struct.pack("<4I", *area)) for area in merged)
    styles = b"".join(
        record(44, struct.pack("<H", 164 + i) + text(code)) for i, code in enumerate(formats)
    )
    styles += record(617) + b"".join(
        record(47, struct.pack("<HHH", 0, 164 + i - 1 if i else 0, 0) + bytes(10))
        for i in range(len(formats) + 1)
    )
    return make_zip(
        {
            "[Content_Types].xml": "<Types/>",
            "_rels/.rels": relations([("r1", "officeDocument", "xl/workbook.bin")]),
            "xl/workbook.bin": record(156, struct.pack("<II", 0, 1) + text("s1") + text("Sheet")),
            "xl/_rels/workbook.bin.rels": relations(
                [("s1", "worksheet", "worksheets/sheet1.bin"), ("st", "styles", "styles.bin")]
            ),
            "xl/styles.bin": styles + record(618),
            "xl/worksheets/sheet1.bin": record(145) + cells + record(146) + areas,
        }
    )


def make_spreadsheet_xml(rows: str, *, styles: str = "") -> bytes:
    """Return a workbook of Excel 2003's XML; rows and styles are XML."""
    return (
        '<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>'
        '<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" '
        'xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">'
        f'<Styles>{styles}</Styles><Worksheet ss:Name="Sheet"><Table>{rows}</Table></Worksheet>'
        "</Workbook>"
    ).encode()
