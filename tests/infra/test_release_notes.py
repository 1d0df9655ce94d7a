"""infra/release_notes.py: one version's part of the changelog."""

from __future__ import annotations

import subprocess
import sys

from tests.infra.conftest import ROOT


def _notes(version: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "infra/release_notes.py", version],
        capture_output=True,
        text=True,
        check=False,
    )


def test_notes_are_what_stands_under_the_versions_heading() -> None:
    """The changelog has notes for the first release."""
    done = _notes("0.1.0")
    assert done.returncode == 0
    assert "### Documents" in done.stdout
    assert "\n## " not in done.stdout


def test_a_version_without_notes_is_no_release() -> None:
    """The workflow stops instead of publishing an empty page."""
    done = _notes("99.0.0")
    assert done.returncode == 1
    assert done.stderr == "release_notes: CHANGELOG.md has no notes for 99.0.0\n"
