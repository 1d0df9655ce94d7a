"""The requests and answers of the HTTP interface: what /openapi.json says is made from these."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self, get_args
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from shared.store import CollectionSummary, Facet, Rating, Selection
from shared.store.tables import SourceRow, StoredTable
from shared.tables import Column, ColumnType
from shared.values import (
    AllOf,
    AnyOf,
    Comparison,
    Condition,
    DocumentStatus,
    Filter,
    FilterField,
    FilterOperator,
    Hit,
)

from ..answering.citations import Citation
from ..answering.journal import Journal
from ..answering.request_body import RequestBody
from ..answering.table_plan import PlanIn

MAX_QUESTION_CHARACTERS = 4_000
MAX_TURNS = 40

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# RFC 3339, section 5.6; pydantic alone would take numbers and dates too.
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def compose(text: str) -> str:
    """Postgres stores no NUL, and documents were composed (NFC) when they were indexed."""
    return unicodedata.normalize("NFC", _CONTROLS.sub(" ", text)).strip()


def _refuse_text_and_truth(value: object) -> object:
    if isinstance(value, str | bool):
        raise ValueError("give a whole number")
    return value


def _only_date_time(value: object) -> object:
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError("give a date and time with its offset, as in 2026-01-31T12:00:00Z")
    return value


# At least one character that is neither white space nor a control.
TEXT_PATTERN = r"[^\s\x00-\x1f\x7f-\x9f]"

Text = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_QUESTION_CHARACTERS, pattern=TEXT_PATTERN),
    AfterValidator(compose),
]
Name = Annotated[str, StringConstraints(max_length=1_024, pattern=r"^[^\x00]*$")]
# Empty asks for none, as an empty prefix does.
NameOrNone = Annotated[Name | None, AfterValidator(lambda name: name or None)]
# The bounds stand before the validator: after it they would be missing in the schema.
UpToHundred = Annotated[int, Field(ge=1, le=100), BeforeValidator(_refuse_text_and_truth)]
Bytes = Annotated[int, Field(ge=0), BeforeValidator(_refuse_text_and_truth)]
DateTime = Annotated[
    AwareDatetime,
    BeforeValidator(_only_date_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
METADATA_KEY_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid")


MAX_FILTER_DEPTH = 5
MAX_FILTER_CONDITIONS = 64
MAX_FILTER_VALUES = 500
_MAX_NUMBER = 10**30
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _refuse_text_and_truth_of_numbers(value: object) -> object:
    if isinstance(value, str | bool) or not isinstance(value, int | float):
        raise ValueError("give a number")
    return value


def _refuse_what_is_no_truth(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError("give true or false")
    return value


def _as_time(value: object) -> object:
    """A date is its midnight in UTC."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        return f"{value}T00:00:00Z"
    if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
        raise ValueError(
            "give a date, as in 2026-01-31, or a date and time with its offset, as in"
            " 2026-01-31T12:00:00Z"
        )
    return value


Number = Annotated[
    Annotated[int, Field(ge=-_MAX_NUMBER, le=_MAX_NUMBER)]
    | Annotated[float, Field(ge=-_MAX_NUMBER, le=_MAX_NUMBER, allow_inf_nan=False)],
    BeforeValidator(_refuse_text_and_truth_of_numbers),
    WithJsonSchema({"type": "number", "minimum": -_MAX_NUMBER, "maximum": _MAX_NUMBER}),
]
Truth = Annotated[
    bool, BeforeValidator(_refuse_what_is_no_truth), WithJsonSchema({"type": "boolean"})
]
Time = Annotated[
    AwareDatetime,
    BeforeValidator(_as_time),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "string", "format": "date"},
            ]
        }
    ),
]


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "truth"
    return "number" if isinstance(value, int | float) else "text"


