"""The operator's command: its lists, its errors in one sentence, its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from admin.cli import main
from shared.embedding.embedder import Embedder
from shared.search.fusion import ENGLISH
from shared.settings import load
from shared.store import Connection, store_fusion
from tests.support.asking import index_document

LONG_NAME = "handbook/" + "a-rather-long-folder-name/" * 8 + "leave.pdf"

NO_CLOUD = {"GOOGLE_CLOUD_PROJECT": "test-project", "DOCUMENTS_BUCKET": "documents"}


@pytest.fixture(scope="module")
def embedder(model_dir: Path) -> Embedder:
    """Load the model once."""
    return Embedder(model_dir)


@pytest.fixture
def documents(
    database_url: str,
    connection: Connection,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Index two documents, and point the command at them."""
    for name in (LONG_NAME, "finance/budget.xlsx"):
        index_document(connection, embedder, name, ["Text."])
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("DOCUMENTS_BUCKET", "documents")
    load.cache_clear()


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, prog_name="kaydangpt")
    assert result.exit_code == code, result.output
    return result


@pytest.mark.usefixtures("documents")
def test_list_when_the_output_is_no_terminal() -> None:
    """A name is never cut where a program reads it, in the table and in JSON."""
    assert LONG_NAME in run("list").stdout
    listed = json.loads(run("list", "--json", "--state", "ready", "finance/").stdout)
    assert [each["name"] for each in listed] == ["finance/budget.xlsx"]


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("command", ["get", "delete", "retry", "reindex"])
def test_name_that_does_not_exist(command: str) -> None:
    """It is one sentence on standard error, and status 1."""
    result = run(command, "finance/budgets.xlsx", code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: There is no document finance/budgets.xlsx.")
    assert "finance/budget.xlsx" in result.stderr


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("command", ["list", "reindex"])
def test_collection_that_does_not_exist(command: str) -> None:
    """It is an error that names one spelt alike, not an empty list."""
    result = run(command, "--collection", "finanse", code=1)
    assert result.stderr == "Error: There is no collection finanse. There is finance.\n"


@pytest.mark.usefixtures("documents")
def test_list_when_nothing_is_found() -> None:
    """The names may hold none of it: that is no error."""
    assert run("list", "--search", "nothing").stdout == "no documents\n"
    assert json.loads(run("list", "--json", "--search", "nothing").stdout) == []


def test_status_when_the_database_is_away() -> None:
    """One sentence on standard error, however often it was tried."""
    result = subprocess.run(
        [sys.executable, "-m", "admin", "status"],
        env={**os.environ, "DATABASE_URL": "postgresql://x@127.0.0.1:9/x", **NO_CLOUD},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("documents")
def test_get_when_the_document_is_there() -> None:
    """All that is known of it, in both forms."""
    assert json.loads(run("get", "finance/budget.xlsx", "--json").stdout)["state"] == "ready"
    assert "budget.xlsx" in run("get", "finance/budget.xlsx").stdout


@pytest.mark.usefixtures("documents")
def test_access_when_a_collection_is_misspelt() -> None:
    """A misspelt collection is not closed; a new one may be, before its first document."""
    assert "did you mean 'finance'" in run("access", "close", "finnance", code=1).stderr
    assert "did you mean 'finance'" in run("access", "grant", "key:ann", "Finance", code=1).stderr
    run("access", "close", "finnance", "--new")
    run("access", "close", "legal")
    listed = json.loads(run("access", "list", "--json").stdout)["collections"]
    assert {each["collection"] for each in listed if each["closed"]} == {"finnance", "legal"}


@pytest.mark.usefixtures("documents")
def test_dry_run_changes_nothing() -> None:
    """What would be done is said, and not done."""
    assert "would be reindexed: 2" in run("reindex", "--dry-run").stdout
    assert "would be closed: finance" in run("access", "close", "finance", "--dry-run").stdout
    assert "would be granted" in run("access", "grant", "key:ann", "finance", "--dry-run").stdout
    listed = json.loads(run("access", "list", "--json").stdout)["collections"][0]
    assert (listed["closed"], listed["principals"]) == (False, [])
    run("access", "grant", "key:ann", "finance")
    assert json.loads(run("access", "revoke", "key:ann", "--dry-run", "--json").stdout) == {
        "would be revoked": "everything from key:ann"
    }
    run("access", "revoke", "key:ann")  # it was still there
    assert "answers now" in run("model", "drop", "1", "--dry-run", code=1).stderr
    assert "useful from" in json.loads(run("index", "--dry-run", "--json").stdout)["message"]
    assert run("migrate", "--dry-run").stdout == "all migrations are applied\n"


@pytest.mark.usefixtures("documents")
def test_sweep_when_run_dry(connection: Connection) -> None:
    """Stalled work and old rows are counted, and are still there for the next sweep."""
    connection.execute(
        """
        UPDATE builds SET state = 'queued', published = now() - interval '1 day'
        WHERE document_id = (SELECT id FROM documents WHERE name = 'finance/budget.xlsx')
        """
    )
    for _ in range(2):
        counted = json.loads(run("sweep", "--dry-run", "--json").stdout)
        assert counted["documents would be published"] == 1
    assert "leave out --every" in run("sweep", "--dry-run", "--every", "60", code=2).stderr


@pytest.mark.usefixtures("documents")
def test_output_that_takes_not_everything() -> None:
    """A letter that the locale lacks is written as its number; a full disk is one sentence."""

    def call(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "admin", *arguments]
        environment = {**os.environ, **NO_CLOUD, "PYTHONIOENCODING": "latin-1"}
        return subprocess.run(command, env=environment, stderr=subprocess.PIPE, **options)

    closed = call("access", "close", "b\xe1nh-m\u1ebf", "--dry-run", stdout=subprocess.PIPE)
    assert (closed.returncode, closed.stdout) == (0, b"would be closed: b\xe1nh-m\\u1ebf\n")
    listed = call("access", "list", stdout=subprocess.PIPE)
    assert (listed.returncode, b"| finance " in listed.stdout) == (0, True)
    with Path("/dev/full").open("wb") as full:
        failed = call("version", stdout=full)
    assert (failed.returncode, failed.stderr) == (1, b"Error: [Errno 28] No space left on device\n")


def test_wrong_usage_is_status_2() -> None:
    """The usage has the command's own name."""
    assert "Usage: kaydangpt retry" in run("retry", code=2).stderr
    assert "No such command 'lst'" in run("lst", code=2).stderr


def test_ask_when_the_service_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address and the variable are named."""
    monkeypatch.setenv("QUERY_URL", "http://127.0.0.1:9")
    load.cache_clear()
    assert "http://127.0.0.1:9 (QUERY_URL)" in run("ask", "What", "is", "it?", code=1).stderr


def test_help_imports_no_client() -> None:
    """The list of commands, and the version, are there at once."""
    code = (
        "import sys; from admin.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'psycopg', 'google.cloud.storage', 'numpy', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_a_shell(shell: str) -> None:
    """Each script completes the command by its own name."""
    assert "_KAYDANGPT_COMPLETE" in run("completion", shell).stdout


def test_explain_when_an_identifier_decides(
    documents: None,
    connection: Connection,
    embedder: Embedder,
    model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The parts of a score add up to it, the leading part is named, and the SQL runs as it is."""
    monkeypatch.setenv("MODEL_DIR", str(model_dir))
    index_document(connection, embedder, "codes.txt", ["Error E-4471 stops the pump."])
    index_document(connection, embedder, "pumps.txt", ["A pump stops when it runs dry."])
    question = "Why does the pump stop with E-4471?"
    explained = json.loads(run("explain", question, "--json").stdout)
    first = explained["passages"][0]
    assert (explained["languages"], first["name"]) == (["en"], "codes.txt")
    assert {word["lexeme"]: word["chunks"] for word in explained["words"]}["e4471"] == 1
    assert sum(first["parts"].values()) == pytest.approx(first["score"])
    assert first["parts"]["exact"] > 0
    assert "by an identifier, phrase or file name (+" in run("explain", question).stdout
    statement = run("explain", question, "--sql").stdout
    assert [row[4] for row in connection.execute(statement.encode()).fetchall()][:1] == [
        "codes.txt"
    ]
    assert "Execution Time" in run("explain", question, "--plan").stdout


def test_model_fit_when_there_are_questions(
    documents: None,
    owner: Connection,
    connection: Connection,
    embedder: Embedder,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weights are stored where they win, used from then on, and forgotten by --reset."""
    monkeypatch.setenv("MODEL_DIR", str(model_dir))
    subjects = ("pump", "valve", "tank", "boiler")
    for number, subject in enumerate(subjects):
        text = f"The {subject} of line {number} is opened once a year by two people."
        index_document(connection, embedder, f"{subject}.txt", [text])
    questions = tmp_path / "questions.jsonl"
    questions.write_text(
        "\n".join(
            json.dumps({"question": f"How is the {subject} opened?", "expected": f"{subject}.txt"})
            for subject in subjects
        )
    )
    fitted = json.loads(run("model", "fit", str(questions), "--json").stdout)
    assert [(each["questions"], each["before"]) for each in fitted["sets"]] == [(2, 1.0), (2, 1.0)]
    assert not fitted["stored"]  # nothing beats weights that find everything
    assert "These stay" in run("model", "fit", str(questions)).stdout
    store_fusion(owner, replace(ENGLISH, vector=0.25).store())
    assert "0.25 meaning" in run("explain", "How is the pump opened?").stdout
    run("model", "fit", "--reset")
    assert "0.60 meaning" in run("explain", "How is the pump opened?").stdout
    assert "--reset" in run("model", "fit", code=2).stderr


def test_explain_when_another_model_answers(
    documents: None, owner: Connection, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors of two models are not compared: the message says what to set."""
    monkeypatch.setenv("MODEL_DIR", str(model_dir))
    owner.execute("UPDATE models SET digest = repeat('e', 64)")
    assert "set MODEL_DIR to the folder" in run("explain", "a pump", code=1).stderr
