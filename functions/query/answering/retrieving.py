"""The stage that finds passages. The question is embedded while the database analyses its words."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextvars import copy_context
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.embedding.embedder import TextEmbedder
from shared.errors import EmbeddingUnavailable, Misconfigured, ModelSwitched, RejectedByModel
from shared.runtime.logs import get_logger
from shared.runtime.tracing import span
from shared.search.statement import SearchResult
from shared.store import NO_MODEL, Pool, RegisteredModel, reading, serving_model

from .copies import merge_copies, with_spare
from .journal import Journal
from .missing import correct_spelling, holds_named
from .query import Query, Retrieval, RewrittenQuery

logger = get_logger(__name__)

# Of what a question names, so much is looked for in all documents, among so many passages each.
_MOST_NAMED = 4
_LOOKED_AT = 30

# shared.search.statement.search
Search = Callable[..., SearchResult]
# The model of a digest; raises Misconfigured where it is not loaded in this process.
FindEmbedder = Callable[[str], TextEmbedder]


@dataclass(slots=True)
class ServingModelCache:
    """
    The serving model as last seen; a search reports when it has changed.

    Attributes:
        model: None if it has to be looked up.
    """

    model: RegisteredModel | None = None

    def find(self, pool: Pool) -> RegisteredModel:
        """
        Return the model.

        Raises:
            DatabaseUnavailable: The database is away.
            Misconfigured: There is no model yet.
        """
        model = self.model
        if model is None:
            with reading(pool, ()) as connection:
                model = serving_model(connection)
            if model is None:
                raise Misconfigured(NO_MODEL)
            self.model = model
        return model


@dataclass(frozen=True, slots=True)
class Retriever:
    """
    The dependencies of finding passages.

    Attributes:
        embedding_threads: As many as may run the model at once.
    """

    pool: Pool
    search: Search
    find_embedder: FindEmbedder
    embedding_threads: Executor
    serving: ServingModelCache


def find(
    query: Query,
    rewritten: RewrittenQuery,
    *,
    retriever: Retriever,
    candidates: int,
    journal: Journal,
) -> Retrieval:
    """
    Return the passages for *query*, best first.

    Args:
        candidates: How many passages at most.

    Raises:
        DatabaseUnavailable: The database is away.
        Misconfigured: The model that answers is not loaded in this process.
        ModelSwitched: The model that answers was switched twice meanwhile.
        EmbeddingUnavailable: The model did not answer, and passages are wanted by meaning alone.
    """
    question = rewritten.question
    not_embedded = ""
    try:
        result, embedder = _search(query, question, retriever, candidates, journal)
        corrected = correct_spelling(question, result.question, is_word=embedder.is_word)
        if corrected != question:
            question = corrected
            result, embedder = _search(query, question, retriever, candidates, journal)
    except ModelSwitched:
        retriever.serving.model = None
        result, embedder = _search(query, question, retriever, candidates, journal)
    except (EmbeddingUnavailable, RejectedByModel) as error:
        if query.mode == "vector":
            raise
        logger.warning("question not embedded", error=str(error))
        not_embedded = str(error)
        result, embedder = _search(query, question, retriever, candidates, journal, by_words=True)
    hits = merge_copies(result.hits)[:candidates]
    journal.explain(
        question=question,
        rewritten_by=rewritten.rewritten_by,
        mode=query.mode,
        languages=[] if result.question is None else result.question.languages,
        weights=result.weights,
        hits=len(hits),
        copies=sum(len(hit.also_in) for hit in hits),
        vector_leg=sum(hit.vector_rank is not None for hit in hits),
        text_leg=sum(hit.text_rank is not None for hit in hits),
    )
    return Retrieval(
        question, hits, analysis=result.question, embedder=embedder, not_embedded=not_embedded
    )


def find_absent(named: Sequence[str], *, query: Query, retriever: Retriever) -> list[str]:
    """
    Return which of *named* stand in none of the documents that *query* asks.

    Raises:
        DatabaseUnavailable: The database is away.
    """
    absent = []
    for each in named[:_MOST_NAMED]:
        asked = each if " " not in each or each.startswith('"') else f'"{each}"'
        result, _ = _search(query, asked, retriever, _LOOKED_AT, Journal(), by_words=True)
        if not holds_named(each, result.hits):
            absent.append(each)
    return absent


def _search(
    query: Query,
    question: str,
    retriever: Retriever,
    candidates: int,
    journal: Journal,
    *,
    by_words: bool = False,
) -> tuple[SearchResult, TextEmbedder]:
    options = {} if query.per_document is None else {"per_document": query.per_document}
    model = retriever.serving.find(retriever.pool)
    embedder = retriever.find_embedder(model.digest)
    started = embedded = time.perf_counter()

    def embed() -> NDArray[np.float32]:
        nonlocal embedded
        if by_words:
            # The statement needs a vector in any case; this one has unit length and resembles no
            # text.
            nothing = np.zeros(embedder.info.dimension, dtype=np.float32)
            nothing[0] = 1
            return nothing
        with span("embed"):
            embedding = embedder.embed_query(question)
        journal.record("embed", since=started)
        embedded = time.perf_counter()
        return embedding

    embedding = retriever.embedding_threads.submit(copy_context().run, embed)
    with (
        reading(retriever.pool, query.principals) as connection,
        span("search", {"limit": query.limit, "mode": query.mode}) as note,
    ):
        result = retriever.search(
            connection,
            question=question,
            embedding=embedding,
            model_digest=model.digest,
            unrelated_similarity=embedder.info.unrelated_similarity,
            multilingual=embedder.info.multilingual,
            limit=with_spare(candidates),
            filter=query.filter,
            mode="text" if by_words else query.mode,
            **options,
        )
        note({"hits": len(result.hits)})
    # Until then the question was being embedded, and the two overlap.
    journal.record("retrieve", since=embedded)
    return result, embedder
