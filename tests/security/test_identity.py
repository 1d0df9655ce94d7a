"""Identity tokens, signed by keys of our own: what is believed, and what is not."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import functions_framework
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask.testing import FlaskClient

from shared.errors import KeysUnavailable, TokenRefused
from shared.runtime.identity import SIGNATURE_REMOVED, SigningKeys, TokenVerifier
from shared.settings import GOOGLE_ISSUERS, PushSettings, load
from tests.security.identities import ACCOUNT, AUDIENCE, Issuer, local_issuer
from tests.support.emulators import wait_until

_FUNCTION = """
import functions_framework
from shared.runtime.push_authentication import accept_pushes_without_data, admit_pushes
from shared.settings import PushSettings, load

admit_pushes(load(PushSettings))
accept_pushes_without_data()

@functions_framework.cloud_event
def receive(event):
    print("received", event["type"])
"""
_PUSH = {
    "message": {"data": "e30=", "messageId": "1", "publishTime": "2026-01-01T00:00:00Z"},
    "subscription": "projects/demo-project/subscriptions/object-events-ingest",
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with local_issuer() as serving:
        yield serving


def make_verifier(issuer: Issuer, **options: Any) -> TokenVerifier:
    return TokenVerifier(
        SigningKeys(
            issuer.url,
            pause_seconds=options.pop("pause_seconds", 0.0),
            fresh_seconds=options.pop("fresh_seconds", 3600.0),
        ),
        **{"audiences": [AUDIENCE], "issuers": GOOGLE_ISSUERS} | options,
    )


def unsigned(claims: dict[str, Any], *, signature: str, **header: Any) -> str:
    parts = [{"alg": "RS256", "kid": "first", "typ": "JWT"} | header, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), signature])


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(claims, dict)
    return claims


@pytest.mark.parametrize("name", GOOGLE_ISSUERS)
def test_token_when_good(issuer: Issuer, name: str) -> None:
    """Both forms of Google's name are its own."""
    assert make_verifier(issuer).verify(issuer.sign(iss=name))["email"] == ACCOUNT


def test_token_when_clocks_differ_a_little(issuer: Issuer) -> None:
    """A few seconds between two machines refuse nobody."""
    now = int(time.time())
    make_verifier(issuer).verify(issuer.sign(iat=now + 10, exp=now - 5))


@pytest.mark.parametrize(("issued", "expires"), [(-3600, -60), (60, 3600)])
def test_token_when_clocks_differ_by_a_minute(issuer: Issuer, issued: int, expires: int) -> None:
    """No more than half a minute is forgiven: a token that was taken is of use for as long."""
    now = int(time.time())
    with pytest.raises(TokenRefused):
        make_verifier(issuer).verify(issuer.sign(iat=now + issued, exp=now + expires))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_700_000_000},
        {"iat": 4_000_000_000, "exp": 4_000_003_600},
        {"nbf": 4_000_000_000},
        {"aud": "https://another.example"},
        {"aud": f"{AUDIENCE}/"},
        {"iss": "https://accounts.google.com.evil.example"},
        {"iss": "https://issuer.example"},
        {"without": "exp"},
        {"without": "iat"},
        {"without": "aud"},
        {"without": "iss"},
        {"exp": "never"},
        {"key_id": "first", "headers": {"kid": "unknown"}},
    ],
    ids=str,
)
def test_token_when_a_claim_is_wrong(issuer: Issuer, changes: dict[str, Any]) -> None:
    """A good signature does not make up for a wrong claim."""
    with pytest.raises(TokenRefused):
        make_verifier(issuer).verify(issuer.sign(**changes))


@pytest.mark.parametrize("key_id", [7, ["first"], {}, None, True])
def test_token_when_the_key_id_is_no_text(issuer: Issuer, key_id: object) -> None:
    """A header is whatever its sender wrote."""
    token = unsigned(claims_of(issuer.sign()), signature="c2lnbmF0dXJl", kid=key_id)
    with pytest.raises(TokenRefused):
        make_verifier(issuer).verify(token)


