"""What the interface needs, made from the settings once a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.store import Pool

from .answering.dependencies import AnsweringDependencies
from .answering.retrieving import FindEmbedder
from .quotas.rate_limit import RateLimiter
from .settings import QuerySettings

if TYPE_CHECKING:
    from shared.bucket import DocumentBucket
    from shared.runtime.identity import TokenVerifier

    from .metrics import Metrics


@dataclass(frozen=True, slots=True)
class Dependencies:
    """
    What the interface needs.

    Attributes:
        find_embedder: The model of a digest; raises Misconfigured where it is not loaded here.
        limiter: None if requests are not limited.
        make_originals: The bucket to read files from; None if it is not known.
        make_uploads: None if the service may not write to the bucket.
        metrics: None if nothing is measured.
        tokens: None if callers send no identity tokens.
    """

    settings: QuerySettings
    pool: Pool
    answering: AnsweringDependencies
    find_embedder: FindEmbedder
    limiter: RateLimiter | None
    make_originals: Callable[[], DocumentBucket] | None
    make_uploads: Callable[[], DocumentBucket] | None
    metrics: Metrics | None
    tokens: TokenVerifier | None


def make_dependencies(
    settings: QuerySettings,
    *,
    pool: Pool,
    answering: AnsweringDependencies,
    find_embedder: FindEmbedder,
    make_originals: Callable[[], DocumentBucket] | None = None,
    make_uploads: Callable[[], DocumentBucket] | None = None,
    metrics: Metrics | None = None,
    tokens: TokenVerifier | None = None,
) -> Dependencies:
    """Return what the interface needs under *settings*."""
    return Dependencies(
        settings=settings,
        pool=pool,
        answering=answering,
        find_embedder=find_embedder,
        limiter=RateLimiter(pool, per_minute=settings.rate_limit_per_minute)
        if settings.rate_limit_per_minute
        else None,
        make_originals=make_originals,
        make_uploads=make_uploads,
        metrics=metrics,
        tokens=tokens,
    )
