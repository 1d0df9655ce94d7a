"""
A local server that speaks Gemini's REST interface and fails in every way that Gemini does.

POST /v1/models/M:batchEmbedContents and :embedContent (https://ai.google.dev/api/embeddings),
/v1/models/M:generateContent and :streamGenerateContent?alt=sse, v1beta as well, and Vertex
AI's paths (https://ai.google.dev/api/generate-content). By hand:
python -m tests.support.gemini_stand_in --port 9000, with GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:9000.
"""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

_PATH = re.compile(
    r"/(?:v1|v1beta|v1beta1)/.*models/[\w.-]+:"
    r"(generateContent|streamGenerateContent|embedContent|batchEmbedContents)"
)
# A hanging answer ends when the stand-in stops, or after this.
_HANG_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    How one request is answered.

    Attributes:
        pieces: The text of the candidate, a stream event each; a callable makes them of the
            request.
        finish_reason: Of the last event; empty leaves it out.
        status: Other than 200, *body* is sent and nothing else.
        cut_after: Events after which the connection is closed without a word.
        drip_seconds: Wait between the bytes of the answer.
        hold_after: Events after which it waits until release() is called.
        hang: Answer nothing.
        raw: Sent in place of the events.
        block_reason: Of the prompt; then there are no candidates.
        usage: Whether the last event tells the tokens.
        dimension: Of vectors; None gives what is asked for.
        vectors: How many are given for a request; None gives one for each text.
        max_characters: Of a text that is embedded; a longer one is refused.
    """

    pieces: Sequence[str] | Callable[[dict[str, Any]], Sequence[str]] = ()
    finish_reason: str = "STOP"
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    cut_after: int | None = None
    drip_seconds: float = 0.0
    hold_after: int | None = None
    hang: bool = False
    raw: str = ""
    block_reason: str = ""
    usage: bool = True
    dimension: int | None = None
    vectors: int | None = None
    max_characters: int = 100_000


def answering(
    answer: str, quotes: Sequence[tuple[int, str]] = (), *, grounded: bool = True, pieces: int = 5
) -> Scenario:
    """Answer with the JSON that the schema asks for, in so many pieces."""
    text = json.dumps(
        {
            "grounded": grounded,
            "answer": answer,
            "quotes": [{"passage": number, "quote": quote} for number, quote in quotes],
        },
        ensure_ascii=False,
    )
    return Scenario(pieces=split_evenly(text, pieces))


def split_evenly(text: str, count: int) -> list[str]:
    """Return *text* in *count* pieces."""
    size = max(1, -(-len(text) // count))
    return [text[start : start + size] for start in range(0, len(text), size)]


def failing(status: int, *, retry_delay: str = "", quota_id: str = "") -> Scenario:
    """Answer with an error as Google's services write it."""
    details: list[dict[str, Any]] = []
    if quota_id:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                "violations": [{"quotaId": quota_id}],
            }
        )
    if retry_delay:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": retry_delay}
        )
    return Scenario(
        status=status,
        body={"error": {"code": status, "message": "as asked", "details": details}},
    )


def quote_first_passage(request: dict[str, Any]) -> list[str]:
    """Answer with the first sentence of passage 1, quoted: what a good model might do."""
    prompt = prompt_of(request)
    found = re.search(r"BEGIN PASSAGE 1\n.*?\n\n(.*?)\n\S+ END PASSAGE 1", prompt, re.DOTALL)
    text = found.group(1) if found else ""
    sentence = re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
    if "BEGIN CONVERSATION" in prompt:
        question = prompt.rpartition("Last question: ")[2]
        return [json.dumps({"question": question})]
    answer = {
        "grounded": bool(sentence),
        "answer": f"{sentence} [1]" if sentence else "The documents do not answer this.",
        "quotes": [{"passage": 1, "quote": sentence}] if sentence else [],
    }
    return split_evenly(json.dumps(answer, ensure_ascii=False), 8)


def prompt_of(request: dict[str, Any]) -> str:
    """Return the text of a request's contents."""
    return "".join(
        part.get("text", "") for content in request["contents"] for part in content["parts"]
    )


