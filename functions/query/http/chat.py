"""
OpenAI's chat interface, which most applications speak, over the same pipeline.

https://platform.openai.com/docs/api-reference/chat. A model is the whole index ("kaydangpt") or one
collection of it ("kaydangpt/COLLECTION"). What the last message of the user asks is answered; the
messages before it are the conversation. Marks [n] stand in the text, their addresses in annotations
and, as definitions of Markdown links, below the text.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.values import AllOf, Comparison, Condition, Filter

from ..answering.query import Answer, Query, Retrieval, Token
from ..answering.request_body import RequestBody
from ..answering.sanitizer import one_line
from .addresses import passage_address
from .problems import bad_field
from .replies import is_failure
from .schemas import (
    MAX_QUESTION_CHARACTERS,
    MAX_TURNS,
    TEXT_PATTERN,
    CitationOut,
    UpToHundred,
    WholeFilter,
    compose,
)

MODEL = "kaydangpt"
MAX_MODELS = 100
_MAX_TURN_CHARACTERS = 16_000
# What this writes below its own answers, in the history of a client.
_DEFINITION = re.compile(r"^\[\d+\]: \S+.*$\n?", re.MULTILINE)
_MARK = re.compile(r"\[(\d+)\]")


class _Open(RequestBody):
    """Clients send fields that are not used here, such as a temperature."""

    model_config = ConfigDict(extra="ignore")


class ContentPart(_Open):
    """A part of a message; only texts are read."""

    type: str
    text: Annotated[str, StringConstraints(max_length=200_000)] | None = None


class ChatMessage(_Open):
    """A message of the conversation; only the roles user and assistant are read."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: (
        Annotated[str, StringConstraints(max_length=200_000)]
        | Annotated[list[ContentPart], Field(max_length=100)]
        | None
    ) = None

    @property
    def text(self) -> str:
        """Return its texts."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class StreamOptions(_Open):
    """What a stream contains besides the answer."""

    include_usage: bool | None = False


class ChatCompletionRequest(_Open):
    """A conversation whose last question is answered; other fields are ignored."""

    model: Annotated[str, StringConstraints(max_length=300)] = Field(
        default=MODEL, description="kaydangpt, or kaydangpt/COLLECTION."
    )
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1_000)] = Field(
        json_schema_extra={
            "contains": {
                "type": "object",
                "properties": {
                    "role": {"const": "user"},
                    "content": {"type": "string", "pattern": TEXT_PATTERN},
                },
                "required": ["role", "content"],
            }
        }
    )
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    limit: UpToHundred | None = Field(default=None, description="The most passages to return.")
    filter: WholeFilter | None = Field(
        default=None, description="Which documents may answer, as in POST /query."
    )


class UrlCitation(BaseModel):
    """The target of a mark in the answer."""

    start_index: int
    end_index: int
    url: str
    title: str


class ChatAnnotation(BaseModel):
    """A citation of the answer."""

    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class ChatAnswer(BaseModel):
    """The answer, as a message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: str | None = None
    annotations: list[ChatAnnotation] = []


class ChatChoice(BaseModel):
    """The only answer."""

    index: int = 0
    message: ChatAnswer
    finish_reason: Literal["stop"] = "stop"
    logprobs: None = None


class ChatUsage(BaseModel):
    """Tokens that Gemini used."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatDetails(BaseModel):
    """What POST /query returns for an answer besides its text."""

    grounded: bool
    answered_by: str
    degraded: str | None
    citations: list[CitationOut]


class ChatCompletion(BaseModel):
    """An answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: ChatUsage
    kaydangpt: ChatDetails


class ChatChunk(BaseModel):
    """A part of a streamed answer; "[DONE]" ends the stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: ChatUsage | None = None


class ChatModel(BaseModel):
    """The index, or a collection of it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["kaydangpt"] = "kaydangpt"


class ChatModelsResponse(BaseModel):
    """The models: all documents, or one collection."""

    object: Literal["list"] = "list"
    data: list[ChatModel]


class ModelPath(BaseModel):
    """The name of a model."""

    model: str


def read_conversation(body: ChatCompletionRequest, *, principals: tuple[str, ...]) -> Query:
    """
    Return the question of a conversation.

    Raises:
        ProblemRaised: There is none, or it is too long.
    """
    spoken = [(each.role, each.text) for each in body.messages]
    asked = max(
        (n for n, (role, text) in enumerate(spoken) if role == "user" and compose(text)),
        default=None,
    )
    if asked is None:
        raise bad_field("messages", "hold no text of the user's")
    question = compose(spoken[asked][1])
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise bad_field(
            "messages",
            f"the last question has more than {MAX_QUESTION_CHARACTERS:,} characters;"
            " configure the application not to add its own texts to it",
        )
    turns = [
        (role, compose(_DEFINITION.sub("", text))[:_MAX_TURN_CHARACTERS])
        for role, text in spoken[:asked]
        if role in ("user", "assistant") and text.strip()
    ]
    parts: list[Condition] = []
    if collection := collection_of(body.model):
        parts.append(Comparison("collection", "any_of", (collection,)))
    if body.filter is not None and (where := body.filter.to_filter().where) is not None:
        parts.append(where)
    return Query(
        question=question,
        limit=body.limit or 8,
        filter=Filter(where=AllOf(tuple(parts)) if parts else None),
        turns=tuple(turns[-MAX_TURNS:]),
        principals=principals,
    )


