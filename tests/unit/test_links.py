"""Links to originals: signed, bound to one generation, good for a time."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, replace

import pytest

from functions.query.http.links import Link, read_link, write_link

SECRET = b"s" * 32
LINK = Link(
    bucket="documents",
    name="Überblick/ä b.pdf",
    generation=7,
    content_type="application/pdf",
    expires=1_000,
)


def test_link_comes_back_until_it_expires() -> None:
    """At its last moment it is over."""
    token = write_link(LINK, secret=SECRET)
    assert read_link(token, secret=SECRET, now=999) == LINK
    assert read_link(token, secret=SECRET, now=1_000) is None


def test_link_of_another_secret_is_none() -> None:
    """A new secret ends all links."""
    assert read_link(write_link(LINK, secret=SECRET), secret=b"t" * 32, now=0) is None


@pytest.mark.parametrize(
    "changed", [replace(LINK, name="closed/salaries.pdf"), replace(LINK, expires=9_999)]
)
def test_changed_link_is_none(changed: Link) -> None:
    """The signature holds for what was signed."""
    signature = write_link(LINK, secret=SECRET).partition(".")[2]
    payload = base64.urlsafe_b64encode(json.dumps(asdict(changed)).encode()).rstrip(b"=").decode()
    assert read_link(f"{payload}.{signature}", secret=SECRET, now=0) is None


@pytest.mark.parametrize("token", ["", ".", "a", "a.b", "e30.", "=.=", "e30.e30", "-_-_.", "ä.ö"])
def test_what_is_no_link_is_none(token: str) -> None:
    """Whatever stands in the path."""
    assert read_link(token, secret=SECRET, now=0) is None
