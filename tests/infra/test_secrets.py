"""No secret is in the repository: the forms that a provider gives its keys."""

from __future__ import annotations

import re
import subprocess

from tests.infra.conftest import ROOT

# Each provider's own prefix: https://github.com/gitleaks/gitleaks lists them.
_FORMS = {
    "Google API key": r"AIza[0-9A-Za-z_-]{35}",
    "Google OAuth token": r"ya29\.[0-9A-Za-z_-]{20,}",
    "Google OAuth client secret": r"GOCSPX-[0-9A-Za-z_-]{28}",
    "service account key": r'"private_key_id"\s*:\s*"[0-9a-f]{40}"',
    "private key": r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/]{40}",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[0-9A-Za-z]{36}|github_pat_[0-9A-Za-z_]{60,})",
    "Hugging Face token": r"\bhf_[A-Za-z]{34}\b",
    "Slack token": r"\bxox[baprs]-[0-9A-Za-z-]{20,}",
    "PyPI token": r"\bpypi-AgEIcHlwaS5vcmc[0-9A-Za-z_-]{50,}",
}


def test_no_tracked_file_holds_a_key() -> None:
    """A key that was committed once is to be revoked, not only deleted."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    found = []
    for name in filter(None, names):
        file = ROOT / name
        if not file.is_file():
            continue
        text = file.read_bytes().decode("utf-8", "replace")
        found += [f"{name}: {form}" for form, regex in _FORMS.items() if re.search(regex, text)]
    assert found == []
