"""
Checks the hosts that a service answers for.

If the owner of a foreign name points it to this machine's address (DNS rebinding), its pages have
the same origin as the service for the browser. Only the Host header tells the two apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import flask

from shared.settings import HostSettings

_BRACKETED = re.compile(r"\[[0-9A-Fa-f:.]+\](:\d*)?")


def is_allowed_host(host: str | None, allowed: Sequence[str]) -> bool:
    """Return whether *host* is one of *allowed*; ".example.org" stands for every name under it."""
    if not allowed:
        return True
    name = _host_name(host or "")
    return bool(name) and any(
        name == entry[1:].lower() or name.endswith(entry.lower())
        if entry.startswith(".")
        else name == _host_name(entry)
        for entry in allowed
    )


def admit_hosts(settings: HostSettings) -> None:
    """
    Refuse requests for other hosts at the function that is being loaded.

    Call it while main.py is imported, after answer_probes: a probe names an address. Elsewhere, as
    in a test, it does nothing.
    """
    if not (settings.allowed_hosts and flask.has_app_context()):
        return

    @flask.current_app.before_request
    def check() -> flask.Response | None:
        if is_allowed_host(flask.request.headers.get("Host"), settings.allowed_hosts):
            return None
        return flask.Response(
            "This service does not answer for that host; see ALLOWED_HOSTS.\n",
            status=HTTPStatus.MISDIRECTED_REQUEST,
            content_type="text/plain",
        )


def _host_name(host: str) -> str:
    """Return the name or address in a Host header, "" if it is none."""
    if any(character in host for character in "/?#@\\ \t"):
        return ""
    if "[" in host and not _BRACKETED.fullmatch(host):
        # urlsplit takes what stands in brackets for the whole name.
        return ""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # Raises what is no number.
    except ValueError:
        return ""
    return parts.hostname or ""
