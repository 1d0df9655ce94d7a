"""Documents that benchmarks and tests make in code, and what parses them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from functions.ingest.parsing.blocks import ParseLimits

LIMITS = ParseLimits(
    max_pages=10_000,
    max_decompressed_bytes=64 << 20,
    max_cells=200_000,
    max_chunks=20_000,
    max_text_chars=32 << 20,
    timeout_seconds=30,
    memory_bytes=1 << 30,
)


def small_tokenizer() -> Tokenizer:
    """Return a tokenizer of BERT's kind: known words are one piece, others one a letter."""
    words = ["the", "a", "of", "and", "to", "in", "is", "it", "for", "on", "with", "this", "or"]
    letters = [chr(code) for code in range(33, 127)] + list("äöüßéèáñ一二三日本語中文")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    tokenizer = Tokenizer(
        WordPiece({word: i for i, word in enumerate(dict.fromkeys(vocabulary))}, unk_token="[UNK]")
    )
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def make_pdf(
    pages: Sequence[str | bytes], *, title: str = "", kids: str | None = None, count: int = 0
) -> bytes:
    """
    Return a PDF of content streams, one a page, with the fonts F (Helvetica) and B (bold).

    Args:
        kids: The page tree's Kids array where it is not the pages themselves.
        count: The page tree's Count where it is not the number of pages.
    """
    objects: list[bytes] = [b"", b""]

    def add(data: bytes) -> int:
        objects.append(data)
        return len(objects)

    font = add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>")
    bold = add(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica-Bold/Encoding/WinAnsiEncoding>>")
    numbers = []
    for page in pages:
        stream = page.encode("cp1252") if isinstance(page, str) else page
        content = add(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
        numbers.append(
            add(
                b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents %d 0 R"
                b"/Resources<</Font<</F %d 0 R/B %d 0 R>>>>>>" % (content, font, bold)
            )
        )
    objects[0] = b"<</Type/Catalog/Pages 2 0 R>>"
    tree = kids if kids is not None else " ".join(f"{number} 0 R" for number in numbers)
    objects[1] = f"<</Type/Pages/Count {count or len(pages)}/Kids[{tree}]>>".encode()
    information = add(b"<</Title(%s)>>" % title.encode("cp1252")) if title else 0
    return assemble_pdf(objects, information=information)


def assemble_pdf(objects: Sequence[bytes], *, information: int = 0) -> bytes:
    """Return a PDF of *objects*, numbered from 1, the first of them the catalogue."""
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, data in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, data)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    info = b"/Info %d 0 R" % information if information else b""
    out += b"trailer<</Size %d/Root 1 0 R%s>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        info,
        start,
    )
    return bytes(out)


def pdf_text(
    lines: Iterable[tuple[float, float, str]], *, size: float = 10, font: str = "F"
) -> str:
    """Return a content stream that shows each (x, y, text)."""
    return "\n".join(
        f"BT /{font} {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET" for x, y, text in lines
    )


def pdf_lines(lines: Sequence[str], *, x: float = 50, top: float = 780, pitch: float = 12) -> str:
    """Return a content stream of *lines* below each other."""
    return pdf_text((x, top - i * pitch, line) for i, line in enumerate(lines))
