"""The benchmark against other systems, in its small form: that it runs, not how fast."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.corpus import EditKind, edit, edited_copy
from local.system import ROOT

# Starting processes is not compared here: it takes a good half of the small form's time.
_FIGURES = "ingest,questions,reingest,memory"


@pytest.mark.slow
def test_benchmark_when_small(postgres_url: str, model_dir: Path, tmp_path: Path) -> None:
    """One command measures ours and the baseline; another makes tables and plots of the result."""
    output = tmp_path / "result.json"

    finished = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.compare", "--quick", "--figures", _FIGURES),
            *("--database-url", postgres_url, "--output", str(output)),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    result = json.loads(output.read_text())
    (ingest,) = result["figures"]["ingest"]
    assert {"kaydangpt", "django"} == set(ingest["systems"])
    assert all(values["chunks"] > 0 for values in ingest["systems"].values())
    (again,) = result["figures"]["reingest"]
    assert again["systems"]["kaydangpt"]["unchanged"]["embedded"] == 0
    edited = again["systems"]["kaydangpt"]["edited"]["embedded"]
    assert 0 < edited < ingest["systems"]["kaydangpt"]["chunks"]

    document = Path(shutil.copy(report.DOCUMENT, tmp_path))
    readme = Path(shutil.copy(report.README, tmp_path))
    report.main(
        [
            *(str(output), "--document", str(document)),
            *("--readme", str(readme), "--images", str(tmp_path)),
        ],
        standalone_mode=False,
    )
    assert "Django-shaped" in document.read_text()
    assert (tmp_path / "performance.png").stat().st_size > 0


def test_edit_when_words_are_exchanged() -> None:
    """Five per cent of the words are others of the document, in places spread over it."""
    letters = "abcdefghij"
    words = [
        letters[number // 100] + letters[number // 10 % 10] + letters[number % 10]
        for number in range(400)
    ]

    edited = edit(" ".join(words), kinds=["words exchanged"]).split()

    changed = [place for place, word in enumerate(words) if edited[place] != word]
    assert len(edited) == len(words)
    assert set(edited) <= set(words)
    assert len(changed) == 20
    assert changed[0] < 100
    assert changed[-1] > 300


@pytest.mark.parametrize(("kind", "grows"), [("sentences added", 1), ("sentences left out", -1)])
def test_edit_when_sentences_change(kind: EditKind, *, grows: int) -> None:
    """What comes or goes is whole sentences, at least one at each place and 5 % in all."""
    text = " ".join(f"Here stands the sentence number {number}." for number in range(300)) + "\n"

    edited = edit(text, kinds=[kind])

    assert 0.04 < grows * (len(edited) - len(text)) / len(text) < 0.07
    assert set(re.findall("Here[^.]*", edited)) <= set(re.findall("Here[^.]*", text))


def test_edited_copy_when_html(tmp_path: Path) -> None:
    """The text of a page changes, its tags do not."""
    page = tmp_path / "pages" / "page.html"
    page.parent.mkdir()
    words = " ".join(first + second for first in "abcdefghij" for second in "klmnopqrst")
    page.write_text(f"<html><body class='wide'><p>{words}</p></body></html>")

    copy = edited_copy(page.parent, tmp_path / "edited") / "page.html"

    assert copy.read_text() != page.read_text()
    assert copy.read_text().startswith("<html><body class='wide'><p>")
