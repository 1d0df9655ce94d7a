"""infra/deploy.sh against stand-ins of gcloud, terraform and curl that record their calls."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra.conftest import ROOT

_DIGEST = "sha256:" + "a" * 64
_BEFORE = {
    name: f"registry/{name}@sha256:{'b' * 64}" for name in ("ingest", "embed_worker", "query")
}

_GCLOUD = """#!/bin/sh
echo "gcloud $*" >> "$CALLS"
case "$*" in
  *"images describe"*) echo "$DIGEST" ;;
  *print-identity-token*) echo token ;;
  *"jobs execute"*) exit "${MIGRATION_EXIT:-0}" ;;
esac
"""
_TERRAFORM = """#!/bin/sh
echo "terraform $*" >> "$CALLS"
case "$*" in
  *"output -json images"*) cat "$BEFORE" ;;
  *"output -raw query_mode"*) printf iam ;;
  *"output -raw query_url"*) printf https://query.example ;;
  *"output -raw bucket"*) printf gs://documents ;;
esac
"""
# Answers with a verified citation of the object that was copied last, or with what ANSWER says.
_CURL = """#!/bin/sh
echo "curl $*" >> "$CALLS"
[ -z "$ANSWER" ] || { echo "$ANSWER"; exit 0; }
name=$(grep -o 'smoke-test/[a-z0-9]*.md' "$CALLS" | tail -1)
printf '{"grounded": true, "answer": "x", "citations": [{"name": "%s", "verified": true}]}' "$name"
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run of the script did."""

    code: int
    calls: list[str]
    errors: str

    def applies(self) -> list[str]:
        """Return the applies in their order."""
        return [call for call in self.calls if call.startswith("terraform") and " apply " in call]


def _deploy(folder: Path, *, before: dict[str, str] | None = None, **variables: str) -> Outcome:
    programs = folder / "bin"
    programs.mkdir()
    for name, text in (("gcloud", _GCLOUD), ("terraform", _TERRAFORM), ("curl", _CURL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (folder / "before.json").write_text(json.dumps(before or {}))
    calls = folder / "calls"
    done = subprocess.run(
        [ROOT / "infra/deploy.sh", "demo-proj", "europe-west1"],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CALLS": str(calls),
            "BEFORE": str(folder / "before.json"),
            "DIGEST": _DIGEST,
            "ANSWER": "",
            "SMOKE_SECONDS": "1",
            "TFVARS": "none",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(done.returncode, calls.read_text().splitlines(), done.stdout + done.stderr)


def test_the_schema_is_migrated_before_the_new_images_answer(tmp_path: Path) -> None:
    """Build, apply of the job alone, its run, then everything; then a question that is cited."""
    outcome = _deploy(tmp_path)
    assert outcome.code == 0, outcome.errors
    order = [
        next(i for i, call in enumerate(outcome.calls) if part in call)
        for part in ("builds submit", "-target=", "jobs execute kaydang-migrate", "curl")
    ]
    assert order == sorted(order)
    job, everything = outcome.applies()
    assert "-target=" in job
    assert "-target=" not in everything
    assert f"query@{_DIGEST}" in everything
    assert outcome.calls[-1].startswith("gcloud storage rm")


def test_a_failed_migration_changes_no_service(tmp_path: Path) -> None:
    """Only the job was applied, and the script says where its log is."""
    outcome = _deploy(tmp_path, MIGRATION_EXIT="1")
    assert outcome.code == 1
    assert len(outcome.applies()) == 1
    assert "nothing else was changed" in outcome.errors


def test_an_answer_without_the_citation_puts_the_images_of_before_back(tmp_path: Path) -> None:
    """The last apply names the digests that ran before, and the exit code says that it failed."""
    answer = json.dumps({"grounded": False, "answer": "", "citations": []})
    outcome = _deploy(tmp_path, before=_BEFORE, ANSWER=answer)
    assert outcome.code == 1
    assert _BEFORE["query"] in outcome.applies()[-1]
    assert "rolled back" in outcome.errors


def test_a_failed_first_deployment_says_that_there_is_no_way_back(tmp_path: Path) -> None:
    """Without images of before nothing is applied again."""
    answer = json.dumps({"grounded": False, "answer": "", "citations": []})
    outcome = _deploy(tmp_path, ANSWER=answer)
    assert outcome.code == 1
    assert len(outcome.applies()) == 2
    assert "no images of before" in outcome.errors


def test_given_images_are_not_built_again(tmp_path: Path) -> None:
    """IMAGES=FILE is the way back to any images of before."""
    images = tmp_path / "images.json"
    images.write_text(json.dumps(_BEFORE))
    outcome = _deploy(tmp_path, IMAGES=str(images))
    assert outcome.code == 0, outcome.errors
    assert not [call for call in outcome.calls if "builds submit" in call]
    assert _BEFORE["ingest"] in outcome.applies()[-1]


@pytest.mark.parametrize(
    "arguments", [[], ["demo-proj"], ["Demo Proj", "europe-west1"], ["demo-proj", "europe"]]
)
def test_wrong_arguments_are_refused_before_anything_is_called(arguments: list[str]) -> None:
    """A sentence says what is wrong."""
    done = subprocess.run(
        [ROOT / "infra/deploy.sh", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("deploy: ")
