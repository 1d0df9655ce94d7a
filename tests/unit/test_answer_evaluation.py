"""Grading, comparing and fitting by `kaydangpt evaluate --answers`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from admin.answer_evaluation import (
    as_json,
    compare,
    fit_choosing,
    grade_all,
    group,
    print_grades,
    read_questions,
    share_as_it_should_be,
)
from admin.answer_grading import GoldQuestion, Grade, grade
from admin.answer_history import read_runs, render
from functions.query.answering.choosing import Choosing, read_choosings
from functions.query.answering.confidence import SIGNS
from functions.query.answering.scoring import FEATURES
from shared.embedding.tokenizer import FORMAT
from shared.errors import Misconfigured

GATE = GoldQuestion(
    "gate",
    "What is the code of the gate?",
    kind="fact",
    language="en",
    gold=[["QX-7714", "QX 7714"]],
    passages=["The gate code of building seven is QX-7714."],
)
NOTHING = GoldQuestion("none", "Who won?", kind="unanswerable", language="en")


def reply(answer: str, *, grounded: bool = True, heading: str = "") -> dict[str, Any]:
    return {
        "answer": answer,
        "grounded": grounded,
        "citations": [{"heading": heading, "verified": True}],
        "passages": [{"text": "The gate code of building seven is QX-7714. It is new."}],
    }


@pytest.mark.parametrize(
    ("answer", "verdict", "clean"),
    [
        ("The gate code of building seven is QX-7714. [1]", "right", True),
        ("The gate code of building seven is QX‑7714. [1]", "right", True),  # another hyphen
        ("It is new. [1]", "wrong", False),
        ("Cats purr. Dogs bark. The gate code of building seven is QX-7714. [1]", "right", False),
        ("code of building seven is QX-7714. [1]", "right", False),  # a fragment
        ("2.1 Codes of the gates: QX-7714. [1]", "right", False),  # a heading
    ],
)
def test_grade_when_answered(answer: str, verdict: str, clean: bool) -> None:
    """Right is what holds the gold; clean moreover has little else and begins well."""
    graded = grade(GATE, reply(answer))
    assert (graded.verdict, graded.clean, graded.found) == (verdict, clean, True)


def test_grade_when_it_begins_with_its_heading() -> None:
    """A heading in front of the sentence is no beginning."""
    answer = "Gates\n\nThe gate code of building seven is QX-7714. [1]"
    assert grade(GATE, reply(answer, heading="Building 7 > Gates")).begins_badly


def test_grade_when_a_number_is_within_another() -> None:
    """30 does not stand in 1,300, nor "no" in "none"."""
    question = replace(GATE, gold=[["30"]])
    assert grade(question, reply("It costs 1,300 euros.")).verdict == "wrong"
    assert grade(question, reply("It costs 30 euros.")).verdict == "right"
    assert grade(replace(GATE, gold=[["no"]]), reply("None of them.")).verdict == "wrong"


def test_grade_when_parts_are_missing() -> None:
    """Half of a two-part answer is partly right, and the topic before makes it wrong."""
    question = replace(GATE, gold=[["QX-7714"], ["seven"]], must_not=["crane"])
    assert grade(question, reply("The code is QX-7714.")).verdict == "partly"
    assert grade(question, reply("QX-7714 of seven, says the crane.")).verdict == "wrong"


def test_grade_when_nothing_answers() -> None:
    """A refusal is right where nothing answers, and only there."""
    assert grade(NOTHING, reply("Nothing.", grounded=False)).verdict == "refused"
    assert grade(NOTHING, reply("The gate.")).verdict == "answered"
    assert grade(GATE, reply("Nothing.", grounded=False)).verdict == "refused"
    assert grade(GATE, {}).verdict == "failed"


def test_group_when_kinds_and_languages_differ() -> None:
    """Figures are given by kind and by language; refusals of what nothing answers are apart."""
    grades = grade_all(
        [
            (GATE, reply("The gate code of building seven is QX-7714."), 10.0),
            (NOTHING, reply("No.", grounded=False), 30.0),
        ]
    )
    groups = group(grades)
    assert groups["all"]["with an answer"]["right"] == 1
    assert groups["all"]["without"]["refused"] == 1
    assert groups["kind"]["fact"]["precision"] == 1.0
    assert set(groups["language"]) == {"en"}
    assert share_as_it_should_be(grades) == 1.0


def run_of(right: int, *, questions: int = 40) -> list[Grade]:
    return [
        Grade(str(at), "fact", "en", "right" if at < right else "wrong", clean=at < right)
        for at in range(questions)
    ]


def test_compare_when_better() -> None:
    """More right answers to the same questions are told from chance by the interval."""
    earlier = json.loads(json.dumps(as_json("set", run_of(10))))
    difference, low, high = compare(run_of(30), earlier)["right"]
    assert difference == pytest.approx(0.5)
    assert 0 < low < difference < high
    _, low, high = compare(run_of(11), earlier)["right"]
    assert low <= 0 <= high
    with pytest.raises(click.ClickException, match="no question in common"):
        compare([replace(run_of(1)[0], id="other")], earlier)


def test_history_when_two_sets_are_kept(tmp_path: Path) -> None:
    """The page begins with the newest run of each set: right and asked, by kind."""
    refused = Grade("none", "unanswerable", "en", "refused")
    for name, right in (("first", 10), ("first", 30), ("second", 40)):
        results = as_json(name, [*run_of(right), refused]) | {"at": f"2026-11-{right}"}
        (tmp_path / f"{name}-{right}.json").write_text(json.dumps(results))
    page = render(read_runs(tmp_path), kind="md")
    newest = page[: page.index("## first")]
    assert "|  | first | second |\n|---|---:|---:|\n" in newest
    assert "| fact | 30 / 40 | 40 / 40 |" in newest
    assert "| without an answer (refused) | 1 / 1 | 1 / 1 |" in newest
    assert page.count("| 2026-11-") == 3


def test_table_when_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A terminal of 80 columns has room for it."""
    print_grades("set", [replace(each, grounded=True) for each in run_of(30)])
    printed = capsys.readouterr().out
    assert "right" in printed
    assert "precision 0.00" in printed
    assert "…" not in printed


