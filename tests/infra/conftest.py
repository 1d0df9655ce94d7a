"""Plans of infra/terraform as JSON, made once a run by infra/check."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Resource:
    """A managed resource as it will be."""

    type: str
    address: str
    after: dict[str, Any]
    unknown: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """One environment, planned with one version of the provider."""

    name: str
    resources: list[Resource]

    def of(self, resource_type: str) -> list[Resource]:
        """Return the resources of one type."""
        return [resource for resource in self.resources if resource.type == resource_type]

    @property
    def grants(self) -> list[Resource]:
        """Return every member of every role."""
        return [resource for resource in self.resources if resource.type.endswith("_iam_member")]


def read_plan(file: Path) -> Plan:
    """Return the plan that `terraform show -json` wrote to *file*."""
    content = json.loads(file.read_text())
    return Plan(
        file.stem,
        [
            Resource(
                change["type"],
                change["address"].removeprefix("module.kaydangpt."),
                change["change"]["after"],
                change["change"]["after_unknown"],
            )
            for change in content["resource_changes"]
            if change["mode"] == "managed"
        ],
    )


@pytest.fixture(scope="session")
def checked_plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run infra/check and return the folder of its plans; INFRA_PLANS names one made before."""
    made = os.environ.get("INFRA_PLANS")
    if made:
        return Path(made)
    folder = tmp_path_factory.mktemp("plans")
    done = subprocess.run(
        [ROOT / "infra/check", "--no-policies", "--plans", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if not any(folder.iterdir()):
        pytest.skip(f"no plan can be made here:\n{done.stdout}")
    return folder


@pytest.fixture(scope="session")
def plans(checked_plans: Path) -> dict[str, Plan]:
    """Return every plan by its name, such as production-8.7.0."""
    return {file.stem: read_plan(file) for file in sorted(checked_plans.glob("*.json"))}


@pytest.fixture(
    params=[
        "small-8.7.0",
        "production-8.7.0",
        "public-8.7.0",
        "production-7.41.0",
        "public-7.41.0",
    ]
)
def plan(plans: dict[str, Plan], request: pytest.FixtureRequest) -> Plan:
    """Return one plan after the other."""
    return plans[request.param]
