"""The client: one method for each thing that the service does."""

from __future__ import annotations

import mimetypes
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Self
from urllib.parse import quote, urlsplit

import requests

from kaydangpt_client.errors import ProblemError, Unreachable
from kaydangpt_client.streams import AnswerStream
from kaydangpt_client.types import (
    AcceptedResponse,
    Collection,
    Document,
    FacetsResponse,
    FeedbackResponse,
    Filter,
    OriginalResponse,
    QueryResponse,
    ReadyResponse,
    RetrieveResponse,
    Table,
    TableQueryRequest,
    TableQueryResponse,
    TextResponse,
    Turn,
)
from kaydangpt_client.version import VERSION

State = Literal["queued", "indexing", "ready", "failed", "deleted"]
Mode = Literal["fused", "vector", "text"]
Effort = Literal["low", "medium"]

_CONNECT_SECONDS = 5.0
# 429 and 503 say that nothing was done, and mostly when to come again.
_LATER = (requests.codes.too_many_requests, requests.codes.service_unavailable)
# Refused before any work: these may be sent again even where doing it twice would matter.
_NOT_BEGUN = ("rate_limited", "overloaded")
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_POLL_SECONDS = 0.5


class Client:
    """
    A client of one service; a thread has one of its own.

    What may be asked again is asked again: when the connection fails, and at 429 and 503 after the
    pause that Retry-After names. Every method raises ProblemError where the service refuses and
    Unreachable where it does not answer.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout_seconds: float = 120,
        retries: int = 3,
    ) -> None:
        """
        Args:
            url: The service's address; None for QUERY_URL of the environment.
            token: A key or an identity token; None for QUERY_TOKEN of the environment.
            timeout_seconds: The longest silence that is waited for.
            retries: How often a request is sent once more.
        """
        chosen = url or os.environ.get("QUERY_URL") or "http://127.0.0.1:8080"
        self.url = chosen.rstrip("/")
        self._timeout = (min(_CONNECT_SECONDS, timeout_seconds), timeout_seconds)
        self._retries = retries
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"kaydangpt-client/{VERSION}"
        credential = os.environ.get("QUERY_TOKEN", "") if token is None else token
        if credential:
            self._session.headers["Authorization"] = f"Bearer {credential}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def ask(
        self,
        question: str,
        *,
        limit: int | None = None,
        filter: Filter | None = None,
        history: Sequence[Turn] = (),
        per_document: int | None = None,
        mode: Mode | None = None,
        effort: Effort | None = None,
        trace: bool = False,
    ) -> QueryResponse:
        """
        Return the answer to *question*, with its citations.

        Where Gemini fails, sentences of the documents answer, and `degraded` says why.
        """
        body = _question(question, limit, filter, history, per_document, mode, effort, trace)
        try:
            answer: QueryResponse = self._json("POST", "/query", json=body)
        except ProblemError as error:
            if "answer" not in error.problem:
                raise
            partial: Any = error.problem
            answer = partial
        return answer

    def stream(
        self,
        question: str,
        *,
        limit: int | None = None,
        filter: Filter | None = None,
        history: Sequence[Turn] = (),
        per_document: int | None = None,
        mode: Mode | None = None,
        effort: Effort | None = None,
        trace: bool = False,
    ) -> AnswerStream:
        """Return the answer as it comes."""
        body = _question(question, limit, filter, history, per_document, mode, effort, trace)
        response = self._send(
            "POST", "/query", json=body, headers={"Accept": "text/event-stream"}, stream=True
        )
        return AnswerStream(response)

    def retrieve(
        self,
        question: str,
        *,
        limit: int | None = None,
        filter: Filter | None = None,
        history: Sequence[Turn] = (),
        per_document: int | None = None,
        mode: Mode | None = None,
        effort: Effort | None = None,
        trace: bool = False,
    ) -> RetrieveResponse:
        """Return the passages for *question*, best first."""
        body = _question(question, limit, filter, history, per_document, mode, effort, trace)
        found: RetrieveResponse = self._json("POST", "/retrieve", json=body)
        return found

    def rate(
        self, answer_id: str, rating: Literal["up", "down"], *, comment: str | None = None
    ) -> FeedbackResponse:
        """Say whether an answer was of use."""
        body = {"answer_id": answer_id, "rating": rating, "comment": comment}
        recorded: FeedbackResponse = self._json("POST", "/feedback", json=body)
        return recorded

    def documents(
        self,
        *,
        state: Sequence[State] = (),
        prefix: str = "",
        search: str = "",
        collection: Sequence[str] = (),
        content_type: Sequence[str] = (),
        metadata: dict[str, str] | None = None,
        sort: Literal["name", "updated", "size", "state"] = "name",
        order: Literal["asc", "desc"] | None = None,
        limit: int = 500,
    ) -> Iterator[Document]:
        """
        Yield the documents that meet every condition, page by page.

        Args:
            limit: Documents a page.
        """
        parameters = _selection(state, prefix, search, collection, content_type, metadata)
        parameters += [("sort", sort), ("limit", str(limit))]
        parameters += [("order", order)] if order else []
        cursor: str | None = ""
        while cursor is not None:
            page = self._json("GET", "/documents", params=[*parameters, ("cursor", cursor)])
            yield from page["documents"]
            cursor = page["next"]

    def document(self, document_id: str) -> Document:
        """Return one document."""
        found: Document = self._json("GET", f"/documents/{_part(document_id)}")
        return found

    def find(self, name: str) -> Document | None:
        """Return the document of exactly this name, None if there is none to be seen."""
        return next((each for each in self.documents(prefix=name) if each["name"] == name), None)

    def text(
        self,
        document_id: str,
        *,
        char_start: int = 0,
        char_end: int | None = None,
        context: int = 0,
    ) -> TextResponse:
        """Return a part of a document's extracted text, 100,000 characters at most."""
        parameters = [("char_start", str(char_start)), ("context", str(context))]
        parameters += [] if char_end is None else [("char_end", str(char_end))]
        found: TextResponse = self._json(
            "GET", f"/documents/{_part(document_id)}/text", params=parameters
        )
        return found

    def original(self, document_id: str) -> OriginalResponse:
        """Return a link to the file; its url begins with the path of the service."""
        found: OriginalResponse = self._json("GET", f"/documents/{_part(document_id)}/original")
        return found

    def upload(
        self, file: Path | BinaryIO | bytes, *, name: str, content_type: str | None = None
    ) -> str:
        """
        Put a file into the bucket as the object *name*, and return its uri; wait() waits for it.

        The bytes go to Cloud Storage, not through the service.
        """
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return self.upload(opened, name=name, content_type=content_type)
        size = len(file) if isinstance(file, bytes) else _remaining(file)
        kind = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        target = self._json(
            "POST", "/documents", json={"name": name, "size": size, "content_type": kind}
        )
        try:
            # Not by the session: the bucket must not see the credential of the service.
            response = requests.request(
                target["method"],
                target["upload_url"],
                data=file if size else b"",
                headers=target["headers"],
                timeout=self._timeout,
            )
        except requests.RequestException as error:
            raise Unreachable(
                _host(target["upload_url"]), f"did not take {name}: {type(error).__name__}"
            ) from error
        if not response.ok:
            raise Unreachable(
                _host(target["upload_url"]), f"answered {response.status_code} to {name}"
            )
        return str(target["uri"])

    def wait(self, name: str, *, timeout_seconds: float = 300) -> Document:
        """
        Return the document *name* once it is ready or failed.

        Raises:
            TimeoutError: It was neither in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            document = self.find(name)
            if document is not None and document["state"] in ("ready", "failed"):
                return document
            if time.monotonic() >= deadline:
                state = "unknown" if document is None else document["state"]
                raise TimeoutError(f"{name} is {state} after {timeout_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def delete(self, document_id: str) -> AcceptedResponse:
        """Delete a document from the bucket, unless it has been overwritten."""
        done: AcceptedResponse = self._json(
            "DELETE", f"/documents/{_part(document_id)}", repeatable=False
        )
        return done

    def retry(self, document_id: str) -> AcceptedResponse:
        """Index a document again."""
        done: AcceptedResponse = self._json(
            "POST", f"/documents/{_part(document_id)}/retry", repeatable=False
        )
        return done

    def collections(self) -> list[Collection]:
        """Return the collections, with how many documents each has."""
        found: list[Collection] = self._json("GET", "/collections")["collections"]
        return found

    def facets(
        self,
        *,
        state: Sequence[State] = (),
        prefix: str = "",
        search: str = "",
        collection: Sequence[str] = (),
        content_type: Sequence[str] = (),
        metadata: dict[str, str] | None = None,
        values: int = 20,
    ) -> FacetsResponse:
        """Return the values of fields and metadata, with how many documents have them."""
        parameters = _selection(state, prefix, search, collection, content_type, metadata)
        found: FacetsResponse = self._json(
            "GET", "/facets", params=[*parameters, ("values", str(values))]
        )
        return found

    def tables(self, document_id: str) -> list[Table]:
        """Return the tables of a document."""
        found: list[Table] = self._json("GET", f"/documents/{_part(document_id)}/tables")["tables"]
        return found

    def query_table(self, table_id: str, plan: TableQueryRequest) -> TableQueryResponse:
        """Compute over a table."""
        path = f"/tables/{_part(table_id)}/query"
        found: TableQueryResponse = self._json("POST", path, json=plan)
        return found

    def ready(self) -> ReadyResponse:
        """Return how the service is set up, where questions can be answered."""
        found: ReadyResponse = self._json("GET", "/readyz")
        return found

    def _json(self, method: str, path: str, *, repeatable: bool = True, **options: Any) -> Any:
        response = self._send(method, path, repeatable=repeatable, **options)
        try:
            return response.json()
        except ValueError as error:
            raise Unreachable(self.url, "answered with something other than JSON") from error

    def _send(
        self, method: str, path: str, *, repeatable: bool = True, **options: Any
    ) -> requests.Response:
        """Return a response that says success."""
        for tried in range(self._retries + 1):
            last = tried == self._retries
            try:
                response = self._session.request(
                    method,
                    f"{self.url}/v1{path}",
                    timeout=self._timeout,
                    allow_redirects=False,
                    **options,
                )
            except requests.RequestException as error:
                # A connection that was never made began nothing.
                again = repeatable or isinstance(error, requests.ConnectTimeout)
                if last or not again or isinstance(error, requests.exceptions.InvalidURL):
                    raise Unreachable(
                        self.url, f"does not answer: {type(error).__name__}"
                    ) from error
                time.sleep(_pause(tried))
                continue
            if response.ok and not response.is_redirect:
                return response
            problem = self._problem(response)
            pause = problem.retry_after_seconds
            if pause is None:
                pause = _pause(tried)
            may_repeat = repeatable or problem.code in _NOT_BEGUN
            if (
                last
                or response.status_code not in _LATER
                or not may_repeat
                or pause > _LONGEST_PAUSE_SECONDS
            ):
                raise problem
            time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _problem(self, response: requests.Response) -> ProblemError:
        with response:
            try:
                body = response.json()
            except (ValueError, requests.RequestException):
                body = None
        if not isinstance(body, dict):
            # A proxy or Cloud Run itself: it has no problem to tell.
            body = {"detail": response.reason or "no reason was given"}
        text = response.headers.get("Retry-After", "")
        return ProblemError(
            body,
            status=response.status_code,
            retry_after_seconds=float(text) if text.isdecimal() else None,
        )


def _question(
    question: str,
    limit: int | None,
    filter: Filter | None,
    history: Sequence[Turn],
    per_document: int | None,
    mode: Mode | None,
    effort: Effort | None,
    trace: bool,
) -> dict[str, Any]:
    given = {
        "question": question,
        "limit": limit,
        "filter": filter,
        "history": list(history) or None,
        "per_document": per_document,
        "mode": mode,
        "effort": effort,
        "trace": trace or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _selection(
    state: Sequence[str],
    prefix: str,
    search: str,
    collection: Sequence[str],
    content_type: Sequence[str],
    metadata: dict[str, str] | None,
) -> list[tuple[str, str]]:
    pairs = [f"{key}:{value}" for key, value in (metadata or {}).items()]
    repeated = {
        "state": state,
        "collection": collection,
        "content_type": content_type,
        "metadata": pairs,
    }
    given = [(name, value) for name, values in repeated.items() for value in values]
    return given + [(k, v) for k, v in (("prefix", prefix), ("search", search)) if v]


def _pause(tried: int) -> float:
    """Return a random pause, longer with each try, so that clients do not come back together."""
    longest = min(_FIRST_PAUSE_SECONDS * 2**tried, _LONGEST_PAUSE_SECONDS)
    return random.uniform(longest / 2, longest)  # noqa: S311 -- nothing is kept secret by it


def _host(url: str) -> str:
    """Return the address without what stands for the right to upload."""
    return "{0.scheme}://{0.netloc}".format(urlsplit(url))


def _part(text: str) -> str:
    return quote(text, safe="")


def _remaining(file: BinaryIO) -> int:
    start = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(start)
    return end - start