_Scalar = Annotated[
    Annotated[Name, Tag("text")]
    | Annotated[Number, Tag("number")]
    | Annotated[Truth, Tag("truth")],
    Discriminator(_kind),
]
_Bound = Annotated[
    Annotated[Number, Tag("number")] | Annotated[Time, Tag("text")],
    Discriminator(lambda value: "number" if _kind(value) == "number" else "text"),
]
_MAX_ANY = 100


class _Operators(RequestBody):
    """What a field is compared with, by operator; a value alone stands for any_of with it."""

    _plain: ClassVar[dict[str, Any]] = {
        "type": "string",
        "maxLength": 1_024,
        "pattern": r"^[^\x00]*$",
    }

    @model_validator(mode="before")
    @classmethod
    def _from_value(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"any_of": [value]}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        operators = handler.resolve_ref_schema(schema)
        described: dict[str, Any] = {
            key: operators.pop(key) for key in ("title", "description") if key in operators
        }
        if cls._plain:
            alone = dict(operators)
            operators.clear()
            operators["anyOf"] = [cls._plain, alone]
        operators.update(described)
        return schema

    def comparisons(self, field: FilterField, key: str = "") -> list[Comparison]:
        """Return what is asked of *field*."""
        return [
            Comparison(
                field, operator, tuple(value) if isinstance(value, list) else (value,), key=key
            )
            for operator in get_args(FilterOperator)
            if (value := getattr(self, operator, None)) is not None
        ]


class TextCondition(_Operators):
    """A text to equal, or operators; each that is given must hold."""

    any_of: Annotated[list[Name], Field(max_length=_MAX_ANY)] | None = Field(
        default=None, description="One of these."
    )
    none_of: Annotated[list[Name], Field(max_length=_MAX_ANY)] | None = Field(
        default=None, description="None of these."
    )
    prefix: Name | None = Field(default=None, description="What the text begins with.")
    exists: Truth | None = Field(default=None, description="Whether there is a value.")

    @model_validator(mode="before")
    @classmethod
    def _empty_asks_nothing(cls, value: Any) -> Any:
        return {} if value == "" else value


class TimeCondition(_Operators):
    """Bounds of a time: a date and time with its offset, or a date for its midnight in UTC."""

    _plain: ClassVar[dict[str, Any]] = {}

    gt: Time | None = Field(default=None, description="After.")
    gte: Time | None = Field(default=None, description="At, or after.")
    lt: Time | None = Field(default=None, description="Before.")
    lte: Time | None = Field(default=None, description="At, or before.")
    exists: Truth | None = Field(default=None, description="Whether there is a value.")


class MetadataCondition(_Operators):
    """
    A value to equal, or operators; each that is given must hold.

    Metadata is text: it is compared as what the value is, a text, a number, true or false, or in
    bounds a number or a time. Metadata that says none of that kind is not equal and in no bounds.
    """

    _plain: ClassVar[dict[str, Any]] = {
        "anyOf": [
            {"type": "string", "maxLength": 1_024, "pattern": r"^[^\x00]*$"},
            {"type": "number", "minimum": -_MAX_NUMBER, "maximum": _MAX_NUMBER},
            {"type": "boolean"},
        ]
    }

    any_of: Annotated[list[_Scalar], Field(max_length=_MAX_ANY)] | None = Field(
        default=None, description="One of these."
    )
    none_of: Annotated[list[_Scalar], Field(max_length=_MAX_ANY)] | None = Field(
        default=None, description="None of these; also true if the key is missing."
    )
    prefix: Name | None = Field(default=None, description="What the text begins with.")
    gt: _Bound | None = Field(default=None, description="Greater, or after.")
    gte: _Bound | None = Field(default=None, description="At least, or at this time or after.")
    lt: _Bound | None = Field(default=None, description="Less, or before.")
    lte: _Bound | None = Field(default=None, description="At most, or at this time or before.")
    exists: Truth | None = Field(default=None, description="Whether the key exists.")


