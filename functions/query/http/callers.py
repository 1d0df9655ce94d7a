"""Identifies callers by origins, keys and tokens. Pure, except for reading headers."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import Headers

# Its assertions have no email_verified: it admits only people whose addresses it has verified.
# https://cloud.google.com/iap/docs/signed-headers-howto#verifying_the_jwt_payload
_IDENTITY_AWARE_PROXY = "https://cloud.google.com/iap"


@dataclass(frozen=True, slots=True)
class Caller:
    """
    The caller of a request.

    Attributes:
        subject: Identifies the caller for rate limits; empty for an unknown caller.
        principals: The identities to which collections may be granted: "key:finance",
            "email:a@b.example", ...
    """

    subject: str = ""
    principals: tuple[str, ...] = ()


NOBODY = Caller()


def allowed_origin(origin: str | None, allowed: Sequence[str]) -> str | None:
    """Return the value of Access-Control-Allow-Origin for *origin*, None to omit it."""
    if not origin:
        return None
    if "*" in allowed:
        return "*"
    return origin if origin in allowed else None


def is_foreign_page(headers: Headers, allowed: Sequence[str]) -> bool:
    """
    Return whether a page of another origin that is not in *allowed* sent this request.

    Only browsers send these headers, and no page can change what they say.
    https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site
    """
    origin = headers.get("Origin")
    if origin is None or allowed_origin(origin, allowed) is not None:
        return False
    if headers.get("Sec-Fetch-Site") == "same-origin":
        # A proxy may have named another host than the browser did.
        return False
    return origin.partition("://")[2].lower() != headers.get("Host", "").lower()


def matching_digest(headers: Headers, digests: Sequence[str]) -> str | None:
    """
    Return the digest of the key that *headers* carry, None if it is none of *digests*.

    Every digest is compared in constant time, so that the time reveals nothing.
    """
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    key = credentials.strip() if scheme.lower() == "bearer" else headers.get("X-API-Key", "")
    given = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    matches = [digest for digest in digests if hmac.compare_digest(digest, given)]
    return matches[0] if key and matches else None


def bearer_token(value: str) -> str:
    """Return the token of a header, which has the scheme Bearer before it or no scheme at all."""
    scheme, _, token = value.strip().rpartition(" ")
    return token if scheme.strip().lower() in ("bearer", "") else ""


def caller_with_key(digest: str, *, name: str | None) -> Caller:
    """Return the caller whose key has *digest*."""
    names = (f"key:{digest}",) if name is None else (f"key:{digest}", f"key:{name}")
    return Caller(subject=f"key {digest}", principals=names)


def caller_with_token(claims: Mapping[str, Any], *, claim_names: Sequence[str]) -> Caller:
    """
    Return the caller that the verified *claims* describe.

    Args:
        claim_names: The claims whose values, texts or lists of texts, are principals too.
    """
    issuer, subject = str(claims.get("iss", "")), claims.get("sub")
    principals = []
    if isinstance(subject, str) and subject:
        principals.append(f"subject:{subject}")
    email = claims.get("email")
    if isinstance(email, str) and (
        claims.get("email_verified") is True or issuer == _IDENTITY_AWARE_PROXY
    ):
        principals.append(f"email:{email.lower()}")
    if isinstance(domain := claims.get("hd"), str):
        principals.append(f"domain:{domain.lower()}")
    for name in claim_names:
        values = claims.get(name)
        principals += [
            f"{name}:{value}"
            for value in (values if isinstance(values, list) else [values])
            if isinstance(value, str) and value
        ]
    return Caller(subject=f"token {issuer} {subject}", principals=tuple(principals))


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
