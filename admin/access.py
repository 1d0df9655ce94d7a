"""Commands that close collections and grant them to callers: close, open, grant, revoke, list."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click

from admin.documents import require_document
from admin.terminal import (
    dry_run_option,
    json_option,
    one_sentence,
    print_json,
    print_table,
    shown,
)
from shared import store
from shared.settings import DatabaseSettings, load
from shared.values import composed

_OWN_PRINCIPALS = ("email", "domain")


@click.group()
def access() -> None:
    """
    Close collections, grant them to callers, explain: close, open, grant, revoke, list, explain.

    A collection is open to every caller until it is closed. A principal is key:NAME or key:SHA256
    (API_KEYS), email:ADDRESS, domain:DOMAIN, subject:ID or CLAIM:VALUE (docs/access.md).
    """


def _read_principal(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    kind, _, name = value.partition(":")
    if not kind or not name:
        raise click.BadParameter("write it as key:NAME, email:ADDRESS, domain:DOMAIN, CLAIM:VALUE")
    return value.lower() if kind in _OWN_PRINCIPALS else value


_principal = click.argument("principal", callback=_read_principal)
_default = click.option(
    "--default", "default", is_flag=True, help="Apply to every collection that is not named."
)
_new = click.option(
    "--new", is_flag=True, help="Allow a new collection whose name resembles an existing one."
)


@access.command("close")
@click.argument("collection", required=False)
@_default
@_new
@dry_run_option
@json_option
def close_collection(
    collection: str | None, *, default: bool, new: bool, dry_run: bool, as_json: bool
) -> None:
    """Close COLLECTION to everyone but those it is granted to."""
    _set_collection(
        collection, default=default, closed=True, new=new, dry_run=dry_run, as_json=as_json
    )


@access.command("open")
@click.argument("collection", required=False)
@_default
@_new
@dry_run_option
@json_option
def open_collection(
    collection: str | None, *, default: bool, new: bool, dry_run: bool, as_json: bool
) -> None:
    """Open COLLECTION to every caller."""
    _set_collection(
        collection, default=default, closed=False, new=new, dry_run=dry_run, as_json=as_json
    )


@access.command("grant")
@_principal
@click.argument("collection", required=False)
@click.option("--all", "every", is_flag=True, help="Every collection, including future ones.")
@_new
@dry_run_option
@json_option
def grant_access(
    principal: str,
    collection: str | None,
    *,
    every: bool,
    new: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Allow PRINCIPAL to read COLLECTION while it is closed."""
    if (collection is None) is not every:
        raise click.UsageError("name one collection, or use --all")
    granted = collection or store.EVERY_COLLECTION
    with _connected() as connection, connection.transaction(force_rollback=dry_run):
        if collection is not None and not new:
            _check_spelling(connection, collection)
        store.grant_collection(connection, principal=principal, collection=granted)
    _say("granted", f"{granted} to {principal}", dry_run=dry_run, as_json=as_json)


