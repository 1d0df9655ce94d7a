"""
Answer ids: what a rating speaks of. Pure, but for the secret's cache.

An id is signed and says when which model answered, whether the documents carried it, which of them
it cites, and a keyed hash of the question: a rating needs no record of the answer, and only an
answer that was given can be rated. It holds no text.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from shared.store import GivenAnswer, Pool, connect, read_link_secret

from .signing import sign, verify

# Shorter than what ratings are kept for (forget_old, 32 days at least), so that none counts twice.
LIFETIME_DAYS = 30
_PURPOSE = b"answer 1\n"
_QUESTION = b"question 1\n"
_MAX_DOCUMENTS = 20
_SECRET_SECONDS = 60.0


def write_answer_id(answer: GivenAnswer, *, secret: bytes) -> str:
    """Return what the reply says as answer_id."""
    fields = {
        "id": answer.id.hex,
        "at": int(answer.answered.timestamp()),
        "model": answer.model,
        "grounded": answer.grounded,
        "question": answer.question.hex(),
        "documents": [document.hex for document in answer.documents],
    }
    return sign(json.dumps(fields, separators=(",", ":")).encode(), secret=secret, purpose=_PURPOSE)


def read_answer_id(token: str, *, secret: bytes, now: float) -> GivenAnswer | None:
    """Return what *token* speaks of; None if it is not signed so, or has expired."""
    payload = verify(token, secret=secret, purpose=_PURPOSE)
    if payload is None:
        return None
    fields = json.loads(payload)
    if fields["at"] + LIFETIME_DAYS * 86_400 <= now:
        return None
    return GivenAnswer(
        id=UUID(fields["id"]),
        answered=datetime.fromtimestamp(fields["at"], UTC),
        model=fields["model"],
        grounded=fields["grounded"],
        question=bytes.fromhex(fields["question"]),
        documents=[UUID(document) for document in fields["documents"]],
    )


@dataclass(frozen=True, slots=True)
class AnswerSigner:
    """Writes the ids of answers that are given now."""

    secret: bytes

    def sign(
        self,
        answer_id: UUID,
        *,
        question: str,
        model: str,
        grounded: bool,
        documents: Iterable[UUID],
    ) -> str:
        """Return the id of an answer; *documents* are those that it cites."""
        answer = GivenAnswer(
            id=answer_id,
            answered=datetime.now(UTC),
            model=model,
            grounded=grounded,
            question=hmac.digest(self.secret, _QUESTION + question.encode(), hashlib.sha256),
            documents=list(dict.fromkeys(documents))[:_MAX_DOCUMENTS],
        )
        return write_answer_id(answer, secret=self.secret)


class SignerCache:
    """Reads the secret of the database once a minute."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._signer: AnswerSigner | None = None
        self._read = 0.0

    def get(self) -> AnswerSigner:
        """
        Return the signer; asked for before the answer, so that nothing is waited for after it.

        Raises:
            DatabaseUnavailable: The database is away.
        """
        signer = self._signer
        if signer is None or time.monotonic() - self._read > _SECRET_SECONDS:
            with connect(self._pool) as connection:
                signer = AnswerSigner(read_link_secret(connection))
            self._signer, self._read = signer, time.monotonic()
        return signer
