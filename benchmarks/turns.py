"""
Measure what waits behind a long document: python -m benchmarks.turns

The whole system as `make run` starts it takes in one document of thousands of chunks; while its
batches are embedded, one-page files are uploaded, one after the other. Prints how long each took
from its upload to ready, and how many chunks a second the long one was embedded with, counted until
it was ready.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path

import click

from local.system import System, wait_until

from .running import make_text, model_dir_option, run_like_product, sentences


@click.command(help=__doc__)
@click.option("--chunks", default=4000, show_default=True, help="Of the long document.")
@click.option("--files", default=8, show_default=True, help="Of one page, one after the other.")
@model_dir_option
def main(*, chunks: int, files: int, model_dir: Path) -> None:
    """Run the measurement."""
    with run_like_product(model_dir) as running:
        _measure(running.system, chunks=chunks, files=files)


def _measure(system: System, *, chunks: int, files: int) -> None:
    known, chance = sentences(), random.Random(5)
    long = make_text(chance, known, chunks=chunks)
    pages = [make_text(chance, known, chunks=2) for _ in range(files)]
    system.upload("warm.txt", make_text(chance, known, chunks=2))
    system.wait_for("warm.txt")
    started = time.monotonic()
    system.upload("long.txt", long)
    wait_until(
        lambda: _embedded(system) > 0, what="the first batch is embedded", timeout_seconds=300
    )
    embedding_since = time.monotonic()
    seconds = []
    for number, page in enumerate(pages):
        uploaded = time.monotonic()
        system.upload(f"page-{number}.txt", page)
        system.wait_for(f"page-{number}.txt", timeout_seconds=900)
        seconds.append(time.monotonic() - uploaded)
        click.echo(f"page {number}: ready after {seconds[-1]:.1f} s")
    done = _embedded(system)
    document = system.wait_for("long.txt", timeout_seconds=900)
    now = time.monotonic()
    click.echo(
        f"{files} files of one page behind {document['chunks']:,} chunks: median"
        f" {statistics.median(seconds):.1f} s, longest {max(seconds):.1f} s to ready;"
        f" {done:,} chunks of the long one were embedded by the end of the last"
    )
    click.echo(
        f"the long document: ready after {now - started:.1f} s,"
        f" {document['chunks'] / (now - embedding_since):.1f} chunks a second"
    )


def _embedded(system: System) -> int:
    document = system.documents(prefix="long.txt").get("long.txt")
    return int(document["chunks_embedded"] or 0) if document else 0


if __name__ == "__main__":
    main()