def test_token_when_signed_by_somebody_else(issuer: Issuer) -> None:
    """A key of one's own, under the issuer's key id, proves nothing."""
    mine = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(TokenRefused):
        make_verifier(issuer).verify(issuer.sign(key=mine))


def test_token_when_algorithm_is_none(issuer: Issuer) -> None:
    """Nobody signs with "none"."""
    claims = claims_of(issuer.sign())
    for algorithm in ("none", "None", "NONE"):
        for signature in ("", "x"):
            with pytest.raises(TokenRefused):
                make_verifier(issuer).verify(unsigned(claims, signature=signature, alg=algorithm))


def test_token_when_public_key_is_the_secret(issuer: Issuer) -> None:
    """The public key is no shared secret: HS256 with it as the key is refused."""
    public = issuer.keys["first"].public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    for secret in (
        public.public_bytes(serialization.Encoding.PEM, form),
        public.public_bytes(serialization.Encoding.DER, form),
        issuer.jwks(),
    ):
        signed = unsigned(claims_of(issuer.sign()), signature="", alg="HS256").rstrip(".")
        signature = hmac.digest(secret, signed.encode(), "sha256")
        token = f"{signed}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
        with pytest.raises(TokenRefused):
            make_verifier(issuer).verify(token)


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c", "....", "e30.e30.", "\x00.é.☃", "x" * 20_000], ids=repr
)
def test_token_when_it_is_none(issuer: Issuer, token: str) -> None:
    """What is no token is refused, and asks nobody for keys."""
    with pytest.raises(TokenRefused):
        make_verifier(issuer).verify(token)
    assert issuer.fetches == 0


def test_keys_when_they_rotate(issuer: Issuer) -> None:
    """A token of a new key is believed at once; one of a removed key is not."""
    verifier = make_verifier(issuer)
    old = issuer.sign()
    verifier.verify(old)
    issuer.add_key("second")
    verifier.verify(issuer.sign(key_id="second"))
    verifier.verify(old)
    del issuer.keys["first"]
    with pytest.raises(TokenRefused):
        verifier.verify(issuer.sign(key=issuer.keys["second"], headers={"kid": "third"}))
    with pytest.raises(TokenRefused):
        verifier.verify(old)


def test_keys_when_many_are_unknown(issuer: Issuer) -> None:
    """Tokens with invented key ids do not make us ask the issuer each time."""
    verifier = make_verifier(issuer, pause_seconds=60.0)
    verifier.verify(issuer.sign())
    for number in range(50):
        with pytest.raises(TokenRefused):
            verifier.verify(issuer.sign(headers={"kid": f"invented{number}"}))
    verifier.verify(issuer.sign())
    assert issuer.fetches == 1


def test_keys_when_the_issuer_is_away(issuer: Issuer) -> None:
    """Without keys nothing is decided; with keys, the issuer's absence is not noticed."""
    verifier = make_verifier(issuer)
    for status, body in ((503, None), (302, None), (200, b"<html>"), (200, b'{"keys": 1}')):
        issuer.status, issuer.body = status, body
        with pytest.raises(KeysUnavailable):
            verifier.verify(issuer.sign())
    issuer.status, issuer.body = 200, None
    verifier.verify(issuer.sign())
    issuer.status = 503
    verifier.verify(issuer.sign())


def test_keys_when_the_issuer_hangs(issuer: Issuer) -> None:
    """One caller waits for fresh keys; the others are believed by those that are known."""
    verifier = make_verifier(issuer, fresh_seconds=0.0)
    verifier.verify(issuer.sign())
    issuer.answering.clear()
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(verifier.verify, issuer.sign())
        wait_until(lambda: issuer.fetches == 2)
        assert verifier.verify(issuer.sign())["email"] == ACCOUNT
        assert not first.done()
        issuer.answering.set()
        assert first.result()["email"] == ACCOUNT


