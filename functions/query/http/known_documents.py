"""Documents that the caller may read, for the routes that name one."""

from __future__ import annotations

from uuid import UUID

from flask import g

from shared.store import get_document, reading
from shared.values import DocumentStatus

from ..dependencies import Dependencies
from .audit import note_documents
from .callers import Caller
from .problems import unknown_document


def principals() -> tuple[str, ...]:
    """Return what the caller of this request is known as."""
    caller: Caller = g.caller
    return caller.principals


def find_document(dependencies: Dependencies, document_id: UUID) -> DocumentStatus:
    """
    Return a document that the caller may read.

    Raises:
        ProblemRaised: There is none with this id.
    """
    note_documents([document_id])
    with reading(dependencies.pool, principals()) as connection:
        document = get_document(connection, document_id)
    if document is None:
        raise unknown_document()
    return document