MetadataFilter = Annotated[
    dict[Annotated[str, StringConstraints(pattern=METADATA_KEY_PATTERN)], MetadataCondition],
    # pydantic's own schema would let every other key pass.
    Field(max_length=16, json_schema_extra={"additionalProperties": False}),
]


class FilterIn(RequestBody):
    """
    Which documents may answer; every condition given must hold.

    Nested five deep at most, with 64 conditions and 500 values in all.
    """

    collection: TextCondition = Field(
        default_factory=TextCondition,
        description="The top folder of the object, or what its metadata says.",
    )
    prefix: Name | None = Field(default=None, description="What the object's name begins with.")
    name: TextCondition = Field(
        default_factory=TextCondition, description="The object's name, with its folders."
    )
    content_type: TextCondition = Field(default_factory=TextCondition)
    language: TextCondition = Field(
        default_factory=TextCondition, description="By ISO 639-1, as it was detected."
    )
    updated: TimeCondition = Field(
        default_factory=TimeCondition, description="When the object was last written."
    )
    metadata: MetadataFilter = Field(
        default_factory=dict, description="Custom metadata of the object, by key."
    )
    updated_from: DateTime | None = Field(default=None, description="The same as updated.gte.")
    updated_to: DateTime | None = Field(default=None, description="The same as updated.lt.")
    and_: Annotated[list[FilterIn], Field(max_length=MAX_FILTER_CONDITIONS)] = Field(
        default_factory=list, alias="and", description="Filters that must all hold."
    )
    or_: Annotated[list[FilterIn], Field(max_length=MAX_FILTER_CONDITIONS)] = Field(
        default_factory=list, alias="or", description="Filters of which one must hold."
    )

    def to_filter(self) -> Filter:
        """Return it as the search takes it."""
        parts = self._parts()
        return Filter(where=AllOf(tuple(parts)) if parts else None)

    def _parts(self) -> list[Condition]:
        parts: list[Condition] = [
            *self.collection.comparisons("collection"),
            *self.name.comparisons("name"),
            *self.content_type.comparisons("content_type"),
            *self.language.comparisons("language"),
            *self.updated.comparisons("updated"),
        ]
        if self.prefix:
            parts.append(Comparison("name", "prefix", (self.prefix,)))
        for key in sorted(self.metadata):
            parts += self.metadata[key].comparisons("metadata", key)
        if self.updated_from is not None:
            parts.append(Comparison("updated", "gte", (self.updated_from,)))
        if self.updated_to is not None:
            parts.append(Comparison("updated", "lt", (self.updated_to,)))
        for each in self.and_:
            parts += each._parts()
        if self.or_:
            parts.append(AnyOf(tuple(AllOf(tuple(each._parts())) for each in self.or_)))
        return parts


def _check_depth(value: object) -> object:
    """Look before anything else does: what reads a filter goes as deep as it is."""
    level = [value]
    for _ in range(MAX_FILTER_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict)
            for name in ("and", "or")
            if isinstance(outer.get(name), list)
            for inner in outer[name][: MAX_FILTER_CONDITIONS + 1]
        ]
        if len(level) > MAX_FILTER_CONDITIONS:
            raise ValueError(f"has more than {MAX_FILTER_CONDITIONS} conditions")
    if level:
        raise ValueError(f"is nested more than {MAX_FILTER_DEPTH} deep")
    return value


def _check_size(value: FilterIn) -> FilterIn:
    where = value.to_filter().where
    comparisons: list[Comparison] = []
    left: list[Condition] = [] if where is None else [where]
    while left:
        condition = left.pop()
        if isinstance(condition, Comparison):
            comparisons.append(condition)
        else:
            left += condition.parts
    if len(comparisons) > MAX_FILTER_CONDITIONS:
        raise ValueError(f"has more than {MAX_FILTER_CONDITIONS} conditions")
    if sum(len(each.values) for each in comparisons) > MAX_FILTER_VALUES:
        raise ValueError(f"has more than {MAX_FILTER_VALUES} values")
    return value


