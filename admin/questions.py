"""Commands that ask the running service over HTTP: ask, search."""

from __future__ import annotations

from collections.abc import Sequence

import click

from admin.service import open_client
from admin.terminal import json_option, print_json, require_collection, shown
from kaydangpt_client import Client
from kaydangpt_client.types import Filter

_limit = click.option("--limit", type=click.IntRange(1, 100), help="Passages at most.")
_prefix = click.option("--prefix", default="", help="Only documents whose names begin with this.")
_collection = click.option("--collection", help="Only the documents of this collection.")


@click.command()
@click.argument("question", nargs=-1, required=True)
@_limit
@_prefix
@_collection
@json_option
def ask(
    question: tuple[str, ...],
    *,
    limit: int | None,
    prefix: str,
    collection: str | None,
    as_json: bool,
) -> None:
    """Ask QUESTION; print the answer and its sources. Exit status 1 if nothing answers it."""
    wanted = _filter(prefix=prefix, collection=collection)
    with open_client() as client:
        answered = client.ask(" ".join(question), limit=limit, filter=wanted)
        _check_collection(client, collection, answered["passages"])
    if as_json:
        print_json(answered)
    else:
        click.echo(_clean(answered["answer"]))
        for citation in answered["citations"]:
            page = f", page {citation['page']}" if citation.get("page") else ""
            mark = "" if citation["verified"] else " (not verified)"
            click.echo(f"  [{citation['number']}] {shown(citation['uri'])}{page}{mark}")
        if degraded := answered.get("degraded"):
            click.echo(
                f"{degraded['message']} The answer consists of sentences from the documents.",
                err=True,
            )
    if not answered["grounded"]:
        raise SystemExit(1)


@click.command()
@click.argument("question", nargs=-1, required=True)
@_limit
@_prefix
@_collection
@json_option
def search(
    question: tuple[str, ...],
    *,
    limit: int | None,
    prefix: str,
    collection: str | None,
    as_json: bool,
) -> None:
    """Print the passages for QUESTION, best first."""
    wanted = _filter(prefix=prefix, collection=collection)
    with open_client() as client:
        found = client.retrieve(" ".join(question), limit=limit, filter=wanted)
        _check_collection(client, collection, found["passages"])
    if as_json:
        print_json(found)
        return
    if not found["passages"]:
        click.echo("no passages", err=True)
    for passage in found["passages"]:
        page = f", page {passage['page']}" if passage.get("page") else ""
        place = f"{passage['number']}. {shown(passage['uri'])}{page}"
        click.echo(f"{place} ({passage['score']:.3f})\n{_clean(passage['text'])}\n")


def _check_collection(client: Client, name: str | None, passages: Sequence[object]) -> None:
    """See that the collection is there, where nothing was found in it."""
    if name is not None and not passages:
        require_collection(name, [one["name"] for one in client.collections()])


def _filter(*, prefix: str, collection: str | None) -> Filter:
    wanted: Filter = {}
    if prefix:
        wanted["prefix"] = prefix
    if collection is not None:
        wanted["collection"] = collection
    return wanted


def _clean(text: str) -> str:
    """Return *text* whose lines stay and whose control characters are replaced."""
    return "\n".join(shown(line).plain for line in text.splitlines())
