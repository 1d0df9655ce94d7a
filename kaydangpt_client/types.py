"""
What goes to the service and what comes back, as /openapi.json describes it.

Written by `python -m infra.client_types`; do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AcceptedResponse(TypedDict):
    """The request was handed on; the document's state says how it goes."""

    id: str
    state: Literal["accepted"]


class Aggregate(TypedDict):
    """A value computed over rows."""

    function: Literal["count", "sum", "avg", "min", "max", "count_distinct"]
    # Not needed for count.
    column: NotRequired[str | None]


And = TypedDict(
    "And",
    {
        "and": "list[Condition | And | Or | Not]",
    },
)


class Citation(TypedDict):
    """
    A quote that an answer rests on.

    verified says that the quote stands in the passage, at char_start to char_end of the
    document's extracted text; both are null if it does not. description says that it stands in
    the description of a picture, which Gemini made: it is never verified.
    """

    # The passage, as in the answer's mark [number].
    number: int
    quote: str
    verified: bool
    document_id: str
    name: str
    uri: str
    # The page where the quote begins; the passage's where it is not verified.
    page: int | None
    heading: str
    char_start: int | None
    char_end: int | None
    description: NotRequired[bool]


class Collection(TypedDict):
    """A collection that has documents that you may read."""

    name: str
    documents: int
    # Documents by state; states without documents are left out.
    states: dict[str, int]
    # Bytes of all its documents.
    size: int
    # When one of its documents last changed.
    updated: str


class CollectionsResponse(TypedDict):
    """The collections, by name."""

    collections: list[Collection]


class Column(TypedDict):
    """A column of a table, or of what was computed from one."""

    name: str
    type: Literal["number", "date", "text"]
    unit: str


class ComputedRow(TypedDict):
    """
    A line of what was computed.

    values are exact: numbers as decimal text, dates as 2026-01-31, null for an empty cell.
    cells are the same as the document shows or would write them.
    """

    values: list[str | None]
    cells: list[str]
    # The rows that it comes from, at most 100.
    sources: list[Source]
    source_count: int


class Condition(TypedDict):
    """What a column of a row must hold."""

    column: str
    op: NotRequired[
        Literal[
            "eq", "ne", "lt", "lte", "gt", "gte", "in", "contains", "prefix", "empty", "not_empty"
        ]
        | None
    ]
    # Not with in, empty and not_empty.
    value: NotRequired[str | int | float | None]
    # With in.
    values: NotRequired[list[str | int | float] | None]


class Degraded(TypedDict):
    """
    What the answer had to do without.

    not_embedded: passages were found by their words alone, because the embedding model did not
    answer. not_reranked: passages are in the order of the search, without that of the reranker.
    All other codes: the answer is extractive although Gemini is configured.
    """

    code: str
    message: str


class Document(TypedDict):
    """A document and how far its indexing is."""

    id: str
    name: str
    uri: str
    collection: str
    title: str
    language: str
    generation: int
    # The generation that answers now; null if none does.
    answering_generation: int | None
    state: Literal["queued", "indexing", "ready", "failed", "deleted"]
    reason: Reason | None
    pages: int | None
    pages_without_text: list[int]
    chunks: int
    chunks_embedded: int
    attempts: int
    size: int
    content_type: str
    metadata: dict[str, Any]
    updated: str
    # What was left out of it, and what to do.
    notices: list[str]
    # What the descriptions of its pictures took; null where they are left alone.
    figures: Figures | None


class DocumentsResponse(TypedDict):
    """A page of documents."""

    documents: list[Document]
    # The cursor of the next page; null on the last.
    next: str | None
    # How many documents there are on all pages, as of the first page.
    total: int
    # false: there are more than total.
    total_is_exact: bool


class DoneEvent(TypedDict):
    """The last event of a stream: the whole answer, without passages and citations."""

    # The question as it was understood.
    question: str
    # Markdown: paragraphs, lists, tables, code, emphasis.
    answer: str
    # True: a verified quote carries it, or the description of a picture. False: the documents
    # do not answer.
    grounded: bool
    # The Gemini model, or extractive.
    model: str
    # Identifies this answer to POST /feedback.
    answer_id: str
    usage: Usage
    timings: Timings
    cached: NotRequired[bool]
    degraded: NotRequired[Degraded | None]
    trace: NotRequired[dict[str, Any] | None]


class Facet(TypedDict):
    """The values of one field, the most common first."""

    # How many documents have a value.
    documents: int
    # How many values there are, listed or not.
    distinct: int
    values: list[FacetValue]


