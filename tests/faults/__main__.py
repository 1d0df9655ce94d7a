"""
Inject every fault into a running system and write what came of it to docs/reliability.md.

    python -m tests.faults [--list] [--only NAME ...]
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from local.system import ROOT
from tests.conftest import MODEL_DIR
from tests.faults.catalogue import FAULTS
from tests.faults.registry import Fault
from tests.faults.report import write_report
from tests.faults.rig import running_rig
from tests.faults.running import Outcome, inject
from tests.support.emulators import google_emulator_command
from tests.support.reliability import REPORT

_FLOW_SECONDS = 1.5


@click.command(help=__doc__)
@click.option("--list", "listed", is_flag=True, help="Name the faults and end.")
@click.option("--only", multiple=True, type=click.Choice(sorted(FAULTS)), help="Only this fault.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the table; docs/reliability.md after a whole run, else nowhere.",
)
def main(*, listed: bool, only: Sequence[str], report: Path | None) -> None:
    """Run the faults asked for, those of one system together."""
    if listed:
        for fault in FAULTS.values():
            click.echo(f"{fault.name:32} {fault.description}")
        return
    # A run that is asked to end takes its processes and its disk with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    chosen = [fault for fault in FAULTS.values() if not only or fault.name in only]
    started = time.monotonic()
    outcomes = [
        outcome
        for broker in ("ours", "google")
        for outcome in _run([fault for fault in chosen if fault.broker == broker], broker=broker)
    ]
    outcomes.sort(key=lambda outcome: chosen.index(outcome.fault))
    if report is None and not only:
        report = REPORT
    if report is not None:
        write_report(report, outcomes, seconds=time.monotonic() - started)
    failed = [outcome.fault.name for outcome in outcomes if not outcome.survived]
    click.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} survived")
    if failed:
        click.echo(f"not survived: {', '.join(failed)}")
        sys.exit(1)


def _run(faults: Sequence[Fault], *, broker: str) -> list[Outcome]:
    if not faults:
        return []
    command: Sequence[str] = ()
    if broker == "google":
        found = google_emulator_command()
        if isinstance(found, str):
            return [Outcome(fault, impossible=found) for fault in faults]
        command = found
    outcomes = []
    with running_rig(model_dir=MODEL_DIR, google_pubsub=command) as rig:
        for fault in faults:
            outcome = inject(rig, fault, flow_seconds=_FLOW_SECONDS)
            outcomes.append(outcome)
            click.echo(
                f"{'survived' if outcome.survived else 'NOT SURVIVED':12}  {fault.name:32}"
                f" healed in {outcome.heal_seconds:4.1f} s; {outcome.operations} changes,"
                f" {outcome.questions} questions ({outcome.refused} refused,"
                f" {outcome.unanswered} unanswered, {outcome.wrong} wrong,"
                f" slowest {outcome.slowest_ms} ms)"
            )
            for violation in (outcome.impossible, *outcome.violations)[:8]:
                if violation:
                    click.echo(f"              {violation}")
            if not outcome.survived:
                _keep_logs(rig.system.folder, fault)
    return outcomes


def _keep_logs(folder: Path, fault: Fault) -> None:
    kept = ROOT / "build" / "faults" / fault.name
    kept.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        (kept / log.name).write_bytes(log.read_bytes()[-500_000:])
    click.echo(f"              logs are kept in {kept.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