@access.command("revoke")
@_principal
@click.argument("collection", required=False)
@dry_run_option
@json_option
def revoke_access(principal: str, collection: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Revoke what was granted to PRINCIPAL: COLLECTION (* for --all), or everything."""
    with _connected() as connection, connection.transaction(force_rollback=dry_run):
        if not store.revoke_collection(connection, principal=principal, collection=collection):
            raise click.ClickException(f"{principal} has no such grant. See: kaydangpt access list")
    revoked = f"{collection or 'everything'} from {principal}"
    _say("revoked", revoked, dry_run=dry_run, as_json=as_json)


@access.command("list")
@json_option
def list_access(*, as_json: bool) -> None:
    """Show the collections, which are closed, and to whom they are granted."""
    with _connected() as connection:
        by_default = store.is_closed_by_default(connection)
        collections = store.list_access(connection)
    if as_json:
        rows = [asdict(one) for one in collections]
        print_json({"closed_by_default": by_default, "collections": rows})
        return
    click.echo(f"Collections are {'closed' if by_default else 'open'} unless named below.")
    print_table(
        ("collection", "access", "documents", "granted to"),
        [
            (
                one.collection,
                "closed" if one.closed else "open",
                str(one.documents),
                ", ".join(one.principals),
            )
            for one in collections
        ],
    )


@access.command("explain")
@click.argument("who")
@click.argument("document")
@json_option
def explain_access(who: str, document: str, *, as_json: bool) -> None:
    """
    Say why WHO may read DOCUMENT, or may not. Exit status 1 if they may not.

    WHO is a principal, several with commas between them, or an address, which stands for email:
    and domain: of it. DOCUMENT is a name or an id.
    """
    principals = _read_caller(who)
    with _connected() as connection:
        found = require_document(connection, document)
        reasons = store.explain_access(connection, principals=principals, document_id=found.id)
    allowed = all(reason.allowed for reason in reasons)
    if as_json:
        print_json(
            {
                "principals": principals,
                "document": found.name,
                "allowed": allowed,
                "reasons": [asdict(one) | {"allowed": one.allowed} for one in reasons],
            }
        )
    else:
        verb = "may" if allowed else "may not"
        click.echo(f"{', '.join(principals)} {verb} read {shown(found.name).plain}.")
        for reason in reasons:
            click.echo(f"  {_describe(reason)}")
    if not allowed:
        raise SystemExit(1)


def _read_caller(who: str) -> list[str]:
    principals: list[str] = []
    for one in filter(None, (part.strip() for part in who.split(","))):
        kind, colon, name = one.partition(":")
        if colon and kind and name:
            principals.append(one.lower() if kind in _OWN_PRINCIPALS else one)
        elif "@" in one:
            principals += [f"email:{one.lower()}", f"domain:{one.lower().rpartition('@')[2]}"]
        else:
            raise click.BadParameter(
                "write it as ADDRESS, key:NAME, email:ADDRESS, domain:DOMAIN or CLAIM:VALUE",
                param_hint="WHO",
            )
    return principals


def _describe(reason: store.AccessReasons) -> str:
    about = f"Its {reason.generation} generation is in the collection {reason.collection!r}"
    if reason.readers is None:
        why = (
            "which is granted to them"
            if reason.granted
            else "which is open"
            if reason.is_open
            else "which is closed and not granted to them"
        )
        return f"{about}, {why}; it names no readers of its own."
    named = ", ".join(reason.readers) or "no one"
    if reason.matching:
        why = f"they are {', '.join(reason.matching)}"
    elif reason.granted:
        why = "they are none of these, but the collection is granted to them"
    else:
        why = "they are none of these, and the collection is not granted to them"
    return f"{about} and names readers ({named}): {why}."


@contextmanager
def _connected() -> Iterator[store.Connection]:
    with (
        one_sentence(),
        store.open_pool(load(DatabaseSettings)) as pool,
        store.connect(pool) as connection,
    ):
        yield connection


def _say(done: str, what: str, *, dry_run: bool, as_json: bool) -> None:
    """Say what was done to what, or would be."""
    if as_json:
        print_json({f"would be {done}" if dry_run else done: what})
    else:
        click.echo(f"{f'would be {done}' if dry_run else done}: {what}")


def _set_collection(
    collection: str | None,
    *,
    default: bool,
    closed: bool,
    new: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    if (collection is None) is not default:
        raise click.UsageError("name one collection, or use --default for all that are not named")
    with _connected() as connection:
        if collection is not None and not new:
            _check_spelling(connection, collection)
        if dry_run:
            pass
        elif collection is None:
            store.set_default(connection, closed=closed)
        else:
            store.set_collection(connection, collection, closed=closed)
    what = "every collection that is not named" if collection is None else collection
    _say("closed" if closed else "opened", what, dry_run=dry_run, as_json=as_json)


def _check_spelling(connection: store.Connection, collection: str) -> None:
    """
    Accept a known collection, and a new one: it may be closed before its first document.

    Raises:
        ClickException: It is unknown and spelt like a known one.
    """
    known = {one.collection for one in store.list_access(connection)}
    if composed(collection) in known:
        return
    folded = {name.casefold(): name for name in known}
    if near := difflib.get_close_matches(composed(collection).casefold(), folded, n=1, cutoff=0.8):
        raise click.ClickException(
            f"There is no collection {collection!r}; did you mean {folded[near[0]]!r}? Use --new"
            " for a new collection that has no documents yet."
        )
    click.echo(f"The collection {collection!r} has no documents yet.", err=True)
