"""
Pictures inside documents: which of them are worth a description, and how they are sent for one.

A picture is a stranger's: its size is checked before it is decoded, and one that cannot be read is
left out and noted. It never fails its document.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

from PIL import (
    # Pillow imports its formats on first use, when a child can open no file any more.
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageStat,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from shared.errors import Unreadable

from .archives import Archive, join_path
from .blocks import Block, DescribeFigure, clean, clean_line, paragraph

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
# A picture, packed and as it is decoded: four bytes a pixel, and once more while it is converted.
_MAX_BYTES = 32 << 20
_MAX_PIXELS = 40_000_000
# What Gemini gets: axes and labels are legible, and it costs about a thousand tokens.
_MAX_SIDE = 1024
# A photograph is smaller as JPEG.
_MAX_PNG_BYTES = 300_000
_JPEG_QUALITY = 85
# Smaller ones are icons, and longer ones lines: in pixels, and in points as shown on a page.
_MIN_SIDE = 64
_MIN_AREA = 16_000
_MAX_RATIO = 8.0
_MIN_SHOWN_SIDE = 54.0
_MIN_SHOWN_AREA = 8_000.0
# On so many pages, or so often in a text, a picture is a logo.
DECORATION_USES = 3
# A surface of one colour, or hardly more.
_FLAT_DEVIATION = 2.5
# The most pictures of one document that are decoded, and that are reported as left out.
_MAX_LOOKED_AT = 500
_MAX_NOTED = 500
_MAX_CAPTION_CHARS = 500
_MAX_DESCRIPTION_CHARS = 6_000

_CAPTION = re.compile(
    r"(?:fig(?:ure|ura|\.)?|abb(?:ildung|\.)?|bild|diagramm?e?|chart|graph(?:ik|ique)?|grafik|"
    r"gráfico|exhibit|hình|biểu đồ|sơ đồ|schaubild|plate|scheme|rys\.|рис\.)\s*\.?\s*[\dA-Z]",
    re.IGNORECASE,
)
_CAPTION_CHARS = 400


class LeftOut(NamedTuple):
    """
    A picture without a description.

    Attributes:
        code: budget, damaged, too_large, format, refused or unavailable.
        page: Its page from 1, None if the format has none.
    """

    code: str
    page: int | None


class Figures:
    """
    Describes the pictures of one document and those inside of it.

    Args:
        describe: Asks for a description, which takes seconds.
        begin: Called before the first picture is decoded, which is when a hostile one may end
            this process.
        until: Processor time (time.process_time) after which none is decoded.

    Attributes:
        left_out: What was not described, decorations apart.
    """

    def __init__(
        self, describe: DescribeFigure, *, begin: Callable[[], None], until: float
    ) -> None:
        self.left_out: list[LeftOut] = []
        self._describe = describe
        self._begin = begin
        self._until = until
        # As they stand in the document, and as they are sent.
        self._seen: set[bytes] = set()
        self._sent: set[bytes] = set()
        self._looked_at = 0
        self._has_begun = False
        self._ended = ""

    @property
    def is_open(self) -> bool:
        """Whether another picture may be described."""
        return not self._ended

    def begin(self) -> None:
        """Say that a picture is unpacked or decoded."""
        if not self._has_begun:
            self._has_begun = True
            self._begin()

    def leave_out(self, code: str, page: int | None) -> None:
        """Note a picture that is not described."""
        if len(self.left_out) < _MAX_NOTED:
            self.left_out.append(LeftOut(code, page))

    def packed(
        self,
        data: bytes,
        *,
        page: int | None = None,
        caption: str = "",
        shown: tuple[float, float] | None = None,
    ) -> Iterator[Block]:
        """
        Yield the description of the picture file *data*, nothing if it is a decoration.

        Args:
            caption: What the document says of it.
            shown: Width and height on the page, in points.
        """
        if shown is not None and not is_large(*shown):
            return
        digest = hashlib.sha256(data).digest()
        if digest in self._seen or not self._take(page):
            return
        self._seen.add(digest)
        try:
            image = _open(data)
            if image is None or not _is_picture(*image.size):
                return
            image = _decode(image)
        except _Refused as refusal:
            self.leave_out(refusal.code, page)
            return
        yield from self._described(image, page=page, caption=caption)

    def rendered(self, image: Any, *, page: int, caption: str) -> Iterator[Block]:
        """Yield the description of a part of a page, as an image of Pillow's."""
        if self._take(page):
            yield from self._described(image, page=page, caption=caption)

    def _take(self, page: int | None) -> bool:
        """Return whether one more may be decoded; note one that may not."""
        if not self._ended and (
            self._looked_at >= _MAX_LOOKED_AT or time.process_time() > self._until
        ):
            self._ended = "budget"
        if self._ended:
            self.leave_out(self._ended, page)
            return False
        self.begin()
        self._looked_at += 1
        return True

    def _described(self, image: Any, *, page: int | None, caption: str) -> Iterator[Block]:
        try:
            if _is_flat(image):
                return
            picture = _encode(image)
        except MemoryError:
            self.leave_out("too_large", page)
            return
        digest = hashlib.sha256(picture).digest()
        if digest in self._sent:
            return
        self._sent.add(digest)
        caption = clean_line(caption)[:_MAX_CAPTION_CHARS]
        text, code = self._describe(picture, caption)
        if code:
            self.leave_out(code, page)
            if code == "budget":
                self._ended = code
            return
        text = clean(text).strip()[:_MAX_DESCRIPTION_CHARS]
        yield from paragraph(text, page=page, source="figure")