WholeFilter = Annotated[FilterIn, AfterValidator(_check_size), BeforeValidator(_check_depth)]


ANSWER_ID_PATTERN = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"


class FeedbackRequest(RequestBody):
    """Whether an answer was of use."""

    answer_id: Annotated[
        str,
        StringConstraints(max_length=4_000, pattern=ANSWER_ID_PATTERN),
        Field(description="The answer_id of the answer."),
    ]
    rating: Rating
    comment: Annotated[str, StringConstraints(max_length=1_000), AfterValidator(compose)] | None = (
        None
    )


class FeedbackResponse(BaseModel):
    """What was recorded."""

    rating: Rating
    replaced: bool = Field(description="True: the answer had been rated before.")


class Turn(RequestBody):
    """One turn of the conversation so far, oldest first."""

    role: Literal["user", "assistant"]
    content: Annotated[str, StringConstraints(max_length=16_000), AfterValidator(compose)]


class RetrieveRequest(RequestBody):
    """A question to find passages for."""

    question: Text
    limit: UpToHundred = Field(default=8, description="The most passages to return.")
    filter: WholeFilter = Field(default_factory=FilterIn)
    history: list[Turn] = Field(
        default_factory=list,
        max_length=MAX_TURNS,
        description="Earlier turns; a follow-up question is rewritten with them to stand alone.",
    )
    per_document: UpToHundred | None = Field(
        default=None, description="The most passages of one document."
    )
    mode: Literal["fused", "vector", "text"] = Field(
        default="fused", description="Which legs of the search answer; for evaluation."
    )
    effort: Literal["low", "medium"] = Field(
        default="low",
        description=(
            "medium, where Gemini is configured, searches up to three times for what is missing."
        ),
    )
    trace: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Say what each step did."
    )


class QueryRequest(RetrieveRequest):
    """A question to answer."""


class PassageOut(BaseModel):
    """
    A passage that was found.

    text is the characters char_start to char_end of the document's extracted text.
    """

    number: int
    document_id: UUID
    name: str
    uri: str
    collection: str
    generation: int
    page: int | None
    heading: str
    header: str
    text: str
    char_start: int
    char_end: int
    source: Literal["text", "ocr", "figure"] = Field(
        description="ocr: read from a picture of the page. figure: a description of one by Gemini."
    )
    score: float
    similarity: float
    vector_rank: int | None
    text_rank: int | None
    also_in: list[str] = Field([], description="Other documents that hold the same text.")

    @classmethod
    def of(cls, hit: Hit, *, number: int) -> PassageOut:
        """Return *hit* as the passage called *number*."""
        # By name: asdict() would copy each hit deeply, a tenth of a question's work here.
        return cls(
            number=number,
            document_id=hit.document_id,
            name=hit.name,
            uri=hit.uri,
            collection=hit.collection,
            generation=hit.generation,
            page=hit.page,
            heading=hit.heading,
            header=hit.header,
            text=hit.text,
            char_start=hit.char_start,
            char_end=hit.char_end,
            source=hit.source,
            score=hit.score,
            similarity=hit.similarity,
            vector_rank=hit.vector_rank,
            text_rank=hit.text_rank,
            also_in=list(hit.also_in),
        )


class CitationOut(BaseModel):
    """
    A quote that an answer rests on.

    verified says that the quote stands in the passage, at char_start to char_end of the
    document's extracted text; both are null if it does not. description says that it stands in
    the description of a picture, which Gemini made: it is never verified.
    """

    number: int = Field(description="The passage, as in the answer's mark [number].")
    quote: str
    verified: bool
    document_id: UUID
    name: str
    uri: str
    page: int | None = Field(
        description="The page where the quote begins; the passage's where it is not verified."
    )
    heading: str
    char_start: int | None
    char_end: int | None
    description: bool = False

    @classmethod
    def of(cls, citation: Citation, *, passage: Hit) -> CitationOut:
        """Return *citation* of *passage*."""
        page = passage.page
        if citation.char_start is not None:
            page = passage.page_at(citation.char_start)
        return cls.model_validate(
            asdict(passage) | asdict(citation) | {"uri": passage.uri, "page": page}
        )


