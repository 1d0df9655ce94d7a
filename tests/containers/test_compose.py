"""
local/docker-compose.yml as a whole, by podman-compose: from `up` to `down`, and what lies between.

The file is used unchanged. The images of others are made here (infra/images.py): the programs
themselves, and our own emulator for fake-gcs-server. The tests go through one life of one system,
in their order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml  # type: ignore[import-untyped]

from infra import images
from infra.images import CACHE, ROOT, STAND_INS
from local.processes import free_port
from local.system import wait_until
from tests.containers.conftest import podman

pytestmark = pytest.mark.slow

_FILE = ROOT / "local/docker-compose.yml"
_PROJECT = "kaydang-test"
# GPL: run as a program of its own, never imported and not handed on.
_PODMAN_COMPOSE = "podman-compose==1.6.0"
_QUESTION = "What is the code word of the lamp room?"


@dataclass
class Compose:
    """A Compose project and how long each command took."""

    program: Path
    env_file: Path
    ports: dict[str, int]
    took: dict[str, float] = field(default_factory=dict)

    def run(self, *arguments: str, profile: str = "") -> str:
        """Run podman-compose and return its output; fail with it where it failed."""
        started = time.monotonic()
        done = subprocess.run(
            [
                self.program,
                *("--podman-path", str(ROOT / "tests/containers/podman")),
                *("--env-file", str(self.env_file), "--file", str(_FILE)),
                *("--project-name", _PROJECT),
                *(("--profile", profile) if profile else ()),
                *arguments,
            ],
            env=images.environment(),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=400,
            check=False,
        )
        took = time.monotonic() - started
        print(f"{' '.join(arguments)}: {took:.1f} s")
        self.took[" ".join(arguments)] = took
        assert done.returncode == 0, f"{arguments}:\n{done.stdout[-6000:]}\n{self.logs()}"
        return done.stdout

    def up(self, *arguments: str, profile: str = "") -> None:
        """Start everything and return when it is healthy."""
        self.run("up", "--detach", "--no-build", "--wait", *arguments, profile=profile)

    def container(self, service: str) -> dict[str, Any]:
        """Return what podman knows of a service's container."""
        (found,) = json.loads(podman("inspect", f"{_PROJECT}_{service}_1"))
        return dict(found)

    def logs(self) -> str:
        """Return the end of every container's log."""
        label = f"label=io.podman.compose.project={_PROJECT}"
        names = podman("ps", "--all", "--format", "{{.Names}}", "--filter", label).split()
        return "\n".join(
            f"--- {name}\n{podman('logs', '--tail', '15', name, check=False)}" for name in names
        )

    def put(self, name: str, text: str) -> None:
        """Upload an object as docs/self-hosting.md says."""
        requests.post(
            f"http://127.0.0.1:{self.ports['STORAGE_PORT']}/upload/storage/v1/b/documents/o",
            params={"uploadType": "media", "name": name},
            data=text.encode(),
            headers={"Content-Type": "text/markdown"},
            timeout=30,
        ).raise_for_status()

    def delete(self, name: str) -> None:
        """Delete an object."""
        requests.delete(
            f"http://127.0.0.1:{self.ports['STORAGE_PORT']}/storage/v1/b/documents/o/{name}",
            timeout=30,
        ).raise_for_status()

    def ask(self) -> dict[str, Any]:
        """Return the answer to the question about the lamp room."""
        response = requests.post(
            f"http://127.0.0.1:{self.ports['QUERY_PORT']}/query",
            json={"question": _QUESTION},
            timeout=60,
        )
        response.raise_for_status()
        return dict(response.json())

    def wait_for_answer(self, word: str) -> None:
        """Wait until the answer says *word* and cites lamp.md."""

        def answered() -> bool:
            answer = self.ask()
            cited = [citation["name"] for citation in answer["citations"] if citation["verified"]]
            return word in answer["answer"] and cited == ["lamp.md"]

        started = time.monotonic()
        try:
            wait_until(answered, what=f"{word} in the answer", timeout_seconds=120, pause=0.3)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}") from error
        print(f"until the answer says {word}: {time.monotonic() - started:.1f} s")


