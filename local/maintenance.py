"""
What works between the functions in `make run`: the drop folder, and what Cloud Scheduler does.

    python -m local.maintenance

Three threads of one process, because three processes would import the same clients: the watcher,
the sweep and the comparison of index and bucket. Where one fails for good, all end, and the stack
starts the process again.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import click

from admin.maintenance import keep_reconciling, keep_sweeping, open_reconciler, open_sweeper
from admin.terminal import Settings, end_at_signal, one_sentence
from local.watcher import Watcher, run
from shared.bucket import DocumentBucket
from shared.runtime.logs import get_logger, set_up_logs
from shared.runtime.tracing import set_up_tracing
from shared.settings import load

ROOT = Path(__file__).resolve().parent.parent
_SWEEP_SECONDS = 20
_RECONCILE_SECONDS = 300


@click.command()
@click.option("--folder", type=click.Path(path_type=Path), default=ROOT / "local" / "bucket")
@click.option("--state", type=click.Path(path_type=Path), default=ROOT / ".local" / "watcher.json")
def main(folder: Path, state: Path) -> None:
    """Mirror a folder into the bucket, publish stalled work again, and repair the index."""
    with one_sentence():
        settings = load(Settings)
        set_up_logs(settings)
        set_up_tracing("watcher")
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
        over = end_at_signal()
        work = (
            partial(_watch, settings, folder=folder, state=state, over=over),
            partial(keep_sweeping, open_sweeper(settings), every_seconds=_SWEEP_SECONDS, over=over),
            partial(
                keep_reconciling,
                open_reconciler(settings),
                every_seconds=_RECONCILE_SECONDS,
                over=over,
            ),
        )
        with ThreadPoolExecutor(len(work)) as threads:
            running = [threads.submit(each) for each in work]
            wait(running, return_when=FIRST_COMPLETED)
            over.set()
        for each in running:
            each.result()


def _watch(settings: Settings, *, folder: Path, state: Path, over: threading.Event) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    bucket = DocumentBucket(settings.documents_bucket, project=settings.google_cloud_project)
    watcher = Watcher(folder, bucket, state)
    watcher.begin()
    get_logger("watcher").info("watching", folder=str(folder))
    run(watcher, stop=over)


if __name__ == "__main__":
    # The pool warns of each try to connect, and the sweep says it once.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    main()