class UsageOut(BaseModel):
    """Tokens that this request used at Gemini."""

    model_config = ConfigDict(from_attributes=True)

    prompt_tokens: int = 0
    answer_tokens: int = 0
    thinking_tokens: int = 0
    total_tokens: int = 0
    calls: int = 0


class RetrieveTimings(BaseModel):
    """Milliseconds of each stage; a stage that did not run is left out, or 0."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    embed_ms: float = 0
    retrieve_ms: float = 0
    total_ms: float

    @classmethod
    def of(cls, journal: Journal) -> Self:
        """Return what *journal* says."""
        stages = {f"{stage}_ms": time for stage, time in journal.timings.items()}
        return cls.model_validate(stages | {"total_ms": journal.total_ms})


class Timings(RetrieveTimings):
    """Milliseconds of each stage; a stage that did not run is left out, or 0."""

    generate_ms: float = 0


class Degraded(BaseModel):
    """
    What the answer had to do without.

    not_embedded: passages were found by their words alone, because the embedding model did not
    answer. not_reranked: passages are in the order of the search, without that of the reranker.
    All other codes: the answer is extractive although Gemini is configured.
    """

    code: str
    message: str


class RetrieveResponse(BaseModel):
    """The passages found, best first."""

    passages: list[PassageOut]
    timings: RetrieveTimings
    degraded: Degraded | None = None
    trace: dict[str, Any] | None = None


class DoneEvent(BaseModel):
    """The last event of a stream: the whole answer, without passages and citations."""

    question: str = Field(description="The question as it was understood.")
    answer: str = Field(description="Markdown: paragraphs, lists, tables, code, emphasis.")
    grounded: bool = Field(
        description="True: a verified quote carries it, or the description of a picture. False: the"
        " documents do not answer."
    )
    model: str = Field(description="The Gemini model, or extractive.")
    answer_id: str = Field(description="Identifies this answer to POST /feedback.")
    usage: UsageOut
    timings: Timings
    cached: bool = False
    degraded: Degraded | None = None
    trace: dict[str, Any] | None = None


class QueryResponse(DoneEvent):
    """An answer and what it rests on."""

    citations: list[CitationOut]
    passages: list[PassageOut]


class StepEvent(BaseModel):
    """A search that was made, where there were several."""

    question: str = Field(description="What was searched for.")
    found: int = Field(description="How many passages were found.")
    new: int = Field(description="How many of them no earlier search found.")


class PassagesEvent(BaseModel):
    """What was found; before the first token."""

    passages: list[PassageOut]


class TokenEvent(BaseModel):
    """A piece of the answer; joined they are the answer."""

    text: str


class CitationsEvent(BaseModel):
    """What the answer rests on."""

    citations: list[CitationOut]


class ReasonOut(BaseModel):
    """Why a document is not indexed."""

    code: str
    message: str


class FiguresOut(BaseModel):
    """What Gemini's descriptions of a document's pictures took; kept ones take nothing."""

    described: int
    asked: int = Field(description="Pictures that Gemini was asked about.")
    bytes: int = Field(description="What was sent of them.")
    prompt_tokens: int
    answer_tokens: int
    seconds: float


class DocumentOut(BaseModel):
    """A document and how far its indexing is."""

    id: UUID
    name: str
    uri: str
    collection: str
    title: str
    language: str
    generation: int
    answering_generation: int | None = Field(
        description="The generation that answers now; null if none does."
    )
    state: Literal["queued", "indexing", "ready", "failed", "deleted"]
    reason: ReasonOut | None
    pages: int | None
    pages_without_text: list[int]
    chunks: int
    chunks_embedded: int
    attempts: int
    size: int
    content_type: str
    metadata: dict[str, Any]
    updated: datetime
    notices: list[str] = Field(description="What was left out of it, and what to do.")
    figures: FiguresOut | None = Field(
        description="What the descriptions of its pictures took; null where they are left alone."
    )

    @classmethod
    def of(cls, document: DocumentStatus) -> DocumentOut:
        """Return *document* as its owner sees it."""
        reason = None
        if document.reason_code is not None:
            reason = ReasonOut(code=document.reason_code, message=document.reason or "")
        return cls.model_validate(
            asdict(document) | {"uri": f"gs://{document.bucket}/{document.name}", "reason": reason}
        )


MAX_ALTERNATIVES = 20
State = Literal["queued", "indexing", "ready", "failed", "deleted"]
METADATA_PAIR_PATTERN = r"^[A-Za-z0-9_.-]{1,64}:[^\x00]*$"
_MetadataPair = Annotated[str, StringConstraints(max_length=1_100, pattern=METADATA_PAIR_PATTERN)]


class SelectionQuery(_Parameters):
    """Which documents; each condition given must hold, and of a repeated one any value."""

    state: list[State] = Field(
        default_factory=list,
        max_length=MAX_ALTERNATIVES,
        description="Repeat it for several; without it, all but deleted documents.",
    )
    prefix: Name | None = Field(default=None, description="What the name begins with.")
    search: Name | None = Field(
        default=None,
        description="Only names that contain all of these words, in upper or lower case.",
    )
    collection: list[Name] = Field(
        default_factory=list, max_length=MAX_ALTERNATIVES, description="Repeat it for several."
    )
    content_type: list[Name] = Field(
        default_factory=list,
        max_length=MAX_ALTERNATIVES,
        description="Repeat it for several; image/* matches every type that begins with image/.",
    )
    metadata: list[_MetadataPair] = Field(
        default_factory=list,
        max_length=16,
        description="KEY:VALUE of the object's custom metadata; each must be equal.",
    )

    def selection(self) -> Selection:
        """Return it as the store takes it."""
        return Selection(
            states=self.state,
            prefix=self.prefix or "",
            search=self.search or "",
            collections=[name for name in self.collection if name],
            content_types=[name for name in self.content_type if name],
            metadata={key: value for key, _, value in (p.partition(":") for p in self.metadata)},
        )


class DocumentsQuery(SelectionQuery):
    """Which documents to list, and in which order."""

    sort: Literal["name", "updated", "size", "state"] = Field(
        default="name", description="state: failed, indexing, queued, ready; then by name."
    )
    order: Literal["asc", "desc"] | None = Field(
        default=None, description="Without it desc for updated and size: the newest, the largest."
    )
    cursor: Annotated[str, StringConstraints(max_length=8_192, pattern=r"^[^\x00]*$")] | None = (
        Field(default=None, description="next of the previous page; empty for the first page.")
    )
    limit: int = Field(default=50, ge=1, le=500)

    @property
    def descending(self) -> bool:
        """Return whether the greatest come first."""
        if self.order is None:
            return self.sort in ("updated", "size")
        return self.order == "desc"


class DocumentsResponse(BaseModel):
    """A page of documents."""

    documents: list[DocumentOut]
    next: str | None = Field(description="The cursor of the next page; null on the last.")
    total: int = Field(
        description="How many documents there are on all pages, as of the first page."
    )
    total_is_exact: bool = Field(description="false: there are more than total.")


class CollectionOut(BaseModel):
    """A collection that has documents that you may read."""

    name: str
    documents: int
    states: dict[State, int] = Field(
        description="Documents by state; states without documents are left out."
    )
    size: int = Field(description="Bytes of all its documents.")
    updated: datetime = Field(description="When one of its documents last changed.")

    @classmethod
    def of(cls, summary: CollectionSummary) -> CollectionOut:
        """Return *summary* with its total."""
        return cls.model_validate(
            asdict(summary) | {"documents": sum(summary.states.values())},
        )


class CollectionsResponse(BaseModel):
    """The collections, by name."""

    collections: list[CollectionOut]


class FacetsQuery(SelectionQuery):
    """Of which documents, and how much of it."""

    values: int = Field(default=20, ge=1, le=200, description="Values of a field at most.")


class FacetValue(BaseModel):
    """A value, and how many documents have it."""

    value: str
    documents: int


class FacetOut(BaseModel):
    """The values of one field, the most common first."""

    documents: int = Field(description="How many documents have a value.")
    distinct: int = Field(description="How many values there are, listed or not.")
    values: list[FacetValue]

    @classmethod
    def of(cls, facet: Facet | None) -> FacetOut:
        """Return *facet*; None if no document has a value."""
        if facet is None:
            return cls(documents=0, distinct=0, values=[])
        return cls(
            documents=facet.documents,
            distinct=facet.distinct,
            values=[FacetValue(value=value, documents=number) for value, number in facet.values],
        )


class MetadataFacetOut(FacetOut):
    """The values of one key of custom metadata, the most common first."""

    key: str

    @classmethod
    def of(cls, facet: Facet | None) -> MetadataFacetOut:
        """Return *facet* with its key."""
        key = "" if facet is None else facet.key
        return cls(key=key, **FacetOut.of(facet).model_dump())


class FacetsResponse(BaseModel):
    """What the documents have in their fields: what filters can ask for."""

    documents: int = Field(description="How many documents were counted.")
    is_complete: bool = Field(description="false: there are more, which were not counted.")
    collection: FacetOut
    content_type: FacetOut
    language: FacetOut
    state: FacetOut
    metadata: list[MetadataFacetOut] = Field(description="By key, the most common first.")


class SuggestionsResponse(BaseModel):
    """What a reader could ask about; empty if SUGGESTIONS_ENABLED is false."""

    headings: list[str]


class DocumentPath(BaseModel):
    """The document's id."""

    document_id: UUID


