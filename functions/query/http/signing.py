"""
Tokens that only this service can have written. Pure.

They are signed by HMAC (RFC 2104) with a secret that all instances read from the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def sign(payload: bytes, *, secret: bytes, purpose: bytes) -> str:
    """
    Return *payload* as a token that can stand in a path.

    Args:
        purpose: A token of one purpose is none of another.
    """
    return f"{_encode(payload)}.{_encode(_digest(payload, secret, purpose))}"


def verify(token: str, *, secret: bytes, purpose: bytes) -> bytes | None:
    """Return the payload of *token*, None if it is not signed so."""
    text, _, signature = token.partition(".")
    try:
        payload, given = _decode(text), _decode(signature)
    except ValueError:
        return None
    return payload if hmac.compare_digest(given, _digest(payload, secret, purpose)) else None


def _digest(payload: bytes, secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, purpose + payload, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
