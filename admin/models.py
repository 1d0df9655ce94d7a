"""Commands that change the embedding model without a gap: add, list, fill, switch, drop, fit."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path

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


class _ModelCommands(click.Group):
    """A group that imports what only a checkout can run when it is called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), "fit"])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name != "fit":
            return super().get_command(context, name)
        # It embeds questions, which needs more than the image of the operator's jobs holds.
        command = importlib.import_module("admin.fusion_fitting").fit_model
        assert isinstance(command, click.Command)  # noqa: S101 -- ours
        return command


@click.group(cls=_ModelCommands)
def model() -> None:
    """
    Change the embedding model without a gap: add, fill, switch, drop; fit its weights.

    The new model embeds the stored texts while the old one answers; then one row switches. The
    functions need both meanwhile: MODEL_DIR and OTHER_MODEL_DIR (docs/models.md).
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
        if dry_run and not chosen.answers:
            if as_json:
                print_json({"would be dropped": chosen.name})
            else:
                click.echo(f"would be dropped: {chosen.name}")
            return
        store.drop_model(connection, chosen.id)
        _print_models(store.list_models(connection), as_json=as_json)


def _choose_model(models: list[store.ModelProgress], name: str) -> store.ModelProgress:
    chosen = [one for one in models if name in (one.name, str(one.id))]
    if len(chosen) != 1:
        known = ", ".join(f"{one.id} ({one.name})" for one in models)
        fault = f"There is no model {name}" if not chosen else f"{name} is the name of several"
        raise click.ClickException(f"{fault}. Give a name or an id: {known or 'there is none yet'}")
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