class ProblemPath(BaseModel):
    """The problem's code."""

    code: str


class OriginalPath(BaseModel):
    """The end of a link."""

    token: Annotated[str, StringConstraints(max_length=16_384, pattern=r"^[A-Za-z0-9_.-]+$")]


class OriginalResponse(BaseModel):
    """Where the file is fetched from; url begins with the path of this service."""

    url: str
    expires: datetime
    name: str
    generation: int
    content_type: str
    size: int
    pages: int | None


class MarksQuery(_Parameters):
    """Which characters of the extracted text, and of which generation."""

    generation: int = Field(ge=0, le=2**63 - 1)
    char_start: int = Field(ge=0, le=2**31 - 1)
    char_end: int = Field(ge=0, le=2**31 - 1)


class MarkOut(BaseModel):
    """A rectangle from the lower left corner: points of a PDF's user space, pixels of a picture."""

    model_config = ConfigDict(from_attributes=True)

    page: int
    left: float
    bottom: float
    right: float
    top: float


class MarksResponse(BaseModel):
    """A rectangle a line; none if it is not known where the text stands."""

    marks: list[MarkOut]


class TextQuery(_Parameters):
    """Which part of the extracted text to return."""

    char_start: int = Field(default=0, ge=0, le=2**31 - 1)
    char_end: int | None = Field(default=None, ge=0, le=2**31 - 1)
    context: int = Field(
        default=0, ge=0, le=20_000, description="How many characters around it to return as well."
    )


