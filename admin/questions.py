"""Commands that ask the running service over HTTP: ask, search."""

from __future__ import annotations

from typing import Any

import click
import requests
from pydantic import Field, SecretStr

from admin.terminal import json_option, one_sentence, print_json, require_collection, shown
from shared.settings import LogSettings, load

_TIMEOUT_SECONDS = (5, 120)


class QuestionSettings(LogSettings):
    """The query function's address, and the caller's credentials."""

    query_url: str = Field("http://127.0.0.1:8080", description="The query function's address.")
    query_token: SecretStr = Field(SecretStr(""), description="A key, or an identity token.")


_limit = click.option("--limit", type=click.IntRange(1, 100), help="Passages at most.")
_prefix = click.option("--prefix", default="", help="Only documents whose names begin so.")
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
    """Ask QUESTION; print the answer and its sources. Exit status 1 where nothing answers it."""
    answered = _ask("/query", question, limit=limit, prefix=prefix, collection=collection)
    if as_json:
        print_json(answered)
    else:
        click.echo(_clean(answered["answer"]))
        for citation in answered["citations"]:
            page = f", page {citation['page']}" if citation.get("page") else ""
            mark = "" if citation["verified"] else " (not verified)"
            click.echo(f"  [{citation['number']}] {_clean(citation['uri'])}{page}{mark}")
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
    found = _ask("/retrieve", question, limit=limit, prefix=prefix, collection=collection)
    if as_json:
        print_json(found)
        return
    for passage in found["passages"]:
        page = f", page {passage['page']}" if passage.get("page") else ""
        place = f"{passage['number']}. {_clean(passage['uri'])}{page}"
        click.echo(f"{place} ({passage['score']:.3f})\n{_clean(passage['text'])}\n")


def _ask(
    path: str, question: tuple[str, ...], *, limit: int | None, prefix: str, collection: str | None
) -> Any:
    wanted = {"prefix": prefix or None, "collection": collection}
    body = {
        "question": " ".join(question),
        "filter": {name: value for name, value in wanted.items() if value is not None},
        **({} if limit is None else {"limit": limit}),
    }
    found = _request("POST", path, body)
    if collection is not None and not found["passages"]:
        listed = _request("GET", "/collections")["collections"]
        require_collection(collection, [one["name"] for one in listed])
    return found


def _request(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    with one_sentence():
        settings: QuestionSettings = load(QuestionSettings)
    token = settings.query_token.get_secret_value()
    try:
        response = requests.request(
            method,
            settings.query_url.rstrip("/") + path,
            json=body,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT_SECONDS,
        )
    except requests.RequestException as error:
        raise click.ClickException(
            f"{settings.query_url} (QUERY_URL) does not answer: {type(error).__name__}. Is it"
            " running? Start it by: kaydangpt run"
        ) from error
    if not response.ok:
        try:
            detail = response.json().get("detail") or response.reason
        except (ValueError, AttributeError):
            detail = response.reason
        raise click.ClickException(
            f"{settings.query_url} answered {response.status_code}: {detail}"
        )
    return response.json()


def _clean(text: str) -> str:
    """Return *text* whose lines stay and whose control characters are replaced."""
    return "\n".join(shown(line).plain for line in text.splitlines())
