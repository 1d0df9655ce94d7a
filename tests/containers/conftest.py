"""Images and containers: everything here needs podman and buildah, and says so where they lack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from infra import images


@pytest.fixture(scope="session")
def containers() -> None:
    """Let a test run where containers can; in CI their absence is a failure."""
    reason = images.why_not()
    # .ci/run runs these tests by sudo where it is not root itself.
    if reason is not None and os.environ.get("CI") == "true" and os.geteuid() == 0:
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def built_images(containers: None) -> Sequence[str]:
    """Build the images of infra/Dockerfile and return their names; unchanged stages are kept."""
    for line in images.build_images():
        print(line)
    return [f"localhost/{name}:latest" for name in images.IMAGES]


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs in the background."""

    name: str

    def log(self) -> str:
        """Return the end of what it wrote."""
        return podman("logs", "--tail", "40", self.name, check=False)


def podman(*arguments: str, check: bool = True) -> str:
    """Run podman and return its output; fail with it where it failed."""
    done = subprocess.run(
        ["podman", *arguments],
        env=images.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=180,
        check=False,
    )
    assert done.returncode == 0 or not check, f"podman {' '.join(arguments)}:\n{done.stdout}"
    return done.stdout


# What Cloud Run and Compose give our containers, on the machine's own network.
CONFINED = (
    *("--network", "host", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--pids-limit", "256"),
    *("--memory", "1g", "--cpus", "1"),
)


def environment_options(environment: Mapping[str, str]) -> list[str]:
    """Return the options of podman that set variables."""
    return [word for name, value in environment.items() for word in ("--env", f"{name}={value}")]


@contextmanager
def running(image: str, environment: Mapping[str, str]) -> Iterator[Container]:
    """Run an image's own command, confined, until the end of the block."""
    options = environment_options(environment)
    name = podman("run", "--detach", *CONFINED, *options, image).strip().splitlines()[-1]
    try:
        yield Container(name)
    finally:
        podman("rm", "--force", "--time", "10", name, check=False)
