"""Faults of Gemini: what a question gets meanwhile, and that answers come back by themselves."""

from __future__ import annotations

from typing import Any

import requests

from local.system import wait_until
from tests.faults.registry import fault
from tests.faults.rig import Rig
from tests.support import gemini_stand_in
from tests.support.gemini_stand_in import Scenario

_GROUP = "Gemini"


def _answer_with(rig: Rig, scenario: Scenario) -> None:
    """
    Let Gemini fail for some seconds of questions, then let it answer.

    Raises:
        AssertionError: A question got no passages meanwhile, or Gemini is not used again.
    """
    rig.gemini.plan(scenario)
    try:
        rig.go_on(1)
        response = _ask(rig)
        body = response.json()
        assert response.status_code in (200, 502, 503, 504), f"{response.status_code}: {body}"
        assert body["passages"], "a question got no passages while Gemini failed"
        assert body["model"] == "extractive" or response.status_code == 200, body
        rig.go_on(1)
    finally:
        rig.gemini.plan(gemini_stand_in.ANSWERS)
    wait_until(lambda: _ask(rig).json().get("model") != "extractive", what="Gemini answers again")


def _ask(rig: Rig) -> requests.Response:
    body: dict[str, Any] = {"question": "What does the register keep?"}
    return requests.post(f"{rig.system.query_url}/query", json=body, timeout=30)


@fault(_GROUP)
def gemini_rate_limited(rig: Rig) -> None:
    """429: the quota of the minute is used up, with a RetryInfo of 0.2 s."""
    _answer_with(rig, gemini_stand_in.RATE_LIMITED)


@fault(_GROUP)
def gemini_quota_exhausted(rig: Rig) -> None:
    """429: the quota of the day is used up."""
    _answer_with(rig, gemini_stand_in.QUOTA_EXHAUSTED)


@fault(_GROUP)
def gemini_internal_error(rig: Rig) -> None:
    """500 to every request."""
    _answer_with(rig, gemini_stand_in.INTERNAL)


@fault(_GROUP)
def gemini_unavailable(rig: Rig) -> None:
    """503 to every request."""
    _answer_with(rig, gemini_stand_in.UNAVAILABLE)


@fault(_GROUP)
def gemini_hangs(rig: Rig) -> None:
    """Gemini takes requests and says nothing."""
    _answer_with(rig, gemini_stand_in.HANG)


@fault(_GROUP)
def gemini_drips(rig: Rig) -> None:
    """Gemini sends a byte every 50 ms: no single read is late, the whole is."""
    _answer_with(rig, gemini_stand_in.DRIP)


@fault(_GROUP)
def gemini_cut(rig: Rig) -> None:
    """Gemini's stream ends in the middle of the answer."""
    _answer_with(rig, gemini_stand_in.CUT)


@fault(_GROUP)
def gemini_blocks(rig: Rig) -> None:
    """Gemini stops every answer for safety."""
    _answer_with(rig, gemini_stand_in.BLOCKED)


@fault(_GROUP)
def gemini_bad_json(rig: Rig) -> None:
    """Gemini's events are no JSON."""
    _answer_with(rig, gemini_stand_in.BAD_JSON)
