"""The tools for agents, with the rights and limits of any other request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from shared.store import (
    Selection,
    count_selected,
    get_document,
    list_documents,
    read_text,
    reading,
)
from shared.values import DocumentStatus, Hit

from ..answering.journal import Journal
from ..answering.pipeline import answer_question, find_passages
from ..answering.query import Answer, Query, Retrieval
from ..answering.sanitizer import one_line
from ..dependencies import Dependencies
from .addresses import passage_address
from .audit import note_documents
from .cursors import Cursor, decode_cursor
from .mcp import Tool
from .problems import ProblemRaised, bad_field, unknown_document
from .replies import describe_degradation, make_citations
from .schemas import MAX_TURNS, Name, State, Text, Turn, WholeFilter

INSTRUCTIONS = (
    "Documents of this organisation, with citations. Use search for passages, fetch to read on"
    " in a document, ask for a whole answer with verified quotes, list_documents to see what there"
    " is. Cite the url of what you use."
)
# Of most models and most languages of Latin letters; what is capped need not be exact.
_CHARACTERS_A_TOKEN = 4
_MAX_SEARCHED = 100

_Filter = Annotated[
    WholeFilter,
    WithJsonSchema(
        {
            "type": "object",
            "description": (
                "Which documents; every condition must hold. Fields: collection, name,"
                " content_type, language (a text, or any_of, none_of, prefix, exists), updated (gt,"
                " gte, lt, lte), metadata (an object of keys, each a value or operators), and, or"
                ' (lists of such objects). Example: {"collection": "hr", "metadata": {"year":'
                ' {"gte": 2024}}}'
            ),
        }
    ),
]
_MaxTokens = Annotated[
    int, Field(ge=500, le=20_000, description="Return about this many tokens of text.")
]
_CursorText = Annotated[
    str,
    StringConstraints(max_length=8_192),
    Field(description="The next_cursor of the previous result, to continue after it."),
]


class _Arguments(BaseModel):
    """Models write null or an empty text for arguments that they leave out."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {
            name: item
            for name, item in value.items()
            if name not in optional or (item is not None and item != "")
        }


class SearchArguments(_Arguments):
    """What to search for."""

    query: Text = Field(description="A question or words, in any language.")
    limit: Annotated[int, Field(ge=1, le=50, description="Passages at most.")] = 8
    filter: _Filter | None = None
    max_tokens: _MaxTokens = 6_000
    cursor: _CursorText | None = None


class FetchArguments(_Arguments):
    """What to read."""

    id: Annotated[str, StringConstraints(max_length=100)] = Field(
        description="The id of a search result or of a document."
    )
    max_tokens: _MaxTokens = 6_000
    cursor: _CursorText | None = None


class AskArguments(_Arguments):
    """What to answer."""

    question: Text
    history: Annotated[list[Turn], Field(max_length=MAX_TURNS)] = Field(
        default_factory=list, description="The conversation so far, oldest first."
    )
    limit: Annotated[int, Field(ge=1, le=50, description="Passages to answer from.")] = 8
    filter: _Filter | None = None


class ListArguments(_Arguments):
    """Which documents to list."""

    search: Name | None = Field(default=None, description="Words that the name contains.")
    prefix: Name | None = Field(default=None, description="What the name begins with.")
    collection: Name | None = None
    state: State | None = Field(default=None, description="Without it, all but deleted documents.")
    sort: Literal["name", "updated", "size", "state"] = "name"
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: _CursorText | None = None


def make_tools(
    dependencies: Dependencies, *, principals: tuple[str, ...], base: str
) -> dict[str, Tool]:
    """Return the tools of one request, by name."""
    agent = _Agent(dependencies, principals, base)
    tools = (
        Tool(
            "search",
            "Search the documents",
            "Find the passages of the documents that fit a question best, each with its address.",
            SearchArguments,
            agent.search,
        ),
        Tool(
            "fetch",
            "Read a document",
            "Read a document's text from a search result on, or from its beginning.",
            FetchArguments,
            agent.fetch,
        ),
        Tool(
            "ask",
            "Ask the documents",
            "Answer a question from the documents, with quotes that were checked against them."
            " grounded is false where the documents do not answer.",
            AskArguments,
            agent.ask,
        ),
        Tool(
            "list_documents",
            "List the documents",
            "List documents by name, date, size or state.",
            ListArguments,
            agent.list_documents,
        ),
    )
    return {tool.name: tool for tool in tools}


