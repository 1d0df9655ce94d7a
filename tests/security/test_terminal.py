"""What an operator sees in a terminal cannot be steered by who named an object."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from admin.cli import main
from shared.embedding.embedder import Embedder
from shared.store import Connection
from tests.support.asking import index_document


def test_status_when_a_name_is_hostile(
    database_url: str,
    connection: Connection,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither codes of terminals nor rich's own markup work in the list of documents."""
    index_document(connection, embedder, "a\x1b[2J\x9b31m\u202e[red]b[/]", ["Text."])
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("DOCUMENTS_BUCKET", "documents")
    result = CliRunner().invoke(main, ["status"])
    assert result.exit_code == 0, result.output
    assert not {"\x1b", "\x9b", "\u202e"} & set(result.output)
    assert "[red]b[/]" in result.output
