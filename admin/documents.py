"""Commands about documents: status, list, get, delete, retry, reindex."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, get_args
from uuid import UUID

import click
from rich.progress import track

from admin.service import open_client, reads_over_http
from admin.terminal import (
    Settings,
    dry_run_option,
    json_option,
    one_sentence,
    print_counts,
    print_json,
    print_table,
    progress,
    require_collection,
)
from shared import store
from shared.bucket import DocumentBucket
from shared.errors import ObjectChanged
from shared.messaging.publisher import Publisher
from shared.settings import load
from shared.values import DocumentState, DocumentStatus, ObjectVersion

_COLUMNS = ("name", "state", "chunks", "generation", "reason")


@click.command()
@click.argument("prefix", default="")
@click.option("--failed", is_flag=True, help="List only the documents that failed, with reasons.")
@json_option
def status(prefix: str, *, failed: bool, as_json: bool) -> None:
    """Count the documents by state and list those whose names begin with PREFIX."""
    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        counts = store.count_documents(connection)
        documents = list(_find(connection, prefix=prefix, state="failed" if failed else None))
    described = [_describe(each) for each in documents]
    if as_json:
        print_json({"states": counts, "documents": described})
        return
    click.echo(
        ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no documents"
    )
    if described:
        _print(described)


@click.command("list")
@click.argument("prefix", default="")
@click.option("--state", type=click.Choice(get_args(DocumentState)), help="Only those.")
@click.option("--collection", help="Only the documents of this collection.")
@click.option("--search", default="", help="Only names that contain all of these words.")
@json_option
def list_documents(
    prefix: str,
    *,
    state: DocumentState | None,
    collection: str | None,
    search: str,
    as_json: bool,
) -> None:
    """List the documents whose names begin with PREFIX."""
    read = _list_over_http if reads_over_http() else _list_from_database
    documents = read(prefix=prefix, state=state, collection=collection, search=search)
    if as_json:
        print_json(documents)
    elif documents:
        _print(documents)
    else:
        click.echo("no documents")


def _list_from_database(
    *, prefix: str, state: DocumentState | None, collection: str | None, search: str
) -> list[dict[str, Any]]:
    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        documents = list(
            _find(connection, prefix=prefix, state=state, collection=collection, search=search)
        )
        if collection is not None and not documents:
            names = [one.name for one in store.list_collections(connection)]
            require_collection(collection, names)
    return [_describe(each) for each in documents]


def _list_over_http(
    *, prefix: str, state: DocumentState | None, collection: str | None, search: str
) -> list[dict[str, Any]]:
    with open_client() as client:
        documents = list(
            client.documents(
                prefix=prefix,
                state=[state] if state else (),
                collection=[collection] if collection else (),
                search=search,
            )
        )
        if collection is not None and not documents:
            require_collection(collection, [one["name"] for one in client.collections()])
    return [
        {
            **document,
            "reason_code": document["reason"]["code"] if document["reason"] else None,
            "reason": document["reason"]["message"] if document["reason"] else None,
        }
        for document in documents
    ]


@click.command()
@click.argument("name")
@json_option
def get(name: str, *, as_json: bool) -> None:
    """Show everything that is known of the document NAME."""
    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        document = require_document(connection, name)
    if as_json:
        print_json(_describe(document))
    else:
        rows = [(field, _as_text(value)) for field, value in _describe(document).items()]
        print_table(("field", "value"), rows)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@dry_run_option
@json_option
def delete(names: tuple[str, ...], *, dry_run: bool, as_json: bool) -> None:
    """Delete documents from the bucket; they stop answering within seconds."""
    with one_sentence():
        settings = load(Settings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            documents = [require_document(connection, name) for name in names]
        bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
        for document in documents:
            if dry_run:
                continue
            try:
                bucket.delete(document.name, if_generation=document.generation)
            except ObjectChanged as error:
                raise click.ClickException(
                    f"{document.name} was overwritten just now and was not deleted. Check it"
                    f" again: kaydangpt get {document.name}"
                ) from error
    print_counts({"would be deleted" if dry_run else "deleted": len(documents)}, as_json=as_json)


@click.command()
@click.argument("name", required=False)
@click.option("--failed", is_flag=True, help="Retry every document that failed.")
@dry_run_option
@json_option
def retry(name: str | None, *, failed: bool, dry_run: bool, as_json: bool) -> None:
    """Give the failed document NAME, or all that failed, a fresh start."""
    if (name is None) is not failed:
        raise click.UsageError("name one document, or use --failed for all")
    with one_sentence():
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            document = None if name is None else require_document(connection, name)
            ids = store.find_documents(
                connection, name=document.name if document else None, state="failed"
            )
            if document is not None and not ids:
                raise click.ClickException(f"{name} has not failed: it is {document.state}")
            if dry_run:
                print_counts({"would be retried": len(ids)}, as_json=as_json)
                return
            versions = apply(connection, ids, store.requeue_document)
        _publish(versions)
    print_counts({"retried": len(versions)}, as_json=as_json)


@click.command()
@click.option("--collection", help="Only the documents of this collection.")
@click.argument("name", required=False)
@dry_run_option
@json_option
def reindex(name: str | None, *, collection: str | None, dry_run: bool, as_json: bool) -> None:
    """Parse and embed again (all, one NAME or one collection); the old text answers meanwhile."""
    with one_sentence():
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            ids = store.find_documents(connection, name=name, collection=collection)
            if not ids and name is not None:
                require_document(connection, name)
            if not ids and collection is not None:
                names = [one.name for one in store.list_collections(connection)]
                require_collection(collection, names)
            if dry_run:
                print_counts({"would be reindexed": len(ids)}, as_json=as_json)
                return
            versions = apply(connection, ids, store.reindex_document)
        _publish(versions)
    print_counts({"reindexed": len(versions)}, as_json=as_json)


def apply(
    connection: store.Connection,
    ids: list[UUID],
    action: Callable[[store.Connection, UUID], ObjectVersion | None],
) -> list[ObjectVersion]:
    """Run *action* on each document and return the versions to publish."""
    done = track(ids, "queueing", console=progress, transient=True)
    return [version for document_id in done if (version := action(connection, document_id))]


def _publish(versions: list[ObjectVersion]) -> None:
    Publisher(load(Settings)).publish_finalized(versions)


def _find(
    connection: store.Connection,
    *,
    prefix: str,
    state: DocumentState | None,
    collection: str | None = None,
    search: str = "",
) -> Iterable[DocumentStatus]:
    selection = store.Selection(
        states=[] if state is None else [state],
        prefix=prefix,
        search=search,
        collections=[] if collection is None else [collection],
    )
    place: tuple[object, ...] | None = None
    while True:
        page, place = store.list_documents(connection, selection, after=place, limit=500)
        yield from page
        if place is None:
            return


def require_document(connection: store.Connection, name: str) -> DocumentStatus:
    """
    Return the document of this name or id.

    Raises:
        ClickException: There is none; the message names documents that begin alike.
    """
    try:
        by_id = store.get_document(connection, UUID(name))
    except ValueError:
        by_id = None
    if by_id is not None:
        return by_id
    # Names of files on macOS are decomposed, what is typed is composed.
    forms = dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))])
    for form in forms:
        for document_id in store.find_documents(connection, name=form):
            if (document := store.get_document(connection, document_id)) is not None:
                return document
    near, _ = store.list_documents(connection, store.Selection(prefix=name[:4]), limit=3)
    others = f" There is {', '.join(each.name for each in near)}." if near else ""
    raise click.ClickException(f"There is no document {name}.{others}")


def _print(documents: list[dict[str, Any]]) -> None:
    rows = [
        (
            each["name"],
            each["state"],
            f"{each['chunks_embedded']}/{each['chunks']}",
            str(each["generation"]),
            f"{each['reason_code']}: {each['reason']}" if each["reason_code"] else "",
        )
        for each in documents
    ]
    print_table(_COLUMNS, rows)


def _describe(document: DocumentStatus) -> dict[str, Any]:
    return {**asdict(document), "id": str(document.id), "updated": document.updated.isoformat()}


def _as_text(value: object) -> str:
    return "" if value is None else str(value)
