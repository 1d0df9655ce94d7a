"""What the commands share: options, tables, counts, and errors as one sentence."""

from __future__ import annotations

import io
import json
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.errors import KaydangError
from shared.runtime.logs import get_logger
from shared.settings import (
    DatabaseSettings,
    DocumentEventSettings,
    EventSettings,
    LogSettings,
)

T = TypeVar("T")


class Settings(DatabaseSettings, EventSettings, DocumentEventSettings, LogSettings):
    """Where the database, the bucket and the topics are."""


progress = Console(stderr=True)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for a script to read."
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would be done, and change nothing."
)
every_option = click.option(
    "--every",
    "every_seconds",
    type=click.FloatRange(min=1),
    help="Repeat after this many seconds, until stopped.",
)

_log = get_logger("admin")
# No table of ours is wider; what reads a pipe wraps for itself.
_WIDTH_WITHOUT_TERMINAL = 10_000
_PAGE = 500
# Of the collections that an error names.
_NAMED = 10


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn our errors into click's: one sentence on standard error, and exit status 1."""
    try:
        yield
    except KaydangError as error:
        raise click.ClickException(str(error)) from error


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str = "") -> None:
    """
    Print a table; a name is folded on a terminal and never cut elsewhere.

    Args:
        empty: What to say where there are no rows.
    """
    rows = list(rows)
    if empty and not rows:
        click.echo(empty)
        return
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    # click writes UTF-8 where the locale is C.
    has_lines = encoding.startswith(("utf", "ascii", "us-ascii", "ansi"))
    table = Table(
        *(click.unstyle(column) for column in columns),
        box=box.HEAVY_HEAD if has_lines else box.ASCII,
    )
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(shown, row))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=sys.stdout.isatty()).print(table)
    click.echo(out.getvalue(), nl=False)


def print_counts(counts: Mapping[str, int], *, as_json: bool) -> None:
    """Print the counts on one line."""
    if as_json:
        print_json(counts)
    else:
        pairs = (f"{name.replace('_', ' ')}: {count}" for name, count in counts.items())
        click.echo(", ".join(pairs))


def print_json(value: object) -> None:
    """Print *value* on one line."""
    click.echo(json.dumps(value, ensure_ascii=False, default=str))


def shown(name: str) -> Text:
    """Return *name* with control characters replaced: no object name steers the terminal."""
    return Text("".join(sign if sign.isprintable() else "\ufffd" for sign in name))


def require_collection(name: str, names: Sequence[str]) -> None:
    """
    Check that the collection is one of *names*.

    Raises:
        ClickException: It is not; the message names those that there are.
    """
    if name in names:
        return
    near = get_close_matches(name, names, n=3) or sorted(names)[:_NAMED]
    others = f" There is {', '.join(near)}." if near else ""
    raise click.ClickException(f"There is no collection {name}.{others}")


def pages(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield *items* in lists of a few hundred."""
    iterator = iter(items)
    while page := list(islice(iterator, _PAGE)):
        yield page


def end_at_signal() -> threading.Event:
    """Return what SIGINT and SIGTERM set from now on, instead of ending this process."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    return over


def repeat(action: Callable[[], Any], *, every_seconds: float, over: threading.Event) -> None:
    """Run *action* again and again until *over* is set; a failure is logged and tried again."""
    while not over.is_set():
        try:
            action()
        except KaydangError as error:
            _log.warning("will be tried again", error=f"{type(error).__name__}: {error}")
        over.wait(every_seconds)
