"""
Links to originals: signed, and good for a few minutes. Pure.

A link is a claim that its maker could read this generation when it was made; the bearer of the link
may fetch the bytes until it expires, as with a signed URL of Cloud Storage. It is signed by HMAC
(RFC 2104) with a secret that all instances read from the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass

from shared.values import ObjectVersion


@dataclass(frozen=True, slots=True)
class Link:
    """
    What a link leads to.

    Attributes:
        content_type: What the bytes were found to be when they were indexed.
        expires: In seconds since 1970.
    """

    bucket: str
    name: str
    generation: int
    content_type: str
    expires: int

    @property
    def version(self) -> ObjectVersion:
        """Return the generation."""
        return ObjectVersion(bucket=self.bucket, name=self.name, generation=self.generation)


def write_link(link: Link, *, secret: bytes) -> str:
    """Return *link* as a token that can stand in a path."""
    payload = json.dumps(asdict(link), separators=(",", ":")).encode()
    return f"{_encode(payload)}.{_encode(_sign(payload, secret))}"


def read_link(token: str, *, secret: bytes, now: float) -> Link | None:
    """Return what *token* leads to; None where it is not signed with *secret*, or has expired."""
    payload, _, signature = token.partition(".")
    try:
        data, given = _decode(payload), _decode(signature)
    except ValueError:
        return None
    if not hmac.compare_digest(given, _sign(data, secret)):
        return None
    link = Link(**json.loads(data))
    return link if link.expires > now else None


def _sign(payload: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, payload, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
