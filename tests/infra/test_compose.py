"""local/docker-compose.yml as Compose reads it: what it names exists, nothing is open."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.infra.conftest import ROOT

_FILE = ROOT / "local/docker-compose.yml"
_OURS = {"setup", "maintenance", "ingest", "embed-worker", "dead-letters", "query"}
_REQUIRED = {"POSTGRES_PASSWORD", "WORKER_PASSWORD", "QUERY_PASSWORD"}
# Read by functions-framework and the Google clients themselves, not by our settings.
_OF_LIBRARIES = {
    "THREADS",
    "FUNCTION_TARGET",
    "FUNCTION_SIGNATURE_TYPE",
    "FUNCTION_SOURCE",
    "PORT",
    "STORAGE_EMULATOR_HOST",
    "PUBSUB_EMULATOR_HOST",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Return the services with merges and anchors resolved."""
    loaded: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(_FILE.read_text())
    return loaded["services"]


def settings_of(*files: Path) -> set[str]:
    """Return the variables that the settings classes in *files* read."""
    names = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and (
                node.name.endswith("Settings") or node.name == "Settings"
            ):
                names |= {
                    field.target.id.upper()
                    for field in node.body
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
                }
    return names


def known_settings() -> set[str]:
    """Return every variable that some part of the program reads."""
    return settings_of(
        *ROOT.glob("shared/**/*.py"),
        *ROOT.glob("admin/*.py"),
        *ROOT.glob("functions/**/*.py"),
        ROOT / "local/setup.py",
    )


def test_every_variable_that_compose_sets_is_a_setting(services: dict[str, dict[str, Any]]) -> None:
    """A misspelt variable would be ignored without a word."""
    known = known_settings() | _OF_LIBRARIES
    for name in _OURS:
        assert set(services[name]["environment"]) <= known, name


def test_every_variable_that_terraform_sets_is_a_setting() -> None:
    """The same for the cloud: services.tf, jobs.tf and what var.settings lets through."""
    known = known_settings() | _OF_LIBRARIES | {"EMBEDDING_MODEL_NAME"}
    text = "\n".join(
        (ROOT / "infra/terraform" / file).read_text() for file in ("services.tf", "jobs.tf")
    )
    assigned = set(re.findall(r"\b([A-Z][A-Z0-9_]{4,})\s*=[^=>]", text))
    (limits,) = re.findall(
        r"setsubtract\(keys\(var\.settings\), \[(.*?)\]",
        (ROOT / "infra/terraform/variables.tf").read_text(),
        re.DOTALL,
    )
    passed_on = set(re.findall(r'"([A-Z_]+)"', limits))
    assert {"DATABASE_URL", "THREADS", "MAX_FILE_BYTES"} <= assigned | passed_on
    assert assigned | passed_on <= known


