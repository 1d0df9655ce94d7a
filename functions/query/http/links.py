"""
Links to originals: signed, and good for a few minutes. Pure.

A link is a claim that its maker could read this generation when it was made; the bearer of the link
may fetch the bytes until it expires, as with a signed URL of Cloud Storage.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from shared.values import ObjectVersion

from .signing import sign, verify

# A payload is a JSON object: it begins as that of no other purpose does.
_PURPOSE = b""


@dataclass(frozen=True, slots=True)
class Link:
    """
    The target of a link.

    Attributes:
        content_type: The type detected when the file was indexed.
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
    return sign(payload, secret=secret, purpose=_PURPOSE)


def read_link(token: str, *, secret: bytes, now: float) -> Link | None:
    """Return the target of *token*; None if it is not signed with *secret*, or has expired."""
    data = verify(token, secret=secret, purpose=_PURPOSE)
    if data is None:
        return None
    link = Link(**json.loads(data))
    return link if link.expires > now else None
