"""Pictures (PNG, JPEG, TIFF, WebP), by text recognition: a page each, of a TIFF its pages."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

from PIL import (
    Image,
    # Pillow imports its formats on first use, when a child can open no file any more. MPO is what
    # many phones write as JPEG.
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from shared.boxes import LineBox
from shared.errors import Unreadable

from . import recognition
from .blocks import EmptyPage, Event, PageCount, Request, clean, corrupt, read_all
from .scanned_pages import scanned_blocks

# A3 at 600 dots an inch has 70 million; Pillow holds four bytes of each while it decodes.
_MAX_PIXELS = 100_000_000
# A3 at 200 dots an inch, and a page of which the letters are worth enlarging.
_MAX_SIDE = 3400
_SMALL_SIDE = 1700
# What Gemini gets.
_MAX_SENT_SIDE = 2000
# Neither has text in letters that could be told apart.
_MIN_SIDE = 8
_MAX_RATIO = 100
# How much of a document's processor time its pictures may take.
_READING_SHARE = 0.7
# Of a page of text more is read.
_FEW_CHARS = 200
# TIFF 6.0, NewSubfileType: bit 0 marks a smaller copy of another page.
_SUBFILE_TYPE = 254
_REDUCED = 1
_TIFF = "TIFF"
_WEBP = "WEBP"

# Exif 2.3, 4.6.4: how the camera was held.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def parse_picture(request: Request, *, kind: str) -> Iterator[Event]:
    """
    Yield the text that a picture shows.

    Args:
        kind: What Pillow calls its format.

    Raises:
        Unreadable: It is damaged, too large, or has too many pages.
    """
    data = read_all(request)
    if kind == _WEBP:
        # Its decoder takes memory for the whole picture before it tells the size.
        _check_size(*_webp_size(data), page=1)
    read_until = time.process_time() + _READING_SHARE * request.limits.timeout_seconds
    picture = _open(data, kind)
    frames = _pages(picture, max_pages=request.limits.max_pages) if kind == _TIFF else [0]
    yield PageCount(len(frames))
    can_read = recognition.is_available() or request.read_picture is not None
    for page, frame in enumerate(frames, start=1):
        if frame:
            _seek(picture, frame)
        _check_size(*picture.size, page=page)
        text: str = ""
        lines: tuple[LineBox, ...] = ()
        if can_read and time.process_time() < read_until and request.picture_budget.take():
            text, lines = _read(picture, request, page=page)
        if text:
            yield from scanned_blocks(text, lines, page=page)
        else:
            yield EmptyPage(page)
        if request.figures is not None and frame == 0 and len(text) <= _FEW_CHARS:
            # A photograph or a chart, not a page of text.
            yield from request.figures.packed(data, page=page)


def _open(data: bytes, kind: str) -> Any:
    # Pillow's own limit only warns at first; _check_size holds for every page.
    Image.MAX_IMAGE_PIXELS = None
    try:
        # A JPEG that holds more than one picture opens as MPO by this name, too.
        return Image.open(io.BytesIO(data), formats=[kind])
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged() from error


def _pages(picture: Any, *, max_pages: int) -> list[int]:
    """Return the numbers of the frames of a TIFF that are pages, not smaller copies of one."""
    found: list[int] = []
    frame = 0
    while True:
        try:
            picture.seek(frame)
        except EOFError:
            break
        except MemoryError:
            raise
        except Exception as error:
            raise _damaged() from error
        kind = picture.tag_v2.get(_SUBFILE_TYPE, 0)
        if not (isinstance(kind, int) and kind & _REDUCED):
            found.append(frame)
        frame += 1
        if frame > max_pages:
            raise Unreadable(
                "too_many_pages",
                f"The TIFF has more than {max_pages} pages, the most that are read. "
                "Split it into smaller files.",
            )
    pages = found or [0]
    _seek(picture, pages[0])
    return pages


def _seek(picture: Any, frame: int) -> None:
    try:
        picture.seek(frame)
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged() from error


def _webp_size(data: bytes) -> tuple[int, int]:
    """Return width and height: https://developers.google.com/speed/webp/docs/riff_container."""
    kind, head = data[12:16], data[20:30]
    if len(head) < 10:
        raise _damaged()
    if kind == b"VP8X":
        return int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return (
        int.from_bytes(head[6:8], "little") & 0x3FFF,
        int.from_bytes(head[8:10], "little") & 0x3FFF,
    )


def _check_size(width: int, height: int, *, page: int) -> None:
    if width * height > _MAX_PIXELS:
        raise Unreadable(
            "too_many_pixels",
            f"Page {page} of the picture has {width} × {height} pixels; at most "
            f"{_MAX_PIXELS // 1_000_000} million are read. "
            "Save it smaller: 300 dots an inch are enough for text.",
        )


def _read(picture: Any, request: Request, *, page: int) -> tuple[str, tuple[LineBox, ...]]:
    """
    Return the text of the frame: as recognised here, by others where that went badly.

    With it comes where its lines stand, in pixels of the upright frame from its lower left corner;
    where others read it that is not known.
    """
    # Before it is decoded: a JPEG that is decoded smaller has the smaller size afterwards.
    longest = max(picture.size)
    grey = _grey(picture)
    width, height = grey.size
    if min(width, height) < _MIN_SIDE or max(width, height) > _MAX_RATIO * min(width, height):
        return "", ()
    recognised = recognition.Recognised("", 0)
    if recognition.is_available():
        recognised = recognition.recognise(grey.tobytes(), width=width, height=height, stride=width)
    if request.read_picture is not None and recognised.confidence < recognition.READ_WELL:
        grey.thumbnail((_MAX_SENT_SIDE, _MAX_SENT_SIDE))
        sent = io.BytesIO()
        grey.save(sent, "PNG")
        if text := clean(request.read_picture(sent.getvalue())).strip():
            return text, ()
    scale = longest / max(width, height)

    def place(word: recognition.WordPlace) -> recognition.Sides:
        bottom, top = height - word.bottom, height - word.top
        return word.left * scale, bottom * scale, word.right * scale, top * scale

    return recognised.text, recognition.line_boxes(recognised.words, page=page, place=place)


def _grey(picture: Any) -> Any:
    """Return the frame upright, grey on white, in a size that suits recognition."""
    try:
        if picture.format in ("JPEG", "MPO"):
            # Decoded smaller at once, where it is at least twice as large as needed.
            picture.draft("L", (_MAX_SIDE, _MAX_SIDE))
        picture.load()
        image = picture
        if image.mode.startswith("I;16"):
            image = image.convert("I").point(lambda value: value * (1 / 256))
        elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        image = image.convert("L")
    except MemoryError:
        raise
    except Exception as error:
        raise _damaged() from error
    if (turn := _turn(picture)) is not None:
        image = image.transpose(turn)
    longest = max(image.size)
    scale = 2.0 if longest <= _SMALL_SIDE else min(1.0, _MAX_SIDE / longest)
    if scale == 1.0:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _turn(picture: Any) -> Image.Transpose | None:
    """Return how the frame is to be turned by its Exif data."""
    if picture.format == _TIFF:
        # Pillow has done it.
        return None
    try:
        return _TURNS.get(picture.getexif().get(_ORIENTATION))
    except MemoryError:
        raise
    except Exception:
        # A damaged note of how the camera was held costs nothing but that.
        return None


def _damaged() -> Unreadable:
    return corrupt(
        "The picture is damaged or cut off. Open it in a picture program, save it again and "
        "upload that copy."
    )
