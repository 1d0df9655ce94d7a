"""An answer as it comes, read from server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import requests

from kaydangpt_client.errors import ProblemError, Unreachable
from kaydangpt_client.types import Citation, DoneEvent, Passage, StepEvent


class AnswerStream:
    """
    An answer as it comes: iterate over its pieces of text, then look at what it rests on.

    Attributes:
        steps: The searches, where there were several.
        passages: What was found; there before the first piece of text.
        citations: What the answer rests on; there after the last.
        done: The rest of the answer; None until it is whole.
    """

    def __init__(self, response: requests.Response) -> None:
        self.steps: list[StepEvent] = []
        self.passages: list[Passage] = []
        self.citations: list[Citation] = []
        self.done: DoneEvent | None = None
        self._response = response

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
        """End the request, whether the answer is whole or not."""
        self._response.close()

    def __iter__(self) -> Iterator[str]:
        """
        Yield the pieces of the answer.

        Raises:
            ProblemError: Gemini failed on the way. What was yielded before is void; the problem
                holds an answer made of sentences of the documents.
            Unreachable: The connection ended before the answer did.
        """
        try:
            for name, data in read_events(self._response.iter_lines()):
                if name == "token":
                    yield data["text"]
                elif name == "step":
                    self.steps.append(data)
                elif name == "passages":
                    self.passages = data["passages"]
                elif name == "citations":
                    self.citations = data["citations"]
                elif name == "done":
                    self.done = data
                elif name == "error":
                    raise ProblemError(data, status=int(data.get("status", 502)))
        except requests.RequestException as error:
            raise Unreachable(
                self._response.url, f"was cut off in its answer: {type(error).__name__}"
            ) from error
        finally:
            self.close()
        if self.done is None:
            raise Unreachable(self._response.url, "ended before its answer did")


def read_events(lines: Iterator[bytes]) -> Iterator[tuple[str, Any]]:
    """
    Yield name and data of each event; comments are passed over.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """
    name, data = "message", b""
    for line in lines:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data:
                yield name, json.loads(data)
            name, data = "message", b""
        elif field == b"event":
            name = value.decode()
        elif field == b"data":
            data += value
