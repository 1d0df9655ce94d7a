"""Pictures for the tests, drawn in code, and documents that hold them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

from PIL import Image, ImageDraw

from tests.support.documents import assemble_pdf, make_docx, relations

_DRAWING = (
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    ' xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
    ' xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
    ' xmlns:pic="http://schemas.openxmlformats.org/drawingml/2006/picture"'
)
_POINT = 12_700


def chart(seed: int = 1, *, size: tuple[int, int] = (400, 240), mode: str = "RGB") -> Image.Image:
    """Return a chart of five bars, another for each seed."""
    width, height = size
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    for bar in range(5):
        left = (2 * bar + 1) * width // 12
        top = height - height * ((seed * 37 + bar * 29) % 80 + 10) // 100
        pen.rectangle((left, top, left + width // 12, height - 4), fill=(20, 60 + 30 * bar, 200))
    return picture.convert(mode)


def packed(picture: Image.Image, kind: str = "PNG") -> bytes:
    """Return *picture* as a file."""
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def png_of(width: int, height: int, rows: bytes) -> bytes:
    """Return a PNG that claims a size; *rows* are its packed pixels."""

    def part(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", rows) + part(b"IEND", b"")


def docx_of(
    pictures: Sequence[tuple[bytes, str, str]], *, points: tuple[int, int] = (300, 180)
) -> bytes:
    """Return a Word document of (picture, alternative text, caption below), words around each."""
    body, media, known = [], {}, []
    for number, (data, alternative, caption) in enumerate(pictures):
        name = f"media/picture{pictures.index((data, alternative, caption))}"
        media[f"word/{name}"] = data
        identifier = f"rId{list(media).index(f'word/{name}')}"
        if (identifier, "image", name) not in known:
            known.append((identifier, "image", name))
        body.append(
            f"<w:p><w:r><w:t>Words before picture {number}.</w:t></w:r></w:p>"
            f'<w:p><w:r><w:drawing {_DRAWING}><wp:inline><wp:extent cx="{points[0] * _POINT}"'
            f' cy="{points[1] * _POINT}"/><wp:docPr id="1" name="x" descr="{alternative}"/>'
            f'<a:graphic><a:graphicData><pic:pic><pic:blipFill><a:blip r:embed="{identifier}"/>'
            "</pic:blipFill></pic:pic></a:graphicData></a:graphic></wp:inline></w:drawing></w:r>"
            "</w:p>" + (f"<w:p><w:r><w:t>{caption}</w:t></w:r></w:p>" if caption else "")
        )
    extra: dict[str, bytes | str] = {"word/_rels/document.xml.rels": relations(known), **media}
    return make_docx("".join(body), extra=extra)


def pdf_of(
    pages: Sequence[tuple[str, Sequence[tuple[bytes, tuple[int, int, int, int]]]]],
) -> bytes:
    """
    Return a PDF of pages: a content stream, and pictures (an image object) with their places.

    Args:
        pages: A place is left, bottom, width and height in points.
    """
    objects: list[bytes] = [b"", b""]

    def add(data: bytes) -> int:
        objects.append(data)
        return len(objects)

    font = add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    known: dict[bytes, int] = {}
    kids = []
    for text, pictures in pages:
        stream, names = text.encode("cp1252"), b""
        for at, (picture, (left, bottom, width, height)) in enumerate(pictures):
            number = known.get(picture) or known.setdefault(picture, add(picture))
            names += b"/I%d %d 0 R" % (at, number)
            stream += b"\nq %d 0 0 %d %d %d cm /I%d Do Q" % (width, height, left, bottom, at)
        content = add(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        kids.append(
            add(
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
                b"/Resources<</Font<</F %d 0 R>>/XObject<<%s>>>>>>" % (content, font, names)
            )
        )
    objects[0] = b"<</Type/Catalog/Pages 2 0 R>>"
    objects[1] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (
        b" ".join(b"%d 0 R" % kid for kid in kids),
        len(kids),
    )
    return assemble_pdf(objects)


def pdf_image(picture: Image.Image, *, claims: tuple[int, int] | None = None) -> bytes:
    """Return an image object; it may claim another size than it has."""
    width, height = claims or picture.size
    data = zlib.compress(picture.convert("RGB").tobytes())
    return (
        b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceRGB/BitsPerComponent 8"
        b"/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (width, height, len(data), data)
    )
