"""The stream of uploads, overwrites and deletes, and the questions asked all the while."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import requests
from google.api_core.exceptions import GoogleAPICallError, NotFound, RetryError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY

from tests.faults.ledger import Asked, Ledger

_OBJECTS = 8
_QUESTION_SECONDS = 30.0
_PATIENT = DEFAULT_RETRY.with_timeout(60.0)
# What a service may say that cannot answer now; anything else but 200 is wrong.
_REFUSALS = frozenset({429, 502, 503, 504})
_VOCABULARY = """
    anchor barrel candle drawer engine ferry garden hammer island jacket kettle ladder market
    needle orchard pocket quarry ribbon saddle timber umbrella valley window yard bridge copper
    desert ember forest glacier harbour ivory jungle kernel lantern marble nectar oyster pepper
"""


def write_text(name: str, edition: int, *, parts: int) -> bytes:
    """Return a text of so many chunks; every other part is the same in all editions."""
    vocabulary = _VOCABULARY.split()
    paragraphs = [f"# Register {name}"]
    for part in range(parts):
        seed = f"{name} {part}" if part % 2 else f"{name} {part} {edition}"
        words = random.Random(seed)
        sentences = [
            f"Entry {words.randrange(10**6)} keeps the {' '.join(words.choices(vocabulary, k=9))}."
            for _ in range(11)
        ]
        paragraphs.append(" ".join(sentences))
    return "\n\n".join(paragraphs).encode()


class Writer:
    """
    Uploads, overwrites and deletes, one after the other, until stopped.

    Attributes:
        operations: How many were done.
        failure: What ended it before its time.
    """

    def __init__(
        self, bucket: Callable[[], storage.Bucket], ledger: Ledger, *, prefix: str, pause: float
    ) -> None:
        self.operations = 0
        self.failure: Exception | None = None
        self.names = [f"{prefix}/{number}.md" for number in range(_OBJECTS)]
        self._bucket = bucket()
        self._ledger = ledger
        self._random = random.Random(prefix)
        self._editions: Counter[str] = Counter()
        self._living: set[str] = set()
        self._pause_seconds = pause
        self._over = threading.Event()
        # One change at a time, whoever asks for it: their order is the history.
        self._changing = threading.Lock()
        self._thread = threading.Thread(target=self._write)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the operation at hand and end."""
        self._over.set()
        self._thread.join()

    def upload(self, name: str, data: bytes | None = None) -> int:
        """Upload *data*, or the next edition of an object; return its generation."""
        with self._changing:
            if data is None:
                self._editions[name] += 1
                parts = random.Random(name).randrange(3, 9)
                data = write_text(name, self._editions[name], parts=parts)
            self._ledger.upload_begins(name, data)
            blob = self._bucket.blob(name)
            blob.upload_from_string(data, content_type="text/markdown", retry=_PATIENT)
            self._ledger.uploaded(name, int(blob.generation), data)
            self._living.add(name)
            return int(blob.generation)

    def delete(self, name: str) -> None:
        """Delete an object."""
        with self._changing:
            self._ledger.may_fall_silent(name)
            self._living.discard(name)
            # Where it is not found, the first try had done it and its answer was lost.
            with suppress(NotFound):
                self._bucket.blob(name).delete(retry=_PATIENT)

    def _write(self) -> None:
        while not self._over.is_set():
            name = self._random.choice(self.names)
            try:
                if name in self._living and self._random.random() < 0.25:
                    self.delete(name)
                else:
                    self.upload(name)
            except (GoogleAPICallError, RetryError, requests.RequestException) as error:
                self.failure = error
                return
            self.operations += 1
            self._over.wait(self._pause_seconds)


class Reader:
    """
    Asks without a pause for whole documents, for passages and for answers.

    Attributes:
        counts: How often each outcome was met: answered, refused, unanswered.
    """

    def __init__(self, url: str, ledger: Ledger) -> None:
        self.counts: Counter[str] = Counter()
        self._url = url
        self._ledger = ledger
        self._random = random.Random(1)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(what,))
            for what in (self.ask_for_document, self.ask_for_answer)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the questions at hand and end."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def ask_for_document(self, name: str) -> bool:
        """Ask for all chunks of one object; return whether there was an answer."""
        asked = self._ledger.ask(name)
        body = {
            "question": f"What does the register {name} keep?",
            "filter": {"prefix": name},
            "mode": "vector",
            "limit": 100,
            "per_document": 100,
        }
        answer = self._post("/retrieve", body)
        if answer is None:
            return False
        self._ledger.answered(asked, [(one["generation"], one["text"]) for one in answer])
        return True

    def ask_for_answer(self, name: str) -> None:
        """Ask a question that several objects may answer."""
        asked = {other: self._ledger.ask(other) for other in self._ledger.names()}
        answer = self._post("/query", {"question": f"What does the register {name} keep?"})
        found: dict[Asked, list[tuple[int, str]]] = {}
        for one in answer or ():
            known = asked.get(one["name"]) or self._ledger.ask(one["name"])
            found.setdefault(known, []).append((one["generation"], one["text"]))
        for known, passages in found.items():
            self._ledger.answered_by_sentences(known, passages)

    def _ask(self, ask: Callable[[str], object]) -> None:
        while not self._over.is_set():
            names = self._ledger.names()
            if names:
                # Mostly what is being written now.
                asked_for = names[-_OBJECTS:] if self._random.random() < 0.8 else names
                ask(self._random.choice(asked_for))
            self._over.wait(0.05)

    def _post(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]] | None:
        begun = time.monotonic()
        try:
            response = requests.post(self._url + path, json=body, timeout=_QUESTION_SECONDS)
        except requests.RequestException:
            self.counts["unanswered"] += 1
            return None
        finally:
            self.counts["slowest"] = max(
                self.counts["slowest"], round(1000 * (time.monotonic() - begun))
            )
        if response.status_code in _REFUSALS and "passages" not in response.json():
            self.counts["refused"] += 1
            return None
        if response.status_code != 200 and response.status_code not in _REFUSALS:
            self._ledger.wrong.append(f"{path} answers {response.status_code}")
            return None
        self.counts["answered"] += 1
        passages: list[dict[str, Any]] = response.json()["passages"]
        return passages
