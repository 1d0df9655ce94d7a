"""Where the characters of a PDF page stand, measured many at a time."""

from __future__ import annotations

import ctypes
import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

_BATCH = 2048
_BOXES = (pdfium.FS_RECTF * _BATCH)()
_PLACES = [ctypes.byref(box) for box in _BOXES]
_BYTES_PER_BOX = ctypes.sizeof(pdfium.FS_RECTF)
_NAME_BYTES = 128


def direct(function: Any) -> Callable[..., Any]:
    """
    Return a function of PDFium that is called without a check of its arguments.

    A call takes a third of the time: ctypes neither looks at each argument nor gives up the
    interpreter's lock. An int is passed as C's int; everything else must be of ctypes.
    """
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    call: Any = ctypes.PYFUNCTYPE(function.restype)(address)
    call.argtypes = None
    return call  # type: ignore[no-any-return]  # ctypes has no types for functions


_loose_box = direct(pdfium.FPDFText_GetLooseCharBox)
_index = direct(pdfium.FPDFText_GetCharIndexFromTextIndex)
_font_info = direct(pdfium.FPDFText_GetFontInfo)


def turned_box(
    turn: int, left: float, bottom: float, right: float, top: float
) -> tuple[float, float, float, float]:
    """
    Return (left, bottom, right, top) as they are once the page is turned.

    Args:
        turn: By how many quarters PDFium says that text is turned, 0 to 4; it is turned back.
    """
    match turn % 4:
        case 1:
            return -top, left, -bottom, right
        case 2:
            return -right, -top, -left, -bottom
        case 3:
            return bottom, -right, top, -left
    return left, bottom, right, top


class Sides(NamedTuple):
    """Of each character that was measured, in points from the lower left corner."""

    left: list[float]
    bottom: list[float]
    right: list[float]
    top: list[float]


class Characters:
    """
    The characters of a page by their position in its text.

    Args:
        is_exact: The text has one character for each of the page's.
        turn: See turned_box.
    """

    def __init__(self, textpage: Any, *, is_exact: bool, turn: int) -> None:
        self._textpage = textpage
        self._is_exact = is_exact
        self._turn = turn
        self._name = ctypes.create_string_buffer(_NAME_BYTES)
        self._font_arguments = (
            self._name,
            ctypes.c_ulong(_NAME_BYTES),
            ctypes.byref(ctypes.c_int()),
        )

    def index(self, position: int) -> int:
        """Return the number of a character, as PDFium counts them."""
        return position if self._is_exact else int(_index(self._textpage, position))

    def font(self, position: int) -> bytes:
        """Return the name of the font of a character."""
        length = _font_info(self._textpage, self.index(position), *self._font_arguments)
        return self._name.value if length <= _NAME_BYTES else b""

    def size(self, position: int) -> float:
        """Return the size of the type of a character, in points."""
        index, matrix = self.index(position), pdfium.FS_MATRIX()
        pdfium.FPDFText_GetMatrix(self._textpage, index, ctypes.byref(matrix))
        scale = math.hypot(matrix.c, matrix.d)
        return float(pdfium.FPDFText_GetFontSize(self._textpage, index)) * scale

    def sides(self, positions: Sequence[int]) -> Sides:
        """Return the sides of characters as they are once the page is turned."""
        left: list[float] = []
        bottom: list[float] = []
        right: list[float] = []
        top: list[float] = []
        indexes = positions if self._is_exact else [self.index(at) for at in positions]
        for start in range(0, len(indexes), _BATCH):
            some = indexes[start : start + _BATCH]
            size = len(some) * _BYTES_PER_BOX
            ctypes.memset(_BOXES, 0, size)
            deque(map(_loose_box, repeat(self._textpage), some, _PLACES), maxlen=0)
            sides = memoryview(_BOXES).cast("B")[:size].cast("f")
            left += sides[0::4].tolist()
            top += sides[1::4].tolist()
            right += sides[2::4].tolist()
            bottom += sides[3::4].tolist()
        if self._turn and left:
            turned = map(turned_box, repeat(self._turn), left, bottom, right, top)
            return Sides(*map(list, zip(*turned, strict=True)))
        return Sides(left, bottom, right, top)
