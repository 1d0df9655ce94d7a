"""The table of the faults and how they went, a part of docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.faults.running import Outcome
from tests.support.reliability import describe, write_part

_INTRODUCTION = """\
## Faults

Written by `make faults`; do not edit. Each fault is injected into the whole system. Every part runs
as a process: Postgres, stand-ins for Pub/Sub and Cloud Storage, all functions, two embed workers,
the sweeper and the reconciler. Meanwhile documents are uploaded, overwritten and deleted, one
reader asks for all chunks of a document, and another asks for answers. A fault is survived if

- every object of the bucket ends up ready, or failed with the reason that its content gives, and
  deleted ones no longer answer;
- the chunks of each document equal what parsing its latest generation gives (ordinals, texts,
  hashes, embeddings within rounding), nothing else can be found, no row of another build is left,
  and no batch waits;
- every answer came whole from one generation and never from an older one than an earlier answer,
  and there was no gap while an object existed;
- no work was tried more than ten times, and no process used more than 900 MB;
- all of this holds within 60 seconds of the fault's end.

*Refused* questions got 429, 502, 503 or 504 while a part was away; *unanswered* ones got no reply
within 30 s, or their connection broke. Neither counts as wrong. To run one fault:
`python -m tests.faults --only NAME`.
"""

_COLUMNS = "fault|what was injected|survived|s to heal|questions|refused|unanswered|wrong"


def write_report(path: Path, outcomes: Sequence[Outcome], *, seconds: float) -> None:
    """Write the table of *outcomes*."""
    lines = [_INTRODUCTION]
    survived = sum(outcome.survived for outcome in outcomes)
    lines.append(
        f"{survived} of {len(outcomes)} faults survived;"
        f" {sum(outcome.operations for outcome in outcomes):,} changes,"
        f" {sum(outcome.questions for outcome in outcomes):,} questions,"
        f" {sum(outcome.wrong for outcome in outcomes)} wrong answers;"
        f" no part held more than"
        f" {max(outcome.most_memory for outcome in outcomes) / 2**20:.0f} MB;"
        f" the slowest healed in {max(outcome.heal_seconds for outcome in outcomes):.0f} s;"
        f" {seconds / 60:.0f} minutes in all.\n"
    )
    for group, members in groupby(outcomes, key=lambda outcome: outcome.fault.group):
        lines += [
            f"### {group}\n",
            f"|{_COLUMNS}|",
            "|---" * (_COLUMNS.count("|") + 1) + "|",
            *(_row(outcome) for outcome in members),
            "",
        ]
    write_part(path, "faults", "\n".join(lines))


def _row(outcome: Outcome) -> str:
    if outcome.impossible:
        verdict = f"not injected: {outcome.impossible}"
    else:
        verdict = "yes" if outcome.survived else f"**no**: {describe(outcome.violations[0])}"
    cells = (
        f"`{outcome.fault.name}`",
        describe(outcome.fault.description),
        verdict,
        f"{outcome.heal_seconds:.1f}",
        f"{outcome.questions:,}",
        str(outcome.refused),
        str(outcome.unanswered),
        str(outcome.wrong),
    )
    return f"| {' | '.join(cells)} |"
