"""
Settings from environment variables, and one error that names every fault in them.

Each function composes its own Settings from these groups and adds what only it needs.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.errors import Misconfigured


def _split_commas(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _check_project_id(value: str) -> str:
    # https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin;
    # ids of before 2012 begin with a domain.
    if not re.fullmatch(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]", value):
        raise ValueError(
            "a project's id has 6 to 30 lower-case letters, digits and hyphens, begins with a"
            " letter and does not end with a hyphen"
        )
    return value


ProjectId = Annotated[str, AfterValidator(_check_project_id)]
CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]


class _Group(BaseSettings):
    """An empty variable counts as absent: Compose and Terraform set empty ones."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)


class DatabaseSettings(_Group):
    """
    Where the database is; libpq's parameters in DATABASE_URL hold, connect_timeout and options too.

    With DATABASE_IAM_AUTH the password is a fresh access token of the service account
    (https://cloud.google.com/sql/docs/postgres/iam-authentication).
    """

    database_url: SecretStr
    database_pool_size: int = Field(default=4, ge=1, le=100)
    database_iam_auth: bool = False


class BucketSettings(_Group):
    """Where documents are."""

    google_cloud_project: ProjectId
    documents_bucket: str = Field(min_length=1)


class EventSettings(BucketSettings):
    """Where documents and messages are."""

    object_events_topic: str = "object-events"
    chunk_jobs_topic: str = "chunk-jobs"
    dead_letters_topic: str = "dead-letters"


class DocumentEventSettings(_Group):
    """The topic for events of documents; where it is empty, none are written."""

    google_cloud_project: str = ""
    document_events_topic: str = ""

    @model_validator(mode="after")
    def _check_topic(self) -> Self:
        if self.document_events_topic and not self.google_cloud_project:
            raise ValueError("DOCUMENT_EVENTS_TOPIC needs GOOGLE_CLOUD_PROJECT")
        return self

    @property
    def announces_documents(self) -> bool:
        """Whether events of documents are written and published."""
        return bool(self.document_events_topic)


# https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
GOOGLE_ISSUERS = ["https://accounts.google.com", "accounts.google.com"]
GOOGLE_CERTS_URL = "https://www.googleapis.com/oauth2/v3/certs"


def _check_certs_url(value: str) -> str:
    if not re.match(r"https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/]", value):
        raise ValueError("give an address that begins with https:// (http:// on this machine only)")
    return value


CertsUrl = Annotated[str, AfterValidator(_check_certs_url)]


class TokenSettings(_Group):
    """
    TOKENS_CHECKED_BY_CLOUD_RUN: whether its IAM authenticates every caller before this service.

    It removes the signature of each token that it has checked, so it cannot be checked again.
    """

    tokens_checked_by_cloud_run: bool = False


class HostSettings(_Group):
    """The hosts that a service answers for; empty allows every host."""

    allowed_hosts: CommaSeparated = Field(default=[])


class PushSettings(TokenSettings):
    """Which pushes are accepted: with PUSH_AUDIENCE only those of PUSH_SERVICE_ACCOUNT."""

    push_audience: CommaSeparated = Field(default=[])
    push_service_account: str = Field(default="", pattern=r"^[^@\s]+@[^@\s]+$|^$")

    @model_validator(mode="after")
    def _check_account(self) -> Self:
        if bool(self.push_audience) != bool(self.push_service_account):
            raise ValueError("set both of PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT, or neither")
        return self


class ModelSettings(_Group):
    """
    Which embedding model is served.

    OTHER_MODEL_DIR is the second model's folder while one model takes over from another
    (docs/models.md): a process then has both, and uses the one that the database says.
    """

    model_dir: Path
    other_model_dir: Path | None = None


class GeminiSettings(_Group):
    """
    How Gemini is reached; with neither GEMINI_API_KEY nor GOOGLE_GENAI_USE_VERTEXAI it is not.

    GEMINI_TIMEOUT_SECONDS bounds a call with all its tries.
    """

    google_cloud_project: str = ""
    gemini_api_key: SecretStr = SecretStr("")
    google_genai_use_vertexai: bool = False
    google_cloud_location: str = "global"
    # A model retires within about a year; doctor and deploy.sh ask whether it still answers.
    gemini_model: str = "gemini-3.5-flash-lite"
    google_gemini_base_url: str = ""
    gemini_timeout_seconds: float = Field(default=30, gt=0, le=600)

    @model_validator(mode="after")
    def _check_project(self) -> Self:
        if self.google_genai_use_vertexai and not self.google_cloud_project:
            raise ValueError("GOOGLE_GENAI_USE_VERTEXAI needs GOOGLE_CLOUD_PROJECT")
        return self

    @property
    def gemini_read_timeout_seconds(self) -> float:
        """The longest wait for the next bytes: time is left for another try."""
        return self.gemini_timeout_seconds / 3

    @property
    def gemini_configured(self) -> bool:
        """Whether Gemini can be asked."""
        return bool(self.gemini_api_key.get_secret_value()) or self.google_genai_use_vertexai


class RetrySettings(_Group):
    """
    How often, and how long, one piece of work is tried.

    A lease is renewed while its work goes on, so it is the time until another process may take
    over the work of one that died.
    """

    max_attempts: int = Field(default=10, ge=1, le=100)
    lease_seconds: int = Field(default=60, ge=5, le=3600)


class LogSettings(_Group):
    """What is logged, and in which form."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    google_cloud_project: str = ""


class TraceSettings(_Group):
    """
    Where traces go: nowhere, to a collector that OTEL_EXPORTER_OTLP_ENDPOINT names, or to Google.

    OpenTelemetry reads its other standard variables (OTEL_...) itself.
    """

    trace_exporter: Literal["none", "otlp", "google"] = "none"
    # Seconds. Cloud Run kills ten seconds after SIGTERM, and requests may still end in that time.
    otel_exporter_otlp_timeout: float = Field(default=4, gt=0, le=60)
    google_cloud_project: str = ""


S = TypeVar("S", bound=BaseSettings)
_NOT_SET = "missing"  # pydantic's name for it


def find_faults(settings: type[BaseSettings]) -> list[str]:
    """Return one sentence for each variable that *settings* cannot take from the environment."""
    try:
        settings()
    except ValidationError as error:
        return _describe(error)
    return []


def _describe(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors(include_input=False, include_url=False):
        name = ".".join(str(part) for part in fault["loc"]).upper()
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == _NOT_SET:
            faults.append(f"{name} is not set")
        else:
            faults.append(f"{name}: {message}" if name else message)
    return faults


@cache
def load(settings: type[S]) -> S:
    """
    Read *settings* from the environment, once a process.

    Raises:
        Misconfigured: Names every variable at fault, not only the first.
    """
    try:
        return settings()
    except ValidationError as error:
        faults = "; ".join(_describe(error))
        raise Misconfigured(f"environment variables are missing or wrong: {faults}") from None