def embedded_texts(request: dict[str, Any]) -> list[str]:
    """Return the texts of a request for vectors."""
    return [
        "".join(part.get("text", "") for part in each["content"]["parts"])
        for each in request.get("requests", [request])
    ]


def embedding_options(request: dict[str, Any]) -> dict[str, Any]:
    """Return what the first text of a request asks of its vector: Vertex AI nests it."""
    first: dict[str, Any] = request.get("requests", [request])[0]
    nested: dict[str, Any] = first.get("embedContentConfig", first)
    return nested


def make_vector(text: str, dimension: int) -> list[float]:
    """Return a vector of any length that lies near those of texts with the same words."""
    vector = [0.0] * dimension
    for word in re.findall(r"[^\W_]+", text.lower().rpartition(": ")[2]):
        vector[zlib.crc32(word.encode()) % dimension] += 3.0
    return vector if any(vector) else [1.0] * dimension


ANSWERS = Scenario(pieces=quote_first_passage)
RATE_LIMITED = failing(
    429, retry_delay="0.2s", quota_id="GenerateRequestsPerMinutePerProjectPerModel"
)
RATE_LIMITED_LONG = failing(
    429, retry_delay="3600s", quota_id="GenerateRequestsPerMinutePerProjectPerModel"
)
WRONG_KEY = Scenario(
    status=400,
    body={"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}},
)
WRONG_DIMENSION = Scenario(dimension=100)
TOO_FEW_VECTORS = Scenario(vectors=1)
TEXTS_TOO_LONG = Scenario(max_characters=50)
QUOTA_EXHAUSTED = failing(
    429, retry_delay="0.2s", quota_id="GenerateRequestsPerDayPerProjectPerModel-FreeTier"
)
INTERNAL = failing(500)
UNAVAILABLE = failing(503)
FORBIDDEN = failing(403)
RETIRED = failing(404)
HANG = Scenario(hang=True)
DRIP = Scenario(pieces=quote_first_passage, drip_seconds=0.05)
CUT = Scenario(pieces=quote_first_passage, cut_after=3)
CUT_AT_ONCE = Scenario(pieces=quote_first_passage, cut_after=0)
BLOCKED = Scenario(pieces=["I "], finish_reason="SAFETY")
PROMPT_BLOCKED = Scenario(block_reason="PROHIBITED_CONTENT")
EMPTY = Scenario(pieces=[])
NO_FINISH = Scenario(pieces=quote_first_passage, finish_reason="")
BAD_JSON = Scenario(raw="data: {oops\r\n\r\n")
NO_JSON = Scenario(raw="<html>a proxy's page</html>")
MAX_TOKENS = Scenario(pieces=['{"grounded": true, "answer": "It was'], finish_reason="MAX_TOKENS")


class GeminiStandIn:
    """
    The server; *scenarios* are used in turn, the last one again and again.

    Attributes:
        requests: The bodies received, oldest first.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.scenarios: list[Scenario] = [ANSWERS]
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._make_handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def plan(self, *scenarios: Scenario) -> None:
        """Answer the next requests so, and forget those received."""
        with self._lock:
            self.scenarios = list(scenarios)
            self.requests.clear()
            self._released.clear()

    def release(self) -> None:
        """Go on with the answer that is held."""
        self._released.set()

    def serve(self) -> None:
        """Serve until stopped."""
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        """Stop, hanging answers too."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _next(self, request: dict[str, Any], headers: dict[str, str]) -> Scenario:
        with self._lock:
            self.requests.append(request)
            self.headers.append(headers)
            return self.scenarios.pop(0) if len(self.scenarios) > 1 else self.scenarios[0]

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                match = _PATH.fullmatch(self.path.partition("?")[0])
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if match is None:
                    self._send_json(404, {"error": {"code": 404, "message": "unknown path"}})
                    return
                request = json.loads(body)
                scenario = stand_in._next(request, dict(self.headers))
                stream = match.group(1) == "streamGenerateContent"
                try:
                    self._play(scenario, request, stream=stream)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def _play(self, scenario: Scenario, request: dict[str, Any], *, stream: bool) -> None:
                if scenario.hang:
                    stand_in._stopping.wait(_HANG_SECONDS)
                    self.close_connection = True
                elif scenario.status != 200:
                    self._send_json(scenario.status, scenario.body)
                elif "requests" in request or "content" in request:
                    self._send_vectors(scenario, request)
                elif stream:
                    self._send_stream(scenario, request)
                else:
                    self._send_json(200, _whole(scenario, request))

            def _send_vectors(self, scenario: Scenario, request: dict[str, Any]) -> None:
                texts = embedded_texts(request)
                if any(len(text) > scenario.max_characters for text in texts):
                    message = "The input text exceeds the maximum number of tokens."
                    self._send_json(400, {"error": {"code": 400, "message": message}})
                    return
                dimension = scenario.dimension or embedding_options(request).get(
                    "outputDimensionality", 3072
                )
                made = [{"values": make_vector(text, dimension)} for text in texts]
                self._send_json(
                    200,
                    {"embeddings": made[: scenario.vectors]}
                    if "requests" in request
                    else {"embedding": made[0]},
                )

            def _send_json(self, status: int, value: dict[str, Any]) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _send_stream(self, scenario: Scenario, request: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for index, event in enumerate(_events(scenario, request)):
                    if index == scenario.cut_after:
                        self.close_connection = True
                        return
                    if index == scenario.hold_after:
                        stand_in._released.wait(_HANG_SECONDS)
                    self._send_chunk(event.encode(), drip_seconds=scenario.drip_seconds)
                self.wfile.write(b"0\r\n\r\n")

            def _send_chunk(self, data: bytes, *, drip_seconds: float) -> None:
                step = 1 if drip_seconds else len(data)
                for start in range(0, len(data), step):
                    part = data[start : start + step]
                    self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    self.wfile.flush()
                    if drip_seconds and stand_in._stopping.wait(drip_seconds):
                        return

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the tests' output is their own."""

        return Handler


def _whole(scenario: Scenario, request: dict[str, Any]) -> dict[str, Any]:
    pieces = scenario.pieces(request) if callable(scenario.pieces) else scenario.pieces
    if scenario.block_reason:
        return {"promptFeedback": {"blockReason": scenario.block_reason}}
    candidate: dict[str, Any] = {"index": 0}
    if pieces:
        candidate["content"] = {"role": "model", "parts": [{"text": "".join(pieces)}]}
    if scenario.finish_reason:
        candidate["finishReason"] = scenario.finish_reason
    return {"candidates": [candidate], "usageMetadata": _USAGE}


_USAGE = {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120}


def _events(scenario: Scenario, request: dict[str, Any]) -> Iterator[str]:
    if scenario.raw:
        yield scenario.raw
        return
    if scenario.block_reason:
        yield _event({"promptFeedback": {"blockReason": scenario.block_reason}})
        return
    pieces = scenario.pieces(request) if callable(scenario.pieces) else scenario.pieces
    for piece in pieces:
        content = {"role": "model", "parts": [{"text": piece}]}
        yield _event({"candidates": [{"index": 0, "content": content}]})
    last: dict[str, Any] = {"index": 0}
    if scenario.finish_reason:
        last["finishReason"] = scenario.finish_reason
    yield _event({"candidates": [last]} | ({"usageMetadata": _USAGE} if scenario.usage else {}))


def _event(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value)}\r\n\r\n"


@contextmanager
def gemini_stand_in() -> Iterator[GeminiStandIn]:
    """Run a stand-in for the time of the block."""
    stand_in = GeminiStandIn()
    thread = threading.Thread(target=stand_in.serve, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.stop()
        thread.join(timeout=5)


@click.command()
@click.option("--port", default=9000, show_default=True)
def main(port: int) -> None:
    """Answer every question with the first sentence of its first passage."""
    stand_in = GeminiStandIn(port=port)
    click.echo(f"GOOGLE_GEMINI_BASE_URL={stand_in.url} GEMINI_API_KEY=any")
    stand_in.serve()


if __name__ == "__main__":
    main()
