"""The code blocks of the documentation, and the pages whose shell blocks are run as written."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What each shell block of a page prints that is run against `make run`, in their order
# (tests/acceptance/test_make_run.py).
OUTPUTS = {
    "README.md": ["QX-7714"],
    "docs/tutorial.md": [
        *("ready", "", "seven days", "do not answer"),
        *("", "4711", "", "4722", ""),
        *("seven days", "fused"),
    ],
    "docs/troubleshooting.md": ["no fault", ""],
    "docs/access.md": ["may read finance/plan.pdf"],
    "docs/operations.md": ["fault", "different: 0"],
    "docs/cost.md": ["a month"],
    "docs/from-django.md": [""],
    "docs/retrieval.md": ["notic"],
}
# Pages whose shell blocks a test of their own runs.
RUN_ELSEWHERE = {"docs/api.md": "tests/integration/test_api_examples.py"}

_BLOCK = re.compile(
    r"^(?:(?P<before>[^\n]*)\n)?(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """
    A block of code.

    Attributes:
        not_run: Why no test runs it, as the comment above it says; empty if one does.
    """

    language: str
    code: str
    not_run: str


def blocks_of(name: str) -> list[Block]:
    """Return the blocks of a page."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = []
    for match in _BLOCK.finditer(text):
        reason = _NOT_RUN.search(match["before"] or "")
        code = textwrap.dedent(match["code"])
        found.append(Block(match["language"], code, reason[1] if reason else ""))
    return found


def run_blocks(name: str) -> list[str]:
    """Return the shell blocks of a page that a test runs."""
    return [each.code for each in blocks_of(name) if each.language == "sh" and not each.not_run]
