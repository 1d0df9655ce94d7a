"""The embedding model is changed and changed back while questions are answered all the time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.model.export import DEFAULT_MODEL, export_model
from local.system import System, wait_until

DOCUMENTS = 6
QUESTION = "Where is the key of the cellar?"


@pytest.fixture(scope="module")
def small_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the default model with shorter vectors: a model of its own."""
    folder = tmp_path_factory.mktemp("models") / "exported"
    export_model(DEFAULT_MODEL, folder, dimension=128)
    return folder


def admin(system: System, *arguments: str) -> Any:
    """Run an admin command and return its JSON."""
    done = system.run("admin", *arguments, "--json", as_owner=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_model_is_changed_and_changed_back_without_a_gap(
    start_system: Callable[..., System], small_model_dir: Path
) -> None:
    """Add, fill, switch, back and drop; every question meanwhile finds its passage by vectors."""
    system = start_system(variables={"OTHER_MODEL_DIR": str(small_model_dir)})
    names = [f"model/{number}.txt" for number in range(DOCUMENTS)]
    for number, name in enumerate(names):
        system.upload(
            name, f"Room {number}.\n\nThe key of cellar {number} hangs behind door {number}."
        )
    for name in names:
        assert system.wait_for(name)["state"] == "ready"
    found: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            passages = system.post(
                "/retrieve", {"question": QUESTION, "limit": 10, "mode": "vector"}
            )["passages"]
            found.append(len({passage["name"] for passage in passages}))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        assert dimension(system) == 384
        models = admin(system, "model", "add", str(small_model_dir))
        (old, new) = (str(model["id"]) for model in models)
        refused = system.run("admin", "model", "switch", new, as_owner=True)
        assert refused.returncode == 1
        assert "model fill" in refused.stderr
        fill(system, new)
        admin(system, "model", "switch", new)
        assert dimension(system) == 128
        # A document that comes now is embedded by the new model alone.
        system.upload("model/late.txt", "The key of the attic is under the mat.")
        assert system.wait_for("model/late.txt")["state"] == "ready"
        fill(system, old)
        admin(system, "model", "switch", old)
        assert dimension(system) == 384
        assert [model["id"] for model in admin(system, "model", "drop", new)] == [int(old)]
    finally:
        over.set()
        asking.join()
    assert min(found) >= DOCUMENTS


def fill(system: System, model: str) -> None:
    """Publish the jobs and wait until none is missing."""
    admin(system, "model", "fill", model)

    def filled() -> bool:
        models = admin(system, "model", "list")
        return any(str(one["id"]) == model and one["missing"] == 0 for one in models)

    wait_until(filled, what=f"model {model} is filled")


def dimension(system: System) -> int:
    """Return the dimension of the model that answers."""
    return int(system.get("/readyz")["dimension"])
