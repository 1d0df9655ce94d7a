"""
Whether instances add up: python -m benchmarks.instances

The same questions and the same backlog of chunks for one, two and three processes of the query
function and of the embed worker, with everything else as `make run` has it. All share the machine,
with its database and the clients: what it has of cores ends what processes can add. Writes
benchmarks/results/instances-*.json and the table of docs/scaling.md.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from .load import (
    ask_until,
    count_connections,
    measure_backlog,
    summarise,
    upload_evenly,
)
from .recording import (
    ROOT,
    describe_machine,
    describe_run,
    make_table,
    show_latest,
    write_result,
)
from .running import POOL_SIZE, Running, model_dir_option, repeating, run_like_product, sentences

DOCUMENT = ROOT / "docs" / "scaling.md"
_CLIENTS = 16
_DOCUMENTS = 40


def measure(running: Running, *, counts: list[int], seconds: float, chunks: int) -> dict[str, Any]:
    """Measure questions, then a backlog, with each number of processes."""
    upload_evenly(running.system, documents=_DOCUMENTS, seconds=0, prefix="known")
    chance, known = random.Random(5), sentences()
    questions = [f"What is {' '.join(chance.choice(known).split()[:12])}?" for _ in range(400)]
    rows = []
    for count in counts:
        # The server behind functions-framework forks so many; each has a pool and a model.
        running.system.variables["query"] |= {"WORKERS": str(count)}
        running.system.stop("query")
        running.system.start("query")
        asked, most = _ask(running, questions, seconds=seconds)
        running.system.variables["embed_worker"] = {"WORKERS": str(count)}
        # Stops the worker, and starts it again in that number.
        backlog = measure_backlog(running, chunks=chunks, prefix=f"backlog{count}")
        rows.append(
            {
                "processes": count,
                "questions_a_second": round(asked["asked"] / seconds, 1),
                **{key: asked[key] for key in ("errors", "p50_ms", "p95_ms")},
                "connections": most,
                "connections_allowed": POOL_SIZE * count,
                "chunks_a_second": backlog["chunks_a_second"],
                "leases_a_batch": backlog["leases_a_batch"],
            }
        )
        click.echo(rows[-1], err=True)
    return {"clients": _CLIENTS, "seconds": seconds, "chunks": chunks, "rows": rows}


def _ask(running: Running, questions: list[str], *, seconds: float) -> tuple[dict[str, Any], int]:
    """Return what came of the questions, and the most connections beyond those before."""
    url = running.system.query_url
    over = threading.Event()
    join = ask_until(over, url, questions, clients=_CLIENTS)
    threading.Event().wait(3)  # each process loads its model
    over.set()
    join()
    seen: list[int] = []
    over = threading.Event()
    with repeating(
        lambda: seen.append(count_connections(running.database_url)), every_seconds=seconds / 10
    ):
        join = ask_until(over, url, questions, clients=_CLIENTS)
        threading.Event().wait(seconds)
        over.set()
        asked = join()
    return summarise(asked), max(seen)


def write_table(result: Mapping[str, Any]) -> str:
    """Return the table of docs/scaling.md."""
    header = (
        "processes of each",
        "questions/s",
        "p50 ms",
        "p95 ms",
        "errors",
        "connections in all",
        "chunks/s of a backlog",
        "leases a batch",
    )
    rows = [
        (
            row["processes"],
            row["questions_a_second"],
            row["p50_ms"],
            row["p95_ms"],
            row["errors"],
            row["connections"],
            row["chunks_a_second"],
            row["leases_a_batch"],
        )
        for row in result["rows"]
    ]
    said = (
        f"`python -m benchmarks.instances`: {result['clients']} clients without a pause for"
        f" {result['seconds']:.0f} s, then {result['chunks']:,} chunks that wait for the workers."
    )
    return "\n\n".join([said, make_table(header, rows), describe_run(dict(result))])


@click.command(help=__doc__)
@click.option("--processes", default="1,2,3", show_default=True)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--chunks", default=2000, show_default=True)
@model_dir_option
@click.option("--folder", type=click.Path(path_type=Path), help="For the state; removed again.")
@click.option("--tables", is_flag=True, help="Only write the table of the newest result again.")
def main(
    *,
    processes: str,
    seconds: float,
    chunks: int,
    model_dir: Path,
    folder: Path | None,
    tables: bool,
) -> None:
    """Measure, write the result and the table."""
    if not tables:
        machine = describe_machine()
        with run_like_product(model_dir, folder=folder) as running:
            counts = [int(count) for count in processes.split(",")]
            result = measure(running, counts=counts, seconds=seconds, chunks=chunks)
        click.echo(write_result("instances", {"machine": machine, **result}))
    show_latest("instances", document=DOCUMENT, blocks={"instances": write_table})


if __name__ == "__main__":
    main()
