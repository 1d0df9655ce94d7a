"""
Write the tables of docs/retrieval.md from what `kaydangpt evaluate SET --json` printed.

    python -m benchmarks.retrieval_report RESULTS

RESULTS is the folder that benchmarks/retrieval_sets.sh writes; fit.json in it, if there is one, is
what `kaydangpt model fit SET... --dry-run --json` printed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from benchmarks.recording import make_table, replace_block

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "retrieval.md"
_LEGS = ("vector", "text", "fused")


@click.command(help=__doc__)
@click.argument("results", type=click.Path(exists=True, path_type=Path, file_okay=False))
def main(results: Path) -> None:
    """Replace both blocks."""
    files = [file for file in sorted(results.glob("*.json")) if "." not in file.stem]
    measured = [json.loads(file.read_text()) for file in files if file.stem != "fit"]
    replace_block(DOCUMENT, "sets", tabulate_sets(measured))
    fitted = results / "fit.json"
    if fitted.exists():
        replace_block(DOCUMENT, "fitted weights", tabulate_fit(json.loads(fitted.read_text())))


def tabulate_sets(measured: list[dict[str, Any]]) -> str:
    """Return one line for each set and language: each leg and both fused."""
    rows = []
    for each in measured:
        for language, legs in each["results"].items():
            # Where the answering characters are known, finding the document says little.
            measure = "span_recall" if "span_recall" in legs["fused"] else "ndcg"
            figures = [f"{legs[leg][measure]:.4f}" for leg in _LEGS]
            name = "characters found" if measure == "span_recall" else "nDCG@10"
            rows.append(
                (each["set"], language, name, f"{legs['fused']['questions']:.0f}", *figures)
            )
    return make_table(("set", "language", "measure", "questions", *_LEGS), rows)


def tabulate_fit(fitted: dict[str, Any]) -> str:
    """Return what weights that were fitted to the other sets find of each."""
    rows = [
        (
            each["name"],
            each["questions"],
            *(f"{each[key]:.4f}" for key in ("vector", "text", "before", "held_out")),
        )
        for each in fitted["sets"]
    ]
    table = make_table(
        ("set", "questions", "vector", "text", "shipped weights", "fitted to the others"), rows
    )
    verdict = "win" if fitted["wins"] else "do not win"
    return f"{table}\n\nFitted weights {verdict} here."


if __name__ == "__main__":
    main()
