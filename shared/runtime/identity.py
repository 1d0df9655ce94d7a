"""
Identity tokens: their issuer, audience and bearer.

Their form: https://openid.net/specs/openid-connect-core-1_0.html#IDToken.
The keys come from the issuer's JWKS (https://datatracker.ietf.org/doc/html/rfc7517), by an address
that is a setting, so that tests sign with keys of their own.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import jwt
import requests

from shared.errors import KeysUnavailable, TokenRefused
from shared.runtime.logs import get_logger

# Cloud Run's IAM puts this in the place of a signature that it has checked:
# https://cloud.google.com/run/docs/troubleshooting#signature-removed
SIGNATURE_REMOVED = "SIGNATURE_REMOVED_BY_GOOGLE"

# What Google signs with, and Identity-Aware Proxy. Never a shared secret, never "none".
_ALGORITHMS = ("RS256", "ES256")
_REQUIRED_CLAIMS = ["aud", "exp", "iat", "iss"]
_LEEWAY_SECONDS = 30
_FETCH_SECONDS = 5.0
_MAX_JWKS_BYTES = 1_000_000
_MAX_TOKEN_CHARACTERS = 16_384
# Google announces a new key long before it signs with it, and keeps the old one as long.
_FRESH_SECONDS = 3600.0
_USABLE_SECONDS = 24 * 3600.0

_log = get_logger(__name__)


class SigningKeys:
    """
    The public keys of an issuer, fetched when they are first needed; threads may share them.

    Args:
        pause_seconds: After a fetch, unknown keys cause no other one for so long, so that
            forged tokens cannot make each request ask the issuer.
        fresh_seconds: From this age on keys are fetched again, by one thread: the others believe
            what they have, for a day.
    """

    def __init__(
        self, url: str, *, pause_seconds: float = 30.0, fresh_seconds: float = _FRESH_SECONDS
    ) -> None:
        self._url = url
        self._pause_seconds = pause_seconds
        self._fresh_seconds = fresh_seconds
        self._fetching = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")

    def find(self, key_id: str) -> jwt.PyJWK | None:
        """
        Return the key of that id, None if the issuer has none.

        Raises:
            KeysUnavailable: The issuer does not answer.
        """
        if self._is_usable(key_id):
            stale = self._age() > self._fresh_seconds
            if stale and self._fetching.acquire(blocking=False):
                try:
                    self._renew(needed=False)
                finally:
                    self._fetching.release()
            return self._keys.get(key_id)
        with self._fetching:
            # Another thread may have fetched it while this one waited.
            if not self._is_usable(key_id):
                self._renew(needed=True)
            return self._keys.get(key_id)

    def _is_usable(self, key_id: str) -> bool:
        return key_id in self._keys and self._age() <= _USABLE_SECONDS

    def _age(self) -> float:
        return time.monotonic() - self._fetched

    def _renew(self, *, needed: bool) -> None:
        if time.monotonic() - self._tried < self._pause_seconds:
            if needed and self._tried > self._fetched:
                raise KeysUnavailable("the issuer's keys could not be fetched a moment ago")
            return
        self._tried = time.monotonic()
        try:
            self._keys = _fetch_keys(self._url)
        except KeysUnavailable as error:
            _log.warning("signing keys not fetched", reason=str(error))
            if needed:
                raise
            return
        self._fetched = self._tried = time.monotonic()


def _fetch_keys(url: str) -> dict[str, jwt.PyJWK]:
    deadline = time.monotonic() + _FETCH_SECONDS
    body = bytearray()
    try:
        with requests.get(
            url, timeout=_FETCH_SECONDS / 2, stream=True, allow_redirects=False
        ) as response:
            if response.status_code != requests.codes.ok:
                raise KeysUnavailable(f"the issuer's keys: status {response.status_code}")
            for part in response.iter_content(65_536):
                body += part
                if len(body) > _MAX_JWKS_BYTES or time.monotonic() > deadline:
                    raise KeysUnavailable("the issuer's keys are too large, or come too slowly")
        keys = jwt.PyJWKSet.from_dict(json.loads(body)).keys
    except requests.RequestException as error:
        raise KeysUnavailable(f"the issuer's keys: {type(error).__name__}") from error
    except (ValueError, AttributeError, TypeError, jwt.PyJWTError) as error:
        raise KeysUnavailable("the issuer's keys are not a JSON Web Key Set") from error
    return {key.key_id: key for key in keys if key.key_id and key.algorithm_name in _ALGORITHMS}


class TokenVerifier:
    """
    Verifies identity tokens and returns their claims.

    Args:
        audiences: One of them must be the token's; empty if the platform checks it.
        signature_removed: Whether Cloud Run's IAM authenticates every caller before this
            service: only then is a token trusted whose signature it removed. Where anyone may
            call the service, anyone could write such a token.
    """

    def __init__(
        self,
        keys: SigningKeys,
        *,
        audiences: Sequence[str],
        issuers: Sequence[str],
        signature_removed: bool = False,
    ) -> None:
        self._keys = keys
        self._audiences = list(audiences)
        self._issuers = list(issuers)
        self._signature_removed = signature_removed

    def verify(self, token: str) -> dict[str, Any]:
        """
        Return the claims of *token*.

        Raises:
            TokenRefused: It is malformed, not the issuer's, for another audience, or expired.
            KeysUnavailable: The issuer's keys cannot be fetched now.
        """
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise TokenRefused("the token is too long")
        removed = self._signature_removed and token.endswith(f".{SIGNATURE_REMOVED}")
        try:
            key = None if removed else self._find_key(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key if key is not None else "",
                algorithms=_ALGORITHMS if key is None else [key.algorithm_name],
                audience=self._audiences or None,
                issuer=self._issuers,
                leeway=_LEEWAY_SECONDS,
                options={
                    "require": _REQUIRED_CLAIMS,
                    "verify_signature": not removed,
                    "verify_exp": True,
                    "verify_nbf": True,
                    "verify_iat": True,
                    "verify_aud": bool(self._audiences),
                    "verify_iss": True,
                },
            )
        except jwt.PyJWTError as error:
            # The message names a claim, never its value or the token.
            raise TokenRefused(f"the token was refused: {type(error).__name__}") from error
        except (ValueError, TypeError, RecursionError) as error:
            raise TokenRefused("the token is malformed") from error
        return claims

    def _find_key(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        if header.get("alg") not in _ALGORITHMS or not isinstance(key_id, str):
            raise TokenRefused("the token is signed by an algorithm that is not accepted here")
        key = self._keys.find(key_id)
        if key is None or key.algorithm_name != header["alg"]:
            raise TokenRefused("the token is signed with a key that the issuer does not have")
        return key


class PushGuard:
    """Admits the requests of the push subscriptions' service account only."""

    def __init__(self, verifier: TokenVerifier, *, service_account: str) -> None:
        self._verifier = verifier
        self._service_account = service_account

    def check(self, authorization: str) -> None:
        """
        Return if the request comes from the service account.

        Args:
            authorization: The header of that name.

        Raises:
            TokenRefused: It does not, or does not prove it; *forbidden* where it is somebody else.
            KeysUnavailable: The issuer's keys cannot be fetched now.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenRefused("there is no bearer token")
        claims = self._verifier.verify(token.strip())
        if claims.get("email_verified") is not True:
            raise TokenRefused("the token's mail address is not verified", forbidden=True)
        if claims.get("email") != self._service_account:
            raise TokenRefused("the token is another account's", forbidden=True)
