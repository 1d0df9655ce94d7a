"""A page of kept results: the newest run of each set by kind, and all runs over time."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

_MEASURES = ("as it should be", "right", "clean", "verified")
_HEADS = ("run", "release", "questions", *_MEASURES)
_WITH_ANSWER, _NO_ANSWER = "with an answer", "without an answer (refused)"
_COLOURS = {"as it should be": "#1d54d4", "right": "#0f6b39", "clean": "#7a4d00",
            "verified": "#8b5cf6"}  # fmt: skip
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 300, 44, 16, 150, 40
_NAME_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Run:
    """
    One kept run of a set.

    Attributes:
        shares: From 0 to 1 by measure; None if no answer of the run has it.
        counts: By kind and then by language, how many questions were answered or refused
            correctly, and how many were asked.
    """

    set_name: str
    at: str
    release: str
    questions: int
    shares: dict[str, float | None]
    counts: dict[str, tuple[int, int]]


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
        raise click.ClickException(
            f"{folder} holds no results. Run: kaydangpt evaluate --answers SET --keep {folder}"
        )
    return sorted(runs, key=lambda run: (run.set_name, run.at))


def _read_run(results: dict[str, Any], *, at: str) -> Run:
    answers = results["answers"]
    verified = [each["verified"] for each in answers if each.get("verified") is not None]
    answerable = [each for each in answers if not _has_no_answer(each)]

    def share(holds: Sequence[bool]) -> float | None:
        return sum(holds) / len(holds) if holds else None

    return Run(
        set_name=str(results["set"]),
        at=at,
        release=str(results.get("release", "")),
        questions=len(answers),
        shares={
            "as it should be": share([_is_correct(each) for each in answers]),
            "right": share([each["verdict"] == "right" for each in answerable]),
            "clean": share([bool(each["clean"]) for each in answerable]),
            "verified": sum(verified) / len(verified) if verified else None,
        },
        counts=_count(answers),
    )


def _count(answers: Sequence[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    named = [
        (_NO_ANSWER if _has_no_answer(each) else _WITH_ANSWER, _is_correct(each))
        for each in answers
    ]
    answerable = [each for each in answers if not _has_no_answer(each)]
    for field in ("kind", "language"):
        named += [(str(each[field]), _is_correct(each)) for each in answerable if each[field]]
    held = {name: [right for own, right in named if own == name] for name, _ in named}
    counts = {name: (sum(rights), len(rights)) for name, rights in held.items()}
    first = {name: counts[name] for name in (_WITH_ANSWER, _NO_ANSWER) if name in counts}
    return first | counts


def _is_correct(answer: dict[str, Any]) -> bool:
    return bool(answer["verdict"] == ("refused" if _has_no_answer(answer) else "right"))


def _has_no_answer(answer: dict[str, Any]) -> bool:
    return bool(answer["kind"] == "unanswerable" or answer["verdict"] == "answered")


def render(runs: Sequence[Run], *, kind: str) -> str:
    """Return the page as md, svg or html."""
    if kind == "svg":
        return _chart(runs, runs[0].set_name)
    names = list(dict.fromkeys(run.set_name for run in runs))
    by_name = {name: [run for run in runs if run.set_name == name] for name in names}
    heads, rows = _tabulate_newest([own[-1] for own in by_name.values()])
    if kind == "md":
        return (
            f"# Answers\n\nThe newest run of each set, right / asked:\n\n"
            f"{_write_markdown(heads, rows, text_columns=1)}\n"
        ) + "\n".join(
            f"## {name}\n\n{_write_markdown(_HEADS, map(_cells, own), text_columns=2)}"
            for name, own in by_name.items()
        )
    newest = _write_html(heads, rows)
    body = f"<p>The newest run of each set, right / asked:</p>\n{newest}\n" + "\n".join(
        f"<h2>{html.escape(name)}</h2>\n{_chart(own, name)}\n"
        f"{_write_html(_HEADS, map(_cells, own))}"
        for name, own in by_name.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Answers over time'
        "</title><style>body{font:16px system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{padding:.2rem .8rem;text-align:right}td:first-child,th:first-child{text-align:left}"
        f"svg{{max-width:100%}}</style></head><body><h1>Answers</h1>\n{body}\n"
        "</body></html>\n"
    )


def _cells(run: Run) -> list[str]:
    shares = [run.shares[measure] for measure in _MEASURES]
    shown = ["-" if share is None else f"{share:.3f}" for share in shares]
    return [run.at, run.release or "-", str(run.questions), *shown]


def _tabulate_newest(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of a table with a column for each run and a row for each kind."""
    labels = dict.fromkeys(label for run in runs for label in run.counts)
    rows = [
        [
            label,
            *("{} / {}".format(*run.counts[label]) if label in run.counts else "-" for run in runs),
        ]
        for label in labels
    ]
    for measure in ("clean", "verified"):
        shares = [run.shares[measure] for run in runs]
        rows.append([f"{measure}, share", *map(_write_share, shares)])
    return ["", *(run.set_name for run in runs)], rows


def _write_share(share: float | None) -> str:
    return "-" if share is None else f"{share:.2f}"


def _write_markdown(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, text_columns: int
) -> str:
    """Return a table whose columns after the first *text_columns* are aligned to the right."""
    lines = [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * text_columns + "---:|" * (len(heads) - text_columns),
    ]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _write_html(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


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