def collection_of(model: str) -> str | None:
    """Return the collection that a model's name names; None for all, and for other names."""
    prefix, _, collection = model.partition("/")
    return collection or None if prefix == MODEL else None


def is_model(model: str) -> bool:
    """Return whether a name is that of a model of this service."""
    return model == MODEL or collection_of(model) is not None


def make_models(collections: Sequence[str]) -> ChatModelsResponse:
    """Return the index and its collections as models."""
    names = [MODEL, *(f"{MODEL}/{name}" for name in collections[:MAX_MODELS])]
    return ChatModelsResponse(data=[ChatModel(id=name, created=0) for name in names])


def make_completion(
    body: ChatCompletionRequest, retrieval: Retrieval, answer: Answer, *, base: str
) -> ChatCompletion:
    """Return a whole answer; where Gemini failed, the one that is made of sentences."""
    content, annotations, citations = _cite(answer, retrieval, base=base)
    return ChatCompletion(
        id=_make_id(),
        created=int(time.time()),
        model=body.model,
        choices=[ChatChoice(message=ChatAnswer(content=content, annotations=annotations))],
        usage=_make_usage(answer),
        kaydangpt=_make_details(answer, citations),
    )


def stream_completion(
    body: ChatCompletionRequest,
    retrieval: Retrieval,
    steps: Iterator[Retrieval | Token | Answer],
    *,
    base: str,
) -> Iterator[str]:
    """
    Yield the answer as it comes, as events of data alone.

    Where Gemini fails before its first word, the answer made of sentences comes instead; after it
    an error ends the stream.
    """
    frame: dict[str, Any] = {
        "id": _make_id(),
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }

    def chunk(delta: dict[str, Any], *, end: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": end, "logprobs": None}
        return _data(frame | {"choices": [choice]} | more)

    yield chunk({"role": "assistant", "content": ""})
    said = ""
    for step in steps:
        if isinstance(step, Token):
            said += step.text
            yield chunk({"content": step.text})
        elif isinstance(step, Answer):
            if is_failure(step.failure) and said:
                yield _data(make_error(str(step.failure), code=f"gemini_{step.failure.code}"))
                yield _data("[DONE]")
                return
            content, annotations, citations = _cite(step, retrieval, base=base)
            rest = content[len(said) :] if content.startswith(said) else content
            dumped = [each.model_dump() for each in annotations]
            yield chunk({"content": rest, "annotations": dumped})
            details = _make_details(step, citations).model_dump(mode="json")
            yield chunk({}, end="stop", kaydangpt=details)
            if body.stream_options is not None and body.stream_options.include_usage:
                usage = _make_usage(step).model_dump()
                yield _data(frame | {"choices": [], "usage": usage})
    yield _data("[DONE]")


def make_error(message: str, *, code: str, field: str | None = None) -> dict[str, Any]:
    """Return an error as OpenAI's clients read it."""
    kind = "invalid_request_error" if field else "api_error"
    return {"error": {"message": message, "type": kind, "code": code, "param": field}}


def _cite(
    answer: Answer, retrieval: Retrieval, *, base: str
) -> tuple[str, list[ChatAnnotation], list[CitationOut]]:
    """Return the text with the definitions of its marks, its annotations, and its citations."""
    citations = [
        CitationOut.of(citation, passage=retrieval.passages[citation.number - 1])
        for citation in answer.citations
    ]
    links: dict[int, tuple[str, str]] = {}
    for citation in citations:
        address = passage_address(
            base,
            citation.document_id,
            char_start=citation.char_start,
            char_end=citation.char_end,
            page=citation.page,
        )
        page = "" if citation.page is None else f", page {citation.page}"
        links.setdefault(citation.number, (address, f"{one_line(citation.name)}{page}"))
    annotations = [
        ChatAnnotation(
            url_citation=UrlCitation(
                start_index=mark.start(), end_index=mark.end(), url=address, title=title
            )
        )
        for mark in _MARK.finditer(answer.text)
        for address, title in [links.get(int(mark[1]), ("", ""))]
        if address
    ]
    definitions = [
        f'[{number}]: {address} "{_quoted(title)}"'
        for number, (address, title) in sorted(links.items())
    ]
    text = answer.text + ("\n\n" + "\n".join(definitions) if definitions else "")
    return text, annotations, citations


def _quoted(title: str) -> str:
    return title.replace("\\", "/").replace('"', "'")


def _make_details(answer: Answer, citations: list[CitationOut]) -> ChatDetails:
    return ChatDetails(
        grounded=answer.grounded,
        answered_by=answer.model,
        degraded=None if answer.failure is None else str(answer.failure),
        citations=citations,
    )


def _make_usage(answer: Answer) -> ChatUsage:
    usage = answer.usage
    return ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.answer_tokens + usage.thinking_tokens,
        total_tokens=usage.total_tokens,
    )


def _make_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def _data(value: dict[str, Any] | str) -> str:
    data = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {data}\n\n"
