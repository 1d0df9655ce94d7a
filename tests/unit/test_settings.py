"""Settings come from the environment, and one error names every fault in them."""

from __future__ import annotations

import pytest
from pydantic import Field

from shared.errors import Misconfigured
from shared.settings import CommaSeparated, DatabaseSettings, EventSettings, load


class Settings(DatabaseSettings, EventSettings):
    allowed: CommaSeparated = Field(default_factory=list)


@pytest.fixture(autouse=True)
def no_memory() -> None:
    load.cache_clear()


def test_every_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator mends all of them in one go."""
    for name in ("DATABASE_URL", "GOOGLE_CLOUD_PROJECT", "DOCUMENTS_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_POOL_SIZE", "many")
    with pytest.raises(Misconfigured) as caught:
        load(Settings)
    for name in (
        "DATABASE_URL",
        "GOOGLE_CLOUD_PROJECT",
        "DOCUMENTS_BUCKET",
        "DATABASE_POOL_SIZE",
    ):
        assert name in str(caught.value)


def test_errors_and_settings_keep_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a fault in another variable nor printing the settings shows it."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("DOCUMENTS_BUCKET", "b")
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(Misconfigured) as caught:
        load(Settings)
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    assert "hunter2" not in repr(load(Settings))


def test_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose and Terraform pass empty strings for what is not set."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv("DOCUMENTS_BUCKET", "b")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "")
    monkeypatch.setenv("ALLOWED", " a, b ,")
    settings = load(Settings)
    assert settings.database_pool_size == 4
    assert settings.allowed == ["a", "b"]


@pytest.mark.parametrize(
    "project", ["short", "Upper-case", "ends-with-", "1-digit-first", "a b c d"]
)
def test_project_id_that_google_would_refuse(project: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong id is named at the start, not by a client's error in the middle of the work."""
    monkeypatch.setenv("DOCUMENTS_BUCKET", "b")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", project)
    with pytest.raises(Misconfigured, match=r"GOOGLE_CLOUD_PROJECT.*6 to 30"):
        load(EventSettings)
