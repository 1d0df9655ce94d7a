"""The dependencies of answering, made from the settings once a process."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.embedding.reader import Readers
from shared.search.statement import search
from shared.store import Pool

from ..quotas.answer_cache import AnswerCache
from ..quotas.kept_questions import QuestionKeeper
from ..quotas.token_budget import TokenBudget
from ..settings import QuerySettings
from .answerability import Floors, choose_floors
from .choosing import Choosing, read_choosings
from .generation import Gemini
from .reranking import Reranker
from .retrieving import FindEmbedder, Retriever, Search, ServingModelCache
from .sentence_vectors import SentenceVectors

if TYPE_CHECKING:
    from ..metrics import Metrics


@dataclass(frozen=True, slots=True)
class AnsweringDependencies:
    """
    The dependencies of the stages of an answer.

    Attributes:
        reranker: None if the order of the search stands.
        choosing: What an answer without a model is chosen by, by the digest of the embedding model.
        readers: None if answers without a model are chosen without one.
        sentences: Vectors that are kept from question to question.
        gemini: None if answers are extractive.
        budget: None if tokens are not limited.
        cache: None if answers are not kept.
        questions: None if no question is kept.
        metrics: None if nothing is measured.
    """

    pool: Pool
    retriever: Retriever
    reranker: Reranker | None
    floors: Floors
    choosing: Mapping[str, Choosing]
    readers: Readers | None
    sentences: SentenceVectors
    gemini: Gemini | None
    budget: TokenBudget | None
    cache: AnswerCache | None
    questions: QuestionKeeper | None
    metrics: Metrics | None


def make_answering_dependencies(
    settings: QuerySettings,
    *,
    pool: Pool,
    find_embedder: FindEmbedder,
    embedding_threads: Executor,
    gemini: Gemini | None,
    metrics: Metrics | None,
    search: Search = search,
    reranker: Reranker | None = None,
    readers: Readers | None = None,
) -> AnsweringDependencies:
    """Return the dependencies that *settings* ask for."""
    return AnsweringDependencies(
        pool=pool,
        retriever=Retriever(
            pool=pool,
            search=search,
            find_embedder=find_embedder,
            embedding_threads=embedding_threads,
            serving=ServingModelCache(),
        ),
        reranker=reranker,
        floors=choose_floors(
            extractive=gemini is None,
            coverage=settings.refusal_coverage,
            similarity=settings.refusal_similarity,
        ),
        choosing=read_choosings([settings.model_dir, settings.other_model_dir]),
        readers=readers,
        sentences=SentenceVectors(),
        gemini=gemini,
        budget=TokenBudget(pool, tokens_per_day=settings.daily_token_budget)
        if settings.daily_token_budget
        else None,
        cache=AnswerCache(pool, max_age_seconds=settings.answer_cache_seconds)
        if settings.answer_cache_seconds
        else None,
        questions=None
        if settings.keep_questions == "none"
        else QuestionKeeper(pool, which=settings.keep_questions, days=settings.keep_questions_days),
        metrics=metrics,
    )