def test_read_questions_when_gold_is_given(tmp_path: Path) -> None:
    """Parts may be lists of alternatives or one text; null says that nothing answers."""
    file = tmp_path / "set.jsonl"
    file.write_text(
        '{"question": "a?", "gold": ["x", ["y", "z"]]}\n{"question": "b?", "gold": null}'
    )
    first, second = read_questions(file)
    assert first.gold == [["x"], ["y", "z"]]
    assert (second.gold, second.kind) == (None, "unanswerable")


@pytest.mark.parametrize(
    "line", ['{"question": "a?"}', '{"gold": []}', "no json", '{"question": "a?", "gold": []}']
)
def test_read_questions_when_a_line_is_wrong(tmp_path: Path, line: str) -> None:
    """A line that cannot be used is named by its number."""
    file = tmp_path / "set.jsonl"
    file.write_text(line)
    with pytest.raises(click.ClickException, match="line 1"):
        read_questions(file)


def traced(at: int, *, answerable: bool) -> tuple[GoldQuestion, dict[str, Any], float]:
    """Return a question whose right sentence has the higher cosine, and never the more words."""
    random = np.random.default_rng(at)
    question = replace(GATE if answerable else NOTHING, id=str(at))
    texts = ["The gate code of building seven is QX-7714.", "It is new.", "Cats purr."]
    candidates = []
    start = 0
    for place, text in enumerate(texts):
        features = dict.fromkeys(FEATURES, 0.0)
        features["cosine"] = random.uniform(0.6, 0.9) if place == 0 else random.uniform(0.1, 0.5)
        features["words"] = random.uniform(0.0, 1.0)
        candidates.append(
            {"number": 1, "start": start, "end": start + len(text), "features": features}
        )
        start += len(text) + 1
    signs = dict.fromkeys(SIGNS, 0.0) | {"bias": 1.0}
    signs["passage_words"] = random.uniform(0.7, 1.0) if answerable else random.uniform(0.0, 0.3)
    part = {"question": "?", "confidence": 0.5, "signs": signs, "candidates": candidates}
    trace = {"extract": {"answers": True, "parts": [part]}}
    return question, {"passages": [{"text": " ".join(texts)}], "trace": trace}, 1.0


def test_fit_when_one_feature_decides(tmp_path: Path, model_folder: Path) -> None:
    """The deciding feature gets the weight, refusals follow their sign, and the file is read."""
    asked = [traced(at, answerable=at % 3 > 0) for at in range(60)]
    fitted = fit_choosing(asked, file=model_folder / "answering.json")
    assert fitted.first_right > 0.95
    assert fitted.refused_unanswerable > 0.9
    assert fitted.refused_answerable < 0.15
    assert fitted.sentences["cosine"] > 3 * abs(fitted.sentences["words"])
    (choosing,) = read_choosings([model_folder, None]).values()
    assert choosing.sentences.cosine == pytest.approx(fitted.sentences["cosine"], abs=1e-3)
    assert choosing.confidence.passage_words > 0
    # Nothing of these was read: what is read is weighed alike.
    assert choosing.read == choosing.confidence
    assert read_choosings([tmp_path]) == {}


def test_fit_when_the_reader_has_read(tmp_path: Path) -> None:
    """What was read is refused by the reader's odds, and what was not goes by the other signs."""
    asked = [traced(at, answerable=at % 3 > 0) for at in range(90)]
    for at, (_, reply, _) in enumerate(asked):
        part = reply["trace"]["extract"]["parts"][0]
        if at % 2:
            part["signs"] |= {"passage_words": 0.5, "reader": 2.0 if at % 3 else -4.0}
    fitted = fit_choosing(asked, file=tmp_path / "answering.json")
    assert fitted.refused_unanswerable > 0.9
    assert fitted.refused_answerable < 0.15
    assert fitted.read["reader"] > 0
    assert fitted.confidence["reader"] == 0


def test_fit_when_there_is_nothing_to_fit_to(tmp_path: Path) -> None:
    """Questions of one sort, or replies without a trace, are refused in one sentence."""
    answerable = [traced(at, answerable=True) for at in range(3)]
    with pytest.raises(click.ClickException, match="without an answer"):
        fit_choosing(answerable, file=tmp_path / "answering.json")
    with pytest.raises(click.ClickException, match="without Gemini"):
        fit_choosing([(GATE, reply("Written."), 1.0)], file=tmp_path / "answering.json")
    assert not (tmp_path / "answering.json").exists()


def test_read_choosings_when_the_file_is_damaged(model_folder: Path) -> None:
    """A damaged file ends the start with its name, not a question with wrong weights."""
    (model_folder / "answering.json").write_text('{"sentences": 3}')
    with pytest.raises(Misconfigured, match=r"answering\.json is damaged"):
        read_choosings([model_folder])
    (model_folder / "answering.json").unlink()
    assert read_choosings([model_folder]) == {}
    assert Choosing().least > 0


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """Make a folder that describes a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    description = {
        "format": FORMAT,
        "name": "made",
        "dimension": 3,
        "max_tokens": 8,
        "digest": "d" * 64,
        "files": {},
    }
    (folder / "model.json").write_text(json.dumps(description))
    return folder
