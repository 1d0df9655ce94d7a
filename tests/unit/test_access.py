"""Who may ask."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from werkzeug.datastructures import Headers

from functions.query.http.callers import (
    allowed_origin,
    bearer_token,
    caller_with_key,
    caller_with_token,
    client_address,
    matching_digest,
)
from functions.query.settings import QuerySettings
from shared.errors import Misconfigured
from shared.runtime.hosts import is_allowed_host
from shared.settings import load

DIGEST = hashlib.sha256("clé".encode()).hexdigest()


@pytest.mark.parametrize(
    ("headers", "matches"),
    [
        ({"Authorization": "Bearer clé"}, True),
        ({"Authorization": "bearer  clé "}, True),
        ({"X-API-Key": "clé"}, True),
        ({"Authorization": "Basic clé"}, False),
        ({"Authorization": "Bearer"}, False),
        ({"X-API-Key": ""}, False),
        ({}, False),
    ],
)
def test_digest_when_keys_are_sent(headers: dict[str, str], matches: bool) -> None:
    """A key is taken from either header, and an empty one is none, whatever the digests."""
    empty = hashlib.sha256(b"").hexdigest()
    found = matching_digest(Headers(headers), [empty, DIGEST])
    assert found == (DIGEST if matches else None)


def test_caller_when_a_key_is_known() -> None:
    """It is counted by its digest, and granted by that or by its name."""
    assert caller_with_key(DIGEST, name=None).principals == (f"key:{DIGEST}",)
    named = caller_with_key(DIGEST, name="finance")
    assert named.principals == (f"key:{DIGEST}", "key:finance")
    assert named.subject == f"key {DIGEST}"


@pytest.mark.parametrize(
    ("claims", "principals"),
    [
        ({"sub": "7"}, ("subject:7",)),
        ({"sub": 7}, ()),
        ({"sub": ""}, ()),
        ({"email": "Ann@A.example", "email_verified": True}, ("email:ann@a.example",)),
        ({"email": "ann@a.example"}, ()),
        ({"email": "ann@a.example", "email_verified": False}, ()),
        ({"email": "ann@a.example", "email_verified": "true"}, ()),
        (
            {"email": "ann@a.example", "iss": "https://cloud.google.com/iap"},
            ("email:ann@a.example",),
        ),
        ({"email": ["ann@a.example"], "email_verified": True}, ()),
        ({"hd": "A.example"}, ("domain:a.example",)),
        ({"hd": 5}, ()),
        ({"groups": ["lawyers", 5, "", "all"]}, ("groups:lawyers", "groups:all")),
        ({"groups": "lawyers"}, ("groups:lawyers",)),
        ({"groups": {"lawyers": True}}, ()),
        ({"roles": "admin"}, ()),
    ],
)
def test_caller_when_a_token_is_good(claims: dict[str, Any], principals: tuple[str, ...]) -> None:
    """Only what the issuer vouches for is a principal, of the claims that are named."""
    caller = caller_with_token({"iss": "https://a.example"} | claims, claim_names=["groups"])
    assert caller.principals == principals


def test_callers_are_counted_by_issuer_and_subject() -> None:
    """Two issuers may give the same subject to two people."""
    subjects = {
        caller_with_token({"iss": issuer, "sub": sub}, claim_names=[]).subject
        for issuer in ("https://a.example", "https://b.example")
        for sub in ("7", "8")
    }
    assert len(subjects) == 4


@pytest.mark.parametrize(
    ("value", "token"),
    [
        ("Bearer t", "t"),
        (" bearer  t ", "t"),
        ("t", "t"),
        ("Basic t", ""),
        ("Bearer x t", ""),
        ("", ""),
    ],
)
def test_token_when_its_header_is_read(value: str, token: str) -> None:
    """It has the scheme Bearer before it, or none."""
    assert bearer_token(value) == token


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("a.example", True), ("a.example:80", True), ("b.example", False), ("", False), (None, False)],
)
def test_host_when_a_list_is_set(host: str | None, allowed: bool) -> None:
    """Without a list every host passes, with one only those in it."""
    assert is_allowed_host(host, ["a.example"]) is allowed
    assert is_allowed_host(host, [])


def test_origin_when_a_list_is_set() -> None:
    """An origin is repeated only if it is listed; a star stands for all."""
    assert allowed_origin("https://a.example", ["https://a.example"]) == "https://a.example"
    assert allowed_origin("https://b.example", ["https://a.example"]) is None
    assert allowed_origin("https://b.example", ["*"]) == "*"
    assert allowed_origin(None, ["*"]) is None


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ("", 1, "10.0.0.1"),
        ("1.1.1.1", 0, "10.0.0.1"),
        ("1.1.1.1", 1, "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1", 1, "1.1.1.1"),
        ("9.9.9.9, 1.1.1.1, 2.2.2.2", 2, "1.1.1.1"),
        ("1.1.1.1", 2, "10.0.0.1"),
    ],
)
def test_address_when_forwarded(forwarded: str, proxies: int, address: str) -> None:
    """Only what trusted proxies added counts."""
    assert client_address("10.0.0.1", forwarded, trusted_proxies=proxies) == address


def test_settings_when_several_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error names every fault, and never repeats a key."""
    monkeypatch.setenv("API_KEYS", "my-secret-key")
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", "docs.example")
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "-1")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    load.cache_clear()
    with pytest.raises(Misconfigured) as caught:
        load(QuerySettings)
    for name in ("API_KEYS", "CORS_ALLOWED_ORIGINS", "RATE_LIMIT_PER_MINUTE", "DATABASE_URL"):
        assert name in str(caught.value)
    assert "my-secret-key" not in str(caught.value)
