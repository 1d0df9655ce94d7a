"""The report of reliability: parts that do not know of one another."""

from __future__ import annotations

from pathlib import Path

from tests.support.reliability import describe, write_part


def test_part_when_the_other_is_there(tmp_path: Path) -> None:
    """A command replaces its own part, wherever it stands, and keeps all other words."""
    path = tmp_path / "report.md"
    write_part(path, "mutants", "## Mutants\n\nold <!-- -->")
    write_part(path, "faults", "## Faults\n\n|a|\n")
    path.write_text(path.read_text().replace("# Reliability\n", "# Reliability\n\nBy hand.\n"))
    write_part(path, "mutants", "## Mutants\n\nnew\n")
    assert path.read_text() == (
        "# Reliability\n\nBy hand.\n\n"
        "<!-- make faults -->\n\n## Faults\n\n|a|\n\n<!-- /make faults -->\n\n"
        "<!-- make mutants -->\n\n## Mutants\n\nnew\n\n<!-- /make mutants -->\n"
    )


def test_cell_when_it_has_pipes_and_lines() -> None:
    """A cell of a table stays one cell."""
    assert describe("a | b\n  c") == "a \\| b c"