class PackedPictures:
    """
    The pictures among an archive's parts.

    Args:
        uses: How often each part is shown in the document, as far as that is known.
    """

    def __init__(
        self, figures: Figures, archive: Archive, uses: dict[str, int] | None = None
    ) -> None:
        self.figures = figures
        self._archive = archive
        self._uses = uses or {}

    def describe(
        self,
        part: str,
        *,
        page: int | None = None,
        caption: str = "",
        shown: tuple[float, float] | None = None,
    ) -> Iterator[Block]:
        """Yield the description of the picture in *part*, nothing if it is a decoration."""
        if self._uses.get(part, 0) >= DECORATION_USES or not self._archive.has(part):
            return
        if shown is not None and not is_large(*shown):
            return
        if not self.figures.is_open:
            self.figures.leave_out("budget", page)
            return
        if (data := self._read(part, page)) is not None:
            yield from self.figures.packed(data, page=page, caption=caption, shown=shown)

    def _read(self, part: str, page: int | None) -> bytes | None:
        # Pictures count neither against what the document may unpack to, nor can they fail it.
        self.figures.begin()
        left, self._archive.left = self._archive.left, _MAX_BYTES
        try:
            return self._archive.read(part)
        except MemoryError:
            self.figures.leave_out("too_large", page)
            return None
        except Unreadable as error:
            is_large = error.code == "decompression_limit"
            self.figures.leave_out("too_large" if is_large else "damaged", page)
            return None
        finally:
            self._archive.left = left


class AddressedPictures:
    """
    The pictures that a page of HTML names: in its own addresses (data:), or in an archive.

    Args:
        addresses: Those of all pictures of the page; what stands there again and again is a logo.
        archive: What other addresses name, relative to *folder*.
    """

    def __init__(
        self,
        figures: Figures,
        addresses: Iterable[str],
        *,
        archive: Archive | None = None,
        folder: str = "",
    ) -> None:
        self._figures = figures
        self._uses = Counter(map(hash, addresses))
        self._packed = PackedPictures(figures, archive) if archive is not None else None
        self._folder = folder

    def describe(
        self, address: str, *, page: int | None, caption: str, shown: tuple[float, float] | None
    ) -> Iterator[Block]:
        """Yield the description of the picture at *address*, nothing if it is a decoration."""
        if self._uses[hash(address)] >= DECORATION_USES:
            return
        if address[:11].lower() == "data:image/":
            self._figures.begin()
            if (data := read_data_address(address)) is None:
                self._figures.leave_out("damaged", page)
            elif data:
                yield from self._figures.packed(data, page=page, caption=caption, shown=shown)
        elif self._packed is not None and ":" not in address:
            part = join_path(self._folder, unquote(address.partition("#")[0]))
            yield from self._packed.describe(part, page=page, caption=caption, shown=shown)


def read_data_address(address: str) -> bytes | None:
    """
    Return the picture in a data: address, b"" for a drawing (SVG), None if it is damaged.

    Format: https://www.rfc-editor.org/rfc/rfc2397
    """
    head, comma, data = address.partition(",")
    if not comma or len(data) > 2 * _MAX_BYTES:
        return None
    if "svg" in head.lower():
        return b""
    if not head.lower().rstrip().endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(re.sub(r"\s+", "", unquote(data)), validate=True)
    except (ValueError, binascii.Error):
        return None


