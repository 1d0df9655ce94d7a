"""infra/Dockerfile and what leads to it; tests/containers really builds and runs it."""

from __future__ import annotations

import ast
import re
import subprocess

import pytest

from infra.model.export import NEEDS_TORCH
from tests.infra.conftest import ROOT

_DOCKERFILE = (ROOT / "infra/Dockerfile").read_text()
_CLOUD_BUILD = (ROOT / "infra/cloudbuild.yaml").read_text()


def test_the_image_runs_as_a_numbered_user() -> None:
    """Kubernetes and Cloud Run can check a number, not a name."""
    users = re.findall(r"^USER (.+)$", _DOCKERFILE, re.MULTILINE)
    assert users == ["10001:10001"]


@pytest.mark.parametrize("function", ["ingest", "embed_worker", "query"])
def test_each_function_has_a_stage_with_its_target(function: str) -> None:
    """The image runs alone: functions-framework reads the target from the environment."""
    stage = re.search(
        rf"^FROM runtime AS {function}\n(?:(?:#|COPY|ENV PATH).*\n)*ENV FUNCTION_TARGET=(\w+)",
        _DOCKERFILE,
        re.MULTILINE,
    )
    assert stage
    source = (ROOT / f"functions/{function}/main.py").read_text()
    assert re.search(rf"^def {stage[1]}\(", source, re.MULTILINE)


def test_terraform_runs_the_targets_that_exist() -> None:
    """Each source and target of services.tf is a function in that file."""
    text = (ROOT / "infra/terraform/services.tf").read_text()
    pairs = re.findall(r'source = "([^"]+)", target = "(\w+)"', text)
    assert len(pairs) == 4
    for source, target in pairs:
        assert re.search(rf"^def {target}\(", (ROOT / source).read_text(), re.MULTILINE), target


def test_everything_copied_is_there_and_not_ignored() -> None:
    """Neither ignore file keeps back what a COPY names."""
    allowed = (ROOT / "infra/Dockerfile.dockerignore").read_text().split()
    uploaded = (ROOT / "infra/gcloudignore").read_text().split()
    joined = re.sub(r"\\\n\s*", "", _DOCKERFILE)
    for line in re.findall(r"^COPY (?!--from)(.+)$", joined, re.MULTILINE):
        for source in line.split()[:-1]:
            path = source.replace("${FUNCTION}", "query").rstrip("/")
            assert list(ROOT.glob(path)), path
            for ignore in (allowed, uploaded):
                entries = {entry.strip("!/*") for entry in ignore if entry.startswith("!")}
                assert (
                    path in entries
                    or path.split("/")[0] in entries & {"shared", "functions", "admin"}
                    or any(path.startswith(f"{entry}/") for entry in entries - {"infra", "local"})
                )


def test_the_export_finds_what_it_imports_in_its_stage() -> None:
    """Only these files are copied there, so that other changes do not export the model again."""
    (stage,) = re.findall(r"^FROM base AS model\n(.*?)^FROM", _DOCKERFILE, re.M | re.S)
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (.+)$", stage, re.M)
        for source in line.split()[:-1]
    }
    for module in _imported("infra.model.export"):
        path = f"{module.replace('.', '/')}.py"
        folder = path.rpartition("/")[0]
        assert copied & {path, folder, f"{folder}/*.py"}, path


def _imported(module: str) -> set[str]:
    """Return *module* and the modules of ours that it imports, at its head or later."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [
            node.module
            for node in ast.walk(ast.parse((ROOT / f"{name.replace('.', '/')}.py").read_text()))
            if isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in ("shared", "infra")
        ]
    return found


def test_requirements_are_installed_with_hashes_only() -> None:
    """Every install but torch's, which has an index of its own, checks hashes."""
    installs = re.findall(r"pip --python \S+ install (.+)", _DOCKERFILE)
    assert len(installs) == 5
    assert [line.rstrip(" \\") for line in installs if "--require-hashes" not in line] == [
        '--index-url "${TORCH_INDEX_URL}" torch==2.13.0'
    ]


def test_the_default_model_is_built_without_torch() -> None:
    """Torch is installed where the export asks for it by its status, and nowhere else."""
    (stage,) = re.findall(r"^FROM base AS model\n(.*?)^FROM", _DOCKERFILE, re.M | re.S)
    always, asked = stage.split(f"[ $? -eq {NEEDS_TORCH} ]")
    assert "torch==" not in always
    assert "torch==" in asked
    assert "torch" not in (ROOT / "infra/model/requirements.txt").read_text()


def test_cloud_build_takes_the_base_by_digest() -> None:
    """All three images get one base, resolved once."""
    assert "crane digest" in _CLOUD_BUILD
    assert '--build-arg "PYTHON_IMAGE=$$base"' in _CLOUD_BUILD


@pytest.mark.parametrize("script", ["infra/deploy.sh"])
def test_scripts_are_valid_and_stop_at_the_first_error(script: str) -> None:
    """bash can read it, and set -euo pipefail stands at its head."""
    assert subprocess.run(["bash", "-n", ROOT / script], check=False).returncode == 0
    assert "set -euo pipefail" in (ROOT / script).read_text()
