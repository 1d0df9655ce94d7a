"""The arithmetic of the benchmarks, and the tables that they write."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.load import Asked, fit_slope, summarise
from benchmarks.recording import make_table, read_latest, replace_block, write_result
from benchmarks.scaling import find_crossing, fit_exponent
from benchmarks.simulate import fit_line


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