class _Agent:
    """The tools of one caller."""

    def __init__(self, dependencies: Dependencies, principals: tuple[str, ...], base: str) -> None:
        self._dependencies = dependencies
        self._principals = principals
        self._base = base

    def search(self, arguments: SearchArguments) -> tuple[dict[str, Any], str]:
        first = _read_offset(arguments.cursor, at_most=_MAX_SEARCHED)
        wanted = min(first + arguments.limit + 1, _MAX_SEARCHED)
        query = self._query(arguments.query, limit=wanted, filter=arguments.filter)
        passages = find_passages(
            query, dependencies=self._dependencies.answering, journal=Journal()
        ).passages
        note_documents(hit.document_id for hit in passages)
        budget = arguments.max_tokens * _CHARACTERS_A_TOKEN
        results: list[dict[str, Any]] = []
        for hit in passages[first : first + arguments.limit]:
            # One at least, and no more than fit.
            if results and len(hit.text) > budget:
                break
            budget -= len(hit.text)
            results.append(self._describe(hit, max_characters=len(hit.text) + min(0, budget)))
        following = first + len(results)
        more = following < len(passages) and following < _MAX_SEARCHED
        structured = {"results": results, "next_cursor": str(following) if more else None}
        lines = [
            f"[{number}] {result['title']}\n{result['url']}\nid: {result['id']}\n{result['text']}"
            for number, result in enumerate(results, first + 1)
        ]
        return structured, _write(lines, structured, nothing="Nothing was found.")

    def fetch(self, arguments: FetchArguments) -> tuple[dict[str, Any], str]:
        document_id, start = _read_id(arguments.id)
        if arguments.cursor is not None:
            start = _read_offset(arguments.cursor, at_most=2**31 - 1)
        note_documents([document_id])
        with reading(self._dependencies.pool, self._principals) as connection:
            document = get_document(connection, document_id)
            if document is None:
                raise unknown_document()
            size = arguments.max_tokens * _CHARACTERS_A_TOKEN
            text = read_text(
                connection, document_id=document.id, char_start=start, char_end=start + size + 1
            )
        if text is None:
            raise ProblemRaised(
                HTTPStatus.NOT_FOUND, "not_answering", "This document has no text now."
            )
        more = len(text) > size
        text = text[:size]
        structured = {
            **self._describe_document(document),
            "id": arguments.id,
            "text": text,
            "url": passage_address(
                self._base, document.id, char_start=start, char_end=start + len(text), page=None
            ),
            "char_start": start,
            "next_cursor": str(start + size) if more else None,
        }
        heading = f"{structured['title']}\n{structured['url']}\n"
        return structured, _write([heading + text], structured, nothing="")

    def ask(self, arguments: AskArguments) -> tuple[dict[str, Any], str]:
        query = self._query(
            arguments.question,
            limit=arguments.limit,
            filter=arguments.filter,
            turns=tuple((turn.role, turn.content) for turn in arguments.history),
        )
        steps: Iterator[Any] = answer_question(
            query, dependencies=self._dependencies.answering, journal=Journal(), whole=True
        )
        retrieval = next(step for step in steps if isinstance(step, Retrieval))
        note_documents(hit.document_id for hit in retrieval.passages)
        answer = next(step for step in steps if isinstance(step, Answer))
        degraded = describe_degradation(retrieval, answer)
        citations = [
            {
                "number": each.number,
                "quote": each.quote,
                "verified": each.verified,
                "description": each.description,
                "title": one_line(each.name),
                "page": each.page,
                "id": _make_id(each.document_id, each.char_start),
                "url": passage_address(
                    self._base,
                    each.document_id,
                    char_start=each.char_start,
                    char_end=each.char_end,
                    page=each.page,
                ),
            }
            for each in make_citations(retrieval, answer)
        ]
        structured = {
            "answer": answer.text,
            "grounded": answer.grounded,
            "citations": citations,
            "degraded": None if degraded is None else degraded.message,
        }
        lines = [answer.text] + [
            f'[{each["number"]}] {each["title"]}: "{each["quote"]}"{_verdict(each)}\n{each["url"]}'
            for each in citations
        ]
        return structured, "\n\n".join(lines)

    def list_documents(self, arguments: ListArguments) -> tuple[dict[str, Any], str]:
        order, descending = arguments.sort, arguments.sort in ("updated", "size")
        after = None
        if arguments.cursor is not None:
            after = decode_cursor(arguments.cursor, order=order, descending=descending)
        selection = Selection(
            states=[arguments.state] if arguments.state else [],
            prefix=arguments.prefix or "",
            search=arguments.search or "",
            collections=[arguments.collection] if arguments.collection else [],
        )
        with reading(self._dependencies.pool, self._principals) as connection:
            documents, place = list_documents(
                connection,
                selection,
                order=order,
                descending=descending,
                after=None if after is None else after.place,
                limit=arguments.limit,
            )
            total = (
                count_selected(connection, selection, ceiling=10_000)
                if after is None
                else after.total
            )
        following = None if place is None else Cursor(order, descending, place, total).encode()
        described = [self._describe_document(each) for each in documents]
        structured = {"documents": described, "total": total, "next_cursor": following}
        lines = [
            f"{each['title']} ({each['state']}, {each['size']} bytes)\n{each['url']}\n"
            f"id: {each['id']}"
            for each in described
        ]
        return structured, _write(lines, structured, nothing="There are no such documents.")

    def _query(self, question: str, *, limit: int, filter: Any, turns: Any = ()) -> Query:
        asked: dict[str, Any] = {} if filter is None else {"filter": filter.to_filter()}
        return Query(
            question=question, limit=limit, turns=turns, principals=self._principals, **asked
        )

    def _describe(self, hit: Hit, *, max_characters: int) -> dict[str, Any]:
        page = "" if hit.page is None else f", page {hit.page}"
        return {
            "id": _make_id(hit.document_id, hit.char_start),
            "title": f"{one_line(hit.name)}{page}",
            "url": passage_address(
                self._base,
                hit.document_id,
                char_start=hit.char_start,
                char_end=hit.char_end,
                page=hit.page,
            ),
            "text": hit.text[:max_characters],
            "collection": hit.collection,
            "heading": hit.heading,
            "score": round(hit.score, 4),
        }

    def _describe_document(self, document: DocumentStatus) -> dict[str, Any]:
        return {
            "id": str(document.id),
            "title": one_line(document.name),
            "url": f"{self._base}/documents/{document.id}",
            "state": document.state,
            "collection": document.collection,
            "size": document.size,
            "content_type": document.content_type,
            "updated": document.updated.isoformat(),
            "metadata": document.metadata,
        }


def _make_id(document_id: UUID, char_start: int | None) -> str:
    return str(document_id) if char_start is None else f"{document_id}:{char_start}"


def _read_id(text: str) -> tuple[UUID, int]:
    document_id, _, start = text.partition(":")
    try:
        return UUID(document_id), _read_offset(start or "0", at_most=2**31 - 1)
    except ValueError as error:
        raise bad_field("id", "is not the id of a document or a search result") from error


def _read_offset(text: str | None, *, at_most: int) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= at_most):
        raise bad_field("cursor", "was not returned by this tool")
    return int(text)


def _write(lines: list[str], structured: dict[str, Any], *, nothing: str) -> str:
    following = structured["next_cursor"]
    if following is not None:
        lines = [*lines, f"There is more: call again with cursor {json.dumps(following)}."]
    return "\n\n".join(lines) or nothing


def _verdict(citation: dict[str, Any]) -> str:
    if citation["description"]:
        return " (DESCRIPTION OF A PICTURE, MADE BY GEMINI)"
    return "" if citation["verified"] else " (NOT VERIFIED)"
