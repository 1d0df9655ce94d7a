"""Frozen values that the functions and the store exchange."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Any, Literal, NamedTuple
from uuid import UUID

TextSource = Literal["text", "ocr", "figure"]
DocumentState = Literal["queued", "indexing", "ready", "failed", "deleted"]
EndState = Literal["ready", "failed", "gone"]

# Of macOS, Windows, Office, LibreOffice and Hadoop.
_JUNK = re.compile(
    r"\.DS_Store|\._.+|__MACOSX|\.Spotlight-V100|\.Trashes|\.fseventsd|"
    r"(?i:thumbs\.db|ehthumbs(?:_vista)?\.db|desktop\.ini|\$RECYCLE\.BIN)|"
    r"~\$.+|\.~lock\..+#|.*_\$folder\$",
    re.DOTALL,
)


def composed(name: str) -> str:
    """
    Return a name in the form in which names are compared (NFC).

    Objects keep the names that they were uploaded with, and macOS writes those decomposed.
    """
    return unicodedata.normalize("NFC", name)


def storable(text: str) -> str:
    """Return *text* without NUL and lone surrogates, which PostgreSQL cannot store."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()


def plain_beginning(prefix: str) -> str:
    """Return the longest part of *prefix* that is the same in every Unicode form of a name."""
    both = zip(composed(prefix), unicodedata.normalize("NFD", prefix), strict=False)
    return "".join(sign for sign, _ in takewhile(lambda pair: pair[0] == pair[1], both))


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """
    One generation of an object in the bucket.

    *metageneration* is 0, *md5* and *crc32c* (base64) are empty if the source does not tell them
    (fake-gcs-server's events, composite objects).
    """

    bucket: str
    name: str
    generation: int
    metageneration: int = 0
    size: int = 0
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    updated: datetime | None = None
    md5: str = ""
    crc32c: str = ""

    def __post_init__(self) -> None:
        # An index holds it, whose entries are bounded; RFC 6838 allows 255 characters.
        object.__setattr__(self, "content_type", self.content_type[:255])

    @property
    def collection(self) -> str:
        """Return the metadata's "collection", else the first folder of the name, else "default"."""
        folder, slash, _ = self.name.partition("/")
        named = self.metadata.get("collection") or (folder if slash else "") or "default"
        return composed(named)[:256]

    @property
    def is_placeholder(self) -> bool:
        """Return whether it holds no document: a folder that a console made, or junk."""
        return self.name.endswith("/") or is_junk(self.name)


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """
    What happened to one generation of an object.

    Attributes:
        overwritten_by: The generation that a deleted one gave way to; None if the object was
            deleted, or the source does not tell (Eventarc).
    """

    kind: Literal["finalized", "deleted", "metadata_updated"]
    object: ObjectVersion
    overwritten_by: int | None = None


@dataclass(frozen=True, slots=True)
class EmbedJob:
    """Embed one batch of one build."""

    build_id: int
    batch_number: int


@dataclass(frozen=True, slots=True)
class FillJob:
    """Embed the chunks *first* to *last* of a build for a model that does not answer yet."""

    model_id: int
    build_id: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class DocumentEvent:
    """
    What happened to a document, without any of its text.

    Attributes:
        id: Stays the same when this event is published again.
        sequence: Higher for the later of two events of one document.
        generation: The generation that is ready, failed or gone.
        answering_generation: The generation that answered right after the event; None if none did.
        pages_without_text: How many.
        reason_code, reason: Of a failure; None otherwise.
    """

    id: UUID
    sequence: int
    time: datetime
    state: EndState
    document_id: UUID
    bucket: str
    name: str
    collection: str
    generation: int
    answering_generation: int | None
    content_type: str
    size: int
    chunks: int
    pages: int | None
    pages_without_text: int
    reason_code: str | None
    reason: str | None


def is_junk(name: str) -> bool:
    """Return whether a name is one that operating systems and office programs leave behind."""
    return any(_JUNK.fullmatch(part) for part in name.split("/"))


def join_embedded_text(*, heading: str, header: str, text: str) -> str:
    """
    Return what is embedded of a chunk: path, table header, text.

    Headings with which *text* begins are left out of the path. Repeated, they would make the
    beginnings of all documents with the same title alike.
    """
    return "\n".join(part for part in (path_above(heading, text=text), header, text) if part)


def path_above(heading: str, *, text: str) -> str:
    """Return the path *heading* up to where *text* itself goes on with it."""
    first_line = text.partition("\n")[0].strip("# ")
    names = heading.split(" > ")
    return " > ".join(names[: names.index(first_line)]) if first_line in names else heading


class PageStart(NamedTuple):
    """Where in a text a page begins."""

    position: int
    page: int


def pair_page_starts(numbers: Sequence[int] | None) -> tuple[PageStart, ...]:
    """Return what the store keeps as alternating positions and pages."""
    return tuple(map(PageStart, (numbers or [])[::2], (numbers or [])[1::2]))


def page_at(position: int, *, page: int | None, page_starts: Sequence[PageStart]) -> int | None:
    """Return the page of *position* in a text that begins on *page*."""
    for start in page_starts:
        if start.position > position:
            break
        page = start.page
    return page