def test_signature_when_cloud_run_removed_it(issuer: Issuer) -> None:
    """It is believed only where Cloud Run stands before the service; claims count as ever."""
    good = claims_of(issuer.sign())
    token = unsigned(good, signature=SIGNATURE_REMOVED)
    with pytest.raises(TokenRefused):
        make_verifier(issuer).verify(token)
    behind = make_verifier(issuer, signature_removed=True)
    assert behind.verify(token)["email"] == ACCOUNT
    for change in ({"exp": 1}, {"aud": "other"}, {"iss": "https://issuer.example"}):
        with pytest.raises(TokenRefused):
            behind.verify(unsigned(good | change, signature=SIGNATURE_REMOVED))
    for signature in ("", f"x{SIGNATURE_REMOVED}", "c2lnbmF0dXJl"):
        with pytest.raises(TokenRefused):
            behind.verify(unsigned(good, signature=signature))


@pytest.fixture
def function(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlaskClient]:
    """Serve a function of ours as functions-framework does."""
    source = tmp_path / "main.py"
    source.write_text(_FUNCTION)
    for name, value in {
        "PUSH_AUDIENCE": AUDIENCE,
        "PUSH_SERVICE_ACCOUNT": ACCOUNT,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("shared.runtime.push_authentication.GOOGLE_CERTS_URL", issuer.url)
    load.cache_clear()
    app = functions_framework.create_app(  # type: ignore[no-untyped-call]
        "receive", str(source), "cloudevent"
    )
    yield app.test_client()
    load.cache_clear()


def test_push_when_from_the_service_account(
    function: FlaskClient, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pub/Sub's own push is acknowledged."""
    response = function.post("/", json=_PUSH, headers=bearer(issuer.sign()))
    assert response.status_code == 200
    assert "received" in capsys.readouterr().out


def test_push_when_from_somebody_else(
    function: FlaskClient, issuer: Issuer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else comes is not acknowledged and reaches no code of ours."""
    refused = [
        ({}, 401),
        ({"Authorization": issuer.sign()}, 401),
        ({"Authorization": f"Basic {issuer.sign()}"}, 401),
        (bearer(""), 401),
        (bearer(issuer.sign(exp=1_700_000_000)), 401),
        (bearer(issuer.sign(aud="https://another.example")), 401),
        (bearer(unsigned(claims_of(issuer.sign()), signature=SIGNATURE_REMOVED)), 401),
        (bearer(issuer.sign(email="ingest@demo-project.iam.gserviceaccount.com")), 403),
        (bearer(issuer.sign(email=ACCOUNT.upper())), 403),
        (bearer(issuer.sign(email_verified=False)), 403),
        (bearer(issuer.sign(email_verified="true")), 403),
        (bearer(issuer.sign(without="email_verified")), 403),
        (bearer(issuer.sign(without="email")), 403),
    ]
    for headers, status in refused:
        response = function.post("/", json=_PUSH, headers=headers)
        assert response.status_code == status, headers
        # Nor does a body that is no event get further, or a request that is no POST.
        assert function.post("/", data=b"x", headers=headers).status_code == status
        assert function.get("/", headers=headers).status_code == status
    assert "received" not in capsys.readouterr().out


def test_push_when_keys_cannot_be_had(function: FlaskClient, issuer: Issuer) -> None:
    """The message comes again: 503 with Retry-After."""
    issuer.status = 500
    response = function.post("/", json=_PUSH, headers=bearer(issuer.sign()))
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "10"


def test_push_settings_when_half_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audience without the account would let in whoever Google knows."""
    monkeypatch.setenv("PUSH_AUDIENCE", AUDIENCE)
    monkeypatch.delenv("PUSH_SERVICE_ACCOUNT", raising=False)
    with pytest.raises(ValueError, match="PUSH_SERVICE_ACCOUNT"):
        PushSettings()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