class FacetValue(TypedDict):
    """A value, and how many documents have it."""

    value: str
    documents: int


class FacetsResponse(TypedDict):
    """What the documents have in their fields: what filters can ask for."""

    # How many documents were counted.
    documents: int
    # false: there are more, which were not counted.
    is_complete: bool
    collection: Facet
    content_type: Facet
    language: Facet
    state: Facet
    # By key, the most common first.
    metadata: list[MetadataFacet]


class FeedbackResponse(TypedDict):
    """What was recorded."""

    rating: Literal["up", "down"]
    # True: the answer had been rated before.
    replaced: bool


class Figures(TypedDict):
    """What Gemini's descriptions of a document's pictures took; kept ones take nothing."""

    described: int
    # Pictures that Gemini was asked about.
    asked: int
    # What was sent of them.
    bytes: int
    prompt_tokens: int
    answer_tokens: int
    seconds: float


Filter = TypedDict(
    "Filter",
    {
        "collection": "NotRequired[TextCondition | None]",
        "prefix": "NotRequired[str | None]",
        "name": "NotRequired[TextCondition | None]",
        "content_type": "NotRequired[TextCondition | None]",
        "language": "NotRequired[TextCondition | None]",
        "updated": "NotRequired[TimeCondition | None]",
        "metadata": "NotRequired[dict[str, MetadataCondition] | None]",
        "updated_from": "NotRequired[str | None]",
        "updated_to": "NotRequired[str | None]",
        "and": "NotRequired[list[Filter] | None]",
        "or": "NotRequired[list[Filter] | None]",
    },
)


class MetadataConditionOperators(TypedDict):
    # One of these.
    any_of: NotRequired[list[Any] | None]
    # None of these; also true if the key is missing.
    none_of: NotRequired[list[Any] | None]
    # What the text begins with.
    prefix: NotRequired[str | None]
    # Greater, or after.
    gt: NotRequired[Any | None]
    # At least, or at this time or after.
    gte: NotRequired[Any | None]
    # Less, or before.
    lt: NotRequired[Any | None]
    # At most, or at this time or before.
    lte: NotRequired[Any | None]
    # Whether the key exists.
    exists: NotRequired[bool | None]


class MetadataFacet(TypedDict):
    """The values of one key of custom metadata, the most common first."""

    # How many documents have a value.
    documents: int
    # How many values there are, listed or not.
    distinct: int
    values: list[FacetValue]
    key: str


Not = TypedDict(
    "Not",
    {
        "not": "Condition | And | Or | Not",
    },
)


Or = TypedDict(
    "Or",
    {
        "or": "list[Condition | And | Or | Not]",
    },
)


class Order(TypedDict):
    """What to sort by."""

    # A column that is shown, or an aggregate such as sum(Amount).
    by: str
    direction: NotRequired[Literal["asc", "desc"] | None]


class OriginalResponse(TypedDict):
    """Where the file is fetched from; url begins with the path of this service."""

    url: str
    expires: str
    name: str
    generation: int
    content_type: str
    size: int
    pages: int | None


class Passage(TypedDict):
    """
    A passage that was found.

    text is the characters char_start to char_end of the document's extracted text.
    """

    number: int
    document_id: str
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
    # ocr: read from a picture of the page. figure: a description of one by Gemini.
    source: Literal["text", "ocr", "figure"]
    score: float
    similarity: float
    vector_rank: int | None
    text_rank: int | None
    # Other documents that hold the same text.
    also_in: NotRequired[list[str]]


class QueryRequest(TypedDict):
    """A question to answer."""

    question: str
    # The most passages to return.
    limit: NotRequired[int | None]
    filter: NotRequired[Filter | None]
    # Earlier turns; a follow-up question is rewritten with them to stand alone.
    history: NotRequired[list[Turn] | None]
    # The most passages of one document.
    per_document: NotRequired[int | None]
    # Which legs of the search answer; for evaluation.
    mode: NotRequired[Literal["fused", "vector", "text"] | None]
    # medium, where Gemini is configured, searches up to three times for what is missing.
    effort: NotRequired[Literal["low", "medium"] | None]
    # Say what each step did.
    trace: NotRequired[bool | None]