def test_nothing_has_a_default_password(services: dict[str, dict[str, Any]]) -> None:
    """Compose refuses to start until .env has each password."""
    text = _FILE.read_text()
    for variable in _REQUIRED:
        uses = re.findall(rf"\$\{{{variable}(.*?)\}}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses)
    for url in re.findall(r"postgresql://\w+:(.*?)@", text):
        assert url.startswith("${")


def test_only_the_proxy_is_open_to_others(services: dict[str, dict[str, Any]]) -> None:
    """Storage, Pub/Sub and the database let in whoever reaches them: loopback only."""
    for name, service in services.items():
        for port in service.get("ports", []):
            assert name == "proxy" or port.startswith("127.0.0.1:"), f"{name} {port}"
    assert services["proxy"]["profiles"] == ["proxy"]


@pytest.mark.parametrize("name", sorted(_OURS))
def test_our_containers_are_confined(services: dict[str, dict[str, Any]], name: str) -> None:
    """No capabilities, no new privileges, nothing to write but /tmp, a limit of memory."""
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"]
    assert service["deploy"]["resources"]["limits"]["memory"]


def test_parsing_and_embedding_have_no_way_out(services: dict[str, dict[str, Any]]) -> None:
    """They are on the internal network alone."""
    for name in ("ingest", "embed-worker", "dead-letters", "setup"):
        assert services[name]["networks"] == ["backend"]
    assert yaml.safe_load(_FILE.read_text())["networks"]["backend"] == {"internal": True}


def test_every_long_running_service_says_when_it_is_healthy(
    services: dict[str, dict[str, Any]],
) -> None:
    """`up --wait` returns when a question can be asked."""
    for name, service in services.items():
        assert name in {"setup", "maintenance"} or "healthcheck" in service, name


def test_every_build_names_a_stage_and_files_that_exist(
    services: dict[str, dict[str, Any]],
) -> None:
    """Context, Dockerfile, target and FUNCTION are there."""
    stages = set(re.findall(r"^FROM .+ AS (\w+)$", (ROOT / "infra/Dockerfile").read_text(), re.M))
    for service in services.values():
        build = service.get("build")
        if build:
            context = (_FILE.parent / build["context"]).resolve()
            assert context == ROOT
            assert (context / build["dockerfile"]).is_file()
            assert build.get("target", "runtime") in stages
            assert (context / "functions" / build["args"]["FUNCTION"] / "main.py").is_file()


def test_every_module_that_a_command_runs_exists(services: dict[str, dict[str, Any]]) -> None:
    """python -m ... in Compose, the Dockerfile and jobs.tf."""
    texts = [shlex.join(service.get("command", [])) for service in services.values()]
    texts += [(ROOT / "infra/Dockerfile").read_text()]
    modules = set(re.findall(r"-m ((?:admin|infra|local)[a-z_.]*)", "\n".join(texts)))
    modules |= set(
        re.findall(r'command += "(admin[.\w]*)"', (ROOT / "infra/terraform/jobs.tf").read_text())
    )
    assert modules == {"admin", "infra.model.export", "local.setup"}
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def test_push_addresses_are_the_services(services: dict[str, dict[str, Any]]) -> None:
    """The set-up tells Pub/Sub where the functions listen."""
    environment = services["setup"]["environment"]
    for variable in ("INGEST_URL", "EMBED_WORKER_URL", "DEAD_LETTER_URL"):
        host, port = environment[variable].removeprefix("http://").split(":")
        assert host in services
        assert port == "8080"
    assert services["dead-letters"]["environment"]["FUNCTION_TARGET"] == "record_dead_letter"


def test_storage_publishes_to_the_topic_that_is_set_up(services: dict[str, dict[str, Any]]) -> None:
    """fake-gcs-server has no notifications of its own accord: its options say where events go."""
    options = dict(option.lstrip("-").split("=", 1) for option in services["storage"]["command"])
    environment = services["ingest"]["environment"]
    assert options["event.pubsub-topic"] == environment["OBJECT_EVENTS_TOPIC"]
    assert options["event.pubsub-project-id"] == environment["GOOGLE_CLOUD_PROJECT"]
    assert options["event.bucket"] == environment["DOCUMENTS_BUCKET"]
    assert {"finalize", "delete"} <= set(options["event.list"].split(","))


def test_images_of_others_have_a_version(services: dict[str, dict[str, Any]]) -> None:
    """latest is not a version."""
    for service in services.values():
        if "build" not in service:
            _, _, tag = service["image"].rpartition(":")
            assert tag
            assert tag != "latest"


def test_pools_fit_into_the_database(services: dict[str, dict[str, Any]]) -> None:
    """All pools together stay below max_connections of the container."""
    (limit,) = re.findall(r"max_connections=(\d+)", shlex.join(services["postgres"]["command"]))
    pools = sum(int(services[name]["environment"].get("DATABASE_POOL_SIZE", "4")) for name in _OURS)
    assert pools + 10 <= int(limit)
