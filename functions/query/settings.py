"""What the query function reads from the environment."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from shared.gemini.requests import ThinkingLevel
from shared.settings import (
    GOOGLE_CERTS_URL,
    GOOGLE_ISSUERS,
    CertsUrl,
    CommaSeparated,
    DatabaseSettings,
    GeminiSettings,
    LogSettings,
    ModelSettings,
)

# A question with a long conversation has a few kilobytes.
MAX_REQUEST_BYTES = 262_144

_KEY = re.compile(r"(?:(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,62})=)?(?P<digest>[0-9a-fA-F]{64})")
_OWN_PRINCIPALS = frozenset({"key", "email", "domain", "subject"})
_ORIGIN = re.compile(r"\*|https?://[^/\s?#@]+")


def _check_digests(digests: list[str]) -> list[str]:
    if not all(_KEY.fullmatch(digest) for digest in digests):
        raise ValueError(
            "give the sha256 of each key in hexadecimal, not the key: printf %s KEY | sha256sum;"
            " optionally prefixed with a name: NAME=SHA256"
        )
    return digests


def _check_claims(names: list[str]) -> list[str]:
    if any(name in _OWN_PRINCIPALS or not re.fullmatch(r"[\w./:-]+", name) for name in names):
        raise ValueError("give names of claims, such as groups; not key, email, domain or subject")
    return names


def _check_origins(origins: list[str]) -> list[str]:
    if not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("give origins as https://host[:port] without a path, or *")
    return origins


class QuerySettings(DatabaseSettings, ModelSettings, GeminiSettings, LogSettings):
    """
    Settings of the query function.

    With QUERY_AUDIENCE callers send identity tokens, with API_KEYS keys; with both, either.

    Without GEMINI_API_KEY and GOOGLE_GENAI_USE_VERTEXAI answers are extractive.
    """

    # For all statements of one step of a request; after it the answer is 503.
    database_answer_timeout_seconds: int = Field(default=15, ge=1, le=3600)

    gemini_max_output_tokens: int = Field(default=8192, ge=64, le=65536)
    # None leaves it to the model. Gemini 3 and later read the level, older models the budget.
    gemini_thinking_level: ThinkingLevel | None = None
    gemini_thinking_budget: int | None = Field(default=None, ge=-1, le=32768)
    # What passages have to reach, in one or the other (python -m admin.evaluation SET --calibrate).
    refusal_coverage: float | None = Field(default=None, ge=0, le=1)
    refusal_similarity: float | None = Field(default=None, ge=-1, le=1)
    # none, vertex, vertex:MODEL or the folder of a cross-encoder (docs/models.md).
    reranker: str = Field(default="none", min_length=1)
    # Whether answers without Gemini are chosen by the reader too, where the model has one.
    reader_enabled: bool = True
    daily_token_budget: int = Field(default=0, ge=0)
    answer_cache_seconds: int = Field(default=0, ge=0, le=30 * 86_400)

    cors_allowed_origins: Annotated[CommaSeparated, AfterValidator(_check_origins)] = Field(
        default=[]
    )
    api_keys: Annotated[CommaSeparated, AfterValidator(_check_digests)] = Field(default=[])
    query_audience: CommaSeparated = Field(default=[])
    query_issuers: CommaSeparated = Field(default=GOOGLE_ISSUERS)
    query_certs_url: CertsUrl = GOOGLE_CERTS_URL
    query_token_header: str = Field(default="Authorization", pattern=r"^[A-Za-z0-9-]+$")
    query_claims: Annotated[CommaSeparated, AfterValidator(_check_claims)] = Field(default=[])
    # A caller needs one of these principals; empty admits every token for this audience.
    query_callers: CommaSeparated = Field(default=[])
    allowed_hosts: CommaSeparated = Field(default=[])
    rate_limit_per_minute: int = Field(default=0, ge=0, le=100_000)
    # How many proxies in front add to X-Forwarded-For; Cloud Run's front end is one.
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    max_concurrent_requests: int = Field(default=40, ge=1, le=1_000)

    # Which questions are kept with their text, and for how long.
    keep_questions: Literal["none", "unanswered", "all"] = "none"
    keep_questions_days: int = Field(default=90, ge=1, le=3650)

    # A line for each question and each document that is read: who, which documents, which outcome.
    audit_log: bool = False
    metrics_enabled: bool = False
    suggestions_enabled: bool = True
    feedback_enabled: bool = True
    uploads_enabled: bool = False
    documents_bucket: str = ""
    max_file_bytes: int = Field(default=268_435_456, ge=1)

    @property
    def key_names(self) -> dict[str, str | None]:
        """Return the name of each key by its digest, None if it has none."""
        matches = [match for key in self.api_keys if (match := _KEY.fullmatch(key))]
        return {match["digest"].lower(): match["name"] for match in matches}

    @model_validator(mode="after")
    def _check_reranker(self) -> QuerySettings:
        if self.reranker.partition(":")[0] == "vertex" and not self.google_cloud_project:
            raise ValueError("RERANKER=vertex needs GOOGLE_CLOUD_PROJECT")
        return self

    @model_validator(mode="after")
    def _check_audit_log(self) -> QuerySettings:
        if self.audit_log and self.log_level not in ("DEBUG", "INFO"):
            raise ValueError("AUDIT_LOG=true needs LOG_LEVEL=INFO or DEBUG")
        return self

    @model_validator(mode="after")
    def _check_uploads(self) -> QuerySettings:
        if self.uploads_enabled and not (self.documents_bucket and self.google_cloud_project):
            raise ValueError("UPLOADS_ENABLED needs DOCUMENTS_BUCKET and GOOGLE_CLOUD_PROJECT")
        return self
