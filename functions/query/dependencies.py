"""What the interface needs; made once a process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.store import Pool

from .answering.generation import Gemini
from .answering.pipeline import FindEmbedder, Refuse, Search, Serving
from .quotas.limits import AnswerCache, RateLimiter, TokenBudget
from .settings import QuerySettings

if TYPE_CHECKING:
    from shared.bucket import DocumentBucket
    from shared.runtime.identity import TokenVerifier

    from .metrics import Metrics


@dataclass(frozen=True, slots=True)
class Services:
    """
    What the interface needs.

    Attributes:
        find_embedder: The model of a digest; raises Misconfigured where this process has it not.
        embedding_threads: As many as may run the model at once.
        gemini: None where answers are extractive.
        limiter: None where requests are not limited.
        budget: None where tokens are not limited.
        cache: None where answers are not kept.
        make_uploads: None where the service may not write to the bucket.
        metrics: None where nothing is measured.
        tokens: None where callers send no identity tokens.
        serving: The model that answers, as last seen.
    """

    settings: QuerySettings
    pool: Pool
    find_embedder: FindEmbedder
    embedding_threads: Executor
    search: Search
    refuse: Refuse
    gemini: Gemini | None
    limiter: RateLimiter | None
    budget: TokenBudget | None
    cache: AnswerCache | None
    make_uploads: Callable[[], DocumentBucket] | None
    metrics: Metrics | None = None
    tokens: TokenVerifier | None = None
    serving: Serving = field(default_factory=Serving)
