"""A page of kept results: how right, clean and verified the answers of a set were, run by run."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

_MEASURES = ("as it should be", "right", "clean", "verified")
_COLOURS = {"as it should be": "#1d54d4", "right": "#0f6b39", "clean": "#7a4d00",
            "verified": "#8b5cf6"}  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 300, 44, 16, 150, 40
_NAME_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Run:
    """One kept run of a set; shares from 0 to 1, None where nothing says it."""

    set_name: str
    at: str
    release: str
    questions: int
    shares: dict[str, float | None]


def keep_run(results: dict[str, Any], folder: Path) -> Path:
    """Write what --json prints into *folder*, under the set and the time; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC)
    file = folder / f"{results['set']}-{at.strftime(_NAME_FORMAT)}.json"
    text = json.dumps(results | {"at": at.isoformat(timespec="seconds")}, ensure_ascii=False)
    file.write_text(text + "\n", "utf-8")
    return file


def read_runs(folder: Path) -> list[Run]:
    """
    Return the kept runs of a folder, oldest first.

    Raises:
        click.ClickException: It holds none.
    """
    runs = []
    for file in sorted(folder.glob("*.json")):
        try:
            results = json.loads(file.read_text("utf-8"))
            runs.append(_read_run(results, at=results.get("at") or file.stem))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise click.ClickException(
                f"{file} is not what evaluate --answers --keep wrote ({error!r})."
            ) from error
    if not runs:
        raise click.ClickException(f"{folder} holds no results: evaluate --answers SET --keep it.")
    return sorted(runs, key=lambda run: (run.set_name, run.at))


def _read_run(results: dict[str, Any], *, at: str) -> Run:
    answers = results["answers"]
    verified = [each["verified"] for each in answers if each.get("verified") is not None]
    answerable = [each for each in answers if not _has_no_answer(each)]

    def share(holds: Sequence[bool]) -> float | None:
        return sum(holds) / len(holds) if holds else None

    wanted = ["refused" if _has_no_answer(each) else "right" for each in answers]
    return Run(
        set_name=str(results["set"]),
        at=at,
        release=str(results.get("release", "")),
        questions=len(answers),
        shares={
            "as it should be": share(
                [each["verdict"] == verdict for each, verdict in zip(answers, wanted, strict=True)]
            ),
            "right": share([each["verdict"] == "right" for each in answerable]),
            "clean": share([bool(each["clean"]) for each in answerable]),
            "verified": sum(verified) / len(verified) if verified else None,
        },
    )


def _has_no_answer(answer: dict[str, Any]) -> bool:
    return bool(answer["kind"] == "unanswerable" or answer["verdict"] == "answered")


def render(runs: Sequence[Run], *, kind: str) -> str:
    """Return the page as md, svg or html."""
    if kind == "svg":
        return _chart(runs, runs[0].set_name)
    names = list(dict.fromkeys(run.set_name for run in runs))
    by_name = {name: [run for run in runs if run.set_name == name] for name in names}
    if kind == "md":
        return "# Answers over time\n\n" + "\n".join(
            f"## {name}\n\n{_markdown(own)}" for name, own in by_name.items()
        )
    body = "\n".join(
        f"<h2>{html.escape(name)}</h2>\n{_chart(own, name)}\n{_table(own)}"
        for name, own in by_name.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Answers over time'
        "</title><style>body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{padding:.2rem .8rem;text-align:right}td:first-child,th:first-child{text-align:left}"
        f"svg{{max-width:100%}}</style></head><body><h1>Answers over time</h1>\n{body}\n"
        "</body></html>\n"
    )


def _cells(run: Run) -> list[str]:
    shares = [run.shares[measure] for measure in _MEASURES]
    shown = ["-" if share is None else f"{share:.3f}" for share in shares]
    return [run.at, run.release or "-", str(run.questions), *shown]


def _markdown(runs: Sequence[Run]) -> str:
    heads = ["run", "release", "questions", *_MEASURES]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * (len(heads) - 2)]
    lines += ["| " + " | ".join(_cells(run)) + " |" for run in runs]
    return "\n".join(lines) + "\n"


def _table(runs: Sequence[Run]) -> str:
    heads = "".join(f"<th>{name}</th>" for name in ("run", "release", "questions", *_MEASURES))
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(run)) + "</tr>"
        for run in runs
    )
    return f"<table><tr>{heads}</tr>{rows}</table>"


def _chart(runs: Sequence[Run], name: str) -> str:
    """Return an SVG of the shares of one set's runs."""
    runs = [run for run in runs if run.set_name == name]
    across = _WIDTH - _LEFT - _RIGHT
    down = _HEIGHT - _TOP - _BOTTOM

    def x(at: int) -> float:
        return _LEFT + (across * at / (len(runs) - 1) if len(runs) > 1 else across / 2)

    def y(share: float) -> float:
        return _TOP + down * (1 - share)

    begin = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' font-family="system-ui" font-size="12"><title>{html.escape(name)}</title>'
    )
    parts = [begin]
    for step in range(6):
        height = y(step / 5)
        parts.append(
            f'<path d="M{_LEFT} {height:.1f}H{_LEFT + across}" stroke="#d9dee7"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{step / 5:.1f}</text>'
        )
    for place, measure in enumerate(_MEASURES):
        colour = _COLOURS[measure]
        points = [
            (x(at), y(share))
            for at, run in enumerate(runs)
            if (share := run.shares[measure]) is not None
        ]
        line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3" fill="{colour}"/>'
            for across, down in points
        ]
        legend = _TOP + 18 * place + 8
        parts.append(
            f'<text x="{_LEFT + across + 14}" y="{legend}" fill="{colour}">{measure}</text>'
        )
    for at, anchor in ((0, "start"), (len(runs) - 1, "end")):
        parts.append(
            f'<text x="{x(at):.1f}" y="{_HEIGHT - 14}" text-anchor="{anchor}">'
            f"{html.escape(runs[at].at[:10])}</text>"
        )
    return "".join(parts) + "</svg>"
