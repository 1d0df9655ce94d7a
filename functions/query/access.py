"""Who may ask: hosts, origins, keys. Pure, but for reading the request's headers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from werkzeug.datastructures import Headers
from werkzeug.sansio.utils import host_is_trusted


def is_allowed_host(host: str | None, allowed: Sequence[str]) -> bool:
    """Return whether *host* is one of *allowed*; ".example.org" stands for every name under it."""
    return not allowed or host_is_trusted(host, list(allowed))


def allowed_origin(origin: str | None, allowed: Sequence[str]) -> str | None:
    """Return what Access-Control-Allow-Origin says to *origin*, None where it says nothing."""
    if not origin:
        return None
    if "*" in allowed:
        return "*"
    return origin if origin in allowed else None


def matching_digest(headers: Headers, digests: Sequence[str]) -> str | None:
    """
    Return the digest of the key that *headers* carry, None where it is none of *digests*.

    Every digest is compared, each in constant time, so that the time tells nothing.
    """
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key", "")
    given = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    matches = [digest for digest in digests if hmac.compare_digest(digest, given)]
    return matches[0] if key and matches else None


def client_address(remote: str | None, forwarded: str, *, trusted_proxies: int) -> str:
    """
    Return the address of the client.

    Args:
        forwarded: X-Forwarded-For, to which each trusted proxy added the address it saw; what
            stands before their entries is the client's own claim.
    """
    entries = [entry.strip() for entry in forwarded.split(",") if entry.strip()]
    if trusted_proxies and len(entries) >= trusted_proxies:
        return entries[-trusted_proxies]
    return remote or ""
