"""Commands that say what people ask, and what they think of the answers: questions, ratings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from admin.terminal import json_option, one_sentence, print_json, print_table
from shared import store
from shared.settings import DatabaseSettings, load
from shared.store import GivenRating, QuestionGroup

_days = click.option("--days", type=click.IntRange(1, 3650), default=30, show_default=True)
_limit = click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True)


@click.command()
@click.option("--unanswered", is_flag=True, help="Only those that the documents do not answer.")
@_days
@_limit
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a set for evaluate to FILE.",
)
@json_option
def questions(*, unanswered: bool, days: int, limit: int, file: Path | None, as_json: bool) -> None:
    """
    List what people asked in the last days, the most frequent first.

    Questions that differ in case and punctuation alone are one. Only what KEEP_QUESTIONS keeps is
    known.

    --unanswered --export FILE writes a set for `evaluate --answers FILE`, in which nothing answers;
    write the gold of a question into it when a document comes that answers it. Without --unanswered
    FILE is a set for `evaluate FILE`: questions whose answers were rated up, and the documents that
    these cite.
    """
    with (
        one_sentence(),
        store.open_pool(load(DatabaseSettings)) as pool,
        store.connect(pool) as connection,
    ):
        groups = store.list_questions(connection, unanswered=unanswered, days=days, limit=limit)
    if file is not None:
        _export(groups, file, unanswered=unanswered)
    if as_json:
        print_json([asdict(group) for group in groups])
        return
    if not groups:
        click.echo(
            f"No question of the last {days} days was kept. Set KEEP_QUESTIONS to unanswered or"
            " all to keep them (docs/settings.md).",
            err=True,
        )
        return
    columns = ("asked", "last", "answered", "refused", "ungrounded", "up", "down", "question")
    print_table(columns, [_make_row(group) for group in groups])


@click.command()
@_days
@_limit
@json_option
def ratings(*, days: int, limit: int, as_json: bool) -> None:
    """
    List what readers said of answers in the last days, the newest first.

    The question is there where KEEP_QUESTIONS keeps it.
    """
    with (
        one_sentence(),
        store.open_pool(load(DatabaseSettings)) as pool,
        store.connect(pool) as connection,
    ):
        given = store.list_ratings(connection, days=days, limit=limit)
    if as_json:
        print_json([asdict(each) for each in given])
        return
    columns = ("rated", "rating", "grounded", "model", "documents", "question", "comment")
    print_table(columns, [_make_rating_row(each) for each in given])


def _make_rating_row(given: GivenRating) -> Sequence[str]:
    return (
        f"{given.rated:%Y-%m-%d %H:%M}",
        given.rating,
        "yes" if given.grounded else "no",
        given.model,
        ", ".join(given.documents),
        given.question,
        given.comment,
    )


def _make_row(group: QuestionGroup) -> Sequence[str]:
    return (
        str(group.count),
        f"{group.last_asked:%Y-%m-%d %H:%M}",
        str(group.answered),
        str(group.refused),
        str(group.ungrounded),
        str(group.up),
        str(group.down),
        group.question,
    )


def _export(groups: Sequence[QuestionGroup], file: Path, *, unanswered: bool) -> None:
    lines = list(_make_lines(groups, unanswered=unanswered))
    if not lines:
        raise click.ClickException(
            "There is nothing to export: no kept question of these days "
            + ("is unanswered." if unanswered else "has an answer that was rated up.")
        )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}") from error
    click.echo(f"{file}: {len(lines)} questions", err=True)


def _make_lines(groups: Sequence[QuestionGroup], *, unanswered: bool) -> Iterator[dict[str, Any]]:
    for group in groups:
        # One line: evaluate reads lines, and Unicode has more ends of them than JSON escapes.
        question = " ".join(group.question.split())
        if unanswered:
            yield {"question": question, "gold": None, "passages": []}
        elif group.documents:
            yield {"question": question, "expected": group.documents}