class QueryResponse(TypedDict):
    """An answer and what it rests on."""

    # The question as it was understood.
    question: str
    # Markdown: paragraphs, lists, tables, code, emphasis.
    answer: str
    # True: a verified quote carries it, or the description of a picture. False: the documents
    # do not answer.
    grounded: bool
    # The Gemini model, or extractive.
    model: str
    # Identifies this answer to POST /feedback.
    answer_id: str
    usage: Usage
    timings: Timings
    cached: NotRequired[bool]
    degraded: NotRequired[Degraded | None]
    trace: NotRequired[dict[str, Any] | None]
    citations: list[Citation]
    passages: list[Passage]


class ReadyResponse(TypedDict):
    """Questions can be answered."""

    status: Literal["ready"]
    embedding_model: str
    dimension: int
    model: str
    uploads: bool
    feedback: bool


class Reason(TypedDict):
    """Why a document is not indexed."""

    code: str
    message: str


class RetrieveResponse(TypedDict):
    """The passages found, best first."""

    passages: list[Passage]
    timings: RetrieveTimings
    degraded: NotRequired[Degraded | None]
    trace: NotRequired[dict[str, Any] | None]


class RetrieveTimings(TypedDict):
    """Milliseconds of each stage; a stage that did not run is left out, or 0."""

    embed_ms: NotRequired[float]
    retrieve_ms: NotRequired[float]
    total_ms: float


class Source(TypedDict):
    """A row that a value comes from: its number, and where it stands in the extracted text."""

    row: int
    char_start: int
    char_end: int
    page: int | None


class StepEvent(TypedDict):
    """A search that was made, where there were several."""

    # What was searched for.
    question: str
    # How many passages were found.
    found: int
    # How many of them no earlier search found.
    new: int


class Table(TypedDict):
    """A table of a document."""

    id: str
    document_id: str
    name: str
    generation: int
    title: str
    page: int | None
    row_count: int
    columns: list[Column]


class TableQueryRequest(TypedDict):
    """What to compute over a table."""

    # Columns to show; all if left out.
    select: NotRequired[list[str] | None]
    where: NotRequired[Condition | And | Or | Not | None]
    group_by: NotRequired[list[str] | None]
    aggregates: NotRequired[list[Aggregate] | None]
    order_by: NotRequired[list[Order] | None]
    limit: NotRequired[int | None]
    # Let rows that add up others take part, such as Total.
    include_totals: NotRequired[bool | None]


class TableQueryResponse(TypedDict):
    """What was computed over a table."""

    table: Table
    columns: list[Column]
    rows: list[ComputedRow]
    # There are more lines than limit.
    truncated: bool
    # Rows that are totals of others and were left out.
    totals_left_out: int


class TablesResponse(TypedDict):
    """The tables of a document."""

    tables: list[Table]


class TextConditionOperators(TypedDict):
    # One of these.
    any_of: NotRequired[list[str] | None]
    # None of these.
    none_of: NotRequired[list[str] | None]
    # What the text begins with.
    prefix: NotRequired[str | None]
    # Whether there is a value.
    exists: NotRequired[bool | None]


class TextResponse(TypedDict):
    """
    A part of the extracted text of the generation that answers.

    text is the characters char_start to char_end; the part asked for is highlight_start to
    highlight_end, in the same count.
    """

    document_id: str
    name: str
    generation: int
    char_start: int
    char_end: int
    highlight_start: int
    highlight_end: int
    text: str


class TimeCondition(TypedDict):
    """Bounds of a time: a date and time with its offset, or a date for its midnight in UTC."""

    # After.
    gt: NotRequired[str | None]
    # At, or after.
    gte: NotRequired[str | None]
    # Before.
    lt: NotRequired[str | None]
    # At, or before.
    lte: NotRequired[str | None]
    # Whether there is a value.
    exists: NotRequired[bool | None]


class Timings(TypedDict):
    """Milliseconds of each stage; a stage that did not run is left out, or 0."""

    embed_ms: NotRequired[float]
    retrieve_ms: NotRequired[float]
    total_ms: float
    generate_ms: NotRequired[float]


class Turn(TypedDict):
    """One turn of the conversation so far, oldest first."""

    role: Literal["user", "assistant"]
    content: str


class Usage(TypedDict):
    """Tokens that this request used at Gemini."""

    prompt_tokens: NotRequired[int]
    answer_tokens: NotRequired[int]
    thinking_tokens: NotRequired[int]
    total_tokens: NotRequired[int]
    calls: NotRequired[int]


MetadataCondition = str | float | bool | MetadataConditionOperators
TextCondition = str | TextConditionOperators
