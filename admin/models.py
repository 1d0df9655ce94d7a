"""Commands that change the embedding model without a gap: add, list, fill, switch, drop, fit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import track

from admin.terminal import (
    Settings,
    dry_run_option,
    json_option,
    one_sentence,
    pages,
    print_counts,
    print_json,
    print_table,
    progress,
)
from shared import store
from shared.embedding.tokenizer import read_model_info
from shared.messaging.publisher import Publisher
from shared.settings import load

if TYPE_CHECKING:
    from admin.fusion_fitting import FittedFusion


@click.group()
def model() -> None:
    """
    Change the embedding model without a gap: add, fill, switch, drop.

    The new model embeds the stored texts while the old one answers; then one row switches. The
    functions need both meanwhile: MODEL_DIR and OTHER_MODEL_DIR (docs/operations.md).
    """


@model.command("add")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@json_option
def add_model(folder: Path, *, as_json: bool) -> None:
    """Register the exported model in FOLDER; needs the rights of the tables' owner."""

    with one_sentence():
        info = read_model_info(folder)
        with store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
            store.register_model(
                connection, name=info.name, dimension=info.dimension, digest=info.digest
            )
            _print_models(store.list_models(connection), as_json=as_json)


@model.command("list")
@json_option
def list_models(*, as_json: bool) -> None:
    """Show the models, which one answers, and how much each has yet to embed."""

    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        _print_models(store.list_models(connection), as_json=as_json)


@model.command("fill")
@click.argument("name")
@click.option(
    "--chunks", type=click.IntRange(1, 1000), default=64, show_default=True, help="In one job."
)
@json_option
def fill_model(name: str, *, chunks: int, as_json: bool) -> None:
    """Publish the jobs that embed, for model NAME (or its id), what it has not embedded yet."""

    with one_sentence():
        settings = load(Settings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            chosen = _choose_model(store.list_models(connection), name)
            jobs = store.plan_filling(connection, model_id=chosen.id, size=chunks)
        publisher = Publisher(settings)
        batches = list(pages(jobs))
        for page in track(batches, "publishing", console=progress, transient=True):
            publisher.publish_jobs(page)
        print_counts({"jobs": len(jobs), "chunks_missing": chosen.missing}, as_json=as_json)


@model.command("switch")
@click.argument("name")
@json_option
def switch_model(name: str, *, as_json: bool) -> None:
    """Let model NAME (or its id) answer from now on; refused while it has not embedded all."""

    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        chosen = _choose_model(store.list_models(connection), name)
        if missing := store.switch_model(connection, chosen.id):
            raise click.ClickException(
                f"{chosen.name} has yet to embed {missing} chunks: run model fill, and switch"
                " when model list shows that none is missing"
            )
        _print_models(store.list_models(connection), as_json=as_json)


@model.command("drop")
@click.argument("name")
@dry_run_option
@json_option
def drop_model(name: str, *, dry_run: bool, as_json: bool) -> None:
    """Remove model NAME (or its id) and its vectors; refused for the one that answers."""

    with one_sentence(), store.open_pool(load(Settings)) as pool, store.connect(pool) as connection:
        chosen = _choose_model(store.list_models(connection), name)
        if dry_run:
            click.echo(f"would be dropped: {chosen.name}")
            return
        store.drop_model(connection, chosen.id)
        _print_models(store.list_models(connection), as_json=as_json)


@model.command("fit")
@click.argument("sets", metavar="[SET]...", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--prefix", help="Search only objects under this prefix; a folder's is its own name.")
@click.option(
    "--known-items",
    type=click.IntRange(0, 2000),
    default=0,
    help="Also this many questions made of sentences of the indexed documents.",
)
@click.option("--reset", is_flag=True, help="Forget what was fitted.")
@dry_run_option
@json_option
def fit_model(
    sets: tuple[Path, ...],
    *,
    prefix: str | None,
    known_items: int,
    reset: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """
    Fit what meaning and words weigh to the questions of each SET, for the model that answers.

    A SET is what evaluate takes, and its documents are indexed. The weights are stored with the
    model if they find more for questions that they were not fitted to; needs MODEL_DIR and the
    rights of the tables' owner.
    """
    from admin import fusion_fitting
    from admin.evaluation import CalibrationSettings, read_set
    from shared.embedding.embedder import Embedder
    from shared.search.fusion import Fusion, default_fusion

    if not (sets or known_items or reset):
        raise click.UsageError("Give a SET, --known-items or --reset.")
    with one_sentence():
        settings = load(CalibrationSettings)
        with store.open_pool(settings) as pool, store.connect(pool) as connection:
            if reset:
                store.store_fusion(connection, None)
                click.echo("The weights of the model's kind count again.")
                return
            embedder = Embedder(settings.model_dir, threads=settings.embedding_threads)
            store.check_model(connection, [embedder.info.digest])
            stored = store.read_fusion(connection)
            before = (
                Fusion.read(stored)
                if stored
                else default_fusion(multilingual=embedder.info.multilingual)
            )
            chosen = [read_set(path) for path in sets]
            if known_items:
                chosen.append(fusion_fitting.make_known_items(connection, count=known_items))
            judged = {
                questions.name: fusion_fitting.judge(
                    questions,
                    connection,
                    embedder,
                    prefix=prefix or (f"{questions.name}/" if questions.corpus else ""),
                )
                for questions in track(chosen, "asking", console=progress, transient=True)
            }
            fitted = fusion_fitting.fit(
                {name: each for name, each in judged.items() if each},
                before=before,
                multilingual=embedder.info.multilingual,
            )
            if fitted.wins and not dry_run:
                store.store_fusion(connection, fitted.fusion.store())
    _print_fitted(fitted, stored=fitted.wins and not dry_run, as_json=as_json)


def _print_fitted(fitted: FittedFusion, *, stored: bool, as_json: bool) -> None:
    if as_json:
        print_json(asdict(fitted) | {"stored": stored})
        return
    print_table(
        ("set", "questions", "vector", "text", "before", "fitted without it"),
        [
            (
                each.name,
                str(each.questions),
                *(f"{value:.4f}" for value in (each.vector, each.text, each.before, each.held_out)),
            )
            for each in fitted.sets
        ],
    )
    weights = ", ".join(f"{name} {value:g}" for name, value in fitted.fusion.store().items())
    if stored:
        click.echo(f"Stored with the model: {weights}")
    elif fitted.wins:
        click.echo(f"Would be stored with the model: {weights}")
    else:
        click.echo(f"The weights stay as they are, which other weights do not beat: {weights}")


def _choose_model(models: list[store.ModelProgress], name: str) -> store.ModelProgress:
    chosen = [one for one in models if name in (one.name, str(one.id))]
    if len(chosen) != 1:
        known = ", ".join(f"{one.id} ({one.name})" for one in models)
        raise click.ClickException(f"name one model, by name or id; there are: {known}")
    return chosen[0]


def _print_models(models: list[store.ModelProgress], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(one) for one in models])
        return
    rows = [
        (
            str(one.id),
            one.name,
            str(one.dimension),
            "yes" if one.answers else "",
            str(one.missing),
        )
        for one in models
    ]
    print_table(("id", "name", "dimension", "answers", "chunks missing"), rows)
