"""Faults of delivery: duplicates, disorder, loss, and messages that are none of ours."""

from __future__ import annotations

import base64
import json
import random
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

from local.system import BUCKET, wait_until
from shared.messaging.events import write_notification
from shared.values import ObjectEvent, ObjectVersion
from tests.faults.proxies import Forward, Reply, Request, Rule
from tests.faults.registry import fault
from tests.faults.rig import Rig

_GROUP = "Messages"
_ACKNOWLEDGED = Reply(status=204)


def _follow(rig: Rig, rule: Rule, *, seconds: float, only: str = "") -> None:
    """Let the pushes to every function, or to one, follow *rule* for so long."""
    proxies = [proxy for name, proxy in rig.pushes.items() if only in ("", name)]
    before = sum(proxy.requests for proxy in proxies)
    with ExitStack() as stack:
        for proxy in proxies:
            stack.enter_context(proxy.ruled(rule))
        rig.go_on(seconds)
    assert sum(proxy.requests for proxy in proxies) > before, "no message came meanwhile"


def _attributes(request: Request) -> dict[str, str]:
    attributes: dict[str, str] = json.loads(request.body)["message"].get("attributes", {})
    return attributes


def _living(rig: Rig) -> list[ObjectVersion]:
    """Return what is in the bucket of this fault's objects."""
    blobs = rig.system.bucket().list_blobs(prefix=f"{rig.prefix}/")
    return [ObjectVersion(BUCKET, blob.name, int(blob.generation)) for blob in blobs]


def _finalized(version: ObjectVersion) -> dict[str, str]:
    """Return the attributes by which Cloud Storage announces a generation."""
    return {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": BUCKET,
        "objectId": version.name,
        "objectGeneration": str(version.generation),
    }


@fault(_GROUP, quick=True)
def duplicates(rig: Rig) -> None:
    """Every message is delivered three times, two of them at the same moment."""

    def deliver_thrice(request: Request, forward: Forward) -> Reply:
        twin = threading.Thread(target=forward, args=(request,), daemon=True)
        twin.start()
        reply = forward(request)
        threading.Timer(random.uniform(0.5, 2), forward, args=(request,)).start()
        return reply

    _follow(rig, deliver_thrice, seconds=5)


@fault(_GROUP)
def reordering(rig: Rig) -> None:
    """Every message waits between 0 and 3 s, so that they overtake one another."""

    def wait(request: Request, forward: Forward) -> Reply:
        time.sleep(random.uniform(0, 3))
        return forward(request)

    _follow(rig, wait, seconds=5)


@fault(_GROUP)
def delays(rig: Rig) -> None:
    """Every message comes 6 s late, after its object may be gone."""

    def wait(request: Request, forward: Forward) -> Reply:
        time.sleep(6)
        return forward(request)

    _follow(rig, wait, seconds=7)


@fault(_GROUP, quick=True)
def dropped_events(rig: Rig) -> None:
    """Half of the object events are lost for good."""

    def drop(request: Request, forward: Forward) -> Reply:
        return _ACKNOWLEDGED if random.random() < 0.5 else forward(request)

    _follow(rig, drop, seconds=4, only="ingest")


@fault(_GROUP)
def dropped_jobs(rig: Rig) -> None:
    """Half of the embed jobs are lost for good."""

    def drop(request: Request, forward: Forward) -> Reply:
        return _ACKNOWLEDGED if random.random() < 0.5 else forward(request)

    _follow(rig, drop, seconds=4, only="embed_worker")


@fault(_GROUP)
def lost_acknowledgements(rig: Rig) -> None:
    """The work is done and its acknowledgement is lost: every message is delivered again."""

    def lose(request: Request, forward: Forward) -> Reply:
        forward(request)
        return Reply(status=500)

    _follow(rig, lose, seconds=4)


@fault(_GROUP)
def endpoint_unavailable(rig: Rig) -> None:
    """Every push is answered 503 or 429 for 4 s, as by a service at its limit of instances."""

    def refuse(request: Request, forward: Forward) -> Reply:
        return Reply(status=random.choice((429, 503)))

    _follow(rig, refuse, seconds=4)


@fault(_GROUP)
def publish_unavailable(rig: Rig) -> None:
    """The functions cannot reach Pub/Sub for 5 s: chunks are staged and no job can be sent."""
    rig.broker.refuse()
    rig.go_on(5)
    rig.broker.carry()


@fault(_GROUP)
def publish_fails_midway(rig: Rig) -> None:
    """The connection to Pub/Sub is cut after every 2,000 bytes, in the middle of a publish."""
    rig.broker.cut_after_bytes = 2_000
    rig.broker.cut()
    rig.go_on(5)
    rig.broker.carry()


@fault(_GROUP)
def notification_storm(rig: Rig) -> None:
    """1,000 notifications of one living object at once."""
    name = rig.upload("storm.md")
    versions = [version for version in _living(rig) if version.name == name]
    rig.publish_events([ObjectEvent("finalized", versions[0])] * 1000)


@fault(_GROUP)
def delete_before_finalize(rig: Rig) -> None:
    """Finalize events come 3 s after the delete events of the same objects."""

    def hold(request: Request, forward: Forward) -> Reply:
        if _attributes(request).get("eventType") == "OBJECT_FINALIZE":
            time.sleep(3)
        return forward(request)

    with rig.pushes["ingest"].ruled(hold):
        for number in range(8):
            rig.upload(f"early{number}.md")
            rig.writer.delete(f"{rig.prefix}/early{number}.md")
        rig.go_on(3)