def _lamp(word: str) -> str:
    return f"# Lamp room\n\nThe code word of the lamp room is {word}.\n"


def _podman_compose() -> Path:
    """Return podman-compose from a virtual environment of its own."""
    folder = CACHE / _PODMAN_COMPOSE
    program = folder / "bin/podman-compose"
    if not program.exists():
        uv = (sys.executable, "-m", "uv")
        subprocess.run([*uv, "venv", "--quiet", "--clear", folder], check=True)
        install = [*uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python")]
        subprocess.run([*install, _PODMAN_COMPOSE], check=True)
    return program


@pytest.fixture(scope="module")
def compose(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Compose]:
    """Start the whole file with nothing of an earlier run; stop it, volumes and all."""
    if os.environ.get("COMPOSE_TEST") != "1":
        pytest.skip("takes some minutes: make compose-test")
    request.getfixturevalue("built_images")
    for line in images.build_stand_ins():
        print(line)
    folder = tmp_path_factory.mktemp("compose")
    names = ("QUERY", "STORAGE", "PUBSUB", "POSTGRES", "HTTP", "HTTPS")
    ports = {f"{name}_PORT": free_port() for name in names}
    variables = {
        "POSTGRES_PASSWORD": "of-this-run-a",
        "WORKER_PASSWORD": "of-this-run-b",
        "QUERY_PASSWORD": "of-this-run-c",
        "STORAGE_EXTERNAL_URL": f"http://127.0.0.1:{ports['STORAGE_PORT']}",
        **{name: str(port) for name, port in ports.items()},
    }
    env_file = folder / "env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    compose = Compose(_podman_compose(), env_file, ports)
    compose.run("down", "--volumes", profile="proxy")
    try:
        compose.up()
        yield compose
    finally:
        compose.run("down", "--volumes", profile="proxy")


def test_what_is_built_here_is_what_compose_builds() -> None:
    """Each image has the function and stage that the file names; others are stood in for."""
    services = yaml.safe_load(_FILE.read_text())["services"]
    for service in services.values():
        image = service["image"]
        if "build" in service:
            build = service["build"]
            arguments = ["--build-arg", f"FUNCTION={build['args']['FUNCTION']}"]
            arguments += ["--target", build["target"]] if "target" in build else []
            assert list(images.IMAGES[image]) == arguments
        else:
            assert [name for name in STAND_INS if name.endswith(image)], image


def test_a_document_is_answered_replaced_and_forgotten(compose: Compose) -> None:
    """Put, ask, overwrite, ask, delete: each answer follows the bucket."""
    compose.put("lamp.md", _lamp("bergamot"))
    compose.wait_for_answer("bergamot")
    compose.put("lamp.md", _lamp("tangerine"))
    compose.wait_for_answer("tangerine")
    compose.delete("lamp.md")
    wait_until(
        lambda: not compose.ask()["citations"],
        what="no answer after the deletion",
        timeout_seconds=120,
        pause=0.3,
    )


def test_containers_have_their_limits(compose: Compose) -> None:
    """What the file says of users, memory, file systems and networks holds in the container."""
    for service in ("ingest", "embed-worker", "dead-letters", "query", "maintenance"):
        host = compose.container(service)["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["Memory"] > 0
        assert podman("exec", f"{_PROJECT}_{service}_1", "id", "-u").strip() == "10001"
    # The parser's network leads nowhere but to its neighbours.
    reach = "import socket; socket.create_connection(('{}', {}), 3)"
    ingest = f"{_PROJECT}_ingest_1"
    podman("exec", ingest, "python", "-c", reach.format("postgres", 5432))
    assert "Error" in podman(
        "exec", ingest, "python", "-c", reach.format("9.9.9.9", 53), check=False
    )


@pytest.mark.parametrize("service", ["ingest", "embed-worker", "query"])
def test_a_killed_container_comes_back_and_loses_nothing(compose: Compose, service: str) -> None:
    """A document put while a function is dead is answered when it is back."""
    before = compose.container(service)
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    compose.put("lamp.md", _lamp(f"after-{service}"))
    wait_until(
        lambda: compose.container(service)["State"]["Pid"] not in (0, before["State"]["Pid"]),
        what=f"{service} is started again",
        timeout_seconds=60,
    )
    compose.wait_for_answer(f"after-{service}")


def test_a_killed_message_broker_is_made_up_for(compose: Compose) -> None:
    """Google's emulator forgets all: maintenance makes its topics again, finds the document."""
    os.kill(compose.container("pubsub")["State"]["Pid"], signal.SIGKILL)
    compose.put("lamp.md", _lamp("after-pubsub"))
    compose.run("restart", "maintenance")
    compose.wait_for_answer("after-pubsub")


def test_everything_is_there_after_down_and_up(compose: Compose) -> None:
    """Database and documents are in volumes, and only there."""
    compose.put("lamp.md", _lamp("kept"))
    compose.wait_for_answer("kept")
    compose.run("down")
    compose.up()
    assert "kept" in compose.ask()["answer"]


def test_an_upgrade_takes_the_new_images_and_keeps_the_documents(
    compose: Compose, tmp_path: Path
) -> None:
    """New images, `up` again: migrated, healthy, and the answer is the one from before."""
    before = compose.container("query")["Image"]
    _build_next_release(tmp_path)
    compose.up("--force-recreate")
    assert compose.container("query")["Image"] != before
    assert "kept" in compose.ask()["answer"]
    compose.put("lamp.md", _lamp("new"))
    compose.wait_for_answer("new")


def _build_next_release(folder: Path) -> None:
    """Put a file more into each image, under the names that Compose reads."""
    for name in images.IMAGES:
        image = f"localhost/{name}:latest"
        (folder / "Dockerfile").write_text(f"FROM {image}\nENV RELEASE=next\n")
        podman("build", "--tag", image, "--file", str(folder / "Dockerfile"), str(folder))


def test_the_proxy_answers_others_with_a_certificate(compose: Compose, tmp_path: Path) -> None:
    """The profile `proxy`: HTTPS for DOMAIN, by a certificate that its authority signed."""
    compose.up("proxy", profile="proxy")
    port = compose.ports["HTTPS_PORT"]
    authority = tmp_path / "authority.crt"

    def has_certificate() -> bool:
        copied = subprocess.run(
            ["podman", "cp", f"{_PROJECT}_proxy_1:/data/caddy/pki/authorities/local/root.crt", "-"],
            env=images.environment(),
            capture_output=True,
            check=False,
        )
        if copied.returncode:
            return False
        (tmp_path / "root.tar").write_bytes(copied.stdout)
        with tarfile.open(tmp_path / "root.tar") as archive:
            member = archive.extractfile("root.crt")
            assert member is not None
            authority.write_bytes(member.read())
        return True

    wait_until(has_certificate, what="the proxy has a certificate", timeout_seconds=60)
    answer = requests.post(
        f"https://localhost:{port}/query",
        json={"question": _QUESTION},
        verify=str(authority),
        timeout=60,
    )
    assert "new" in answer.json()["answer"]
    plain = requests.get(
        f"http://localhost:{compose.ports['HTTP_PORT']}/", allow_redirects=False, timeout=30
    )
    assert plain.status_code == 308
    assert answer.headers["Strict-Transport-Security"]


def test_down_with_volumes_leaves_nothing(compose: Compose) -> None:
    """No container, network or volume of the project is left."""
    compose.run("down", "--volumes", profile="proxy")
    label = f"label=io.podman.compose.project={_PROJECT}"
    for kind in ("ps --all", "network ls", "volume ls"):
        assert podman(*kind.split(), "--quiet", "--filter", label).split() == []
