"""Addresses under which callers reach this service and the places that citations name."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from flask import request


def base_address(*, trusted_proxies: int) -> str:
    """Return the address that the caller used, without a path."""
    scheme = request.scheme
    forwarded = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
    # Whoever stands in front ends TLS, and says so.
    if trusted_proxies and forwarded in ("http", "https"):
        scheme = forwarded
    return f"{scheme}://{request.host}"


def passage_address(
    base: str,
    document_id: UUID,
    *,
    char_start: int | None,
    char_end: int | None,
    page: int | None,
) -> str:
    """Return where a person reads the characters of a document in their context."""
    place = {"char_start": char_start, "char_end": char_end, "page": page}
    given = {name: value for name, value in place.items() if value is not None}
    return f"{base}/documents/{document_id}" + (f"#{urlencode(given)}" if given else "")
