"""
Operate a KaydangPT deployment and ask it.

Settings are the environment variables of the functions. In a checkout `./kaydangpt` reads those of
the running stack; in the image of the ingest function `kaydangpt` is on the PATH. Exit status: 0
done, 1 failed or differences found, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class _Entry:
    """A command: its module, and its line in the list of commands."""

    place: str
    help: str
    hidden: bool = False


# Imported when called: `kaydangpt ask` does not need the imports of `kaydangpt doctor`.
_COMMANDS = {
    "run": _Entry("admin.cli:run", "Start the system on this machine, as make run does."),
    "ask": _Entry("admin.questions:ask", "Ask a question; print the answer and its sources."),
    "search": _Entry("admin.questions:search", "Print the passages for a question."),
    "mcp": _Entry("admin.mcp_bridge:mcp", "Serve the documents to an agent on this machine."),
    "upload": _Entry("admin.upload:upload", "Upload a folder to the bucket."),
    "list": _Entry("admin.documents:list_documents", "List documents."),
    "get": _Entry("admin.documents:get", "Show one document."),
    "delete": _Entry("admin.documents:delete", "Delete documents from the bucket."),
    "status": _Entry("admin.documents:status", "Count documents by state, with reasons."),
    "retry": _Entry("admin.documents:retry", "Give failed documents a fresh start."),
    "reindex": _Entry("admin.documents:reindex", "Parse and embed documents again."),
    "sweep": _Entry("admin.maintenance:sweep", "Publish stalled work again."),
    "reconcile": _Entry("admin.maintenance:reconcile", "Compare the index with the bucket."),
    "dead-letters": _Entry("admin.maintenance:dead_letters", "List or replay dead letters."),
    "replay": _Entry("admin.maintenance:replay", "The old name of dead-letters replay.", True),
    "index": _Entry("admin.maintenance:index", "Build the vector index where it is useful."),
    "model": _Entry("admin.models:model", "Change the embedding model without a gap."),
    "access": _Entry("admin.access:access", "Close collections and grant access to them."),
    "explain": _Entry("admin.explain:explain", "Explain the search for a question."),
    "questions": _Entry("admin.feedback:questions", "List the questions that people ask."),
    "ratings": _Entry("admin.feedback:ratings", "List ratings of answers."),
    "evaluate": _Entry("admin.evaluation:main", "Measure retrieval and answers."),
    "migrate": _Entry("admin.migrate:main", "Upgrade the database to this release."),
    "doctor": _Entry("admin.maintenance:doctor", "Check the whole deployment."),
    "version": _Entry("admin.cli:version", "Print the version."),
    "completion": _Entry("admin.cli:completion", "Print the shell completion script."),
}


class _Commands(click.Group):
    """A group that imports a command only to run it or to print its own help."""

    def list_commands(self, _context: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        entry = _COMMANDS.get(name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 -- the table above is ours
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table: help imports none of them."""
        rows = [(name, entry.help) for name, entry in _COMMANDS.items() if not entry.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Commands, help=__doc__)
def main() -> None:
    """Group the commands."""


@click.command()
def run() -> None:
    """
    Start the system on this machine, as make run does; Ctrl-C stops it.

    Ports and settings are environment variables or lines of .env (docs/settings.md).
    """
    # The script in the checkout has done it already: this is what an image says.
    raise click.ClickException("run starts a checkout: call ./kaydangpt run there")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a script to read.")
def version(*, as_json: bool) -> None:
    """Print the version."""
    from shared.version import VERSION

    click.echo(json.dumps({"version": VERSION}) if as_json else f"kaydangpt {VERSION}")


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """
    Print the completion script of SHELL.

    For bash: eval "$(kaydangpt completion bash)" in ~/.bashrc.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 -- click has all three
    click.echo(found(main, {}, "kaydangpt", "_KAYDANGPT_COMPLETE").source())
