"""The measures of `python -m admin.evaluation`, and the sets it reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import pytest

from admin.evaluation import Span, choose_floors, measure_documents, measure_spans, read_set
from shared.search.query_terms import Support


def test_measure_documents_when_graded() -> None:
    """nDCG discounts by log2(rank + 1) against the ideal order."""
    measured = measure_documents(["b", "x", "a"], {"a": 3, "b": 1})
    ideal = 3 + 1 / math.log2(3)
    assert measured["ndcg"] == pytest.approx((1 + 3 / 2) / ideal)
    assert (measured["recall"], measured["mrr"]) == (1.0, 1.0)


def test_measure_documents_when_nothing_is_found() -> None:
    """A question whose documents are not among the first ten counts as nothing."""
    ranked = [str(number) for number in range(10)] + ["a"]
    assert measure_documents(ranked, {"a": 1}) == {"ndcg": 0.0, "recall": 0.0, "mrr": 0.0}


def test_measure_spans_when_overlapping() -> None:
    """Characters returned twice count twice as returned."""
    measured = measure_spans(
        [Span("d", 0, 10), Span("d", 5, 15), Span("e", 0, 5)], [Span("d", 0, 20)]
    )
    assert measured == {
        "span_recall": 15 / 20,
        "span_precision": 15 / 25,
        "span_iou": 15 / (20 + 25 - 15),
    }


def test_read_set_when_json_lines(tmp_path: Path) -> None:
    """An expected document may be one name or several."""
    file = tmp_path / "mine.jsonl"
    file.write_text(
        '{"question": "a?", "expected": "x.pdf"}\n{"question": "b?", "expected": ["y", "z"]}\n'
    )
    questions = read_set(file)
    assert [dict(question.gains) for question in questions.questions] == [
        {"x.pdf": 1.0},
        {"y": 1.0, "z": 1.0},
    ]


@pytest.mark.parametrize("line", ['{"question": "a?"}', '{"expected": "x"}', "no json"])
def test_read_set_when_a_line_is_wrong(tmp_path: Path, line: str) -> None:
    """A line that cannot be used is named by its number."""
    file = tmp_path / "mine.jsonl"
    file.write_text(line)
    with pytest.raises(click.ClickException, match="line 1"):
        read_set(file)


def test_read_set_when_folder(tmp_path: Path) -> None:
    """A folder's documents are named without their extension."""
    (tmp_path / "queries.jsonl").write_text(json.dumps({"id": "1", "text": "a?"}))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\tdoc\t2\n")
    questions = read_set(tmp_path)
    assert dict(questions.questions[0].gains) == {"doc": 2.0}
    assert questions.document_of("prefix/doc.txt") == "doc"


def test_choose_floors_when_separable() -> None:
    """The floors refuse all that lacks support and nothing that has it."""
    answerable = [Support(0.6, 0.4)] * 100
    unanswerable = [Support(0.1, 0.3)] * 100
    chosen = choose_floors(answerable, unanswerable)
    assert (chosen.refused_unanswerable, chosen.refused_answerable) == (1.0, 0.0)