class TextResponse(BaseModel):
    """
    A part of the extracted text of the generation that answers.

    text is the characters char_start to char_end; the part asked for is highlight_start to
    highlight_end, in the same count.
    """

    document_id: UUID
    name: str
    generation: int
    char_start: int
    char_end: int
    highlight_start: int
    highlight_end: int
    text: str


# https://cloud.google.com/storage/docs/objects#naming: no line break, and neither "." nor "..".
OBJECT_NAME_PATTERN = r"^[^\x00-\x1f\x7f]*[^.\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
MAX_OBJECT_NAME_BYTES = 1_024
# It travels in a header, whose text is ASCII (RFC 9110, section 5.5).
CONTENT_TYPE_PATTERN = r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+( *;[\x20-\x7e]*)?$"


class UploadRequest(RequestBody):
    """A file to put into the bucket."""

    name: Annotated[str, StringConstraints(max_length=900, pattern=OBJECT_NAME_PATTERN)] = Field(
        description="The object's name, at most 1,024 bytes; its folders are the prefix."
    )
    content_type: Annotated[
        str, StringConstraints(max_length=255, pattern=CONTENT_TYPE_PATTERN)
    ] = "application/octet-stream"
    size: Bytes = Field(description="Bytes that will be sent.")


class UploadResponse(BaseModel):
    """Where to send the bytes, in one PUT or in the steps of a resumable upload."""

    upload_url: str
    method: Literal["PUT"]
    headers: dict[str, str]
    name: str
    uri: str


