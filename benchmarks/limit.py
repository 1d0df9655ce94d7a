"""
The embedding limit: the model's runtime alone, with nothing before or behind it.

    python -m benchmarks.limit MODEL_DIR < TEXTS

Embeds a JSON list of texts in every sensible way to use this machine's cores, and prints the
seconds of each.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from shared.embedding.embedder import Embedder, available_cores


@click.command(help=__doc__)
@click.argument("model_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(model_dir: Path) -> None:
    """Read the texts and print the seconds of each way as JSON."""
    texts: list[str] = json.load(sys.stdin)
    cores = available_cores()
    together = Embedder(model_dir)
    single = Embedder(model_dir, threads=1)
    together.warm_up()
    single.warm_up()
    seconds = {}
    began = time.perf_counter()
    together.embed_documents(texts)
    seconds[f"one list, its runs shared by {cores} threads"] = time.perf_counter() - began
    # Alike lengths to each core, so that none waits long for the last one.
    shares = [sorted(texts, key=len)[core::cores] for core in range(cores)]
    began = time.perf_counter()
    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(single.embed_documents, shares))
    seconds[f"{cores} lists, a thread each"] = time.perf_counter() - began
    click.echo(json.dumps(seconds))


if __name__ == "__main__":
    main()
