"""Faults of Cloud Storage as the functions meet it."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import replace
from urllib.parse import unquote

from tests.faults.proxies import RESET, Forward, Reply, Request, Rule
from tests.faults.registry import fault
from tests.faults.rig import Rig

_GROUP = "Cloud Storage"


def _is_download(request: Request) -> bool:
    return request.path.startswith("/download/")


def _follow(rig: Rig, rule: Rule, *, seconds: float = 4) -> None:
    before = rig.bucket.requests
    with rig.bucket.ruled(rule):
        rig.go_on(seconds)
    assert rig.bucket.requests > before, "nothing was asked of Storage meanwhile"


@fault(_GROUP)
def storage_unavailable(rig: Rig) -> None:
    """Storage answers 503 to the functions for 4 s."""
    _follow(rig, lambda request, forward: Reply(status=503))


@fault(_GROUP)
def storage_rate_limited(rig: Rig) -> None:
    """Storage answers 429 to three of four requests for 4 s."""
    _follow(
        rig,
        lambda request, forward: (
            Reply(status=429, headers={"Retry-After": "1"})
            if random.random() < 0.75
            else forward(request)
        ),
    )


@fault(_GROUP)
def storage_resets(rig: Rig) -> None:
    """Storage resets two of three connections for 4 s."""
    _follow(
        rig,
        lambda request, forward: RESET if random.random() < 0.67 else forward(request),
    )


@fault(_GROUP)
def truncated_downloads(rig: Rig) -> None:
    """Every other download breaks off in the middle of the body."""
    turn = itertools.count()

    def cut(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        if _is_download(request) and next(turn) % 2 == 0:
            return replace(reply, sent_bytes=len(reply.body) // 2)
        return reply

    _follow(rig, cut)


@fault(_GROUP, quick=True)
def corrupted_downloads(rig: Rig) -> None:
    """Every other download has a wrong byte under its right checksum."""
    turn = itertools.count()

    def damage(request: Request, forward: Forward) -> Reply:
        reply = forward(request)
        if _is_download(request) and reply.body and next(turn) % 2 == 0:
            middle = len(reply.body) // 2
            wrong = bytes([reply.body[middle] ^ 1])
            return replace(reply, body=reply.body[:middle] + wrong + reply.body[middle + 1 :])
        return reply

    _follow(rig, damage)


@fault(_GROUP)
def replaced_between_look_and_download(rig: Rig) -> None:
    """Objects are overwritten or deleted at the moment when their bytes are asked for."""
    left = itertools.count(12, -1)

    def replace_first(request: Request, forward: Forward) -> Reply:
        if _is_download(request) and (number := next(left)) > 0:
            name = unquote(request.path.partition("/o/")[2].partition("?")[0])
            if number % 3:
                rig.writer.upload(name)
            else:
                rig.writer.delete(name)
        return forward(request)

    _follow(rig, replace_first)


@fault(_GROUP)
def slow_downloads(rig: Rig) -> None:
    """Every download takes 7 s, longer than the lease of 5 s lives by itself."""

    def wait(request: Request, forward: Forward) -> Reply:
        if _is_download(request):
            time.sleep(7)
        return forward(request)

    _follow(rig, wait, seconds=8)
