"""The log-based metrics, held against the lines that the code logs."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

from shared.store import Backlog

ROOT = Path(__file__).resolve().parents[2]
METRICS = (ROOT / "infra" / "terraform" / "metrics.tf").read_text()


def logged_lines() -> dict[str, set[str]]:
    """Return the fields of each line that a function or the sweep logs."""
    lines: dict[str, set[str]] = {}
    for top in ("functions", "shared", "admin"):
        for file in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("info", "warning", "error")
                    and node.args
                    and isinstance(node.args[0], ast.Constant)
                ):
                    names = {keyword.arg for keyword in node.keywords if keyword.arg}
                    lines.setdefault(str(node.args[0].value), set()).update(names)
    lines["backlog"] |= {field.name for field in fields(Backlog)}
    # The pipeline logs what its stages took.
    for file in (ROOT / "functions/query/answering").glob("*.py"):
        stages = re.findall(r'journal\.(?:stage|record)\(\s*"(\w+)"', file.read_text())
        lines["answered"] |= {f"{stage}_ms" for stage in stages}
    return lines


def test_every_metric_is_made_of_a_line_that_is_logged() -> None:
    """A metric of a line that nobody logs, or of a field that it has not, would stay empty."""
    lines = logged_lines()
    measured = re.findall(r'line = "([^"]+)", field = "([^".]+)', METRICS)
    counted = re.findall(r'line = "([^"]+)", more = "(?:jsonPayload\.(\w+))?', METRICS)
    labels = re.findall(r'line = "([^"]+)", .*label = "(\w+)"', METRICS)
    assert (len(measured), len(counted), len(labels)) == (13, 4, 2)
    for line, field in [*measured, *counted, *labels]:
        assert line in lines
        assert not field or field in lines[line], line