@fault(_GROUP, quick=True)
def delete_then_upload(rig: Rig) -> None:
    """Objects are deleted and uploaded again at once, three times in a row."""
    for _ in range(3):
        for number in range(4):
            name = rig.upload(f"again{number}.md")
            rig.writer.delete(name)
    for number in range(4):
        rig.upload(f"again{number}.md")


@fault(_GROUP)
def forged_deletes(rig: Rig) -> None:
    """Delete events of living objects: of their generation, of older ones, of some to come."""
    # Objects that nobody deletes meanwhile: of one that is absent no look can tell the forgery.
    names = [rig.upload(f"forged{number}.md") for number in range(4)]
    forged = [
        ObjectEvent("deleted", replace(version, generation=version.generation + shift))
        for version in _living(rig)
        for shift in ((0, -1, 1, 10**9) if version.name in names else (0, -1))
    ]
    rig.publish_events(forged * 3)
    rig.go_on(2)


@fault(_GROUP)
def giant_messages(rig: Rig) -> None:
    """Messages of 9 MB: one of a living object, and some that are nothing."""
    attributes = _finalized(_living(rig)[0])
    padding = "x" * 9_000_000
    rig.publish(
        "object-events",
        [(json.dumps({"padding": padding}).encode(), attributes), (padding.encode(), {})],
        limit=1,
    )
    rig.publish("chunk-jobs", [(padding.encode(), {})])
    rig.go_on(2)


@fault(_GROUP)
def attribute_only_messages(rig: Rig) -> None:
    """Messages without data, which the functions framework cannot turn into events."""
    attributes = _finalized(_living(rig)[0])
    rig.publish("object-events", [(b"", attributes), (b"", {"nothing": "of ours"})])
    rig.publish("chunk-jobs", [(b"", {"kind": "embed"})])
    rig.publish("dead-letters", [(b"", {"kind": "embed"})])
    rig.go_on(3)
    _expect_nothing_left(rig)


@fault(_GROUP)
def malformed_messages(rig: Rig) -> None:
    """No JSON, no object, wrong types, numbers out of range, names that cannot be."""
    bodies = [
        b"{oops",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"version": 1}',
        b'{"version": 1, "build_id": "x", "batch_number": 0}',
        b'{"version": 1, "build_id": 99999999999999999999, "batch_number": 0}',
        b'{"version": 1, "build_id": 9223372036854775807, "batch_number": 9223372036854775807}',
        b'{"version": 1, "build_id": true, "batch_number": null}',
    ]
    for topic in ("object-events", "chunk-jobs"):
        rig.publish(topic, [(body, {"kind": "embed"}) for body in bodies])
    odd = {"eventType": "OBJECT_FINALIZE", "bucketId": BUCKET}
    rig.publish(
        "object-events",
        [
            (b"{}", {**odd, "objectId": "a", "objectGeneration": "soon"}),
            # No attribute is so long, and none holds this; a body may.
            (json.dumps({"name": "x" * 1025, "generation": 1}).encode(), odd),
            (json.dumps({"name": "\ud800", "generation": 1}).encode(), odd),
            (b"{}", {**odd, "objectId": "nul\0", "objectGeneration": "1"}),
            (b"{}", {**odd, "objectId": "", "objectGeneration": "1"}),
            (b"{}", {**odd, "bucketId": "another", "objectId": "a", "objectGeneration": "1"}),
            (b"{}", {"eventType": "OBJECT_UNHEARD_OF"}),
        ],
    )
    rig.go_on(2)
    _expect_nothing_left(rig)


@fault(_GROUP)
def later_schema(rig: Rig) -> None:
    """For 4 s jobs come in version 2, and events with fields of a later release."""

    def rewrite(request: Request, forward: Forward) -> Reply:
        body = json.loads(request.body)
        message = body["message"]
        data = json.loads(base64.b64decode(message["data"]))
        if "version" in data:
            data = {"version": 2, "job": data}
        data["unheard_of"] = {"of": ["a", "later", "release"]}
        message["data"] = base64.b64encode(json.dumps(data).encode()).decode()
        message.setdefault("attributes", {})["unheardOf"] = "yes"
        return forward(replace(request, body=json.dumps(body).encode()))

    _follow(rig, rewrite, seconds=4)


@fault(_GROUP, broker="google")
def googles_emulator_restarted_empty(rig: Rig) -> None:
    """Google's Pub/Sub emulator is killed and comes back without topics, messages, anything."""
    rig.wait_for_work()
    rig.kill("pubsub")
    rig.go_on(1)
    rig.start("pubsub")
    rig.go_on(1)
    # As the Compose file does by itself, every ten minutes.
    rig.set_up_topics()


@fault(_GROUP)
def stale_dead_letters(rig: Rig) -> None:
    """Dead letters of generations that are ready by now, and of older ones."""
    names = [rig.upload(f"late{number}.md") for number in range(4)]
    for name in names:
        rig.system.wait_for(name)
    letters = [
        ObjectEvent("finalized", replace(version, generation=version.generation + shift))
        for version in _living(rig)
        for shift in ((0, -1) if version.name in names else (-1,))
    ]
    rig.publish("dead-letters", [write_notification(letter) for letter in letters])
    rig.go_on(1)


def _expect_nothing_left(rig: Rig) -> None:
    """Wait until no push is on its way again and again: such a message would go round for ever."""

    def quiet() -> bool:
        before = {name: proxy.refused for name, proxy in rig.pushes.items()}
        time.sleep(9)  # the longest pause between two tries, and one second
        return before == {name: proxy.refused for name, proxy in rig.pushes.items()}

    wait_until(quiet, what="no message is refused again and again", timeout_seconds=30, pause=0)
