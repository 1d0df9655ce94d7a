"""The arithmetic of the benchmarks, and the tables that they write."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import corpus, neighbour, report
from benchmarks.corpus import Chunks, embed_corpus, read_embedded
from benchmarks.load import Asked, fit_slope, summarise
from benchmarks.recording import make_table, read_latest, replace_block, write_result
from benchmarks.scaling import find_crossing, fit_exponent
from benchmarks.simulate import fit_line
from benchmarks.uploads import Case, find_failures, write_table


def test_exponent_when_cost_is_a_power() -> None:
    """The exponent of a power of the size is found; one size alone has none."""
    sizes = [1e3, 1e4, 1e5]
    assert fit_exponent(sizes, [2 * size**0.5 for size in sizes]) == pytest.approx(0.5)
    assert fit_exponent([1e3], [4.0]) is None


def test_crossing_when_the_index_wins_at_some_size() -> None:
    """The size at which two costs are equal is interpolated on logarithms."""
    assert find_crossing([1e3, 1e5], [1.0, 4.0], [2.0, 2.0]) == pytest.approx(1e4, rel=0.01)
    assert find_crossing([1e3, 1e5], [1.0, 2.0], [2.0, 3.0]) is None
    assert find_crossing([1e3, 1e5], [3.0, 4.0], [2.0, 2.0]) == 1000


def test_slope_when_memory_grows() -> None:
    """A straight line has its slope and no error; two points have neither."""
    assert fit_slope([0, 1, 2, 3], [10, 12, 14, 16]) == pytest.approx((2, 0))
    assert all(math.isnan(value) for value in fit_slope([0, 1], [1, 2]))


def test_line_when_work_has_a_constant_part() -> None:
    """Constant and slope are found, and none is below zero."""
    assert fit_line([1, 2, 3], [5, 7, 9]) == pytest.approx((3, 2))
    assert fit_line([1, 2, 3], [1, 4, 7]) == pytest.approx((0, 30 / 14))
    assert fit_line([1, 2, 3], [3, 2, 1]) == pytest.approx((2, 0))


def test_summary_when_some_questions_failed() -> None:
    """Latencies are those of answers; everything else is an error."""
    asked = [Asked(0, 0.1, 200), Asked(0, 0.3, 200), Asked(0, 9, 0, error="reset")]
    summary = summarise(asked)
    assert (summary["asked"], summary["errors"], summary["p50_ms"]) == (3, 1, 200.0)
    assert Asked(0, 0.1, 503, "2").was_refused
    assert not Asked(0, 0.1, 503).was_refused


def test_table_in_a_document_when_written_again(tmp_path: Path) -> None:
    """A block is replaced, and what stands around it stays."""
    document = tmp_path / "a.md"
    document.write_text("before\n<!-- x: made by a command -->\nold\n<!-- end of x -->\nafter\n")
    replace_block(document, "x", make_table(("a", "b"), [("one", 1)]))
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| one | 1 |" in text
    with pytest.raises(ValueError, match="no block"):
        replace_block(document, "y", "")


def test_latest_result_when_kinds_share_a_beginning(tmp_path: Path) -> None:
    """The newest file of just this kind is read."""
    write_result("load-check", {"figure": 1}, folder=tmp_path)
    with pytest.raises(FileNotFoundError):
        read_latest("load", folder=tmp_path)
    file = write_result("load", {"figure": 2}, folder=tmp_path)
    assert read_latest("load", folder=tmp_path) == {"figure": 2, "file": file.name}


def test_served_table_when_a_set_is_labelled() -> None:
    """Each system's speed stands beside the quality of what it returns, and beside ours."""

    def seen(p50: float, per_second: float) -> dict[str, float]:
        return {"p50_ms": p50, "p95_ms": 2 * p50, "per_second": per_second}

    systems = {"kaydangpt": seen(20, 50), "django": seen(40, 25)}
    result = {
        "corpus": {"stores": {"large": 100_000}},
        "figures": {
            "served": [
                {"store": "large", "clients": clients, "systems": systems, "ndcg": ndcg}
                for clients, ndcg in ((1, {"kaydangpt": 0.43, "django": 0.36}), (16, {}))
            ]
        },
    }

    one, sixteen = report.make_table_of("served", result).split("**100,000 chunks, 16 clients**")

    assert "| Django-shaped | 40.0 | 80.0 | 25.0 | 0.50 | 2.00 | 0.3600 |" in one
    assert "| KaydangPT | 20.0 | 40.0 | 50.0 | 1.00 | 1.00 | 0.4300 |" in sixteen