@dataclass(frozen=True, slots=True)
class Chunk:
    """
    A passage of a document.

    Attributes:
        ordinal: Position among the document's chunks, from 0.
        text: Exactly the characters [char_start:char_end) of the extracted text.
        heading: Path of headings above it, "Title > Section > Subsection".
        header: The header rows of the table that *text* continues, else empty.
        page: Page, slide or sheet that it begins on, from 1; None if the format has none.
        tokens: Word pieces of the embedded text, special tokens included.
        source: "ocr" where the text was read from a picture of the page, "figure" where it
            describes a picture in the document.
        page_starts: Where in the extracted text further pages begin, between char_start and
            char_end.
        boxes: Where its words stand on their pages (shared/boxes.py); empty if that is unknown.
    """

    ordinal: int
    text: str
    heading: str
    header: str
    page: int | None
    char_start: int
    char_end: int
    tokens: int
    source: TextSource = "text"
    page_starts: tuple[PageStart, ...] = ()
    boxes: bytes = b""

    @property
    def embedded_text(self) -> str:
        """Return the text that is embedded."""
        return join_embedded_text(heading=self.heading, header=self.header, text=self.text)

    @property
    def content_hash(self) -> bytes:
        """Return the SHA-256 of the embedded text: equal texts share an embedding."""
        return hashlib.sha256(self.embedded_text.encode()).digest()


FilterField = Literal["collection", "name", "content_type", "language", "updated", "metadata"]
FilterOperator = Literal["any_of", "none_of", "prefix", "gt", "gte", "lt", "lte", "exists"]
FilterValue = bool | int | float | str | datetime


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    A condition on one field of a document.

    Attributes:
        key: The key of custom metadata; empty for other fields.
        values: Any number for any_of and none_of, else one; bool for exists. What metadata is
            compared as goes by their type: text, number, truth or time.
    """

    field: FilterField
    operator: FilterOperator
    values: tuple[FilterValue, ...]
    key: str = ""


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of *parts* must hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of *parts* must hold."""

    parts: tuple[Condition, ...]


Condition = Comparison | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Filter:
    """
    Which documents may answer: every field that is set must match.

    *updated_from* is inclusive, *updated_to* exclusive; both refer to the object's update time.
    """

    collection: str | None = None
    prefix: str | None = None
    content_type: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    updated_from: datetime | None = None
    updated_to: datetime | None = None
    where: Condition | None = None


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """
    The summands of a fused score.

    Attributes:
        vector: By meaning: the cosine beside the best of this search, times the vectors' weight.
        text: By words: the text score beside the best, times what the vectors leave.
        exact: For identifiers, quoted phrases and the name of the file.
        other_language: Zero or less: the document is not in the question's language.
        feedback: For likeness to the passage that is best without it.
        neighbour: For standing beside a passage that is better by all of these.
    """

    vector: float
    text: float
    exact: float
    other_language: float
    feedback: float
    neighbour: float = 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """
    A chunk that was found.

    Attributes:
        score: Fused score; higher is better, comparable within one search only.
        similarity: Cosine of question and chunk, -1 to 1.
        vector_rank: Rank in the vector leg from 1, None if that leg did not return it.
        text_rank: Rank in the text leg from 1, None if that leg did not return it.
        coverage: Share of the question's words, by their rarity, that the chunk and the headings
            above it hold; None if the question has no words that count.
        page_starts: Where in the extracted text further pages begin, between char_start and
            char_end.
        also_in: The URIs of other documents that hold the same text.
        parts: What the score is made of; None if it was not searched for by this release.
        language: ISO 639-1 code of its document's language, empty if unknown.
    """

    document_id: UUID
    bucket: str
    name: str
    collection: str
    generation: int
    build_id: int
    ordinal: int
    text: str
    heading: str
    header: str
    page: int | None
    char_start: int
    char_end: int
    source: TextSource
    score: float
    similarity: float
    vector_rank: int | None
    text_rank: int | None
    coverage: float | None = None
    page_starts: tuple[PageStart, ...] = ()
    also_in: tuple[str, ...] = ()
    parts: ScoreParts | None = None
    language: str = ""

    def page_at(self, position: int) -> int | None:
        """Return the page of *position* in the extracted text."""
        return page_at(position, page=self.page, page_starts=self.page_starts)

    @property
    def uri(self) -> str:
        """Return the object's gs:// URI."""
        return f"gs://{self.bucket}/{self.name}"


@dataclass(frozen=True, slots=True)
class DocumentStatus:
    """
    A document as its owner sees it.

    Attributes:
        generation: The newest generation known.
        answering_generation: The generation that answers now, None if none does.
        attempts: Tries used by the newest generation so far.
        notices: What was left out of it.
        figures: What the descriptions of its pictures took; None if they are left alone.
    """

    id: UUID
    bucket: str
    name: str
    collection: str
    title: str
    language: str
    generation: int
    answering_generation: int | None
    state: DocumentState
    reason_code: str | None
    reason: str | None
    pages: int | None
    pages_without_text: list[int]
    chunks: int
    chunks_embedded: int
    attempts: int
    size: int
    content_type: str
    metadata: dict[str, Any]
    updated: datetime
    notices: list[str]
    figures: dict[str, Any] | None
