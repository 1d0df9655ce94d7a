"""The events of fake-gcs-server, which Compose uses, are understood as the cloud's are."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import requests

from local.system import BUCKET, System
from shared.messaging.events import MESSAGE_PUBLISHED, read_object_event

_EVENT = Path(__file__).resolve().parents[1] / "events/fake_gcs_finalize.json"


def _event(*, generation: Any, **changes: str) -> dict[str, Any]:
    """Return the recorded event for another object; its body's generation is as given."""
    event: dict[str, Any] = json.loads(_EVENT.read_text("utf-8"))
    message = event["message"]
    body = json.loads(base64.b64decode(message["data"])) | changes | {"generation": generation}
    message["data"] = base64.b64encode(json.dumps(body).encode()).decode()
    message["attributes"] |= {
        "bucketId": body["bucket"],
        "objectId": body["name"],
        "objectGeneration": str(generation),
    }
    return event


# Releases differ: https://github.com/fsouza/fake-gcs-server, internal/notification/event.go.
@pytest.mark.parametrize("generation", ["1793525412123456", 1793525412123456])
def test_event_without_metageneration_names_the_object(generation: Any) -> None:
    """Name, generation and metadata are read; what is not told counts as nought."""
    event = read_object_event(MESSAGE_PUBLISHED, _event(generation=generation))
    assert event is not None
    assert event.kind == "finalized"
    assert (event.object.bucket, event.object.name) == ("documents", "handbook/leave.md")
    assert (event.object.generation, event.object.metageneration) == (1793525412123456, 0)
    assert event.object.metadata == {"department": "people"}


def test_ingest_takes_such_an_event(system: System) -> None:
    """Pushed to the running function it is acknowledged, and the document answers."""
    name = "fake-gcs/vault.txt"
    generation = system.upload(name, "The vault's word is heliotrope-nine.")
    event = _event(generation=str(generation), bucket=BUCKET, name=name)
    response = requests.post(f"http://127.0.0.1:{system.ports['ingest']}", json=event, timeout=60)
    assert response.status_code in (200, 204), system.log("ingest")
    assert system.wait_for(name, generation=generation)["state"] == "ready"