def count_uses(archive: Archive, part: str, pattern: re.Pattern[bytes]) -> dict[str, int]:
    """Return how often each name that *pattern* finds stands in a part; it is read once more."""
    left = archive.left
    uses: dict[str, int] = {}
    rest = b""
    for piece in archive.pieces(part):
        data = rest + piece
        end = 0
        for found in pattern.finditer(data):
            name = found.group(1).decode("utf-8", "replace")
            if name in uses or len(uses) < _MAX_LOOKED_AT:
                uses[name] = uses.get(name, 0) + 1
            end = found.end()
        # A name that a piece cuts in two.
        rest = data[max(end, len(data) - 300) :]
    archive.left = left
    return uses


def is_caption(text: str) -> bool:
    """Return whether *text* names a figure, as in "Figure 3: Sales by quarter"."""
    return len(text) <= _CAPTION_CHARS and _CAPTION.match(text) is not None


def is_large(width: float, height: float) -> bool:
    """Return whether a picture of so many points is more than an icon or a line."""
    return _has_shape(width, height) and (
        min(width, height) >= _MIN_SHOWN_SIDE and width * height >= _MIN_SHOWN_AREA
    )


def _is_picture(width: int, height: int) -> bool:
    return _has_shape(width, height) and (
        min(width, height) >= _MIN_SIDE and width * height >= _MIN_AREA
    )


def _has_shape(width: float, height: float) -> bool:
    return max(width, height) <= _MAX_RATIO * min(width, height)


class _Refused(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def _open(data: bytes) -> Any:
    """Return the picture, its pixels not decoded yet."""
    if len(data) > _MAX_BYTES:
        raise _Refused("too_large")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        # Its decoder takes memory for the whole picture before it tells the size.
        _check_pixels(*_webp_size(data))
    # Pillow's own limit only warns at first.
    Image.MAX_IMAGE_PIXELS = None
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except MemoryError as error:
        raise _Refused("too_large") from error
    except UnidentifiedImageError as error:
        is_known = data.startswith((b"\x89PNG", b"\xff\xd8", b"GIF8", b"BM", b"II", b"MM", b"RIFF"))
        raise _Refused("damaged" if is_known else "format") from error
    except Exception as error:
        raise _Refused("damaged") from error
    _check_pixels(*image.size)
    return image


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height: https://developers.google.com/speed/webp/docs/riff_container."""
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        raise _Refused("damaged")
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (
        int.from_bytes(head[6:8], "little") & 0x3FFF,
        int.from_bytes(head[8:10], "little") & 0x3FFF,
    )


def _check_pixels(width: int, height: int) -> None:
    if width * height > _MAX_PIXELS:
        raise _Refused("too_large")


def _decode(image: Any) -> Any:
    """Return *image* small and in red, green and blue; what is transparent is white."""
    try:
        if image.format in ("JPEG", "MPO"):
            # Decoded smaller at once, where it is at least twice as large as needed.
            image.draft("RGB", (_MAX_SIDE, _MAX_SIDE))
        image.load()
        if image.mode.startswith(("I", "F")):
            image = _as_grey(image)
        elif image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
            image = image.convert("RGBA")
            image.thumbnail((_MAX_SIDE, _MAX_SIDE))
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("RGB")
        image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    except MemoryError as error:
        raise _Refused("too_large") from error
    except Exception as error:
        raise _Refused("damaged") from error
    return image


def _as_grey(image: Any) -> Any:
    """Return a picture of deep numbers as eight bits, from its darkest to its brightest."""
    image = image.convert("F")
    low, high = image.getextrema()
    scale = 255 / (high - low) if high > low else 0.0
    return image.point(lambda value: value * scale + -low * scale).convert("L")


def _is_flat(image: Any) -> bool:
    small = image.convert("L").resize((48, 48), Image.Resampling.BOX)
    return bool(ImageStat.Stat(small).stddev[0] < _FLAT_DEVIATION)


def _encode(image: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, "PNG", optimize=False)
    if packed.tell() > _MAX_PNG_BYTES:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=_JPEG_QUALITY)
    return packed.getvalue()