def test_figures_when_results_hold_different_ones(tmp_path: Path) -> None:
    """Each figure is of the newest run that has it, and the README says which that is."""

    def write(day: str, *, processor: str, quick: bool = False, **figures: Any) -> None:
        result = {
            "machine": {
                "date": f"2026-11-{day}T10:00:00+00:00",
                "processor": processor,
                "cores": 2,
            },
            "versions": {"django": {}},
            "figures": figures,
            "quick": quick,
        }
        (tmp_path / f"performance-202611{day}-100000.json").write_text(json.dumps(result))

    def ingest(ours: float) -> list[Any]:
        return [{"systems": {"kaydangpt": {"per_second": ours}, "django": {"per_second": 10}}}]

    cold = [{"kaydangpt": {"query": 1.0}, "django": {"process": 10.0}}]
    write("20", processor="Old", ingest=ingest(20), cold=cold)
    write("21", processor="New", ingest=ingest(50))
    write("22", processor="Small", quick=True, ingest=ingest(90))

    summary = report.make_summary(report.read_newest(tmp_path))

    assert "ingests 5.00 times as many chunks a second; starts 10.0 times as fast." in summary
    assert "ingest of 21 November 2026 (New, 2 cores)" in summary
    assert "cold start of 20 November 2026 (Old, 2 cores)" in summary


def test_corpus_when_documents_are_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labelled documents come first as they are; the rest is filled up with altered copies."""
    monkeypatch.setattr(corpus, "CACHE", tmp_path)
    labelled = Chunks(
        ["1.txt", "1.txt", "2.txt"], ["one", "two", "three"], np.eye(4, dtype=np.float32)[:3]
    )
    plain = Chunks(
        ["a.md", "a.md"], ["some words here", "other words there"], np.eye(4, dtype=np.float32)[2:]
    )

    rows, vectors = read_embedded(embed_corpus(labelled, plain, chunks=8))

    assert [(row["document"], row["ordinal"]) for row in rows[:3]] == [
        ("1.txt", 0),
        ("1.txt", 1),
        ("2.txt", 0),
    ]
    assert [row["text"] for row in rows[:5]] == [*labelled.texts, *plain.texts]
    assert vectors.shape == (8, 4)
    assert np.allclose(vectors[:3], labelled.vectors)


def test_uploads_table_when_a_file_was_not_found() -> None:
    """A file that never answered is counted, and named."""
    row = {
        "case": Case.read("2x100000").title,
        "chunks": 266,
        "first_seconds": 1.5,
        "p50_seconds": 2.0,
        "p95_seconds": 2.5,
        "all_seconds": 2.6,
        "chunks_a_second": 102.3,
        "failed": [],
        "not_found": ["i0c/1.txt"],
    }
    result = {
        "idle": [row],
        "busy": [],
        "clients": 32,
        "questions": summarise([]),
        "file": "uploads-1.json",
        "machine": {
            "date": "2026-11-30T13:10:00",
            "processor": "x",
            "cores": 2,
            "memory_gb": 24,
            "load_average": [0.1],
            "revision": "abc",
        },
    }

    assert "| 2 x 100 kB | nothing | 266 | 1.50 | 2.00 | 2.50 | 2.6 | 102.3 | 1 |" in write_table(
        result
    )
    assert find_failures(result) == ["i0c/1.txt"]


def test_neighbour_when_it_slows_both() -> None:
    """Each condition has the medians of both, and our share within each round."""
    ours = {"alone": [10, 12, 11], "in its cache": [20, 20, 20], "in memory": [30, 33, 36]}
    theirs = {"alone": [20, 20, 20], "in its cache": [25, 25, 25], "in memory": [30, 30, 30]}
    machine = {"date": "2026-11-30T10:00", "processor": "P", "cores": 2, "memory_gb": 8}
    result = {
        "peer": "django",
        "rounds": 3,
        "questions": 9,
        "p50_ms": {"kaydangpt": ours, "django": theirs},
        "file": "neighbour-1.json",
        "machine": machine | {"load_average": [0.1], "revision": "abc"},
    }
    table = neighbour.write_table(result)
    assert "| alone | 11.0 | 20.0 | 0.55 (0.50 to 0.60) |" in table
    assert "| in memory | 33.0 | 30.0 | 1.10 (1.00 to 1.20) |" in table
