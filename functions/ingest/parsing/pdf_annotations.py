"""What stands on a PDF page beside its text: values of form fields, and notes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pypdfium2
import pypdfium2.raw as pdfium

from .blocks import clean, clean_line
from .pdf_characters import direct, turned_box

# Of one page, and of one text.
_MAX_ANNOTATIONS = 5_000
_MAX_CHARS = 20_000
_MAX_OPTIONS = 200

# Typed onto the page, and therefore read like its text.
_TYPED = (pdfium.FPDF_ANNOT_FREETEXT,)
# Said about the page.
_COMMENTS = (
    pdfium.FPDF_ANNOT_TEXT,
    pdfium.FPDF_ANNOT_HIGHLIGHT,
    pdfium.FPDF_ANNOT_UNDERLINE,
    pdfium.FPDF_ANNOT_SQUIGGLY,
    pdfium.FPDF_ANNOT_STRIKEOUT,
    pdfium.FPDF_ANNOT_CARET,
    pdfium.FPDF_ANNOT_SQUARE,
    pdfium.FPDF_ANNOT_CIRCLE,
    pdfium.FPDF_ANNOT_LINE,
    pdfium.FPDF_ANNOT_POLYGON,
    pdfium.FPDF_ANNOT_INK,
)
_UNSEEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_annotation_at = direct(pdfium.FPDFPage_GetAnnot)
_subtype = direct(pdfium.FPDFAnnot_GetSubtype)
_flags = direct(pdfium.FPDFAnnot_GetFlags)
_close_annotation = direct(pdfium.FPDFPage_CloseAnnot)


@dataclass(frozen=True, slots=True)
class Value:
    """
    What a form field shows; coordinates in points from the lower left corner.

    Attributes:
        is_box: It is a box or a button that is ticked or not.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    is_box: bool = False

    def turned(self, turn: int) -> Value:
        """Return it with its sides turned, see turned_box."""
        sides = turned_box(turn, self.left, self.bottom, self.right, self.top)
        return Value(self.text, *sides, self.is_box)


def read(
    page: pypdfium2.PdfPage, form: pypdfium2.PdfFormEnv | None
) -> tuple[list[Value], list[str], list[int]]:
    """Return the values of the fields of *page*, its notes, and which annotations hold files."""
    values: list[Value] = []
    notes: list[str] = []
    files: list[int] = []
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MAX_ANNOTATIONS)):
        annotation = _annotation_at(page.raw, index)
        if not annotation:
            continue
        try:
            kind = _subtype(annotation)
            if kind == pdfium.FPDF_ANNOT_LINK or _flags(annotation) & _UNSEEN:
                continue
            if kind == pdfium.FPDF_ANNOT_WIDGET:
                if form is not None and (value := _value(annotation, form)) is not None:
                    values.append(value)
            elif kind == pdfium.FPDF_ANNOT_FILEATTACHMENT:
                files.append(index)
                if note := clean(_string(annotation, b"Contents")).strip()[:_MAX_CHARS]:
                    notes.append(f"Comment: {note}")
            elif note := _note(annotation, kind):
                notes.append(note)
        finally:
            _close_annotation(annotation)
    return values, notes, files


def attachment(
    page: pypdfium2.PdfPage, index: int, document: pypdfium2.PdfDocument
) -> Iterator[pypdfium2.PdfAttachment]:
    """Yield the file that an annotation of *page* holds, if it holds one."""
    annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
    if not annotation:
        return
    try:
        if held := pdfium.FPDFAnnot_GetFileAttachment(annotation):
            yield pypdfium2.PdfAttachment(held, document)
    finally:
        pdfium.FPDFPage_CloseAnnot(annotation)


def _note(annotation: pdfium.FPDF_ANNOTATION, kind: int) -> str:
    if kind not in (*_TYPED, *_COMMENTS, pdfium.FPDF_ANNOT_STAMP):
        return ""
    text = clean(_string(annotation, b"Contents")).strip()[:_MAX_CHARS]
    if kind == pdfium.FPDF_ANNOT_STAMP:
        text = text or clean_line(_string(annotation, b"Name"))
        return f"Stamp: {text}" if text else ""
    return f"Comment: {text}" if text and kind in _COMMENTS else text


def _value(annotation: pdfium.FPDF_ANNOTATION, form: pypdfium2.PdfFormEnv) -> Value | None:
    kind = pdfium.FPDFAnnot_GetFormFieldType(form.raw, annotation)
    is_box = kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)
    if is_box:
        text = "[x]" if pdfium.FPDFAnnot_IsChecked(form.raw, annotation) else "[ ]"
    elif kind in (pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX):
        chosen = _chosen(annotation, form)
        is_one = len(chosen) == 1 or kind == pdfium.FPDF_FORMFIELD_LISTBOX
        text = (", ".join(chosen) if is_one else "") or _field_value(annotation, form)
    elif kind == pdfium.FPDF_FORMFIELD_TEXTFIELD:
        text = _field_value(annotation, form)
    else:
        return None
    text = clean_line(text[:_MAX_CHARS])
    box = pdfium.FS_RECTF()
    if not text or not pdfium.FPDFAnnot_GetRect(annotation, ctypes.byref(box)):
        return None
    left, right = sorted((box.left, box.right))
    bottom, top = sorted((box.bottom, box.top))
    return Value(text, left, bottom, right, top, is_box)


def _chosen(annotation: pdfium.FPDF_ANNOTATION, form: pypdfium2.PdfFormEnv) -> list[str]:
    """Return the labels of the options that are chosen."""
    count = min(pdfium.FPDFAnnot_GetOptionCount(form.raw, annotation), _MAX_OPTIONS)
    return [
        _text(partial(pdfium.FPDFAnnot_GetOptionLabel, form.raw, annotation, i))
        for i in range(count)
        if pdfium.FPDFAnnot_IsOptionSelected(form.raw, annotation, i)
    ]


def _field_value(annotation: pdfium.FPDF_ANNOTATION, form: pypdfium2.PdfFormEnv) -> str:
    return _text(
        lambda buffer, size: pdfium.FPDFAnnot_GetFormFieldValue(form.raw, annotation, buffer, size)
    )


def _string(annotation: pdfium.FPDF_ANNOTATION, key: bytes) -> str:
    return _text(
        lambda buffer, size: pdfium.FPDFAnnot_GetStringValue(annotation, key, buffer, size)
    )


def _text(call: Callable[..., int]) -> str:
    """Return the UTF-16 text that *call*(buffer, size) writes; it returns how many bytes it has."""
    size = min(call(None, 0), 2 * _MAX_CHARS)
    if size <= 2:
        return ""
    buffer = (ctypes.c_ushort * (size // 2))()
    call(buffer, size)
    return bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")