class AcceptedResponse(BaseModel):
    """The request was handed on; the document's state says how it goes."""

    id: UUID
    state: Literal["accepted"]


class HealthResponse(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ReadyResponse(BaseModel):
    """Questions can be answered."""

    status: Literal["ready"]
    embedding_model: str
    dimension: int
    model: str
    uploads: bool
    feedback: bool


class TablePath(BaseModel):
    """The table's id: that of its document, a dot, and its number in the document."""

    table_id: Annotated[str, StringConstraints(max_length=60)]


class ColumnOut(BaseModel):
    """A column of a table, or of what was computed from one."""

    name: str
    type: ColumnType
    unit: str

    @classmethod
    def of(cls, column: Column) -> Self:
        """Return what is told of *column*."""
        return cls(name=column.name, type=column.type, unit=column.unit)


class TableOut(BaseModel):
    """A table of a document."""

    id: str
    document_id: UUID
    name: str
    generation: int
    title: str
    page: int | None
    row_count: int
    columns: list[ColumnOut]

    @classmethod
    def of(cls, stored: StoredTable) -> Self:
        """Return what is told of *stored*."""
        return cls(
            id=stored.id,
            document_id=stored.document_id,
            name=stored.name,
            generation=stored.generation,
            title=stored.table.title,
            page=stored.table.page,
            row_count=stored.row_count,
            columns=[ColumnOut.of(column) for column in stored.table.columns],
        )


class TablesResponse(BaseModel):
    """The tables of a document."""

    tables: list[TableOut]


class TableQueryRequest(PlanIn):
    """What to compute over a table."""


class SourceOut(BaseModel):
    """A row that a value comes from: its number, and where it stands in the extracted text."""

    row: int
    char_start: int
    char_end: int
    page: int | None

    @classmethod
    def of(cls, source: SourceRow) -> Self:
        """Return what is told of *source*."""
        return cls(
            row=source.number,
            char_start=source.char_start,
            char_end=source.char_end,
            page=source.page,
        )


class ComputedRowOut(BaseModel):
    """
    A line of what was computed.

    values are exact: numbers as decimal text, dates as 2026-01-31, null for an empty cell. cells
    are the same as the document shows or would write them.
    """

    values: list[str | None]
    cells: list[str]
    sources: list[SourceOut] = Field(description="The rows that it comes from, at most 100.")
    source_count: int


class TableQueryResponse(BaseModel):
    """What was computed over a table."""

    table: TableOut
    columns: list[ColumnOut]
    rows: list[ComputedRowOut]
    truncated: bool = Field(description="There are more lines than limit.")
    totals_left_out: int = Field(description="Rows that are totals of others and were left out.")
