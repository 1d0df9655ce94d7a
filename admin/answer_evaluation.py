"""
Measuring the answers of a running service on questions with gold answers.

A set is a file of JSON lines; docs/answers.md describes the fields.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from statistics import fmean, median
from typing import Any

import click
import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table

from admin.answer_fitting import FittedChoosing, fit, gather_traces, read_trace
from admin.answer_grading import FAULTS, GoldQuestion, Grade, grade
from shared.version import VERSION

# What a question is asked with, and the reply of POST /query.
Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Figures = dict[str, float | int | None]

VERDICTS = ("right", "partly", "wrong", "refused", "answered", "failed")
_SHARES = ("right", "clean", "precision")
_AS_IT_SHOULD_BE = "as it should be"
JUDGED = ("judged_correct", "judged_complete", "judged_supported")
_MAX_NAMED = 10
_RESAMPLES = 10_000
_progress = Console(stderr=True)


def read_questions(path: Path) -> list[GoldQuestion]:
    """
    Return the questions of a file.

    Raises:
        click.ClickException: A line cannot be used; it is named by its number.
    """
    questions = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            questions.append(_read_question(json.loads(line), str(number)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise click.ClickException(
                f'{path}, line {number}: give {{"question": "...", "gold": [["...", ...], ...], '
                f'"passages": ["..."]}}, with "gold": null if no document answers ({error!r}).'
            ) from error
    if len({question.id for question in questions}) < len(questions):
        raise click.ClickException(f"{path}: two questions have the same id.")
    return questions


def _read_question(given: Mapping[str, Any], number: str) -> GoldQuestion:
    gold = given["gold"]
    if gold is not None:
        gold = [[part] if isinstance(part, str) else [str(each) for each in part] for part in gold]
        if not gold or not all(gold):
            raise ValueError("gold is empty")
    return GoldQuestion(
        id=str(given.get("id", number)),
        question=str(given["question"]),
        kind=str(given.get("kind") or ("" if gold is not None else "unanswerable")),
        language=str(given.get("language", "")),
        gold=gold,
        passages=[str(passage) for passage in given.get("passages") or ()],
        must_not=[str(word) for word in given.get("must_not") or ()],
        history=list(given.get("history") or ()),
    )


def ask_all(
    questions: Sequence[GoldQuestion], ask: Ask, *, prefix: str, trace: bool = False
) -> list[tuple[GoldQuestion, Mapping[str, Any], float]]:
    """Return each question with its reply and the milliseconds it took, one at a time."""
    asked = []
    for question in track(questions, description="asking", console=_progress):
        body: dict[str, Any] = {"question": question.question}
        if question.history:
            body["history"] = list(question.history)
        if prefix:
            body["filter"] = {"prefix": prefix}
        if trace:
            body["trace"] = True
        started = time.perf_counter()
        reply = ask(body)
        asked.append((question, reply, 1000 * (time.perf_counter() - started)))
    return asked


def grade_all(
    asked: Iterable[tuple[GoldQuestion, Mapping[str, Any], float]],
) -> list[Grade]:
    """Return the grade of each reply."""
    return [grade(question, reply, milliseconds=taken) for question, reply, taken in asked]


def summarise(grades: Sequence[Grade]) -> Figures:
    """Return the figures of some grades; None if no answer says it."""
    answered = [each for each in grades if each.grounded]
    of_gold = [each for each in answered if each.verdict != "answered"]
    verified = [each.verified for each in answered if each.verified is not None]
    figures: Figures = {"questions": len(grades)}
    figures |= {verdict: sum(each.verdict == verdict for each in grades) for verdict in VERDICTS}
    figures |= {
        "clean": sum(each.clean for each in grades),
        "grounded": len(answered),
        "found": sum(each.found for each in grades),
        "verified": _mean(verified),
        "coverage": _mean([each.coverage for each in of_gold]),
        "precision": _mean([each.precision for each in of_gold]),
        "begins_badly": _mean([float(each.begins_badly) for each in answered]),
        "p50_ms": round(median(each.milliseconds for each in grades), 1) if grades else None,
    }
    for measure in JUDGED:
        values = [value for each in grades if (value := getattr(each, measure)) is not None]
        figures[measure] = _mean(values)
    return figures


def group(grades: Sequence[Grade]) -> dict[str, dict[str, Figures]]:
    """Return the figures of all, by whether something answers, by kind and by language."""
    answerable = [each for each in grades if not _is_unanswerable(each)]
    groups: dict[str, dict[str, Figures]] = {
        "all": {
            "with an answer": summarise(answerable),
            "without": summarise([each for each in grades if _is_unanswerable(each)]),
        }
    }
    groups["kind"] = _by([(each.kind, each) for each in grades])
    groups["language"] = _by([(each.language, each) for each in answerable])
    return groups


def _is_unanswerable(given: Grade) -> bool:
    return given.kind == "unanswerable" or given.verdict == "answered"


def _by(named: Sequence[tuple[str, Grade]]) -> dict[str, Figures]:
    names = dict.fromkeys(name for name, _ in named if name)
    return {name: summarise([each for own, each in named if own == name]) for name in names}


def as_json(name: str, grades: Sequence[Grade]) -> dict[str, Any]:
    """Return what --json prints and --compare reads."""
    return {
        "set": name,
        "release": VERSION,
        "figures": group(grades),
        "answers": [asdict(each) | {"faults": each.faults} for each in grades],
    }


def compare(
    grades: Sequence[Grade], earlier: Mapping[str, Any]
) -> dict[str, tuple[float, float, float]]:
    """
    Return by measure how much better *grades* are than *earlier*, what as_json() made.

    Questions are resampled in pairs, those of both runs: (difference, and its interval of 95 %).

    Raises:
        click.ClickException: The runs have no question in common.
    """
    before = {each["id"]: _read_grade(each) for each in earlier.get("answers", [])}
    pairs = [(_measures(each), _measures(before[each.id])) for each in grades if each.id in before]
    if not pairs:
        raise click.ClickException("The two runs have no question in common.")
    # What a judge did not grade in both runs cannot be compared.
    judged = [name for name in JUDGED if all(name in new and name in old for new, old in pairs)]
    measures = (*_SHARES, *judged, _AS_IT_SHOULD_BE)
    differences = np.array(
        [[new[measure] - old[measure] for measure in measures] for new, old in pairs]
    )
    random = np.random.default_rng(0)
    places = random.integers(0, len(pairs), size=(_RESAMPLES, len(pairs)))
    means = differences[places].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return {
        measure: (float(differences[:, at].mean()), float(low[at]), float(high[at]))
        for at, measure in enumerate(measures)
    }


def has_dropped(compared: Mapping[str, tuple[float, float, float]]) -> bool:
    """Return whether fewer questions are correctly answered or refused, by more than chance."""
    _, _, high = compared[_AS_IT_SHOULD_BE]
    return high < 0


def _read_grade(given: Mapping[str, Any]) -> Grade:
    known = {field.name for field in fields(Grade)}
    return Grade(**{name: value for name, value in given.items() if name in known})


def _measures(given: Grade) -> dict[str, float]:
    refused_rightly = _is_unanswerable(given) and given.verdict == "refused"
    judged = {name: getattr(given, name) for name in JUDGED}
    return {name: value for name, value in judged.items() if value is not None} | {
        "right": float(given.verdict == "right"),
        "clean": float(given.clean),
        "precision": given.precision,
        _AS_IT_SHOULD_BE: float(given.verdict == "right" or refused_rightly),
    }


def share_as_it_should_be(grades: Sequence[Grade]) -> float:
    """Return the share of questions that are correctly answered or refused."""
    return fmean(_measures(each)[_AS_IT_SHOULD_BE] for each in grades) if grades else 0.0


def print_grades(name: str, grades: Sequence[Grade]) -> None:
    """Print counts by kind and language in a table, and the shares below it."""
    columns = ["questions", "right", "clean", "partly", "wrong", "refused", "found"]
    for verdict in ("answered", "failed"):
        if any(each.verdict == verdict for each in grades):
            columns.insert(-1, verdict)
    table = Table(title=name, box=SIMPLE, padding=(0, 0))
    table.add_column("")
    for column in columns:
        table.add_column("asked" if column == "questions" else column, justify="right")
    for figures in group(grades).values():
        for label, row in figures.items():
            if row["questions"]:
                table.add_row(label, *(_cell(row[column]) for column in columns))
        table.add_section()
    console = Console()
    console.print(table)
    every = summarise([each for each in grades if not _is_unanswerable(each)])
    shares = ("verified", "coverage", "precision", "begins_badly", *JUDGED)
    written = [f"{share.replace('_', ' ')} {_cell(every[share])}" for share in shares
               if every[share] is not None]  # fmt: skip
    console.print(
        "; ".join([*written, f"median {_cell(every['p50_ms'])} ms"]),
        highlight=False,
        soft_wrap=True,
    )


def print_faults(grades: Sequence[Grade]) -> None:
    """Print how many answers have each fault, and which."""
    table = Table(title="what is wrong")
    for heading in ("", "answers", "which"):
        table.add_column(heading, justify="right" if heading == "answers" else "left")
    for fault in FAULTS:
        named = [each.id for each in grades if fault in each.faults]
        if named:
            more = f" and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
            table.add_row(fault, str(len(named)), ", ".join(named[:_MAX_NAMED]) + more)
    if table.row_count:
        Console().print(table)


def print_comparison(compared: Mapping[str, tuple[float, float, float]]) -> None:
    """Print the differences and whether they are more than chance."""
    table = Table(title="compared with the earlier run")
    for heading in ("", "difference", "95 % from", "to"):
        table.add_column(heading, justify="left" if not heading else "right")
    for measure, (difference, low, high) in compared.items():
        mark = "" if low <= 0 <= high else " *"
        table.add_row(measure, f"{difference:+.3f}{mark}", f"{low:+.3f}", f"{high:+.3f}")
    Console().print(table)


def fit_choosing(
    asked: Sequence[tuple[GoldQuestion, Mapping[str, Any], float]], *, file: Path
) -> FittedChoosing:
    """
    Fit what answers are chosen by to traced replies, and keep it in *file*.

    Raises:
        click.ClickException: The replies have no trace, or no question is without an answer.
    """
    traced = [(question, read_trace(question, reply)) for question, reply, _ in asked]
    traced = [(question, parts) for question, parts in traced if parts]
    if not any(question.gold is not None for question, _ in traced):
        raise click.ClickException(
            "No reply traces its sentences. Use a service that answers without Gemini."
        )
    if not any(question.gold is None for question, _ in traced):
        raise click.ClickException(
            'Refusals cannot be fitted. Include questions without an answer ("gold": null).'
        )
    fitted = fit(gather_traces(traced))
    file.write_text(json.dumps(fitted.as_json(), indent=1) + "\n", "utf-8")
    return fitted


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _mean(values: Sequence[float]) -> float | None:
    return round(fmean(values), 3) if values else None
